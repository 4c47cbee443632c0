"""What delivery reports (RFC 3464) and read receipts (RFC 8098) say, out of their machine-readable part.

Cut with the same linear, bounded readers as any mail: reports come from anybody's mail host, and say what anybody likes.
"""

import re
from collections.abc import Iterator

from portal.mime import Report
from portal.mime.fields import Fields, Raw, split
from portal.mime.limits import MAX_HEADING_CHARS, MAX_TOLD, Unparsable
from portal.mime.structure import Entity, tree
from portal.mime.words import plain, unencoded

MAX_REPORT_BYTES = 256 * 1024
"""This much of a report is looked at: its machine-readable part comes before the returned message (RFC 6522)."""
_MAX_BLOCKS = 1000
_STATUS = re.compile(rb"[245]\.\d{1,3}\.\d{1,3}")
_SAID = re.compile(rb"\s*smtp\s*;\s*[245]\d\d[ -]([245]\.\d{1,3}\.\d{1,3})(?!\d)", re.IGNORECASE)


def read_report(raw: Raw) -> tuple[str, str] | None:
    """Action (lower case) and Status of the first recipient in a delivery report; None when it is none. Never raises."""
    raw = bytes(raw[:MAX_REPORT_BYTES])
    try:
        root = tree(raw).root
    except Unparsable:
        return None
    if root.media_type != "multipart/report":
        return None
    status = next((part for part in root.parts if part.media_type == "message/delivery-status"), None)
    return _first_recipient(status) if status else None


def reports(content: bytes, part: str) -> list[Report]:
    """What the body of a message/delivery-status or message/disposition-notification says of each recipient."""
    content = content[:MAX_REPORT_BYTES]
    found: list[Report] = []
    for block in _blocks(content, 0, len(content)):
        said = _of_recipient(block, part) or _of_reader(block, part)
        if said and said not in found:
            found.append(said)
        if len(found) == MAX_TOLD:
            break
    return found


def _of_recipient(block: Fields, part: str) -> Report | None:
    action = block.first(b"action").strip().lower()
    if not action:
        return None
    recipient = block.first(b"original-recipient") or block.first(b"final-recipient")
    reason = _typed(block.first(b"diagnostic-code"))
    return Report(part, _typed(recipient), _word(action), _status(block), reason)


def _status(block: Fields) -> str:
    """Where Status says nothing but the class (Exim's is always x.0.0), the code in the host's own words (RFC 3463 2)."""
    found = _STATUS.search(block.first(b"status"))
    if found and found[0].endswith(b".0.0"):
        found = _SAID.match(block.first(b"diagnostic-code")) or found
    return found[found.re.groups].decode() if found else ""


def _of_reader(block: Fields, part: str) -> Report | None:
    disposition = block.first(b"disposition")
    if not disposition:
        return None
    recipient = block.first(b"original-recipient") or block.first(b"final-recipient")
    done = disposition.rpartition(b";")[2].partition(b"/")[0]
    return Report(part, _typed(recipient), _word(done.strip().lower()), "", "")


def _typed(value: bytes) -> str:
    """`rfc822; alice@patients.example` without its type."""
    return plain(unencoded(value.partition(b";")[2] or value), MAX_HEADING_CHARS)


def _word(value: bytes) -> str:
    return plain(value[:20].decode("ascii", "replace"), 20)


def _blocks(raw: Raw, start: int, end: int) -> Iterator[Fields]:
    """They are separated by empty lines; the first is about the message, each other about a recipient."""
    at = start
    for _ in range(_MAX_BLOCKS):
        while at < end and raw[at] in b"\r\n":
            at += 1
        if at >= end:
            return
        block = split(raw, at, end)
        yield block
        at = max(block.body_at, raw.find(b"\n", at, end) + 1 or end)


def _first_recipient(part: Entity) -> tuple[str, str] | None:
    for block in _blocks(part.source, part.start, part.end):
        action = block.first(b"action").strip().lower()
        if action:
            return action[:20].decode("ascii", "replace"), _status(block)
    return None
