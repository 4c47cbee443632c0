"""The socketmap protocol (Postfix, socketmap_table(5)): a netstring `name key` in, a netstring `OK value`, `NOTFOUND `, `TEMP reason`
or `PERM reason` out, any number on one connection, one after the other.

What is no netstring, is too long or comes too slowly ends the connection: there is no telling where the next request would begin.
Keys are not logged.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address

import structlog

from portal.lookup.answers import Answers, Reply

Network = IPv4Network | IPv6Network

MOST_BYTES = 1024
"""Of a request. An address has 254, a map's name about 70."""
_IDLE_SECONDS = 300.0
_SLOW_SECONDS = 10.0
_ANSWER_SECONDS = 30.0


class SocketMap:
    """Serves connections. `allowed` are the networks that may ask; a unix socket's own permissions say who may."""

    def __init__(self, answers: Answers, allowed: Sequence[Network], most_connections: int = 500) -> None:
        self._answers, self._allowed, self._most = answers, allowed, most_connections
        self._open: set[asyncio.Task[None]] = set()
        self._said = -60.0
        self._log = structlog.get_logger("lookup")

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """For asyncio.start_server, with limit=MOST_BYTES."""
        if len(self._open) >= self._most or not may_ask(writer.get_extra_info("peername"), self._allowed):
            if time.monotonic() - self._said > 60:  # a stranger must not fill the log
                self._said = time.monotonic()
                self._log.warning("refused", open=len(self._open))
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def close(self) -> None:
        """Cuts all connections: a relay connects again, or waits."""
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, TimeoutError, EOFError, ValueError, asyncio.LimitOverrunError):
                while True:
                    name, key = await _request(reader)
                    reply = await self._reply(name, key)
                    writer.write(_netstring(f"{reply.status} {reply.text}"))
                    async with asyncio.timeout(_SLOW_SECONDS):
                        await writer.drain()
        finally:
            writer.transport.abort()

    async def _reply(self, name: str, key: str) -> Reply:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self._answers.answer(name, key)
        except TimeoutError:
            return Reply("TEMP", "no answer in time")
        except Exception:  # a fault in here must not read like an answer
            self._log.exception("lookup failed")
            return Reply("TEMP", "internal error")


async def _request(reader: asyncio.StreamReader) -> tuple[str, str]:
    """Map and key. Raises ValueError for what is no netstring of ours, and what the stream raises."""
    async with asyncio.timeout(_IDLE_SECONDS):
        first = await reader.readexactly(1)
    async with asyncio.timeout(_SLOW_SECONDS):
        digits = b""
        while first != b":":
            digits += first
            if not first.isdigit() or len(digits) > 4 or int(digits) > MOST_BYTES:
                raise ValueError("no netstring")
            first = await reader.readexactly(1)
        text = await reader.readexactly(int(digits or b"0") + 1)
    if not digits or text[-1:] != b",":
        raise ValueError("no netstring")
    name, _, key = text[:-1].decode().partition(" ")
    return name, key


def _netstring(text: str) -> bytes:
    raw = text.encode()
    return b"%d:%b," % (len(raw), raw)


def may_ask(peer: object, allowed: Sequence[Network]) -> bool:
    """Whether a peer (as asyncio names it) is in one of the networks. One without an address came over a unix socket."""
    if not isinstance(peer, tuple) or not peer:
        return True
    at = ip_address(str(peer[0]).partition("%")[0])
    mapped = getattr(at, "ipv4_mapped", None)
    return any((mapped or at) in one for one in allowed)
