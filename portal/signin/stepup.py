"""Proving more: which ways up a person has from where she is, least painful first, and the access code among them.

A class of messages says what it needs; whoever proved less is led here, and back to what she wanted to read. Passkeys, apps, sent
codes and recovery codes have rooms of their own beside this one.
"""

from dataclasses import dataclass

from portal.clock import Source
from portal.db import given, views
from portal.db.engine import Database
from portal.db.sessions import Session
from portal.db.tx import WriteTx
from portal.model.assurance import SECOND, Assurance, Method, Proof, reach
from portal.model.errors import CodeRefused, NotFound, TooManyTries
from portal.model.events import SignedIn, SignInFailed, SteppedUp
from portal.model.ids import DeliveryId
from portal.model.phones import partly_hidden
from portal.sealing import Field, chosen
from portal.sealing.open import Fields
from portal.signin import Client, own
from portal.signin.enrolled import enrolled
from portal.signin.guard import Guard
from portal.signin.recovery import HelpDesk
from portal.signin.sessions import Sessions


@dataclass(frozen=True)
class Ways:
    """What leads up from a session. `methods` come in the order in which they are offered; a level is what all reach together."""

    needs: Assurance
    methods: tuple[Method, ...]
    reaches: Assurance
    hint: str = ""
    number: str = ""
    """The telephone number, partly hidden."""
    may_add_passkey: bool = False
    """Level 2 is reached and 3 is needed: a passkey added now is one that counts."""


class StepUp:
    """See the module. With `texts` False the portal has no way to send SMS or to call."""

    def __init__(
        self,
        db: Database,
        fields: Fields,
        sessions: Sessions,
        guard: Guard,
        desk: HelpDesk,
        source: Source,
        *,
        texts: bool,
    ) -> None:
        self._db, self._fields, self._sessions, self._guard = db, fields, sessions, guard
        self._desk, self._source, self._texts = desk, source, texts

    async def ways(self, session: Session, delivery_id: DeliveryId) -> Ways:
        """What this person can do to open this delivery. Raises NotFound when it is not hers."""
        stored = await views.stored(self._db, delivery_id)
        if stored is None or (stored.target.org_id, stored.target.recipient_id) != (
            session.org_id,
            session.recipient_id,
        ):
            raise NotFound("no delivery of this person")
        has = await enrolled(self._db, session.recipient_id)
        async with self._db.read() as tx:
            access = await given.access_code(tx, delivery_id)
            phone = await given.phone(tx, session.recipient_id) if self._texts else None
        helped = await self._desk.given(session.recipient_id)
        methods = []
        if has.passkeys:
            methods.append(Method.PASSKEY)
        if has.app:
            methods.append(Method.APP)
        if phone:
            methods += [Method.SMS, Method.VOICE]
        if access or helped:
            methods.append(Method.ACCESS_CODE)
        if has.codes_left:
            methods.append(Method.RECOVERY_CODE)
        app = [Proof(Method.APP, has.app.vouched)] if has.app else []
        second = [Proof(one) for one in methods if one in SECOND and one is not Method.APP]
        reaches = reach([*session.proven, *app, *second])
        return Ways(
            needs=stored.target.needs,
            methods=tuple(one for one in methods if one not in {proof.method for proof in session.proven}),
            reaches=max(reaches, session.assurance),
            hint=await self._hint(access),
            number=await self._number(phone),
            may_add_passkey=session.assurance >= Assurance.TWO_CHANNELS and not has.passkeys,
        )

    async def access_code(self, session: Session, delivery_id: DeliveryId, typed: str, client: Client) -> str:
        """Raises the session by the code that the sender or the help desk gave; gives the new cookie.

        Raises CodeRefused, TooManyTries, and NotFound when the delivery is not hers.
        """
        await self.ways(session, delivery_id)
        try:
            chosen.plain(typed)
            await self._guard.count("access", delivery_id)
            async with self._db.read() as tx:
                kept = await given.access_code(tx, delivery_id)
            helped = await self._desk.given(session.recipient_id)
            right = await chosen.matches(typed, kept.code_hash if kept else None)
            if not right and not (helped and await chosen.matches(typed, helped)):
                raise CodeRefused("wrong")
        except (CodeRefused, TooManyTries, ValueError) as error:
            reason = {TooManyTries: "throttled", CodeRefused: "wrong"}.get(type(error), "no code")
            facts = own(session, client, self._source.now(), delivery_id)
            await self._db.record(SignInFailed(**facts, method=Method.ACCESS_CODE.value, reason=reason))
            if isinstance(error, ValueError):
                raise CodeRefused("not a code") from None
            raise

        async def use(tx: WriteTx[SignedIn | SteppedUp]) -> None:
            await self._guard.forget(tx, "access", delivery_id)

        proof = Proof(Method.ACCESS_CODE)
        return await self._sessions.step_up(session, proof, client, use, delivery_id=delivery_id)

    async def _hint(self, access: given.AccessCode | None) -> str:
        if access is None or access.hint_sealed is None or access.epoch_id is None:
            return ""
        field = Field(access.epoch_id, access.hint_sealed)
        return (await self._fields.open(access.org_id, access.delivery_id, "hint", field)).decode()

    async def _number(self, phone: given.Phone | None) -> str:
        if phone is None:
            return ""
        field = Field(phone.epoch_id, phone.number_sealed)
        return partly_hidden((await self._fields.open(phone.org_id, phone.recipient_id, "phone", field)).decode())
