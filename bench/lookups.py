"""Look-ups by relays: socketmap answers a second, and how long one takes, from a portal that serves only them.

The domain's way is set by the organisation, so that every answer is known: no name server and no mail host is asked.
"""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

from bench import house, processes
from bench.house import Prepared
from bench.lines import Line, Wrong, median, spread

_CONNECTIONS = 16
_FEW, _STEADY = 4, 1_000  # for the time of one answer: connections, and questions a second of them all
_MOST_P99_MS = 5.0
_LEAST_A_SECOND = 2_000


def socketmap(made: Prepared, work: Path, quick: bool) -> list[Line]:
    """As Postfix asks: one question at a time on each connection, addresses and domains in turn."""
    rates, p99s = [], []
    with house.copy(made, work / "copy") as own:
        _always(own)
        lookup = {"PORTAL_LOOKUP_LISTEN": "127.0.0.1:0", "PORTAL_PROBING": "false"}
        with processes.portal(own.folder, roles=("lookup",), **lookup) as portal:
            for _ in range(2 if quick else 5):
                port, seconds = portal.ports["lookup"], 0.5 if quick else 4
                rates.append(len(asyncio.run(_asked(port, seconds, _CONNECTIONS, 0))) / seconds)
                took = sorted(asyncio.run(_asked(port, seconds, _FEW, _FEW / _STEADY)))
                p99s.append(took[len(took) * 99 // 100] * 1000)
    rate, p99 = median(rates), median(p99s)
    return [
        Line(
            "socketmap: answers/s",
            f"{rate:,.0f}",
            "-",
            f"({spread(rates)})",
            f">= {_LEAST_A_SECOND:,}",
            rate >= _LEAST_A_SECOND,
        ),
        Line(
            f"socketmap: p99 at {_STEADY:,}/s",
            f"{p99:.1f} ms",
            "-",
            f"({spread(p99s)})",
            f"<= {_MOST_P99_MS:g} ms",
            p99 <= _MOST_P99_MS,
        ),
    ]


def _always(own: Prepared) -> None:
    [(slug,)] = own.rows("SELECT slug FROM organisations WHERE id = ?", own.org)
    command = [sys.executable, "-c", "from portal.cli import main; main()", "route", "set", "always.example", "always"]
    environment = os.environ | processes.environment(own.folder)
    subprocess.run([*command, "--org", slug], env=environment, cwd=processes.ROOT, check=True, capture_output=True)


async def _asked(port: int, seconds: float, connections: int, pause: float) -> list[float]:
    """What each answer took, in seconds. A connection rests for `pause` after each."""
    took: list[float] = []
    until = time.perf_counter() + seconds
    await asyncio.gather(*(_connection(port, until, pause, took) for _ in range(connections)))
    return took


async def _connection(port: int, until: float, pause: float, took: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    here, none = b"28:OK portal:[portal.example]:0,", b"9:NOTFOUND ,"
    questions = [(b"route alice@always.example", here), (b"route always.example", here), (b"tlspolicy .example", none)]
    while (began := time.perf_counter()) < until:
        asked, expected = questions[len(took) % len(questions)]
        writer.write(b"%d:%b," % (len(asked), asked))
        said = await reader.readuntil(b",")
        if said != expected:
            raise Wrong(f"{asked!r} was answered {said!r}")
        took.append(time.perf_counter() - began)
        if pause:
            await asyncio.sleep(pause)
    writer.close()
