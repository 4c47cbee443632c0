"""The warm pool of render processes: a mail goes in, its rendition and parts come out, and a process that fails is replaced.

A picture, or a text to be formatted, gets a process of its own, which reads nothing before it and nothing after.

Promises of `portal.mime.Renderer`. The clock runs only while the process is the one that is waited for, so that neither a slow source
nor a slow sink costs a mail its rendition. Nothing is written to disk.
"""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Literal
from weakref import WeakValueDictionary

import portal
from portal.mime import Logo, PartSink, Renderer, Rendition, formatted, logos
from portal.mime.heading import unparsable
from portal.mime.limits import MAX_HEADER_BYTES
from portal.mime.paper import MAX_PDF_BYTES, MAX_SHEET_BYTES
from portal.mime.wire import FRAME, MEMORY_BYTES, PIECE_BYTES, load
from portal.model.errors import InputRefused

_MAX_RENDITION_BYTES = 64 * 1024 * 1024
_SECONDS_A_BYTE = 5 / 25_000_000
# -I keeps PYTHON* variables, the user's site folder and the current folder from deciding what the child imports. It looks where
# this process looks, so that both run the same code from a checkout, an editable install or a wheel.
_PROGRAM = "import sys; memory, *sys.path = sys.argv[1:]; from portal.mime import worker; worker.{job}(int(memory))"


class ProcessRenderer(Renderer):
    """At most `size` processes at work, started when first needed, each replaced after `mails` mails or any failure.

    `seconds` is the wall clock for a picture or a mail, with 5 s more for each 25 MB of the latter. When all processes are busy,
    `render` waits. All else has a lane of its own, of one process beside those, so that no mail waits for it; and of one person one
    thing is made at a time, whatever it is.
    """

    def __init__(
        self, *, size: int = 1, seconds: float = 5.0, mails: int = 500, memory_bytes: int = MEMORY_BYTES
    ) -> None:
        self._size = size
        self._slots = asyncio.Semaphore(size)
        self._aside = asyncio.Semaphore(1)
        self._own: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """Of each person who waits or is served."""
        self._seconds = seconds
        self._mails = mails
        self._memory_bytes = memory_bytes
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._endings: set[asyncio.Task[None]] = set()
        self._closed = False

    async def render(self, raw: AsyncIterator[bytes], sink: PartSink, whose: str = "") -> Rendition:
        """See `Renderer`. A part begun but not in the returned `parts` is to be thrown away: the process was lost on the way.

        Raises what `raw` and `sink` raise, and RuntimeError after `close`.
        """
        async with self._turn(whose), self._slots:
            child = await self._child()
            head = bytearray()
            try:
                rendition = await child.exchange(raw, head, sink, self._seconds)
            except _Lost:
                self._end(child)
                return unparsable(head)
            except BaseException:
                self._end(child)
                raise
            self._busy.discard(child)
            if child.mails < self._mails and not self._closed:
                self._idle.append(child)
            else:
                self._end(child)
            return rendition

    async def logo(self, raw: bytes) -> Logo:
        """See `Renderer`. A process of its own: the warm ones serve mails alone.

        Raises InputRefused, and RuntimeError after `close`.
        """
        async with self._aside:
            child = await self._new("picture")
            try:
                return logos.load(await child.alone(raw, logos.MAX_PNG_BYTES, self._seconds))
            except (_Lost, ValueError) as error:
                raise logos.refused(logos.TOO_HEAVY) from error
            finally:
                self._end(child)

    async def paper(self, sheet: bytes, whose: str) -> bytes | None:
        """See `Renderer`. A process of its own, as for a logo."""
        if len(sheet) > MAX_SHEET_BYTES:
            return None
        async with self._turn(whose), self._aside:
            child = await self._new("paper")
            try:
                answer = await child.alone(sheet, MAX_PDF_BYTES, self._seconds)
            except _Lost:
                return None
            finally:
                self._end(child)
        return answer if answer.startswith(b"%PDF-") else None

    async def formatted(self, text: str, whose: str) -> str:
        """See `Renderer`. Waits its turn as `logo` does. Raises InputRefused, and RuntimeError after `close`."""
        async with self._turn(whose), self._aside:
            child = await self._new("markup")
            try:
                return formatted.load(await child.alone(text.encode(), formatted.MAX_BYTES, self._seconds))
            except (_Lost, ValueError) as error:
                raise InputRefused(formatted.REFUSED, "text") from error
            finally:
                self._end(child)

    async def close(self) -> None:
        """Ends every process, also those at work (their `render` returns `unparsable`), and waits until all are gone."""
        self._closed = True
        for child in self._busy:
            child.kill()
        await self._aside.acquire()
        for _ in range(self._size):
            await self._slots.acquire()
        while self._idle:
            self._end(self._idle.pop())
        while self._endings:
            await asyncio.wait(self._endings)
        for _ in range(self._size):
            self._slots.release()
        self._aside.release()

    @asynccontextmanager
    async def _turn(self, whose: str) -> AsyncIterator[None]:
        """What a person asks for waits for what she asked for before, and only one of it stands in the queue of all."""
        if not whose:
            yield
            return
        own = self._own.setdefault(whose, asyncio.Lock())
        async with own:
            yield

    async def _child(self) -> "_Child":
        while self._idle and not self._closed:
            child = self._idle.pop()
            if child.alive:
                self._busy.add(child)
                return child
            self._end(child)
        return await self._new("main")

    async def _new(self, job: Literal["main", "picture", "paper", "markup"]) -> "_Child":
        if self._closed:
            raise RuntimeError("this renderer is closed")
        child = _Child(await _started(job, self._memory_bytes))
        self._busy.add(child)
        return child

    def _end(self, child: "_Child") -> None:
        self._busy.discard(child)
        ending = asyncio.get_running_loop().create_task(child.end())
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)


class _Lost(Exception):
    """The process died, took too long or answered nonsense."""


class _Child:
    """One process and its two pipes. `mails` counts what it has rendered."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._into = process.stdin
        self._out = process.stdout
        self.mails = 0

    @property
    def alive(self) -> bool:
        return self._process.returncode is None and not self._out.at_eof()

    async def exchange(self, raw: AsyncIterator[bytes], head: bytearray, sink: PartSink, seconds: float) -> Rendition:
        """Sends the mail, then reads the answer: the process says nothing before it has all, so neither waits for the other."""
        self.mails += 1
        size = 0
        async for piece in raw:
            if not piece:
                continue  # an empty frame would end the mail
            size += len(piece)
            head += piece[: MAX_HEADER_BYTES - len(head)]
            await self._send(piece, seconds)
        await self._send(b"", seconds)
        rendition = await self._rendition(seconds + size * _SECONDS_A_BYTE)
        for part in rendition.parts:
            await sink.begin(part.id)
            left = part.size
            while piece := await self._frame(PIECE_BYTES, seconds):
                left -= len(piece)
                await sink.write(piece)
            if left:
                raise _Lost
            await sink.end()
        return rendition

    async def alone(self, raw: bytes, max_bytes: int, seconds: float) -> bytes:
        """Sends a picture, a text or a sheet of words; gives back what the process says to it, which is in one frame."""
        if raw:
            await self._send(raw, seconds)
        await self._send(b"", seconds)
        return await self._frame(max_bytes, seconds)

    async def _send(self, piece: bytes, seconds: float) -> None:
        """Sends frames of at most 64 KiB; an empty piece is the end of the mail."""
        try:
            async with asyncio.timeout(seconds):
                for at in range(0, max(len(piece), 1), PIECE_BYTES):
                    frame = piece[at : at + PIECE_BYTES]
                    self._into.write(FRAME.pack(len(frame)))
                    self._into.write(frame)
                    await self._into.drain()
        except (OSError, TimeoutError, RuntimeError) as error:
            raise _Lost from error

    async def _rendition(self, seconds: float) -> Rendition:
        try:
            return load(await self._frame(_MAX_RENDITION_BYTES, seconds))
        except ValueError as error:
            raise _Lost from error

    async def _frame(self, max_bytes: int, seconds: float) -> bytes:
        try:
            async with asyncio.timeout(seconds):
                (length,) = FRAME.unpack(await self._out.readexactly(FRAME.size))
                if length > max_bytes:
                    raise _Lost
                return await self._out.readexactly(length)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise _Lost from error

    def kill(self) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def end(self) -> None:
        """Kills the process and waits for it. What it still had to say is read away, or its pipe would never close."""
        self.kill()
        self._into.close()
        while await self._out.read(PIECE_BYTES):
            pass
        await self._process.wait()


async def _started(job: str, memory_bytes: int) -> Process:
    """A new process for a function of portal/mime/worker.py.

    It gets no environment, which may hold secrets, and its own session: a Ctrl-C is for the server to answer.
    """
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-I", "-B", "-c", _PROGRAM.format(job=job), str(memory_bytes), *_module_path()),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        env={},
        cwd="/",
        limit=2 * PIECE_BYTES,
        start_new_session=True,
    )


def _module_path() -> list[str]:
    home = str(Path(portal.__file__).resolve().parent.parent)
    path = [entry for entry in sys.path if Path(entry).is_absolute()]
    return path if home in path else [home, *path]
