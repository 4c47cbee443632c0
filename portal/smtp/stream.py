"""One SMTP connection as bytes and time: lines in, replies out, TLS, silence, and how it begins and ends.

Built on aiosmtpd 1.4.6 (pinned: private members of it and of asyncio's streams are touched; the tests on real sockets
hold them to it). Replies to pipelined commands leave together (RFC 2920 3.2). What came in the clear before TLS is
dropped (RFC 3207 6). No silence is longer than the wiring's `read_timeout`; our own work is not counted as silence.
"""

import asyncio
import ssl
from collections.abc import Awaitable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol

from aiosmtpd.smtp import SMTP

from portal.smtp import replies
from portal.smtp.data import PIECE_BYTES, ClientGone
from portal.smtp.replies import Reply

HANDSHAKE_SECONDS = 15.0
_MAX_UNSENT = 100  # replies
_LINGER_SECONDS = 5.0  # how long a closing connection may take to carry its last reply


class Door(Protocol):
    """Who may be connected, and which work outlives its connection."""

    def enter(self, stream: "Stream") -> bool:
        """Whether there is room for this connection. Called once, before a byte is read."""

    def leave(self, stream: "Stream") -> None:
        """Called once for each that entered, when its connection is gone."""

    def keep(self, work: "asyncio.Task[Any]") -> None:
        """Holds a task that must be finished even when its connection is gone."""


@dataclass(frozen=True)
class Wiring:
    """What all connections of one listener share. `tls` None: there is no TLS (the sink of tests and demo only)."""

    hostname: str
    door: Door
    tls: ssl.SSLContext | None
    read_timeout: float = 300.0  # seconds of silence (RFC 5321 4.5.3.2.7)


class Stream(SMTP):
    """`origin` is the client's address, `secured` whether TLS is on, `admitted` whether the door had room."""

    _reader: Any
    _writer: Any
    _strong_reader: Any
    _transport: Any
    transport: Any

    def __init__(self, wiring: Wiring) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(None, hostname=wiring.hostname, loop=loop, timeout=wiring.read_timeout)
        self._reader = self._strong_reader
        self._reader._limit = PIECE_BYTES  # the reader pauses the transport at twice this
        self._unsent: list[bytes] = []
        self._cutting: asyncio.TimerHandle | None = None
        self.wiring = wiring
        self.origin = ""
        self.secured = False
        self.admitted = False

    def forget(self) -> None:
        """Called when TLS begins: all that was said before is void (RFC 3207 4.2)."""
        raise NotImplementedError

    def drain_out(self) -> None:
        """Ends the connection as soon as nothing is cut in two by it."""
        raise NotImplementedError

    # -- reading and answering

    async def say(self, *answers: Reply | str) -> None:
        """Answers a command. A string is a whole line, for the few replies that have no enhanced code."""
        for answer in answers:
            self._unsent.append(f"{answer}\r\n".encode())
            if isinstance(answer, Reply) and answer.close:
                await self.flush()
                self.close_soon()

    async def flush(self) -> None:
        """Sends the answers that wait, and waits itself while the client does not read them. Raises ClientGone."""
        if not self._unsent:
            return
        self._writer.write(b"".join(self._unsent))
        self._unsent.clear()
        await self._in_time(self._writer.drain())

    async def read_line(self) -> bytes:
        """The next line with its end. Raises LimitOverrunError, and ClientGone when no whole line comes any more."""
        if b"\n" not in self._reader._buffer or len(self._unsent) >= _MAX_UNSENT:
            await self.flush()
            await asyncio.sleep(0)  # a long pipeline must not hold up the other connections
        return bytes(await self._in_time(self._reader.readuntil(b"\n")))

    async def read_piece(self) -> bytes:
        """The bytes that are there, or the next ones to come; empty when the client is gone."""
        await self.flush()
        return bytes(await self._in_time(self._reader.read(PIECE_BYTES)))

    def put_back(self, rest: bytes) -> None:
        """Gives back what was read beyond the end of a message: pipelined commands."""
        self._reader._buffer[:0] = rest

    async def _in_time(self, exchange: Awaitable[Any]) -> Any:
        self._reset_timeout()
        try:
            return await exchange
        except (ConnectionError, asyncio.IncompleteReadError):
            raise ClientGone from None
        finally:
            self._disarm()

    # -- TLS

    async def start_tls(self) -> None:
        """Puts TLS on the connection: nothing that was said or sent before counts any more. Raises ClientGone."""
        assert self.wiring.tls is not None
        await self.flush()
        self._reader._buffer.clear()
        self._reader._paused = False  # the loop's start_tls resumes the transport
        try:
            transport = await self.loop.start_tls(
                self.transport, self, self.wiring.tls, server_side=True, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
        except (OSError, TypeError):  # SSLError is an OSError; TypeError: the transport was closed meanwhile
            self.connection_lost(None)  # the loop does not say so for a failed handshake
            raise ClientGone from None
        if transport is None:  # the client left just after the handshake; connection_lost says so on its own
            raise ClientGone
        self.transport = self._reader._transport = self._writer._transport = transport
        self._transport = transport
        self.secured = True
        self.forget()

    def certificate_fingerprint(self) -> str | None:
        """SHA-256 of the client certificate's DER as lower-case hex, if one was presented (and so verified)."""
        tls = self.transport and self.transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if tls else None
        return sha256(certificate).hexdigest() if certificate else None

    # -- how it begins and ends

    def connection_made(self, transport: Any) -> None:
        peer = transport.get_extra_info("peername")
        self.origin = str(peer[0]) if isinstance(peer, tuple) and peer else "local"
        self.admitted = self.wiring.door.enter(self)
        self.secured = transport.get_extra_info("sslcontext") is not None
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self.admitted:
            self.admitted = False
            self.wiring.door.leave(self)
        if self._cutting is not None:
            self._cutting.cancel()
        if self.transport is not None:
            super().connection_lost(error)

    def eof_received(self) -> bool:
        """The client has said all. What it had sent is still worked off, unless TLS ends with it."""
        self._reader.feed_eof()
        return not self.secured

    def part_with(self, reply: Reply) -> None:
        """Says a last word that no command asked for, and closes."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(f"{reply}\r\n".encode())
        self.close_soon()

    def close_soon(self) -> None:
        """Closes when the last reply is out; a client that does not take it is cut off."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()
            self._cutting = self.loop.call_later(_LINGER_SECONDS, self.transport.abort)

    def cut(self) -> None:
        """Ends the connection now, whatever it was doing."""
        if self.transport is not None:
            self.transport.abort()

    def _timeout_cb(self) -> None:
        self.part_with(replies.TOO_SLOW)

    def _disarm(self) -> None:
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
