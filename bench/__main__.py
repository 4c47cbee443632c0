"""`python -m bench [ROW ...] [--quick]`: runs the rows, or those whose names begin so, and prints the table.

`--quick` shows that every bench works, with figures too few to be quoted.
"""

import argparse
import os
import platform
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bench import downloads, house, intake, listing, lookups, opening, pages, postfix, rendering, starting, verdicts
from bench.house import Prepared
from bench.lines import Line, Wrong, table

Bench = Callable[[Prepared, Path, bool], list[Line]]
_ROWS: dict[str, Bench] = {
    "open_message": opening.open_message,
    "open_latency": opening.open_latency,
    "audit_tax": opening.audit_tax,
    "group_commit": opening.group_commit,
    "audit_before_bytes": opening.audit_before_bytes,
    "first_view": rendering.first_view,
    "intake_small": intake.intake_small,
    "intake_25mb": intake.intake_25mb,
    "memory_slope_in": intake.memory_in,
    "memory_5x50mb": intake.five_at_once,
    "postfix": postfix.through_postfix,
    "memory_slope_out": downloads.memory_out,
    "download": downloads.download,
    "open_beside_parse": downloads.open_beside_parse,
    "page": pages.page,
    "list_and_search": listing.list_and_search,
    "socketmap": lookups.socketmap,
    "verdicts": verdicts.verdicts,
    "start": starting.start,
}


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    asked.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(_ROWS))
    asked.add_argument("--quick", action="store_true")
    given = asked.parse_args()
    chosen = {name: run for name, run in _ROWS.items() if not given.rows or name.startswith(tuple(given.rows))}
    if not chosen:
        asked.error(f"rows are {', '.join(_ROWS)}")
    with tempfile.TemporaryDirectory(prefix="portal-bench-", dir=os.environ.get("BENCH_DIR")) as folder:
        lines = _run(chosen, Path(folder), quick=given.quick)
    print(f"\n{_machine()}\n\n{table(lines)}")
    return 0 if all(one.met is not False for one in lines) else 1


def _run(chosen: dict[str, Bench], work: Path, *, quick: bool) -> list[Line]:
    made = house.prepare(work / "house", people=64, messages=4 if quick else 24)
    lines = []
    for name, run in chosen.items():
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            found = run(made, work, quick)
        except Wrong as error:
            found = [Line(name, f"WRONG: {error}", "-", "-", "-", False)]
        lines += found
        print(table(found).split("\n", 2)[2], file=sys.stderr, flush=True)
    return lines


def _machine() -> str:
    cores = len(os.sched_getaffinity(0))
    return (
        f"{datetime.now(UTC):%d %B %Y}; {cores} cores ({platform.machine()}), "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )


if __name__ == "__main__":
    sys.exit(main())
