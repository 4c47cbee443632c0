"""Where sealed content lies: `BlobStore` and its contract. A blob is written once and never changed."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Protocol

from portal.model.ids import BlobKey


class BlobWriter(Protocol):
    """A blob on its way in. When `commit` returns, it is durable and whole; before that nobody can see it."""

    async def write(self, piece: bytes) -> None:
        """Raises StorageFull or StorageAway."""

    async def commit(self) -> None:
        """Raises StorageFull or StorageAway; then nothing is left."""

    async def abort(self) -> None:
        """Leaves nothing behind; never raises, and may follow anything."""


class BlobReader(Protocol):
    """An open blob. Keeps readable what it opened, also when the blob is deleted meanwhile."""

    size: int

    def read_at(self, offset: int, length: int) -> bytes: ...
    def close(self) -> None: ...


class BlobStore(Protocol):
    async def create(self, key: BlobKey) -> BlobWriter:
        """Raises StorageAway, also when a blob of that key is there: put once."""

    async def open(self, key: BlobKey) -> BlobReader:
        """Raises NotFound when there is none, StorageAway when the store does not answer."""

    async def delete(self, key: BlobKey) -> None:
        """Durable on return; deleting what is not there is fine."""

    def list(self) -> AsyncIterator[tuple[BlobKey, datetime]]:
        """Every committed blob and when it was made."""

    async def sweep(self, before: datetime) -> int:
        """Deletes what was begun before `before` and never committed; returns how many."""

    async def check(self) -> None:
        """Writes, reads and deletes a probe. Raises StorageFull or StorageAway."""
