"""SIGKILL at random points under load: 4 times in the short form, 200 times by `make fault`.

A failure prints its seed; `FAULT_SEED=...` plays the same choices again (not the same moments: those are the machine's).
"""

import asyncio
import os
import random
import secrets
from pathlib import Path

import pytest

from tests.fault.live import Place, Serving, place, portal, serving
from tests.fault.load import Load
from tests.fault.oracle import Kept, check, look

pytestmark = pytest.mark.anyio


async def test_whatever_is_killed_nothing_is_lost_doubled_or_unaudited(tmp_path: Path, long_form: bool) -> None:
    """However often the portal dies, what it answered holds: each 250, each page, each reply, each revocation."""
    seed = int(os.environ.get("FAULT_SEED", secrets.randbits(32)))
    print(f"FAULT_SEED={seed}")
    chance, kills = random.Random(seed), 200 if long_form else 4
    async with place(tmp_path) as where:
        load = Load(where, chance, pace=0.5 if long_form else 0.1)
        async with serving(where) as server:
            load.start()
            await asyncio.sleep(2)
            for _ in range(kills):
                await _kill(server, chance)
            await load.stop()
            assert await server.stop() == 0, server.tail()
        kept = await look(where)
        broken = check(load.told, kept, where)
        print(report(load, kept, kills))
        assert not broken, "\n".join(broken[:40])
        assert not load.told.odd
        assert load.told.opened
        assert load.told.signed_in
        doctor = await portal(where, "doctor")
        assert doctor.status == 0, doctor.text
        _nothing_in_clear(where, load)


async def _kill(server: Serving, chance: random.Random) -> None:
    """Kills the server at work, and now and then once more while it starts."""
    await asyncio.sleep(chance.uniform(0.1, 2.5))
    await server.kill()
    if chance.random() < 0.2:
        server.spawn()
        await asyncio.sleep(chance.uniform(0, 1))
        await server.kill()
    await server.start()


def report(load: Load, kept: Kept, kills: int) -> str:
    told = load.told
    return (
        f"{kills} kills: {len(told.letters)} messages ({told.sent_again} sent again) as {len(kept.deliveries)} deliveries; "
        f"{told.signed_in} sign-ins, {told.opened.total()} views, {told.downloaded.total()} downloads, "
        f"{len(told.replied)} replies, {len(told.revoked)} revoked, all as answered; {kept.late} mails waited for a dead "
        f"worker's lease, {kept.twice} went out twice; {kept.stray_blobs} stray blobs swept"
    )


def _nothing_in_clear(where: Place, load: Load) -> None:
    """What the kills left lying about holds no word of any message."""
    words = [*[tag.encode() for tag in load.told.letters][:50], b"All is well", b"answer-"]
    for path in (one for one in where.folder.rglob("*") if one.is_file()):
        content = path.read_bytes()
        assert not [word for word in words if word in content], f"{path} holds a message in clear"
