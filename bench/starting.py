"""Starting, and growing: from the command to ready, memory idle, and memory after very many opens."""

from pathlib import Path

from bench import house, load, opening, processes
from bench.downloads import get
from bench.house import Prepared
from bench.lines import Line, Wrong, at_most, median

_IDLE_MIB, _GROWTH_MIB = 70, 5


def start(made: Prepared, work: Path, quick: bool) -> list[Line]:
    """All roles in one process; then the web role alone under load."""
    ready, idle = [], []
    with house.copy(made, work / "copy") as own:
        for _ in range(2 if quick else 5):
            with processes.portal(own.folder, roles=("web", "intake", "worker")) as portal:
                if get(portal, "/readyz", "")[0] != b"ready":
                    raise Wrong("it says it serves, and is not ready")
                ready.append(portal.ready_seconds)
                idle.append(portal.memory())
        grown, opens = _grown(own, 5_000 if quick else 100_000)
    memory = median(idle)
    return [
        at_most("start: to ready", f"{median(ready):.2f} s", "-", ready, 1.5, 1.5),
        Line("start: memory idle", f"{memory:.0f} MiB", "-", "-", f"<= {_IDLE_MIB} MiB", memory <= _IDLE_MIB),
        Line(f"start: growth after {opens:,} opens", f"{grown:.1f} MiB", "-", "-", "<= 5 MiB", grown <= _GROWTH_MIB),
    ]


def _grown(own: Prepared, opens: int) -> tuple[float, int]:
    """MiB more than after the first few opens, and how many there were."""
    with processes.portal(own.folder) as portal:
        opening.measured(portal, own, "/body", 2)
        warm, done = portal.memory(), 0
        while done < opens:
            done += load.run(portal.port, own.asks(opening.CONNECTIONS, "/body"), 5 if opens < 10_000 else 20).answered
        return portal.memory() - warm, done
