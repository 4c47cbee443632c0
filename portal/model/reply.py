"""A reply as it is sealed: what was written, to whom it goes, and what it answers."""

import json
from dataclasses import asdict, dataclass
from datetime import timedelta

DRAFT_LIFE = timedelta(days=7)
"""How long an unsent reply is kept after it was last changed; its page says so."""


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
    """What stands in a draft, as it was typed; `formatted` is set when marks such as `**` are to be formatting."""

    text: str
    formatted: bool = False

    def dump(self) -> bytes:
        return json.dumps(asdict(self), ensure_ascii=False).encode()

    @staticmethod
    def load(dumped: bytes) -> "Written":
        return Written(**json.loads(dumped))


@dataclass(frozen=True)
class ReplyText:
    """`to` is the sender of the message answered; ids keep their angle brackets (RFC 5322 3.6.4).

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

    def dump(self) -> bytes:
        return json.dumps(asdict(self), ensure_ascii=False).encode()

    @staticmethod
    def load(dumped: bytes) -> "ReplyText":
        values = json.loads(dumped)
        files = tuple(FileLabel(**one) for one in values.pop("files"))
        return ReplyText(**{**values, "references": tuple(values["references"]), "files": files})


def reply_subject(subject: str) -> str:
    """The subject of an answer: one `Re: ` and no more."""
    bare = subject.lstrip()
    while bare[:3].lower() == "re:":
        bare = bare[3:].lstrip()
    return f"Re: {bare}".strip()
