"""Proving more than the mailbox: access codes, texts and calls, the app, recovery codes; and what a stranger can't use up."""

import asyncio
import io
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from portal.assembly import House
from portal.db.tables import authenticators, deliveries, recovery_codes, sessions
from portal.model.errors import SubmissionFailed
from portal.phone import Sent, Spoken
from portal.phone.memory import MemoryTexter
from tests.authenticator import Authenticator
from tests.story.seams import holding, rows
from tests.story.ways import (
    add_app,
    add_passkey,
    confirm,
    give_access_code,
    give_phone,
    needs,
    recipient_id,
    use_passkey,
)
from tests.world import ALICE, Browser, World
from tests.world import world as open_world

pytestmark = pytest.mark.anyio

NUMBER = "+15550100042"


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    """The house with a provider of texts that keeps them in memory."""
    async with open_world(tmp_path, database_url, phone_url="memory:") as made:
        yield made


def texts(house: House) -> list[Spoken]:
    assert isinstance(house.texter, MemoryTexter)
    return list(house.texter.sent)


async def before_the_step(world: World, level: int = 2) -> tuple[Browser, str, str]:
    """Alice, signed in by an emailed code, before a message that needs more; and its delivery's id."""
    alice = world.browser()
    message = await alice.sign_in(await world.announce())
    delivery = await needs(world, message, level)
    answer = await alice.get(message)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/step-up/{delivery}")
    return alice, message, delivery


async def failures(world: World) -> list[tuple[Any, Any]]:
    return [(one.detail["method"], one.detail["reason"]) for one in await world.events("SignInFailed")]


# -- the access code


async def test_an_access_code_opens_what_needs_two_channels(world: World) -> None:
    """Typed however people type it, it raises the session under a new cookie, and both are on record."""
    alice, message, delivery = await before_the_step(world)
    await give_access_code(world, delivery, "Blue-Tractor 7", hint="The farm word <3")
    page = await alice.get(f"/step-up/{delivery}")
    assert "The farm word &lt;3" in page.text
    old = alice.http.cookies["__Host-session"]
    answer = await alice.post(f"/step-up/{delivery}/access-code", {"code": " blue tractor\u20107 "})
    assert (answer.status_code, answer.headers["location"]) == (303, message)
    assert (await alice.get(message)).status_code == 200
    alice.http.cookies.set("__Host-session", old, domain="portal.example")
    assert (await alice.get("/inbox")).status_code == 401, "the old cookie is worth nothing"
    [event] = await world.events("SteppedUp")
    assert (event.detail["method"], event.detail["assurance"], event.delivery_id) == ("access-code", 2, delivery)
    [opened] = await world.events("MessageOpened")
    assert opened.detail["assurance"] == 2


async def test_without_any_way_the_page_says_what_to_do(world: World) -> None:
    """Nobody gave anything: the person is told of the access code, and asks the sender with one button."""
    alice, _, delivery = await before_the_step(world)
    page = await alice.get(f"/step-up/{delivery}")
    assert "you need an access code from the sender" in page.text
    assert (await alice.post(alice.form("/ask"))).status_code == 303
    assert "You asked the sender on" in (await alice.get(f"/step-up/{delivery}")).text
    assert len(await world.events("AskedAgain")) == 1


@pytest.mark.parametrize(
    "typed", ["", "x", "1" * 10_000, "\u0661\u0662\u0663", "\x00", "\ud83d", "%n%s", "blue tracto"]
)
async def test_wrong_access_codes_open_nothing_and_say_so(world: World, typed: str) -> None:
    """Odd, long, empty: one sentence, what was typed stays as far as it is short, and the record says that it failed."""
    alice, message, delivery = await before_the_step(world)
    await give_access_code(world, delivery, "blue tractor")
    await alice.get(f"/step-up/{delivery}")
    answer = await alice.post(f"/step-up/{delivery}/access-code", {"code": typed.encode("utf-8", "replace").decode()})
    assert answer.status_code == 422
    assert "access code" in answer.text
    assert (await alice.get(message)).status_code == 303
    assert [method for method, _ in await failures(world)] == ["access-code"]


async def test_fifty_tries_at_once_count_as_ten(world: World, log: io.StringIO) -> None:
    """Ten an hour are compared, whoever presses how fast; then even the right one waits its hour."""
    alice, message, delivery = await before_the_step(world)
    await give_access_code(world, delivery, "blue tractor")
    await alice.get(f"/step-up/{delivery}")
    answers = await asyncio.gather(
        *(alice.post(f"/step-up/{delivery}/access-code", {"code": f"wrong {number}"}) for number in range(50))
    )
    assert sorted({one.status_code for one in answers}) == [422, 429], log.getvalue()
    assert sum(one.status_code == 422 for one in answers) == 10
    await alice.get(f"/step-up/{delivery}")
    assert (await alice.post(f"/step-up/{delivery}/access-code", {"code": "blue tractor"})).status_code == 429
    world.clock.forward(minutes=59)
    fresh = world.browser()
    await fresh.sign_in(await world.announce())
    await fresh.get(f"/step-up/{delivery}")
    world.clock.forward(minutes=2)
    assert (await fresh.post(f"/step-up/{delivery}/access-code", {"code": "blue tractor"})).status_code == 303
    assert (await fresh.get(message)).status_code == 200


async def test_a_stranger_uses_up_nobodys_tries(world: World) -> None:
    """Without a session of that person, no try is counted and nothing is learnt."""
    alice, _, delivery = await before_the_step(world)
    await give_access_code(world, delivery, "blue tractor")
    mallory = world.browser()
    await mallory.sign_in(await world.announce(to=["mallory@patients.example"]), "mallory@patients.example")
    await mallory.get("/inbox")
    for _ in range(60):
        assert (await mallory.post(f"/step-up/{delivery}/access-code", {"code": "x"})).status_code == 404
    await alice.get(f"/step-up/{delivery}")
    assert (await alice.post(f"/step-up/{delivery}/access-code", {"code": "blue tractor"})).status_code == 303


async def test_the_code_is_kept_as_a_hash_and_the_hint_sealed(world: World, tmp_path: Path) -> None:
    """Neither stands anywhere in a file."""
    _, _, delivery = await before_the_step(world)
    await give_access_code(world, delivery, "canarycode", hint="canary hint")
    assert holding(tmp_path, b"canarycode", b"canary hint") == []


# -- texts and calls


@pytest.mark.parametrize(("channel", "words"), [("sms", "your code is"), ("voice", "Your code is")])
async def test_a_code_by_phone_opens_what_needs_two_channels(world: World, channel: str, words: str) -> None:
    """It goes to the number that the sender's side gave, shown partly hidden, with the reference that the page shows."""
    alice, message, delivery = await before_the_step(world)
    await give_phone(world, await recipient_id(world, message), NUMBER)
    page = await alice.get(f"/step-up/{delivery}")
    assert "+1… 42" in page.text
    assert NUMBER not in page.text
    assert (await alice.post(f"/step-up/{delivery}/send/{channel}")).status_code == 303
    await world.worker.send_due()
    [sent] = texts(world.house)
    assert (sent.channel, sent.number) == (channel, NUMBER)
    assert words in sent.text
    digits = re.sub(r"\D", "", sent.text.split("reference")[0].split("Its")[0].split("Again")[0])[-8:]
    page = await alice.get(f"/step-up/{delivery}")
    reference = re.search(r"Look for the reference ([2-9A-Z]{3})", page.text)
    assert reference
    assert reference[1] in sent.text.replace(", ", "")
    assert (await alice.post(f"/step-up/{delivery}/code", {"code": digits})).status_code == 303
    assert (await alice.get(message)).status_code == 200
    [event] = await world.events("SteppedUp")
    assert event.detail["method"] == channel


async def test_an_emailed_code_is_no_second_channel(world: World) -> None:
    """The code of the mailbox, sent anew, raises nothing: it is not asked for, and not taken."""
    alice, message, delivery = await before_the_step(world)
    await give_phone(world, await recipient_id(world, message), NUMBER)
    await alice.get(f"/step-up/{delivery}")
    assert (await alice.post(f"/step-up/{delivery}/send/mail")).status_code == 404
    await confirm(world, alice)
    assert (await alice.get(message)).status_code == 303
    await alice.get("/confirm")
    await alice.post("/confirm/send/mail")
    code = await world.code_for(ALICE)
    await alice.get(f"/step-up/{delivery}")
    assert (await alice.post(f"/step-up/{delivery}/code", {"code": code})).status_code == 422


async def test_codes_by_phone_have_the_limits_of_those_by_mail(world: World) -> None:
    """Three in a quarter of an hour, and the page says how long to wait."""
    alice, message, delivery = await before_the_step(world)
    await give_phone(world, await recipient_id(world, message), NUMBER)
    await alice.get(f"/step-up/{delivery}")
    answers = [await alice.post(f"/step-up/{delivery}/send/sms") for _ in range(4)]
    assert [one.status_code for one in answers] == [303, 303, 303, 429]
    assert "Wait 15 minutes" in answers[-1].text


class Broken:
    """A provider that does not take texts."""

    def __init__(self, error: SubmissionFailed) -> None:
        self.error = error

    async def send(self, message: Spoken) -> Sent:
        raise self.error


@pytest.mark.parametrize("transient", [True, False])
async def test_a_provider_that_is_down_leaves_another_way(world: World, transient: bool) -> None:
    """Down or refusing: the page says so once it is known, the others ways stand beside it, and nothing is used up."""
    alice, message, delivery = await before_the_step(world)
    await give_phone(world, await recipient_id(world, message), NUMBER)
    await give_access_code(world, delivery, "blue tractor")
    dispatch = world.worker._dispatch
    dispatch._texter = Broken(SubmissionFailed("the provider is down", transient=transient))
    await alice.get(f"/step-up/{delivery}")
    await alice.post(f"/step-up/{delivery}/send/sms")
    await world.worker.send_due()
    world.clock.forward(minutes=11)
    await world.worker.send_due()
    page = await alice.get(f"/step-up/{delivery}")
    assert "The code could not be sent" in page.text
    given_up = [one.detail["reason"] for one in await world.events("CodeFailed")]
    assert given_up == ([] if transient else ["the provider is down"])
    assert (await alice.post(f"/step-up/{delivery}/access-code", {"code": "blue tractor"})).status_code == 303


async def test_neither_number_nor_text_is_kept_in_clear(world: World, tmp_path: Path) -> None:
    """They stand in no file: sealed in their rows, and forgotten with the job."""
    alice, message, delivery = await before_the_step(world)
    await give_phone(world, await recipient_id(world, message), NUMBER)
    await alice.get(f"/step-up/{delivery}")
    await alice.post(f"/step-up/{delivery}/send/sms")
    await world.worker.send_due()
    [sent] = texts(world.house)
    assert holding(tmp_path, NUMBER.encode(), sent.text.encode()) == []
    assert NUMBER not in repr(sent)


# -- the authenticator app


async def test_the_app_counts_each_half_minute_once(world: World) -> None:
    """Set up at level 2 it opens what needs two channels; a code that was used, or an earlier one, does not."""
    alice, message, delivery = await before_the_step(world)
    await give_access_code(world, delivery, "blue tractor")
    await alice.get(f"/step-up/{delivery}")
    await alice.post(f"/step-up/{delivery}/access-code", {"code": "blue tractor"})
    app = await add_app(world, alice)
    other = world.browser()
    await other.sign_in(await world.announce())
    await other.get(f"/step-up/{delivery}")
    used = app.at(world.clock.now())
    assert (await other.post(f"/step-up/{delivery}/app", {"code": used})).status_code == 422, "it confirmed the app"
    world.clock.forward(seconds=60)
    code = app.at(world.clock.now())
    answers = await asyncio.gather(*(other.post(f"/step-up/{delivery}/app", {"code": code}) for _ in range(5)))
    assert sorted(one.status_code for one in answers)[0] == 303
    assert sum(one.status_code == 303 for one in answers) == 1
    assert (await other.get(message)).status_code == 200


async def test_an_app_that_a_mailbox_bound_is_no_second_channel_yet(world: World) -> None:
    """Whoever reads the mail could have set it up: beside an access code it is vouched for, and then it counts."""
    alice = world.browser()
    message = await alice.sign_in(await world.announce())
    app = await add_app(world, alice)
    delivery = await needs(world, message, 2)
    world.clock.forward(seconds=60)
    await alice.get(f"/step-up/{delivery}")
    assert (await alice.post(f"/step-up/{delivery}/app", {"code": app.at(world.clock.now())})).status_code == 303
    assert (await alice.get(message)).status_code == 303, "the mailbox's level still"
    await give_access_code(world, delivery, "blue tractor")
    await alice.get(f"/step-up/{delivery}")
    await alice.post(f"/step-up/{delivery}/access-code", {"code": "blue tractor"})
    assert (await alice.get(message)).status_code == 200
    assert [row["vouched"] for row in await rows(world, authenticators)] == [2]


@pytest.mark.parametrize(
    "typed", ["", "12345", "1234567", "\u0661\u0662\u0663\u0664\u0665\u0666", "9" * 10_000, "abcdef"]
)
async def test_what_is_no_code_of_an_app_costs_no_try(world: World, typed: str) -> None:
    """Too short, too long, digits of another script: said as such."""
    alice = world.browser()
    message = await alice.sign_in(await world.announce())
    app = await add_app(world, alice)
    delivery = await needs(world, message, 2)
    await alice.get(f"/step-up/{delivery}")
    for _ in range(12):
        assert (await alice.post(f"/step-up/{delivery}/app", {"code": typed})).status_code == 422
    world.clock.forward(seconds=60)
    assert (await alice.post(f"/step-up/{delivery}/app", {"code": app.at(world.clock.now())})).status_code == 303


async def test_a_phone_whose_clock_is_an_hour_off_gets_a_sentence_and_another_way(world: World) -> None:
    """Its codes match nothing; the page speaks of the clock, and the tries are counted."""
    alice = world.browser()
    message = await alice.sign_in(await world.announce())
    app = await add_app(world, alice)
    delivery = await needs(world, message, 2)
    await alice.get(f"/step-up/{delivery}")
    world.clock.forward(minutes=2)
    hour_off = app.at(int(world.clock.now().timestamp()) + 3600)
    answer = await alice.post(f"/step-up/{delivery}/app", {"code": hour_off})
    assert answer.status_code == 422
    assert "check your device&#39;s clock" in answer.text
    assert ("app", "OTP verification failed") in await failures(world)


async def test_the_apps_secret_is_sealed(world: World, tmp_path: Path) -> None:
    """It is shown once, and stands in no file."""
    alice = world.browser()
    await alice.sign_in(await world.announce())
    app = await add_app(world, alice)
    assert holding(tmp_path, app.secret.encode()) == []


# -- recovery codes


async def codes_of(browser: Browser) -> list[str]:
    await browser.get("/account")
    page = await browser.post("/account/recovery-codes")
    assert page.status_code == 200, page.headers
    return re.findall(r"<li><code dir=\"ltr\">([\w-]+)</code></li>", page.text)


async def test_a_recovery_code_works_once_and_ends_what_is_open_elsewhere(world: World) -> None:
    """Ten are shown once; one opens, is told at the mailbox, and signs out every other device."""
    alice, message, delivery = await before_the_step(world)
    await give_access_code(world, delivery, "blue tractor")
    await alice.get(f"/step-up/{delivery}")
    await alice.post(f"/step-up/{delivery}/access-code", {"code": "blue tractor"})
    codes = await codes_of(alice)
    assert len(set(codes)) == 10
    assert "You have 10 codes left" in (await alice.get("/account")).text
    other = world.browser()
    await other.sign_in(await world.announce())
    await other.get(f"/step-up/{delivery}")
    typed = codes[3].lower().replace("-", " ")
    answers = await asyncio.gather(
        *(other.post(f"/step-up/{delivery}/recovery-code", {"code": typed}) for _ in range(4))
    )
    assert sum(one.status_code == 303 for one in answers) == 1
    assert (await other.get(message)).status_code == 200
    assert (await alice.get("/inbox")).status_code == 401
    await world.worker.send_due()
    assert "One of your recovery codes was used" in world.text_for(ALICE)
    third = world.browser()
    await third.sign_in(await world.announce())
    await third.get(f"/step-up/{delivery}")
    assert (await third.post(f"/step-up/{delivery}/recovery-code", {"code": codes[3]})).status_code == 422
    assert (await third.post(f"/step-up/{delivery}/recovery-code", {"code": codes[4]})).status_code == 303


async def test_new_recovery_codes_end_the_old_ones(world: World, tmp_path: Path) -> None:
    """Made again, the earlier ten are nothing; none of any stands in a file."""
    alice = world.browser()
    message = await alice.sign_in(await world.announce())
    old, new = await codes_of(alice), await codes_of(alice)
    delivery = await needs(world, message, 2)
    await alice.get(f"/step-up/{delivery}")
    assert (await alice.post(f"/step-up/{delivery}/recovery-code", {"code": old[0]})).status_code == 422
    assert (await alice.post(f"/step-up/{delivery}/recovery-code", {"code": new[0]})).status_code == 303
    assert (await alice.get(message)).status_code == 303, "an emailed code bound them: no second channel"
    assert holding(tmp_path, *(one.encode() for one in new), *(one.replace("-", "").encode() for one in new)) == []
    assert len(await rows(world, recovery_codes)) == 10


async def test_a_lost_passkey_is_replaced_with_a_recovery_code(world: World) -> None:
    """The passkey is gone, the paper is there: it lets a new one be added, and the old one be removed."""
    alice = world.browser()
    await alice.sign_in(await world.announce())
    assert (await add_passkey(alice, Authenticator(), "Lost")).status_code == 200
    codes = await codes_of(alice)
    other = world.browser()
    await other.sign_in(await world.announce())
    assert (await add_passkey_status(other)) == 403
    await other.get("/confirm")
    assert (await other.post("/confirm/recovery-code", {"code": codes[0]})).headers["location"] == "/account"
    new = Authenticator()
    assert (await add_passkey(other, new, "New")).status_code == 200
    assert (await use_passkey(world.browser(), new)).status_code == 200


async def add_passkey_status(browser: Browser) -> int:
    from tests.story.ways import ask

    await browser.get("/account")
    return (await ask(browser, "/passkeys/add/options")).status_code


# -- what all have in common


async def test_who_stepped_up_reads_on_where_she_was(world: World) -> None:
    """From an attachment or the reply page too, the way back is the message; nothing that was sent is lost."""
    alice, message, delivery = await before_the_step(world)
    for page in ("/reply", "/print", "/body", "/original.eml"):
        assert (await alice.get(message + page)).headers["location"] == f"/step-up/{delivery}"
    await give_access_code(world, delivery, "blue tractor")
    await alice.get(f"/step-up/{delivery}")
    await alice.post(f"/step-up/{delivery}/access-code", {"code": "blue tractor"})
    assert (await alice.get(f"/step-up/{delivery}")).headers["location"] == message


async def test_a_session_says_what_proved_it(world: World) -> None:
    """Its row has each proof with its level, and an hour becomes twelve."""
    alice, _, delivery = await before_the_step(world)
    await give_access_code(world, delivery, "blue tractor")
    await alice.get(f"/step-up/{delivery}")
    await alice.post(f"/step-up/{delivery}/access-code", {"code": "blue tractor"})
    before, now = sorted(await rows(world, sessions), key=lambda row: row["seen_at"])
    assert (before["proofs"], now["proofs"]) == ("emailed-code:1", "access-code:2 emailed-code:1")
    assert before["ended_at"] is not None
    assert (now["ends_at"] - now["started_at"]).total_seconds() == 12 * 3600
    assert now["started_at"] == before["started_at"]


async def test_steps_need_the_pages_token_and_a_session(world: World) -> None:
    """Neither another site nor nobody proves anything."""
    alice, _, delivery = await before_the_step(world)
    forged = await alice.http.post(f"/step-up/{delivery}/access-code", data={"csrf": "x", "code": "x"})
    assert forged.status_code == 403
    nobody = world.browser()
    await nobody.get("/")
    assert (await nobody.post(f"/step-up/{delivery}/access-code", {"code": "x"})).status_code == 401
    assert (await rows(world, deliveries))[0]["tries"] in (None, 0)
