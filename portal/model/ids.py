"""Names of rows: UUIDv7 (RFC 9562 5.7), so that ids sort by the time they were made."""

from datetime import datetime
from typing import NewType
from uuid import UUID

OrgId = NewType("OrgId", str)
RelayId = NewType("RelayId", str)
PolicyId = NewType("PolicyId", str)
MessageId = NewType("MessageId", str)
DeliveryId = NewType("DeliveryId", str)
RecipientId = NewType("RecipientId", str)
ReplyId = NewType("ReplyId", str)
EpochId = NewType("EpochId", str)
KekId = NewType("KekId", str)
JobId = NewType("JobId", str)
CodeId = NewType("CodeId", str)
EventId = NewType("EventId", str)
BlobKey = NewType("BlobKey", str)
PartId = NewType("PartId", str)


def uuid7(now: datetime, randomness: bytes) -> str:
    """A UUIDv7 as 36 characters, from `now` (aware) and 10 random bytes.

    Raises ValueError when `randomness` is not 10 bytes long.
    """
    if len(randomness) != 10:
        raise ValueError("a UUIDv7 takes 10 random bytes")
    milliseconds = int(now.timestamp() * 1000)
    value = milliseconds.to_bytes(6, "big") + randomness
    number = int.from_bytes(value, "big")
    number = (number & ~(0xF << 76)) | (0x7 << 76)  # version
    number = (number & ~(0x3 << 62)) | (0x2 << 62)  # variant
    return str(UUID(int=number))


def is_id(text: str) -> bool:
    """Whether `text` is written as this portal writes its ids (canonical, lower case)."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
