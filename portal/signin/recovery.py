"""When the ways in are lost: recovery codes that were kept on paper, and the help desk.

Ten codes, 65 random bits each, kept as argon2id hashes, each good once. Using one ends all other sessions and is told at every
known address. Help desk: somebody proofs the person anew and says how; every known address is told, anybody there can stop it,
and after a delay all ways in but the mailbox are gone. What the help desk gave her is then the second channel for two weeks:
recovery never leaves a weaker way in behind it.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from portal.clock import Source
from portal.db import outbox, passkeys, people, sessions, ways
from portal.db.engine import Database
from portal.db.people import Recovery
from portal.db.sessions import Session
from portal.db.tx import WriteTx
from portal.db.ways import RecoveryCode
from portal.model.assurance import Assurance, Method, Proof
from portal.model.errors import CodeRefused, InputRefused, NotFound, TooManyTries
from portal.model.events import (
    By,
    RecoveryApplied,
    RecoveryBegun,
    RecoveryCodesMade,
    RecoveryStopped,
    SignedIn,
    SignInFailed,
    SteppedUp,
    Who,
)
from portal.model.ids import DeliveryId, OrgId, RecipientId, RecoveryId
from portal.model.links import TOKEN_BYTES, code_reference, letters, link_token, token_hash
from portal.sealing import chosen
from portal.signin import Client, own
from portal.signin.enrolled import check_may_change
from portal.signin.guard import Guard
from portal.signin.sessions import Sessions
from portal.signin.tell import Tell

CODES = 10
_SIGNS = 13
GIVEN_LIFE = timedelta(days=14)
"""How long the help desk's code counts after the recovery took effect."""
HOW = ("in-person", "video", "called-back", "letter")
"""Ways in which a person is proofed anew."""


class RecoveryCodes:
    """The codes on paper."""

    def __init__(self, db: Database, sessions: Sessions, guard: Guard, tell: Tell, source: Source) -> None:
        self._db, self._sessions, self._guard, self._tell, self._source = db, sessions, guard, tell, source

    async def make(self, session: Session, client: Client, language: str) -> list[str]:
        """Ten new codes in the place of all earlier ones, shown this once. Raises ProofNeeded."""
        await check_may_change(self._db, session, self._source.now())
        vouched = min(session.assurance, Assurance.TWO_CHANNELS)
        made = [f"{slot}{letters(self._source.random(16), _SIGNS)}" for slot in range(CODES)]
        kept = [RecoveryCode(slot, await chosen.hashed(one), vouched) for slot, one in enumerate(made)]
        event = RecoveryCodesMade(**own(session, client, self._source.now()), vouched=int(vouched))
        jobs = await self._tell.jobs(session.org_id, session.recipient_id, "recovery-codes", language)
        async with self._db.write(event) as tx:
            await ways.replace_codes(tx, session.org_id, session.recipient_id, kept)
            await outbox.enqueue(tx, *jobs)
        self._tell.wake()
        return [f"{one[:2]}-{one[2:6]}-{one[6:10]}-{one[10:]}" for one in made]

    async def step_up(
        self, session: Session, typed: str, client: Client, language: str, delivery_id: DeliveryId | None
    ) -> str:
        """Raises the session and ends all others; gives the new cookie. Raises CodeRefused, TooManyTries."""
        try:
            code = await self._matching(session, typed)
        except (CodeRefused, TooManyTries) as error:
            facts = own(session, client, self._source.now(), delivery_id)
            reason = "throttled" if isinstance(error, TooManyTries) else str(error)
            await self._db.record(SignInFailed(**facts, method=Method.RECOVERY_CODE.value, reason=reason))
            raise
        jobs = await self._tell.jobs(session.org_id, session.recipient_id, "recovery-used", language)

        async def use(tx: WriteTx[SignedIn | SteppedUp]) -> None:
            if not await ways.use_code(tx, session.recipient_id, code.slot):
                raise CodeRefused("the code was used already")
            await self._guard.forget(tx, "recovery", session.recipient_id)
            await outbox.enqueue(tx, *jobs)

        proof = Proof(Method.RECOVERY_CODE, code.vouched)
        token = await self._sessions.step_up(session, proof, client, use, delivery_id=delivery_id, end_others=True)
        self._tell.wake()
        return token

    async def _matching(self, session: Session, typed: str) -> RecoveryCode:
        try:
            signs = chosen.plain(typed)
        except ValueError:
            raise CodeRefused("not a code") from None
        if len(signs) != _SIGNS + 1 or signs[0] not in "0123456789":
            raise CodeRefused("not a code")
        await self._guard.count("recovery", session.recipient_id)
        async with self._db.read() as tx:
            kept = await ways.recovery_code(tx, session.recipient_id, int(signs[0]))
        if not await chosen.matches(typed, kept.code_hash if kept else None) or kept is None:
            raise CodeRefused("wrong, or used already")
        return kept


class _Stopped(Exception):
    """A recovery was stopped at the very moment of its effect: nothing of it is kept."""


@dataclass(frozen=True)
class Begun:
    """A recovery under way; `code` is for the person's ears, once."""

    id: RecoveryId
    effective_at: datetime
    code: str
    told: int


class HelpDesk:
    """Recovery by people. `delay` passes between the notice and its effect."""

    def __init__(self, db: Database, tell: Tell, source: Source, delay: timedelta) -> None:
        self._db, self._tell, self._source, self._delay = db, tell, source, delay

    async def begin(self, org_id: OrgId, recipient_id: RecipientId, by: By, how: str, language: str) -> Begun:
        """Begins a recovery and tells every known address. Raises InputRefused when one is under way, or `how` is none of HOW."""
        if how not in HOW:
            raise InputRefused(f"Say how you proofed the person: {', '.join(HOW)}.", "how")
        if any(self._open(one) for one in await self.of(recipient_id)):
            raise InputRefused("A recovery of this person is under way already; stop it first.")
        now = self._source.now()
        signs = letters(self._source.random(16), 12)
        stop = link_token(self._source.random(TOKEN_BYTES))
        recovery = Recovery(
            RecoveryId(self._source.new_id()),
            org_id,
            recipient_id,
            by.actor,
            how,
            await chosen.hashed(signs),
            token_hash(stop),
            now,
            now + self._delay,
        )
        event = RecoveryBegun(
            **by.facts(now, org_id),
            recovery=recovery.id,
            recipient=recipient_id,
            how=how,
            effective=recovery.effective_at.isoformat(),
        )
        effective = recovery.effective_at.isoformat()
        jobs = await self._tell.jobs(
            org_id,
            recipient_id,
            "recovery-begun",
            language,
            stop_token=stop,
            stop_letters=self.letters_of(stop),
            detail=effective,
        )
        async with self._db.write(event) as tx:
            await people.begin_recovery(tx, recovery)
            await outbox.enqueue(tx, *jobs)
        self._tell.wake()
        return Begun(recovery.id, recovery.effective_at, f"{signs[:4]}-{signs[4:8]}-{signs[8:]}", len(jobs))

    async def of(self, recipient_id: RecipientId) -> list[Recovery]:
        async with self._db.read() as tx:
            return await people.recoveries_of(tx, recipient_id)

    @staticmethod
    def letters_of(token: str) -> str:
        """Three letters that the notice says beside its link: they are typed, since mail scanners press buttons."""
        return code_reference(token_hash(token)[:8])

    async def to_stop(self, token: str) -> Recovery:
        """The recovery that a link in a notice stops. Raises NotFound."""
        async with self._db.read() as tx:
            found = await people.recovery_to_stop(tx, token_hash(token))
        if found is None:
            raise NotFound("no such recovery")
        return found

    async def stop(self, recovery: Recovery, by: By) -> bool:
        """Says whether it was still to be stopped."""
        event = RecoveryStopped(**by.facts(self._source.now(), recovery.org_id), recovery=recovery.id)
        async with self._db.read() as tx:
            now = next(
                (one for one in await people.recoveries_of(tx, recovery.recipient_id) if one.id == recovery.id), None
            )
        if now is None or not self._open(now):
            return False
        async with self._db.write(event) as changed:
            return await people.stop_recovery(changed, recovery.id)

    async def apply_due(self, limit: int = 50) -> int:
        """Lets what has waited long enough take effect; says how many did."""
        async with self._db.read() as tx:
            due = await people.recoveries_due(tx, self._source.now(), limit)
        done = 0
        for one in due:
            event = RecoveryApplied(
                at=self._source.now(),
                who=Who.WORKER,
                org_id=one.org_id,
                recovery=one.id,
                recipient=one.recipient_id,
            )
            with suppress(_Stopped):
                async with self._db.write(event) as changed:
                    if not await people.applied(changed, one.id):
                        raise _Stopped
                    await passkeys.remove_all(changed, one.recipient_id)
                    await ways.remove_app(changed, one.recipient_id)
                    await ways.remove_codes(changed, one.recipient_id)
                    await sessions.end_all(changed, one.recipient_id)
                    done += 1
        return done

    async def given(self, recipient_id: RecipientId) -> str | None:
        """The hash of the code that the help desk gave, while it counts."""
        now = self._source.now()
        for one in await self.of(recipient_id):
            if one.applied_at and now - one.applied_at <= GIVEN_LIFE:
                return one.code_hash
        return None

    @staticmethod
    def _open(one: Recovery) -> bool:
        return one.applied_at is None and one.stopped_at is None
