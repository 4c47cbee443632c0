"""Virus scanning: `Scanner` and its contract. `clamd.py` asks a clamd.

A scanner never stops what is scanned: nothing here raises, waits longer than the scanner was given, or changes a byte. What it can't
say it says as UNKNOWN, with a reason for the record; what becomes of that, a policy class decides.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Verdict(StrEnum):
    CLEAN = "clean"
    INFECTED = "infected"
    UNKNOWN = "unscanned"


@dataclass(frozen=True)
class Finding:
    """What came of a scan. `said` is the signature's name, or why nothing is known: one printable line of at most 100 characters."""

    verdict: Verdict
    said: str = ""


class Scan(Protocol):
    """One object on its way through the scanner, in pieces as it streams by."""

    async def write(self, piece: bytes) -> None:
        """Pieces of any size. Waits while the scanner is slow, within its bounds; once nothing can come of it any more, not at all."""

    async def finding(self) -> Finding:
        """The object is whole: what was found. CLEAN only when all of it was scanned. Asked again, it says the same."""

    def close(self) -> None:
        """Lets go of it, at any moment; more than once does no harm."""


class Scanner(Protocol):
    async def begin(self) -> Scan: ...

    async def check(self) -> str:
        """Which scanner answers, with its signatures' version. Raises StorageAway when none does."""


_ODD = re.compile(r"[^\w.,:;()+*/@' -]+", re.ASCII)


def one_line(text: str) -> str:
    """What a scanner said, fit for the record."""
    return " ".join(_ODD.sub(" ", text).split())[:100]
