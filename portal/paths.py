"""Where the files live that are not Python: inside an installed wheel, or beside the package in a checkout.

The wheel carries them under portal/_data/ (pyproject.toml, force-include); an editable install does not get the forced
files, so a checkout's own folders are used then. An installed wheel so serves and migrates from any working folder.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def templates() -> Path:
    """Pages and letters, by Jinja."""
    return _folder("templates")


def static() -> Path:
    """What browsers fetch as it is: CSS, JavaScript, the icon."""
    return _folder("static")


def migrations() -> Path:
    """Alembic's tree."""
    return _folder("migrations")


def locale() -> Path:
    """The catalogues: LANG/LC_MESSAGES/portal.po."""
    return _folder("locale")


def docs() -> Path:
    """The pages whose recipes are handed out filled in."""
    return _folder("docs")


def _folder(name: str) -> Path:
    installed = _PACKAGE / "_data" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name
