"""Whether a mail asks for a read receipt (RFC 8098) that the portal may offer to send. Linear and bounded as `heading_of` is."""

import re

from portal.mime.fields import split
from portal.model.parties import address

_FIELD, _OPTIONS = b"disposition-notification-to", b"disposition-notification-options"
_ONE = re.compile(rb"[^<>,;]*<([^<>\s,;]+)>\s*\Z|([^<>\s,;]+)\s*\Z")


def asks_receipt(header_block: bytes, mail_from: str) -> bool:
    """True for one field with one address, that of the envelope's sender: nobody else is told who read what (RFC 8098 2.1).

    Where an option is required that nobody here knows there is no receipt (RFC 8098 2.2).
    """
    if _FIELD not in header_block.lower():
        return False
    fields = split(header_block).found
    wanted = [value for name, value in fields if name == _FIELD]
    found = _ONE.match(wanted[0].strip()) if len(wanted) == 1 else None
    if found is None or any(name == _OPTIONS and b"required" in value.lower() for name, value in fields):
        return False
    try:
        return address((found[1] or found[2]).decode("utf-8")) == address(mail_from)
    except ValueError:
        return False
