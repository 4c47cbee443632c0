"""Emailed codes for senders: proof of the address that messages went out from. Eight digits, ten minutes, one browser, once.

Answers are alike whether an address has sent anything or not. A code goes to the organisation's own domain, over the submission
host's verified TLS. It opens a sender's own messages and nothing else: no other role comes in this way.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from portal.clock import Source
from portal.db import orgs, outbox, overview, staff
from portal.db.engine import Database, Duplicate
from portal.db.overview import Wanted
from portal.db.staff import Member, StaffCode, StaffSession
from portal.db.tx import WriteTx
from portal.model.codes import CODE_LIFE, TRIES_A_CODE, wait_to_send
from portal.model.errors import CodeRefused, TooManyTries
from portal.model.events import By, StaffCodeRequested, StaffJoined, StaffProved, StaffSignedIn, StaffSignInFailed, Who
from portal.model.ids import CodeId, JobId, OrgId, StaffId
from portal.model.links import code, code_reference, keyed_hash, path_hash, read_code, return_token, token_hash
from portal.model.mails import MailKind
from portal.model.notice import StaffCodePayload
from portal.model.parties import Address
from portal.model.staff import Role
from portal.sealing import Field
from portal.sealing.open import Fields
from portal.sealing.seal import Sealer
from portal.signin import Client
from portal.signin.staff import stranger
from portal.signin.staff.sessions import EMAILED_CODE, StaffSessions

STEP = 0.25
"""Seconds: whoever asks for a code is answered at whole steps. The work for a sender takes ten times that for nobody (20 and 2 ms)."""


@dataclass(frozen=True)
class _Sender:
    """Somebody who has sent messages."""

    org_id: OrgId
    address_hash: bytes
    member: Member | None


class StaffCodes:
    """See the module."""

    def __init__(
        self,
        db: Database,
        sealer: Sealer,
        fields: Fields,
        sessions: StaffSessions,
        source: Source,
        wake: Callable[[], None],
        *,
        codes_key: bytes,
    ) -> None:
        self._db, self._sealer, self._fields, self._sessions = db, sealer, fields, sessions
        self._source, self._wake, self._key = source, wake, codes_key

    async def send(self, to: Address, browser: str, client: Client, *, signed_in: bool = False) -> str:
        """Sends a code where the address has sent messages, and gives the reference that mail and page show.

        Of who is signed in only this browser's codes count: no stranger keeps her from proving anew that it is her.
        """
        clock = asyncio.get_running_loop().time
        began, reference = clock(), code_reference(self._source.random(8))
        try:
            await self._send(to, reference, browser, client, signed_in=signed_in)
        finally:
            await asyncio.sleep(-(clock() - began) % STEP)
        return reference

    async def _send(self, to: Address, reference: str, browser: str, client: Client, *, signed_in: bool) -> None:
        now, sender = self._source.now(), await self._sender(to)
        why = ""
        if sender is None or (sender.member and (sender.member.disabled_at or sender.member.role is not Role.SENDER)):
            why = "no sender of this address"
        else:
            try:
                await self._queue(to, sender, reference, browser, client, signed_in=signed_in)
            except TooManyTries as error:
                why = str(error)
        if why:
            await self._db.record(StaffSignInFailed(**stranger(client, now), method=EMAILED_CODE, reason=why))

    async def _queue(
        self, to: Address, sender: _Sender, reference: str, browser: str, client: Client, *, signed_in: bool
    ) -> None:
        """Raises TooManyTries when enough were sent lately."""
        now = self._source.now()
        digits, code_id = code(self._source.random(16)), CodeId(self._source.new_id())
        made = StaffCode(
            code_id,
            sender.org_id,
            sender.address_hash,
            token_hash(browser),
            self._hash(code_id, digits),
            reference,
            now,
            now + CODE_LIFE,
        )
        back, job_id = return_token(self._source.random(16)), JobId(self._source.new_id())
        payload = StaffCodePayload(str(to), digits, reference, back)
        field = await self._sealer.field(sender.org_id, job_id, MailKind.STAFF_CODE.value, payload.dump())
        job = outbox.job_for(
            job_id,
            sender.org_id,
            MailKind.STAFF_CODE,
            None,
            now,
            subject_id=code_id,
            epoch_id=field.epoch_id,
            payload_sealed=field.sealed,
            return_hash=path_hash(back),
        )
        facts = stranger(client, now) | {"org_id": sender.org_id}
        async with self._db.write(StaffCodeRequested(**facts, code_id=code_id)) as changed:
            since, ours = now - timedelta(days=1), made.browser_hash if signed_in else None
            lately = await staff.codes_sent(changed, sender.org_id, sender.address_hash, since, ours)
            if wait_to_send(lately, now):
                raise TooManyTries("enough codes were sent")
            await staff.add_code(changed, made)
            await outbox.enqueue(changed, job)
        self._wake()

    async def sign_in(self, typed: str, browser: str, client: Client) -> str:
        """Begins a sender's session; gives its cookie. Raises CodeRefused."""
        found = await self._checked(typed, browser, None, client)
        member = await self._member(found, client)
        return await self._sessions.start(member, EMAILED_CODE, client, _use(found))

    async def prove(self, typed: str, browser: str, session: StaffSession, client: Client) -> str:
        """The session goes on, fresh. Raises CodeRefused."""
        found = await self._checked(typed, browser, session, client)
        return await self._sessions.prove(session, EMAILED_CODE, client, _use(found))

    async def send_to(self, session: StaffSession, browser: str, client: Client) -> str:
        """Sends a code to a signed-in sender's own address."""
        field = Field(session.epoch_id, session.address_sealed)
        own = (await self._fields.open(session.org_id, session.staff_id, "staff", field)).decode()
        local, _, domain = own.rpartition("@")
        return await self.send(Address(local, domain), browser, client, signed_in=True)

    async def _checked(self, typed: str, browser: str, session: StaffSession | None, client: Client) -> StaffCode:
        """Each try is counted before anything is compared."""
        digits, now = read_code(typed), self._source.now()
        async with self._db.read() as tx:
            open_codes = await staff.codes_of_browser(tx, token_hash(browser), now)
        if session:
            mine = (session.org_id, session.address_hash)
            open_codes = [one for one in open_codes if (one.org_id, one.address_hash) == mine]
        found = None
        for one in open_codes if digits else ():
            async with self._db.bookkeeping() as tx:
                may = await staff.count_try(tx, one, TRIES_A_CODE)
            if may and _same(self._hash(one.id, digits or ""), one.code_hash):
                found = one
                break
        if found is None:
            await self._db.record(StaffSignInFailed(**stranger(client, now), method=EMAILED_CODE, reason="wrong code"))
            raise CodeRefused("no such code for this browser")
        return found

    async def _member(self, found: StaffCode, client: Client) -> Member:
        """The sender's account; made when she comes for the first time. Raises CodeRefused when she was shut out meanwhile."""
        async with self._db.read() as tx:
            member = await staff.by_address(tx, found.org_id, found.address_hash)
        if member is None:
            member = await self._join(found, client)
        if member.disabled_at or member.role is not Role.SENDER:
            raise CodeRefused("not a sender")
        return member

    async def _join(self, found: StaffCode, client: Client) -> Member:
        now, staff_id = self._source.now(), StaffId(self._source.new_id())
        async with self._db.read() as tx:
            lines = await overview.page(tx, found.org_id, Wanted(sender_hash=found.address_hash), None, 1)
        if not lines:
            raise CodeRefused("no sender of this address")
        sent = lines[0]
        sealed = Field(sent.sender_epoch, sent.sender_sealed)
        own = await self._fields.open(found.org_id, sent.delivery.message_id, "sender", sealed)
        field = await self._sealer.field(found.org_id, staff_id, "staff", own)
        member = Member(staff_id, found.org_id, Role.SENDER, found.address_hash, field.sealed, field.epoch_id, now)
        by = By(Who.STAFF, staff_id, origin=client.origin)
        try:
            async with self._db.write(
                StaffJoined(**by.facts(now, found.org_id), staff=staff_id, role=member.role.value)
            ) as changed:
                await staff.add(changed, member)
        except Duplicate:  # two of her browsers at once
            async with self._db.read() as tx:
                known = await staff.by_address(tx, found.org_id, found.address_hash)
            assert known is not None
            return known
        return member

    async def _sender(self, to: Address) -> _Sender | None:
        owner = await orgs.owner_of_domain(self._db, to.domain)
        if owner is None:
            return None
        hashed = self._sealer.index(owner.org_id, "sender", str(to))
        async with self._db.read() as tx:
            lines = await overview.page(tx, owner.org_id, Wanted(sender_hash=hashed), None, 1)
            member = await staff.by_address(tx, owner.org_id, hashed)
        return _Sender(owner.org_id, hashed, member) if lines else None

    def _hash(self, code_id: CodeId, digits: str) -> bytes:
        return keyed_hash(self._key, "staff code", code_id, digits)


def _same(one: bytes, other: bytes) -> bool:
    return hmac.compare_digest(one, other)


def _use(found: StaffCode) -> Callable[[WriteTx[StaffSignedIn | StaffProved]], Awaitable[None]]:
    async def use(tx: WriteTx[StaffSignedIn | StaffProved]) -> None:
        if not await staff.use_code(tx, found):
            raise CodeRefused("used already")

    return use
