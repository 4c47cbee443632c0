"""Verdicts in the laboratory: every behaviour at every level, all at once."""

import asyncio
import time
from pathlib import Path

import pytest

from portal.model.routes import Level
from tests.scenarios.behaviours import Build
from tests.scenarios.lab import laboratory

pytestmark = pytest.mark.anyio


async def test_each_behaviour_at_each_level(tmp_path: Path) -> None:
    """Over 60 domains at both levels come out as the table says, in the time that the slowest of them takes."""
    async with laboratory(tmp_path) as lab:
        built = Build(lab, tmp_path)
        await built.all()
        prober = lab.prober()
        assert len(built.expected) > 60
        keys = [(domain, level) for domain in built.expected for level in Level]
        started = time.monotonic()
        found = await asyncio.gather(*(prober.verdict(domain, level) for domain, level in keys))
        took = time.monotonic() - started
        await prober.close()
    wrong = []
    for (domain, level), verdict in zip(keys, found, strict=True):
        expected = built.expected[domain]
        said = "\n".join(verdict.transcript)
        right = verdict.outcome is expected.at(level) and verdict.rule is expected.rule and expected.word in said
        if not right:
            wrong.append(f"{domain} {level}: {verdict.outcome} by {verdict.rule}, not {expected}\n{said}")
    assert not wrong, "\n".join(wrong)
    assert took < 20
