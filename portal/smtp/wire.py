"""The command loop of an SMTP connection: from a line to a command, from a failure to its reply.

It takes the place of aiosmtpd's, which logs what clients send, takes a bare LF for a line's end, answers 500 to faults
(a bounce) and knows no enhanced codes. Nothing a client sends is ever logged.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from portal.smtp import replies
from portal.smtp.data import ClientGone
from portal.smtp.replies import Refused, Reply, reply_to
from portal.smtp.stream import Stream, Wiring

log = logging.getLogger("portal.smtp")

MAX_COMMAND_BYTES = 4096  # RFC 5321 4.5.3.1.4 says 512; AUTH and MAIL take more (RFC 4954, 1870, 6531)
_MAX_ERRORS = 10  # misunderstandings (50x) before the connection is ended

Command = Callable[[str], Awaitable[None]]


class Wire(Stream):
    """A connection that obeys `commands()`. A command answers with `say`, or raises Refused or what the map knows."""

    def __init__(self, wiring: Wiring) -> None:
        super().__init__(wiring)
        self._commands = self.commands()
        self._errors = 0
        self._draining = False
        self._waiting = False  # for a command

    def commands(self) -> dict[str, Command]:
        """The commands that are known, by their names in capitals."""
        raise NotImplementedError

    def in_transaction(self) -> bool:
        """Whether ending the connection now would cut a transaction in two."""
        raise NotImplementedError

    def drain_out(self) -> None:
        """An idle connection ends now; one in a transaction when that has come to its end."""
        self._draining = True
        if self._waiting and not self.in_transaction():
            self.part_with(replies.STOPPING)

    def answer(self, error: Exception) -> Reply:
        """The reply to a failed step. What stops us is logged by its class, never by its text."""
        reply = reply_to(error)
        if reply.code == 451:
            log.error("smtp command failed: %s", type(error).__name__)
        return reply

    async def handle_exception(self, error: Exception) -> str:
        """In place of aiosmtpd's, which answers 500: that bounces."""
        return str(self.answer(error))

    async def starttls(self, argument: str) -> None:
        """The STARTTLS command (RFC 3207)."""
        if argument:
            raise Refused(replies.BAD_ARGUMENT)
        if self.wiring.tls is None or self.secured:
            raise Refused(replies.OUT_OF_ORDER)
        await self.say(replies.READY_FOR_TLS)
        await self.start_tls()

    async def _handle_client(self) -> None:
        try:
            if not self.admitted:
                return await self.say(replies.TOO_MANY_CONNECTIONS)
            await self.say(f"220 {self.wiring.hostname} ESMTP")
            while self.transport is not None and not self.transport.is_closing():
                await self._serve_one()
        except ClientGone:
            pass
        except Exception as error:
            log.error("smtp connection ended by %s", type(error).__name__)
        finally:
            self.close_soon()

    async def _serve_one(self) -> None:
        try:
            if self._draining and not self.in_transaction():
                raise Refused(replies.STOPPING)
            if self._errors >= _MAX_ERRORS:
                raise Refused(replies.TOO_MANY_ERRORS)
            command, argument = self._understood(await self._next_line())
            await command(argument)
        except Refused as error:
            self._errors += 500 <= error.reply.code <= 504
            await self.say(error.reply)
        except ClientGone:
            raise
        except Exception as error:
            await self.say(self.answer(error))

    async def _next_line(self) -> bytes:
        self._waiting = True
        try:
            return await self.read_line()
        except asyncio.LimitOverrunError:
            raise Refused(replies.LINE_TOO_LONG) from None
        finally:
            self._waiting = False

    def _understood(self, line: bytes) -> tuple[Command, str]:
        if len(line) > MAX_COMMAND_BYTES:
            raise Refused(replies.LINE_TOO_LONG)
        if not line.endswith(b"\r\n") or b"\r" in line[:-2] or b"\0" in line:
            raise Refused(replies.BAD_LINE)
        verb, _, argument = line[:-2].partition(b" ")
        command = self._commands.get(verb.decode("ascii", "replace").upper())
        if command is None:
            raise Refused(replies.UNKNOWN_COMMAND)
        return command, argument.decode("utf-8", "surrogateescape").strip(" ")
