"""Verdicts for 10,000 domains, 200 of them slow: does anybody else wait?

The laboratory of the tests serves the DNS and the mail hosts, in this process, so the floor is the same round without the slow ones.
50 relays ask, each for one domain after the other. A slow host takes the connection and says nothing.
"""

import asyncio
import random
import time
from pathlib import Path
from statistics import quantiles

from bench.house import Prepared
from bench.lines import Line, Wrong
from portal.model.routes import Level, Outcome
from tests.scenarios.lab import Lab, hang, laboratory, saying

_RELAYS = 50


def verdicts(made: Prepared, work: Path, quick: bool) -> list[Line]:
    count, slow = (1_000, 20) if quick else (10_000, 200)
    return asyncio.run(_lines(work / "verdicts", count, slow))


async def _lines(folder: Path, count: int, slow: int) -> list[Line]:
    async with laboratory(folder) as lab:
        bare = await lab.host("mx.bare.example", saying("220 hi", "250 mail.example"))
        stuck = await lab.host("mx.stuck.example", hang)
        alone, _, _ = await _round(lab, [f"d{n}.example" for n in range(count - slow)], bare, [], stuck)
        good, others = [f"e{n}.example" for n in range(count - slow)], [f"s{n}.example" for n in range(slow)]
        beside, seconds, late = await _round(lab, good, bare, others, stuck)
    floor, figure = _p99(alone), _p99(beside)
    return [
        Line(
            "verdicts: p99, slow ones among them",
            f"{figure * 1000:.0f} ms",
            f"{floor * 1000:.0f} ms without",
            f"{figure / floor:.2f}",
            "<= 2",
            figure / floor <= 2,
        ),
        Line("verdicts: the longest wait", f"{max(beside):.2f} s", f"{max(alone):.2f} s without", "-", "-", None),
        Line("verdicts: domains a second", f"{count / seconds:.0f}", "-", "-", "-", None),
        Line("verdicts: slow ones cut after", f"{max(late):.1f} s", "-", "-", "<= 13 s", max(late) <= 13),
    ]


async def _round(
    lab: Lab, good: list[str], bare: str, slow: list[str], stuck: str
) -> tuple[list[float], float, list[float]]:
    """Seconds that each good domain took, those of all of them together, and those of each slow one."""
    for domain, address in [(one, bare) for one in good] + [(one, stuck) for one in slow]:
        lab.zone.add(domain, "MX", f"10 mx.{domain}.")
        lab.zone.add(f"mx.{domain}", "A", address)
    prober = lab.prober(seconds=30.0)
    waiting = good + slow
    random.Random(1).shuffle(waiting)
    known = set(slow)
    took: list[float] = []
    late: list[float] = []
    wrong: list[str] = []

    async def ask() -> None:
        while waiting:
            domain = waiting.pop()
            if domain in known:  # a relay sends its other mail meanwhile
                looks.append(asyncio.create_task(look(domain, late, Outcome.LATER)))
            else:
                await look(domain, took, Outcome.PORTAL)

    async def look(domain: str, times: list[float], wanted: Outcome) -> None:
        started = time.perf_counter()
        found = await prober.verdict(domain, Level.ENCRYPT)
        times.append(time.perf_counter() - started)
        if found.outcome is not wanted:
            wrong.append(f"{domain}: {found.outcome} {found.transcript}")

    looks: list[asyncio.Task[None]] = []
    started = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(_RELAYS)))
    seconds = time.perf_counter() - started
    await asyncio.gather(*looks)
    await prober.close()
    if wrong:
        raise Wrong(f"{len(wrong)} verdicts, such as {wrong[0]}")
    return took, seconds, late


def _p99(times: list[float]) -> float:
    return quantiles(times, n=100)[98]
