"""A new message to an organisation: where it takes any, by somebody who has read one of its own, to its one address and no other."""

import re
from typing import Any

import pytest

from portal.db import threads
from portal.db.tables import deliveries, grants, messages, organisations, replies, reply_files
from portal.model.errors import InputRefused
from portal.model.events import By, Who
from portal.model.ids import ReplyId
from portal.model.staff import Role
from portal.orgs.setup import Setup
from portal.reply.compose import MOST_A_DAY
from tests.story.seams import delivery, prepared, put, rows
from tests.story.staff import desk
from tests.world import ALICE, BOB, CAROL, Browser, World, letter

pytestmark = pytest.mark.anyio

CONTACT = "contact@clinic.example"
DORA = By(Who.OPERATOR, "dora")


async def takes(world: World, contact: str | None = CONTACT) -> None:
    organisation = await Setup(world.house.db, world.house.source, DORA).organisation("northside")
    await Setup(world.house.db, world.house.source, DORA).present(organisation, {"contact": contact})


async def reading(world: World, *, opened: bool = True) -> tuple[Browser, str]:
    """Alice signed in, with one message of the clinic."""
    token = await world.announce()
    await prepared(world)
    alice = world.browser()
    message = await alice.sign_in(token)
    if opened:
        await alice.get(message)
    return alice, message


def offered(page: str) -> str | None:
    found = re.search(r'href="(/messages/[^"]+/reply\?new=yes)"', page)
    return found[1] if found else None


async def writing(alice: Browser) -> tuple[str, str]:
    """At the page that the inbox offers: where its form goes, and the draft's id."""
    href = offered((await alice.get("/inbox")).text)
    assert href
    assert (await alice.get(href)).status_code == 200
    return href.partition("?")[0], alice.page.split('name="draft" value="')[1][:36]


async def send(alice: Browser, action: str, draft: str, files: Any = (), **fields: str) -> int:
    form = {
        "csrf": alice.csrf,
        "draft": draft,
        "new": "yes",
        "subject": "A question",
        "text": "When do I come?",
        "act": "send",
    }
    parts = [(name, (None, text)) for name, text in (form | fields).items()]
    answer = await alice.http.post(action, files=[*parts, *files])
    alice.page = answer.text
    if answer.status_code == 303:
        await alice.get(answer.headers["location"])
    return answer.status_code


async def test_a_new_message_reaches_the_organisation(world: World) -> None:
    """By the form alone: subject, text and file go to its address, in no thread; receipt, record and copy are as a reply's."""
    await takes(world)
    alice, message = await reading(world)
    action, draft = await writing(alice)
    assert "Your results" not in alice.page  # nothing of the message it is kept beside
    file = [("files", ("list.pdf", b"%PDF-1.7 x", "application/pdf"))]
    assert await send(alice, action, draft, file) == 303
    assert "Your message is on its way" in alice.page
    assert "list.pdf" in alice.page
    await world.worker.send_due()
    [caught] = [one for one in world.sink.messages if CONTACT in one.rcpt_to]
    mail = world.read(caught)
    assert (caught.rcpt_to, caught.tls is not None) == ((CONTACT,), True)
    assert (mail["Subject"], mail["In-Reply-To"], mail["References"], mail["Cc"]) == ("A question", None, None, None)
    assert mail["Reply-To"].addresses[0].addr_spec == ALICE
    assert [one.get_filename() for one in mail.iter_attachments()] == ["list.pdf"]
    assert "When do I come?" in world.text_for(CONTACT)
    assert "All is well" not in caught.raw.decode()
    [sent] = await world.events("ReplySubmitted")
    assert (sent.detail["fresh"], sent.detail["attachments"], sent.detail["also_to"]) == (True, 1, [])
    assert "A question" not in repr(await world.events())
    assert [one.kind for one in await world.events("ReplyHandedOver")] == ["ReplyHandedOver"]
    assert await rows(world, grants, reader="handover") == []
    assert (await delivery(world, message.rpartition("/")[2])).state == "opened"  # not replied to
    inbox = (await alice.get("/inbox")).text
    assert "You wrote to Northside Clinic on" in inbox
    assert "Delivered" in inbox
    assert "When do I come?" not in (await alice.get(message)).text
    await put(world, deliveries, {"needs": 3})
    answers = [ReplyId(draft)]
    assert await threads.floor(world.house.db, world.northside.id, [], answers) == 3  # an answer to it opens no lower


async def test_it_is_begun_saved_found_and_thrown_away(world: World) -> None:
    """A draft keeps its subject, stands in the inbox and not with the message, and is no view of any message until it is opened."""
    await takes(world)
    alice, message = await reading(world)
    action, draft = await writing(alice)
    before = len(await world.events("MessageOpened"))
    assert await send(alice, action, draft, act="save", subject="  Two\r\nlines \u202e ") == 303
    assert "You began a message on" in alice.page
    assert len(await world.events("MessageOpened")) == before
    assert "You began a reply" not in (await alice.get(message)).text
    page = (await alice.get(f"{action}/{draft}")).text
    assert 'name="subject" maxlength="200" dir="auto" autocomplete="off" value="Two lines"' in page
    assert "When do I come?" in page
    answer = await alice.http.post(
        f"{action}/{draft}/discard", files={"csrf": (None, alice.csrf), "new": (None, "yes")}
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/inbox")
    assert await rows(world, replies) == []
    headers = {
        "x-csrf-token": alice.csrf,
        "content-type": "application/pdf",
        "content-disposition": "attachment; filename*=UTF-8''a.pdf",
    }
    done = await alice.http.put(f"{action}/{draft}/files", params={"new": "yes"}, content=b"x", headers=headers)
    assert done.status_code == 201
    assert 'name="new" value="yes"' in (await alice.get(f"{action}/{draft}")).text
    assert len(await rows(world, reply_files)) == 1


async def test_it_is_offered_only_where_it_is_taken(world: World) -> None:
    """Off by default; not before she has opened a message, nor beside one that ended, is another's or takes no answer."""
    alice, message = await reading(world)
    action = f"{message}/reply"
    draft = world.house.source.new_id()
    assert offered((await alice.get("/inbox")).text) is None
    assert (await alice.get(f"{action}?new=yes")).status_code == 404
    await alice.get(action)
    assert await send(alice, action, draft) == 404
    await takes(world)
    assert offered((await alice.get("/inbox")).text) == f"{action}?new=yes"
    which = message.rpartition("/")[2]
    for values, status in (
        ({"state": "noticed"}, 404),
        ({"state": "opened", "reply_allowed": False}, 404),
        ({"reply_allowed": True, "state": "revoked"}, 410),
    ):
        await put(world, deliveries, values, id=which)
        assert offered((await alice.get("/inbox")).text) is None, values
        assert (await alice.get(f"{action}?new=yes")).status_code == status, values
        assert await send(alice, action, draft) == status, values
        assert await send(alice, action, draft, act="save") == status, values
    await put(world, deliveries, {"state": "opened"}, id=which)
    await world.announce(letter(message_id="<9@clinic.example>", to=BOB), (BOB,))
    bob = world.browser()
    await bob.sign_in(world.token_for(BOB), BOB)
    await bob.get("/inbox")
    assert await send(bob, action, draft) == 404
    await put(
        world, organisations, {"contact": "x@practice.example"}, slug="northside"
    )  # a domain that is not its own any more
    assert offered((await alice.get("/inbox")).text) is None
    assert await send(alice, action, draft) == 404
    assert await rows(world, replies) == []
    assert [one for one in world.sink.messages if one.rcpt_to[0].startswith(("x@", "contact@"))] == []


async def test_no_form_says_where_it_goes_or_writes_a_field(world: World) -> None:
    """Other addresses, other organisations and line ends in a form change nothing; without its token nothing is taken."""
    await takes(world)
    alice, _ = await reading(world)
    subjects = (
        "x\r\nBcc: mallory@evil.example",
        "x\nTo: mallory@evil.example\n\nbody",
        "=?utf-8?q?a=0d=0aBcc:_m=40evil.example?=",
        "a\x85b\u2028Bcc: m@evil.example",
        "y" * 5000,
    )
    for subject in subjects:
        action, draft = await writing(alice)
        more = {"to": "mallory@evil.example", "contact": "m@evil.example", "to_all": "yes", "org": world.southside.id}
        assert await send(alice, action, draft, subject=subject, **more) == 303
        await world.worker.send_due()
        caught = world.sink.messages[-1]
        assert caught.rcpt_to == (CONTACT,)
        head = caught.raw.split(b"\r\n\r\n")[0].lower()
        assert (b"\nbcc:" in head, b"\ncc:" in head, head.count(b"\nto:")) == (False, False, 1)
        assert len(world.read(caught)["Subject"]) <= 201
    action, draft = await writing(alice)
    for subject in ("", "  \r\n", "\u202e\u200b"):
        assert await send(alice, action, draft, subject=subject) == 422
        assert "Say what your message is about." in alice.page
        assert "When do I come?" in alice.page
    assert await send(alice, action, draft, csrf="") == 403
    assert len(await rows(world, replies)) == len(subjects)


async def test_so_many_a_day_and_no_more(world: World) -> None:
    """One more than a day may have is refused with what was typed still there; a day later it goes. What was begun before them all
    is still found."""
    await takes(world)
    alice, message = await reading(world)
    action, begun = await writing(alice)
    assert await send(alice, action, begun, act="save") == 303
    for _ in range(MOST_A_DAY):
        action, draft = await writing(alice)
        assert await send(alice, action, draft) == 303
    action, draft = await writing(alice)
    assert await send(alice, action, draft, text="One more.") == 429
    assert "One more." in alice.page
    assert len(await rows(world, replies)) == MOST_A_DAY + 1
    assert f'{action}/{begun}"' in (await alice.get("/inbox")).text
    while await world.worker.send_due():
        pass
    world.clock.forward(hours=25)
    await alice.sign_in(world.token_for(ALICE))
    action, draft = await writing(alice)
    assert await send(alice, action, draft) == 303
    assert message in action


async def test_who_is_shut_out_sends_nothing_and_an_end_takes_it_along(world: World) -> None:
    """Signed out, the form keeps all and sends nothing; taken back, the message beside takes draft, copy and way along."""
    await takes(world)
    alice, message = await reading(world)
    action, draft = await writing(alice)
    world.clock.forward(minutes=31)
    assert await send(alice, action, draft) == 401
    assert '<input type="hidden" name="new" value="yes">' in alice.page
    assert '<input type="hidden" name="subject" value="A question">' in alice.page
    assert await rows(world, replies) == []
    await alice.sign_in(world.token_for(ALICE))
    action, draft = await writing(alice)
    assert await send(alice, action, draft) == 303
    await put(world, deliveries, {"state": "revoked"})
    assert (await alice.get(f"{message}/replies/{draft}")).status_code == 410
    inbox = (await alice.get("/inbox")).text
    assert offered(inbox) is None
    assert "You wrote to" not in inbox
    world.clock.forward_from_the_disk(days=400)
    await world.house.disposition().run()
    assert [row["text_sealed"] for row in await rows(world, replies)] == [None]
    assert await rows(world, grants, container_id=draft) == []


async def test_its_words_outlive_the_message_beside(world: World) -> None:
    """When that ends while she writes, the page goes on beside another of hers, without files; what was sent is not offered twice."""
    await takes(world)
    alice, first = await reading(world)
    await world.announce(letter(message_id="<2@clinic.example>"))
    second = re.findall(r'href="(/messages/[^"/]+)"', (await alice.get("/inbox")).text)[0]
    await alice.get(second)
    action, draft = await writing(alice)
    assert (action, first != second) == (f"{second}/reply", True)
    assert await send(alice, action, draft, act="save") == 303
    version = (await rows(world, replies))[0]["version"]
    await put(world, deliveries, {"state": "revoked"}, id=second.rpartition("/")[2])
    for act in ("send", "save"):
        assert await send(alice, action, draft, act=act, version=version) == 409
        assert f'action="{first}/reply"' in alice.page
        assert "When do I come?" in alice.page
        assert 'value="A question"' in alice.page
    assert await world.events("ReplySubmitted") == []
    moved = alice.page.split('name="draft" value="')[1][:36]
    assert moved != draft
    assert await send(alice, f"{first}/reply", moved) == 303
    await world.worker.send_due()
    assert [one.rcpt_to for one in world.sink.messages if CONTACT in one.rcpt_to] == [(CONTACT,)]
    assert "Reply sent" not in (await alice.get(first)).text
    await put(world, deliveries, {"state": "revoked"}, id=first.rpartition("/")[2])
    await put(world, deliveries, {"state": "opened"}, id=second.rpartition("/")[2])
    assert await send(alice, f"{first}/reply", moved) == 410


async def test_an_admin_says_where(world: World) -> None:
    """An address in a domain of its own, that somebody reads; staff see who wrote and when, as of a reply."""
    for wrong in (
        "mallory@evil.example",
        "x@practice.example",
        "no address",
        "m%evil.example@clinic.example",
        "portal@clinic.example",
        "x@clinic.example\r\nBcc: y",
    ):
        with pytest.raises(InputRefused):
            await takes(world, wrong)
    dora = await desk(world, Role.ADMIN, "dora@clinic.example")
    await dora.get("/staff/look")
    fields = {"name": "Northside Clinic", "address": "1 Lane", "phone": "+1 555", "language": "en"}
    refused = await dora.post("/staff/look", {**fields, "contact": "x@practice.example"})
    assert (refused.status_code, "Add the domain first." in refused.text) == (422, True)
    assert (await dora.post("/staff/look", {**fields, "contact": CONTACT.title()})).status_code == 303
    assert (await rows(world, organisations, slug="northside"))[0]["contact"] == CONTACT
    alice, _ = await reading(world)
    action, draft = await writing(alice)
    assert await send(alice, action, draft) == 303
    page = await dora.get(f"/staff/messages/{(await rows(world, messages))[0]['id']}")
    assert (page.status_code, "A question" in page.text, "When do I come?" in page.text) == (200, False, False)
    assert ("Wrote a new message, with 0" in page.text, "Answered" in page.text) == (True, False)
    await world.worker.send_due()  # and the sender of the message beside hears nothing of it
    assert not [one for one in world.sink.messages if CAROL in one.rcpt_to]
