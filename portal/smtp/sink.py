"""A mail host that takes everything and keeps the last messages in memory: the demo's mailbox, and the tests' far end.

It promises nothing about durability and is no part of the intake.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from hmac import compare_digest
from typing import Literal

from portal.model.errors import RelayUnknown
from portal.smtp import auth, replies
from portal.smtp.commands import parse_mail, parse_recipient
from portal.smtp.data import receive
from portal.smtp.replies import Refused, Reply, reply_to
from portal.smtp.server import Doorway, Listeners
from portal.smtp.stream import Wiring
from portal.smtp.wire import Command, Wire

_MAX_BYTES = 200 * 1024 * 1024


@dataclass(frozen=True)
class Caught:
    """One message as it came. `tls` is the hop's protocol version, such as TLSv1.3; None when it came in the clear."""

    mail_from: str
    rcpt_to: tuple[str, ...]
    raw: bytes
    tls: str | None
    cipher: str | None
    user: str | None


class Sink:
    """The mailbox. With `refuse_with` (such as "451 4.7.1 later") each RCPT, or each message's end, is so answered; with `refuse_for`
    RCPT of these addresses alone."""

    def __init__(self, login: tuple[str, str] | None, keep: int, taken: Callable[[Caught], None] | None) -> None:
        self.login = login
        self._taken = taken
        self.refuse_with: str | None = None
        self.refuse_at: Literal["RCPT", "DATA"] = "RCPT"
        self.refuse_for: frozenset[str] = frozenset()
        self.messages: deque[Caught] = deque(maxlen=keep)
        self._arrived = asyncio.Condition()
        self._listeners: Listeners | None = None

    @property
    def port(self) -> int:
        assert self._listeners is not None
        return self._listeners.ports["sink"]

    async def take(self, message: Caught) -> None:
        if self._taken is not None:
            self._taken(message)
        async with self._arrived:
            self.messages.append(message)
            self._arrived.notify_all()

    async def wait_for(self, predicate: Callable[[Caught], bool], timeout: float = 5.0) -> Caught:
        """The newest message for which `predicate` holds; waits for it. Raises TimeoutError after `timeout` seconds."""
        async with asyncio.timeout(timeout), self._arrived:
            while True:
                for message in reversed(self.messages):
                    if predicate(message):
                        return message
                await self._arrived.wait()

    async def close(self) -> None:
        if self._listeners is not None:
            await self._listeners.close(0)


async def open_sink(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    tls: ssl.SSLContext | None = None,
    login: tuple[str, str] | None = None,
    hostname: str = "mail.patients.example",
    keep: int = 200,
    taken: Callable[[Caught], None] | None = None,
) -> Sink:
    """A sink that listens. With `tls`, STARTTLS is offered and required; with `login`, so is AUTH by that name and password.

    `taken` is called with each message before its sender hears 250.
    Without `tls` it is a host that speaks in the clear only. Raises OSError.
    """
    sink = Sink(login, keep, taken)
    door = Doorway(max_connections=100, max_per_address=100)
    listeners = Listeners(door)
    wiring = Wiring(hostname, door, tls)
    await listeners.open("sink", (host, port), lambda: _SinkSession(wiring, sink))
    sink._listeners = listeners
    return sink


class _SinkSession(Wire):
    def __init__(self, wiring: Wiring, sink: Sink) -> None:
        self._sink = sink
        self.forget()
        super().__init__(wiring)

    def commands(self) -> dict[str, Command]:
        return {
            "EHLO": self._ehlo,
            "HELO": self._ehlo,
            "STARTTLS": self.starttls,
            "AUTH": self._auth,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "RSET": self._rset,
            "NOOP": self._noop,
            "QUIT": self._quit,
        }

    def in_transaction(self) -> bool:
        return self._mail_from is not None

    def forget(self) -> None:
        self._user: str | None = None
        self._end_transaction()

    def _end_transaction(self) -> None:
        self._mail_from: str | None = None
        self._rcpt_to: list[str] = []
        self._smtp_utf8 = False

    async def _ehlo(self, argument: str) -> None:
        self._end_transaction()
        offers = [self.wiring.hostname, f"SIZE {_MAX_BYTES}", "8BITMIME", "SMTPUTF8", "PIPELINING"]
        if self.wiring.tls is not None and not self.secured:
            offers.append("STARTTLS")
        elif self._sink.login is not None:
            offers.append(f"AUTH {' '.join(auth.MECHANISMS)}")
        await self.say(*(f"250-{offer}" for offer in offers), "250 ENHANCEDSTATUSCODES")

    async def _auth(self, argument: str) -> None:
        told = await auth.credentials(self, argument)
        wanted = self._sink.login or ("", "")
        if not all(compare_digest(a.encode(), b.encode()) for a, b in zip(told, wanted, strict=True)):
            raise RelayUnknown("wrong name or password")
        self._user = told[0]
        await self.say(replies.AUTHENTICATED)

    async def _mail(self, argument: str) -> None:
        if self.wiring.tls is not None and not self.secured:
            raise Refused(replies.TLS_FIRST)
        if self._sink.login is not None and self._user is None:
            raise Refused(Reply(530, "5.7.0", "Authentication required"))
        mail = parse_mail(argument)
        self._mail_from, self._smtp_utf8 = mail.address, mail.smtp_utf8
        await self.say(replies.SENDER_OK)

    async def _rcpt(self, argument: str) -> None:
        if self._mail_from is None:
            raise Refused(replies.OUT_OF_ORDER)
        recipient = parse_recipient(argument, smtp_utf8=self._smtp_utf8)
        meant = not self._sink.refuse_for or recipient.address in self._sink.refuse_for
        if self._sink.refuse_with and self._sink.refuse_at == "RCPT" and meant:
            await self.say(self._sink.refuse_with)
            return
        self._rcpt_to.append(recipient.address)
        await self.say(replies.RECIPIENT_OK)

    async def _data(self, argument: str) -> None:
        if self._mail_from is None or not self._rcpt_to:
            raise Refused(replies.NO_RECIPIENTS)
        await self.say("354 End data with <CR><LF>.<CR><LF>")
        pieces: list[bytes] = []

        async def write(piece: bytes) -> None:
            pieces.append(piece)

        received = await receive(self.read_piece, write, max_bytes=_MAX_BYTES)
        self.put_back(received.rest)
        caught = self._caught(self._mail_from, b"".join(pieces))
        self._end_transaction()
        if received.refusal is not None:
            raise Refused(replace(reply_to(received.refusal), close=not received.ended))
        if self._sink.refuse_with and self._sink.refuse_at == "DATA":
            await self.say(self._sink.refuse_with)
            return
        await self._sink.take(caught)
        await self.say(replies.STORED)

    def _caught(self, mail_from: str, raw: bytes) -> Caught:
        tls = self.transport.get_extra_info("ssl_object") if self.secured else None
        version, cipher = (tls.version(), tls.cipher()[0]) if tls else (None, None)
        return Caught(mail_from, tuple(self._rcpt_to), raw, version, cipher, self._user)

    async def _rset(self, argument: str) -> None:
        self._end_transaction()
        await self.say(replies.OK)

    async def _noop(self, argument: str) -> None:
        await self.say(replies.OK)

    async def _quit(self, argument: str) -> None:
        await self.say(replies.GOODBYE)
