"""The contract of `Renderer`, held against real render processes."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from email import policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from portal.mime import Rendition
from portal.mime.clean import Cleaner
from portal.mime.parse import parse
from portal.mime.pool import ProcessRenderer
from tests.vectors.mails import CORPUS

pytestmark = pytest.mark.anyio

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c63f8cfc0f01f0005000201ff9d2c5d6d"
    "0000000049454e44ae426082"
)
HELLO = b"Subject: hello\r\n\r\nDear Alice"
# Within every limit for headers and parts, yet each paragraph repeats the 400 elements left open before it.
SLOW = (
    b"Subject: slow\r\nContent-Type: text/html\r\n\r\n<p>"
    + b"".join(b"<i lang=x%d>" % n for n in range(400))
    + b"<p>x" * 60_000
)


class Kept:
    """A sink that keeps what it gets, and may be slow or fail."""

    def __init__(self, delay: float = 0, fails: bool = False) -> None:
        self.parts: dict[str, bytes] = {}
        self.largest = 0
        self._open = ""
        self._delay = delay
        self._fails = fails

    async def begin(self, part_id: str) -> None:
        assert not self._open
        self._open = part_id
        self.parts[part_id] = b""

    async def write(self, piece: bytes) -> None:
        if self._fails:
            raise OSError("the disk is full")
        self.largest = max(self.largest, len(piece))
        self.parts[self._open] += piece
        await asyncio.sleep(self._delay)

    async def end(self) -> None:
        assert self._open
        self._open = ""


async def pieces(raw: bytes, size: int = 50_000, delay: float = 0) -> AsyncIterator[bytes]:
    yield b""
    for at in range(0, len(raw), size):
        yield raw[at : at + size]
        await asyncio.sleep(delay)


def children() -> set[int]:
    """The render processes of this process that still run, as the kernel knows them."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            command = path.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and b"portal.mime" in command:
            found.add(int(path.parent.name))
    return found


@asynccontextmanager
async def renderer(
    size: int = 1, seconds: float = 10, mails: int = 100, memory_bytes: int = 512 << 20
) -> AsyncIterator[ProcessRenderer]:
    before = children()
    one = ProcessRenderer(size=size, seconds=seconds, mails=mails, memory_bytes=memory_bytes)
    try:
        yield one
    finally:
        await one.close()
    assert children() == before


async def hello(one: ProcessRenderer) -> Rendition:
    return await one.render(pieces(HELLO), Kept())


def large_mail() -> bytes:
    mail = EmailMessage()
    mail["From"], mail["Subject"] = "Carol <carol@clinic.example>", "Results"
    mail.set_content("Dear Alice\n")
    mail.add_alternative('<p>Dear Alice <img src="cid:a@clinic.example"></p>', subtype="html")
    related = mail.get_payload(1)
    assert isinstance(related, EmailMessage)
    related.add_related(PNG, "image", "png", cid="<a@clinic.example>")
    mail.add_attachment(b"%PDF-1.7" + bytes(3_000_000), maintype="application", subtype="pdf", filename="r.pdf")
    mail.add_attachment(b"", maintype="application", subtype="x-empty", filename="empty")
    return mail.as_bytes(policy=policy.SMTP)


async def test_mail_goes_round() -> None:
    """HTML with its picture comes back clean; parts arrive whole, in order, in pieces of at most 64 KiB."""
    async with renderer() as one:
        sink = Kept()
        rendition = await one.render(pieces(large_mail()), sink)
    assert rendition.heading.sender == "Carol <carol@clinic.example>"
    assert rendition.html is not None
    assert "data:image/png;base64," in rendition.html
    assert [(part.name, part.media_type) for part in rendition.parts] == [
        ("r.pdf", "application/pdf"),
        ("empty", "application/octet-stream"),
    ]
    assert sink.parts == {"1": b"%PDF-1.7" + bytes(3_000_000), "2": b""}
    assert sink.largest <= 65536


async def test_corpus_goes_round_in_one_process() -> None:
    """What a process says to a mail is what the parser says here, also with a calendar, whose library it loads under its limits."""
    cleaner = Cleaner()
    chosen = [vector for vector in CORPUS if vector.topic in ("calendars", "nested", "pictures", "sealed")]
    async with renderer(mails=1000) as one:
        for vector in chosen:
            sink = Kept()
            rendition = await one.render(pieces(vector.raw), sink)
            here = parse(vector.raw, cleaner)
            assert rendition == here.rendition
            assert list(sink.parts.values()) == [bytes(content) for content in here.contents]


async def test_process_is_kept_warm_and_replaced_in_time() -> None:
    """One process serves many mails, a new one comes after its number of mails, none before the first."""
    before = children()
    async with renderer(mails=2) as one:
        assert children() == before
        await hello(one)
        first = children() - before
        await hello(one)
        await hello(one)
        assert len(first) == 1
        assert first & children() == set()


async def test_slow_mail_is_given_up() -> None:
    """A mail that takes longer than its time is unparsable with its heading, and the next one is served."""
    async with renderer(seconds=0.7) as one:
        await hello(one)
        rendition = await one.render(pieces(SLOW), Kept())
        assert (rendition.heading.subject, rendition.problems) == ("slow", ("unparsable",))
        assert (await hello(one)).text == "Dear Alice"


async def test_hungry_mail_is_given_up() -> None:
    """A mail that needs more memory than there is for it is unparsable, and the next one is served."""
    async with renderer(memory_bytes=96 << 20) as one:
        for hostile in (SLOW, b"Subject: slow\r\n\r\n" + b"x" * 120_000_000):
            rendition = await one.render(pieces(hostile, 1 << 20), Kept())
            assert (rendition.heading.subject, rendition.problems) == ("slow", ("unparsable",))
        assert (await hello(one)).text == "Dear Alice"


async def test_killed_process_is_replaced() -> None:
    """A process that dies while idle or at work costs at most the mail it had."""
    before = children()
    async with renderer() as one:
        await hello(one)
        for pid in children() - before:
            os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.1)
        assert (await hello(one)).text == "Dear Alice"
        work = asyncio.create_task(one.render(pieces(SLOW, 5_000, delay=0.05), Kept()))
        await asyncio.sleep(0.2)
        for pid in children() - before:
            os.kill(pid, signal.SIGKILL)
        assert (await work).problems == ("unparsable",)
        assert (await hello(one)).text == "Dear Alice"


async def test_cancelled_render_leaves_nothing_running() -> None:
    """Cancelling ends the process at work; the next mail gets another."""
    before = children()
    async with renderer() as one:
        work = asyncio.create_task(one.render(pieces(SLOW), Kept()))
        await asyncio.sleep(0.3)
        at_work = children() - before
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        await asyncio.sleep(0.1)
        assert len(at_work) == 1
        assert not at_work & children()
        assert (await hello(one)).text == "Dear Alice"


async def test_two_at_once() -> None:
    """Two processes work side by side; with one, the second mail waits its turn."""
    before = children()
    for size in (1, 2):
        async with renderer(size=size) as one:
            found = await asyncio.gather(*(one.render(pieces(HELLO, 5, delay=0.01), Kept()) for _ in range(4)))
            assert [rendition.text for rendition in found] == ["Dear Alice"] * 4
            assert len(children() - before) == size


async def test_previews_hold_up_neither_mail_nor_other_people() -> None:
    """Twenty texts of one person wait for one another: a mail goes by all of them, and another's text by all but the one at work."""
    ended: list[str] = []

    async def told(name: str, work: Awaitable[object]) -> None:
        await work
        ended.append(name)

    async with renderer(size=1) as one:
        hers = [asyncio.create_task(told(f"her {n}", one.formatted(f"**{n}**", whose="her"))) for n in range(20)]
        await asyncio.sleep(0.05)
        his = asyncio.create_task(told("his", one.formatted("*x*", whose="him")))
        paper = asyncio.create_task(told("paper", one.paper(b"no sheet", whose="third")))
        await told("mail", one.render(pieces(HELLO), Kept()))
        assert ended in (["mail"], ["her 0", "mail"])
        await asyncio.gather(his, paper)
        assert set(ended) <= {"mail", "her 0", "her 1", "his", "paper"}
        for task in hers[3:]:
            task.cancel()
        await asyncio.wait(hers)


async def test_first_views_of_one_person_leave_a_process_to_others() -> None:
    """Whoever opens slow mails side by side has one process at a time; what comes in meanwhile, and another's view, have the rest."""
    async with renderer(size=2) as one:
        hers = [asyncio.create_task(one.render(pieces(SLOW), Kept(), whose="her")) for _ in range(6)]
        await asyncio.sleep(0.2)
        for whose in ("", "him", ""):
            assert (await one.render(pieces(HELLO), Kept(), whose=whose)).text == "Dear Alice"
        assert not any(task.done() for task in hers[1:])
        for task in hers:
            task.cancel()
        await asyncio.wait(hers)


async def test_slow_sink_and_source_cost_no_rendition() -> None:
    """The clock runs for the process alone: a slow reader holds it back and still gets all."""
    async with renderer(seconds=1) as one:
        await hello(one)
        sink = Kept(delay=0.03)
        rendition = await one.render(pieces(large_mail(), 1 << 20, delay=0.2), sink)
    assert rendition.problems == ()
    assert len(sink.parts["1"]) == 3_000_008


async def test_failing_sink_and_source_are_the_callers() -> None:
    """What the sink or the source raises reaches the caller, and no process stays behind with half a mail."""

    async def broken() -> AsyncIterator[bytes]:
        yield HELLO
        raise OSError("the blob is gone")

    async with renderer() as one:
        with pytest.raises(OSError, match="full"):
            await one.render(pieces(large_mail()), Kept(fails=True))
        with pytest.raises(OSError, match="gone"):
            await one.render(broken(), Kept())
        assert (await hello(one)).text == "Dear Alice"


async def test_close_ends_work() -> None:
    """Closing ends what runs; afterwards nothing is rendered."""
    async with renderer() as one:
        work = asyncio.create_task(one.render(pieces(SLOW), Kept()))
        await asyncio.sleep(0.3)
        await one.close()
        assert (await work).problems == ("unparsable",)
        with pytest.raises(RuntimeError):
            await hello(one)


async def test_process_knows_no_secrets_and_writes_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process has an empty environment, no open files but its pipes, and may neither write files nor dump core."""
    monkeypatch.setenv("PORTAL_KEYRING_SECRET", "canary")
    before = children()
    async with renderer() as one:
        await hello(one)
        (pid,) = children() - before
        process = Path("/proc", str(pid))
        assert process.joinpath("environ").read_bytes() == b""
        limits = process.joinpath("limits").read_text()
        assert all(f"{name:<26}0  " in limits for name in ("Max file size", "Max core file size", "Max processes"))
        opened = {os.readlink(link).partition(":")[0] for link in process.joinpath("fd").iterdir()}
        assert opened <= {"pipe", "socket", "/dev/null"}
