"""The staff of the tests: whoever is invited sets up a passkey and is in; senders come by code."""

import re
from typing import Any

import httpx2

from portal.model.events import By, Who
from portal.model.staff import Role
from portal.sealing.open import Fields
from portal.signin.staff.people import StaffPeople
from tests.authenticator import Authenticator
from tests.world import BASE, CAROL, Browser, World

CODE = re.compile(r"\b\d{4} \d{4}\b")
OPERATOR = By(Who.OPERATOR, "dora")


class Desk(Browser):
    """A browser of somebody of the staff, with her passkey."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.device = Authenticator()

    @property
    def csrf(self) -> str:
        found = re.search(r'(?:name="csrf" value|data-csrf)="([^"]+)"', self.page)
        return found[1] if found else ""

    async def json(self, path: str, body: dict[str, Any] | None = None) -> httpx2.Response:
        """A request of the passkey module."""
        return await self.http.post(path, json=body or {}, headers={"x-csrf-token": self.csrf})

    async def accept(self, token: str, device: Authenticator | None = None, **twist: Any) -> httpx2.Response:
        """Follows an invitation and sets up a passkey."""
        at = f"/staff/invite/{token}"
        await self.get(at)
        options = (await self.json(f"{at}/passkeys/add/options")).json()
        made = (device or self.device).create(options, twist.pop("origin", BASE), **twist)
        return await self.json(f"{at}/passkeys/add", {"credential": made, "name": "Desk"})

    async def touch(self, act: str = "sign-in", **twist: Any) -> httpx2.Response:
        """Signs in, or with `act="step-up"` shows once more that it is her."""
        await self.get("/staff/sign-in")
        options = (await self.json(f"/staff/passkeys/options?for={act}")).json()
        shown = self.device.get(options, twist.pop("origin", BASE), **twist)
        return await self.json(f"/staff/passkeys/{act}", {"credential": shown})

    async def fresh(self) -> None:
        answer = await self.touch("step-up")
        assert answer.status_code == 200, answer.text

    async def fresh_code(self, who: str = CAROL) -> None:
        """A sender shows once more that it is her, by a code. The clock goes on so that she may have one."""
        self.world.clock.forward(minutes=6)
        await self.get("/staff/confirm")
        assert (await self.post("/staff/confirm/send")).status_code == 200
        await self.world.worker.send_due()
        answer = await self.post("/staff/confirm/code", {"code": self.world.newest(CODE, who)[0]})
        assert answer.status_code == 303, answer.text

    async def act(self, name: str, deliveries: list[str], **fields: str) -> httpx2.Response:
        """Opens the page of an act and sends its form."""
        query = "&".join(f"d={one}" for one in deliveries)
        page = await self.get(f"/staff/act/{name}?{query}")
        assert page.status_code == 200, (page.status_code, page.headers.get("location"), page.text[:300])
        return await self.send_act(name, deliveries, **fields)

    async def send_act(self, name: str, deliveries: list[str], **fields: str) -> httpx2.Response:
        """Sends the form of the page of an act that is open."""
        found = re.search(r'name="seen" value="([^"]+)"', self.page)
        data = {"csrf": self.csrf, "seen": found[1] if found else "", "d": deliveries, **fields}
        answer = await self.http.post(f"/staff/act/{name}", data=data)
        if "text/html" in answer.headers.get("content-type", ""):
            self.page = answer.text
        return answer


def people(world: World) -> StaffPeople:
    house = world.house
    return StaffPeople(house.db, house.sealer, Fields(house.epochs()), house.source)


async def invited(world: World, role: Role, who: str, org: Any = None) -> str:
    """An invitation's token."""
    return await people(world).invite(org or world.northside, who, role, OPERATOR)


async def desk(world: World, role: Role, who: str, org: Any = None) -> Desk:
    """Somebody of the staff, signed in with a fresh passkey."""
    made = Desk(world)
    answer = await made.accept(await invited(world, role, who, org))
    assert answer.status_code == 200, answer.text
    return made


async def sender(world: World, who: str = CAROL) -> Desk:
    """A sender, signed in by a code to the address that sent."""
    made = Desk(world)
    await made.get("/staff/sign-in")
    asked = await made.post("/staff/sign-in/code", {"address": who})
    assert asked.status_code == 200, asked.text
    await world.worker.send_due()
    code = world.newest(CODE, who)[0]
    answer = await made.post("/staff/sign-in/code/enter", {"code": code, "to": "/staff/messages"})
    assert answer.status_code == 303, answer.text
    return made
