"""What a bench says: a line of the table with its figure, its floor, the ratio, and the target it is held to."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["Line", "Wrong", "at_least", "at_most", "median", "spread", "table"]


class Wrong(Exception):
    """A bench got something back that it should not have: its figure would mean nothing."""


@dataclass(frozen=True)
class Line:
    """One line. `met` is None where there is no target, or nothing to measure yet."""

    row: str
    figure: str
    floor: str
    ratio: str
    target: str
    met: bool | None


def at_least(row: str, figure: str, floor: str, ratios: Sequence[float], least: float, beyond: float) -> Line:
    """A line whose ratio is the median of the rounds, the more the better."""
    ratio = median(ratios)
    return Line(row, figure, floor, f"{ratio:.3g} ({spread(ratios)})", f">= {least} / {beyond}", ratio >= least)


def at_most(row: str, figure: str, floor: str, ratios: Sequence[float], most: float, beyond: float) -> Line:
    ratio = median(ratios)
    return Line(row, figure, floor, f"{ratio:.3g} ({spread(ratios)})", f"<= {most} / {beyond}", ratio <= most)


def spread(values: Sequence[float]) -> str:
    """The least and the greatest of the rounds."""
    return f"{min(values):.3g}-{max(values):.3g}"


def table(lines: Sequence[Line]) -> str:
    """The lines in Markdown."""
    rows = [("row", "figure", "floor", "ratio (rounds)", "target / beyond", "met?"), ("---",) * 6]
    for one in lines:
        met = {True: "yes", False: "**no**", None: "-"}[one.met]
        rows.append((one.row, one.figure, one.floor, one.ratio, one.target, met))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
