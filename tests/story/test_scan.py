"""The virus scanner at the door: what it stops is kept, shown to nobody, and told to its sender alone; and no mail is lost for it."""

import asyncio
import re
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portal.assembly import scanner
from portal.db import orgs
from portal.db.tables import deliveries as deliveries_table
from portal.db.tables import messages, outbox, renditions
from portal.doctor import examine
from portal.lifecycle.release import Release
from portal.lifecycle.rescan import Rescan
from portal.model.errors import InputRefused
from portal.model.events import By, Who
from portal.model.message import READABLE, DeliveryState
from portal.model.policy import Scan
from portal.model.staff import Role
from portal.web import app as web
from tests.servers import PATTERN, SIGNATURE, Clamd
from tests.servers import clamd as open_clamd
from tests.story.seams import all_deliveries, blobs, put, rows
from tests.story.staff import desk, sender
from tests.story.test_replying import put as upload
from tests.story.test_replying import send, writing
from tests.world import ALICE, BOB, CAROL, Browser, World, letter
from tests.world import world as open_world

pytestmark = pytest.mark.anyio
INFECTED = letter(
    attachments=[("list.pdf", "application/pdf", b"%PDF-1.7\n" + PATTERN)], message_id="<bad@clinic.example>"
)
OPERATOR = By(Who.OPERATOR, "dora")
NOBODY = "127.0.0.1:1"


@pytest.fixture(scope="module")
def running() -> Iterator[Clamd]:
    """One clamd for all tests here."""
    with open_clamd() as daemon:
        yield daemon


@pytest.fixture
async def scanned(tmp_path: Path, database_url: str, running: Clamd) -> AsyncIterator[World]:
    """A world with a scanner, on each engine."""
    async with open_world(tmp_path, database_url, clamd=running.tcp, clamd_seconds=2) as made:
        yield made


@pytest.fixture
async def alone(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    """A world whose scanner is away."""
    async with open_world(tmp_path, database_url, clamd=NOBODY, clamd_seconds=2) as made:
        yield made


async def asks(world: World, scan: Scan) -> None:
    """The default class asks for it from now on."""
    found = await orgs.policy_in_force(world.house.db, world.northside.id, "default")
    assert found is not None
    await world.house.classes(OPERATOR).set(world.northside.id, replace(found[0], scan=scan))


async def states(world: World) -> list[str]:
    return [one.state.value for one in await all_deliveries(world)]


def rescan(world: World, where: str) -> Rescan:
    """What the worker of a portal does whose setting names another scanner, on the same rows."""
    settings = world.house.settings.model_copy(update={"clamd": where})
    return replace(world.house, settings=settings, scanner=scanner(settings)).worker()._rescan


async def told(world: World) -> list[tuple[str, str]]:
    """Which mails were queued, of which kind and how they stand."""
    return [(row["kind"], row["state"]) for row in await rows(world, outbox)]


def _bare(page: str) -> str:
    """A page without what each request has of its own."""
    return re.sub(r'(nonce|value)="[^"]+"', "", page)


async def never_was(world: World, browser: Browser, delivery_id: str) -> None:
    """Whoever asks for any piece of it, signed in as its recipient, gets what never existed gets, and opens nothing."""
    never = "01a1fdb2-dcc0-706a-9d6a-be19c0bab1d0"
    before = len(await world.events())
    for path in ("", "/body", "/print", "/original.eml", "/parts/0", "/parts/0/view", "/reply"):
        answer, other = [await browser.get(f"/messages/{one}{path}") for one in (delivery_id, never)]
        assert (answer.status_code, other.status_code) == (404, 404), path
        assert _bare(answer.text) == _bare(other.text)
    inbox = await browser.get("/inbox")
    assert delivery_id not in inbox.text
    kinds = {event.kind for event in (await world.events())[before:]}
    assert kinds == {"ReadDenied", "InboxListed"}


async def test_what_is_infected_is_kept_and_shown_to_nobody(scanned: World, folder: Path) -> None:
    """It is accepted and stored, no notice goes out, its sender is told, and no way leads its recipient to it."""
    world = scanned
    alice = world.browser()
    await alice.sign_in(await world.announce())
    accepted = await world.deliver(INFECTED, (ALICE, BOB))
    await world.worker.send_due()
    bad = [one for one in await all_deliveries(world) if one.message_id == accepted.message_id]
    assert [(one.state, one.stopped) for one in bad] == [(DeliveryState.QUARANTINED, "infected")] * 2
    (row,) = await rows(world, messages, id=accepted.message_id)
    assert (row["scan"], row["scan_said"], row["rescan_at"]) == ("infected", f"{SIGNATURE}.UNOFFICIAL", None)
    assert row["blob_key"]
    assert not await rows(world, renditions, message_id=accepted.message_id)
    event = (await world.events("MessageAccepted"))[-1].detail
    assert (event["scan"], event["scan_said"], event["stopped"]) == ("infected", f"{SIGNATURE}.UNOFFICIAL", "infected")
    mail = world.text_for(CAROL)
    assert "found something harmful" in mail
    assert "results" not in mail
    assert [kind for kind, _ in await told(world)].count("notice") == 1  # of the clean one
    hers = (await all_deliveries(world))[0].recipient_id
    await never_was(world, alice, *(one.id for one in bad if one.recipient_id == hers))
    # Time ends nothing here and brings nothing back; the same mail once more is the same mail.
    assert (await world.deliver(INFECTED, (ALICE, BOB))).again
    lifecycle = world.operator().lifecycle
    for act in (
        lifecycle.revoke(bad[0], OPERATOR, "x"),
        lifecycle.restore(bad[0], OPERATOR, "x"),
        lifecycle.expire(bad[0], OPERATOR),
    ):
        with pytest.raises(InputRefused):
            await act
    with pytest.raises(InputRefused):
        await world.operator().release.let_through(bad[0], OPERATOR, "it is harmless")
    with pytest.raises(InputRefused):
        await lifecycle.extend(bad[0], OPERATOR, world.clock.now().replace(year=2027))
    world.clock.forward_from_the_disk(days=400)
    disposition = world.house.disposition()
    while await disposition.run():
        pass
    assert set(await states(world)) == {"disposed"}
    assert blobs(folder) == []


@pytest.mark.parametrize(
    ("scan", "state"), [(Scan.OFF, "noticed"), (Scan.TRIED, "quarantined"), (Scan.REQUIRED, "quarantined")]
)
async def test_the_class_says_whether_it_is_asked(scanned: World, scan: Scan, state: str) -> None:
    """Where the class asks for nothing, nothing is stopped."""
    await asks(scanned, scan)
    await scanned.deliver(INFECTED)
    await scanned.worker.send_due()
    assert await states(scanned) == [state]
    assert ("notice" in [kind for kind, _ in await told(scanned)]) == (scan is Scan.OFF)


async def test_what_could_not_be_scanned_goes_on_where_a_scan_is_tried(alone: World) -> None:
    """It is announced and read, and says on record that it was not scanned."""
    message = await alone.browser().sign_in(await alone.announce(INFECTED))
    assert message.startswith("/messages/")
    event = (await alone.events("MessageAccepted"))[-1].detail
    assert (event["scan"], event["scan_said"], event.get("stopped")) == ("unscanned", "clamd can't be reached", None)


async def test_what_could_not_be_scanned_waits_where_a_scan_is_required(alone: World, running: Clamd) -> None:
    """It waits, its sender is told; a later scan lets the clean one go on and quarantines the other, opened on record each time."""
    world = alone
    await asks(world, Scan.REQUIRED)
    alice = world.browser()
    clean = await world.deliver(letter(message_id="<good@clinic.example>"), (ALICE, BOB))
    bad = await world.deliver(INFECTED)
    await world.worker.send_due()
    assert await states(world) == ["unscanned"] * 3
    assert sorted(await told(world)) == [("stopped", "done")] * 3
    assert "could not be checked for viruses" in world.text_for(CAROL)
    world.clock.forward(minutes=2)
    assert await world.worker._rescan.run() == 0  # nothing is opened for a scanner that is away
    assert not await world.events("ScanOpened")
    again = rescan(world, running.tcp)
    assert await again.run() == 2
    assert await again.run() == 0
    await world.worker.send_due()
    assert await states(world) == ["noticed", "noticed", "quarantined"]
    opened = await world.events("ScanOpened")
    assert [one.message_id for one in opened] == [clean.message_id, bad.message_id]
    assert [one.detail["scan"] for one in await world.events("DeliveryReleased")] == ["clean"] * 2
    assert [one.detail["said"] for one in await world.events("DeliveryQuarantined")] == [f"{SIGNATURE}.UNOFFICIAL"]
    found_rows = {row["id"]: (row["scan"], row["rescan_at"]) for row in await rows(world, messages)}
    assert found_rows[clean.message_id][0] == "clean"
    assert found_rows[bad.message_id][0] == "infected"
    assert "found something harmful" in world.text_for(CAROL)
    message = await alice.sign_in(world.token_for(ALICE))
    assert "All is well." in (await alice.get(message)).text
    world.clock.forward(hours=13)
    await again.run()
    assert len(await world.events("ScanOpened")) == 2
    assert [row["rescan_at"] for row in await rows(world, messages)] == [None, None]


async def test_an_object_that_can_never_be_scanned_is_tried_ever_more_seldom(alone: World, running: Clamd) -> None:
    """Over clamd's limit: each try is on record, and there are a few dozen in a month rather than thousands."""
    await asks(alone, Scan.REQUIRED)
    await alone.deliver(letter(attachments=[("big.bin", "application/octet-stream", bytes(2_500_000))]))
    again = rescan(alone, running.tcp)
    for _ in range(60 * 8):
        alone.clock.forward(minutes=3)
        await again.run()
    assert await states(alone) == ["unscanned"]
    assert 8 <= len(await alone.events("ScanOpened")) <= 14
    (row,) = await rows(alone, messages)
    assert row["scan_said"].startswith(("clamd broke off after", "INSTREAM size limit"))


async def test_an_admin_lets_it_through(alone: World, running: Clamd) -> None:
    """On record with the reason, after showing who she is; then the notice goes out, and what a later scan finds still stops it."""
    world = alone
    await asks(world, Scan.REQUIRED)
    await world.deliver(INFECTED, (ALICE, BOB))
    first, _ = await all_deliveries(world)
    dora = await desk(world, Role.ADMIN, "dora@clinic.example")
    listed = await dora.get("/staff/messages")
    assert "/staff/messages?state=unscanned" in listed.text
    assert "/staff/messages?state=quarantined" not in listed.text
    page = (await dora.get(f"/staff/messages/{first.message_id}")).text
    assert "Waits for a scan" in page
    assert "clamd can&#39;t be reached" in page
    assert "/staff/act/release" in page
    assert "/staff/act/resend" not in page
    world.clock.forward(minutes=6)
    assert (await dora.get(f"/staff/act/release?d={first.id}")).status_code == 303  # to show who she is
    await dora.fresh()
    assert (await dora.act("release", [first.id])).status_code == 422
    assert (await dora.act("release", [first.id], reason="known sender, by phone")).status_code == 303
    await world.worker.send_due()
    assert await states(world) == ["noticed", "unscanned"]
    assert (await world.events("DeliveryReleased"))[-1].detail == {
        "scan": "unscanned",
        "reason": "known sender, by phone",
    }
    alice = world.browser()
    message = await alice.sign_in(world.token_for(ALICE))
    assert (await alice.get(message)).status_code == 200
    world.clock.forward(minutes=2)
    await rescan(world, running.tcp).run()
    assert await states(world) == ["quarantined", "quarantined"]
    assert (await alice.get(f"{message}/original.eml")).status_code == 404
    assert "Quarantined" in (await dora.get(f"/staff/messages/{first.message_id}")).text
    assert (await dora.get("/staff/messages?state=quarantined")).text.count("Quarantined</span>") == 2


async def test_only_an_admin_lets_through(alone: World) -> None:
    """A sender sees that hers waits and can take it back; she and the help desk can't let it through."""
    world = alone
    await asks(world, Scan.REQUIRED)
    await world.deliver()
    (one,) = await all_deliveries(world)
    carol, helen = await sender(world), await desk(world, Role.HELP_DESK, "helen@clinic.example")
    for who in (carol, helen):
        page = (await who.get(f"/staff/messages/{one.message_id}")).text
        assert "Waits for a scan" in page
        assert "/staff/act/release" not in page
        data = {"csrf": who.csrf, "d": one.id, "reason": "please let it go"}
        assert (await who.http.post("/staff/act/release", data=data)).status_code == 404
    assert await states(world) == ["unscanned"]


async def test_taking_back_and_giving_back_leads_past_no_scan(alone: World, running: Clamd) -> None:
    """Whatever is done to a stopped delivery, it is readable only after a release; every act by every state, walked."""
    world = alone
    await asks(world, Scan.REQUIRED)
    await world.deliver()
    operator = world.operator()
    later = world.clock.now().replace(year=2028)

    async def now() -> Any:
        return (await all_deliveries(world))[0]

    acts: dict[str, Callable[[Any], Awaitable[bool]]] = {
        "revoke": lambda one: operator.lifecycle.revoke(one, OPERATOR, "reason"),
        "restore": lambda one: operator.lifecycle.restore(one, OPERATOR, "reason"),
        "expire": lambda one: operator.lifecycle.expire(one, OPERATOR),
        "extend": lambda one: operator.lifecycle.extend(one, OPERATOR, later),
    }
    allowed = {
        ("unscanned", "revoke"): "revoked",
        ("unscanned", "expire"): "expired",
        ("unscanned", "extend"): "unscanned",
        ("revoked", "restore"): "unscanned",
        ("expired", "extend"): "unscanned",
        ("expired", "revoke"): "revoked",
    }
    for state in ("unscanned", "revoked", "expired", "quarantined"):
        for name, act in acts.items():
            stopped = "infected" if state == "quarantined" else "unscanned"
            values = {"state": state, "stopped": stopped, "ended_at": None}
            await put(world, deliveries_table, values, id=(await now()).id)
            if (state, name) in allowed:
                assert await act(await now())
            else:
                with pytest.raises(InputRefused):
                    await act(await now())
            assert (await now()).state.value == allowed.get((state, name), state)
            assert (await now()).state not in READABLE
    # Known to be infected while it was taken back: giving it back gives it into quarantine.
    await put(world, deliveries_table, {"state": "revoked", "stopped": "infected"}, id=(await now()).id)
    assert await acts["restore"](await now())
    assert (await now()).state is DeliveryState.QUARANTINED


async def test_it_does_not_die_without_its_sender_knowing(alone: World) -> None:
    """What waits for a scan until its end is warned of, ends, and its sender is told; an admin is too late then, and can extend."""
    world = alone
    await asks(world, Scan.REQUIRED)
    await world.deliver()
    world.clock.forward(days=28)
    await world.worker._daily_life()
    await world.worker.send_due()
    world.clock.forward(days=3)
    await world.worker._daily_life()
    await world.worker.send_due()
    assert await states(world) == ["expired"]
    assert sorted(await told(world)) == [("expiring", "done"), ("stopped", "done"), ("unread", "done")]


async def test_two_let_it_through_at_once(alone: World) -> None:
    """One release counts, and one notice goes out."""
    await asks(alone, Scan.REQUIRED)
    await alone.deliver()
    (one,) = await all_deliveries(alone)
    release: Release = alone.operator().release
    done = await asyncio.gather(
        *(release.let_through(one, OPERATOR, "reason") for _ in range(5)), return_exceptions=True
    )
    assert done.count(True) == 1
    assert [kind for kind, _ in await told(alone)].count("notice") == 1
    assert len(await alone.events("DeliveryReleased")) == 1


async def test_a_scanner_that_hangs_costs_a_bounded_moment(
    tmp_path: Path, sqlite_template: Path, running: Clamd
) -> None:
    """Mail is taken all the same, by every relay at once, and unscanned by its class's word."""
    shutil.copy(sqlite_template, tmp_path / "portal.db")
    (tmp_path / "portal.db").chmod(0o600)
    async with open_world(tmp_path, f"sqlite:///{tmp_path}/portal.db", clamd=running.path, clamd_seconds=1) as world:
        running.hang()
        try:
            began = time.monotonic()
            big = letter(attachments=[("big.bin", "application/octet-stream", bytes(3_000_000))])
            await asyncio.gather(*(world.deliver(big.replace(b"<1@", b"<%d@" % n)) for n in range(20, 24)))
            assert time.monotonic() - began < 5
            for n in range(5):  # it is left alone by now
                await world.deliver(letter(message_id=f"<{n}-later@clinic.example>"))
            assert time.monotonic() - began < 9
        finally:
            running.go_on()
        assert set(await states(world)) == {"held"}
        assert len(await states(world)) == 9


async def test_a_file_for_a_reply_is_scanned(scanned: World, folder: Path) -> None:
    """What is found is refused with a sentence, on record, with nothing kept of it; the text and the other files stay."""
    alice, message, draft = await writing(scanned)
    kept = blobs(folder)
    answer = await upload(alice, message, draft, "bad.pdf", b"%PDF-1.7\n" + PATTERN)
    assert answer.status_code == 415
    assert blobs(folder) == kept
    assert (await upload(alice, message, draft, "good.pdf", b"%PDF-1.7\n")).status_code == 201
    files = [("one.pdf", b"%PDF-1.7 1"), ("bad.pdf", PATTERN), ("two.pdf", b"%PDF-1.7 2")]
    answer = await send(alice, message, draft, "Here they are.", files)
    assert answer.status_code == 415
    assert "virus scanner found something" in answer.text
    assert "Here they are." in answer.text
    assert [name in answer.text for name in ("good.pdf", "one.pdf", "two.pdf", "bad.pdf")] == [True, True, True, False]
    refused = await scanned.events("FileRefused")
    assert [(one.detail["reason"], one.detail["said"]) for one in refused] == [
        ("infected", f"{SIGNATURE}.UNOFFICIAL")
    ] * 2
    assert (await send(alice, message, draft, "Here they are.")).status_code == 303
    assert (await scanned.events("ReplySubmitted"))[-1].detail["attachments"] == 3


async def test_a_file_that_can_not_be_scanned(alone: World) -> None:
    """Where a scan is tried it is taken; where it is required it is refused for now, and nothing typed is lost."""
    alice, message, draft = await writing(alone)
    assert (await upload(alice, message, draft, "good.pdf", b"%PDF-1.7\n")).status_code == 201
    await put(alone, messages, {"policy_id": await _required(alone)})
    assert (await upload(alice, message, draft, "more.pdf", b"%PDF-1.7\n")).status_code == 503
    answer = await send(alice, message, draft, "Here it is.", [("more.pdf", b"%PDF-1.7\n")])
    assert answer.status_code == 503
    assert "could not be checked for viruses" in answer.text
    assert "Here it is." in answer.text
    assert {one.detail["reason"] for one in await alone.events("FileRefused")} == {"unscanned"}


async def test_a_file_that_was_taken_unscanned_is_not_sent_once_a_scan_is_required(
    alone: World, running: Clamd, folder: Path
) -> None:
    """The class was raised meanwhile: nothing is sent, files and words stay, and the next try has them scanned, on record; what is
    found then leaves the draft."""
    alice, message, draft = await writing(alone)
    for name, content in (("good.pdf", b"%PDF-1.7\n"), ("bad.pdf", PATTERN)):
        assert (await upload(alice, message, draft, name, content)).status_code == 201
    await put(alone, messages, {"policy_id": await _required(alone)})
    answer = await send(alice, message, draft, "Here they are.")
    assert answer.status_code == 503
    assert "its files could not be checked for viruses" in answer.text
    assert [words in answer.text for words in ("Here they are.", "good.pdf", "bad.pdf")] == [True] * 3
    assert [one.detail["reason"] for one in await alone.events("FileRefused")] == ["unscanned"]
    assert not await alone.events("ScanOpened")  # nothing is opened for a scanner that is away
    kept = len(blobs(folder))
    settings = alone.house.settings.model_copy(update={"clamd": running.tcp})
    alone.app = web.build(
        replace(alone.house, settings=settings, scanner=scanner(settings)).site(), alone.house.not_ready
    )
    alice = alone.browser()
    await alice.sign_in(alone.token_for(ALICE))
    answer = await send(alice, message, draft, "Here they are.")
    assert (answer.status_code, "virus scanner found something" in answer.text) == (415, True)
    assert ("good.pdf" in answer.text, "bad.pdf" in answer.text, len(blobs(folder))) == (True, False, kept - 1)
    assert len({one.detail["file"] for one in await alone.events("ScanOpened")}) == 2
    assert (await send(alice, message, draft, "Here it is.")).status_code == 303
    assert len(await alone.events("ScanOpened")) == 2  # what was found clean is not opened again
    assert (await alone.events("ReplySubmitted"))[-1].detail["attachments"] == 1


async def _required(world: World) -> str:
    """A version of the class that requires a scan; its id."""
    await asks(world, Scan.REQUIRED)
    found = await orgs.policy_in_force(world.house.db, world.northside.id, "default")
    assert found is not None
    return found[0].id


async def test_a_class_can_not_require_what_is_not_there(world: World) -> None:
    """Without a scanner that would strand every message: refused in the console and at the command line, with what to do."""
    with pytest.raises(InputRefused, match="no virus scanner"):
        await asks(world, Scan.REQUIRED)
    dora = await desk(world, Role.ADMIN, "dora@clinic.example")
    page = (await dora.get("/staff/classes/default")).text
    fields = dict(re.findall(r'name="(life_days|retention_days|reminder_days|warn_days|base)" value="([^"]*)"', page))
    fields |= {"assurance": "1", "reply": "yes", "unverified": "yes", "previews": "yes"}
    for scan, status, said in (
        ("required", 422, "no virus scanner"),
        ("always", 422, "Choose what the virus scanner is asked."),
        ("off", 200, "This is what would change"),
    ):
        answer = await dora.post("/staff/classes/default", {**fields, "scan": scan})
        assert answer.status_code == status, scan
        assert said in answer.text
    answer = await dora.post("/staff/classes/default", {**fields, "scan": "off", "previews": "no"})
    assert all(words in answer.text for words in ("Virus scan", "Previews of attachments", "tried"))
    answer = await dora.post("/staff/classes/default", {**fields, "scan": "off", "previews": "no", "sure": "yes"})
    assert answer.status_code == 303
    event = (await world.events("PolicySet"))[-1].detail
    assert (event["scan"], event["previews"]) == ("off", False)


async def test_the_doctor_says_what_scans(scanned: World) -> None:
    """Which version answers; that none does; that none is set where a class requires one."""

    async def said(world: World, **more: str) -> tuple[bool, str]:
        found = await examine(world.house.settings.model_copy(update=more))
        (one,) = [one for one in found if one.name == "scanner"]
        return one.ok, one.said

    ok, words = await said(scanned)
    assert (ok, words[:7]) == (True, "ClamAV ")
    assert await said(scanned, clamd="") == (True, "none is set; nothing is scanned")
    assert (await said(scanned, clamd=NOBODY))[0] is False
    await asks(scanned, Scan.REQUIRED)
    ok, words = await said(scanned, clamd="")
    assert (ok, "default" in words) == (False, True)
