"""What a security review of the console found: each test failed before its fix."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest

from portal.db.engine import Stale
from portal.db.holds import Criteria
from portal.db.tables import holds, outbox, staff, staff_codes, staff_passkeys
from portal.db.tx import ReadTx
from portal.identity import Asked, Identity
from portal.intake import Relay
from portal.lifecycle.end import Lifecycle
from portal.lifecycle.hold import Holds
from portal.lifecycle.misdirected import Misdirected
from portal.model.errors import IdentityRefused, InputRefused, SenderNotYours
from portal.model.events import By, LinkFollowed, Who
from portal.model.ids import PolicyId
from portal.model.policy import Policy
from portal.model.staff import Role
from portal.orgs.classes import Classes
from portal.sealing.open import Fields
from portal.signin import Client
from portal.signin.staff.codes import STEP
from portal.signin.staff.provider import ProviderSignIn
from portal.signin.staff.sessions import StaffSessions
from tests.authenticator import Authenticator
from tests.story.seams import all_deliveries, put, rows
from tests.story.staff import CODE, OPERATOR, Desk, desk, invited, people, sender
from tests.story.test_notices import come_back, report
from tests.world import ALICE, BASE, BOB, CAROL, World, letter

pytestmark = pytest.mark.anyio

HERE = Client("192.0.2.7", "Firefox")


def provider(world: World, roles: Mapping[str, Role]) -> ProviderSignIn:
    house = world.house
    return ProviderSignIn(
        house.db,
        house.sealer,
        Fields(house.epochs()),
        StaffSessions(house.db, house.source),
        house.source,
        issuer="https://id.example",
        org_slug="northside",
        roles=roles,
    )


async def add_passkey(who: Desk, device: Authenticator) -> int:
    """Adds a passkey on the account's page; gives the status."""
    await who.get("/staff/account")
    options = await who.json("/staff/passkeys/add/options")
    if options.status_code != 200:
        return options.status_code
    made = await who.json("/staff/passkeys/add", {"credential": device.create(options.json(), BASE), "name": "Key"})
    return made.status_code


# -- a sender's ways in, and another role


async def test_what_a_mailbox_proved_opens_no_other_role_by_the_provider(world: World) -> None:
    """A session and a passkey that an emailed code stands behind end when the provider makes the sender an admin; it is on record."""
    await world.announce()
    thief = await sender(world)
    assert await add_passkey(thief, thief.device) == 200
    carol = Identity("carol-1", CAROL, "Carol", ("admins",))
    assert await provider(world, {"admins": Role.ADMIN}).sign_in(carol, HERE)
    assert [row["role"] for row in await rows(world, staff)] == ["admin"]
    assert (await thief.get("/staff/people-of-staff")).status_code == 303
    assert (await thief.touch()).status_code == 422
    (changed,) = await world.events("StaffRoleChanged")
    assert (changed.detail["before"], changed.detail["role"]) == ("sender", "admin")
    assert await provider(world, {"admins": Role.ADMIN}).sign_in(carol, HERE)
    assert len(await world.events("StaffRoleChanged")) == 1


@pytest.mark.parametrize("how", ["invite", "role"])
async def test_what_a_mailbox_proved_opens_no_other_role_by_an_admin(world: World, how: str) -> None:
    """A passkey that a sender bound after an emailed code is gone once she is made an admin: her invitation binds a new one."""
    await world.announce()
    thief = await sender(world)
    assert await add_passkey(thief, thief.device) == 200
    dora = await desk(world, Role.ADMIN, "dora@clinic.example")
    await dora.get("/staff/people-of-staff")
    if how == "invite":
        await dora.post("/staff/people-of-staff", {"address": CAROL, "role": "admin"})
    else:
        carols = next(row["id"] for row in await rows(world, staff) if row["role"] == "sender")
        assert (await dora.post(f"/staff/people-of-staff/{carols}/role", {"role": "admin"})).status_code == 303
        await dora.get("/staff/people-of-staff")
        await dora.post("/staff/people-of-staff", {"address": CAROL, "role": "admin"})
    assert (await thief.touch()).status_code == 422
    link = re.search(r"/staff/invite/([\w-]+)", dora.page)
    assert link
    assert (await Desk(world).accept(link[1])).status_code == 200


async def test_whoever_invites_somebody_anew_does_not_get_in_beside_her(world: World) -> None:
    """An invitation of a colleague who has a passkey takes hers away: nobody acts in her name while she notices nothing."""
    dora = await desk(world, Role.ADMIN, "dora@clinic.example")
    erin = await desk(world, Role.AUDITOR, "erin@clinic.example")
    await dora.get("/staff/people-of-staff")
    await dora.post("/staff/people-of-staff", {"address": "erin@clinic.example", "role": "auditor"})
    link = re.search(r"/staff/invite/([\w-]+)", dora.page)
    assert link
    assert (await erin.touch()).status_code == 422
    assert (await Desk(world).accept(link[1])).status_code == 200
    erins = next(row["id"] for row in await rows(world, staff) if row["role"] == "auditor")
    assert len(await rows(world, staff_passkeys, staff_id=erins)) == 1


async def test_a_code_that_was_typed_while_the_role_changed_opens_nothing(world: World) -> None:
    """A session that an emailed code began opens no role but a sender's, also when it was begun a moment after the change."""
    await world.announce()
    carol = await sender(world)
    await put(world, staff, {"role": "admin"}, role="sender")  # as if the change had been committed just before
    assert (await carol.get("/staff/people-of-staff")).status_code == 303


# -- passkeys


async def test_a_passkey_is_changed_after_a_passkey_not_after_a_code(world: World) -> None:
    """Who has one must show it to add or remove one: an emailed code suffices for the first alone, and the page says so."""
    await world.announce()
    carol = await sender(world)
    assert await add_passkey(carol, carol.device) == 200
    world.clock.forward(minutes=6)
    thief = await sender(world)
    assert await add_passkey(thief, thief.device) == 403
    assert "Remove" not in thief.page
    await thief.fresh_code()
    assert await add_passkey(thief, thief.device) == 403
    (only,) = await rows(world, staff_passkeys)
    refused = await thief.post(f"/staff/account/passkeys/{only['id']}/remove")
    assert refused.headers["location"].startswith("/staff/confirm")
    await carol.touch()
    await carol.fresh()
    assert await add_passkey(carol, Authenticator()) == 200


# -- the fallback


async def test_a_relay_that_loses_its_last_domain_does_not_get_all(world: World) -> None:
    """A domain to which alone a relay is bound is not removed: bound to nothing it could hand over mail of every domain."""
    fallback = world.house.fallback(OPERATOR)
    await fallback.add_domain(world.northside, "annex.example")
    made = await fallback.add_relay(world.northside, "annex", None)
    await fallback.bind(world.northside, made.relay.id, ["annex.example"])
    dora = await desk(world, Role.ADMIN, "dora@clinic.example")
    await dora.get("/staff/fallback")
    refused = await dora.post("/staff/fallback/domains/annex.example/remove")
    annex = Relay(made.relay.id, world.northside.id, "annex", made.row.id)
    with pytest.raises(SenderNotYours):
        await world.intake.check_sender(annex, CAROL, "192.0.2.1")
    assert refused.status_code == 422
    await fallback.bind(world.northside, made.relay.id, ["annex.example", "clinic.example"])
    await fallback.remove_domain(world.northside, "annex.example")
    await world.intake.check_sender(annex, CAROL, "192.0.2.1")


# -- holds


async def test_a_message_does_not_leave_its_hold_by_a_change_of_class(world: World) -> None:
    """Held by its class, a message is not put under another one, and outlives its retention."""
    await setup_class(world, "strict")
    await world.announce()
    review = world.clock.at + timedelta(days=30)
    keeping = Holds(world.house.db, world.house.source)
    wanted = Criteria(policy_name="default")
    hold = await keeping.place(world.northside.id, wanted, "a lawsuit", "Privacy office", review, OPERATOR)
    carol = await sender(world)
    (one,) = await all_deliveries(world)
    answer = await carol.act("raise", [one.id], policy_name="strict")
    world.clock.forward(days=400)
    await world.house.disposition().run()
    assert [each.state for each in await all_deliveries(world)] != ["disposed"]
    assert (answer.status_code, "hold keeps" in answer.text) == (422, True)
    await keeping.release(world.northside.id, hold.id, "it is over", OPERATOR)
    assert await world.house.disposition().run() == 1


async def setup_class(world: World, name: str) -> None:
    classes = Classes(world.house.db, world.house.source, OPERATOR)
    await classes.set(world.northside.id, Policy(PolicyId(""), world.northside.id, name, 0))


async def test_what_is_given_more_time_while_disposition_runs_is_kept(world: World) -> None:
    """Disposition looks at the end of retention again in the transaction that destroys: a recipient beside the extended one stays."""
    await world.announce(letter(), (ALICE, BOB))
    world.clock.forward(days=400)
    await world.house.worker()._daily_life()
    one, other = await all_deliveries(world)
    disposition = world.house.disposition()
    (due, _) = await disposition.due()
    await Lifecycle(world.house.db, world.house.source).extend(other, OPERATOR, world.clock.at + timedelta(days=30))
    with suppress(Stale):
        await disposition._destroy(due)
    assert [each.state for each in await all_deliveries(world)] == ["expired", "noticed"]
    assert due.id == one.id


async def test_misdirected_twice_is_one_hold(world: World) -> None:
    """Pressed again, the hold that is in force counts: a sender can't pile up holds, and releasing it releases the message."""
    await world.announce()
    carol = await sender(world)
    (one,) = await all_deliveries(world)
    for _ in range(3):
        answer = await carol.act("misdirected", [one.id], reason="wrong address", owner="Privacy office")
        assert answer.status_code == 303, answer.text
    assert len(await rows(world, holds)) == 1
    assert {event.detail["hold"] for event in await world.events("MessageMisdirected")} == {
        (await rows(world, holds))[0]["id"]
    }


async def test_a_sender_gives_back_nothing_that_went_to_the_wrong_person(world: World) -> None:
    """It is frozen: only an admin gives it back, and only with a word why."""
    await world.announce()
    (one,) = await all_deliveries(world)
    carol = await sender(world)
    assert (await carol.act("misdirected", [one.id], reason="wrong address", owner="Privacy office")).status_code == 303
    refused = await carol.act("restore", [one.id], reason="it was right after all")
    assert "Ask an admin to give it back" in refused.text
    assert [each.state for each in await all_deliveries(world)] == ["revoked"]
    dora = await desk(world, Role.ADMIN, "dora@clinic.example")
    assert (await dora.act("restore", [one.id], reason="it was right after all")).status_code == 303
    assert [each.state for each in await all_deliveries(world)] == ["noticed"]


async def test_misdirected_while_it_is_destroyed_says_so(world: World) -> None:
    """A message that is destroyed between the look and the act gets no hold that keeps nothing."""
    await world.announce()
    (one,) = await all_deliveries(world)
    house = world.house
    world.clock.forward(days=400)

    misdirected = Misdirected(house.db, house.source, Holds(house.db, house.source))
    read = house.db.read

    @asynccontextmanager
    async def reading() -> AsyncIterator[ReadTx]:
        async with read() as tx:
            yield tx
        house.db.read = read  # type: ignore[method-assign]
        await house.disposition().run()

    house.db.read = reading  # type: ignore[method-assign]
    with pytest.raises(InputRefused, match="destroyed"):
        await misdirected.act(world.northside.id, one.message_id, "wrong address", "Privacy office", OPERATOR)
    assert await rows(world, holds) == []


# -- what a sender finds out


async def test_a_sender_learns_of_nobody_she_did_not_write_to(world: World) -> None:
    """Whether an address is a recipient's or a sender's of the organisation a sender's search does not say, nor an id in its URL."""
    await world.announce()
    await world.deliver(letter(to=BOB, message_id="<2@clinic.example>"), (BOB,), sender="erin@clinic.example")
    carol = await sender(world)
    _, bobs = [one.recipient_id for one in await all_deliveries(world)]
    pages = []
    for typed in ({"recipient": BOB}, {"recipient": "never@patients.example"}):
        await carol.get("/staff/messages")
        found = (await carol.post("/staff/messages/find", typed)).headers["location"]
        pages.append((found, visible((await carol.get(found)).text)))
    assert pages[0] == pages[1]
    assert BOB not in (await carol.get(f"/staff/messages?recipient={bobs}")).text
    seen = []
    for who in ("erin@clinic.example", "never@clinic.example"):
        await carol.get("/staff/messages")
        found = (await carol.post("/staff/messages/find", {"sender": who})).headers["location"]
        seen.append(visible((await carol.get(found)).text))
    assert seen[0] == seen[1]
    await carol.get("/staff/messages")
    own = (await carol.post("/staff/messages/find", {"recipient": ALICE, "sender": CAROL})).headers["location"]
    assert f"<strong><bdi>{ALICE}</bdi></strong>" in (await carol.get(own)).text


def visible(page: str) -> str:
    return re.sub(r'value="[^"]+"|nonce="[^"]+"', "", page)


# -- looks on record


async def test_each_look_at_somebody_is_on_record(world: World) -> None:
    """Looking a person up, found or not, and pages that show addresses leave an event: holds, and the page of an act."""
    await world.announce()
    eve = await desk(world, Role.HELP_DESK, "eve@clinic.example")
    await eve.get("/staff/people")
    await eve.post("/staff/people", {"recipient": ALICE})
    await eve.post("/staff/people", {"recipient": "never@patients.example"})
    looks = await world.events("MessagesListed")
    (one,) = await all_deliveries(world)
    assert [(each.detail["found"], each.detail.get("recipient")) for each in looks] == [
        (1, one.recipient_id),
        (0, None),
    ]
    dora = await desk(world, Role.ADMIN, "dora@clinic.example")
    review = world.clock.at + timedelta(days=30)
    hold = await Holds(world.house.db, world.house.source).place(
        world.northside.id, Criteria(recipient_id=one.recipient_id), "a lawsuit", "Office", review, OPERATOR
    )
    for path, name in (("holds", "holds"), (f"holds/{hold.id}", "hold")):
        assert ALICE in (await dora.get(f"/staff/{path}")).text
        assert (await world.events("ReportRead"))[-1].detail["report"] == name
    before = len(await world.events("MessagesListed"))
    assert ALICE in (await dora.get(f"/staff/act/revoke?d={one.id}")).text
    assert len(await world.events("MessagesListed")) == before + 1


# -- evidence


async def test_evidence_of_a_view_is_not_pushed_out_by_fetches(world: World) -> None:
    """A recipient who fetched the link hundreds of times and then read it is shown as one who read it."""
    token = await world.announce()
    (one,) = await all_deliveries(world)
    facts = By(Who.STRANGER, origin="192.0.2.9").facts(world.clock.at, one.org_id, one.message_id, one.id)
    for _ in range(520):
        await world.house.db.record(LinkFollowed(**facts, machine=False))
    alice = world.browser()
    assert (await alice.get(await alice.sign_in(token))).status_code == 200
    dora = await desk(world, Role.ADMIN, "dora@clinic.example")
    page = (await dora.get(f"/staff/messages/{one.message_id}/evidence")).text
    assert "Never viewed" not in page
    assert "content shown" in page


# -- cheap requests


async def test_wrong_codes_and_answers_of_nobody_are_few(world: World) -> None:
    """Each is a line of the record that nobody signed in for: after some hundreds in an hour they are turned away without one."""
    who = Desk(world)
    await who.get("/staff/sign-in")
    form = {"csrf": who.csrf, "code": "00000000"}
    statuses = [(await who.http.post("/staff/sign-in/code/enter", data=form)).status_code for _ in range(310)]
    assert (statuses[0], statuses[-1]) == (422, 429)
    assert len(await world.events("StaffSignInFailed")) == 300


async def test_codes_that_are_asked_for_at_once_are_few(world: World) -> None:
    """Three in a quarter of an hour, also when twenty are asked for in the same moment: their tries count together."""
    await world.announce()
    who = [Desk(world) for _ in range(20)]
    for one in who:
        await one.get("/staff/sign-in")
    await asyncio.gather(*(one.post("/staff/sign-in/code", {"address": CAROL}) for one in who))
    assert len(await rows(world, staff_codes)) == 3


# -- what can't be meant


async def test_what_can_not_be_meant_is_no_error_of_ours(world: World) -> None:
    """The last day there is, a NUL in an address of a page, digits that are none: no page says that something went wrong here."""
    await world.announce()
    dora = await desk(world, Role.ADMIN, "dora@clinic.example")
    auditor = await desk(world, Role.AUDITOR, "au@clinic.example")
    for who, path in (
        (dora, "/staff/messages?until=9999-12-31"),
        (dora, "/staff/messages?from=0001-01-01"),
        (auditor, "/staff/record?until=9999-12-31"),
        (auditor, "/staff/record?from=0001-01-01"),
        (dora, "/staff/messages?class=%00"),
        (dora, "/staff/holds/%00"),
        (dora, "/staff/classes/%00"),
        (dora, "/staff/certificates/%00"),
        (dora, "/staff/fallback/relays/%00"),
    ):
        assert (await who.get(path)).status_code < 500, path
    await dora.get("/staff/classes/default")
    assert (await dora.post("/staff/classes/default", {"base": "²", "life_days": "30"})).status_code == 422
    await dora.get("/staff/holds/new")
    assert (await dora.post("/staff/holds", {"until": "9999-12-31", "class": "a\0b"})).status_code < 500


async def test_two_who_send_a_notice_again_at_once_send_one(world: World) -> None:
    """At the same moment one notice is queued: never two within ten minutes."""
    await world.announce()
    world.clock.forward(hours=1)
    dora, erin = [await desk(world, Role.ADMIN, f"{name}@clinic.example") for name in ("dora", "erin")]
    (one,) = await all_deliveries(world)
    for who in (dora, erin):
        assert (await who.get(f"/staff/act/resend?d={one.id}")).status_code == 200
    answers = await asyncio.gather(*(who.send_act("resend", [one.id]) for who in (dora, erin)))
    assert sorted(answer.status_code for answer in answers) == [303, 409]
    assert len(await rows(world, outbox, state="queued", kind="notice")) == 1


async def test_a_stranger_does_not_keep_a_sender_from_proving_herself(world: World) -> None:
    """Codes that others had sent to her address do not count against the session of a sender who shows once more that it is her."""
    await world.announce()
    carol = await sender(world)
    world.clock.forward(minutes=6)
    mallory = Desk(world)
    await mallory.get("/staff/sign-in")
    for _ in range(3):
        assert (await mallory.post("/staff/sign-in/code", {"address": CAROL})).status_code == 200
    await world.worker.send_due()
    await carol.get("/staff/confirm")
    assert (await carol.post("/staff/confirm/send")).status_code == 200
    await world.worker.send_due()
    answer = await carol.post("/staff/confirm/code", {"code": world.newest(CODE, CAROL)[0]})
    assert answer.status_code == 303


async def test_a_providers_cookie_that_nobody_sealed_lets_nobody_in(world: World) -> None:
    """Made up, cut short or of an unknown key: refused as no sign-in of this browser's."""
    chapter = provider(world, {"admins": Role.ADMIN})
    kept = await chapter.keep(Asked("", "state", "nonce", "verifier"), "/staff")
    assert (await chapter.kept(kept, "state"))[1] == "/staff"
    for cookie in (
        "",
        ".",
        "x.y",
        "nobody.AAAA",
        kept[:-8],
        "\u0130.AAAA",
        f"{kept.partition('.')[0]}.AAAA",
        f"{'a' * 36}.AAAA",
        "\0.AAAA",
    ):
        with pytest.raises(IdentityRefused):
            await chapter.kept(cookie, "state")


async def test_asking_for_a_code_takes_the_same_time_whoever_is_named(world: World) -> None:
    """The answer comes at whole steps of time, long after the work is done: for a sender, for nobody, and for no domain of ours."""
    await world.announce()
    for who in (CAROL, "nobody@clinic.example", "nobody@elsewhere.example"):
        beyond = []
        for _ in range(3):
            browser = Desk(world)
            await browser.get("/staff/sign-in")
            began = time.monotonic()
            assert (await browser.post("/staff/sign-in/code", {"address": who})).status_code == 200
            took = time.monotonic() - began
            assert took >= STEP
            beyond.append(took % STEP)
        assert min(beyond) < STEP / 2, who


async def test_a_senders_code_says_nothing_of_the_recipient(world: World) -> None:
    """The mail hangs on a delivery, and is no part of its story: not sent, not failed, and when it comes back no notice bounced."""
    await world.announce()
    await sender(world)
    back = next(one.mail_from for one in reversed(world.sink.messages) if CAROL in one.rcpt_to)
    await come_back(world, report(final=f"rfc822; {CAROL}"), back)
    await world.worker.send_due()
    assert [event.delivery_id for kind in ("CodeSent", "CodeFailed") for event in await world.events(kind)] == [
        None
    ] * 2
    assert await world.events("NoticeBounced") == []
    (one,) = await all_deliveries(world)
    assert one.bounced_at is None
    assert b"multipart/report" not in world.sink.messages[-1].raw


async def test_many_on_the_staff_are_listed_with_few_questions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody who has sent can have an account: the page of staff asks the database no more for twenty than for one."""
    await desk(world, Role.ADMIN, "dora@clinic.example")
    asked: list[int] = []
    rows_of = ReadTx.rows

    async def counting(tx: ReadTx, statement: Any) -> Any:
        asked[-1] += 1
        return await rows_of(tx, statement)

    monkeypatch.setattr(ReadTx, "rows", counting)
    asked.append(0)
    (dora,) = await people(world).every(world.northside.id)
    assert dora.passkeys == 1
    counted = asked[-1]
    for number in range(20):
        await invited(world, Role.SENDER, f"s{number}@clinic.example")
    asked.append(0)
    assert len(await people(world).every(world.northside.id)) == 21
    assert asked[-1] == counted
