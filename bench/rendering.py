"""The first view: parsing, sanitising and sealing a mail of 20 KB, against the parser and the sanitiser alone."""

import email
import time
from collections.abc import Callable
from email.header import decode_header, make_header
from pathlib import Path

import nh3

from bench.house import Prepared
from bench.lines import Line, Wrong, at_most, median
from bench.mails import letter
from portal.envelope import open_sealed, seal
from portal.mime.clean import Cleaner
from portal.mime.parse import parse
from portal.mime.wire import dump, load

_CONTEXT = b"bench " * 20


def first_view(made: Prepared, work: Path, quick: bool) -> list[Line]:
    raw, cleaner = letter("rendered", "alice@patients.example"), Cleaner()

    def ours() -> str:
        """As the render process and portal/sealing/prepare.py do it."""
        answered = dump(parse(bytearray(raw), cleaner).rendition)
        rendition = load(answered)
        sealed = seal(bytes(32), _CONTEXT, dump(rendition), salt=bytes(24))
        return load(open_sealed(bytes(32), _CONTEXT, sealed)).html or "" if checking else ""

    def floor() -> str:
        mail = email.message_from_bytes(raw)
        for name in ("From", "To", "Subject", "Date"):
            str(make_header(decode_header(mail[name])))
        html = next(part for part in mail.walk() if part.get_content_type() == "text/html")
        content = html.get_payload(decode=True)
        assert isinstance(content, bytes)
        return nh3.clean(content.decode())

    checking = True
    if "rendered" not in ours() or "rendered" not in floor() or ours().count("Potassium") != floor().count("Potassium"):
        raise Wrong("the rendition does not say what the mail says")
    checking = False
    here, there = [], []
    for _ in range(5 if quick else 25):
        there.append(_cost(floor))
        here.append(_cost(ours))
    ratios = [a / b for a, b in zip(here, there, strict=True)]
    figure, alone = f"{median(here):.2f} ms CPU", f"compat32 + nh3 {median(there):.2f} ms CPU"
    return [at_most("first_view", figure, alone, ratios, 1.7, 1.3)]


def _cost(work: Callable[[], str], times: int = 20) -> float:
    began = time.process_time()
    for _ in range(times):
        work()
    return 1000 * (time.process_time() - began) / times
