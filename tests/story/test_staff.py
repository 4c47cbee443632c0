"""Staff sign in and act: invitations, passkeys, senders' codes, acts on deliveries. The console over the whole house."""

import re
from collections.abc import AsyncIterator

import pytest

from portal.model.events import By, Who
from portal.model.staff import Role
from tests.authenticator import Authenticator
from tests.story.staff import Desk, desk
from tests.world import ALICE, BOB, CAROL, World

pytestmark = pytest.mark.anyio


async def test_an_invited_admin_sets_up_a_passkey_and_lists_messages(world: World) -> None:
    """The link binds one passkey, once; the admin is in, sees who and when, and no subject."""
    await world.announce()
    dora = await desk(world, Role.ADMIN, "dora@clinic.example")
    page = (await dora.get("/staff/messages")).text
    assert ALICE in page
    assert CAROL in page
    assert "Your results" not in page
