"""Opening a message of 20 KB, many at a time: each answer holds the right message, and each has its durable event."""

import random
import time
from pathlib import Path

from bench import house, load, processes, slowsync
from bench.hello import HELLO
from bench.house import Prepared
from bench.lines import Line, Wrong, at_least, at_most, median
from bench.load import Ask, Load
from bench.processes import Server

CONNECTIONS = 32
_HELLO = [[Ask("/hello", HELLO)]] * CONNECTIONS
_PARTS = {"": "summary", "/body": "body"}


def measured(
    server: Server, made: Prepared, ending: str, seconds: float, rate: float | None = None, turn: int = 0
) -> tuple[Load, float]:
    """A load of opens, and processor milliseconds an open. Raises Wrong when an answered open has no event."""
    before = made.recorded(_PARTS[ending])
    cpu = server.cpu()
    found = load.run(server.port, made.asks(CONNECTIONS, ending, turn), seconds, rate)
    spent = server.cpu() - cpu
    new = sum(made.recorded(_PARTS[ending]).values()) - sum(before.values())
    if new < found.answered:
        raise Wrong(f"{found.answered - new} of {found.answered} answered opens have no event")
    return found, 1000 * spent / found.answered


def hello(server: Server, seconds: float) -> tuple[Load, float]:
    cpu = server.cpu()
    found = load.run(server.port, _HELLO, seconds)
    return found, 1000 * (server.cpu() - cpu) / found.answered


def open_message(made: Prepared, work: Path, quick: bool) -> list[Line]:
    """Requests a second at 32 connections, against a hello of the same server; one process, SQLite FULL."""
    lines = []
    for row, ending in (("open_message: the page", ""), ("open_message: the framed mail", "/body")):
        with (
            house.copy(made, work / "copy") as own,
            processes.portal(own.folder) as portal,
            processes.floor(own.folder) as floor,
        ):
            rounds = []
            for turn in range(2 if quick else 6):
                there = hello(floor, 1.5)
                rounds.append((there, measured(portal, own, ending, 1 if quick else 2.5, turn=turn)))
        rate = median([here.per_second for _, (here, _) in rounds])
        p50, p99 = (median([getattr(here, name) for _, (here, _) in rounds]) for name in ("p50_ms", "p99_ms"))
        cpu, floor_cpu = median([own for _, (_, own) in rounds]), median([own for (_, own), _ in rounds])
        floor_rate = median([there.per_second for (there, _), _ in rounds])
        size = rounds[0][1][0].bytes_each / 1000
        figure = f"{rate:,.0f}/s, p50 {p50:.0f} ms, p99 {p99:.0f} ms, {cpu:.2f} ms CPU, {size:.1f} kB"
        ratios = [here.per_second / there.per_second for (there, _), (here, _) in rounds]
        line = at_least(row, figure, f"hello {floor_rate:,.0f}/s, {1000 * floor_cpu:.0f} us CPU", ratios, 0.12, 0.16)
        by_cpu = median([there / here for (_, there), (_, here) in rounds])
        lines.append(line)
        lines.append(Line(f"{row}, by CPU", f"{cpu:.2f} ms", f"{1000 * floor_cpu:.0f} us", f"{by_cpu:.3g}", "-", None))
        lines.append(Line(f"{row}, p99", f"{p99:.0f} ms", "-", "-", "<= 50 ms", p99 <= 50))
    return lines


def open_latency(made: Prepared, work: Path, quick: bool) -> list[Line]:
    """The slowest hundredth at 200 requests a second, asked for whether or not the last was answered."""
    with house.copy(made, work / "copy") as own, processes.portal(own.folder) as portal:
        found = [measured(portal, own, "", 2 if quick else 6, 200)[0] for _ in range(1 if quick else 5)]
    p99 = [one.p99_ms for one in found]
    asked = f"p50 {median([one.p50_ms for one in found]):.1f} ms, p99 {median(p99):.1f} ms at 200/s"
    return [at_most("open_latency", asked, "-", p99, 10, 5)]


def audit_tax(made: Prepared, work: Path, quick: bool) -> list[Line]:
    """The same opens, beside a server that records nothing (bench/unrecorded.py)."""
    with (
        house.copy(made, work / "copy") as own,
        house.copy(made, work / "without") as other,
        processes.portal(own.folder) as portal,
        processes.portal(other.folder, program=("-m", "bench.unrecorded")) as without,
    ):
        ratios, rates, costs = [], [], []
        for _ in range(2 if quick else 5):
            cpu = without.cpu()
            there = load.run(without.port, other.asks(CONNECTIONS), 1 if quick else 2.5)
            spent = 1000 * (without.cpu() - cpu) / there.answered
            here, own_spent = measured(portal, own, "", 1 if quick else 2.5)
            ratios.append(here.per_second / there.per_second)
            rates.append((here.per_second, there.per_second))
            costs.append((own_spent, spent))
    with_it, without_it = (median([one[at] for one in rates]) for at in (0, 1))
    cpu_with, cpu_without = (median([one[at] for one in costs]) for at in (0, 1))
    figure, floor = (
        f"{with_it:,.0f}/s, {cpu_with:.2f} ms CPU",
        f"recording off {without_it:,.0f}/s, {cpu_without:.2f} ms CPU",
    )
    by_cpu = Line(
        "audit_tax, by CPU", f"{cpu_with:.2f} ms", f"{cpu_without:.2f} ms", f"{cpu_without / cpu_with:.3g}", "-", None
    )
    return [at_least("audit_tax", figure, floor, ratios, 0.70, 0.80), by_cpu]


def group_commit(made: Prepared, work: Path, quick: bool) -> list[Line]:
    """The same opens on a disk that takes 5 ms more for each sync."""
    shim = slowsync.built(work)
    ratios, rates, batches = [], [], []
    with house.copy(made, work / "copy") as own, house.copy(made, work / "slow") as slow_own:
        fast_count, slow_count = slowsync.Count(work / "fast-count"), slowsync.Count(work / "slow-count")
        with (
            processes.portal(own.folder, **slowsync.variables(shim, 0, fast_count)) as fast,
            processes.portal(slow_own.folder, **slowsync.variables(shim, 5000, slow_count)) as slow,
        ):
            for _ in range(2 if quick else 5):
                there, _ = measured(fast, own, "", 1 if quick else 2.5)
                syncs = slow_count.calls()
                here, _ = measured(slow, slow_own, "", 1 if quick else 2.5)
                batches.append(here.answered / (slow_count.calls() - syncs))
                ratios.append(here.per_second / there.per_second)
                rates.append((here.per_second, there.per_second))
    slowed, plain = (median([one[at] for one in rates]) for at in (0, 1))
    events = median(batches)
    return [
        at_least("group_commit", f"{slowed:,.0f}/s at fsync + 5 ms", f"+ 0 ms {plain:,.0f}/s", ratios, 0.75, 0.85),
        Line(
            "group_commit, events a sync",
            f"{events:.1f}",
            f"{CONNECTIONS} connections",
            f"{events / CONNECTIONS:.2f}",
            ">= 0.25",
            events >= CONNECTIONS / 4,
        ),
    ]


def audit_before_bytes(made: Prepared, work: Path, quick: bool) -> list[Line]:
    """kill -9 at random moments under load: no byte of a message went out before its event was durable."""
    chance, kills, answered, without = random.Random(4711), 3 if quick else 20, 0, 0
    with house.copy(made, work / "copy") as own:
        counts = [[0] * len(one.messages) for one in own.people]
        for _ in range(kills):
            with processes.portal(own.folder) as portal:
                loading = load.begin(portal.port, own.asks(64), 60)
                time.sleep(0.5 + chance.uniform(0.1, 1.2))
                portal.kill()
                found = load.finish(loading)
            if found.wrong:
                raise Wrong(found.wrong)
            answered += sum(map(sum, found.counts))
            for mine, new in zip(counts, found.counts, strict=False):
                mine[:] = [a + b for a, b in zip(mine, new, strict=True)]
            without = own.unrecorded(counts)
    figure = f"{without} of {answered:,} answers without an event"
    met = without == 0 and answered >= kills
    return [Line("audit_before_bytes", figure, f"{kills} SIGKILLs at 64", "-", "0", met)]
