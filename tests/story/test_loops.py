"""The portal's own mail never comes back in as a message."""

import pytest

from portal.model.errors import MailLoop, RecipientIsYours
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
