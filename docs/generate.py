"""Writes what the code itself knows into the docs: `python docs/generate.py`.

docs/CONFIGURATION.md is all made here, from portal/settings.py; of docs/AUDIT.md the part between the two marks, from
portal/model/events.py. tests/architecture compares, so neither can fall behind.
"""

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from portal.model.events import Event
from portal.settings import Settings

_DOCS = Path(__file__).resolve().parent
CONFIGURATION = _DOCS / "CONFIGURATION.md"
AUDIT = _DOCS / "AUDIT.md"
_BEGIN = "<!-- the events: written by docs/generate.py -->\n"
_END = "<!-- end of the events -->\n"

_CONFIGURATION_HEAD = """\
# Configuration

Made by `python docs/generate.py` from portal/settings.py; change it there.

A setting is taken from the environment, or else from a secret file, or else from a TOML file, or else it has its default. The
TOML file is `portal.toml` in the working folder, or the one that `PORTAL_CONFIG` names; its keys stand at the top level,
without the prefix:

```toml
base_url = "https://portal.clinic.example"
database_url = "postgresql://portal@db.clinic.example/portal"
```

Secret files are for values with a password in them: `PORTAL_SECRETS_DIR` names a folder with one file a setting, called as
the environment variable in lower case (`portal_submission_url`), as container and service managers lay them out.

A name that is not in this table is refused at start, in the file and in the environment alike, and so is a value out of its
bounds: the portal says which, never what it was. `portal config check` looks without starting. A value with a password in
it (`database_url`, `submission_url`) belongs in a file that only the portal's user reads.

| Environment | TOML | Default | Values | What it does |
| --- | --- | --- | --- | --- |
"""


def configuration() -> str:
    """docs/CONFIGURATION.md: a line for every setting."""
    rows = [_setting(name, field) for name, field in Settings.model_fields.items()]
    return _CONFIGURATION_HEAD + "".join(rows)


def _setting(name: str, field: FieldInfo) -> str:
    says = " ".join((field.description or "").split()).replace("|", "\\|")
    return f"| `PORTAL_{name.upper()}` | `{name}` | {_default(field)} | {_values(field)} | {says} |\n"


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "must be set"
    return "unset" if field.default in (None, "") else f"`{field.default}`"


def _values(field: FieldInfo) -> str:
    annotation: Any = field.annotation
    if annotation is int:
        bounds: dict[str, object] = {}
        for limit in field.metadata:
            bounds |= {name: getattr(limit, name) for name in ("ge", "le") if hasattr(limit, name)}
        return f"{bounds.get('ge', 'any')} to {bounds.get('le', 'any')}"
    if annotation is bool:
        return "`true`, `false`"
    choices = get_args(annotation)
    if choices and all(isinstance(choice, str) for choice in choices):
        return ", ".join(f"`{choice}`" for choice in choices)
    return "path" if Path in (annotation, *choices) else "text"


def events() -> str:
    """A section for every kind of event: what it says, and the names in its `detail`."""
    return "\n".join(_event(kind) for kind in Event.kinds.values() if kind.__module__ == Event.__module__)


def _event(kind: type[Event]) -> str:
    shared = {field.name for field in dataclasses.fields(Event)}
    hints = get_type_hints(kind)
    own = [f"`{f.name}` ({_json_type(hints[f.name])})" for f in dataclasses.fields(kind) if f.name not in shared]
    says = " ".join((inspect.getdoc(kind) or "").split())
    detail = f"\nDetail: {', '.join(own)}.\n" if own else ""
    return f"### {kind.__name__}\n\n{says}\n{detail}"


def _json_type(hint: Any) -> str:
    known = {str: "text", int: "number", bool: "true or false"}
    if hint in known:
        return known[hint]
    if hasattr(hint, "__supertype__"):
        return "id"
    arguments = [argument for argument in get_args(hint) if argument not in (type(None), ...)]
    if type(None) in get_args(hint):
        return f"{_json_type(arguments[0])}, not always there"
    return "list" if arguments else str(hint)


def audit(written: str) -> str:
    """docs/AUDIT.md with its generated part made anew."""
    pattern = re.compile(re.escape(_BEGIN) + ".*?" + re.escape(_END), re.DOTALL)
    return pattern.sub(lambda _: f"{_BEGIN}\n{events()}\n{_END}", written)


if __name__ == "__main__":
    CONFIGURATION.write_text(configuration())
    AUDIT.write_text(audit(AUDIT.read_text()))
