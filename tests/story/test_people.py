"""A person's own page: sessions, address, shared mailbox, recovery by the help desk; and a reply that outlives its session."""

import asyncio
import re

import pytest

from portal.db.tables import authenticators, passkeys, recipients, recovery_codes, sessions
from portal.model.errors import InputRefused
from portal.operator import Persons
from tests.authenticator import Authenticator
from tests.story.seams import holding, rows
from tests.story.ways import add_app, add_passkey, confirm, needs, use_passkey
from tests.world import ALICE, BOB, Browser, World, letter, named

pytestmark = pytest.mark.anyio

NEW = "alice.alvarez@other.example"


async def signed_in(world: World, who: str = ALICE) -> tuple[Browser, str]:
    browser = world.browser()
    return browser, await browser.sign_in(await world.announce(letter(to=who), [who]), who)


# -- sessions


async def test_sessions_are_listed_in_plain_words_and_ended_one_by_one_or_all(world: World) -> None:
    """The device, since when, last seen; ended at the press of a button, and nobody else's is to be had."""
    alice, _ = await signed_in(world)
    phone, _ = await signed_in(world)
    third, _ = await signed_in(world)
    bob, _ = await signed_in(world, BOB)
    page = (await alice.get("/account")).text
    assert page.count("<bdi>Firefox</bdi>") == 3
    assert page.count("(this one)") == 1
    endings = re.findall(r'action="(/account/sessions/\w+/end)"', page)
    assert len(endings) == 2
    await bob.get("/account")
    assert (await bob.post(endings[0])).status_code == 404
    assert (await alice.post(endings[0])).status_code == 303
    states = sorted([(await one.get("/inbox")).status_code for one in (phone, third)])
    assert states == [200, 401]
    await alice.get("/account")
    assert (await alice.post("/account/sessions/end-others")).status_code == 303
    assert [(await one.get("/inbox")).status_code for one in (phone, third)] == [401, 401]
    assert (await alice.get("/inbox")).status_code == 200
    assert (await bob.get("/inbox")).status_code == 200
    assert [one.detail["why"] for one in await world.events("SessionEnded")] == ["owner", "owner"]


async def test_an_operator_ends_all_sessions_of_a_person(world: World) -> None:
    """By address, on record, with who did it."""
    alice, _ = await signed_in(world)
    desk = Persons(world.house, "dora")
    assert await desk.end_sessions("northside", ALICE.upper()) == 1
    assert (await alice.get("/inbox")).status_code == 401
    [event] = await world.events("SessionEnded")
    assert (event.actor, event.detail["why"]) == ("dora", "operator")
    with pytest.raises(InputRefused, match="Nobody with this address"):
        await desk.end_sessions("southside", ALICE)


async def test_somebody_who_says_she_is_still_there_stays(world: World) -> None:
    """Pressed in time, idleness starts anew; the end of all comes all the same."""
    alice, _ = await signed_in(world)
    await alice.get("/inbox")
    assert 'data-ends-in="900"' in alice.page
    answer = await alice.get("/inbox")
    for _ in range(4):
        world.clock.forward(minutes=14)
        answer = await alice.http.post("/session/stay", headers={"x-csrf-token": alice.csrf})
        assert answer.status_code == 200
    assert answer.json()["over_in"] < 300
    assert answer.json()["ends_in"] == answer.json()["over_in"]
    world.clock.forward(minutes=5)
    assert (await alice.get("/inbox")).status_code == 401


async def test_a_place_is_kept_only_where_a_header_is_named_for_it(world: World) -> None:
    """Not configured, what a client says of its place is nothing."""
    alice = world.browser()
    alice.http.headers["x-place"] = "Atlantis"
    await alice.sign_in(await world.announce())
    assert "Atlantis" not in (await alice.get("/account")).text
    assert [row["place"] for row in await rows(world, sessions)] == [""]


# -- a reply outlives its session


async def test_a_reply_being_typed_survives_the_end_of_its_session(world: World) -> None:
    """Sent too late, the text comes back on a page that asks for a code; then it is sent, files of the draft and all."""
    alice, message = await signed_in(world)
    await alice.get(f"{message}/reply")
    draft = alice.page.split('name="draft" value="')[1][:36]
    headers = {"x-csrf-token": alice.csrf}
    await alice.http.put(f"{message}/reply/{draft}/files", content=b"x", headers={**headers, **named("a.txt")})
    world.clock.forward(minutes=16)
    text = "Dear doctor,\n\nI still feel <dizzy>."
    fields = {"csrf": (None, alice.csrf), "draft": (None, draft), "text": (None, text)}
    page = await alice.http.post(f"{message}/reply", files={**fields, "files": ("b.txt", b"y")})
    assert page.status_code == 401
    assert "I still feel &lt;dizzy&gt;." in page.text
    assert "Add them once more" in page.text
    alice.page = page.text
    again = {**fields, "csrf": (None, alice.csrf), "code": (None, "00000000")}
    wrong = await alice.http.post(f"{message}/reply/resume", files=again)
    assert (wrong.status_code, "I still feel" in wrong.text) == (401, True)
    code = await world.code_for(ALICE)
    back = await alice.http.post(f"{message}/reply/resume", files={**again, "code": (None, code)})
    assert back.status_code == 200
    assert "I still feel &lt;dizzy&gt;." in back.text
    assert "a.txt" in back.text
    alice.page = back.text
    sent = await alice.http.post(f"{message}/reply", files={**fields, "csrf": (None, alice.csrf)})
    assert sent.status_code == 303
    assert len(await world.events("ReplySubmitted")) == 1


async def test_a_reply_resumes_for_nobody_else(world: World) -> None:
    """Another's cookie, no cookie, or one that was signed out on purpose: the page that signs in, and no code is sent."""
    alice, message = await signed_in(world)
    bob, bobs = await signed_in(world, BOB)
    await alice.get(f"{message}/reply")
    draft = alice.page.split('name="draft" value="')[1][:36]
    await bob.get(f"{bobs}/reply")
    await world.worker.send_due()
    sent = len(world.sink.messages)
    world.clock.forward(minutes=16)
    fields = {"draft": (None, draft), "text": (None, "x")}
    theirs = await bob.http.post(f"{message}/reply", files={"csrf": (None, bob.csrf), **fields})
    assert theirs.status_code == 404
    nobody = world.browser()
    await nobody.get("/")
    assert (
        await nobody.http.post(f"{message}/reply", files={"csrf": (None, nobody.csrf), **fields})
    ).status_code == 401
    await world.worker.send_due()
    assert len(world.sink.messages) == sent


# -- another address


async def test_a_new_address_keeps_the_history(world: World) -> None:
    """Proved by a code at the new one and a fresh sign-in at the old; both are told. The old one may be another's from then on."""
    alice, message = await signed_in(world)
    await alice.get("/account/address")
    page = await alice.post("/account/address", {"address": NEW})
    assert "a…z@other.example" in page.text
    await world.worker.send_due()
    code = world.newest(re.compile(r"\b\d{4} \d{4}\b"), NEW)[0]
    answer = await alice.post(alice.form(page.text.split('action="/account/address/')[1].split('"')[0]), {"code": code})
    assert answer.headers.get("location") == "/account?done=address", answer.text
    await world.worker.send_due()
    for who in (ALICE, NEW):
        assert "was changed on" in " ".join(world.text_for(who).split())
    assert (await alice.get(message)).status_code == 200
    old = await world.announce(letter(message_id="<old@later.example>"), [ALICE])
    token = await world.announce(letter(message_id="<new@later.example>"), [NEW])
    other = world.browser()
    hers = await other.sign_in(old)
    assert (await other.get("/inbox")).text.count("<h2>") == 1
    assert (await alice.get(hers)).status_code == 404, "what is sent to the old address is not hers to read"
    assert len(await rows(world, recipients)) == 2
    fresh = world.browser()
    await fresh.sign_in(token, NEW)
    assert (await fresh.get("/inbox")).text.count("<h2>") == 2
    [event] = await world.events("AddressChanged")
    assert event.actor in {row["id"] for row in await rows(world, recipients)}


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("", "no email address"),
        ("nobody", "no email address"),
        ("a b@c.example", "no email address"),
        ("x" * 10_000 + "@c.example", "no email address"),
        (ALICE.upper(), "your address already"),
        ("carol@clinic.example", "organisation that sends from here"),
    ],
)
async def test_what_can_be_no_new_address_is_said_so(world: World, typed: str, words: str) -> None:
    """With what to do, and what was typed stays."""
    alice, _ = await signed_in(world)
    await alice.get("/account/address")
    answer = await alice.post("/account/address", {"address": typed})
    assert (answer.status_code, words in answer.text) == (422, True)


async def test_anothers_address_is_not_taken_over(world: World) -> None:
    """Somebody who gets messages here already keeps hers; it is said only once the new address was proved."""
    await signed_in(world, BOB)
    alice, _ = await signed_in(world)
    await alice.get("/account/address")
    page = await alice.post("/account/address", {"address": BOB})
    assert page.status_code == 200
    code = await world.code_for(BOB)
    change = page.text.split('action="/account/address/')[1].split('"')[0]
    answer = await alice.post(f"/account/address/{change}", {"code": code})
    assert (answer.status_code, "gets messages from here already" in answer.text) == (422, True)
    assert len(await rows(world, recipients)) == 2


async def test_a_code_for_a_new_address_is_tried_five_times_by_one_session(world: World) -> None:
    """Wrong ones are counted, fifty at once as well; another's session gets nowhere."""
    alice, _ = await signed_in(world)
    bob, _ = await signed_in(world, BOB)
    await alice.get("/account/address")
    page = await alice.post("/account/address", {"address": NEW})
    change = page.text.split('action="/account/address/')[1].split('"')[0]
    code = await world.code_for(NEW)
    await bob.get("/account")
    assert (await bob.post(f"/account/address/{change}", {"code": code})).status_code == 422
    wrong = f"{(int(code.replace(' ', '')) + 1) % 10**8:08}"
    await asyncio.gather(*(alice.post(f"/account/address/{change}", {"code": wrong}) for _ in range(20)))
    await alice.get("/account")
    assert (await alice.post(f"/account/address/{change}", {"code": code})).status_code == 422


# -- several people at one mailbox


async def test_at_a_shared_mailbox_each_says_who_she_is_and_the_record_says_who_read(
    world: World, tmp_path: object
) -> None:
    """Once it is shared nobody reads nameless; the message shows who has seen it, and names are sealed."""
    alice, message = await signed_in(world)
    await alice.get("/account")
    assert (await alice.post("/account/shared", {"shared": "yes"})).status_code == 303
    assert (await alice.get(message)).headers["location"] == f"/who?to={message[-36:]}"
    await alice.get(f"/who?to={message[-36:]}")
    assert (await alice.post("/who", {"name": "  ", "to": message[-36:]})).status_code == 422
    answer = await alice.post("/who", {"name": "Canaria Alvarez", "to": message[-36:]})
    assert answer.headers["location"] == message
    assert (await alice.get(message)).status_code == 200
    husband, _ = await signed_in(world)
    assert (await husband.get(message)).status_code == 303
    page = await husband.get("/who")
    assert "Canaria Alvarez" in page.text
    await husband.post("/who", {"name": "Miguel", "to": ""})
    seen = (await husband.get(message)).text
    assert "by <bdi>Canaria Alvarez</bdi>" in seen
    named = await world.events("MemberNamed")
    assert [one.detail["added"] for one in named] == [True, True]
    opened = [one for one in await world.events("MessageOpened") if one.detail["part"] == "summary"]
    assert {one.session for one in opened} == {one.session for one in named}
    from pathlib import Path

    assert holding(Path(str(tmp_path)), b"Canaria") == []


# -- the help desk


async def lost(world: World) -> tuple[str, Authenticator]:
    """Alice, who has a passkey, an app and codes on paper, and has lost them all; her message needs level 2."""
    alice, message = await signed_in(world)
    device = Authenticator()
    await add_passkey(alice, device)
    await add_app(world, alice)
    await alice.get("/account")
    await alice.post("/account/recovery-codes")
    await world.worker.send_due()
    return message, device


async def test_the_help_desk_lets_somebody_in_again_after_a_day_and_a_notice(world: World) -> None:
    """Proofed in person: told at the mailbox at once, in effect a day later, and then the code she was given counts."""
    message, device = await lost(world)
    delivery = await needs(world, message, 2)
    desk = Persons(world.house, "dora")
    begun = await desk.recover("northside", ALICE, "in-person")
    await world.worker.send_due()
    assert "can't sign in to your messages any more" in " ".join(world.text_for(ALICE).split())
    with pytest.raises(InputRefused, match="under way already"):
        await desk.recover("northside", ALICE, "in-person")
    world.clock.forward(hours=23)
    assert await world.house.desk().apply_due() == 0
    early, _ = await signed_in(world)
    await early.get(f"/step-up/{delivery}")
    assert (await early.post(f"/step-up/{delivery}/access-code", {"code": begun.code})).status_code == 422
    world.clock.forward(hours=2)
    assert await world.house.desk().apply_due() == 1
    assert await world.house.desk().apply_due() == 0
    assert (await early.get("/inbox")).status_code == 401
    for table in (passkeys, authenticators, recovery_codes):
        assert await rows(world, table) == []
    assert (await use_passkey(world.browser(), device)).status_code == 422
    alice, _ = await signed_in(world)
    await alice.get(f"/step-up/{delivery}")
    assert (await alice.post(f"/step-up/{delivery}/access-code", {"code": begun.code.lower()})).status_code == 303
    assert (await alice.get(message)).status_code == 200
    assert (await add_passkey(alice, Authenticator())).status_code == 200
    assert [row["vouched"] for row in await rows(world, passkeys)] == [2]
    [event] = await world.events("RecoveryBegun")
    assert (event.actor, event.detail["how"]) == ("dora", "in-person")
    assert begun.code not in repr(await world.events())


async def test_a_recovery_is_stopped_from_the_notice_and_looking_stops_nothing(world: World) -> None:
    """A scanner that fetches the link or presses the button changes nothing; who types the letters does, and the ways in stay."""
    _, device = await lost(world)
    await Persons(world.house, "dora").recover("northside", ALICE, "called-back")
    await world.worker.send_due()
    path = world.newest(re.compile(r"https://portal\.example(/recovery/[\w-]+)"), ALICE)[1]
    scanner = world.browser()
    for _ in range(3):
        assert "Was this you?" in (await scanner.get(path)).text
    assert (await scanner.http.head(path)).status_code in (200, 405)
    for typed in ({}, {"letters": ""}, {"letters": "QQQ"}):
        assert (await scanner.post(path, typed)).status_code == 422, "programs press buttons"
    assert await world.events("RecoveryStopped") == []
    letters = world.newest(re.compile(r"Type there: (\w{3})"), ALICE)[1]
    assert "Nothing was changed" in (await scanner.post(path, {"letters": letters.lower()})).text
    world.clock.forward(days=2)
    assert await world.house.desk().apply_due() == 0
    assert (await use_passkey(world.browser(), device)).status_code == 200
    assert "It was stopped" in (await scanner.get(path)).text
    assert (await scanner.get("/recovery/nothing")).status_code == 404


async def test_how_a_person_was_proofed_is_said_or_nothing_begins(world: World) -> None:
    """Not one of the ways the record knows: refused, with the list."""
    await lost(world)
    with pytest.raises(InputRefused, match="in-person, video, called-back, letter"):
        await Persons(world.house, "dora").recover("northside", ALICE, "she sounded nice")


async def test_an_operator_sees_ways_and_sessions_and_the_look_is_on_record(world: World) -> None:
    """What there is, and nothing that opens anything."""
    await lost(world)
    lines = await Persons(world.house, "dora").show("northside", ALICE)
    assert "1 passkeys, an app, 10 recovery codes, no phone number" in lines[0]
    assert lines[1].startswith("session ")
    assert len(await world.events("PersonLookedUp")) == 1


async def test_the_offer_of_a_passkey_is_made_after_reading_and_never_again_once_declined(world: World) -> None:
    """At the foot of the message, with "not now"; not where a passkey is there already."""
    alice, message = await signed_in(world)
    assert "Next time, one touch" in (await alice.get(message)).text
    await alice.post("/offer/not-now", {"delivery": message[-36:]})
    assert "Next time, one touch" not in (await alice.get(message)).text
    alice.http.cookies.delete("__Host-offer")
    await add_passkey(alice, Authenticator())
    assert "Next time, one touch" not in (await alice.get(message)).text
    other, _ = await signed_in(world)
    assert "Next time, one touch" not in (await other.get(message)).text
    await confirm(world, other)
