"""The console on the recipients' host, or on a host and listener of its own."""

import httpx2
import pytest
from pydantic import ValidationError

from portal.model.staff import Role
from portal.serve import running
from portal.settings import Settings
from portal.web.app import build
from tests.story.staff import Desk, invited
from tests.world import World

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_apart_each_listener_serves_its_own_site_only(world: World) -> None:
    """With a host of its own the recipients' listener has no console, and the console's has nothing of recipients."""
    update = {
        "staff_url": "https://staff.example",
        "staff_listen": "127.0.0.1:0",
        "http_listen": "127.0.0.1:0",
    }
    settings = world.house.settings.model_copy(update=update)
    async with running(settings, ["web"]) as portal, httpx2.AsyncClient(trust_env=False) as browser:
        recipients, console = (f"http://127.0.0.1:{portal.ports[name]}" for name in ("http", "staff"))
        for base, path, status in (
            (recipients, "/", 200),
            (recipients, "/staff", 404),
            (recipients, "/staff/sign-in", 404),
            (console, "/staff/sign-in", 200),
            (console, "/", 404),
            (console, "/inbox", 404),
            (console, "/healthz", 200),
            (recipients, "/readyz", 200),
        ):
            answer = await browser.get(base + path)
            assert answer.status_code == status, (base, path)
            assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "Staff console" in (await browser.get(f"{console}/nothing")).text
        assert "Staff console" not in (await browser.get(f"{recipients}/nothing")).text


async def test_a_console_apart_has_its_own_relying_party(world: World) -> None:
    """Passkeys are for the console's host, links of invitations lead there, and forms of the other host are refused."""
    update = {"staff_url": "https://staff.example", "staff_listen": "127.0.0.1:0"}
    world.house.settings = world.house.settings.model_copy(update=update)
    world.app = build(None, world.house.not_ready, world.house.staff_site())
    who = Desk(world)
    token = await invited(world, Role.ADMIN, "dora@clinic.example")
    await who.get(f"/staff/invite/{token}")
    options = (await who.json(f"/staff/invite/{token}/passkeys/add/options")).json()
    assert options["rp"]["id"] == "staff.example"
    del who.http.headers["sec-fetch-site"]
    for origin, status in (("https://portal.example", 403), ("https://staff.example", 200)):
        answer = await who.http.post(
            "/staff/sign-in/code", data={"csrf": who.csrf, "address": "x@clinic.example"}, headers={"origin": origin}
        )
        assert answer.status_code == status


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"staff_url": "https://staff.example"}, "set staff_listen too"),
        ({"staff_listen": "127.0.0.1:1"}, "staff_listen needs staff_url"),
        ({"staff_url": "http://staff.example"}, "https only"),
        ({"oidc_issuer": "https://id.example"}, "oidc_issuer needs"),
        ({"oidc_roles": "x=king"}, "roles are admin"),
        ({"staff_listen": "here"}, "host:port"),
    ],
)
def test_settings_that_can_not_be_meant_are_refused(settings: dict[str, str], said: str) -> None:
    """Each says what is missing."""
    with pytest.raises(ValidationError, match=said):
        Settings(**settings)  # type: ignore[arg-type]
