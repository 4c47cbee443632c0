"""The ready configuration of a relay: the recipes of docs/RELAY.md, which are tested as they stand there, with an organisation's own
names in them. What the portal can't know (the mailbox host, the relay's own name and address) stays as the page has it."""

import re
from dataclasses import dataclass
from functools import lru_cache

from portal import paths

_BLOCK = re.compile(r"^```([a-z]+(?:-[a-z]+)?) ([^\n]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILES = {
    "main.cf": "/etc/postfix/main.cf",
    "portal-password": "/etc/postfix/portal-password (readable by root only)",
    "master.cf": "/etc/postfix/master.cf",
}
_NAME = re.compile(
    r"\[portal\.example\]:2526|match=portal\.example|portal\.example::?2526|portal@clinic\.example|@?portal\.example|\b2526\b"
    r"|USERNAME|PASSWORD"
)
KINDS = (
    "postfix",
    "postfix-lookup",
    "postfix-map",
    "postfix-agent",
    "postfix-secure",
    "postfix-graduation",
    "exim",
    "haraka",
    "stalwart",
    "opensmtpd",
    "google",
    "microsoft",
)
"""The recipes of the page. Those that begin with `postfix-` come on top of `postfix`."""


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
    """Postfix's files, in the order of the page, with a password."""
    return [one for one in recipe("postfix", names) if not one.file.endswith(" certificate")]


def recipe(kind: str, names: Names) -> list[Block]:
    """The files, or steps, of one of KINDS, in the order of the page."""
    return [
        Block(_FILES.get(name, name), "".join(_line(line, names, kind) for line in text.splitlines(True)))
        for found, name, text in _blocks()
        if found == kind
    ]


@lru_cache
def _blocks() -> list[tuple[str, str, str]]:
    page = (paths.docs() / "RELAY.md").read_text(encoding="utf-8")
    return [(found[1], found[2], found[3]) for found in _BLOCK.finditer(page)]


def _line(line: str, names: Names, kind: str) -> str:
    """One line of the page; what stands once for each sender domain is repeated."""
    if line.startswith("relay_domains"):
        return f"relay_domains = {', '.join((*names.domains, names.return_domain))}\n"
    if "{ clinic.example =" in line or "{ @clinic.example =" in line:
        return "".join(_filled(line.replace("clinic.example =", f"{one} ="), names, kind) for one in names.domains)
    if line.strip() == "domains = clinic.example":
        line = line.replace("clinic.example", " : ".join(names.domains))
    return _filled(line, names, kind)


def _filled(line: str, names: Names, kind: str) -> str:
    """In one pass: a name that was put in is not looked at again."""
    bare = names.return_domain if kind.startswith("postfix") else names.host

    def name(found: re.Match[str]) -> str:
        text = found[0]
        return {
            "[portal.example]:2526": f"[{names.host}]:{names.port}",
            "match=portal.example": f"match={names.host}",
            "portal.example:2526": f"{names.host}:{names.port}",
            "portal.example::2526": f"{names.host}::{names.port}",
            "portal@clinic.example": names.mail_from,
            "@portal.example": f"@{names.return_domain}",
            "portal.example": bare,
            "2526": names.port,
            "USERNAME": names.username,
            "PASSWORD": names.password,
        }[text]

    return _NAME.sub(name, line)
