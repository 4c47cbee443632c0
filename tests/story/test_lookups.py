"""What relays are told comes from the rows that the intake decides by."""

import pytest

from portal.lookup.answers import Answers
from portal.model.errors import InputRefused
from portal.model.events import By, Who
from portal.model.parties import address
from portal.model.routes import Level
from portal.orgs.wishes import Wishes
from tests.world import World

pytestmark = pytest.mark.anyio
DORA = By(Who.OPERATOR, "dora")


async def test_an_organisations_lists_and_levels_are_read(world: World) -> None:
    """Level, a domain's own level, always, never; address before domain; of this organisation alone; changed, they count at once."""
    wishes, routes, org_id = Wishes(world.house.db, world.house.sealer), world.house.routes(), world.northside.id
    alice, bob = address("alice@one.example"), address("bob@one.example")
    assert await wishes.of("northside", None, "one.example") == (Level.ENCRYPT, None)
    await routes.set_transport(org_id, "verify", None, DORA)
    await routes.set(org_id, "one.example", "never", DORA)
    await routes.set(org_id, "alice@one.example", "always", DORA)
    await routes.set(org_id, "two.example", "encrypt", DORA)
    assert await wishes.of("northside", alice, "one.example") == (Level.VERIFY, True)
    assert await wishes.of("northside", bob, "one.example") == (Level.VERIFY, False)
    assert await wishes.of("northside", None, "one.example") == (Level.VERIFY, False)
    assert await wishes.of("northside", None, "two.example") == (Level.ENCRYPT, None)
    assert await wishes.of("northside", None, None) == (Level.VERIFY, None)
    assert await wishes.of("southside", alice, "one.example") == (Level.ENCRYPT, None)


async def test_which_organisation_is_meant_must_be_said(world: World) -> None:
    """Where there are two a map without a name is PERM, and so is the name of none."""
    wishes = Wishes(world.house.db, world.house.sealer)
    for name in ("", "eastside", "'"):
        with pytest.raises(InputRefused):
            await wishes.of(name, None, "one.example")
    answers: Answers = world.house.answers()
    assert (await answers.answer("route", "[one.example]")).status == "PERM"
    assert (await answers.answer("northside/route", "[one.example]")).status == "NOTFOUND"
