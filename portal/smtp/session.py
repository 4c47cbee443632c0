"""What a relay says and what it is answered: EHLO, STARTTLS, AUTH, XFORWARD, MAIL, RCPT, DATA.

TLS comes before AUTH, authentication (password or client certificate) before MAIL, and 250 to a message only after the
intake's commit: with it the message is ours (RFC 5321 4.1.1.4). A commit once begun is finished even if the relay leaves.
"""

import asyncio
from dataclasses import replace

from portal.intake import Came, Envelope, Intake, Relay, Submission
from portal.model.errors import (
    MessageTooLarge,
    RecipientApart,
    RelayUnknown,
    SubmissionRefused,
    TooManyRecipients,
)
from portal.model.reports import AskedOfOne
from portal.smtp import auth, replies
from portal.smtp.commands import Mail, parse_ident, parse_mail, parse_recipient
from portal.smtp.data import Received, receive
from portal.smtp.replies import Refused, Reply, reply_to
from portal.smtp.stream import Wiring
from portal.smtp.wire import Command, Wire

_MAX_AUTH_FAILURES = 3


class Session(Wire):
    """One relay's connection. Each wrong password is answered `auth_delay` seconds late, the third ends the session."""

    def __init__(self, wiring: Wiring, intake: Intake, auth_delay: float = 1.0) -> None:
        self._intake = intake
        self._auth_delay = auth_delay
        self._auth_failures = 0
        self.forget()
        super().__init__(wiring)

    def commands(self) -> dict[str, Command]:
        return {
            "EHLO": self._ehlo,
            "HELO": self._helo,
            "STARTTLS": self.starttls,
            "AUTH": self._auth,
            "XFORWARD": self._xforward,
            "MAIL": self._mail_from,
            "RCPT": self._rcpt_to,
            "DATA": self._data,
            "RSET": self._rset,
            "NOOP": self._noop,
            "QUIT": self._quit,
        }

    def in_transaction(self) -> bool:
        return self._mail is not None

    def forget(self) -> None:
        self._greeted = False
        self._relay: Relay | None = None
        self._end_transaction()

    def _end_transaction(self) -> None:
        self._mail: Mail | None = None
        self._checked: set[str] = set()
        self._recipients: list[tuple[str, Came]] = []
        self._asked: dict[str, AskedOfOne] = {}
        self._queue_id: str | None = None  # lives as long as a transaction: Postfix tells it before each MAIL
        self._put_off: set[type[SubmissionRefused]] = set()

    # -- who is there

    async def _ehlo(self, argument: str) -> None:
        if not argument:
            raise Refused(replies.BAD_ARGUMENT)
        self._end_transaction()
        self._greeted = True
        lines = [self.wiring.hostname, *self._offers()]
        await self.say(*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}")

    def _offers(self) -> list[str]:
        offers = [f"SIZE {self._intake.limits.max_bytes}", "8BITMIME", "SMTPUTF8", "PIPELINING", "DSN"]
        if self.secured:
            # XFORWARD is offered before AUTH, because a relay does not say EHLO again after it (RFC 4954 4)
            offers += [f"AUTH {' '.join(auth.MECHANISMS)}", "XFORWARD IDENT"]
        else:
            offers.append("STARTTLS")
        return [*offers, "ENHANCEDSTATUSCODES"]

    async def _helo(self, argument: str) -> None:
        if not argument:
            raise Refused(replies.BAD_ARGUMENT)
        self._end_transaction()
        self._greeted = True
        await self.say(f"250 {self.wiring.hostname}")

    async def _auth(self, argument: str) -> None:
        if not self.secured:
            raise Refused(replies.TLS_FIRST_TO_AUTHENTICATE)
        if not self._greeted or self._relay is not None:
            raise Refused(replies.OUT_OF_ORDER)
        name, password = await auth.credentials(self, argument)
        try:
            self._relay = await self._intake.relay_by_password(name, password, self.origin)
        except RelayUnknown as error:
            await self._wrong_password(error)
        else:
            await self.say(replies.AUTHENTICATED)

    async def _wrong_password(self, error: RelayUnknown) -> None:
        self._auth_failures += 1
        await asyncio.sleep(self._auth_delay)
        await self.say(reply_to(error))
        if self._auth_failures >= _MAX_AUTH_FAILURES:
            await self.say(replies.TOO_MANY_ERRORS)

    async def _identified(self) -> Relay | None:
        """The relay that gave its password, or else the one whose client certificate this is."""
        fingerprint = self.certificate_fingerprint() if self._relay is None else None
        if fingerprint is not None:
            self._relay = await self._intake.relay_by_certificate(fingerprint, self.origin)
        return self._relay

    async def _xforward(self, argument: str) -> None:
        if await self._identified() is None:
            raise Refused(replies.NOT_FOR_YOU)
        if self.in_transaction():
            raise Refused(replies.OUT_OF_ORDER)
        self._queue_id = parse_ident(argument) or self._queue_id
        await self.say(replies.OK)

    # -- one transaction

    async def _mail_from(self, argument: str) -> None:
        if not self.secured:
            raise Refused(replies.TLS_FIRST)
        if not self._greeted or self.in_transaction():
            raise Refused(replies.OUT_OF_ORDER)
        relay = await self._identified()
        if relay is None:
            raise Refused(replies.AUTHENTICATE_FIRST)
        mail = parse_mail(argument)
        if mail.size > self._intake.limits.max_bytes:
            raise Refused(await self._refused(MessageTooLarge("SIZE says so")))
        self._mail = mail
        await self.say(replies.SENDER_OK)

    async def _rcpt_to(self, argument: str) -> None:
        if self._mail is None or self._relay is None:
            raise Refused(replies.OUT_OF_ORDER)
        recipient = parse_recipient(argument, smtp_utf8=self._mail.smtp_utf8)
        if len(self._recipients) >= self._intake.limits.max_recipients:
            error = TooManyRecipients(f"more than {self._intake.limits.max_recipients} recipients")
            raise Refused(await self._for_next_time(error))
        # Anybody may answer a notice; so who sends is judged where it is known to whom.
        sender = "" if self._intake.is_own_path(recipient.address) else self._mail.address
        if sender not in self._checked:
            await self._intake.check_sender(self._relay, sender, self.origin)
            self._checked.add(sender)
        mail = " ".join(one for one in (self._queue_id, self._mail.envid) if one)
        came = await self._intake.check_recipient(self._relay, self._mail.address, recipient.address, self.origin, mail)
        if self._recipients and came.needs_mark is not self._recipients[0][1].needs_mark:
            raise Refused(await self._for_next_time(RecipientApart("some need a mark, others don't")))
        self._recipients.append((recipient.address, came))
        self._asked[recipient.address] = AskedOfOne(recipient.notify, recipient.orcpt)
        await self.say(replies.RECIPIENT_OK)

    async def _for_next_time(self, error: SubmissionRefused) -> Reply:
        """Leaves a recipient to the next transaction (RFC 5321 4.5.3.1.10); one record stands for all of this one."""
        if type(error) in self._put_off:
            return reply_to(error)
        self._put_off.add(type(error))
        return await self._refused(error)

    async def _data(self, argument: str) -> None:
        if argument:
            raise Refused(replies.BAD_ARGUMENT)
        if self._mail is None or self._relay is None or not self._recipients:
            # never 354 here: a relay that pipelined DATA would send the message to nobody (RFC 2920 3.1)
            raise Refused(replies.NO_RECIPIENTS)
        submission = await self._intake.begin(self._relay, self._envelope(self._mail))
        answer = await self._take(submission)
        self._end_transaction()
        await self.say(answer)

    def _envelope(self, mail: Mail) -> Envelope:
        recipients, came = tuple(zip(*self._recipients, strict=True))
        asked, utf8 = dict(self._asked), mail.smtp_utf8
        return Envelope(mail.address, recipients, self.origin, self._queue_id, utf8, came, asked, mail.envid)

    async def _take(self, submission: Submission) -> Reply:
        received = None
        try:
            await self.say("354 End data with <CR><LF>.<CR><LF>")
            received = await receive(self.read_piece, submission.write, max_bytes=self._intake.limits.max_bytes)
        finally:
            if received is None or received.refusal is not None:
                await submission.abort()
        self.put_back(received.rest)
        if received.refusal is not None:
            return await self._not_taken(received, received.refusal)
        work = self.loop.create_task(self._commit(submission))
        self.wiring.door.keep(work)
        return await asyncio.shield(work)  # a relay that leaves ends this wait, never the commit

    async def _commit(self, submission: Submission) -> Reply:
        try:
            await submission.commit()
        except BaseException as error:
            await submission.abort()
            if not isinstance(error, Exception):
                raise
            return self.answer(error)
        return replies.STORED

    async def _not_taken(self, received: Received, refusal: Exception) -> Reply:
        # what the intake refuses is on record already; what was found here is not
        answer = await self._refused(refusal) if received.found_here else self.answer(refusal)
        return answer if received.ended else replace(answer, close=True)

    async def _refused(self, error: Exception) -> Reply:
        """Puts our own refusal on record. If that fails the answer is temporary: no refusal without a record."""
        try:
            await self._intake.refuse(self._relay, self.origin, type(error).__name__)
        except Exception as failure:
            return self.answer(failure)
        return reply_to(error)

    # -- the rest

    async def _rset(self, argument: str) -> None:
        if argument:
            raise Refused(replies.BAD_ARGUMENT)
        self._end_transaction()
        await self.say(replies.OK)

    async def _noop(self, argument: str) -> None:
        await self.say(replies.OK)

    async def _quit(self, argument: str) -> None:
        await self.say(replies.GOODBYE)
