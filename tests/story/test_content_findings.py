"""What was found by attacking content on its way out: revoked, quarantined or crowded out at the worst moment."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from portal.db import orgs, views
from portal.db import replies as db_replies
from portal.db.tables import deliveries, replies
from portal.lifecycle.end import Lifecycle
from portal.lifecycle.reclass import Reclass
from portal.lifecycle.release import Release
from portal.model.access import Access, Purpose, Reader, may_read
from portal.model.assurance import Assurance
from portal.model.errors import InputRefused
from portal.model.policy import Scan
from portal.reading.read import Reading
from portal.reading.search import Search
from portal.reply import uploads
from portal.scan import Finding, Verdict
from tests.story.seams import all_deliveries, prepared, put, rows
from tests.story.test_drafts import save
from tests.story.test_reading import opened
from tests.story.test_replying import put as upload
from tests.story.test_replying import writing
from tests.story.test_scan import OPERATOR, asks, states
from tests.world import ALICE, BOB, Browser, World, letter
from tests.world import world as open_world

pytestmark = pytest.mark.anyio


@pytest.fixture
async def alone(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    """A world whose scanner is away."""
    async with open_world(tmp_path, database_url, clamd="127.0.0.1:1", clamd_seconds=2) as made:
        yield made


async def test_a_pdf_that_waits_for_its_turn_ends_with_its_delivery(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken back while it is made, it is not handed out."""
    alice, message = await opened(world, letter("Results", "The canary sings.\n"))
    real = Reading.paper

    async def slow(self: Any, *more: Any) -> Any:
        [one] = await all_deliveries(world)  # all render processes are busy meanwhile
        assert await Lifecycle(world.house.db, world.house.source).revoke(one, OPERATOR, "wrong person")
        return await real(self, *more)

    monkeypatch.setattr(Reading, "paper", slow)
    answer = await alice.get(f"{message}/message.pdf")
    assert answer.status_code == 410, (answer.status_code, answer.content[:8])


async def test_marks_without_end_do_not_stop_the_server(world: World) -> None:
    """Searching a text of combining marks leaves everybody else answered."""
    token = await world.announce(letter("Hello", "a" + "\u0300\u0316" * 30_000 + "\n"))
    await prepared(world)
    alice = world.browser()
    await alice.sign_in(token)
    await alice.get("/inbox")
    worst = 0.0
    done = False

    async def beats() -> None:
        nonlocal worst
        while not done:
            at = time.perf_counter()
            await asyncio.sleep(0.01)
            worst = max(worst, time.perf_counter() - at)

    task = asyncio.create_task(beats())
    await alice.post("/inbox/search", {"words": "hello"})
    done = True
    await task
    assert worst < 0.5, worst


class _Finds:
    async def write(self, piece: bytes) -> None: ...
    async def finding(self) -> Finding:
        return Finding(Verdict.INFECTED, "Eicar")

    def close(self) -> None: ...


class _Scanner:
    async def begin(self) -> _Finds:
        return _Finds()

    async def check(self) -> str:
        return "fake"


async def test_a_crash_amid_a_quarantine_leaves_nothing_readable(alone: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an admin had let through is quarantined by the next run."""
    await asks(alone, Scan.REQUIRED)
    await alone.deliver(letter(), (ALICE, BOB))
    _, second = await all_deliveries(alone)  # the one that comes last is let through by an admin, and read
    assert await alone.operator().release.let_through(second, OPERATOR, "by phone")
    await alone.worker.send_due()
    bob = alone.browser()
    message = await bob.sign_in(alone.token_for(BOB), BOB)
    assert (await bob.get(message)).status_code == 200
    alone.clock.forward(minutes=2)
    real, count = Release.quarantine, 0

    async def crash(self: Any, *args: Any) -> None:
        nonlocal count
        count += 1
        if count == 2:
            raise ConnectionError("killed here")
        await real(self, *args)

    monkeypatch.setattr(Release, "quarantine", crash)
    rescan = replace(alone.house, scanner=_Scanner()).worker()._rescan
    with pytest.raises(ConnectionError):
        await rescan.run()
    monkeypatch.setattr(Release, "quarantine", real)
    for _ in range(5):
        alone.clock.forward(hours=3)
        await rescan.run()
    found = [(one.state.value, one.stopped and one.stopped.value) for one in await all_deliveries(alone)]
    stored = await views.stored(alone.house.db, second.id)
    assert stored
    reader = Reader(second.recipient_id, second.org_id, Assurance.MAILBOX, "00", None)
    said = may_read(reader, stored.target, Purpose.ORIGINAL, alone.clock.now())
    assert not isinstance(said, Access), found


async def test_a_stale_look_releases_nothing_infected(alone: World) -> None:
    """An admin who looked before the quarantine lets nothing through."""
    await asks(alone, Scan.REQUIRED)
    await alone.deliver(letter(), (ALICE, BOB))
    _, second = await all_deliveries(alone)  # the admin's look
    await put(alone, deliveries, {"stopped": "infected"}, id=second.id)  # what quarantining `first` does to `second`
    await alone.operator().release.let_through(second, OPERATOR, "by phone")
    assert await states(alone) == ["unscanned", "unscanned"]


async def test_what_was_never_scanned_is_not_put_under_a_class_that_requires_it(alone: World) -> None:
    """Nor is what its answer carries."""
    alice, message, draft = await writing(alone)
    assert (await upload(alice, message, draft, "good.pdf", b"%PDF-1.7\n")).status_code == 201
    found = await orgs.policy_in_force(alone.house.db, alone.northside.id, "default")
    assert found
    await alone.house.classes(OPERATOR).set(alone.northside.id, replace(found[0], scan=Scan.REQUIRED))
    [one] = await all_deliveries(alone)
    with pytest.raises(InputRefused):
        await Reclass(alone.house.db, alone.house.source).raise_to(
            alone.northside.id, one.message_id, "default", OPERATOR
        )


async def test_a_class_is_not_raised_to_one_that_scans_less(alone: World) -> None:
    """Files of answers would not be scanned any more."""
    await writing(alone)
    await asks(alone, Scan.OFF)
    [one] = await all_deliveries(alone)
    with pytest.raises(InputRefused):
        await Reclass(alone.house.db, alone.house.source).raise_to(
            alone.northside.id, one.message_id, "default", OPERATOR
        )


async def test_one_recipient_does_not_take_all_uploads(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many messages she answers, so many go at once, and what she left lying makes way for her own next; with all taken by
    several, whoever has most makes way for others. Here the portal takes 8 at once, 4 of one."""
    monkeypatch.setattr(uploads, "MOST_OPEN", 8)
    monkeypatch.setattr(uploads, "MOST_OF_ONE", 4)
    alice, message, draft = await writing(world)
    token = await world.announce(letter(message_id="<2@clinic.example>"), (BOB,))
    bob = world.browser()
    bobs = await bob.sign_in(token, BOB)
    await bob.get(f"{bobs}/reply")
    bdraft = bob.page.split('name="draft" value="')[1][:36]
    await world.announce(letter(message_id="<3@clinic.example>"))
    inbox = (await alice.get("/inbox")).text
    hers = [(message, draft), (message, world.house.source.new_id())]
    hers += [(one, world.house.source.new_id()) for one in sorted(set(re.findall(r'href="(/messages/[\w-]+)"', inbox)))]
    assert len({one for one, _ in hers}) == 2
    await alice.get(f"{message}/reply")

    async def begun(who: Browser, where: tuple[str, str]) -> int:
        h = {"x-csrf-token": who.csrf, "upload-complete": "?0"}
        return (await who.http.put(f"{where[0]}/reply/{where[1]}/files", content=b"", headers=h)).status_code

    assert [await begun(alice, hers[n % 4]) for n in range(6)] == [201] * 4 + [409] * 2
    assert (await upload(bob, bobs, bdraft, "good.pdf", b"%PDF-1.7\n")).status_code == 201
    world.clock.forward(seconds=31)
    assert await begun(bob, (bobs, bdraft)) == 201
    assert [await begun(alice, hers[n % 4]) for n in range(2)] == [201] * 2  # her own, left lying, made way
    monkeypatch.setattr(uploads, "MOST_OPEN", 5)
    world.clock.forward(seconds=31)
    assert await begun(bob, (bobs, bdraft)) == 201  # one of hers made way, who has most
    assert await begun(alice, hers[0]) == 201  # and for her own, her own


async def test_a_draft_that_is_saved_while_the_sweep_runs_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was listed as old, and is looked at again before it goes."""
    alice, message, draft_id = await writing(world)
    _, version = await save(alice, message, draft_id, "kept")
    world.clock.forward(days=8)
    again = world.browser()
    message = await again.sign_in(world.token_for(ALICE))
    await again.get(message)
    async with world.house.db.read() as tx:
        listed = await db_replies.abandoned(tx, world.clock.now() - timedelta(days=7), 10)
    assert listed
    monkeypatch.setattr(db_replies, "abandoned", lambda *_: _give(listed))
    await again.get(f"{message}/reply/{draft_id}")
    status, _ = await save(again, message, draft_id, "kept and more", version)
    assert status == 204
    await world.house.disposition().sweep()
    assert len(await rows(world, replies)) == 1


async def _give(x: Any) -> Any:
    return x


async def test_a_search_does_not_show_what_was_taken_back_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seconds pass between the first message that is looked at and the answer."""
    token = await world.announce(letter("First canary", "hello\n"))
    world.clock.forward(minutes=1)
    await world.deliver(letter("Second canary", "hello\n", message_id="<2@clinic.example>"))
    await prepared(world)
    alice = world.browser()
    await alice.sign_in(token)
    await alice.get("/inbox")
    real, n = Search._looked, 0

    async def looked(self: Any, line: Any, *more: Any) -> Any:
        nonlocal n
        n += 1
        if n == 2:  # the first line was looked at; up to three seconds may pass from here
            one = next(d for d in await all_deliveries(world) if d.id != line.target.delivery_id)
            assert await Lifecycle(world.house.db, world.house.source).revoke(one, OPERATOR, "wrong person")
        return await real(self, line, *more)

    monkeypatch.setattr(Search, "_looked", looked)
    answer = await alice.post("/inbox/search", {"words": "hello"})
    assert "First canary" in answer.text
    assert "Second canary" not in answer.text
