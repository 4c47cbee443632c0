"""What the inbox says about a mail: its heading, message id and references, out of the header block alone.

`heading_of` runs in the server itself at intake. It is bounded by portal/mime/limits.py, linear in the block and total: it never
raises, whatever the bytes are. What can't be read is empty.
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice

from portal.mime import VERSION, Heading, Rendition
from portal.mime.fields import Fields, split
from portal.mime.limits import MAX_ADDRESSES, MAX_HEADER_BYTES, MAX_HEADING_CHARS, MAX_REFERENCES
from portal.mime.words import plain, unencoded

_MESSAGE_ID = re.compile(rb"<[!-;=?-~]{1,900}>")
# A quoted string or comment that is never closed runs to the end: no alternative is tried twice.
_ADDRESS_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"?|<[^>]*>?|[,;()]|:|[^",;:()<]+', re.DOTALL)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_ANSWERS = (b"references", b"in-reply-to")
_QUOTE, _ANGLE = b'"<'
_MAX_TOKENS = 2000
_MISLEADING = str.maketrans("", "", '<>"')


def heading_of(header_block: bytes) -> tuple[Heading, str, tuple[str, ...], int]:
    """The heading, the Message-ID or an empty string, the References, and how many Received fields there are.

    The ids keep their angle brackets and hold only printable ASCII without spaces, at most 50 references (the last ones). A reply
    without References counts its In-Reply-To (RFC 5322 3.6.4).
    """
    return heading_from(split(header_block))


def heading_from(fields: Fields) -> tuple[Heading, str, tuple[str, ...], int]:
    """`heading_of` for a block that has been cut into fields already."""
    to = _mailboxes(fields.first(b"to"), MAX_ADDRESSES)
    heading = Heading(
        subject=plain(unencoded(fields.first(b"subject")), MAX_HEADING_CHARS),
        sender=", ".join(_mailboxes(fields.first(b"from"), 5))[:MAX_HEADING_CHARS],
        to=to,
        cc=_mailboxes(fields.first(b"cc"), max(MAX_ADDRESSES - len(to), 0)),
        sent_at=_sent_at(fields.first(b"date")),
    )
    own = _message_ids(fields.first(b"message-id"))
    references = _message_ids(fields.first(b"references")) or _message_ids(fields.first(b"in-reply-to"))
    received = sum(name == b"received" for name, _ in fields.found)
    return heading, own[0] if own else "", references[-MAX_REFERENCES:], received


def answered(header_block: bytes) -> tuple[str, ...]:
    """Every message id that a mail says it answers, in References and in In-Reply-To; at most 50, the last ones.

    Mail programs shorten References, so one field does not stand for the other.
    """
    fields = split(header_block).found
    named = [value for wanted in _ANSWERS for name, value in fields if name == wanted]
    found = dict.fromkeys(one for value in named for one in _message_ids(value))
    return tuple(found)[-MAX_REFERENCES:]


def unparsable(head: bytes | bytearray) -> Rendition:
    """The rendition of a mail that can't be parsed; `head` is its beginning, for the heading."""
    heading = heading_of(bytes(memoryview(head)[:MAX_HEADER_BYTES]))[0]
    return Rendition(VERSION, heading, "", None, (), ("unparsable",))


def _message_ids(value: bytes) -> tuple[str, ...]:
    return tuple(token.decode("ascii") for token in _MESSAGE_ID.findall(value))


def _sent_at(value: bytes) -> datetime | None:
    try:
        sent_at = parsedate_to_datetime(value[:100].decode("ascii"))
        # RFC 5322 3.3: -0000 says UTC without a claim about the sender's zone.
        return sent_at.replace(tzinfo=UTC) if sent_at.tzinfo is None else sent_at.astimezone(UTC)
    except Exception:
        return None  # the library raises half a dozen types for what is no date


def _mailboxes(value: bytes, limit: int) -> tuple[str, ...]:
    """The display texts of an address list (RFC 5322 3.4), at most `limit`; an ellipsis at the end says that there are more.

    Group names are dropped; a comment is the name if there is no other.
    """
    shown: list[str] = []
    name, comment, angle, depth = b"", b"", b"", 0
    for match in islice(_ADDRESS_TOKEN.finditer(value + b","), _MAX_TOKENS):
        token = match[0]
        if token in b"()":
            depth = depth + 1 if token == b"(" else max(depth - 1, 0)
        elif depth:
            comment += token
        elif token in b",;":
            if text := _display(name, comment, angle):
                if len(shown) == limit:
                    return (*shown, "…")
                shown.append(text)
            name, comment, angle = b"", b"", b""
        elif token == b":":
            name = b""
        elif token[0] == _ANGLE:
            angle = token.strip(b"<>")
        else:
            name += _QUOTED_PAIR.sub(rb"\1", token[1:].removesuffix(b'"')) if token[0] == _QUOTE else token
    text = _display(name, comment, angle)
    return (*shown, text) if text else tuple(shown)


def _display(name: bytes, comment: bytes, angle: bytes) -> str:
    """`Name <address>`. A name can't bring angle brackets of its own: it would pass for another address."""
    if not angle:
        name, angle = comment, name
    address = plain(unencoded(angle), 320).translate(_MISLEADING)
    label = plain(unencoded(name or comment), MAX_HEADING_CHARS).translate(_MISLEADING).strip()
    if not label or label == address:
        return address
    return f"{label[: MAX_HEADING_CHARS - len(address) - 3]} <{address}>" if address else label
