"""The authenticator app (RFC 6238): a secret shown once, as a picture and in letters, confirmed by the first code it makes.

Each time step works once: the newest one used is kept, and a code of it or of an earlier one is refused.
"""

import base64
from dataclasses import dataclass

from pyotp import TOTP
from pyotp.exceptions import OTPVerificationError

from portal.clock import Source
from portal.db import outbox, ways
from portal.db.engine import Database
from portal.db.sessions import Session
from portal.db.tx import WriteTx
from portal.db.ways import App
from portal.model.assurance import Assurance, Method, Proof
from portal.model.errors import CodeRefused, TooManyTries, WayRefused
from portal.model.events import AppAdded, AppRemoved, SignedIn, SignInFailed, SteppedUp
from portal.model.ids import DeliveryId
from portal.sealing import Field
from portal.sealing.open import Fields
from portal.sealing.seal import Sealer
from portal.signin import Client, own
from portal.signin.enrolled import check_may_change
from portal.signin.guard import Guard
from portal.signin.sessions import Sessions
from portal.signin.tell import Tell

_WINDOW = 1
"""Steps of 30 s before and after now: clocks of phones go wrong a little."""
_SECRET_BYTES = 20
_DIGITS = 6


@dataclass(frozen=True)
class Offer:
    """A secret that waits to be confirmed: as a URI for a picture (otpauth), and in groups of letters."""

    uri: str
    letters: str


class AppCodes:
    """See the module."""

    def __init__(
        self,
        db: Database,
        sealer: Sealer,
        fields: Fields,
        sessions: Sessions,
        guard: Guard,
        tell: Tell,
        source: Source,
    ) -> None:
        self._db, self._sealer, self._fields = db, sealer, fields
        self._sessions, self._guard, self._tell, self._source = sessions, guard, tell, source

    async def begin(self, session: Session) -> Offer:
        """Makes a secret, in the place of one that was not confirmed. Raises ProofNeeded; WayRefused when one is in use."""
        await check_may_change(self._db, session, self._source.now())
        secret = base64.b32encode(self._source.random(_SECRET_BYTES)).decode()
        field = await self._sealer.field(session.org_id, session.recipient_id, "app", secret.encode())
        vouched = min(session.assurance, Assurance.TWO_CHANNELS)
        app = App(session.recipient_id, session.org_id, field.sealed, field.epoch_id, vouched, self._source.now())
        async with self._db.bookkeeping() as tx:
            if not await ways.begin_app(tx, app):
                raise WayRefused("app", "You have an authenticator app already. Remove it first.")
        return await self._offer(session, secret)

    async def pending(self, session: Session) -> Offer | None:
        """The secret that waits to be confirmed, shown again after a mistyped code."""
        app = await self._app(session)
        return None if app is None or app.confirmed_at else await self._offer(session, await self._secret(app))

    async def confirm(self, session: Session, typed: str, client: Client, language: str) -> None:
        """Raises CodeRefused, TooManyTries, ProofNeeded."""
        await check_may_change(self._db, session, self._source.now())
        app = await self._app(session)
        if app is None or app.confirmed_at:
            raise CodeRefused("no app waits to be confirmed")
        step = await self._step(session, app, typed, client)
        event = AppAdded(**own(session, client, self._source.now()), vouched=int(app.vouched))
        jobs = await self._tell.jobs(session.org_id, session.recipient_id, "app-added", language)
        async with self._db.write(event) as tx:
            if not await ways.confirm_app(tx, app, step):
                raise CodeRefused("another secret took its place")
            await self._guard.forget(tx, "app", session.recipient_id)
            await outbox.enqueue(tx, *jobs)
        self._tell.wake()

    async def remove(self, session: Session, client: Client, language: str) -> None:
        """Raises ProofNeeded."""
        await check_may_change(self._db, session, self._source.now())
        jobs = await self._tell.jobs(session.org_id, session.recipient_id, "app-removed", language)
        async with self._db.write(AppRemoved(**own(session, client, self._source.now()))) as tx:
            await ways.remove_app(tx, session.recipient_id)
            await outbox.enqueue(tx, *jobs)
        self._tell.wake()

    async def step_up(self, session: Session, typed: str, client: Client, delivery_id: DeliveryId | None) -> str:
        """Raises the session; gives the new cookie. Raises CodeRefused, TooManyTries."""
        app = await self._app(session)
        if app is None or not app.confirmed_at:
            raise CodeRefused("no app")
        step = await self._step(session, app, typed, client)

        async def use(tx: WriteTx[SignedIn | SteppedUp]) -> None:
            if not await ways.use_step(tx, session.recipient_id, step):
                raise CodeRefused("this code was used already")
            await self._guard.forget(tx, "app", session.recipient_id)

        proof = Proof(Method.APP, app.vouched)
        return await self._sessions.step_up(session, proof, client, use, delivery_id=delivery_id)

    async def _step(self, session: Session, app: App, typed: str, client: Client) -> int:
        digits = "".join(sign for sign in typed[:64] if sign not in " -\u00a0")
        if len(digits) != _DIGITS or not digits.isascii() or not digits.isdigit():
            raise CodeRefused("not 6 digits")
        try:
            await self._guard.count("app", session.recipient_id)
            now = self._source.now()
            step = TOTP(await self._secret(app)).verify_and_get_timecode(digits, for_time=now, valid_window=_WINDOW)
            if app.last_step is not None and step <= app.last_step:
                raise CodeRefused("this code was used already")
        except (OTPVerificationError, CodeRefused, TooManyTries) as error:
            reason = "throttled" if isinstance(error, TooManyTries) else str(error)
            facts = own(session, client, self._source.now())
            await self._db.record(SignInFailed(**facts, method=Method.APP.value, reason=reason))
            if isinstance(error, OTPVerificationError):
                raise CodeRefused("wrong") from None
            raise
        return step

    async def _app(self, session: Session) -> App | None:
        async with self._db.read() as tx:
            return await ways.app(tx, session.recipient_id)

    async def _secret(self, app: App) -> str:
        field = Field(app.epoch_id, app.secret_sealed)
        return (await self._fields.open(app.org_id, app.recipient_id, "app", field)).decode()

    async def _offer(self, session: Session, secret: str) -> Offer:
        name = (await self._tell.addresses(session.org_id, session.recipient_id))[0]
        uri = TOTP(secret).provisioning_uri(name=name, issuer_name=session.org_name or None)
        return Offer(uri, " ".join(secret[at : at + 4] for at in range(0, len(secret), 4)))
