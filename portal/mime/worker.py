"""The render process: the only place where the parser and the sanitiser meet a stranger's bytes. `python -m portal.mime.worker`.

It holds no key, no socket and no file, and gives up its rights to memory, processor time, files, processes and core dumps before it
reads. In come frames (portal/mime/wire.py) of the raw mail and an empty one; out goes the rendition in one frame, then the frames of
each attachment and an empty one. Then the next mail.

Another process of the same kind reads one picture instead (`picture`), or one text (`markup`), answers in one frame and ends: it never
had a mail, and those that have mails never had Pillow. One more makes a PDF of words (`paper`).
"""

import resource
import sys
from pathlib import Path
from typing import BinaryIO

from portal.mime import Logo, logos
from portal.mime.clean import Cleaner
from portal.mime.limits import MAX_RAW_BYTES
from portal.mime.parse import Parsed, parse
from portal.mime.wire import FRAME, MEMORY_BYTES, PIECE_BYTES, dump
from portal.model.errors import InputRefused

_SECONDS = 10
_SECONDS_A_25_MIB = 5


def main(memory_bytes: int = MEMORY_BYTES) -> None:
    """Serves mails until stdin ends."""
    cleaner = Cleaner()
    source, target = sys.stdin.buffer, sys.stdout.buffer
    _limit(memory_bytes)
    while True:
        _more_time(_SECONDS)
        raw = _received(source)
        if raw is None:
            return
        _more_time(_SECONDS + _SECONDS_A_25_MIB * (len(raw) >> 20) // 25)
        parsed = parse(raw, cleaner)
        del raw
        _answer(target, parsed)


def picture(memory_bytes: int = MEMORY_BYTES) -> None:
    """Serves one picture."""
    # Here, where it costs no mail process its memory; before the limits, which are for the picture.
    from portal.mime.picture import logo

    _limit(memory_bytes)
    _more_time(_SECONDS)
    raw = _received(sys.stdin.buffer)
    if raw is None:
        return
    outcome: Logo | InputRefused
    try:
        outcome = logo(bytes(raw))
    except InputRefused as error:
        outcome = error
    _one_frame(logos.dump(outcome))


def markup(memory_bytes: int = MEMORY_BYTES) -> None:
    """Formats one text; an empty frame says that it can't be."""
    from portal.mime.markup import formatted

    _limit(memory_bytes)
    _more_time(_SECONDS)
    raw = _received(sys.stdin.buffer)
    if raw is not None:
        _one_frame((formatted(raw.decode()) or "").encode())


def _one_frame(answer: bytes) -> None:
    sys.stdout.buffer.write(FRAME.pack(len(answer)) + answer)
    sys.stdout.buffer.flush()


def paper(memory_bytes: int = MEMORY_BYTES) -> None:
    """Makes one PDF of a sheet of words."""
    # As above. Its threads are started before the limits, which allow none.
    from portal.mime.paper import made, warm

    warm()
    _limit(memory_bytes)
    _more_time(_SECONDS)
    sheet = _received(sys.stdin.buffer)
    if sheet is None:
        return
    answer = made(bytes(sheet))
    sys.stdout.buffer.write(FRAME.pack(len(answer)) + answer)
    sys.stdout.buffer.flush()


def _received(source: BinaryIO) -> bytearray | None:
    """A whole mail, or None at the end. Beyond the limit the rest is read and dropped, so that the answer still finds its reader."""
    raw = bytearray()
    while header := source.read(FRAME.size):
        (length,) = FRAME.unpack(header)
        if length == 0:
            return raw
        piece = source.read(length)
        if len(raw) <= MAX_RAW_BYTES:
            raw += piece
    return None


def _answer(target: BinaryIO, parsed: Parsed) -> None:
    rendition = dump(parsed.rendition)
    target.write(FRAME.pack(len(rendition)))
    target.write(rendition)
    for content in parsed.contents:
        view = memoryview(content)
        for at in range(0, len(view), PIECE_BYTES):
            piece = view[at : at + PIECE_BYTES]
            target.write(FRAME.pack(len(piece)))
            target.write(piece)
        target.write(FRAME.pack(0))
    target.flush()


def _limit(memory_bytes: int) -> None:
    for what, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_AS, _mapped_bytes() + memory_bytes),
    ):
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def _mapped_bytes() -> int:
    """The address space the interpreter and its libraries take already (proc_pid_statm(5))."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _more_time(seconds: int) -> None:
    """The kernel ends the process (SIGXCPU) should the server that watches the clock be gone."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + 1 + seconds
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


if __name__ == "__main__":
    main()
