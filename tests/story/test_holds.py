"""Holds, disposition and its certificates: what is held outlives every timer, what goes is certified, and the clock is not trusted."""

import asyncio
import hashlib
import json
from datetime import timedelta
from pathlib import Path

import pytest

from portal.db.audit import Filter
from portal.db.holds import Criteria
from portal.db.tables import certificates, deliveries, grants, holds, messages, replies
from portal.lifecycle.certify import evidence_line
from portal.lifecycle.hold import Holds
from portal.model.errors import InputRefused, NotFound
from portal.model.staff import Role
from portal.sealing.sign import NoteSigner, verified
from tests.story.seams import all_deliveries, blobs, prepared, rows
from tests.story.staff import OPERATOR, Desk, desk
from tests.world import ALICE, BOB, CAROL, World, letter

pytestmark = pytest.mark.anyio


def holding(world: World) -> Holds:
    return Holds(world.house.db, world.house.source)


async def place(world: World, **criteria: object) -> str:
    review = world.clock.at + timedelta(days=30)
    wanted = Criteria(**criteria)  # type: ignore[arg-type]
    hold = await holding(world).place(world.northside.id, wanted, "a lawsuit", "Privacy office", review, OPERATOR)
    return hold.id


async def dora(world: World) -> Desk:
    return await desk(world, Role.ADMIN, "dora@clinic.example")


@pytest.mark.parametrize("by", ["message", "recipient", "sender", "search"])
async def test_a_hold_beats_retention_whatever_it_is_on(world: World, folder: Path, by: str) -> None:
    """Held by message, person, sender or class and days, a message outlives its retention; the one beside it goes."""
    await world.announce()
    await world.deliver(letter(message_id="<2@clinic.example>"), (BOB,), sender="erin@clinic.example")
    await prepared(world)
    held, free = await all_deliveries(world)
    world.clock.forward(hours=1)
    kinds: dict[str, dict[str, object]] = {
        "message": {"message_id": held.message_id},
        "recipient": {"recipient_id": held.recipient_id},
        "sender": {"sender_hash": held.sender_hash},
        "search": {"policy_name": "default", "sender_hash": held.sender_hash, "accepted_from": held.accepted_at},
    }
    hold = await place(world, **kinds[by])
    world.clock.forward(days=400)
    await world.house.worker()._daily_life()
    assert await world.house.disposition().run() == 1
    assert [one.state for one in await all_deliveries(world)] == ["expired", "disposed"]
    assert len(await rows(world, grants)) == 1
    await holding(world).release(world.northside.id, hold, "the lawsuit is over", OPERATOR)
    assert await world.house.disposition().run() == 1
    assert [one.state for one in await all_deliveries(world)] == ["disposed", "disposed"]
    assert (await rows(world, grants), blobs(folder)) == ([], [])
    assert free.id != held.id


async def test_a_hold_on_one_recipient_keeps_the_content_for_him_alone(world: World, folder: Path) -> None:
    """Of a message for two, the held one's grant and the sealed content stay; the other's grant goes."""
    await world.announce(letter(), (ALICE, BOB))
    await prepared(world)
    one, _ = await all_deliveries(world)
    await place(world, recipient_id=one.recipient_id)
    world.clock.forward(days=400)
    assert await world.house.disposition().run() == 0
    assert [d.state for d in await all_deliveries(world)] == ["noticed", "disposed"]
    assert [row["reader_id"] for row in await rows(world, grants)] == [one.id]
    assert blobs(folder)


async def test_a_hold_keeps_drafts_and_what_comes_later(world: World) -> None:
    """Unsent replies of what is held are not swept away; mail that comes in after the hold is held too."""
    token = await world.announce()
    alice = world.browser()
    message = await alice.sign_in(token)
    await alice.get(f"{message}/reply")
    draft = alice.page.split('name="draft" value="')[1][:36]
    put = await alice.http.put(f"{message}/reply/{draft}/files", content=b"x", headers={"x-csrf-token": alice.csrf})
    assert put.status_code == 201
    (one,) = await all_deliveries(world)
    await place(world, recipient_id=one.recipient_id)
    world.clock.forward_from_the_disk(days=8)
    await world.house.disposition().sweep()
    assert len(await rows(world, replies)) == 1
    await world.deliver(letter(message_id="<2@clinic.example>"))
    world.clock.forward(days=800)
    assert await world.house.disposition().run() == 0


async def test_a_year_of_retention_with_holds_on_and_off(world: World) -> None:
    """Month by month under a moved clock: what is due and free goes in its month, what is held waits for its release."""
    for month in range(6):
        await world.deliver(letter(message_id=f"<{month}@clinic.example>"), (f"p{month}@patients.example",))
        world.clock.forward(days=30)
    held = (await all_deliveries(world))[2]
    hold = await place(world, message_id=held.message_id)
    world.clock.forward(days=365 - 180)
    gone = []
    for _ in range(8):
        await world.house.disposition().run()
        gone.append(sum(one.state == "disposed" for one in await all_deliveries(world)))
        world.clock.forward(days=30)
    assert gone == [1, 2, 2, 3, 4, 5, 5, 5]
    await holding(world).release(world.northside.id, hold, "no longer needed", OPERATOR)
    await world.house.disposition().run()
    assert {one.state for one in await all_deliveries(world)} == {"disposed"}
    assert sum(row["messages"] for row in await rows(world, certificates)) == 6


async def test_a_clock_moved_back_destroys_nothing_and_brings_nothing_back(world: World) -> None:
    """Retention is held against the clock as it stands; what is destroyed stays so, what is not due waits."""
    await world.deliver()
    world.clock.forward(days=400)
    world.clock.at -= timedelta(days=399)
    assert await world.house.disposition().run() == 0
    assert [one.state for one in await all_deliveries(world)] == ["held"]
    world.clock.forward(days=400)
    assert await world.house.disposition().run() == 1
    world.clock.at -= timedelta(days=399)
    assert await world.house.disposition().run() == 0
    assert [one.state for one in await all_deliveries(world)] == ["disposed"]


async def test_a_hold_and_its_destruction_at_the_same_moment(world: World) -> None:
    """Either the message is destroyed and the hold refused, or it is held and stays: never held and gone."""
    for number in range(8):
        await world.deliver(letter(message_id=f"<{number}@clinic.example>"), (f"p{number}@patients.example",))
    await prepared(world)
    world.clock.forward(days=400)
    every = await all_deliveries(world)
    outcomes = await asyncio.gather(
        world.house.disposition().run(),
        *(place(world, message_id=one.message_id) for one in every),
        return_exceptions=True,
    )
    in_force = {row["message_id"] for row in await rows(world, holds)}
    for one, outcome in zip(await all_deliveries(world), outcomes[1:], strict=True):
        if isinstance(outcome, InputRefused):
            assert one.state == "disposed"
        else:
            assert (one.message_id in in_force, one.state) == (True, "held")
            assert await rows(world, grants, reader_id=one.id)


async def test_what_a_hold_must_say(world: World) -> None:
    """No criterion, no reason, no owner, a review in the past or never, a message that is gone: each says what to do."""
    await world.deliver()
    (one,) = await all_deliveries(world)
    who = await dora(world)
    good = {"message": one.message_id, "reason": "a lawsuit", "owner": "Privacy office", "review": "2027-01-31"}
    await who.get("/staff/holds/new")
    for wrong, said in (
        ({"message": ""}, "say what is to be kept"),
        ({"reason": ""}, "Say why"),
        ({"owner": " "}, "who answers"),
        ({"review": "2026-11-20"}, "must lie ahead"),
        ({"review": "2029-01-01"}, "within a year"),
        ({"review": "soon"}, "year-month-day"),
        ({"message": "x"}, "no id of a message"),
        ({"message": "01a1fdb2-dcc0-706a-9d6a-be19c0bab1d0"}, "no message with this id"),
        ({"recipient": "nobody@patients.example"}, "Nobody with this address"),
        ({"sender": "x"}, "no mail address"),
        ({"from": "x"}, "year-month-day"),
    ):
        answer = await who.post("/staff/holds", {**good, **wrong})
        assert (answer.status_code, said in answer.text) == (422, True), wrong
    assert await rows(world, holds) == []
    placed = await who.post("/staff/holds", good)
    assert placed.status_code == 303
    page = (await who.get(f"/staff/messages/{one.message_id}")).text
    assert "a lawsuit" in page
    assert "Privacy office" in page
    assert "Held" in (await who.get("/staff/messages")).text
    hold = placed.headers["location"].split("/")[3].split("?")[0]
    await who.get(f"/staff/holds/{hold}")
    assert (await who.post(f"/staff/holds/{hold}/release", {"reason": ""})).status_code == 422
    assert (await who.post(f"/staff/holds/{hold}/release", {"reason": "over now"})).status_code == 303
    again = await who.post(f"/staff/holds/{hold}/release", {"reason": "over now"})
    assert (again.status_code, "released already" in again.text) == (422, True)
    assert [line.detail["hold"] for line in await world.events("HoldReleased")] == [hold]


async def test_nothing_is_left_to_hold_of_what_is_destroyed(world: World) -> None:
    """A hold on a disposed message is refused; so is one on another organisation's."""
    await world.deliver()
    (one,) = await all_deliveries(world)
    world.clock.forward(days=400)
    await world.house.disposition().run()
    with pytest.raises(InputRefused, match="nothing left to hold"):
        await place(world, message_id=one.message_id)
    review = world.clock.at + timedelta(days=3)
    with pytest.raises(NotFound):
        await holding(world).place(
            world.southside.id, Criteria(one.message_id), "not theirs", "Somebody", review, OPERATOR
        )
    assert await rows(world, holds) == []


async def test_a_certificate_says_what_went_and_anybody_can_check_it(world: World) -> None:
    """What, when, by which rule, with the hash of the record about it; a changed letter is noticed."""
    token = await world.announce(letter(), (ALICE, BOB))
    alice = world.browser()
    await alice.get(await alice.sign_in(token))
    await world.deliver(letter(message_id="<2@clinic.example>"))
    message_id = (await all_deliveries(world))[0].message_id
    world.clock.forward(days=400)
    assert await world.house.disposition().run() == 2
    (row,) = await rows(world, certificates)
    signer = world.house.note_signer()
    text = verified(row["note"], signer.verifier)
    assert text.startswith("portal.example/disposition\n")
    assert "northside" in text
    line = next(one for one in text.splitlines() if one.startswith(message_id))
    digest = hashlib.sha256()
    for event in [one for one in await world.events() if one.message_id == message_id]:
        digest.update(evidence_line(event))
        if event.kind == "MessageDisposed":
            break
    assert f"evidence sha256:{digest.hexdigest()}" in line
    assert "deliveries 2" in line
    assert ALICE not in text
    (event,) = await world.events("CertificateIssued")
    assert event.detail["digest"] == hashlib.sha256(row["note"].encode()).hexdigest()
    for changed in (row["note"].replace("retention", "Retention", 1), row["note"].replace("\n\n", "\n \n"), ""):
        with pytest.raises(ValueError, match=r"changed|nobody signed"):
            verified(changed, signer.verifier)
    with pytest.raises(ValueError, match="nobody signed it"):
        verified(row["note"], NoteSigner("portal.example", bytes(32)).verifier)


async def test_a_crash_between_destruction_and_certificate_leaves_none_out(world: World) -> None:
    """What was destroyed and not certified is certified by the next run; nothing is certified twice."""
    await world.deliver()
    world.clock.forward(days=400)
    disposition = world.house.disposition()
    real, disposition._certificates = disposition._certificates, None  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        await disposition.run()
    assert (await rows(world, messages))[0]["uncertified_at"] is not None
    assert await rows(world, certificates) == []
    disposition._certificates = real
    assert await disposition.run() == 0
    assert await disposition.run() == 0
    assert [row["messages"] for row in await rows(world, certificates)] == [1]


async def test_the_dry_run_lists_what_goes_and_destroys_nothing(world: World) -> None:
    """An admin sees what is due, may let it go now, and takes the certificate; what is held is not in the list."""
    await world.deliver()
    await world.deliver(letter(message_id="<2@clinic.example>"), (BOB,))
    due, held = await all_deliveries(world)
    await place(world, message_id=held.message_id)
    world.clock.forward(days=400)
    who = await dora(world)
    page = (await who.get("/staff/disposition")).text
    assert due.message_id in page
    assert held.message_id not in page
    assert [one.state for one in await all_deliveries(world)] == ["held", "held"]
    done = await who.post("/staff/disposition/run")
    assert done.headers["location"] == "/staff/disposition?done=1"
    assert [one.state for one in await all_deliveries(world)] == ["disposed", "held"]
    (row,) = await rows(world, certificates)
    note = await who.get(f"/staff/certificates/{row['id']}")
    assert verified(note.text, world.house.note_signer().verifier)
    assert "attachment" in note.headers["content-disposition"]
    auditor = await desk(world, Role.AUDITOR, "au@clinic.example")
    assert (await auditor.get(f"/staff/certificates/{row['id']}")).text == note.text
    assert len(json.dumps(note.text)) > 100
    assert await rows(world, deliveries)
    async with world.house.db.read() as tx:
        from portal.db import audit

        assert await audit.count(tx, Filter(kind="CertificateIssued")) == 1
    assert CAROL not in note.text
