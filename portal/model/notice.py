"""What the outbox carries for a mail, sealed in its row until the mail is sent."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class NoticePayload:
    """What a notice or reminder says: the link's token and its reference, in which language; and the token of its return path."""

    token: str
    reference: str
    language: str
    return_token: str

    def dump(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def load(dumped: bytes) -> "NoticePayload":
        return NoticePayload(**json.loads(dumped))


@dataclass(frozen=True)
class CodePayload:
    """What the mail, text or call with a code says, and the token of its return path."""

    code: str
    reference: str
    language: str
    return_token: str
    channel: str = "mail"

    def dump(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def load(dumped: bytes) -> "CodePayload":
        return CodePayload(**json.loads(dumped))


@dataclass(frozen=True)
class ChangePayload:
    """What a person is told of her own ways in: `about` names the occasion, `to` is one of her addresses.

    `stop_token` is of the link that stops a recovery, `stop_letters` are typed there; `detail` is a moment (ISO 8601) or empty.
    """

    about: str
    to: str
    language: str
    return_token: str
    stop_token: str = ""
    stop_letters: str = ""
    detail: str = ""

    def dump(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def load(dumped: bytes) -> "ChangePayload":
        return ChangePayload(**json.loads(dumped))


@dataclass(frozen=True)
class StaffCodePayload:
    """What the mail with a sender's code says, where it goes, and the token of its return path."""

    to: str
    code: str
    reference: str
    return_token: str

    def dump(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def load(dumped: bytes) -> "StaffCodePayload":
        return StaffCodePayload(**json.loads(dumped))


@dataclass(frozen=True)
class NewsPayload:
    """What a sender is told of her messages: `lines` are (what happened, when, of which message, for whom partly hidden)."""

    to: str
    lines: tuple[tuple[str, str, str, str], ...]

    def dump(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def load(dumped: bytes) -> "NewsPayload":
        values = json.loads(dumped)
        return NewsPayload(values["to"], tuple((a, b, c, d) for a, b, c, d in values["lines"]))
