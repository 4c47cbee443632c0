"""What relays ask with, on real sockets: netstrings and HTTP, well made and not."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest

from portal.lookup import socketmap
from portal.lookup.answers import Answers, Reply
from portal.lookup.http import HttpLookup
from portal.lookup.socketmap import MOST_BYTES, SocketMap

pytestmark = pytest.mark.anyio
LOOPBACK = [ip_network("127.0.0.0/8")]


class Scripted(Answers):
    """Answers by a function."""

    def __init__(self, answer: Callable[[str, str], Awaitable[Reply]]) -> None:
        self._answer = answer

    async def answer(self, name: str, key: str) -> Reply:
        return await self._answer(name, key)


async def _echo(name: str, key: str) -> Reply:
    if key == "fault":
        raise RuntimeError("a secret")
    if key == "never":
        await asyncio.sleep(60)
    return {"none": Reply("NOTFOUND"), "temp": Reply("TEMP", "later")}.get(key, Reply("OK", f"{name}={key}"))


@asynccontextmanager
async def _listening(networks: list[str] | None = None, most: int = 500) -> AsyncIterator[int]:
    allowed = [ip_network(one) for one in networks] if networks is not None else LOOPBACK
    sockets = SocketMap(Scripted(_echo), allowed, most)
    server = await asyncio.start_server(sockets.connected, "127.0.0.1", 0, limit=MOST_BYTES)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await sockets.close()


async def _said(port: int, sent: bytes, *, ends: bool = True) -> bytes:
    """What comes back until the other end hangs up, or half a second; with `ends` it is told that nothing more comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = b""
    try:
        writer.write(sent)
        if ends:
            writer.write_eof()
        async with asyncio.timeout(0.5):
            while piece := await reader.read(65536):
                said += piece
    except (TimeoutError, OSError):
        pass
    finally:
        writer.transport.abort()
    return said


async def test_requests_are_answered_in_order_on_one_connection() -> None:
    """Any number, pipelined and in pieces; NOTFOUND has its space; keys are UTF-8 and may hold spaces."""
    async with _listening() as port:
        sent = b"9:route a.b,10:route none,10:route temp,8:route \xc3\xbc,9:route a b,5:route,"
        said = await _said(port, sent)
        assert said == b"12:OK route=a.b,9:NOTFOUND ,10:TEMP later,11:OK route=\xc3\xbc,12:OK route=a b,9:OK route=,"
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for piece in (b"9", b":rou", b"te a.b", b","):
            writer.write(piece)
            await asyncio.sleep(0.01)
        assert await reader.readexactly(16) == b"12:OK route=a.b,"
        writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"-1:x,",
        b"99999999999999999999:x,",
        b"1025:" + b"x" * 1025 + b",",
        b"x" * 100_000,
        b"7:route a.b,",
        b"9:route a.b;",
        b"8:route \xff\xfe,",
        b":,",
        b"000000000000000009:route a.b,",
        b"\xc2\xb2:ab,",
    ],
)
async def test_what_is_no_netstring_ends_the_connection(sent: bytes) -> None:
    """Nothing is answered, and others go on being served."""
    async with _listening() as port:
        began = time.monotonic()
        assert await _said(port, sent, ends=False) == b""
        assert time.monotonic() - began < 0.4, "it was left open"
        assert await _said(port, b"9:route a.b,") == b"12:OK route=a.b,"


async def test_faults_and_slowness_are_temporary(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error here is TEMP and says nothing; so is no answer in time; a request that drips is cut."""
    monkeypatch.setattr(socketmap, "_ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(socketmap, "_SLOW_SECONDS", 0.1)
    async with _listening() as port:
        assert await _said(port, b"11:route fault,") == b"19:TEMP internal error,"
        assert await _said(port, b"11:route never,") == b"22:TEMP no answer in time,"
        began = time.monotonic()
        assert await _said(port, b"9:rou", ends=False) == b""
        assert time.monotonic() - began < 0.4


async def test_strangers_and_crowds_are_hung_up_on() -> None:
    """A host that may not ask, and one connection too many, hear nothing; the others are served on."""
    async with _listening(["192.0.2.0/24", "::1"]) as port:
        assert await _said(port, b"9:route a.b,") == b""
    async with _listening(most=2) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert await _said(port, b"9:route a.b,") == b""
        held[0][1].write(b"9:route a.b,")
        assert await held[0][0].readexactly(16) == b"12:OK route=a.b,"
        for _, writer in held:
            writer.close()
        await asyncio.sleep(0.05)
        assert await _said(port, b"9:route a.b,") == b"12:OK route=a.b,"


async def _http(
    query: str, *, method: str = "GET", path: str = "/route", client: str = "127.0.0.1"
) -> tuple[int, bytes]:
    sent: list[dict[str, object]] = []

    async def send(message: object) -> None:
        sent.append(dict(message))  # type: ignore[call-overload]

    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "client": (client, 1)}

    async def receive() -> None:
        raise AssertionError("no body is read")

    await HttpLookup(Scripted(_echo), LOOPBACK)(scope, receive, send)
    return int(str(sent[0]["status"])), bytes(sent[1]["body"])  # type: ignore[call-overload]


async def test_http_gives_the_same_answers() -> None:
    """200, 404, 503, 400 for the four; HEAD has no body; a stranger is refused."""
    assert await _http("key=a.b") == (200, b"route=a.b\n")
    assert await _http("key=a%40b", path="/northside/route") == (200, b"northside/route=a@b\n")
    assert await _http("key=none") == (404, b"\n")
    assert await _http("key=temp") == (503, b"later\n")
    assert await _http("key=a.b", method="HEAD") == (200, b"")
    assert (await _http("key=a.b", client="192.0.2.1"))[0] == 403
    for query in ("", "key=", "key=a&key=b", "key=%ff", "a=1&b=2&c=3&d=4&key=5", "key=" + "x" * 4000):
        assert (await _http(query))[0] == 400, query
    assert (await _http("key=a.b", method="POST"))[0] == 400
