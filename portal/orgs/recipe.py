"""The ready configuration of a relay: the recipes of docs/RELAY.md, which are tested as they stand there, with an organisation's own
names in them. What the portal can't know (the mailbox host, the relay's own name and address) stays as the page has it."""

import re
from dataclasses import dataclass
from functools import lru_cache

from portal import paths

_BLOCK = re.compile(r"^```postfix (main\.cf|portal-password|master\.cf)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILES = {
    "main.cf": "/etc/postfix/main.cf",
    "portal-password": "/etc/postfix/portal-password (readable by root only)",
    "master.cf": "/etc/postfix/master.cf",
}


@dataclass(frozen=True)
class Names:
    """What the recipe is filled with. `host` and `port` are of the intake; `return_domain` is that of notices' return paths."""

    host: str
    port: str
    return_domain: str
    mail_from: str
    domains: tuple[str, ...]
    username: str = "USERNAME"
    password: str = "PASSWORD"  # noqa: S105 - a placeholder, as the page has it


@dataclass(frozen=True)
class Block:
    """A file, and the lines to put into it."""

    file: str
    text: str


def postfix(names: Names) -> list[Block]:
    """Postfix's files, in the order of the page."""
    return [
        Block(_FILES[name], "".join(_line(line, names) for line in text.splitlines(True))) for name, text in _blocks()
    ]


@lru_cache
def _blocks() -> list[tuple[str, str]]:
    page = (paths.docs() / "RELAY.md").read_text(encoding="utf-8")
    return [(found[1], found[2]) for found in _BLOCK.finditer(page)]


def _line(line: str, names: Names) -> str:
    """One line of the page; what stands once for each sender domain is repeated."""
    if line.startswith("relay_domains"):
        return f"relay_domains = {', '.join((*names.domains, names.return_domain))}\n"
    if "{ clinic.example =" in line or "{ @clinic.example =" in line:
        return "".join(_filled(line.replace("clinic.example =", f"{one} ="), names) for one in names.domains)
    return _filled(line, names)


def _filled(line: str, names: Names) -> str:
    return (
        line.replace("[portal.example]:2526", f"[{names.host}]:{names.port}")
        .replace("match=portal.example", f"match={names.host}")
        .replace("portal@clinic.example", names.mail_from)
        .replace("portal.example", names.return_domain)
        .replace("USERNAME:PASSWORD", f"{names.username}:{names.password}")
    )
