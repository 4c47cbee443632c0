"""The only floor that sees plaintext, keys and stored content together.

seal.py makes what can be read, open.py is the one door to reading it, rewrap.py turns to a new KEK, shred.py destroys.
This root holds what the objects are called and how each is bound to its place (docs/ENVELOPE.md).
"""

from dataclasses import dataclass
from enum import StrEnum

from portal.envelope import encode_fields
from portal.model.ids import EpochId, OrgId


class Kind(StrEnum):
    """What a sealed object is. Two objects of one container never share kind and part."""

    ORIGINAL = "original"
    HEADING = "heading"
    RENDITION = "rendition"
    PART = "part"
    TEXT = "text"
    """What a recipient wrote, and where it goes."""


class GrantFor(StrEnum):
    """Whom a DEK is wrapped for."""

    DELIVERY = "delivery"
    HANDOVER = "handover"


@dataclass(frozen=True)
class Grant:
    """A DEK wrapped for one reader under an epoch key. `container_id` is a message's or a reply's id."""

    org_id: OrgId
    container_id: str
    reader: GrantFor
    reader_id: str
    epoch_id: EpochId
    wrapped: bytes


@dataclass(frozen=True)
class Field:
    """A small value sealed in a row of its own, under an epoch key."""

    epoch_id: EpochId
    sealed: bytes


def object_context(org_id: OrgId, container_id: str, kind: Kind, part_id: str = "") -> bytes:
    fields = (b"portal object v1", org_id.encode(), container_id.encode(), kind.value.encode(), part_id.encode())
    return encode_fields(*fields)


def grant_aad(org_id: OrgId, container_id: str, reader: GrantFor, reader_id: str, epoch_id: EpochId) -> bytes:
    fields = (b"portal grant v1", org_id, container_id, reader.value, reader_id, epoch_id)
    return encode_fields(*(field if isinstance(field, bytes) else field.encode() for field in fields))


def field_aad(org_id: OrgId, row_id: str, kind: str, epoch_id: EpochId) -> bytes:
    return encode_fields(b"portal field v1", org_id.encode(), row_id.encode(), kind.encode(), epoch_id.encode())
