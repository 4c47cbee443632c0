"""How a person gets in, as the help desk and operators see it: what she has, where she is signed in, recoveries under way.

Each look and each act is on record. Nobody here sees a secret, and nobody can sign in as her: recovery waits, and tells her.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from portal.clock import Source
from portal.db import given, sessions
from portal.db.engine import Database
from portal.db.people import Recovery
from portal.db.sessions import Listed
from portal.model.errors import InputRefused
from portal.model.events import By, PersonLookedUp, PhoneSet, SessionEnded
from portal.model.ids import OrgId, RecipientId
from portal.model.phones import number
from portal.sealing.seal import Sealer
from portal.signin.enrolled import Enrolled, enrolled
from portal.signin.recovery import Begun, HelpDesk
from portal.signin.sessions import IDLE


@dataclass(frozen=True)
class Ways:
    """What a person has to get in with, and where she is signed in."""

    has: Enrolled
    has_phone: bool
    sessions: Sequence[Listed]
    recoveries: Sequence[Recovery]


class PersonDesk:
    """See the module."""

    def __init__(self, db: Database, sealer: Sealer, source: Source, desk: HelpDesk) -> None:
        self._db, self._sealer, self._source, self._desk = db, sealer, source, desk

    async def look(self, org_id: OrgId, recipient_id: RecipientId, by: By) -> Ways:
        now = self._source.now()
        await self._db.record(PersonLookedUp(**by.facts(now, org_id), recipient=recipient_id))
        async with self._db.read() as tx:
            phone = await given.phone(tx, recipient_id)
            open_now = await sessions.open_of(tx, recipient_id, now, now - IDLE)
        has = await enrolled(self._db, recipient_id)
        return Ways(has, phone is not None, open_now, await self._desk.of(recipient_id))

    async def set_phone(self, org_id: OrgId, recipient_id: RecipientId, text: str, by: By) -> str:
        """Gives a person's number. Raises InputRefused."""
        try:
            wanted = number(text)
        except ValueError:
            raise InputRefused(
                "A phone number begins with + and the country's code, such as +1 555 0100 000.", "phone"
            ) from None
        field = await self._sealer.field(org_id, recipient_id, "phone", wanted.encode())
        async with self._db.write(PhoneSet(**by.facts(self._source.now(), org_id), recipient=recipient_id)) as tx:
            await given.set_phone(tx, given.Phone(recipient_id, org_id, field.sealed, field.epoch_id))
        return wanted

    async def end_sessions(self, org_id: OrgId, recipient_id: RecipientId, by: By) -> int:
        """Signs a person out everywhere; says how many sessions ended."""
        now = self._source.now()
        async with self._db.read() as tx:
            refs = tuple(one.ref for one in await sessions.open_of(tx, recipient_id, now, now - IDLE))
        event = SessionEnded(**by.facts(now, org_id), ended=refs, why=by.who.value)
        async with self._db.write(event) as changed:
            return await sessions.end_all(changed, recipient_id)

    async def recover(self, org_id: OrgId, recipient_id: RecipientId, how: str, language: str, by: By) -> Begun:
        """Begins a recovery of somebody who was proofed anew. Raises InputRefused."""
        return await self._desk.begin(org_id, recipient_id, by, how, language)

    async def stop_recovery(self, recipient_id: RecipientId, by: By) -> bool:
        """Stops the recovery that is under way; says whether there was one."""
        stopped = [await self._desk.stop(one, by) for one in await self._desk.of(recipient_id)]
        return any(stopped)
