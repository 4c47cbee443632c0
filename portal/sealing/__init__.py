"""The only floor that sees plaintext, keys and stored content together.

seal.py makes what can be read, open.py is the one door to reading it, rewrap.py turns to a new KEK, shred.py destroys.
This root holds what the objects are called and how each is bound to its place (docs/ENVELOPE.md).
"""

from dataclasses import dataclass
from enum import StrEnum

from portal.db import grants
from portal.db.hot import Statement
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
    DRAFT = "draft"
    """What a recipient has typed so far."""


class GrantFor(StrEnum):
    """Whom a DEK is wrapped for."""

    DELIVERY = "delivery"
    HANDOVER = "handover"


@dataclass(frozen=True)
class Holder:
    """Whom a DEK is wrapped for: a delivery and the recipient it is for, or a reply that is handed over.

    The recipient stands in the grant's AAD and not in its row: a delivery that is given to somebody else does not open.
    """

    reader: GrantFor
    reader_id: str
    recipient_id: str = ""


@dataclass(frozen=True)
class Grant:
    """A DEK wrapped for one holder under an epoch key. `container_id` is a message's, a reply's or an attachment's id."""

    org_id: OrgId
    container_id: str
    holder: Holder
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


def grant_aad(org_id: OrgId, container_id: str, holder: Holder, epoch_id: EpochId) -> bytes:
    held_by = (holder.reader.value, holder.reader_id, holder.recipient_id)
    return encode_fields(b"portal grant v1", *(one.encode() for one in (org_id, container_id, *held_by, epoch_id)))


def field_aad(org_id: OrgId, row_id: str, kind: str, epoch_id: EpochId) -> bytes:
    return encode_fields(b"portal field v1", org_id.encode(), row_id.encode(), kind.encode(), epoch_id.encode())


def add_grant(grant: Grant) -> Statement:
    """The row of a grant."""
    holder = grant.holder
    return grants.add_grant(
        grant.container_id, holder.reader.value, holder.reader_id, grant.org_id, grant.epoch_id, grant.wrapped
    )
