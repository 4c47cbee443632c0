"""Downloads: sealed content opened as it goes out, every byte compared."""

import asyncio
import os
import re
import threading
import time
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from bench import fetch, house, processes
from bench.house import Person, Prepared
from bench.intake import MB, slopes
from bench.lines import Line, Wrong, at_least, at_most, median
from bench.mails import letter, scan
from bench.opening import measured
from bench.processes import Server


def get(server: Server, path: str, cookie: str) -> tuple[bytes, dict[str, str]]:
    """One answer, with its headers. Raises Wrong when it is not a page."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request("GET", path, headers={"cookie": cookie} if cookie else {})
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise Wrong(f"{path}: {answer.status}")
    return body, {name.lower(): value for name, value in answer.getheaders()}


@dataclass(frozen=True)
class _Sent:
    person: Person
    delivery: str


def _sent(own: Prepared, marker: str, raw: bytes) -> _Sent:
    return asyncio.run(_send(own, marker, raw))


async def _send(own: Prepared, marker: str, raw: bytes) -> _Sent:
    async with house.opened(own.folder) as opened:
        recipient, sent = await house.send(opened, own.relay, "p0@patients.example", marker, raw)
    return _Sent(next(one for one in own.people if one.recipient == recipient), sent.delivery)


def download(made: Prepared, work: Path, quick: bool) -> list[Line]:
    """A sealed attachment of 25 MB, against Starlette's FileResponse of the same bytes in the clear."""
    content = os.urandom(25 * MB)
    with house.copy(made, work / "copy") as own:
        (own.folder / "plain").write_bytes(content)
        sent = _sent(own, "attached", letter("attached", "p0@patients.example", attachment=content))
        with processes.portal(own.folder) as portal, processes.floor(own.folder) as floor:
            page, _ = get(portal, f"/messages/{sent.delivery}", sent.person.cookie)  # its first view prepares it
            found = re.search(rb'href="(/messages/[^"]+/parts/[^"]+)"', page)
            if found is None:
                raise Wrong("the page shows no attachment")
            path, rates, floors = found[1].decode(), [], []
            cpu, floor_cpu = portal.cpu(), floor.cpu()
            for _ in range(3 if quick else 9):
                floors.append(median(_fetch(floor, "/file", "", own, 3)))
                rates.append(median(_fetch(portal, path, sent.person.cookie, own, 3)))
            spent, floor_spent = (1000 * one / 3 / len(rates) for one in (portal.cpu() - cpu, floor.cpu() - floor_cpu))
        recorded = own.rows("SELECT count(*) FROM audit_events WHERE kind = 'AttachmentOpened'")[0][0]
    if recorded != 3 * len(rates):
        raise Wrong(f"{3 * len(rates)} downloads, {recorded} events")
    ratios = [rate / floor for rate, floor in zip(rates, floors, strict=True)]
    figure, plain = f"{median(rates):.0f} MB/s", f"FileResponse {median(floors):.0f} MB/s"
    by_cpu = Line(
        "download, by CPU", f"{spent:.0f} ms", f"{floor_spent:.0f} ms", f"{floor_spent / spent:.3g}", "-", None
    )
    return [at_least("download", figure, plain, ratios, 1.2, 1.9), by_cpu]


def _fetch(server: Server, path: str, cookie: str, own: Prepared, times: int) -> list[float]:
    return fetch.finish(fetch.begin(server.port, path, cookie, own.folder / "plain", times))


def open_beside_parse(made: Prepared, work: Path, quick: bool) -> list[Line]:
    """The slowest hundredth of opens at 200 a second while messages of 25 MB are parsed for their first view, one after the other."""
    seconds, ratios, figures = (2.0 if quick else 5.0), [], []
    with house.copy(made, work / "copy") as own:
        content, rounds = os.urandom(25 * MB), 1 if quick else 5
        large = [
            [
                _sent(own, f"r{turn}n{number}", _large(f"r{turn}n{number}", content))
                for number in range(3 if quick else 8)
            ]
            for turn in range(rounds)
        ]
        with processes.portal(own.folder) as portal:
            for turn, messages in enumerate(large):
                quiet, _ = measured(portal, own, "", seconds, 200, turn)
                parsed: list[float] = []
                parsing = threading.Thread(target=_first_views, args=(portal, messages, seconds, parsed))
                parsing.start()
                beside, _ = measured(portal, own, "", seconds, 200, turn + 1)
                parsing.join()
                if not parsed:
                    raise Wrong("no message of 25 MB was parsed meanwhile")
                ratios.append(beside.p99_ms / quiet.p99_ms)
                figures.append((beside.p99_ms, quiet.p99_ms, len(parsed)))
    p99, alone, count = (median([one[at] for one in figures]) for at in range(3))
    figure = f"p99 {p99:.1f} ms at 200/s beside {count:.0f} parses of 25 MB"
    return [at_most("open_beside_parse", figure, f"alone {alone:.1f} ms", ratios, 2.0, 1.5)]


def _large(marker: str, content: bytes) -> bytes:
    return letter(marker, "p0@patients.example", attachment=content)


def _first_views(server: Server, messages: list[_Sent], seconds: float, parsed: list[float]) -> None:
    """Opens one after the other as long as the load runs; notes how long each took."""
    end = time.monotonic() + seconds
    for one in messages:
        began = time.monotonic()
        if began >= end:
            return
        get(server, f"/messages/{one.delivery}", one.person.cookie)
        parsed.append(time.monotonic() - began)


def memory_out(made: Prepared, work: Path, quick: bool) -> list[Line]:
    """What a download takes in memory: by its size, and by how many go out at once."""
    peaks = {}
    with house.copy(made, work / "copy") as own:
        sent = {}
        for size in (25, 100):
            raw = scan(f"out{size}", "p0@patients.example", size * MB)
            (own.folder / f"plain-{size}").write_bytes(raw)
            sent[size] = _sent(own, f"out{size}", raw)
        for streams, size in ((1, 25), (1, 100), (4, 25)):
            with processes.portal(own.folder) as portal:
                cookie = sent[size].person.cookie
                get(portal, "/inbox", cookie)
                before = portal.memory()
                portal.forget_peak()
                path, plain = f"/messages/{sent[size].delivery}/original.eml", own.folder / f"plain-{size}"
                running = [fetch.begin(portal.port, path, cookie, plain, 2) for _ in range(streams)]
                for one in running:
                    fetch.finish(one)
                peaks[streams, size] = portal.peak() - before
    return slopes("memory_slope: out", peaks)
