"""Names of rows: UUIDv7 (RFC 9562 5.7), so that ids sort by the time they were made."""

from datetime import UTC, datetime, timedelta
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
PasskeyId = NewType("PasskeyId", str)
MemberId = NewType("MemberId", str)
RecoveryId = NewType("RecoveryId", str)
StaffId = NewType("StaffId", str)
HoldId = NewType("HoldId", str)
CertificateId = NewType("CertificateId", str)
CredentialId = NewType("CredentialId", str)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def uuid7(now: datetime, randomness: bytes) -> str:
    """A UUIDv7 as 36 characters, from `now` (aware) and 8 random bytes.

    The 12 bits behind the version hold the fraction of the millisecond (RFC 9562 6.2, method 3), so that ids made within one
    sort too. Raises ValueError when `randomness` is not 8 bytes long.
    """
    if len(randomness) != 8:
        raise ValueError("a UUIDv7 takes 8 random bytes")
    micros = (now - _EPOCH) // _MICROSECOND
    milliseconds, fraction = divmod(micros, 1000)
    number = milliseconds << 80 | 0x7 << 76 | (fraction * 4096 // 1000) << 64
    number |= 0x2 << 62 | int.from_bytes(randomness, "big") >> 2
    return str(UUID(int=number))


def first_id(at: datetime) -> str:
    """Sorts before every id made from the millisecond of `at` on, and after those made before it."""
    milliseconds = max(0, (at - _EPOCH) // timedelta(milliseconds=1))
    return str(UUID(int=milliseconds << 80))


def is_id(text: str) -> bool:
    """Whether `text` is written as this portal writes its ids (canonical, lower case)."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
