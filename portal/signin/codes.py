"""Codes that are sent, by mail, text or voice: 8 digits, 10 minutes, once, for the browser that asked, behind the link or the
session that names the delivery.

A try is counted in the transaction that looks the codes up, and before it is compared: 50 at once count as 50. Whoever has
no door can't use up anybody's tries. What went wrong is on record; the person is told one sentence for all of it.
"""

import hmac
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from portal.clock import Source
from portal.db import links, outbox
from portal.db.engine import Database
from portal.db.links import Code, Mailed, Named
from portal.db.tx import WriteTx
from portal.model.assurance import Method
from portal.model.codes import CODE_LIFE, TRIES_A_CODE, one_more, wait_to_send, wait_to_try
from portal.model.errors import CodeRefused, TooManyTries
from portal.model.events import CodeRequested, Facts, SignedIn, SignInFailed, SteppedUp, Who
from portal.model.ids import CodeId, JobId
from portal.model.links import code, code_reference, keyed_hash, path_hash, read_code, return_token, token_hash
from portal.model.mails import MailKind
from portal.model.notice import CodePayload
from portal.sealing import Field
from portal.sealing.open import Fields
from portal.sealing.seal import Sealer
from portal.signin import UseUp
from portal.signin.links import Door
from portal.signin.nobody import Nobody

MAIL, SMS, VOICE = "mail", "sms", "voice"
CHANNELS = {MAIL: Method.EMAILED_CODE, SMS: Method.SMS, VOICE: Method.VOICE}
TEXTS = (SMS, VOICE)


@dataclass(frozen=True)
class Asked:
    """A code that was asked for, as the page shows it. Behind a door that never opens it looks the same."""

    reference: str
    mail: Mailed | None


class Codes:
    """See the module. `codes_key` hashes codes and is not in the database; `wake` tells the worker of this process."""

    def __init__(
        self,
        db: Database,
        sealer: Sealer,
        fields: Fields,
        source: Source,
        wake: Callable[[], None],
        *,
        codes_key: bytes,
    ) -> None:
        self._db, self._sealer, self._fields = db, sealer, fields
        self._source, self._wake, self._key = source, wake, codes_key
        self._nobody = Nobody(db, source, codes_key)

    async def send(self, door: Door, browser: str, origin: str, language: str, channel: str = MAIL) -> None:
        """Makes a code and queues its mail or text. Raises TooManyTries when enough were sent lately."""
        now, named = self._source.now(), door.named
        if named is None:
            await self._nobody.send(door.key, browser)
            await self._failed(None, origin, "nobody")  # not what was throttled: strangers would fill the record
            return
        digits, reference = code(self._source.random(16)), code_reference(self._source.random(8))
        code_id = CodeId(self._source.new_id())
        made = Code(
            id=code_id,
            org_id=named.org_id,
            delivery_id=named.delivery_id,
            channel=channel,
            browser_hash=token_hash(browser),
            code_hash=self._hash(named, digits),
            reference=reference,
            made_at=now,
            expires_at=now + CODE_LIFE,
        )
        payload = CodePayload(digits, reference, language, return_token(self._source.random(16)), channel)
        job = await self._job(named, code_id, payload, now)
        try:
            await self._queue(CodeRequested(**_facts(named, origin, now), code_id=code_id, channel=channel), made, job)
        except TooManyTries:
            if await self._share(made, _facts(named, origin, now)):
                return
            await self._failed(named, origin, "enough codes were sent")
            raise
        self._wake()

    async def _share(self, wanted: Code, facts: Facts) -> bool:
        """Where enough were sent, lets the newest count for a browser that has none of its own.

        One that it has used up counts as its own still: a copy would bring its tries back.
        Mail scanners press buttons: what they had sent is in the person's mailbox, and she must not wait because of them.
        """
        async with self._db.read() as tx:
            newest = await links.newest_open(tx, wanted.delivery_id, wanted.channel, wanted.made_at)
            own = await links.usable(
                tx, wanted.delivery_id, (wanted.channel,), wanted.browser_hash, wanted.made_at, TRIES_A_CODE + 1
            )
        if newest is None or own:
            return False
        copy = replace(newest, id=wanted.id, browser_hash=wanted.browser_hash, tries=0, copy_of=newest.id)
        async with self._db.write(
            CodeRequested(**facts, code_id=newest.id, channel=copy.channel, sent=False)
        ) as changed:
            await links.add_code(changed, copy)
        return True

    async def _queue(self, event: CodeRequested, made: Code, job: outbox.Job) -> None:
        async with self._db.write(event) as tx:
            # Held until the commit: two browsers can't both send the last one allowed.
            await links.tries(tx, made.delivery_id, made.made_at)
            lately = await links.made_since(tx, made.delivery_id, made.channel, made.made_at - timedelta(days=1))
            wait = wait_to_send(lately, made.made_at)
            if wait:
                raise TooManyTries("enough codes were sent", wait)
            await links.add_code(tx, made)
            await outbox.enqueue(tx, job)

    async def address(self, named: Named) -> str:
        """Where codes of this delivery go; shown partly hidden only."""
        field = Field(named.epoch_id, named.address_sealed)
        return (await self._fields.open(named.org_id, named.recipient_id, "address", field)).decode()

    async def sent(self, door: Door, browser: str, channels: Collection[str] = (MAIL,)) -> Asked:
        """The last code this browser asked for, and how its mail or text fares."""
        if door.named is None:
            letters = await self._nobody.reference(door.key, browser)
            if letters is not None:
                return Asked(letters, None)
        else:
            async with self._db.read() as tx:
                mail = await links.last_code(tx, door.named.delivery_id, channels, token_hash(browser))
            if mail is not None:
                return Asked(mail.reference, mail)
        return Asked(code_reference(keyed_hash(self._key, "no code", door.text)[:8]), None)

    async def wait(self, door: Door, channel: str = MAIL) -> timedelta:
        """How long until another code may be sent."""
        if door.named is None:
            return await self._nobody.wait(door.key)
        now = self._source.now()
        async with self._db.read() as tx:
            made = await links.made_since(tx, door.named.delivery_id, channel, now - timedelta(days=1))
            return wait_to_send(made, now)

    async def check(
        self, door: Door, browser: str, typed: str, origin: str, channels: Collection[str] = (MAIL,)
    ) -> Code:
        """The code that was typed, which the caller must use up. Raises CodeRefused or TooManyTries."""
        digits = read_code(typed)
        now, named = self._source.now(), door.named
        if named is None:
            await self._nobody.check(door.key)
            await self._failed(None, origin, "nobody")
            raise CodeRefused("a door that never opens")
        if digits is None:
            raise CodeRefused("not 8 digits")
        found: list[Code] = []
        async with self._db.bookkeeping() as tx:
            tries = await links.tries(tx, named.delivery_id, now)
            wait = wait_to_try(tries, now)
            if wait == timedelta(0):
                await links.keep_tries(tx, named.delivery_id, one_more(tries, now))
                found = await links.usable(tx, named.delivery_id, channels, token_hash(browser), now, TRIES_A_CODE)
                await links.count_try(tx, found)
        if wait != timedelta(0):
            await self._failed(named, origin, "throttled")
            raise TooManyTries("too many codes were tried", wait)
        wanted = self._hash(named, digits)
        matching = [one for one in found if hmac.compare_digest(one.code_hash, wanted)]
        if not matching:
            await self._failed(named, origin, "wrong" if found else "none open for this browser")
            raise CodeRefused("no open code of this browser matches")
        return matching[0]

    @staticmethod
    def use_up(code: Code) -> UseUp:
        """What ends the run of tries and the code, the delivery locked before the code as tries do."""

        async def use(tx: WriteTx[SignedIn | SteppedUp]) -> None:
            await links.forget_tries(tx, code.delivery_id)
            if not await links.use(tx, code):
                raise CodeRefused("the code was used already")

        return use

    async def _failed(self, named: Named | None, origin: str, reason: str) -> None:
        event = SignInFailed(
            **_facts(named, origin, self._source.now()), method=Method.EMAILED_CODE.value, reason=reason
        )
        await self._db.record(event)

    def _hash(self, named: Named, digits: str) -> bytes:
        return keyed_hash(self._key, "code", named.delivery_id, digits)

    async def _job(self, named: Named, code_id: CodeId, payload: CodePayload, now: datetime) -> outbox.Job:
        job_id, kind = JobId(self._source.new_id()), MailKind.CODE if payload.channel == MAIL else MailKind.TEXT
        field = await self._sealer.field(named.org_id, job_id, kind.value, payload.dump())
        return outbox.job_for(
            job_id,
            named.org_id,
            kind,
            named.delivery_id,
            now,
            subject_id=code_id,
            epoch_id=field.epoch_id,
            payload_sealed=field.sealed,
            return_hash=path_hash(payload.return_token),
        )


def _facts(named: Named | None, origin: str, at: datetime) -> Facts:
    return Facts(
        at=at,
        who=Who.STRANGER,
        actor="",
        org_id=named.org_id if named else None,
        message_id=named.message_id if named else None,
        delivery_id=named.delivery_id if named else None,
        session=None,
        origin=origin,
    )
