"""What must not come in, or go out, any more."""

import pytest

from portal.model.errors import MailLoop, RecipientIsYours, RelayUnknown
from portal.model.events import By, Who
from tests.world import CAROL, World

pytestmark = pytest.mark.anyio


async def test_the_portals_own_mail_is_refused_at_the_intake(world: World) -> None:
    """A code mail that the relay's fallback brings back is refused, on record, and announces nothing."""
    with pytest.raises(MailLoop):
        await world.deliver(sender=world.northside.mail_from)
    assert [event.detail["reason"] for event in await world.events("SubmissionRefused")] == ["MailLoop"]
    assert await world.worker.send_due() == 0


async def test_a_sender_domain_is_no_recipients(world: World) -> None:
    """Mail to a domain that sends through the portal should have stayed inside."""
    with pytest.raises(RecipientIsYours):
        await world.deliver(to=(CAROL,))


async def test_a_relay_that_was_disabled_hands_nothing_over_on_an_open_connection(world: World) -> None:
    """Disabling works at once, not with the relay's next login."""
    await world.house.fallback(By(Who.OPERATOR, "dora")).disable_relay(world.northside, world.relay.id)
    with pytest.raises(RelayUnknown):
        await world.deliver()


async def test_a_code_whose_time_is_over_is_not_mailed(world: World) -> None:
    """After a long stop of the worker, lapsed codes are dropped."""
    alice = world.browser()
    await alice.ask_code(await world.announce())
    sent = len(world.sink.messages)
    world.clock.forward(minutes=11)
    await world.worker.send_due()
    assert len(world.sink.messages) == sent
