"""The installed package: all it needs is in the wheel, and it works from any folder."""

import configparser
import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_FOLDERS = ("templates", "static", "migrations", "locale")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built without network."""
    if find_spec("hatchling") is None:
        pytest.fail("hatchling is not in this environment: pip install --require-hashes -r build.lock", pytrace=False)
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*pip, "-w", str(folder), str(_ROOT)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    [path] = folder.glob("recipient_portal-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked as pip would."""
    folder = tmp_path_factory.mktemp("site-packages")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def run(installed: Path, folder: Path, code: str, *arguments: str) -> str:
    """What a program says that imports the installed portal, run in another folder."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_has_all_that_the_tree_has(wheel: Path) -> None:
    """Each template, static file, migration and catalogue of the tree is in the wheel, and nothing compiled or private is."""
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in _FOLDERS:
        files = [path for path in (_ROOT / folder).rglob("*") if path.is_file() and path.suffix not in (".pyc", ".mo")]
        assert files
        assert {f"portal/_data/{path.relative_to(_ROOT)}" for path in files} <= names
    assert "portal/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    strange = [
        name for name in names if "__pycache__" in name or name.split("/")[0] not in ("portal", wheel_info(names))
    ]
    assert strange == []


def wheel_info(names: set[str]) -> str:
    return next(name.split("/")[0] for name in names if name.endswith(".dist-info/METADATA"))


def test_an_installed_portal_migrates_from_any_folder(installed: Path, tmp_path: Path) -> None:
    """The migrations come out of the wheel, not out of a checkout."""
    code = (
        "import asyncio, portal.paths as paths\n"
        "from portal.db.migrate import migrate\n"
        "from portal.db.revision import head\n"
        "assert asyncio.run(migrate('sqlite:///portal.db', create=True)) == head()\n"
        "print(paths.migrations())"
    )
    assert run(installed, tmp_path, code).strip() == str(installed / "portal" / "_data" / "migrations")
    assert (tmp_path / "portal.db").is_file()


def test_an_installed_portal_has_its_templates(installed: Path, tmp_path: Path) -> None:
    """Letters and pages are found and compiled from the wheel."""
    code = (
        "import portal.paths as paths\n"
        "from portal.web.templating import Letters\n"
        "Letters()\n"
        "print(*(folder().is_dir() for folder in (paths.templates, paths.static, paths.locale)))"
    )
    assert run(installed, tmp_path, code).strip() == "True True True"


def test_the_command_runs(installed: Path, tmp_path: Path) -> None:
    """The `portal` command that the wheel declares starts and says what it can do."""
    declared = configparser.ConfigParser()
    declared.read(next(installed.glob("*.dist-info")) / "entry_points.txt")
    module, function = declared["console_scripts"]["portal"].split(":")
    said = run(installed, tmp_path, f"from {module} import {function}; {function}()", "--help")
    assert "migrate" in said
