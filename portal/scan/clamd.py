"""Scans by clamd over INSTREAM (clamd(8)): the bytes go to it as they come in, each piece behind its length, and a length of
zero ends them; it then scans, unpacks MIME by itself, and answers with one line.

Only an answer to all of it counts as clean, so one that comes before the end does not. A limit that clamd ran into
(`Heuristics.Limits.Exceeded`, with AlertExceedsMax) is no virus: that object could not be scanned.
A clamd that is down or hangs is left alone for a while, so that mail does not queue up behind it.
"""

import asyncio
import re
import time
from collections.abc import Awaitable
from typing import TypeVar

from portal.model.errors import StorageAway
from portal.scan import Finding, Scan, Verdict, one_line

_CONNECT_SECONDS = 3.0
_PING_SECONDS = 3.0
REST_SECONDS = 10.0
"""How long a clamd that did not answer is left alone."""
_ANSWER_BYTES = 1000
_FRAME = 64 * 1024
_ANSWER = re.compile(rb"stream: (?:(OK)|([^\0]{1,400}) FOUND)\0")
_LIMIT = "Heuristics.Limits.Exceeded"
R = TypeVar("R")


class Clamd:
    """See the module. `where` is `host:port` or a socket's path; `seconds` is how long one object may wait for it, in all."""

    def __init__(self, where: str, seconds: float) -> None:
        self._where, self._seconds = where, seconds
        self._resting_until, self._in_doubt = 0.0, False

    async def begin(self) -> Scan:
        if time.monotonic() < self._resting_until:
            return _Nothing("clamd did not answer a moment ago")
        try:
            if self._in_doubt:  # the last one got no answer: was that its object, or is it the daemon?
                await self._ask(b"zPING\0")
                self._in_doubt = False
            reader, writer = await self._connected()
        except StorageAway as away:
            self._resting_until = time.monotonic() + REST_SECONDS
            return _Nothing(one_line(str(away)))
        return _Stream(self, reader, writer, self._seconds)

    async def check(self) -> str:
        return one_line(await self._ask(b"zVERSION\0"))

    def doubt(self) -> None:
        """A scan ended without an answer."""
        self._in_doubt = True

    async def _ask(self, command: bytes) -> str:
        reader, writer = await self._connected()
        try:
            async with asyncio.timeout(_PING_SECONDS):
                writer.write(command)
                return (await _answer(reader)).decode("utf-8", "replace")
        except (OSError, TimeoutError) as error:
            raise StorageAway("clamd does not answer") from error
        finally:
            writer.close()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, _, port = self._where.rpartition(":")
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                if self._where.startswith("/"):
                    return await asyncio.open_unix_connection(self._where)
                return await asyncio.open_connection(host.strip("[]"), int(port))
        except (OSError, TimeoutError) as error:
            raise StorageAway("clamd can't be reached") from error


class _Nothing:
    """A scan of which nothing can come."""

    def __init__(self, why: str) -> None:
        self._finding = Finding(Verdict.UNKNOWN, why)

    async def write(self, piece: bytes) -> None:
        return None

    async def finding(self) -> Finding:
        return self._finding

    def close(self) -> None:
        return None


class _Stream:
    """One INSTREAM. Owns its connection until there is a finding."""

    def __init__(
        self, daemon: Clamd, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float
    ) -> None:
        self._daemon, self._reader, self._writer, self._left = daemon, reader, writer, seconds
        self._finding: Finding | None = None
        # It listens from the start: clamd says that an object is too large while that is still being sent.
        self._answer = asyncio.create_task(_answer(reader))
        self._sent = 0
        writer.transport.set_write_buffer_limits(0)  # what clamd has not taken yet is waited for
        writer.write(b"zINSTREAM\0")

    async def write(self, piece: bytes) -> None:
        for start in range(0, len(piece), _FRAME):
            if self._finding is not None:
                return
            frame = piece[start : start + _FRAME]
            await self._send(len(frame).to_bytes(4) + frame)

    async def finding(self) -> Finding:
        if self._finding is None:
            await self._send(bytes(4))
        if self._finding is None:
            try:
                self._settle(_read(await self._within(asyncio.shield(self._answer))))
            except TimeoutError:
                self._give_up("clamd took too long")
            except OSError:
                self._settle(self._broke_off())
        assert self._finding is not None
        return self._finding

    def close(self) -> None:
        if self._finding is None:
            self._settle(Finding(Verdict.UNKNOWN, "given up"))

    async def _send(self, frame: bytes) -> None:
        if self._answer.done():
            self._too_early()
            return
        try:
            self._writer.write(frame)
            await self._within(self._writer.drain())
            self._sent += len(frame)
        except TimeoutError:
            self._give_up("clamd took too long")
        except OSError:
            await asyncio.wait([self._answer], timeout=0.2)  # why it hung up may be on its way
            self._too_early()

    async def _within(self, waited_for: Awaitable[R]) -> R:
        """Waits, at the cost of what is left of this object's time. Raises TimeoutError."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._left):
                return await waited_for
        finally:
            self._left = max(0.0, self._left - (time.monotonic() - began))

    def _too_early(self) -> None:
        """It answered, or hung up, before it had all: never clean."""
        try:
            found = _read(self._answer.result()) if self._answer.done() else self._broke_off()
        except OSError:
            found = self._broke_off()
        early = Finding(Verdict.UNKNOWN, "clamd answered before the end")
        self._settle(early if found.verdict is Verdict.CLEAN else found)

    def _broke_off(self) -> Finding:
        """Its reason is lost with the connection, as a rule; how far it got is what its StreamMaxLength shows in."""
        return Finding(Verdict.UNKNOWN, f"clamd broke off after {self._sent // 1000} kB")

    def _give_up(self, why: str) -> None:
        self._daemon.doubt()
        self._settle(Finding(Verdict.UNKNOWN, why))

    def _settle(self, found: Finding) -> None:
        self._finding = found
        if self._answer.done() and not self._answer.cancelled():
            self._answer.exception()  # looked at, so that asyncio does not complain of it
        self._answer.cancel()
        # Aborted rather than closed: what could not be sent to a clamd that hangs is not kept.
        self._writer.transport.abort()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """Its one line with the NUL that ends it. Raises OSError when it breaks off, or goes on and on."""
    said = b""
    while not said.endswith(b"\0"):
        piece = await reader.read(_ANSWER_BYTES)
        said += piece
        if not piece or len(said) > _ANSWER_BYTES:
            raise ConnectionError("no answer")
    return said


def _read(answer: bytes) -> Finding:
    """What it said, read to the letter: anything but `stream: OK` and `stream: <name> FOUND` is no finding."""
    found = _ANSWER.fullmatch(answer)
    if found is None:
        return Finding(Verdict.UNKNOWN, one_line(answer.decode("utf-8", "replace")))
    if found[1]:
        return Finding(Verdict.CLEAN)
    name = one_line(found[2].decode("utf-8", "replace"))
    return Finding(Verdict.UNKNOWN if name.startswith(_LIMIT) else Verdict.INFECTED, name)
