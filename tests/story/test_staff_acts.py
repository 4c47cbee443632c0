"""What staff do with messages: search, take back, give back, extend, end, send again, codes, stricter classes, misdirected."""

import asyncio
import re
from datetime import timedelta

import pytest

from portal.db.deliveries import Delivery
from portal.db.tables import access_codes, deliveries, messages, outbox
from portal.model.assurance import Assurance
from portal.model.errors import RecipientOutOfReach
from portal.model.ids import PolicyId
from portal.model.policy import Policy
from portal.model.staff import Role
from portal.orgs.classes import Classes
from tests.story.seams import all_deliveries, put, rows
from tests.story.staff import OPERATOR, Desk, desk, sender
from tests.world import ALICE, BOB, CAROL, REFERENCE, World, letter

pytestmark = pytest.mark.anyio


async def make_class(world: World, name: str, **more: object) -> Policy:
    wanted = Policy(PolicyId(""), world.northside.id, name, 0, **more)  # type: ignore[arg-type]
    return await Classes(world.house.db, world.house.source, OPERATOR).set(world.northside.id, wanted)


async def admin(world: World) -> Desk:
    return await desk(world, Role.ADMIN, "dora@clinic.example")


async def ids(world: World) -> list[str]:
    return [one.id for one in await all_deliveries(world)]


# -- search


async def test_search_finds_by_each_criterion_and_puts_itself_on_record(world: World) -> None:
    """Recipient, sender, state, notice, class and days each narrow the list; every search is an event with the filters' names."""
    await make_class(world, "results")
    await world.announce()
    await world.announce(b"X-Portal-Class: results\r\n" + letter(message_id="<2@clinic.example>"), (BOB,))
    await world.deliver(
        letter(message_id="<3@clinic.example>"), ("eve@patients.example",), sender="erin@clinic.example"
    )
    dora = await admin(world)

    async def found(**typed: str) -> set[str]:
        await dora.get("/staff/messages")
        answer = await dora.post("/staff/messages/find", typed)
        assert answer.status_code == 303, answer.text
        there = answer.headers["location"]
        assert "@" not in there
        assert "%40" not in there
        await dora.get(there)
        return set(re.findall(r"<bdi>([\w.]+@patients\.example)</bdi></td>", dora.page))

    everybody = {ALICE, BOB, "eve@patients.example"}
    assert await found() == everybody
    assert await found(recipient=ALICE) == {ALICE}
    assert await found(recipient="ALICE@patients.example ") == {ALICE}
    assert await found(recipient="nobody@patients.example") == set()
    assert await found(sender="erin@clinic.example") == {"eve@patients.example"}
    assert await found(**{"class": "results"}) == {BOB}
    assert await found(state="noticed") == {ALICE, BOB}
    assert await found(notice="waiting") == {"eve@patients.example"}
    assert await found(notice="bounced") == set()
    assert await found(**{"from": "2026-11-21", "until": "2026-11-21"}) == everybody
    assert await found(**{"from": "2026-11-22"}) == set()
    assert await found(until="2026-11-20") == set()
    assert await found(recipient=ALICE, state="opened") == set()
    listed = await world.events("MessagesListed")
    assert listed[1 + 1 * 2].detail["query"] == ["recipient"]
    recipient_id = (await all_deliveries(world))[0].recipient_id
    assert recipient_id in {one.detail.get("recipient") for one in listed}
    assert all(ALICE not in str(one.detail) for one in listed)


async def test_a_sender_does_not_learn_who_else_is_a_patient(world: World) -> None:
    """Searching for somebody else's patient answers as for an address that nobody here knows, by address and by id."""
    await world.announce()
    await world.announce(letter(), (BOB,), sender="erin@clinic.example")
    carol = await sender(world)
    pages = []
    for who in (BOB, "never@patients.example"):
        await carol.get("/staff/messages")
        answer = await carol.post("/staff/messages/find", {"recipient": who})
        pages.append(answer.headers["location"])
    assert pages[0] == pages[1]
    bobs = (await all_deliveries(world))[1]
    page = (await carol.get(f"/staff/messages?recipient={bobs.recipient_id}&sender={bobs.sender_hash.hex()}")).text
    assert BOB not in page
    assert "erin@clinic.example" not in page


async def test_a_search_that_can_not_be_meant_says_what_to_do(world: World) -> None:
    """Half an address or a day that is none: the page says so, with what was wrong."""
    dora = await admin(world)
    for typed, said in (({"recipient": "alice"}, "no mail address"), ({"from": "21.11.2026"}, "year-month-day")):
        await dora.get("/staff/messages")
        answer = await dora.post("/staff/messages/find", typed)
        assert (answer.status_code, said in answer.text) == (422, True)
    for path in ("messages", "holds", "certificates", "people", "fallback/relays", "classes"):
        for odd in ("%00", "x" * 3000, "'%20OR%201=1--", "%0d%0aX:y", "\u0661"):
            assert (await dora.get(f"/staff/{path}/{odd}")).status_code in (200, 404), (path, odd)
    await dora.get("/staff/holds/new")
    assert (await dora.post("/staff/holds", {"class": "\0", "reason": "x\0y"})).status_code == 422
    for odd in (
        "?state=x&notice=y&recipient=z&sender=zz&from=q&before=1",
        "?sender=" + "g" * 64,
        "?class=%00",
        "?lang=xx",
    ):
        assert (await dora.get(f"/staff/messages{odd}")).status_code == 200


async def test_the_list_pages_by_key_and_loses_nothing(world: World) -> None:
    """A hundred and ten deliveries are three pages, each delivery once, newest first."""
    for number in range(11):
        who = [f"p{number * 10 + one}@patients.example" for one in range(10)]
        await world.deliver(letter(message_id=f"<{number}@clinic.example>"), who)
    dora = await admin(world)
    seen: list[str] = []
    there, pages = "/staff/messages", 0
    while there:
        await dora.get(there)
        pages += 1
        seen += re.findall(r'name="d" value="([^"]+)"', dora.page)
        more = re.search(r'href="(/staff/messages\?before=[^"]+)"', dora.page)
        there = more[1] if more else ""
    assert (pages, len(seen), len(set(seen))) == (3, 110, 110)
    assert seen == sorted(seen, reverse=True)


async def test_a_message_shows_what_happened_to_each_recipient_in_words(world: World) -> None:
    """Notice with its host and TLS, a machine's fetch, sign-in, views, answer; and never a word of the message."""
    token = await world.announce(letter(html="<p>Well.</p>"), (ALICE, BOB))
    robot = world.browser()
    robot.http.headers["user-agent"] = "curl/8"
    await robot.get(f"/m/{token}")
    alice = world.browser()
    await alice.get(await alice.sign_in(token))
    dora = await admin(world)
    await dora.get(f"/staff/messages/{(await all_deliveries(world))[0].message_id}")
    for words in (
        "Notice handed to localhost, TLSv1",
        "A machine fetched the link (no view)",
        "Signed in by a code by email",
        "Opened and read after the mailbox",
        "Viewed 1 time",
        "Never viewed.",
        "default 1",
    ):
        assert words in dora.page, words
    for words in ("Your results", "All is well", "Well."):
        assert words not in dora.page


# -- acts


@pytest.mark.parametrize("who", ["admin", "sender"])
async def test_take_back_and_give_back(world: World, who: str) -> None:
    """For one recipient only; she reads nothing from that moment, then again; the other is not touched; all on record."""
    token = await world.announce(letter(), (ALICE, BOB))
    alice = world.browser()
    message = await alice.sign_in(token)
    assert (await alice.get(message)).status_code == 200
    staff = await admin(world) if who == "admin" else await sender(world)
    mine, bobs = await ids(world)
    done = await staff.act("revoke", [mine], reason="went to the wrong ward")
    assert done.status_code == 303, done.text
    assert (await alice.get(message)).status_code == 410
    assert [one.state for one in await all_deliveries(world)] == ["revoked", "noticed"]
    (event,) = await world.events("DeliveryRevoked")
    assert (event.who, event.detail["reason"], event.delivery_id) == ("staff", "went to the wrong ward", mine)
    assert event.session
    done = await staff.act("restore", [mine], reason="it was right after all")
    assert done.status_code == 303, done.text
    assert (await alice.get(message)).status_code == 200
    assert bobs != mine


async def test_what_was_answered_disappears_with_the_message(world: World) -> None:
    """Replies that are kept here show what they answer; once it is taken back, neither they nor their files are shown."""
    token = await world.announce()
    alice = world.browser()
    message = await alice.sign_in(token)
    await alice.get(f"{message}/reply")
    draft = alice.page.split('name="draft" value="')[1][:36]
    fields = {"csrf": (None, alice.csrf), "draft": (None, draft), "text": (None, "Thank you!")}
    assert (await alice.http.post(f"{message}/reply", files=fields)).status_code == 303
    assert (await alice.get(f"{message}/replies/{draft}")).status_code == 200
    dora = await admin(world)
    await dora.act("revoke", await ids(world), reason="wrong person")
    for path in (
        message,
        f"{message}/reply",
        f"{message}/replies/{draft}",
        f"{message}/print",
        f"{message}/original.eml",
    ):
        answer = await alice.get(path)
        assert (answer.status_code, "Your results" in answer.text, "Thank you!" in answer.text) == (
            410,
            False,
            False,
        ), path


async def test_extend_end_and_what_a_day_must_be(world: World) -> None:
    """More time by days or by a day; a shorter one, the past and nonsense are refused with what to do; ended is extended again."""
    await world.announce()
    dora = await admin(world)
    (one,) = await ids(world)
    end = (await all_deliveries(world))[0].expires_at
    for fields in (
        {"days": "", "until": "2026-11-22"},
        {"until": "soon"},
        {"days": "0"},
        {"days": "99999"},
        {"until": "2099-01-01"},
    ):
        answer = await dora.act("extend", [one], **fields)
        assert answer.status_code in (409, 422), (fields, answer.status_code)
        assert (await all_deliveries(world))[0].expires_at == end
    assert (await dora.act("extend", [one], days="90")).status_code == 303
    extended = (await all_deliveries(world))[0].expires_at
    assert extended - world.clock.at > timedelta(days=89)
    (message,) = await rows(world, messages)
    assert message["retain_until"] >= extended
    assert (await dora.act("expire", [one])).status_code == 303
    assert (await all_deliveries(world))[0].state == "expired"
    assert (await dora.act("extend", [one], days="14")).status_code == 303
    assert (await all_deliveries(world))[0].state == "noticed"


async def test_a_notice_goes_out_again_and_not_twice_in_ten_minutes(world: World) -> None:
    """The new link works, and so does the old; a second request in the same minutes is refused with what to do."""
    first = await world.announce()
    dora = await admin(world)
    (one,) = await ids(world)
    refused = await dora.act("resend", [one])
    assert (refused.status_code, "ten minutes" in refused.text) == (409, True)
    world.clock.forward(minutes=11)
    assert (await dora.act("resend", [one])).status_code == 303
    await world.worker.send_due()
    second = world.token_for(ALICE)
    assert second != first
    for token in (first, second):
        assert (await world.browser().get(f"/m/{token}")).status_code == 200
    assert world.newest(REFERENCE, ALICE)
    last = refused
    for _ in range(4):
        world.clock.forward(minutes=14)
        await dora.get("/staff/messages")
        last = await dora.act("resend", [one])
        await world.worker.send_due()
    assert (last.status_code, "another way" in last.text) == (409, True)


async def test_an_access_code_is_set_and_replaced(world: World) -> None:
    """Too easy, or given away by its hint: refused; a good one opens what needs two channels, and replaces the one before."""
    await make_class(world, "results", assurance=Assurance.TWO_CHANNELS)
    mail = b"X-Portal-Class: results\r\nX-Portal-Access-Code: blue river 42\r\n" + letter()
    token = await world.announce(mail)
    alice = world.browser()
    message = await alice.sign_in(token)
    carol = await sender(world)
    (one,) = await ids(world)
    for fields in ({"code": "abc"}, {"code": "------"}, {"code": "green hill 7", "hint": "green hill 7"}):
        answer = await carol.act("access-code", [one], **fields)
        assert answer.status_code == 422, fields
    assert (await carol.act("access-code", [one], code="green hill 77", hint="the walk")).status_code == 303
    step = f"/step-up/{message.rsplit('/', 1)[1]}"
    await alice.get(step)
    assert (await alice.post(f"{step}/access-code", {"code": "blue river 42"})).status_code == 422
    await alice.get(step)
    assert (await alice.post(f"{step}/access-code", {"code": "Green-Hill-77"})).status_code == 303
    assert (await alice.get(message)).status_code == 200
    assert b"green" not in (await rows(world, access_codes))[0]["code_hash"].encode()


async def test_a_class_is_raised_never_lowered_and_strands_nobody(world: World) -> None:
    """Without a way for the recipient it is refused with what to do first; then the mailbox alone opens nothing any more."""
    await make_class(world, "results", assurance=Assurance.TWO_CHANNELS, retention_days=2000)
    token = await world.announce()
    alice = world.browser()
    message = await alice.sign_in(token)
    assert (await alice.get(message)).status_code == 200
    dora = await admin(world)
    (one,) = await ids(world)
    stranded = await dora.act("raise", [one], policy_name="results")
    assert (stranded.status_code, "access code first" in stranded.text) == (422, True)
    assert (await dora.act("access-code", [one], code="green hill 77")).status_code == 303
    await dora.fresh()
    assert (await dora.act("raise", [one], policy_name="results")).status_code == 303
    assert (await alice.get(message)).status_code == 303  # to proving more
    (row,) = await rows(world, messages)
    assert row["retain_until"] - world.clock.at > timedelta(days=1999)
    lowered = await dora.act("raise", [one], policy_name="default")
    assert (lowered.status_code, "no less" in lowered.text) == (422, True)
    assert (await world.events("ClassRaised"))[0].detail == {"before": "default 1", "name": "results 1", "needs": 2}
    answer = b"In-Reply-To: <1@clinic.example>\r\n" + letter(message_id="<2@clinic.example>")
    with pytest.raises(RecipientOutOfReach):  # the code she was given belongs to the one message
        await world.deliver(answer)


async def test_misdirected_takes_back_from_all_holds_and_prints_the_evidence(world: World) -> None:
    """One act: nobody reads it any more, nothing of it is destroyed, and the page says who viewed it when, machines apart."""
    token = await world.announce(letter(), (ALICE, BOB))
    robot = world.browser()
    robot.http.headers["user-agent"] = "curl/8"
    await robot.get(f"/m/{token}")
    alice = world.browser()
    message = await alice.sign_in(token)
    await alice.get(message)
    dora = await admin(world)
    (one, _) = await ids(world)
    page = await dora.get(f"/staff/act/misdirected?d={one}")
    assert "Everybody loses the message" in page.text
    done = await dora.send_act("misdirected", [one], reason="sent to the wrong family", owner="Privacy office")
    assert done.status_code == 303, done.text
    assert (await alice.get(message)).status_code == 410
    assert [d.state for d in await all_deliveries(world)] == ["revoked", "revoked"]
    evidence = (await dora.get(done.headers["location"])).text
    for words in (
        "Viewed 1 time",
        "Never viewed.",
        "content shown",
        "192.0.2.7",
        "Machines fetched the link 1 time",
        "Privacy office",
    ):
        assert words in evidence, words
    assert "Your results" not in evidence
    (event,) = await world.events("MessageMisdirected")
    assert event.detail["opened"] == [one]
    world.clock.forward(days=800)
    await world.house.disposition().run()
    assert [d.state for d in await all_deliveries(world)] == ["revoked", "revoked"]


async def test_a_selection_of_the_list_is_acted_on_together(world: World) -> None:
    """What is refused for one is done for the others, and the page says which was which."""
    await world.announce()
    await world.announce(letter(message_id="<2@clinic.example>"), (BOB,))
    dora = await admin(world)
    both = await ids(world)
    await dora.act("revoke", [both[0]], reason="already taken back")
    mixed = await dora.act("revoke", both, reason="all of them now")
    assert (mixed.status_code, "not everything was done" in mixed.text) == (200, True)
    assert [d.state for d in await all_deliveries(world)] == ["revoked", "revoked"]
    nothing = await dora.get("/staff/act/revoke")
    assert (nothing.status_code, "Choose at least one" in nothing.text) == (422, True)
    many = "&".join(f"d={both[0][:-3]}{n:03}" for n in range(201))
    assert (await dora.get(f"/staff/act/revoke?{many}")).status_code == 422


async def test_a_stale_page_changes_nothing(world: World) -> None:
    """Somebody else acted meanwhile: the page comes again as things are now, and nothing is done."""
    await world.announce()
    dora, erin = await admin(world), await desk(world, Role.ADMIN, "erin@clinic.example")
    (one,) = await ids(world)
    await dora.get(f"/staff/act/extend?d={one}")
    assert (await erin.act("revoke", [one], reason="faster than dora")).status_code == 303
    late = await dora.send_act("extend", [one], days="30")
    assert (late.status_code, "Something changed" in late.text) == (409, True)
    assert (await all_deliveries(world))[0].state == "revoked"


async def test_two_admins_at_once(world: World) -> None:
    """Both take back at the same moment: it is taken back once, with one event, and neither sees a fault."""
    await world.announce()
    dora, erin = await admin(world), await desk(world, Role.ADMIN, "erin@clinic.example")
    (one,) = await ids(world)
    for who in (dora, erin):
        await who.get(f"/staff/act/revoke?d={one}")
    answers = await asyncio.gather(*(who.send_act("revoke", [one], reason="both at once") for who in (dora, erin)))
    assert {answer.status_code for answer in answers} <= {303, 409}
    assert len(await world.events("DeliveryRevoked")) == 1


async def test_revoking_while_it_is_read_and_answered(world: World) -> None:
    """Views, an answer and the taking back in one moment: afterwards nothing is shown, and each view that was is on record."""
    token = await world.announce()
    alice = world.browser()
    message = await alice.sign_in(token)
    dora = await admin(world)
    (one,) = await ids(world)
    await dora.get(f"/staff/act/revoke?d={one}")
    views = [alice.http.get(message) for _ in range(10)]
    answers = await asyncio.gather(*views, dora.send_act("revoke", [one], reason="in the middle of it"))
    if answers[-1].status_code == 409:  # she was the first to open it: the page was older than that
        await dora.act("revoke", [one], reason="in the middle of it")
    shown = sum(answer.status_code == 200 for answer in answers[:-1])
    assert {answer.status_code for answer in answers[:-1]} <= {200, 410}
    opened = [event for event in await world.events("MessageOpened") if event.detail["part"] == "summary"]
    assert len(opened) >= shown
    assert (await alice.get(message)).status_code == 410


async def test_revoked_before_its_notice_no_notice_goes_out(world: World) -> None:
    """What is taken back while its notice waits is never announced."""
    await world.deliver()
    dora = await admin(world)
    (one,) = await ids(world)
    await dora.act("revoke", [one], reason="stopped in time")
    await world.worker.send_due()
    assert not [mail for mail in world.sink.messages if ALICE in mail.rcpt_to]
    assert (await rows(world, outbox))[0]["state"] == "dropped"


async def test_asked_again_is_answered_with_one_press(world: World) -> None:
    """An ended and a taken-back message: the requests stand in the list, one press each, and the recipient reads again."""
    token = await world.announce()
    alice = world.browser()
    message = await alice.sign_in(token)
    carol = await sender(world)
    (one,) = await ids(world)
    for act, fields in (("expire", {}), ("revoke", {"reason": "by mistake"})):
        await carol.fresh_code()
        assert (await carol.act(act, [one], **fields)).status_code == 303
        await alice.get(message)
        await alice.post(f"{message}/ask")
        page = await carol.get("/staff/requests")
        assert ALICE in page.text
        answer = "restore" if act == "revoke" else "extend"
        sent = await carol.send_act(answer, [one], days="14", reason="asked again by the recipient", back="requests")
        assert (sent.status_code, sent.headers["location"][:15]) == (303, "/staff/requests")
        assert (await alice.get(message)).status_code == 200
        assert "Nobody has asked" in (await carol.get("/staff/requests")).text


async def test_given_back_after_its_end_it_can_be_read_for_a_while(world: World) -> None:
    """A message that was taken back and whose time ran out meanwhile is readable again for two weeks."""
    await world.announce()
    dora = await admin(world)
    (one,) = await ids(world)
    await dora.act("revoke", [one], reason="for a long while")
    world.clock.forward(days=40)
    await dora.touch()
    assert (await dora.act("restore", [one], reason="needed after all")).status_code == 303
    delivery: Delivery = (await all_deliveries(world))[0]
    assert delivery.state == "noticed"
    assert timedelta(days=13) < delivery.expires_at - world.clock.at <= timedelta(days=14)
    assert (await rows(world, deliveries))[0]["ended_at"] is None
    assert CAROL


ACTS: dict[str, dict[str, str]] = {
    "revoke": {"reason": "for the matrix"},
    "restore": {"reason": "for the matrix"},
    "extend": {"days": "90"},
    "expire": {},
    "resend": {},
    "access-code": {"code": "green hill 77"},
    "raise": {"policy_name": "stricter"},
    "misdirected": {"reason": "for the matrix", "owner": "Privacy office"},
}
READ = {"held", "noticed", "opened", "replied"}
ALLOWED = {
    "revoke": READ | {"expired"},
    "restore": {"revoked"},
    "extend": READ | {"expired"},
    "expire": READ,
    "resend": READ,
    "access-code": READ | {"expired", "revoked"},
    "raise": READ,
    "misdirected": READ | {"expired", "revoked"},
}


@pytest.mark.parametrize("state", ["held", "noticed", "opened", "replied", "expired", "revoked", "disposed"])
async def test_each_act_in_each_state(world: World, state: str) -> None:
    """What a state allows is done, once and with its events; what it does not is refused in words, and changes nothing."""
    await make_class(world, "stricter", retention_days=400)
    reached = {"noticed_at": world.clock.at} if state != "held" else {}
    reached |= {"opened_at": world.clock.at} if state in ("opened", "replied") else {}
    reached |= {"replied_at": world.clock.at} if state == "replied" else {}
    dora = await admin(world)
    for number, (act, fields) in enumerate(ACTS.items()):
        await world.deliver(letter(message_id=f"<{number}@clinic.example>"), (f"p{number}@patients.example",))
        one = (await all_deliveries(world))[-1]
        await put(world, deliveries, {"state": state, **reached}, id=one.id)
        await put(
            world, outbox, {"state": "done", "settled_at": one.accepted_at - timedelta(days=2)}, delivery_id=one.id
        )
        await dora.fresh()
        before = await all_deliveries(world)
        events = len(await world.events())
        answer = await dora.act(act, [one.id], **fields)
        if state in ALLOWED[act]:
            assert answer.status_code == 303, (act, state, answer.text[-700:])
            kinds = {event.kind for event in (await world.events())[events:]}
            assert kinds & {
                "DeliveryRevoked",
                "DeliveryRestored",
                "DeliveryExtended",
                "DeliveryExpired",
                "NoticeRequested",
                "AccessCodeSet",
                "ClassRaised",
                "MessageMisdirected",
            }, act
        else:
            assert answer.status_code in (409, 422), (act, state)
            assert await all_deliveries(world) == before, (act, state)


async def test_revoking_while_an_answer_is_sent(world: World) -> None:
    """Either the answer was in before and is handed over, or it is refused and its text stays with its writer: never half."""
    token = await world.announce()
    alice = world.browser()
    message = await alice.sign_in(token)
    await alice.get(f"{message}/reply")
    draft = alice.page.split('name="draft" value="')[1][:36]
    fields = {"csrf": (None, alice.csrf), "draft": (None, draft), "text": (None, "Thank you, doctor!")}
    dora = await admin(world)
    (one,) = await ids(world)
    await dora.get(f"/staff/act/revoke?d={one}")
    sent, done = await asyncio.gather(
        alice.http.post(f"{message}/reply", files=fields), dora.send_act("revoke", [one], reason="in the middle of it")
    )
    assert sent.status_code in (303, 410)
    submitted = len(await world.events("ReplySubmitted"))
    assert submitted == (1 if sent.status_code == 303 else 0)
    if done.status_code != 303:  # the answer came first, and the page was older than that
        await dora.act("revoke", [one], reason="in the middle of it")
    assert (await all_deliveries(world))[0].state == "revoked"


async def test_a_sender_adds_a_passkey_and_needs_no_more_codes(world: World) -> None:
    """After a code she binds one; the next time one touch is enough, and a dangerous act takes the passkey too."""
    await world.announce()
    carol = await sender(world)
    await carol.get("/staff/account")
    options = (await carol.json("/staff/passkeys/add/options")).json()
    made = carol.device.create(options, "https://portal.example")
    assert (await carol.json("/staff/passkeys/add", {"credential": made, "name": "Desk"})).status_code == 200
    again = Desk(world)
    again.device = carol.device
    assert (await again.touch()).status_code == 200
    assert ALICE in (await again.get("/staff/messages")).text
    world.clock.forward(minutes=6)
    (one,) = await ids(world)
    assert (await again.get(f"/staff/act/expire?d={one}")).status_code == 303
    await again.fresh()
    assert (await again.act("expire", [one])).status_code == 303
