"""From a link or a typed reference to a door: it names the delivery and carries no authority.

Following a link changes nothing; mail scanners do it within seconds, with a real browser. A door is a signed, short-lived
value in the address of the sign-in pages, so that the link itself appears there once. An unknown reference gets a door
too, which looks the same and never opens.
"""

import hashlib
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from datetime import timedelta

from itsdangerous import BadSignature, URLSafeTimedSerializer

from portal.clock import Source
from portal.db import links
from portal.db.engine import Database
from portal.db.links import Named
from portal.model.errors import NotFound
from portal.model.events import LinkFollowed, SignInFailed, Who
from portal.model.ids import DeliveryId
from portal.model.links import keyed_hash, link_token, read_reference, token_hash
from portal.signin import Whose
from portal.signin.throttle import Throttle

DOOR_LIFE = timedelta(minutes=60)


def serializer(key: bytes, salt: str) -> URLSafeTimedSerializer:
    """Signed, timed values for one purpose (SHA-256; the library's own default is SHA-1)."""
    return URLSafeTimedSerializer(
        key, salt=salt, signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256}
    )


@dataclass(frozen=True)
class Door:
    """Where a code can be asked for. `named` is None behind a door that never opens.

    Behind a typed reference nothing is told of the delivery before the code: known and unknown look alike. `key` is the
    reference's hash, by which tries on a door that never opens are counted as those on a real one are.
    """

    text: str
    named: Named | None
    by_reference: bool
    key: str


class Links:
    """See the module. `references_key` hashes references, `tokens_key` signs doors."""

    def __init__(self, db: Database, source: Source, *, references_key: bytes, tokens_key: bytes) -> None:
        self._db, self._source = db, source
        self._key = references_key
        self._doors = serializer(tokens_key, "door")
        self._throttle = Throttle(db, source, references_key)

    async def follow(self, token: str, origin: str, *, machine: bool) -> Door:
        """The door behind a link. Raises NotFound when there is none. Puts the fetch on record."""
        named = await links.by_token(self._db, token_hash(token))
        if named is None:
            raise NotFound("no such link")
        await self._record(named, origin, machine=machine, by_reference=False)
        return self._door(named)

    async def find(self, typed: str, origin: str) -> Door | None:
        """The door for a typed reference; None when what was typed is no reference at all. Raises TooManyTries."""
        await self._throttle.references(origin)
        now = self._source.now()
        reference = read_reference(typed)
        if reference is None:
            return None
        hashed = keyed_hash(self._key, reference)
        named = await links.by_reference(self._db, hashed)
        if named is None:
            event = SignInFailed(at=now, who=Who.STRANGER, origin=origin, method="reference", reason="unknown")
            await self._db.record(event)
        else:
            await self._record(named, origin, machine=False, by_reference=True)
        return self._door(named, link_token(hashed))

    async def enter(self, text: str) -> Door:
        """The door written in an address. Raises NotFound when it is forged or too old."""
        try:
            delivery_id, key = self._doors.loads(text, max_age=int(DOOR_LIFE.total_seconds()))
        except (BadSignature, ValueError, TypeError):
            raise NotFound("no such door, or it was open too long") from None
        if key:
            return Door(text, await links.by_reference(self._db, urlsafe_b64decode(f"{key}=")), True, key)
        return Door(text, await links.by_delivery(self._db, DeliveryId(delivery_id)), False, "")

    async def inside(self, whose: Whose, delivery_id: DeliveryId) -> Door:
        """The door of a delivery for somebody whose session says that it is hers. Raises NotFound."""
        named = await links.by_delivery(self._db, delivery_id)
        if named is None or (named.org_id, named.recipient_id) != (whose.org_id, whose.recipient_id):
            raise NotFound("no delivery of this person")
        return self._door(named)

    def _door(self, named: Named | None, key: str = "") -> Door:
        """A door is signed, not sealed: behind a reference it holds the reference's hash, known or not, and no id.

        Base64 keeps its length the same: hexadecimal would be compressed by the library, each hash a little otherwise.
        """
        delivery_id = named.delivery_id if named and not key else ""
        return Door(self._doors.dumps([delivery_id, key]), named, bool(key), key)

    async def _record(self, named: Named, origin: str, *, machine: bool, by_reference: bool) -> None:
        event = LinkFollowed(
            at=self._source.now(),
            who=Who.STRANGER,
            org_id=named.org_id,
            message_id=named.message_id,
            delivery_id=named.delivery_id,
            origin=origin,
            machine=machine,
            by_reference=by_reference,
        )
        await self._db.record(event)
