"""How a person in a test uses her ways in: the passkey module's requests, step-up forms, the account page."""

from typing import Any

import httpx2
import pyotp

from portal.db.given import AccessCode, Phone, set_access_code, set_phone
from portal.db.tables import deliveries
from portal.model.events import AccessCodeSet, PhoneSet, Who
from portal.model.ids import DeliveryId, RecipientId
from portal.sealing import chosen
from tests.authenticator import Authenticator
from tests.story.seams import put, rows
from tests.world import ALICE, BASE, Browser, World


async def ask(browser: Browser, path: str, body: dict[str, Any] | None = None) -> httpx2.Response:
    """A request of the passkey module, with the token of the page last seen."""
    return await browser.http.post(path, json=body or {}, headers={"x-csrf-token": browser.csrf})


async def add_passkey(browser: Browser, device: Authenticator, name: str = "My phone", **twist: Any) -> httpx2.Response:
    await browser.get("/account")
    options = (await ask(browser, "/passkeys/add/options")).json()
    made = device.create(options, twist.pop("origin", BASE), **twist)
    return await ask(browser, "/passkeys/add", {"credential": made, "name": name})


async def use_passkey(browser: Browser, device: Authenticator, act: str = "sign-in", **twist: Any) -> httpx2.Response:
    """Signs in, or with `act="step-up"` proves more."""
    await browser.get("/")
    options = (await ask(browser, f"/passkeys/options?for={act}")).json()
    shown = device.get(options, twist.pop("origin", BASE), **twist)
    return await ask(browser, f"/passkeys/{act}", {"credential": shown})


async def confirm(world: World, browser: Browser, who: str = ALICE) -> None:
    """Shows once more who it is, by an emailed code."""
    await world.worker.send_due()
    await browser.get("/confirm")
    assert (await browser.post("/confirm/send/mail")).status_code == 303
    code = await world.code_for(who)
    await browser.get("/confirm")
    answer = await browser.post("/confirm/code", {"code": code})
    assert (answer.status_code, answer.headers.get("location")) == (303, "/account"), answer.text


async def give_access_code(world: World, delivery_id: str, code: str, hint: str = "") -> None:
    """As the sender's side does."""
    org = world.northside.id
    field = await world.house.sealer.field(org, delivery_id, "hint", hint.encode()) if hint else None
    kept = AccessCode(
        DeliveryId(delivery_id),
        org,
        await chosen.hashed(code),
        field.sealed if field else None,
        field.epoch_id if field else None,
    )
    event = AccessCodeSet(at=world.clock.now(), who=Who.OPERATOR, org_id=org, hint=bool(hint))
    async with world.house.db.write(event) as tx:
        await set_access_code(tx, kept)


async def give_phone(world: World, recipient_id: str, number: str) -> None:
    org = world.northside.id
    field = await world.house.sealer.field(org, recipient_id, "phone", number.encode())
    event = PhoneSet(at=world.clock.now(), who=Who.OPERATOR, org_id=org, recipient=recipient_id)
    async with world.house.db.write(event) as tx:
        await set_phone(tx, Phone(RecipientId(recipient_id), org, field.sealed, field.epoch_id))


async def needs(world: World, message: str, level: int) -> str:
    """From now on a message needs this much; gives its delivery's id."""
    delivery_id = message.rsplit("/", 1)[1]
    await put(world, deliveries, {"needs": level}, id=delivery_id)
    return delivery_id


async def add_app(world: World, browser: Browser) -> pyotp.TOTP:
    """Sets an authenticator app up, as a person does with what the page shows."""
    await browser.get("/account")
    page = await browser.post("/account/app/begin")
    secret = page.text.split('<code dir="ltr">')[1].split("</code>")[0].replace(" ", "")
    app = pyotp.TOTP(secret)
    answer = await browser.post("/account/app/confirm", {"code": app.at(world.clock.now())})
    assert answer.headers.get("location") == "/account?done=app", answer.text
    return app


async def recipient_id(world: World, message: str) -> str:
    [row] = await rows(world, deliveries, id=message.rsplit("/", 1)[1])
    return str(row["recipient_id"])
