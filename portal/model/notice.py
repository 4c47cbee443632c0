"""What the outbox carries for a mail, sealed in its row until the mail is sent."""

import json
import re
import string
from dataclasses import asdict, dataclass

from portal.model.errors import InputRefused

MOST_WORDS = 500
STAFF_PASSKEY = "staff-passkey"
"""A ChangePayload about a passkey for the console: it leads there, and to no message."""
_FIELDS = ("organisation", "phone", "address")
_LINK = re.compile(r"https?:|www\.|//|@|\b[\w-]+\.[a-z]{2,}\b", re.IGNORECASE)


def check_words(text: str) -> None:
    """Whether an organisation's own paragraph may stand in its notices: no link, no field but its own name, phone and address.

    Nothing of a message can get in: there is no field for it. Raises InputRefused.
    """
    if len(text) > MOST_WORDS or any(not sign.isprintable() for sign in text):
        raise InputRefused(f"One paragraph of at most {MOST_WORDS} characters.", "notice_words")
    try:
        fields = [
            (name, spec, conversion) for _, name, spec, conversion in string.Formatter().parse(text) if name is not None
        ]
    except ValueError:
        raise InputRefused(
            "Braces stand around a field only: {organisation}, {phone} or {address}.", "notice_words"
        ) from None
    if any(name not in _FIELDS or spec or conversion for name, spec, conversion in fields):
        raise InputRefused("The fields are {organisation}, {phone} and {address}, and no others.", "notice_words")
    if _LINK.search(text):
        raise InputRefused("No links or addresses: the notice has one link, and people check it.", "notice_words")


def filled(text: str, *, organisation: str, phone: str, address: str) -> str:
    """The paragraph as it goes out."""
    return text.format(organisation=organisation, phone=phone, address=address)


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
    """What a person, or a member of the staff, is told of her own ways in: `about` names the occasion, `to` is one of her addresses.

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
