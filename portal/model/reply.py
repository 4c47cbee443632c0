"""A reply as it is sealed: what was written, to whom it goes, and what it answers."""

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from datetime import timedelta

from portal.model.parties import address

DRAFT_LIFE = timedelta(days=7)
"""How long an unsent reply is kept after it was last changed; its page says so."""
MOST_OTHERS = 20
"""How many besides the sender one reply can go to."""
ROUTES = frozenset("%!")
"""Signs of a mailbox's name that a host may take for a route to another host (RFC 5321 appendix C)."""


@dataclass(frozen=True)
class FileLabel:
    """What an attachment of a reply is called; `sha256` is hex, `size` counts bytes. `clean` is set once a virus scanner found
    nothing in it."""

    id: str
    name: str
    media_type: str
    size: int
    sha256: str
    clean: bool = False

    def dump(self) -> bytes:
        return json.dumps(asdict(self), ensure_ascii=False).encode()

    @staticmethod
    def load(dumped: bytes) -> "FileLabel":
        return FileLabel(**json.loads(dumped))


@dataclass(frozen=True)
class Written:
    """What stands in a draft, as it was typed; `formatted` is set when marks such as `**` are to be formatting.

    `to_all` says that it is to go to the others of the message too. Who they are is never typed: `others_of`. With `fresh` it is no
    reply but a message of its own to the organisation, about `subject`.
    """

    text: str
    formatted: bool = False
    to_all: bool = False
    fresh: bool = False
    subject: str = ""

    def dump(self) -> bytes:
        return json.dumps(asdict(self), ensure_ascii=False).encode()

    @staticmethod
    def load(dumped: bytes) -> "Written":
        return Written(**json.loads(dumped))


@dataclass(frozen=True)
class ReplyText:
    """`to` is the sender of the message answered (of a new message the organisation's contact), `others` who else (`others_of`).

    Ids keep their angle brackets (RFC 5322 3.6.4).

    `text` is what was typed; `html` the same with light formatting (portal/mime/formatted.py), empty where none was asked for.
    """

    to: str
    author: str
    subject: str
    in_reply_to: str
    references: tuple[str, ...]
    text: str
    files: tuple[FileLabel, ...]
    html: str = ""
    others: tuple[str, ...] = ()

    def dump(self) -> bytes:
        return json.dumps(asdict(self), ensure_ascii=False).encode()

    @staticmethod
    def load(dumped: bytes) -> "ReplyText":
        values = json.loads(dumped)
        files = tuple(FileLabel(**one) for one in values.pop("files"))
        lists = {name: tuple(values.get(name, ())) for name in ("references", "others")}
        return ReplyText(**{**values, **lists, "files": files})


def others_of(named: Iterable[str], domains: Collection[str], without: Iterable[str]) -> tuple[str, ...]:
    """Whom a reply may go to besides the sender: of those whom the message names in To and Cc (`Name <address>` or an address, as a
    Heading has them), at most MOST_OTHERS in one of `domains` and not among `without`, in order and in normal form.

    A header says what its writer likes: only what lies in the organisation's own domains is mailed. Addresses beyond ASCII are left
    out: a host without SMTPUTF8 (RFC 6531) would refuse the mail, and the sender with it. So are those with `%` or `!`: a host may
    take them for a route to a stranger (`m%evil.example@clinic.example`; Postfix does, for who has signed in).
    """
    never, found = {_normal(one) for one in without}, dict[str, None]()
    for one in named:
        known = _normal(one.removesuffix(">").rpartition("<")[2])
        local, _, domain = known.rpartition("@")
        if known.isascii() and domain in domains and not ROUTES & set(local) and known not in never:
            found[known] = None
    return tuple(found)[:MOST_OTHERS]


def _normal(text: str) -> str:
    """An address in normal form; empty when it is none."""
    try:
        return str(address(text))
    except ValueError:
        return ""


def reply_subject(subject: str) -> str:
    """The subject of an answer: one `Re: ` and no more."""
    bare = subject.lstrip()
    while bare[:3].lower() == "re:":
        bare = bare[3:].lstrip()
    return f"Re: {bare}".strip()
