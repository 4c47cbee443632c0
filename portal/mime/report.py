"""What a delivery report says (RFC 3464), out of its machine-readable part.

Cut with the same linear, bounded readers as any mail: reports come from anybody's mail host.
"""

import re

from portal.mime.fields import Raw, split
from portal.mime.limits import Unparsable
from portal.mime.structure import Entity, tree

MAX_REPORT_BYTES = 256 * 1024
"""This much of a report is looked at: its machine-readable part comes before the returned message (RFC 6522)."""
_STATUS = re.compile(rb"[245]\.\d{1,3}\.\d{1,3}")


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
    return _first_recipient(raw, status) if status else None


def _first_recipient(raw: bytes, part: Entity) -> tuple[str, str] | None:
    """The blocks are separated by empty lines; the first is about the message, each other about a recipient."""
    at = part.start
    while at < part.end:
        block = split(raw, at, part.end)
        action = block.first(b"action").strip().lower()
        if action:
            found = _STATUS.search(block.first(b"status"))
            return action[:20].decode("ascii", "replace"), found[0].decode() if found else ""
        at = max(block.body_at, at + 1)
    return None
