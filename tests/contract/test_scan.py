"""`Scanner`, by a real clamd and by one that lies: what it finds is said, and whatever it does, nothing raises and nobody waits."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from portal.model.errors import StorageAway
from portal.scan import Finding, Scanner, Verdict
from portal.scan.clamd import Clamd
from tests.servers import PATTERN, SIGNATURE
from tests.servers import Clamd as Running
from tests.servers import clamd as open_clamd
from tests.world import letter

pytestmark = pytest.mark.anyio
UNKNOWN, INFECTED = Verdict.UNKNOWN, Verdict.INFECTED
Act = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """One clamd for all tests here."""
    with open_clamd() as daemon:
        yield daemon


async def scanned(scanner: Scanner, content: bytes, piece: int = 50_000) -> Finding:
    scan = await scanner.begin()
    for start in range(0, len(content), piece):
        await scan.write(content[start : start + piece])
        await asyncio.sleep(0)
    found = await scan.finding()
    scan.close()
    scan.close()
    assert await scan.finding() == found
    return found


@asynccontextmanager
async def imitated(act: Act) -> AsyncIterator[str]:
    """A clamd that does as `act` says; where it listens."""
    tasks: set[asyncio.Task[object]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task: asyncio.Task[object] | None = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await act(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def whole(reader: asyncio.StreamReader) -> bytes:
    """One INSTREAM as it comes in."""
    assert await reader.readexactly(10) == b"zINSTREAM\0"
    content = b""
    while length := int.from_bytes(await reader.readexactly(4)):
        content += await reader.readexactly(length)
    return content


def answers(said: bytes, *, early: bool = False) -> Act:
    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not early:
            await whole(reader)
        writer.write(said)
        await writer.drain()
        await (reader.read() if early else asyncio.sleep(0.1))

    return act


async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(20)


MAIL = letter(attachments=[("list.bin", "application/octet-stream", b"\0\1" * 500 + PATTERN)])


@pytest.mark.parametrize(
    ("content", "verdict", "said"),
    [
        (b"", Verdict.CLEAN, ""),
        (letter(), Verdict.CLEAN, ""),
        (PATTERN, INFECTED, f"{SIGNATURE}.UNOFFICIAL"),
        (MAIL, INFECTED, f"{SIGNATURE}.UNOFFICIAL"),  # base64: it unpacks MIME by itself
        (bytes(1_500_000), Verdict.CLEAN, ""),
        (bytes(6_000_000), UNKNOWN, "clamd broke off after"),
    ],
)
async def test_what_a_clamd_finds_is_what_is_said(
    running: Running, content: bytes, verdict: Verdict, said: str
) -> None:
    """By socket and by TCP, in pieces of any size; what is over its StreamMaxLength could not be scanned."""
    assert PATTERN not in MAIL
    for where, piece in ((running.path, 70_000), (running.tcp, 997 if len(content) < 10_000 else 300_000)):
        found = await scanned(Clamd(where, 20), content, piece)
        if verdict is UNKNOWN:  # its own word for it comes through where the connection holds that long
            assert (found.verdict, found.said[:21]) in [(UNKNOWN, said), (UNKNOWN, "INSTREAM size limit e")]
        else:
            assert found == Finding(verdict, said)


async def test_which_clamd_answers_is_told(running: Running) -> None:
    """Its version, on one line; and an error when nobody is there."""
    assert (await Clamd(running.tcp, 5).check()).startswith("ClamAV ")
    for nowhere in ("127.0.0.1:1", "/nowhere/clamd.ctl"):
        with pytest.raises(StorageAway):
            await Clamd(nowhere, 5).check()


LIES: dict[str, tuple[Act, Verdict, str]] = {
    "clean": (answers(b"stream: OK\0"), Verdict.CLEAN, ""),
    "infected": (answers(b"stream: Eicar FOUND\0"), INFECTED, "Eicar"),
    "infected, said early": (answers(b"stream: Eicar FOUND\0", early=True), INFECTED, "Eicar"),
    "clean, said early": (answers(b"stream: OK\0", early=True), UNKNOWN, "clamd answered before the end"),
    "a limit": (
        answers(b"stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND\0"),
        UNKNOWN,
        "Heuristics.Limits.Exceeded.MaxFileSize",
    ),
    "signs that no name has": (answers(b"stream: <script>\r\n\x1b[31m\xff FOUND\0"), INFECTED, "script 31m"),
    "cut short": (answers(b"stream: OK"), UNKNOWN, "clamd broke off"),
    "two answers": (answers(b"stream: OK\0stream: Eicar FOUND\0"), UNKNOWN, "stream: OK stream: Eicar FOUND"),
    "no stream": (answers(b"OK\0"), UNKNOWN, "OK"),
    "nearly": (answers(b"stream: ok\0"), UNKNOWN, "stream: ok"),
    "nothing": (answers(b"\0"), UNKNOWN, ""),
    "without an end": (answers(b"a" * 5_000_000), UNKNOWN, "clamd broke off"),
    "hangs": (hangs, UNKNOWN, "clamd took too long"),
    "hangs up": (hangs_up, UNKNOWN, "clamd broke off"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_only_a_plain_answer_to_the_whole_counts(lie: str) -> None:
    """What lies, drips, breaks off, answers too early or says something else has scanned nothing; and it ends in time."""
    act, verdict, said = LIES[lie]
    async with imitated(act) as where:
        began = time.monotonic()
        found = await scanned(Clamd(where, 0.5), bytes(2_000_000))
        assert found.verdict is verdict
        assert found.said == said or (said == "clamd broke off" and found.said.startswith(said))
        assert time.monotonic() - began < 3


async def test_a_clamd_that_hangs_is_left_alone(running: Running) -> None:
    """One object waits its time, the next finds that the daemon itself does not answer, and those behind it wait not at all."""
    scanner = Clamd(running.tcp, 0.4)
    running.hang()
    try:
        assert (await scanned(scanner, bytes(3_000_000))).said == "clamd took too long"
        assert (await scanned(scanner, b"x")).said == "clamd does not answer"
        began = time.monotonic()
        for _ in range(100):
            assert (await scanned(scanner, bytes(100_000))).said == "clamd did not answer a moment ago"
        assert time.monotonic() - began < 1
    finally:
        running.go_on()
    assert (await scanned(Clamd(running.tcp, 5), PATTERN)).verdict is INFECTED


async def test_an_object_that_takes_too_long_does_not_stop_the_others() -> None:
    """Where the daemon still answers, only the slow object goes unscanned."""
    slow = [True]

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        command = await reader.readexactly(6)
        if command == b"zPING\0":
            writer.write(b"PONG\0")
            await writer.drain()
            return
        await reader.readexactly(4)
        while length := int.from_bytes(await reader.readexactly(4)):
            await reader.readexactly(length)
        if slow.pop() if slow else False:
            await asyncio.Event().wait()
        writer.write(b"stream: OK\0")
        await writer.drain()

    async with imitated(act) as where:
        scanner = Clamd(where, 0.4)
        assert (await scanned(scanner, b"slow")).said == "clamd took too long"
        assert (await scanned(scanner, b"quick")).verdict is Verdict.CLEAN


async def test_a_clamd_killed_in_the_middle_has_scanned_nothing() -> None:
    """What was under way is unscanned, and so is what comes then."""
    with open_clamd() as daemon:
        scanner = Clamd(daemon.tcp, 5)
        scan = await scanner.begin()
        await scan.write(bytes(500_000))
        daemon.server.kill()
        await asyncio.sleep(0.1)
        await scan.write(bytes(500_000))
        await scan.write(PATTERN)
        assert (await scan.finding()).verdict is UNKNOWN
        assert (await scanned(scanner, PATTERN)).said == "clamd can't be reached"
