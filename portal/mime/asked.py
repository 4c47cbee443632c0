"""What a sender asks of the portal in a mail's own header: a class, an access code with its hint, a phone number.

`X-Portal-Class`, `X-Portal-Access-Code`, `X-Portal-Access-Hint`, `X-Portal-Phone`. Read by intake out of the header block; linear and
bounded as `heading_of` is. What is written twice with different values, can't be what it says, or stands where no field is read any
more, is refused and never guessed: a message must not come under a weaker class than its sender asked for. Whether an access code is
good enough is judged in portal/sealing/chosen.py, in the form that is hashed.
"""

import re
from dataclasses import dataclass, field

from portal.mime.fields import split
from portal.mime.words import unencoded
from portal.model.errors import AskedMalformed
from portal.model.phones import number

_CLASS = re.compile(r"[a-z][a-z0-9-]{0,62}\Z")
_END = re.compile(rb"(?:\A|\n)\r?\n")
_WISH = re.compile(rb"^x-portal-", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Asked:
    """What the header asked for; None where it said nothing."""

    cls: str | None = None
    access_code: str | None = field(default=None, repr=False)
    hint: str | None = field(default=None, repr=False)
    phone: str | None = field(default=None, repr=False)


def asked_of(header_block: bytes) -> Asked:
    """Raises AskedMalformed."""
    said: dict[str, str] = {}
    fields = split(header_block)
    if _WISH.search(header_block, fields.body_at, max(fields.body_at, _end_of(header_block))):
        raise AskedMalformed("behind the last field that is read")
    for name, value in fields.found:
        if name.startswith(b"x-portal-"):
            key, text = name.decode("ascii"), _text(value)
            if said.setdefault(key, text) != text:
                raise AskedMalformed(f"{key} twice")
    unknown = set(said) - {"x-portal-class", "x-portal-access-code", "x-portal-access-hint", "x-portal-phone"}
    if unknown:
        raise AskedMalformed(f"unknown: {sorted(unknown)[0][:40]}")
    code, hint = said.get("x-portal-access-code"), said.get("x-portal-access-hint")
    cls = said.get("x-portal-class")
    if cls is not None and not _CLASS.match(cls):
        raise AskedMalformed("no name of a class")
    if hint is not None and code is None:
        raise AskedMalformed("a hint without a code")
    return Asked(cls, code, hint, _phone(said.get("x-portal-phone")))


def _end_of(header_block: bytes) -> int:
    """Where the header ends: at the first empty line (RFC 5322 2.1), which `split` reaches only when it could read all before."""
    found = _END.search(header_block)
    return found.start() if found else len(header_block)


def _text(value: bytes) -> str:
    """ASCII, encoded words or UTF-8 (RFC 6532). Of other bytes only a guess can make text, and nobody could type a guessed code."""
    try:
        value.decode("utf-8")
    except ValueError:
        raise AskedMalformed("bytes of an unknown charset") from None
    return unencoded(value).strip()


def _phone(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return number(text)
    except ValueError:
        raise AskedMalformed("a phone number begins with + and the country's code") from None
