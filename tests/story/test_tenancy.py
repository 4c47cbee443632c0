"""Two organisations share a portal, and nothing else."""

import pytest

from portal.db.tables import deliveries, grants, messages, recipients
from portal.model.errors import InputRefused, SenderNotYours
from tests.story.seams import all_deliveries, put, rows
from tests.world import ALICE, World, letter

pytestmark = pytest.mark.anyio

ERIN = "erin@practice.example"
"""Sends for the other organisation."""


async def both(world: World) -> tuple[str, str]:
    """Alice has a message at each; their links."""
    north = await world.announce(letter("From the north"))
    south = await world.announce(letter("From the south"), sender=ERIN, relay=world.foreign_relay)
    return north, south


async def test_the_same_person_is_two_recipients_who_see_one_organisation_each(world: World) -> None:
    """Alice's session at one organisation shows nothing that the other sent her."""
    north, south = await both(world)
    first, second = await rows(world, recipients)
    assert first["org_id"] != second["org_id"]
    assert first["address_hash"] != second["address_hash"]
    alice = world.browser()
    message = await alice.sign_in(north)
    inbox = await alice.get("/inbox")
    assert "From the north" in inbox.text
    assert "From the south" not in inbox.text
    assert "Southside" not in inbox.text
    elsewhere = world.browser()
    foreign = await elsewhere.sign_in(south)
    for path in ("", "/body", "/print", "/original.eml", "/parts/1", "/reply"):
        assert (await alice.get(foreign + path)).status_code == 404, path
        assert (await elsewhere.get(message + path)).status_code == 404, path
    assert "From the south" in (await elsewhere.get(foreign)).text


async def test_a_relay_sends_for_its_own_organisation_only(world: World) -> None:
    """A sender in the other organisation's domain is refused, and that is on record for the relay's organisation."""
    with pytest.raises(SenderNotYours):
        await world.deliver(sender=ERIN)
    refused = await world.events("SubmissionRefused")
    assert [(one.org_id, one.detail["reason"]) for one in refused] == [(world.northside.id, "SenderNotYours")]


async def test_a_row_moved_to_the_other_organisation_opens_nothing(world: World) -> None:
    """Whoever can write rows can't make one organisation's content open in the other."""
    _, south = await both(world)
    alice = world.browser()
    foreign = await alice.sign_in(south)
    moved, own = await all_deliveries(world)
    values = {"org_id": own.org_id, "recipient_id": own.recipient_id}
    await put(world, deliveries, values, id=moved.id)
    await put(world, messages, {"org_id": own.org_id}, id=moved.message_id)
    await put(world, grants, {"org_id": own.org_id}, reader_id=moved.id)
    answer = await alice.get(f"/messages/{moved.id}")
    assert answer.status_code == 500
    assert "From the north" not in answer.text
    assert [one.detail["reason"] for one in await world.events("OpenFailed")] == ["ContentDamaged"]
    assert (await alice.get(foreign)).status_code == 200


async def test_an_operator_asks_for_one_organisation_at_a_time(world: World) -> None:
    """A message of another organisation is not found by the operator's commands, and nothing of it changes."""
    await both(world)
    north, south = await all_deliveries(world)
    dora = world.operator()
    with pytest.raises(InputRefused):
        await dora.show_message("northside", south.message_id)
    with pytest.raises(InputRefused):
        await dora.each("northside", south.message_id, None, lambda one: dora.lifecycle.expire(one, dora.by), "expired")
    with pytest.raises(InputRefused):
        await dora.each("northside", north.message_id, south.id, lambda one: dora.lifecycle.expire(one, dora.by), "x")
    assert [one.delivery.message_id for one in await dora.list_messages("northside", None, None, None, None, 10)] == [
        north.message_id
    ]
    assert [one.delivery.message_id for one in await dora.list_messages("southside", None, ALICE, None, None, 10)] == [
        south.message_id
    ]
    assert [one.state for one in await all_deliveries(world)] == [north.state, south.state]
