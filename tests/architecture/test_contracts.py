"""The import contracts of pyproject.toml hold, and each of them would notice a breach."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_PURE = {
    "__future__",
    "base64",
    "collections",
    "dataclasses",
    "datetime",
    "enum",
    "functools",
    "hashlib",
    "hmac",
    "ipaddress",
    "json",
    "re",
}
_PURE |= {"ipaddress", "math", "string", "types", "typing", "unicodedata", "uuid"}


def lint(folder: Path) -> tuple[bool, str]:
    """Whether all contracts are kept in a tree, and what was said about it."""
    lint_imports = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [lint_imports, "--no-cache", "--no-logo"], cwd=folder, capture_output=True, text=True, timeout=120
    )
    return done.returncode == 0, done.stdout + done.stderr


def copy_to(folder: Path) -> Path:
    shutil.copy(_ROOT / "pyproject.toml", folder)
    shutil.copytree(_ROOT / "portal", folder / "portal", ignore=shutil.ignore_patterns("__pycache__", "_data"))
    return folder


def test_the_tree_keeps_its_contracts() -> None:
    """Every import of the portal goes down a floor, through a door that is named."""
    kept, said = lint(_ROOT)
    assert kept, said


@pytest.mark.parametrize(
    ("module", "line", "told"),
    [
        ("model/access.py", "import portal.clock", "portal.model is not allowed to import portal.clock"),
        ("model/access.py", "import secrets", "portal.model is not allowed to import secrets"),
        ("sealing/seal.py", "import portal.reading.read", "portal.sealing is not allowed to import portal.reading"),
        ("reading/read.py", "import portal.reply.compose", "portal.reading is not allowed to import portal.reply"),
        ("blobs/files.py", "import portal.db.grants", "portal.blobs is not allowed to import portal.db"),
        ("smtp/session.py", "import portal.web.languages", "portal.smtp is not allowed to import portal.web"),
        ("reading/read.py", "import portal.envelope", "portal.reading.read -> portal.envelope"),
        ("intake/door.py", "import portal.keys", "portal.intake.door -> portal.keys"),
        ("intake/door.py", "import portal.blobs.files", "portal.intake.door -> portal.blobs.files"),
        ("worker.py", "import portal.mail.submission", "portal.worker -> portal.mail.submission"),
        ("sealing/prepare.py", "import portal.mime.pool", "portal.sealing.prepare -> portal.mime.pool"),
        ("reading/read.py", "import portal.mime.parse", "portal.reading.read -> portal.mime.parse"),
        ("orgs/setup.py", "import sqlalchemy", "portal.orgs.setup -> sqlalchemy"),
        ("signin/sessions.py", "import starlette", "portal.signin.sessions -> starlette"),
        ("notify/notice.py", "import jinja2", "portal.notify.notice -> jinja2"),
        ("worker.py", "import aiosmtplib", "portal.worker -> aiosmtplib"),
        ("mail/submission.py", "import aiosmtpd", "portal.mail.submission -> aiosmtpd"),
        ("web/languages.py", "import cryptography", "portal.web.languages -> cryptography"),
        ("orgs/setup.py", "import PIL", "portal.orgs.setup -> PIL"),
        ("orgs/setup.py", "import nh3", "portal.orgs.setup -> nh3"),
        ("orgs/setup.py", "import portal.mime.picture", "portal.orgs.setup -> portal.mime.picture"),
        ("web/languages.py", "import portal.db.engine", "portal.web.languages -> portal.db.engine"),
        ("worker.py", "import standardwebhooks", "portal.worker -> standardwebhooks"),
        ("worker.py", "import httpx2", "portal.worker -> httpx2"),
        ("signin/sessions.py", "import joserfc.jwt", "portal.signin.sessions -> joserfc"),
        ("web/languages.py", "import portal.identity.oidc", "portal.web.languages -> portal.identity.oidc"),
        ("identity/oidc.py", "import portal.db.grants", "portal.identity is not allowed to import portal.db"),
        ("smtp/replies.py", "import portal.sealing.open", "portal.smtp.replies -> portal.sealing.open"),
        ("utils.py", "", "portal.utils"),
    ],
)
def test_a_planted_import_is_refused(tmp_path: Path, module: str, line: str, told: str) -> None:
    """One wrong import, or a new module at the top, breaks the contract and is named."""
    path = copy_to(tmp_path) / "portal" / module
    with path.open("a") as file:
        file.write(f"\n{line}\n")
    kept, said = lint(tmp_path)
    assert not kept
    assert told in said


def test_the_model_imports_only_what_is_pure() -> None:
    """model/ has no import but itself and a short list of the standard library."""
    for path in (_ROOT / "portal" / "model").glob("*.py"):
        for name in imported(path):
            assert name.startswith("portal.model") or name.split(".")[0] in _PURE, f"{path.name} imports {name}"


def imported(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or ".")
    return names
