"""Passkeys, with an authenticator that really signs: what they open, who may add one, and each way in which an answer is wrong."""

import asyncio
from base64 import urlsafe_b64encode
from typing import Any

import cbor2
import pytest

from portal.db.tables import passkeys, sessions
from tests.authenticator import EDDSA, ES256, RS256, Authenticator, b64
from tests.story.seams import put, rows
from tests.story.ways import add_passkey, ask, confirm, give_access_code, needs, use_passkey
from tests.world import ALICE, BASE, BOB, Browser, World, letter

pytestmark = pytest.mark.anyio


async def signed_in(world: World, who: str = ALICE) -> tuple[Browser, str]:
    browser = world.browser()
    return browser, await browser.sign_in(await world.announce(letter(to=who), [who]), who)


async def enrolled(world: World, device: Authenticator | None = None) -> tuple[Browser, str, Authenticator]:
    """Alice with a passkey, signed in."""
    device = device or Authenticator()
    alice, message = await signed_in(world)
    answer = await add_passkey(alice, device)
    assert answer.json() == {"to": "/account?done=passkey"}, answer.text
    return alice, message, device


async def reasons(world: World) -> list[Any]:
    return [one.detail["reason"] for one in await world.events("SignInFailed")]


@pytest.mark.parametrize("algorithm", [ES256, EDDSA, RS256])
async def test_a_passkey_signs_in_with_one_touch(world: World, algorithm: int) -> None:
    """Once added it signs in from another browser without name, link or code, for twelve hours and not for one."""
    _, message, device = await enrolled(world, Authenticator(algorithm=algorithm))
    other = world.browser()
    answer = await use_passkey(other, device)
    assert (answer.status_code, answer.json()) == (200, {"to": "/inbox"})
    assert (await other.get(message)).status_code == 200
    [_, event] = await world.events("SignedIn")
    assert (event.detail["method"], event.detail["passkey"]) == ("passkey", (await rows(world, passkeys))[0]["id"])
    for _ in range(6):
        world.clock.forward(minutes=14)
        assert (await other.get("/inbox")).status_code == 200


async def test_a_new_passkey_is_told_at_the_mailbox(world: World) -> None:
    """Its owner learns of it by mail, which says what to do if it was not her."""
    await enrolled(world)
    await world.worker.send_due()
    text = world.text_for(ALICE)
    assert "A passkey was added to your messages" in text
    assert "call Northside Clinic on +1 555 0100" in " ".join(text.split())
    assert [one.detail["about"] for one in await world.events("PersonTold")] == ["changed"]


TWISTS: list[tuple[dict[str, Any], str]] = [
    ({"user_verified": False}, "not verified"),
    ({"user_present": False}, "not verified"),
    ({"origin": "https://portal.example.evil.example"}, "not verified"),
    ({"origin": "http://portal.example"}, "not verified"),
    ({"cross_origin": True}, "another site's frame"),
    ({"top_origin": "https://evil.example"}, "another site's frame"),
    ({"challenge": bytes(32)}, "the challenge is used"),
    ({"bad_signature": True}, "not verified"),
    ({"user_handle": bytes(32)}, "another account's handle"),
    ({"user_handle": None}, "another account's handle"),
    ({"rp_id": "evil.example"}, "not verified"),
    ({"credential_id": bytes(32)}, "unknown"),
    ({"type": "webauthn.create"}, "not verified"),
    ({"flags": 0}, "eligibility changed"),
    ({"flags": 0x10}, "not verified"),  # backed up without being eligible
]


@pytest.mark.parametrize(("twist", "reason"), TWISTS, ids=[str(twist) for twist, _ in TWISTS])
async def test_a_wrong_answer_signs_nobody_in(world: World, twist: dict[str, Any], reason: str) -> None:
    """Whatever is wrong, there is no session, one sentence for the person, and the reason on record."""
    _, _, device = await enrolled(world)
    mallory = world.browser()
    answer = await use_passkey(mallory, device, **twist)
    assert answer.status_code == 422
    assert "__Host-session" not in mallory.http.cookies
    assert reason in (await reasons(world))[-1]
    assert len(await world.events("SignedIn")) == 1


@pytest.mark.parametrize("twist", [one for one, _ in TWISTS[:7] if one], ids=str)
async def test_a_wrong_registration_adds_nothing(world: World, twist: dict[str, Any]) -> None:
    """The same walls stand before a passkey that is to be added."""
    alice, _ = await signed_in(world)
    answer = await add_passkey(alice, Authenticator(), **twist)
    assert answer.status_code == 422
    assert await rows(world, passkeys) == []
    assert (await reasons(world))[-1].startswith("adding: ")


async def test_an_answer_works_once(world: World) -> None:
    """Sent again, by the same browser or at the same moment, it opens nothing more."""
    _, _, device = await enrolled(world)
    other = world.browser()
    await other.get("/")
    options = (await ask(other, "/passkeys/options?for=sign-in")).json()
    shown = {"credential": device.get(options, BASE)}
    answers = await asyncio.gather(*(ask(other, "/passkeys/sign-in", shown) for _ in range(10)))
    assert sorted(one.status_code for one in answers) == [200] + [422] * 9


async def test_a_challenge_is_one_browsers_for_five_minutes_and_one_purpose(world: World) -> None:
    """Neither another browser nor six minutes later nor for adding does it count."""
    alice, _, device = await enrolled(world)
    one, other = world.browser(), world.browser()
    await one.get("/")
    await other.get("/")
    options = (await ask(one, "/passkeys/options?for=sign-in")).json()
    shown = {"credential": device.get(options, BASE)}
    assert (await ask(other, "/passkeys/sign-in", shown)).status_code == 422
    world.clock.forward(minutes=6)
    assert (await ask(one, "/passkeys/sign-in", shown)).status_code == 422
    options = (await ask(one, "/passkeys/options?for=sign-in")).json()
    await alice.get("/account")
    assert (await ask(alice, "/passkeys/step-up", {"credential": device.get(options, BASE)})).status_code == 422


async def test_one_persons_passkey_does_not_raise_anothers_session(world: World) -> None:
    """Bob's passkey, answered with his own challenge, raises no session of Alice's, nor hers his."""
    alice, _, _ = await enrolled(world)
    bob, _ = await signed_in(world, BOB)
    bobs = Authenticator()
    await add_passkey(bob, bobs)
    await alice.get("/")
    options = (await ask(alice, "/passkeys/options?for=step-up")).json()
    assert options["allowCredentials"], "a step-up asks for one's own by name"
    with pytest.raises(LookupError):
        bobs.get(options, BASE)
    shown = bobs.get({**options, "allowCredentials": []}, BASE)
    assert (await ask(alice, "/passkeys/step-up", {"credential": shown})).status_code == 422


async def test_a_counter_that_does_not_rise_is_a_signal_and_no_lock_out(world: World) -> None:
    """A copied key: the sign-in succeeds at the mailbox's level only, is on record, and its owner is told."""
    alice, message, device = await enrolled(world, Authenticator(counts=True))
    await give_access_code(world, await needs(world, message, 2), "blue tractor")
    await alice.get(f"/step-up/{message[-36:]}")
    assert (await alice.post(f"/step-up/{message[-36:]}/access-code", {"code": "Blue Tractor"})).status_code == 303
    other = world.browser()
    assert (await use_passkey(other, device)).status_code == 200
    assert (await other.get(message)).status_code == 200, "vouched for by the access code"
    copy = world.browser()
    assert (await use_passkey(copy, device, count=1)).status_code == 200
    assert (await copy.get(message)).headers["location"] == f"/step-up/{message[-36:]}"
    [event] = await world.events("PasskeySuspected")
    assert (event.detail["counter"], event.detail["known"]) == (1, 1)
    await world.worker.send_due()
    assert "may mean it was copied" in " ".join(world.text_for(ALICE).split())
    assert "may have been copied" in (await copy.get("/account")).text


# -- what a passkey is worth


async def test_a_passkey_that_a_mailbox_bound_opens_what_the_mailbox_opens(world: World) -> None:
    """Whoever reads the mail could have added it: for more, an access code is asked for once, and from then on it counts."""
    alice, message, device = await enrolled(world)
    delivery = await needs(world, message, 3)
    await give_access_code(world, delivery, "K7-tractor")
    other = world.browser()
    await use_passkey(other, device)
    assert (await other.get(message)).headers["location"] == f"/step-up/{delivery}"
    page = await other.get(f"/step-up/{delivery}")
    assert "An access code" in page.text
    assert (await other.post(f"/step-up/{delivery}/access-code", {"code": "k7 TRACTOR"})).status_code == 303
    assert (await other.get(message)).status_code == 200
    third = world.browser()
    await use_passkey(third, device)
    assert (await third.get(message)).status_code == 200
    assert [one.detail["vouched"] for one in await world.events("SteppedUp")][-1] is True
    assert (await alice.get(message)).status_code == 303, "a session that was there before is no stronger for it"


async def test_a_passkey_added_at_level_two_opens_level_three_at_once(world: World) -> None:
    """Access code first, then the passkey: nothing more is asked."""
    alice, message = await signed_in(world)
    delivery = await needs(world, message, 3)
    await give_access_code(world, delivery, "tractor7")
    await alice.get(f"/step-up/{delivery}")
    await alice.post(f"/step-up/{delivery}/access-code", {"code": "tractor7"})
    page = await alice.get(f"/step-up/{delivery}")
    assert "This message opens with a passkey" in page.text
    assert f"/account/passkey?for={delivery}" in page.text
    await add_passkey(alice, Authenticator())
    assert (await alice.get(message)).status_code == 200


# -- adding, naming, removing


async def test_after_an_emailed_code_only_the_first_passkey_is_added(world: World) -> None:
    """With one there, a mailbox is not enough to add another; the passkey itself is."""
    _, _, device = await enrolled(world)
    mallory, _ = await signed_in(world)
    await mallory.get("/account")
    assert (await ask(mallory, "/passkeys/add/options")).json() == {"to": "/confirm"}
    await confirm(world, mallory)
    assert (await ask(mallory, "/passkeys/add/options")).status_code == 403
    alice = world.browser()
    await use_passkey(alice, device)
    assert (await add_passkey(alice, Authenticator(), "The other")).status_code == 200
    assert len(await rows(world, passkeys)) == 2


async def test_a_sign_in_older_than_five_minutes_changes_nothing_until_it_is_repeated(world: World) -> None:
    """The page says so and leads there; what was asked for works afterwards."""
    alice, _ = await signed_in(world)
    world.clock.forward(minutes=6)
    page = await alice.get("/account")
    assert "show once more that it is you" in page.text
    assert (await alice.get("/account/passkey")).headers["location"] == "/confirm"
    assert (await ask(alice, "/passkeys/add/options")).status_code == 403
    await confirm(world, alice)
    assert (await add_passkey(alice, Authenticator())).status_code == 200


async def test_an_old_touch_and_a_fresh_code_change_nothing(world: World) -> None:
    """What counts is the last ceremony: a stolen cookie of a passkey's session and the mailbox are not enough."""
    alice, _, device = await enrolled(world)
    other = world.browser()
    await use_passkey(other, device)
    world.clock.forward(minutes=10)
    await confirm(world, other)
    assert (await ask(other, "/passkeys/add/options")).status_code == 403
    await use_passkey(other, device, "step-up")
    assert (await add_passkey(other, Authenticator())).status_code == 200
    assert (await alice.get("/account")).status_code == 200


async def test_passkeys_are_named_renamed_and_removed_but_for_the_last(world: World) -> None:
    """Removing one ends the sessions that it began, and the browser is told what is left."""
    alice, _, _ = await enrolled(world)
    tablet = Authenticator()
    assert (await add_passkey(alice, tablet, "  My\n tablet ")).status_code == 200
    elsewhere = world.browser()
    await use_passkey(elsewhere, tablet)
    page = (await alice.get("/account")).text
    assert "My phone" in page
    assert "My tablet" in page
    ids = {row["id"]: bytes(row["credential_id"]) for row in await rows(world, passkeys)}
    shown = page.split('data-credentials="')[1].split('"')[0].split()
    assert sorted(shown) == sorted(b64(one) for one in ids.values()), "an incomplete list would delete passkeys"
    first, second = sorted(ids)
    answer = await alice.post(f"/account/passkeys/{second}/name", {"name": "Kitchen <b>tablet</b>"})
    assert answer.status_code == 303
    assert "Kitchen &lt;b&gt;tablet&lt;/b&gt;" in (await alice.get("/account")).text
    assert (await alice.post(f"/account/passkeys/{second}/name", {"name": " \u202e "})).status_code == 422
    assert (await alice.post(f"/account/passkeys/{second}/remove")).status_code == 303
    assert (await elsewhere.get("/inbox")).status_code == 401
    gone = await use_passkey(world.browser(), tablet)
    assert (gone.status_code, gone.json()["unknown"]) == (422, True)
    await alice.get("/account")
    assert (await alice.post(f"/account/passkeys/{first}/remove")).status_code == 409
    assert "your only passkey" in alice.page
    assert len(await rows(world, passkeys)) == 1


async def test_two_removals_at_once_leave_one(world: World) -> None:
    """However fast both buttons are pressed, a passkey is left."""
    alice, _, _ = await enrolled(world)
    await add_passkey(alice, Authenticator())
    await alice.get("/account")
    ids = [row["id"] for row in await rows(world, passkeys)]
    answers = await asyncio.gather(*(alice.post(f"/account/passkeys/{one}/remove") for one in ids))
    assert sorted(one.status_code for one in answers) in ([303, 303], [303, 409])
    assert len(await rows(world, passkeys)) == 1


async def test_a_credential_is_bound_once(world: World) -> None:
    """A device that has one says so; a credential sent twice, also to another person, is refused."""
    alice, _, device = await enrolled(world)
    await alice.get("/account")
    options = (await ask(alice, "/passkeys/add/options")).json()
    with pytest.raises(LookupError, match="InvalidState"):
        device.create(options, BASE)
    bob, _ = await signed_in(world, BOB)
    await bob.get("/account")
    theirs = (await ask(bob, "/passkeys/add/options")).json()
    made = device.create(theirs, BASE)
    device.credentials[-1].id = device.credentials[0].id
    assert (await ask(bob, "/passkeys/add", {"credential": made, "name": "x"})).status_code == 200
    assert options["user"]["id"] != theirs["user"]["id"]


async def test_the_handle_says_nothing_of_its_owner(world: World) -> None:
    """It is 32 bytes that stay the same and hold neither address nor id."""
    alice, _, _ = await enrolled(world)
    options = (await ask(alice, "/passkeys/add/options")).json()
    again = (await ask(alice, "/passkeys/add/options")).json()
    [row] = await rows(world, passkeys)
    assert options["user"]["id"] == again["user"]["id"]
    assert len(options["user"]["id"]) == 43
    assert urlsafe_b64encode(row["recipient_id"].encode()).decode()[:20] not in options["user"]["id"]
    selection = options["authenticatorSelection"]
    assert (selection["residentKey"], selection["userVerification"]) == ("required", "required")
    assert [one["alg"] for one in options["pubKeyCredParams"]] == [-7, -8, -257]


# -- bad input


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b"null", b'{"credential": 7}', b'{"credential": {"response": {"clientDataJSON": "%%%"}}}',
     b'{"credential": {"id": "a", "rawId": "b", "response": {"clientDataJSON": "e30"}}}', b"[" * 9000, b"x" * 40_000,
     b'{"credential": {"response": {"clientDataJSON": "eyJjaGFsbGVuZ2UiOiAiXHVkODAwIn0"}}}'],
)  # fmt: skip
async def test_what_is_no_answer_is_refused_in_a_sentence(world: World, body: bytes) -> None:
    """Malformed, empty, deep, long: 422 with words, never a fault."""
    browser = world.browser()
    await browser.get("/")
    headers = {"x-csrf-token": browser.csrf, "content-type": "application/json"}
    answer = await browser.http.post("/passkeys/sign-in", content=body, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["say"] == "This passkey could not be checked. Try again, or use another way."


async def test_ceremonies_need_the_pages_token(world: World) -> None:
    """Another site can start none."""
    browser = world.browser()
    await browser.get("/")
    answer = await browser.http.post("/passkeys/options", json={}, headers={"x-csrf-token": "forged"})
    assert answer.status_code == 403


async def test_many_ceremonies_from_one_network_are_slowed_and_links_go_on(world: World) -> None:
    """A stranger who hammers at passkeys is told to wait; somebody with a link signs in meanwhile."""
    token = await world.announce()
    mallory = world.browser()
    await mallory.get("/")
    answers = [await ask(mallory, "/passkeys/sign-in") for _ in range(301)]
    assert [one.status_code for one in answers[-2:]] == [422, 429]
    assert "Wait" in answers[-1].json()["say"]
    await world.browser().sign_in(token)


async def test_an_ended_account_page_leads_to_signing_in(world: World) -> None:
    """Without a session every request of the module says where to go."""
    browser = world.browser()
    await browser.get("/")
    for path in ("/passkeys/step-up", "/passkeys/add/options", "/passkeys/add", "/session/stay"):
        answer = await ask(browser, path)
        assert (answer.status_code, answer.json()) == (401, {"to": "/"})


async def test_a_session_that_its_owner_ended_is_not_raised(world: World) -> None:
    """Ended while a passkey was being shown: nothing comes back to life."""
    alice, _, device = await enrolled(world)
    await alice.get("/")
    options = (await ask(alice, "/passkeys/options?for=step-up")).json()
    for row in await rows(world, sessions):
        await put(world, sessions, {"ended_at": world.clock.now()}, token_hash=row["token_hash"])
    shown = {"credential": device.get(options, BASE)}
    assert (await ask(alice, "/passkeys/step-up", shown)).status_code == 401


WEAK = [
    {1: 2, 3: ES256, -1: 1, -2: b"\x01" * 32, -3: b"\x02" * 32},  # not on the curve
    {1: 3, 3: RS256, -1: b"\xc1" + b"\x01" * 63, -2: b"\x01\x00\x01"},  # 512 bits
    {1: 3, 3: RS256, -1: b"\xc1" + b"\x01" * 255, -2: b"\x03"},  # signatures anybody can come near to
]


@pytest.mark.parametrize("cose", WEAK, ids=["off the curve", "short", "small exponent"])
async def test_a_key_that_proves_nothing_is_not_bound(world: World, cose: dict[int, Any]) -> None:
    """What could never answer, or be answered for by others, is refused when it is added."""
    alice, _ = await signed_in(world)
    answer = await add_passkey(alice, Authenticator(), cose=cbor2.dumps(cose))
    assert answer.status_code == 422
    assert await rows(world, passkeys) == []
