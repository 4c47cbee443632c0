"""How a message ends, comes back, and is gone for good."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from portal.db.deliveries import Delivery
from portal.db.tables import deliveries, epochs, grants, messages, parts, renditions, replies, reply_files
from portal.lifecycle.end import Lifecycle
from portal.model.errors import InputRefused
from portal.model.events import By, Who
from portal.model.message import DeliveryState
from portal.model.policy import Policy
from portal.orgs.classes import Classes
from tests.story.seams import all_deliveries, blobs, delivery, prepared, rows, run
from tests.world import ALICE, BOB, CAROL, Browser, World, letter

pytestmark = pytest.mark.anyio

PDF = ("a.pdf", "application/pdf", b"%PDF-1.7\n%x")
DORA = By(Who.OPERATOR, "dora")


def life(world: World) -> Lifecycle:
    return Lifecycle(world.house.db, world.house.source)


async def reading(world: World, to: tuple[str, ...] = (ALICE,)) -> tuple[Browser, str]:
    """Alice with her message open."""
    token = await world.announce(letter(html="<p>Well.</p>", attachments=[PDF]), to)
    await prepared(world)
    alice = world.browser()
    message = await alice.sign_in(token)
    assert (await alice.get(message)).status_code == 200
    return alice, message


async def answer(alice: Browser, message: str) -> str:
    """Sends a reply with a file; gives its id."""
    await alice.get(f"{message}/reply")
    reply_id = alice.page.split('name="draft" value="')[1][:36]
    fields = [("csrf", (None, alice.csrf)), ("draft", (None, reply_id)), ("text", (None, "Thanks"))]
    sent = await alice.http.post(f"{message}/reply", files=[*fields, ("files", ("b.pdf", PDF[2], "application/pdf"))])
    assert sent.status_code == 303
    return reply_id


async def kinds(world: World) -> list[str]:
    return [one.kind for one in await world.events()]


async def test_a_delivery_ends_at_its_time_with_or_without_the_worker(world: World) -> None:
    """From the moment its time is up nothing is read; the worker puts the end on record afterwards, once."""
    await reading(world)
    token = await world.announce(letter(message_id="<2@clinic.example>"))
    world.clock.forward(days=30)
    alice = world.browser()
    message = await alice.sign_in(token)
    assert (await alice.get(message)).status_code == 410
    assert "DeliveryExpired" not in await kinds(world)
    assert await life(world).expire_due() == 2
    assert await life(world).expire_due() == 0
    assert [one.detail["unread"] for one in await world.events("DeliveryExpired")] == [False, True]
    assert {one.state for one in await all_deliveries(world)} == {DeliveryState.EXPIRED}


async def test_one_recipient_is_revoked_and_the_other_reads_on(world: World) -> None:
    """Taking a message back from one leaves it to the other; both hear the truth of their own."""
    alice, message = await reading(world, (ALICE, BOB))
    bob = world.browser()
    bobs = await bob.sign_in(world.token_for(BOB), BOB)
    dora, one = world.operator(), await delivery(world, message.rsplit("/", 1)[1])
    lines = await dora.each(
        "northside", one.message_id, one.id, lambda it: dora.lifecycle.revoke(it, dora.by, "wrong person"), "revoked"
    )
    assert lines == [f"{one.id}: revoked"]
    assert (await alice.get(message)).status_code == 410
    assert (await bob.get(bobs)).status_code == 200
    [event] = await world.events("DeliveryRevoked")
    assert (event.who, event.actor, event.detail) == ("operator", "dora", {"reason": "wrong person"})
    await dora.each("northside", one.message_id, None, lambda it: dora.lifecycle.expire(it, dora.by), "expired")
    assert (await bob.get(bobs)).status_code == 410
    assert [it.state for it in await all_deliveries(world)].count(DeliveryState.REVOKED) == 1


async def test_what_was_ended_comes_back_to_where_it_had_got_to(world: World) -> None:
    """Restored and extended deliveries are read again by the same session and the same link."""
    alice, message = await reading(world)
    await answer(alice, message)
    [one] = await all_deliveries(world)
    assert await life(world).revoke(one, DORA, "wait")
    assert (await alice.get(message)).status_code == 410
    one = await delivery(world, one.id)
    assert await life(world).restore(one, DORA, "checked")
    assert (await delivery(world, one.id)).state is DeliveryState.REPLIED
    assert (await alice.get(message)).status_code == 200
    assert await life(world).expire(await delivery(world, one.id), DORA)
    until = world.clock.at + timedelta(days=90)
    assert await life(world).extend(await delivery(world, one.id), DORA, until)
    assert (await alice.get(message)).status_code == 200
    assert (await delivery(world, one.id)).expires_at == until
    assert (await delivery(world, one.id)).state is DeliveryState.REPLIED


async def test_steps_that_are_not_allowed_change_nothing_and_leave_no_record(world: World) -> None:
    """What the state does not allow is refused in words; what another hand was faster at is not done and not on record."""
    await reading(world)
    [fresh] = await all_deliveries(world)
    with pytest.raises(InputRefused):
        await life(world).restore(fresh, DORA, "")
    with pytest.raises(InputRefused):
        await life(world).extend(fresh, DORA, world.clock.at)
    assert await life(world).revoke(fresh, DORA, "first")
    revoked = await delivery(world, fresh.id)
    for refused in (
        life(world).revoke(revoked, DORA, ""),
        life(world).expire(revoked, DORA),
        life(world).extend(revoked, DORA, world.clock.at + timedelta(days=1)),
    ):
        with pytest.raises(InputRefused):
            await refused
    before = await kinds(world)
    assert not await life(world).revoke(fresh, DORA, "second")
    assert not await life(world).expire(fresh, DORA)
    assert await kinds(world) == before
    assert (await delivery(world, fresh.id)).end_reason == "first"


async def test_two_hands_at_once_end_a_delivery_once(world: World) -> None:
    """Five operators who revoke at the same moment make one event."""
    await reading(world)
    [one] = await all_deliveries(world)
    done = await asyncio.gather(*(life(world).revoke(one, DORA, str(number)) for number in range(5)))
    assert sorted(done) == [False] * 4 + [True]
    assert (await kinds(world)).count("DeliveryRevoked") == 1


async def test_the_sender_is_asked_again_once(world: World) -> None:
    """Whoever finds a message ended may ask for it; the sender hears of it once, without a word of the message."""
    alice, message = await reading(world)
    [one] = await all_deliveries(world)
    assert await life(world).revoke(one, DORA, "wrong person")
    page = await alice.get(message)
    assert f"{message}/ask" in page.text
    for _ in range(3):
        assert (await alice.post(f"{message}/ask")).status_code == 303
    while await world.worker.send_due():
        pass
    asked = [caught for caught in world.sink.messages if caught.rcpt_to == (CAROL,)]
    assert len(asked) == 1
    words = world.text_for(CAROL)
    assert ALICE not in words
    assert "a…e@patients.example" in words
    assert "took it back" in words
    assert b"Your results" not in asked[0].raw
    assert (await kinds(world)).count("AskedAgain") == 1
    page = await alice.get(message)
    assert f"{message}/ask" not in page.text
    assert "You asked for it" in page.text


async def test_at_the_end_of_retention_grants_go_first_and_content_after(world: World, folder: Path) -> None:
    """Disposing destroys every key and every byte; the rows that say what happened stay."""
    alice, message = await reading(world, (ALICE, BOB))
    await answer(alice, message)
    await world.worker.send_due()
    disposition = world.house.disposition()
    assert await disposition.run() == 0
    assert await disposition.due() == []
    world.clock.forward(days=365)
    assert len(await disposition.due()) == 2
    before = await world.events()
    assert await disposition.run() == 1
    assert await disposition.run() == 0
    assert blobs(folder) == []
    for table in (grants, renditions, parts, reply_files):
        assert await rows(world, table) == [], table.name
    [row] = await rows(world, messages)
    assert (row["heading_sealed"], row["blob_key"]) == (None, None)
    assert [one["text_sealed"] for one in await rows(world, replies)] == [None]
    after = await world.events()
    assert after[: len(before)] == before
    assert [one.kind for one in after[len(before) :]] == [
        "DeliveryDisposed",
        "DeliveryDisposed",
        "MessageDisposed",
        "CertificateIssued",
    ]
    assert {one["state"] for one in await rows(world, deliveries)} == {"disposed"}


async def test_what_was_disposed_of_opens_nowhere(world: World) -> None:
    """Neither page, inbox nor operator brings back what retention has destroyed; restoring is refused."""
    alice, message = await reading(world)
    world.clock.forward(days=365)
    await world.house.disposition().run()
    token = await world.announce(letter("Newer", message_id="<2@clinic.example>"))
    await alice.sign_in(token)
    for page in ("", "/body", "/print", "/original.eml", "/parts/1", "/reply"):
        assert (await alice.get(message + page)).status_code == 410, page
    inbox = await alice.get("/inbox")
    assert "Newer" in inbox.text
    assert "Your results" not in inbox.text
    old = await delivery(world, message.rsplit("/", 1)[1])
    for step in (life(world).restore(old, DORA, ""), life(world).revoke(old, DORA, "")):
        with pytest.raises(InputRefused):
            await step
    with pytest.raises(InputRefused):
        await life(world).extend(old, DORA, world.clock.at + timedelta(days=1))
    assert (await alice.post(f"{message}/ask")).status_code == 404


async def test_a_disposal_cut_short_goes_on_with_what_is_left(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash between the grants and the blobs leaves bytes that no key opens, and the next run deletes them."""
    from portal.lifecycle.dispose import Disposition
    from portal.model.errors import StorageAway

    await reading(world)
    world.clock.forward(days=365)
    disposition = world.house.disposition()

    async def away(*_: object) -> int:
        raise StorageAway("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(Disposition, "_delete_emptied", away)
        with pytest.raises(StorageAway):
            await disposition.run()
    assert await rows(world, grants) == []
    assert "MessageDisposed" not in await kinds(world)
    assert await disposition.run() == 1
    assert (await kinds(world)).count("DeliveryDisposed") == 1


async def test_retention_outlives_reading_and_keeps_the_policy_a_message_came_under(world: World) -> None:
    """A class may keep longer than it can be read; a later version changes nothing for messages that are there."""
    await reading(world)
    classes = Classes(world.house.db, world.house.source, By(Who.OPERATOR, "dora"))
    short = Policy("", world.northside.id, "default", 0, life_days=1, retention_days=1, reminder_days=None, warn_days=1)  # type: ignore[arg-type]
    await classes.set(world.northside.id, short)
    await world.deliver(letter(message_id="<2@clinic.example>"))
    world.clock.forward_from_the_disk(days=2)
    assert await world.house.disposition().run() == 1
    first, second = await all_deliveries(world)
    assert (first.state, second.state) == (DeliveryState.OPENED, DeliveryState.DISPOSED)


async def test_sweeping_takes_what_nobody_needs_and_nothing_else(world: World, folder: Path) -> None:
    """Abandoned drafts, orphan blobs and unused epoch keys go; what is readable stays so."""
    alice, message = await reading(world)
    await alice.get(f"{message}/reply")
    draft = alice.page.split('name="draft" value="')[1][:36]
    headers = {"x-csrf-token": alice.csrf}
    put = await alice.http.put(f"{message}/reply/{draft}/files", content=b"x", headers=headers)
    assert put.status_code == 201
    kept = len(blobs(folder))
    world.clock.forward_from_the_disk(days=3)
    await world.house.disposition().sweep()
    await world.house.disposition().sweep()
    assert await rows(world, replies) == []
    assert await rows(world, reply_files) == []
    assert len(blobs(folder)) == kept - 1
    assert await rows(world, epochs) != []
    again = world.browser()
    token = await world.announce(letter(message_id="<2@clinic.example>"))
    await again.sign_in(token)
    assert (await again.get(message)).status_code == 200
    assert (await again.get(f"{message}/parts/1")).content == PDF[2]


async def test_a_delivery_given_to_somebody_else_in_the_database_opens_for_nobody(world: World) -> None:
    """The grant is bound to its recipient: a row that names another one opens neither for her nor for the first."""
    token = await world.announce(to=(ALICE,))
    await world.announce(letter(message_id="<2@clinic.example>"), to=(BOB,))
    alice, bob = world.browser(), world.browser()
    message = await alice.sign_in(token)
    await bob.sign_in(world.token_for(BOB), BOB)
    await run(
        world,
        "UPDATE deliveries SET recipient_id = (SELECT recipient_id FROM deliveries AS d WHERE d.id <> deliveries.id)"
        f" WHERE id = '{message.rsplit('/', 1)[1]}'",
    )
    stolen = await bob.get(message)
    assert stolen.status_code == 500
    assert "All is well" not in stolen.text
    assert (await alice.get(message)).status_code == 404
    assert len(await world.events("OpenFailed")) == 1


async def test_what_comes_back_is_reminded_and_can_be_asked_for_again(world: World) -> None:
    """A reminder still to come moves with the new end, and an earlier request does not stand in the way of a new one."""
    await world.announce()
    operator = world.operator()

    async def now() -> Delivery:
        return (await all_deliveries(world))[0]

    before = await now()
    await operator.lifecycle.revoke(before, operator.by, "wrong report")
    await operator.lifecycle.restore(await now(), operator.by, "right after all")
    assert (await now()).remind_at == before.remind_at
    await operator.lifecycle.extend(await now(), operator.by, before.expires_at + timedelta(days=10))
    assert before.remind_at is not None
    assert (await now()).remind_at == before.remind_at + timedelta(days=10)
