"""Staff by their organisation's identity provider: a real one, through the console's own routes."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from pydantic import SecretStr

from portal.assembly import open_house
from portal.clock import Source
from portal.db.tables import staff
from portal.model.staff import Role
from portal.web.app import build
from tests.identity.real import CONSOLE_URI, SECRET, Running, client_id, running, sign_in
from tests.story.seams import put, rows
from tests.story.staff import Desk, desk, invited
from tests.world import World

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def provider(installed: Path) -> Iterator[Running]:
    """A provider that keeps running."""
    with running(installed) as real:
        yield real


@asynccontextmanager
async def with_provider(world: World, provider: Running, **more: Any) -> AsyncIterator[None]:
    """The console with this provider, whose clock is the real one."""
    world.clock.at = datetime.now(UTC)
    update = {
        "oidc_issuer": provider.issuer,
        "oidc_client_id": client_id("ES256"),
        "oidc_client_secret": SecretStr(SECRET),
        "oidc_org": "northside",
        "oidc_roles_claim": "https://clinic.example/roles",
        "oidc_roles": "chief=admin auditor=auditor",
        **more,
    }
    settings = world.house.settings.model_copy(update=update)
    async with open_house(settings, Source(now=world.clock.now)) as house:
        world.app = build(house.site(), house.not_ready, house.staff_site())
        yield


async def come(who: Desk, login: str = "carol", to: str = "/staff/record") -> httpx2.Response:
    """Goes to the provider from the sign-in page, signs in there, and comes back."""
    begun = await who.http.get(f"/staff/provider?{urlencode({'to': to})}")
    assert begun.status_code == 303
    back = await sign_in(begun.headers["location"], login, CONSOLE_URI)
    cross_site = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    return await who.http.get(f"/staff/oidc/back?{urlencode(back)}", headers=cross_site)


async def test_whom_the_provider_sends_comes_in_with_the_role_it_says(world: World, provider: Running) -> None:
    """An account is made the first time and found the second; the role is the claim's; the sign-in page offers the way."""
    async with with_provider(world, provider):
        who = Desk(world)
        assert "Go to your organisation" in (await who.get("/staff/sign-in")).text
        answer = await come(who)
        assert (answer.status_code, answer.headers["location"]) == (303, "/staff/record"), answer.text
        assert (await who.get("/staff/record")).status_code == 200
        assert (await who.get("/staff/messages")).status_code == 404
        assert (await come(Desk(world))).status_code == 303
        (row,) = await rows(world, staff)
        assert (row["role"], row["subject_hash"] is not None) == ("auditor", True)
        assert [one.detail["method"] for one in await world.events("StaffSignedIn")] == ["identity-provider"] * 2
        assert "carol" not in str([one.detail for one in await world.events()])


async def test_an_invited_person_is_found_by_her_verified_address_and_rebound_never(
    world: World, provider: Running
) -> None:
    """Her account takes the provider's subject; another account there with the same address gets nothing."""
    async with with_provider(world, provider):
        await invited(world, Role.AUDITOR, "carol@clinic.example")
        assert (await come(Desk(world))).status_code == 303
        assert len(await rows(world, staff)) == 1
        await put(world, staff, {"subject_hash": b"x" * 32})
        assert (await come(Desk(world))).status_code == 422


@pytest.mark.parametrize("login", ["mallory"])
async def test_an_address_that_is_not_verified_makes_no_account(world: World, provider: Running, login: str) -> None:
    """Who is not known yet and has no verified address is refused, on record, with what to do."""
    async with with_provider(world, provider):
        answer = await come(Desk(world), login)
        assert (answer.status_code, "ask an admin" in answer.text) == (422, True)
        assert await rows(world, staff) == []
        assert "no verified address" in (await world.events("StaffSignInFailed"))[0].detail["reason"]


async def test_no_role_no_entry(world: World, provider: Running) -> None:
    """Whoever the claim gives no role here is refused, also when known; the next sign-in counts anew."""
    async with with_provider(world, provider):
        assert (await come(Desk(world))).status_code == 303
    async with with_provider(world, provider, oidc_roles="chief=admin"):
        assert (await come(Desk(world))).status_code == 422


async def test_shut_out_here_is_shut_out(world: World, provider: Running) -> None:
    """What the provider says does not bring back whom an admin shut out."""
    async with with_provider(world, provider):
        assert (await come(Desk(world))).status_code == 303
        dora = await desk(world, Role.ADMIN, "dora@clinic.example")
        await dora.get("/staff/people-of-staff")
        carol = next(row["id"] for row in await rows(world, staff) if row["role"] == "auditor")
        assert (await dora.post(f"/staff/people-of-staff/{carol}/disable")).status_code == 303
        assert (await come(Desk(world))).status_code == 422


async def test_a_passkey_outlives_no_leaving_of_the_provider(world: World, provider: Running) -> None:
    """Who came by the provider proves that it is still her with her passkey, and signs in by the provider alone."""
    async with with_provider(world, provider):
        carol = await desk(world, Role.AUDITOR, "carol@clinic.example")
        assert (await carol.touch()).status_code == 200, "invited, and never sent by the provider"
        await come(carol)
        assert (await carol.touch("step-up")).status_code == 200
        assert (await carol.touch()).status_code == 422
        assert "identity provider" in (await world.events("StaffSignInFailed"))[-1].detail["reason"]
        assert (await come(carol)).status_code == 303
        dora = await desk(world, Role.ADMIN, "dora@clinic.example")
        assert (await dora.touch()).status_code == 200


async def test_an_answer_to_another_browsers_question_lets_nobody_in(world: World, provider: Running) -> None:
    """Mallory's answer in Carol's browser, an answer used twice, one without its cookie, one that is late, an error."""
    async with with_provider(world, provider):
        carol, mallory = Desk(world), Desk(world)
        begun = [await who.http.get("/staff/provider") for who in (carol, mallory)]
        backs = [await sign_in(one.headers["location"], "carol", CONSOLE_URI) for one in begun]
        assert (await carol.http.get(f"/staff/oidc/back?{urlencode(backs[1])}")).status_code == 422
        assert (await Desk(world).http.get(f"/staff/oidc/back?{urlencode(backs[0])}")).status_code == 422
        assert (await carol.http.get("/staff/oidc/back?error=access_denied")).status_code == 422
        assert (await mallory.http.get(f"/staff/oidc/back?{urlencode(backs[1])}")).status_code == 303
        again = await mallory.http.get(f"/staff/oidc/back?{urlencode(backs[1])}")
        assert again.status_code == 422
        late = Desk(world)
        asked = await late.http.get("/staff/provider")
        back = await sign_in(asked.headers["location"], "carol", CONSOLE_URI)
        world.clock.forward(minutes=11)
        assert (await late.http.get(f"/staff/oidc/back?{urlencode(back)}")).status_code == 422
        forged = Desk(world)
        forged.http.cookies.set("__Host-staff-provider", "made.up", domain="portal.example")
        assert (await forged.http.get("/staff/oidc/back?code=x&state=y")).status_code == 422


async def test_a_provider_that_is_away_says_so(world: World, provider: Running) -> None:
    """The page tells to come again; passkeys still work."""
    async with with_provider(world, provider, oidc_issuer="http://127.0.0.1:9"):
        answer = await Desk(world).http.get("/staff/provider")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
        assert (await desk(world, Role.ADMIN, "dora@clinic.example")).csrf is not None
