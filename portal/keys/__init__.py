"""Keys that wrap keys: `Wrapper` and `Unwrapper`, and their contract.

A KEK belongs to one organisation. Who seals holds a `Wrapper` and can read nothing; an `Unwrapper` is handed to the few
that `portal/assembly.py` names. What is wrapped is bound to organisation, epoch and KEK: moved elsewhere it does not open.
"""

from dataclasses import dataclass
from typing import Protocol

from portal.model.ids import EpochId, KekId, OrgId


@dataclass(frozen=True)
class WrappedKey:
    """A 32-byte epoch key, wrapped. `suite` names how."""

    kek_id: KekId
    suite: str
    wrapped: bytes


class Wrapper(Protocol):
    async def wrap(self, org_id: OrgId, epoch_id: EpochId, key: bytes) -> WrappedKey:
        """Wraps to the organisation's current KEK. Raises KeysAway when it can't be reached."""


class Unwrapper(Protocol):
    async def unwrap(self, org_id: OrgId, epoch_id: EpochId, key: WrappedKey) -> bytes:
        """Raises KeysAway when the KEK can't be reached, ContentDamaged when what is wrapped does not open with it."""
