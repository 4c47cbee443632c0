"""Sealing: a fresh DEK for each message or reply, wrapped once per reader; and small fields of rows.

Needs no key that reads: epoch keys are made here, wrapped to the organisation's KEK, and forgotten after 10 minutes or 1,000
grants. What a stolen sealing process can read is what it sealed under its present epoch (docs/THREAT-MODEL.md).
"""

import asyncio
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from portal.blobs import BlobStore, BlobWriter
from portal.clock import Source
from portal.db.engine import Database
from portal.db.grants import EpochRow, add_epoch
from portal.envelope import SALT, Writer, encode_fields, seal
from portal.keys import Wrapper
from portal.model.ids import BlobKey, EpochId, OrgId
from portal.sealing import Field, Grant, Holder, Kind, field_aad, grant_aad, object_context

EPOCH_LIFE = timedelta(minutes=10)
EPOCH_GRANTS = 1000
_NONCE = 12


@dataclass
class _Epoch:
    """An epoch key in use. `left` counts down; when it is used up or old, a new one is made."""

    id: EpochId
    key: AESGCM = dataclass_field(repr=False)
    ends_at: datetime
    left: int = EPOCH_GRANTS


class SealedStream:
    """An object sealed into a blob while it comes in; nothing is held but the chunk being filled."""

    def __init__(self, writer: Writer, blob: BlobWriter, key: BlobKey) -> None:
        self._writer, self._blob, self.key = writer, blob, key
        self.size = 0

    async def write(self, piece: bytes) -> None:
        self.size += len(piece)
        sealed = self._writer.update(piece)
        if sealed:
            await self._blob.write(sealed)

    async def commit(self) -> None:
        """Durable and whole on return. Raises StorageFull or StorageAway; then nothing is left."""
        await self._blob.write(self._writer.finish())
        await self._blob.commit()

    async def abort(self) -> None:
        await self._blob.abort()


class Container:
    """A message's or reply's DEK while it is in hand: seals its objects and grants it to readers."""

    def __init__(self, sealer: "Sealer", org_id: OrgId, container_id: str, dek: bytes) -> None:
        self.org_id, self.id = org_id, container_id
        self._sealer, self._dek = sealer, dek

    def seal(self, kind: Kind, plaintext: bytes, part_id: str = "") -> bytes:
        context = object_context(self.org_id, self.id, kind, part_id)
        return seal(self._dek, context, plaintext, salt=self._sealer.source.random(SALT))

    async def stream(self, kind: Kind, part_id: str = "") -> SealedStream:
        context = object_context(self.org_id, self.id, kind, part_id)
        key = BlobKey(self._sealer.source.new_id())
        writer = Writer(self._dek, context, salt=self._sealer.source.random(SALT))
        return SealedStream(writer, await self._sealer.blobs.create(key), key)

    async def grant(self, holder: Holder) -> Grant:
        epoch = await self._sealer.epoch(self.org_id)
        nonce = self._sealer.source.random(_NONCE)
        wrapped = nonce + epoch.key.encrypt(nonce, self._dek, grant_aad(self.org_id, self.id, holder, epoch.id))
        return Grant(self.org_id, self.id, holder, epoch.id, wrapped)


class Sealer:
    """See the module. `index_key` gives an organisation's key for look-up hashes, which is kept: it never changes."""

    def __init__(
        self, db: Database, blobs: BlobStore, wrapper: Wrapper, index_key: Callable[[OrgId], bytes], source: Source
    ) -> None:
        self.blobs, self.source = blobs, source
        self._db, self._wrapper, self._index_key = db, wrapper, index_key
        self._epochs: dict[OrgId, _Epoch] = {}
        self._index_keys: dict[OrgId, bytes] = {}
        self._making = asyncio.Lock()

    def container(self, org_id: OrgId, container_id: str) -> Container:
        """A container with a fresh DEK, for a message or reply that is being made."""
        return Container(self, org_id, container_id, self.source.random(32))

    def index(self, org_id: OrgId, kind: str, value: str) -> bytes:
        """The keyed hash by which a sealed value is found again: 32 bytes."""
        fields = encode_fields(b"portal index v1", kind.encode(), value.encode())
        key = self._index_keys.get(org_id)
        if key is None:
            key = self._index_keys[org_id] = self._index_key(org_id)
        return hmac.digest(key, fields, hashlib.sha256)

    async def field(self, org_id: OrgId, row_id: str, kind: str, plaintext: bytes) -> Field:
        """Seals a small value for a row: nonce | AES-256-GCM under the epoch key."""
        epoch = await self.epoch(org_id)
        nonce = self.source.random(_NONCE)
        return Field(epoch.id, nonce + epoch.key.encrypt(nonce, plaintext, field_aad(org_id, row_id, kind, epoch.id)))

    async def epoch(self, org_id: OrgId) -> _Epoch:
        """The epoch key to seal under now; its row is durable before it is used."""
        epoch = self._epochs.get(org_id)
        if epoch is None or epoch.left <= 0 or self.source.now() >= epoch.ends_at:
            async with self._making:
                epoch = self._epochs.get(org_id)
                if epoch is None or epoch.left <= 0 or self.source.now() >= epoch.ends_at:
                    epoch = self._epochs[org_id] = await self._new_epoch(org_id)
        epoch.left -= 1
        return epoch

    async def _new_epoch(self, org_id: OrgId) -> _Epoch:
        now, key = self.source.now(), self.source.random(32)
        epoch_id = EpochId(self.source.new_id())
        wrapped = await self._wrapper.wrap(org_id, epoch_id, key)
        row = EpochRow(epoch_id, org_id, wrapped.kek_id, wrapped.suite, wrapped.wrapped, now)
        await self._db.note(add_epoch(row))
        return _Epoch(epoch_id, AESGCM(key), now + EPOCH_LIFE)
