"""Staff come in: invitations, passkeys, senders' codes; roles change, people are shut out, and the last admin stays."""

import asyncio
import re
from typing import Any

import pytest

from portal.db.tables import staff, staff_codes, staff_invites, staff_passkeys, staff_sessions
from portal.model.errors import InputRefused, NotFound
from portal.model.events import By, Who
from portal.model.staff import Person, Role, Verb
from portal.orgs.setup import Setup
from tests.authenticator import Authenticator
from tests.story.seams import rows
from tests.story.staff import CODE, OPERATOR, Desk, desk, invited, people, sender
from tests.world import ALICE, CAROL, World, letter

pytestmark = pytest.mark.anyio


async def test_an_invited_admin_sets_up_a_passkey_and_lists_messages(world: World) -> None:
    """The link binds a passkey; the admin is in, sees who and when, and no subject; all of it on record."""
    await world.announce()
    dora = await desk(world, Role.ADMIN, "dora@clinic.example")
    page = (await dora.get("/staff/messages")).text
    assert ALICE in page
    assert CAROL in page
    assert "Your results" not in page
    (listed,) = await world.events("MessagesListed")
    assert (listed.who, listed.detail["found"]) == ("staff", 1)
    assert [one.kind for one in await world.events() if one.kind.startswith("Staff")] == [
        "StaffInvited",
        "StaffPasskeyAdded",
    ]


async def test_an_invitation_works_once_and_for_a_day(world: World) -> None:
    """Used, lapsed, replaced and made-up links lead nowhere; looking at one uses nothing up."""
    token = await invited(world, Role.AUDITOR, "au@clinic.example")
    for _ in range(3):
        assert (await Desk(world).get(f"/staff/invite/{token}")).status_code == 200
    first = Desk(world)
    assert (await first.accept(token)).status_code == 200
    assert (await Desk(world).get(f"/staff/invite/{token}")).status_code == 404
    late = await invited(world, Role.AUDITOR, "late@clinic.example")
    world.clock.forward(hours=24, seconds=1)
    assert (await Desk(world).get(f"/staff/invite/{late}")).status_code == 404
    old = await invited(world, Role.AUDITOR, "twice@clinic.example")
    new = await invited(world, Role.AUDITOR, "twice@clinic.example")
    assert (await Desk(world).get(f"/staff/invite/{old}")).status_code == 404
    assert (await Desk(world).get(f"/staff/invite/{new}")).status_code == 200
    assert (await Desk(world).get(f"/staff/invite/{'A' * 43}")).status_code == 404


async def test_of_two_who_use_an_invitation_at_once_one_gets_in(world: World) -> None:
    """One passkey is bound and one session begun."""
    token = await invited(world, Role.ADMIN, "dora@clinic.example")
    one, other = Desk(world), Desk(world)
    made = []
    for who in (one, other):
        await who.get(f"/staff/invite/{token}")
        options = (await who.json(f"/staff/invite/{token}/passkeys/add/options")).json()
        made.append(who.device.create(options, "https://portal.example"))
    answers = await asyncio.gather(
        *(
            who.json(f"/staff/invite/{token}/passkeys/add", {"credential": credential})
            for who, credential in zip((one, other), made, strict=True)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200, 404]
    assert len(await rows(world, staff_passkeys)) == len(await rows(world, staff_sessions)) == 1


@pytest.mark.parametrize(
    "twist",
    [
        {"user_verified": False},
        {"cross_origin": True},
        {"origin": "https://evil.example"},
        {"rp_id": "evil.example"},
        {"challenge": b"another challenge"},
    ],
)
async def test_a_ceremony_that_proves_nothing_lets_nobody_in(world: World, twist: dict[str, Any]) -> None:
    """Without user verification, from a foreign page or for another challenge: refused, on record, and the link still works."""
    who = Desk(world)
    token = await invited(world, Role.ADMIN, "dora@clinic.example")
    assert (await who.accept(token, **twist)).status_code == 422
    assert await rows(world, staff_passkeys) == []
    assert (await world.events("StaffSignInFailed"))[-1].detail["method"] == "passkey"
    assert (await who.accept(token)).status_code == 200
    refused = await who.touch(**twist)
    assert refused.status_code == 422
    assert (await who.touch()).status_code == 200


async def test_a_policy_of_device_bound_passkeys_refuses_synced_ones(world: World) -> None:
    """Where the organisation says so, a passkey that may be on several devices is not bound, and the page says what to take."""
    setup = Setup(world.house.db, world.house.source, OPERATOR)
    await setup.present(world.northside, {"device_bound": True})
    who, token = Desk(world), await invited(world, Role.ADMIN, "dora@clinic.example")
    refused = await who.accept(token, Authenticator(eligible=True))
    assert (refused.status_code, "one device only" in refused.json()["say"]) == (422, True)
    assert (await who.accept(token, Authenticator(eligible=False, backed_up=False))).status_code == 200


async def test_a_recipients_passkey_is_nobodys_on_the_staff(world: World) -> None:
    """A passkey that is bound on the recipients' site does not sign in to the console."""
    from tests.story.ways import add_passkey  # the recipients' ways in

    token = await world.announce()
    alice, device = world.browser(), Authenticator()
    await alice.sign_in(token)
    await add_passkey(alice, device)
    mallory = Desk(world)
    mallory.device = device
    assert (await mallory.touch()).status_code == 422


async def test_a_sender_signs_in_by_a_code_to_the_address_that_sent(world: World) -> None:
    """She sees her own messages; her account is made the first time and found the second; the code works once."""
    await world.announce()
    carol = await sender(world)
    assert ALICE in (await carol.get("/staff/messages")).text
    world.clock.forward(minutes=6)
    again = await sender(world)
    assert len(await rows(world, staff)) == 1
    code = world.newest(CODE, CAROL)[0]
    await again.get("/staff/sign-in")
    used = await again.post("/staff/sign-in/code/enter", {"code": code})
    assert used.status_code == 422
    other = Desk(world)
    await other.get("/staff/sign-in")
    assert (await other.post("/staff/sign-in/code/enter", {"code": code})).status_code == 422


async def test_a_code_answers_alike_whoever_asks(world: World) -> None:
    """An address that sent nothing, one of no organisation, an admin's: the same page, and no mail."""
    await world.announce()
    await desk(world, Role.ADMIN, "dora@clinic.example")
    await world.worker.send_due()
    before = len(world.sink.messages)
    pages = []
    for who in ("stranger@clinic.example", "nobody@elsewhere.example", "dora@clinic.example"):
        browser = Desk(world)
        await browser.get("/staff/sign-in")
        answer = await browser.post("/staff/sign-in/code", {"address": who})
        pages.append((answer.status_code, re.sub(r'value="[^"]+"|nonce="[^"]+"|<strong>\w+</strong>', "", answer.text)))
    await world.worker.send_due()
    assert len(world.sink.messages) == before
    assert len(set(pages)) == 1
    known = Desk(world)
    await known.get("/staff/sign-in")
    answer = await known.post("/staff/sign-in/code", {"address": CAROL})
    assert (answer.status_code, re.sub(r'value="[^"]+"|nonce="[^"]+"|<strong>\w+</strong>', "", answer.text)) == pages[
        0
    ]


async def test_codes_are_few_and_tries_are_fewer(world: World) -> None:
    """Five tries a code, three codes in a quarter of an hour, also when fifty are typed at once."""
    await world.announce()
    carol = Desk(world)
    await carol.get("/staff/sign-in")
    for _ in range(5):
        await carol.post("/staff/sign-in/code", {"address": CAROL})
    assert len(await rows(world, staff_codes)) == 3
    answers = await asyncio.gather(
        *(carol.http.post("/staff/sign-in/code/enter", data={"csrf": carol.csrf, "code": f"{n:08}"}) for n in range(50))
    )
    assert {answer.status_code for answer in answers} == {422}
    assert max(row["tries"] for row in await rows(world, staff_codes)) == 5
    await world.worker.send_due()
    right = await carol.post("/staff/sign-in/code/enter", {"code": world.newest(CODE, CAROL)[0]})
    assert right.status_code == 422  # the tries are used up, the right code too


async def test_a_session_of_staff_ends_idle_and_after_eight_hours(world: World) -> None:
    """Fifteen idle minutes end it, and eight hours in any case."""
    dora = await desk(world, Role.ADMIN, "dora@clinic.example")
    world.clock.forward(minutes=14)
    assert (await dora.get("/staff/messages")).status_code == 200
    world.clock.forward(minutes=15)
    assert "over=1" in (await dora.get("/staff/messages")).headers["location"]
    assert (await dora.touch()).status_code == 200
    last = await dora.get("/staff/messages")
    for _ in range(8 * 5 + 1):
        world.clock.forward(minutes=12)
        last = await dora.get("/staff/messages")
    assert last.status_code == 303


async def test_a_new_cookie_at_each_proof_and_the_old_one_is_dead(world: World) -> None:
    """Showing once more who it is replaces the cookie."""
    dora = await desk(world, Role.ADMIN, "dora@clinic.example")
    before = dora.http.cookies["__Host-staff"]
    await dora.fresh()
    after = dora.http.cookies["__Host-staff"]
    assert before != after
    thief = Desk(world)
    thief.http.cookies.set("__Host-staff", before, domain="portal.example")
    assert (await thief.get("/staff/messages")).status_code == 303


async def test_nobody_changes_herself_and_the_last_admin_stays(world: World) -> None:
    """Own role, own exclusion, own invitation: refused with what to do; so is taking away the only admin who can get in."""
    dora = await desk(world, Role.ADMIN, "dora@clinic.example")
    await dora.get("/staff/people-of-staff")
    me = (await rows(world, staff))[0]["id"]
    for path, fields in ((f"{me}/role", {"role": "auditor"}), (f"{me}/disable", {}), (f"{me}/sign-out", {})):
        answer = await dora.post(f"/staff/people-of-staff/{path}", fields)
        assert answer.status_code == 422
        assert "yourself" in answer.text
    answer = await dora.post("/staff/people-of-staff", {"address": "dora@clinic.example", "role": "admin"})
    assert "You can&#39;t invite yourself" in answer.text
    # A second admin who was invited and never came does not count.
    await invited(world, Role.ADMIN, "never@clinic.example")
    eve = await desk(world, Role.HELP_DESK, "eve@clinic.example")
    assert (await eve.get("/staff/people-of-staff")).status_code == 404
    pretender = Person(
        (await rows(world, staff))[2]["id"], world.northside.id, Role.ADMIN, b"", "", world.clock.now(), None
    )
    with pytest.raises(InputRefused, match="last admin"):
        await people(world).disable(pretender, me)
    with pytest.raises(InputRefused, match="last admin"):
        await people(world).change_role(pretender, me, Role.AUDITOR)


async def test_two_admins_who_remove_each_other_leave_one(world: World) -> None:
    """At the same moment, one succeeds and the other is refused: somebody can still get in."""
    dora = await desk(world, Role.ADMIN, "dora@clinic.example")
    erin = await desk(world, Role.ADMIN, "erin@clinic.example")
    ids = [row["id"] for row in await rows(world, staff)]
    for who in (dora, erin):
        await who.get("/staff/people-of-staff")
    answers = await asyncio.gather(
        dora.post(f"/staff/people-of-staff/{ids[1]}/disable"), erin.post(f"/staff/people-of-staff/{ids[0]}/disable")
    )
    assert sorted(answer.status_code for answer in answers)[0] == 303
    left = [row for row in await rows(world, staff) if row["disabled_at"] is None]
    assert len(left) == 1
    assert len(await rows(world, staff_passkeys, staff_id=left[0]["id"])) == 1


async def test_a_changed_role_and_an_exclusion_count_at_once(world: World) -> None:
    """Sessions of the person end in that moment; who is shut out has no passkey any more, until she is invited anew."""
    dora = await desk(world, Role.ADMIN, "dora@clinic.example")
    eve = await desk(world, Role.HELP_DESK, "eve@clinic.example")
    eves = next(row["id"] for row in await rows(world, staff) if row["role"] == "help-desk")
    await dora.get("/staff/people-of-staff")
    assert (await dora.post(f"/staff/people-of-staff/{eves}/role", {"role": "auditor"})).status_code == 303
    assert (await eve.get("/staff/messages")).status_code == 303
    assert (await eve.touch()).status_code == 200
    assert (await eve.get("/staff/messages")).status_code == 404
    assert (await eve.get("/staff/record")).status_code == 200
    await dora.get("/staff/people-of-staff")
    assert (await dora.post(f"/staff/people-of-staff/{eves}/disable")).status_code == 303
    assert (await eve.get("/staff/record")).status_code == 303
    assert (await eve.touch()).status_code == 422
    await dora.post("/staff/people-of-staff", {"address": "eve@clinic.example", "role": "auditor"})
    assert len([row for row in await rows(world, staff_invites) if row["used_at"] is None]) == 1
    link = re.search(r"/staff/invite/([\w-]+)", dora.page)
    assert link
    assert (await Desk(world).accept(link[1])).status_code == 200


async def test_passkeys_are_added_and_removed_by_their_owner(world: World) -> None:
    """A second one signs in too; the last can't be removed; removing one ends the other sessions."""
    dora = await desk(world, Role.ADMIN, "dora@clinic.example")
    await dora.get("/staff/account")
    options = (await dora.json("/staff/passkeys/add/options")).json()
    spare = Authenticator()
    made = await dora.json(
        "/staff/passkeys/add", {"credential": spare.create(options, "https://portal.example"), "name": "Key"}
    )
    assert made.status_code == 200
    second = Desk(world)
    second.device = spare
    assert (await second.touch()).status_code == 200
    first, _ = [row["id"] for row in await rows(world, staff_passkeys)]
    await dora.get("/staff/account")
    assert (await dora.post(f"/staff/account/passkeys/{first}/remove")).status_code == 303
    assert (await second.get("/staff/messages")).status_code == 303
    last = (await rows(world, staff_passkeys))[0]["id"]
    await dora.get("/staff/account")
    refused = await dora.post(f"/staff/account/passkeys/{last}/remove")
    assert (refused.status_code, "only passkey" in refused.text) == (422, True)


async def test_a_copied_passkey_lets_nobody_in(world: World) -> None:
    """A counter that does not rise: for staff that is no signal but the end of it."""
    dora = Desk(world)
    dora.device = Authenticator(counts=True)
    assert (await dora.accept(await invited(world, Role.ADMIN, "dora@clinic.example"))).status_code == 200
    assert (await dora.touch()).status_code == 200
    dora.device.credentials[0].count -= 1
    assert (await dora.touch()).status_code == 422


async def test_the_operator_can_name_nobody_of_another_organisation(world: World) -> None:
    """Ids of another organisation's staff are nobody's here."""
    await desk(world, Role.ADMIN, "x@practice.example", world.southside)
    theirs = (await rows(world, staff))[0]["id"]
    dora = await desk(world, Role.ADMIN, "dora@clinic.example")
    await dora.get("/staff/people-of-staff")
    assert "x@practice.example" not in dora.page
    assert (await dora.post(f"/staff/people-of-staff/{theirs}/disable")).status_code == 404
    asker = Person(theirs, world.northside.id, Role.ADMIN, b"", "", world.clock.now(), None)
    with pytest.raises(NotFound):
        await people(world).disable(asker, "01a1fdb2-dcc0-706a-9d6a-be19c0bab1d0")
    assert By(Who.STAFF).who == "staff"
    assert Person(theirs, world.northside.id, Role.SENDER, b"x", "", world.clock.now(), None).may(
        Verb.SEE, world.northside.id, b"x"
    )


async def test_a_sender_who_sends_again_stays_the_same(world: World) -> None:
    """A second message is in the same account's list; another sender's is not."""
    await world.announce()
    carol = await sender(world)
    await world.announce(letter(message_id="<2@clinic.example>"))
    page = (await carol.get("/staff/messages")).text
    assert page.count(f"<bdi>{ALICE}</bdi>") == 2
