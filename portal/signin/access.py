"""What the sender's side gives a recipient to prove more with: an access code, set or replaced after the message was sent."""

from collections.abc import Sequence

from portal.clock import Source
from portal.db import given
from portal.db.deliveries import Delivery
from portal.db.engine import Database
from portal.model.errors import AskedMalformed, InputRefused
from portal.model.events import AccessCodeSet, By
from portal.model.links import letters
from portal.sealing import chosen
from portal.sealing.seal import Sealer


class AccessCodes:
    """See the module."""

    def __init__(self, db: Database, sealer: Sealer, source: Source) -> None:
        self._db, self._sealer, self._source = db, sealer, source

    def proposal(self) -> str:
        """A code that is easy to read out: ten signs, 50 bits."""
        made = letters(self._source.random(16), 10).lower()
        return f"{made[:5]} {made[5:]}"

    async def set(self, wanted: Sequence[Delivery], code: str, hint: str, by: By) -> int:
        """Gives deliveries an access code, in the place of any other; says how many. Raises InputRefused."""
        hint = " ".join(hint.split())
        try:
            chosen.check_code(code, hint or None)
        except AskedMalformed as error:
            raise InputRefused(f"{str(error).capitalize()}.", "code") from None
        code_hash = await chosen.hashed(code)
        for one in wanted:
            field = await self._sealer.field(one.org_id, one.id, "hint", hint.encode()) if hint else None
            sealed, epoch_id = (field.sealed, field.epoch_id) if field else (None, None)
            row = given.AccessCode(one.id, one.org_id, code_hash, sealed, epoch_id)
            facts = by.facts(self._source.now(), one.org_id, one.message_id, one.id)
            async with self._db.write(AccessCodeSet(**facts, hint=bool(hint))) as tx:
                await given.set_access_code(tx, row)
        return len(wanted)
