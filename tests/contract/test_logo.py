"""The contract of `Renderer.logo`, held against real processes: whatever comes in, a logo or a sentence comes out, and mails go on."""

import asyncio
import os
import signal
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from portal.mime import Logo, Renderer
from portal.mime.logos import DAMAGED, EMPTY, NO_PICTURE, TOO_HEAVY, TOO_LARGE, TOO_WIDE
from portal.model.errors import InputRefused
from tests.contract.test_renderer import HELLO, Kept, children, hello, pieces, renderer

pytestmark = pytest.mark.anyio

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TURNED = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
"""EXIF data of one field: the orientation, 6."""


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    target = BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def declared(
    width: int, height: int, depth: int = 1, colour: int = 0, before: bytes = b"", pixels: bool = True
) -> bytes:
    """A PNG of one colour, of any size, in a few kilobytes; with as many pixels as it declares, or with none."""
    row = bytes(1 + (width * depth * {0: 1, 2: 3, 6: 4}[colour] + 7) // 8)
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(row) for _ in range(height if pixels else 0)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + before + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def moving(frames: int) -> bytes:
    """A GIF that repeats its one frame."""
    gif = saved(Image.new("P", (30, 10), 1), "GIF")
    at = gif.index(b"\x2c")
    return gif[:at] + gif[at:-1] * frames + gif[-1:]


def unpacking(name: bytes) -> bytes:
    return declared(8, 8, before=chunk(name, b"a\0\0" + zlib.compress(bytes(100_000_000), 9)))


@cache
def long() -> bytes:
    """As much work as an allowed picture can be: about a second."""
    return declared(4_000, 4_000, depth=16, colour=6)


async def at_work(before: set[int]) -> int:
    """The one process that was not there before, once it has given up its rights and is about to read."""
    for _ in range(1000):
        for pid in children() - before:
            with suppress(OSError):
                if "Max processes             0  " in told(pid, "limits"):
                    return pid
        await asyncio.sleep(0.01)
    raise AssertionError("no process came")


def told(pid: int, what: str) -> str:
    """What the kernel says of a process (proc(5))."""
    return Path("/proc", str(pid), what).read_text()


def files(pid: int) -> set[str]:
    return {os.readlink(link).partition(":")[0] for link in Path("/proc", str(pid), "fd").iterdir()}


async def said(one: Renderer, raw: bytes) -> str:
    with pytest.raises(InputRefused) as refused:
        await one.logo(raw)
    assert refused.value.field == "logo"
    return refused.value.say


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
async def test_picture_goes_round(kind: str) -> None:
    """A picture comes back as a PNG that fits its box, and the process that read it is gone."""
    before = children()
    async with renderer() as one:
        made = await one.logo(saved(Image.new("RGB", (960, 200), "teal"), kind))
        assert isinstance(made, Logo)
        assert (made.width, made.height) == (480, 100)
        with Image.open(BytesIO(made.png), formats=["PNG"]) as image:
            assert image.size == (480, 100)
        await asyncio.sleep(0.1)
        assert children() == before


@pytest.mark.parametrize(
    ("make", "say"),
    [
        (lambda: b"", EMPTY),
        (lambda: bytes(2 * 1024 * 1024 + 1), TOO_LARGE),
        (lambda: bytes(40 * 1024 * 1024), TOO_LARGE),
        (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>', NO_PICTURE),
        (lambda: saved(Image.new("RGB", (32, 32)), "ICO"), NO_PICTURE),
        (lambda: saved(Image.new("RGB", (32, 32)), "TIFF"), NO_PICTURE),
        (lambda: saved(Image.new("RGB", (32, 32)), "EPS"), NO_PICTURE),
        (lambda: b"8BPS\0\1" + bytes(200), NO_PICTURE),
        (lambda: saved(Image.new("RGB", (900, 900), "teal"))[:-400], DAMAGED),
        (lambda: declared(60_000, 60_000, pixels=False), TOO_WIDE),
        (lambda: declared(20_000, 20_000), TOO_WIDE),
        (lambda: unpacking(b"zTXt"), DAMAGED),
        (lambda: unpacking(b"iCCP"), DAMAGED),
    ],
    ids=["empty", "large", "larger", "svg", "ico", "tiff", "eps", "psd", "short", "60000", "20000", "zTXt", "iCCP"],
)
async def test_refusal_is_a_sentence(make: Callable[[], bytes], say: str) -> None:
    """Each kind of file that is not taken is refused in the words for it, and the next picture is served."""
    async with renderer() as one:
        assert await said(one, make()) == say
        assert await one.logo(declared(8, 8))


@pytest.mark.parametrize(
    "make",
    [
        long,
        lambda: declared(4_000, 4_000, depth=16),
        lambda: saved(Image.new("RGB", (4_000, 4_000), "teal"), "JPEG", progressive=True, exif=b"Exif\0\0" + TURNED),
        lambda: saved(Image.new("CMYK", (4_000, 4_000)), "JPEG", progressive=True),
        lambda: saved(Image.new("RGBA", (4_000, 4_000), "teal"), "WEBP", method=0),
        lambda: saved(Image.new("P", (4_000, 4_000), 1), "GIF"),
        lambda: moving(10_000),
    ],
    ids=["png16", "grey16", "jpeg", "cmyk", "webp", "gif", "frames"],
)
async def test_largest_pictures_fit_the_limits(make: Callable[[], bytes]) -> None:
    """What is allowed is done, with the portal's own limits, whatever its kind."""
    async with renderer(seconds=5) as one:
        assert await one.logo(make())


async def test_page_behind_a_picture_stays_behind() -> None:
    """A picture that is a page as well is only a picture afterwards."""
    async with renderer() as one:
        made = await one.logo(declared(30, 10) + b"<html><script>canary()</script>")
        assert b"canary" not in made.png


async def test_hungry_picture_is_given_up() -> None:
    """A picture that needs more memory than there is for it is refused; mails and smaller pictures are served."""
    async with renderer(memory_bytes=48 << 20) as one:
        assert await said(one, declared(4_000, 4_000, depth=8, colour=6)) == TOO_HEAVY
        assert await one.logo(declared(400, 400))
        assert (await hello(one)).text == "Dear Alice"


async def test_slow_picture_is_given_up() -> None:
    """A process that does not answer in its time is ended; mails are served."""
    before = children()
    async with renderer(seconds=1.5) as one:
        work = asyncio.create_task(said(one, long()))
        pid = await at_work(before)
        os.kill(pid, signal.SIGSTOP)
        assert await work == TOO_HEAVY
        assert (await hello(one)).text == "Dear Alice"
        assert pid not in children()


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGXCPU, signal.SIGSEGV])
async def test_killed_process_costs_its_picture(by: signal.Signals) -> None:
    """A process that the kernel ends, for time, memory or a decoder's fault, refuses the picture it had; the pool goes on."""
    before = children()
    async with renderer() as one:
        work = asyncio.create_task(said(one, long()))
        pid = await at_work(before)
        os.kill(pid, by)
        assert await work == TOO_HEAVY
        assert await one.logo(declared(8, 8))
        assert (await hello(one)).text == "Dear Alice"


async def test_cancelled_logo_leaves_nothing_running() -> None:
    """Cancelling ends the process; the next picture gets another."""
    before = children()
    async with renderer() as one:
        work = asyncio.create_task(one.logo(long()))
        await at_work(before)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        await asyncio.sleep(0.1)
        assert children() == before
        assert await one.logo(declared(8, 8))


async def test_mails_and_pictures_side_by_side() -> None:
    """Each comes to its own answer, whoever waits for whom."""
    async with renderer(size=2) as one:
        mails = [one.render(pieces(HELLO), Kept()) for _ in range(4)]
        made = asyncio.gather(*(one.logo(declared(width, 10)) for width in range(1, 5)))
        assert [rendition.text for rendition in await asyncio.gather(*mails)] == ["Dear Alice"] * 4
        assert [logo.width for logo in await made] == [1, 2, 3, 4]


async def test_closed_renderer_takes_no_picture() -> None:
    """Closing refuses the picture at work; afterwards none is taken."""
    before = children()
    async with renderer() as one:
        work = asyncio.create_task(said(one, long()))
        await at_work(before)
        await one.close()
        assert await work == TOO_HEAVY
        with pytest.raises(RuntimeError):
            await one.logo(declared(8, 8))


async def test_mail_process_never_has_pillow() -> None:
    """The warm process is the same before and after a logo, and has no decoder of pictures in its memory."""
    before = children()
    async with renderer() as one:
        await hello(one)
        warm = children() - before
        await one.logo(declared(8, 8))
        await hello(one)
        for _ in range(100):  # the picture's process was ended, and is gone when its parent has heard of it
            if children() - before == warm:
                break
            await asyncio.sleep(0.05)
        assert children() - before == warm
        (pid,) = warm
        assert "/PIL/" not in told(pid, "maps")


async def test_picture_process_knows_no_secrets_and_writes_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has an empty environment and no open files but its pipes, and is limited before it reads."""
    monkeypatch.setenv("PORTAL_KEYRING_SECRET", "canary")
    before = children()
    async with renderer() as one:
        work = asyncio.create_task(one.logo(long()))
        pid = await at_work(before)
        await asyncio.sleep(0.1)
        assert told(pid, "environ") == ""
        opened = files(pid)
        found = told(pid, "limits")
        await work
    assert all(f"{name:<26}0  " in found for name in ("Max file size", "Max core file size", "Max processes"))
    assert not any(f"{name:<26}unlimited" in found for name in ("Max address space", "Max cpu time"))
    assert opened <= {"pipe", "socket", "/dev/null"}
