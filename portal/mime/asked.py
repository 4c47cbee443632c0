"""What a sender asks of the portal in a mail's own header: a class, an access code with its hint, a phone number.

`X-Portal-Class`, `X-Portal-Access-Code`, `X-Portal-Access-Hint`, `X-Portal-Phone`. Read by intake out of the header block; linear and
bounded as `heading_of` is. What is written twice with different values, or can't be what it says, is refused and never guessed.
"""

import re
from dataclasses import dataclass, field

from portal.mime.fields import split
from portal.mime.words import unencoded
from portal.model.errors import AskedMalformed
from portal.model.phones import number

_CLASS = re.compile(r"[a-z][a-z0-9-]{0,62}\Z")
SHORTEST_CODE, LONGEST_CODE, LONGEST_HINT = 6, 64, 120
_IGNORED = str.maketrans("", "", " -")


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
    for name, value in split(header_block).found:
        if name.startswith(b"x-portal-"):
            key, text = name.decode("ascii"), unencoded(value).strip()
            if said.setdefault(key, text) != text:
                raise AskedMalformed(f"{key} twice")
    unknown = set(said) - {"x-portal-class", "x-portal-access-code", "x-portal-access-hint", "x-portal-phone"}
    if unknown:
        raise AskedMalformed(f"unknown: {sorted(unknown)[0][:40]}")
    code, hint = said.get("x-portal-access-code"), said.get("x-portal-access-hint")
    cls = said.get("x-portal-class")
    if cls is not None and not _CLASS.match(cls):
        raise AskedMalformed("no name of a class")
    if code is not None:
        check_code(code, hint)
    elif hint is not None:
        raise AskedMalformed("a hint without a code")
    return Asked(cls, code, hint, _phone(said.get("x-portal-phone")))


def check_code(code: str, hint: str | None) -> None:
    """Raises AskedMalformed for a code that is too easy or long, or a hint that gives it away."""
    bare = code.translate(_IGNORED)
    if not SHORTEST_CODE <= len(bare) <= LONGEST_CODE or not bare.isprintable() or len(set(bare)) < 3:
        raise AskedMalformed("an access code has 6 to 64 signs, and not all alike")
    if hint is not None and (len(hint) > LONGEST_HINT or not hint.isprintable()):
        raise AskedMalformed("a hint is one line of at most 120 signs")
    if hint is not None and bare.casefold() in hint.translate(_IGNORED).casefold():
        raise AskedMalformed("the hint holds the code")


def _phone(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return number(text)
    except ValueError:
        raise AskedMalformed("a phone number begins with + and the country's code") from None
