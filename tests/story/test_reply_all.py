"""A reply to the others of a message: only to those whom its class and the organisation's own domains allow, whatever a form says."""

import re
from collections.abc import Sequence

import pytest

from portal.db.tables import grants, outbox, replies
from portal.model.events import By, Who
from portal.model.ids import PolicyId
from portal.model.policy import Policy
from portal.model.staff import Role
from tests.story.seams import prepared, rows
from tests.story.staff import desk
from tests.story.test_replying import draft
from tests.world import ALICE, BOB, CAROL, Browser, World, letter

pytestmark = pytest.mark.anyio

DESK, LAB = "desk@clinic.example", "lab@clinic.example"
WARNED = "whom the message names:"


async def allow(world: World, *, others: bool = True) -> None:
    wanted = Policy(PolicyId(""), world.northside.id, "default", 0, reply_all=others)
    await world.house.classes(By(Who.OPERATOR, "dora")).set(world.northside.id, wanted)


def to_many(to: str, cc: str = "", more: Sequence[str] = ()) -> bytes:
    fields = [f"To: {to}", *([f"Cc: {cc}"] if cc else []), *more]
    return letter().replace(f"To: {ALICE}".encode(), "\r\n".join(fields).encode())


async def at_page(world: World, mail: bytes) -> tuple[Browser, str, str]:
    token = await world.announce(mail)
    await prepared(world)
    alice = world.browser()
    message = await alice.sign_in(token)
    return alice, message, await draft(alice, message)


def named(page: str) -> list[str]:
    """Whom the page for a reply names as others."""
    found = re.search(r'<ul class="hint" id="others">(.*?)</ul>', page)
    return re.findall(r"<bdi>([^<]*)</bdi>", found[1]) if found else []


async def press(alice: Browser, message: str, draft_id: str, act: str = "send", **fields: str) -> int:
    form = {"csrf": alice.csrf, "draft": draft_id, "text": "Thank you all.", "act": act, **fields}
    answer = await alice.http.post(f"{message}/reply", files=[(name, (None, text)) for name, text in form.items()])
    alice.page = answer.text
    if answer.status_code == 303:
        await alice.get(answer.headers["location"])
    return answer.status_code


async def test_a_reply_goes_to_the_others_too_when_she_says_so(world: World) -> None:
    """They are named before it is sent, on the receipt, in the thread and in the mail's Cc; kept with the draft; hashed on record."""
    await allow(world)
    alice, message, draft_id = await at_page(
        world, to_many(f"{ALICE}, Front Desk <{DESK}>", f'"Lab, north" <{LAB.upper()}>')
    )
    assert named(alice.page) == [DESK, LAB]
    assert 'name="to_all" value="yes" aria' in alice.page  # not ticked
    assert await press(alice, message, draft_id, "save", to_all="yes") == 303
    await alice.get(f"{message}/reply/{draft_id}")
    assert 'name="to_all" value="yes" checked' in alice.page
    version = re.search(r'name="version" value="([^"]*)"', alice.page)
    assert version
    assert await press(alice, message, draft_id, "preview", to_all="yes", version=version[1]) == 200
    assert 'name="to_all" value="yes" checked' in alice.page
    assert await press(alice, message, draft_id, to_all="yes", version=version[1]) == 303
    assert f"<dd><bdi>{DESK}</bdi>, <bdi>{LAB}</bdi></dd>" in alice.page
    await world.worker.send_due()
    [caught] = [one for one in world.sink.messages if CAROL in one.rcpt_to]
    assert caught.rcpt_to == (CAROL, DESK, LAB)
    assert caught.tls
    mail = world.read(caught)
    assert [one.addr_spec for one in mail["Cc"].addresses] == [DESK, LAB]
    assert [one.addr_spec for one in mail["To"].addresses] == [CAROL]
    assert "All is well." not in world.text_for(CAROL)  # nothing of the message answered but its subject
    page = (await alice.get(message)).text
    assert f"<bdi>{DESK}</bdi>, <bdi>{LAB}</bdi>" in page
    assert "Not all of these" not in page
    assert f"<bdi>{LAB}</bdi>" in (await alice.get(f"{message}/print")).text
    [sent] = await world.events("ReplySubmitted")
    assert sent.detail["also_to"] == [
        world.house.sealer.index(world.northside.id, "recipient", one).hex() for one in (DESK, LAB)
    ]
    assert DESK not in repr(await world.events())
    [over] = await world.events("ReplyHandedOver")
    assert over.detail["left_out"] == 0
    assert await rows(world, grants, reader="handover") == []


async def test_it_goes_to_the_sender_alone_unless_she_says_so(world: World) -> None:
    """Nothing ticked, or anything but yes: the sender alone, and no Cc."""
    await allow(world)
    alice, message, draft_id = await at_page(world, to_many(f"{ALICE}, {DESK}"))
    for said in ({}, {"to_all": LAB}, {"to_all": "yes\r\nBcc: mallory@evil.example"}):
        assert await press(alice, message, draft_id, **said) == 303
        await world.worker.send_due()
        assert [one.rcpt_to for one in world.sink.messages if CAROL in one.rcpt_to][-1] == (CAROL,)
        assert world.mail_for(CAROL)["Cc"] is None
        draft_id = await draft(alice, message)


HOSTILE = {
    "nobody but herself": (ALICE, "", []),
    "herself written otherwise, and the sender": (f"A <{ALICE.upper()}>, {CAROL}, C <{CAROL.title()}>", "", []),
    "another patient": (f"{ALICE}, {BOB}", "", []),
    "another organisation, and strangers": (ALICE, "x@practice.example, mallory@evil.example", []),
    "look-alikes of the domain": (
        ALICE,
        "a@clinic.example.evil.example, b@evilclinic.example, c@sub.clinic.example, d@clinic.example@evil.example",
        ["Cc: e@clin\u0456c.example, <mallory@evil.example> (f@clinic.example)"],
    ),
    "a name that looks like an address": (ALICE, f'"desk@clinic.example" <mallory@evil.example>, "<{DESK}>" <m@evil.example>', []),
    "the portal's own addresses": (ALICE, "portal@clinic.example, reply+abc@portal.example, bounce+x@portal.example", []),
    "routes through the domain": (ALICE, "m%evil.example@clinic.example, evil.example!m@clinic.example", []),
    "blind copies": (ALICE, "", [f"Bcc: {DESK}", f"Resent-To: {LAB}", f"Reply-To: {DESK}", f"X-Cc: {LAB}"]),
    "line ends and commands": (ALICE, "=?utf-8?q?desk=40clinic.example=0d=0aBcc:m=40evil.example?=", []),
    "no ASCII": (ALICE, "d\u00e9sk@clinic.example, =?utf-8?q?d=C3=A9sk=40clinic.example?=", []),
    "no address": (ALICE, "clinic.example, @clinic.example, undisclosed-recipients:;, a b@clinic.example", []),
}  # fmt: skip


async def test_nobody_else_is_ever_named_or_mailed(world: World) -> None:
    """Strangers, patients, other organisations, blind copies and look-alikes are not offered; a crafted yes mails the sender alone."""
    await allow(world)
    alice = world.browser()
    for number, (what, (to, cc, more)) in enumerate(HOSTILE.items()):
        mail = to_many(to, cc, more).replace(b"<1@clinic.example>", b"<h%d@clinic.example>" % number)
        token = await world.announce(mail)
        if number == 0:
            message = await alice.sign_in(token)
        else:
            page = (await alice.get("/inbox")).text
            message = re.findall(r'href="(/messages/[^"/]+)"', page)[0]
        draft_id = await draft(alice, message)
        assert (named(alice.page), WARNED in alice.page) == ([], False), what
        assert await press(alice, message, draft_id, to_all="yes", others=DESK, cc=DESK) == 303, what
        await world.worker.send_due()
        assert [one.rcpt_to for one in world.sink.messages if CAROL in one.rcpt_to][-1] == (CAROL,), what


async def test_a_class_decides_and_a_message_keeps_its_class(world: World) -> None:
    """Off by default; a message keeps what it came under, both ways. A domain that is removed takes its people out."""
    alice, before, draft_id = await at_page(world, to_many(f"{ALICE}, {DESK}"))
    assert WARNED not in alice.page
    await allow(world)
    assert await press(alice, before, draft_id, to_all="yes") == 303
    await world.worker.send_due()
    assert DESK not in str([one.rcpt_to for one in world.sink.messages])
    fallback = world.house.fallback(By(Who.OPERATOR, "dora"))
    await fallback.add_domain(world.northside, "second.example")
    second = to_many(f"{ALICE}, x@second.example, y@third.example").replace(
        b"<1@clinic.example>", b"<2@clinic.example>"
    )
    await world.announce(second)
    await allow(world, others=False)
    message = re.findall(r'href="(/messages/[^"/]+)"', (await alice.get("/inbox")).text)[0]
    draft_id = await draft(alice, message)
    assert named(alice.page) == ["x@second.example"]
    await fallback.remove_domain(world.northside, "second.example")
    assert await press(alice, message, draft_id, to_all="yes") == 303
    await world.worker.send_due()
    assert "@second" not in str([one.rcpt_to for one in world.sink.messages])


async def test_so_many_and_no_more(world: World) -> None:
    """A message to a thousand is answered to twenty at most, each once, all of them named."""
    await allow(world)
    crowd = ", ".join(f"n{number // 2}@clinic.example" for number in range(200))
    alice, message, draft_id = await at_page(world, to_many(f"{ALICE}, {crowd}"))
    found = named(alice.page)
    assert found == [f"n{number}@clinic.example" for number in range(20)]
    assert await press(alice, message, draft_id, to_all="yes") == 303
    await world.worker.send_due()
    assert [one.rcpt_to for one in world.sink.messages if CAROL in one.rcpt_to] == [(CAROL, *found)]


async def test_one_who_is_refused_does_not_keep_it_from_the_rest(world: World) -> None:
    """Refused for good: left out, counted on record and said on the page. Refused for now: tried again whole, a few times."""
    await allow(world)
    alice, message, draft_id = await at_page(world, to_many(f"{ALICE}, {DESK}, {LAB}"))
    world.sink.refuse_with, world.sink.refuse_for = "451 4.2.1 later", frozenset([DESK])
    assert await press(alice, message, draft_id, to_all="yes") == 303
    for _ in range(6):
        await world.worker.send_due()
        world.clock.forward(minutes=12)
    assert [one for one in world.sink.messages if CAROL in one.rcpt_to] == []
    assert [one["state"] for one in await rows(world, replies)] == ["queued"]
    await world.worker.send_due()
    assert [one.rcpt_to for one in world.sink.messages if CAROL in one.rcpt_to] == [(CAROL, LAB)]
    await alice.sign_in(world.token_for(ALICE))
    assert "Not all of these could be reached." in (await alice.get(message)).text
    world.sink.refuse_with = "550 5.1.1 no such mailbox"
    draft_id = await draft(alice, message)
    assert await press(alice, message, draft_id, to_all="yes") == 303
    await world.worker.send_due()
    assert [one.rcpt_to for one in world.sink.messages if CAROL in one.rcpt_to] == [(CAROL, LAB)] * 2
    assert [one.detail["left_out"] for one in await world.events("ReplyHandedOver")] == [1, 1]
    assert [one["left_out"] for one in await rows(world, replies)] == [1, 1]
    world.sink.refuse_for = frozenset([CAROL])
    draft_id = await draft(alice, message)
    assert await press(alice, message, draft_id, to_all="yes") == 303
    await world.worker.send_due()
    assert (await rows(world, replies))[-1]["state"] == "failed"
    assert {one["state"] for one in await rows(world, outbox, kind="reply")} == {"done", "failed"}


async def test_a_host_that_hangs_up_for_another_takes_it_for_the_sender(world: World) -> None:
    """As one does that was named many mailboxes it doesn't have: tried whole a few times, then the sender alone gets it, once."""
    await allow(world)
    alice, message, draft_id = await at_page(world, to_many(f"{ALICE}, {DESK}, {LAB}"))
    world.sink.refuse_with, world.sink.refuse_for = "421 4.7.0 too many errors", frozenset([LAB])
    assert await press(alice, message, draft_id, to_all="yes") == 303
    for _ in range(8):
        await world.worker.send_due()
        world.clock.forward(minutes=12)
    assert [one.rcpt_to for one in world.sink.messages if CAROL in one.rcpt_to] == [(CAROL,)]
    assert [one.detail["left_out"] for one in await world.events("ReplyHandedOver")] == [2]


async def test_who_is_signed_out_while_writing_keeps_her_choice(world: World) -> None:
    """The page to sign in again on carries it, and sends nothing."""
    await allow(world)
    alice, message, draft_id = await at_page(world, to_many(f"{ALICE}, {DESK}"))
    world.clock.forward(minutes=31)
    assert await press(alice, message, draft_id, to_all="yes") == 401
    assert '<input type="hidden" name="to_all" value="yes">' in alice.page
    assert await rows(world, replies) == []


async def test_a_class_is_told_so_in_the_console(world: World) -> None:
    """Off until an admin says so; the change is shown first, and on record."""
    dora = await desk(world, Role.ADMIN, "dora@clinic.example")
    page = (await dora.get("/staff/classes/default")).text
    fields = dict(re.findall(r'name="(life_days|retention_days|reminder_days|warn_days|base)" value="([^"]*)"', page))
    fields |= {
        "assurance": "1",
        "reply": "yes",
        "unverified": "yes",
        "previews": "yes",
        "scan": "tried",
        "reply_all": "yes",
    }
    assert "Answers to all" in (await dora.post("/staff/classes/default", fields)).text
    assert '<input type="hidden" name="reply_all" value="yes">' in dora.page
    assert (await dora.post("/staff/classes/default", {**fields, "sure": "yes"})).status_code == 303
    assert (await world.events("PolicySet"))[-1].detail["reply_all"] is True
