"""What a sender asks for in the mail's header: a class, an access code, a phone number; and a recipient out of reach."""

import io
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import delete

from portal.db.orgs import policies_in_force
from portal.db.tables import access_codes, deliveries, messages, phones
from portal.model.assurance import Assurance
from portal.model.errors import (
    AskedMalformed,
    ClassUnknown,
    InputRefused,
    NoTexts,
    PortalError,
    RecipientOutOfReach,
)
from portal.model.events import By, Who
from portal.model.ids import PolicyId
from portal.model.policy import Policy
from portal.operator import Persons
from portal.orgs.classes import Classes
from portal.smtp.replies import reply_to
from tests.authenticator import Authenticator
from tests.story.seams import blobs, holding, put, rows
from tests.story.ways import add_passkey
from tests.world import ALICE, BOB, World, letter
from tests.world import world as open_world

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    """The house with a provider of texts, and a class of messages for each level."""
    async with open_world(tmp_path, database_url, phone_url="memory:") as made:
        await classes(made)
        yield made


async def classes(world: World) -> None:
    classes = Classes(world.house.db, world.house.source, By(Who.OPERATOR, "dora"))
    for name, level in (("results", Assurance.TWO_CHANNELS), ("secret", Assurance.PASSKEY)):
        await classes.set(world.northside.id, Policy(PolicyId(""), world.northside.id, name, 0, assurance=level))


def mail(message_id: str = "<1@clinic.example>", answers: str = "", **fields: str) -> bytes:
    """A mail with X-Portal fields: `cls="results"` is X-Portal-Class."""
    names = {"cls": "Class", "code": "Access-Code", "hint": "Access-Hint", "phone": "Phone"}
    head = "".join(f"X-Portal-{names.get(name, name)}: {value}\r\n" for name, value in fields.items())
    head += f"References: {answers}\r\n" if answers else ""
    return head.encode() + letter(message_id=message_id)


async def level(world: World) -> list[int]:
    return [row["needs"] for row in await rows(world, deliveries)]


async def test_a_class_by_header_says_what_opening_needs(world: World) -> None:
    """The default class stays as it was; another is picked by name, and the record says which."""
    await world.deliver(mail("<1@clinic.example>"))
    await world.deliver(mail("<2@clinic.example>", cls="results", code="blue tractor"))
    assert await level(world) == [1, 2]
    default, results = await world.events("MessageAccepted")
    assert (default.detail["policy"], default.detail["needs"]) == ("default 1", 1)
    assert (results.detail["policy"], results.detail["needs"], results.detail["access_code"]) == ("results 1", 2, True)


async def test_an_access_code_from_the_header_opens_the_message(world: World, tmp_path: Path, log: io.StringIO) -> None:
    """From the clinic's mail program to the page, with its hint; and it stands in no file, notice, event, log, reading or inbox."""
    canaries = mail(cls="results", code="Canary-Tractor", hint="Canary hint")
    token = await world.announce(canaries)
    alice = world.browser()
    message = await alice.sign_in(token)
    step = (await alice.get(message)).headers["location"]
    assert "Canary hint" in (await alice.get(step)).text
    assert (await alice.post(f"{step}/access-code", {"code": "canary tractor"})).headers["location"] == message
    for page in ("", "/reply", "/print"):
        assert (await alice.get(message + page)).status_code == 200
        assert "anary" not in alice.page
    assert "anary" not in (await alice.get("/inbox")).text
    assert (await alice.get(f"{message}/original.eml")).content == canaries, "the original is as it was sent"
    assert "anary" not in log.getvalue()
    assert holding(tmp_path, b"Canary-Tractor", b"canarytractor", b"Canary hint") == []
    sent = b"".join(one.raw for one in world.sink.messages)
    assert b"anary" not in sent
    assert "anary" not in repr(await world.events())


async def test_a_phone_from_the_header_lets_texts_go_there(world: World) -> None:
    """Written as people do; a newer one takes its place."""
    await world.deliver(mail(cls="results", phone="+1 (555) 010-0042"))
    await world.deliver(mail("<2@clinic.example>", cls="results", phone="+15550100043"))
    assert len(await rows(world, phones)) == 1
    assert await level(world) == [2, 2]
    await world.deliver(mail("<3@clinic.example>", cls="results"))
    assert await level(world) == [2, 2, 2], "she is within reach now"


@pytest.mark.parametrize("cls", ["results", "secret"])
async def test_who_can_never_open_it_is_known_before_it_is_taken(world: World, tmp_path: Path, cls: str) -> None:
    """Refused for good with what to do, on record, and nothing half-stored; for one of two is for both."""
    with pytest.raises(RecipientOutOfReach) as refused:
        await world.deliver(mail(cls=cls), [ALICE, BOB])
    reply = reply_to(refused.value)
    assert (reply.code, reply.status) == (550, "5.7.1")
    assert "X-Portal-Access-Code" in reply.text
    assert await rows(world, messages) == []
    assert blobs(tmp_path) == []
    assert [one.detail["reason"] for one in await world.events("SubmissionRefused")] == ["RecipientOutOfReach"]
    await world.deliver(mail(cls=cls, code="blue tractor"), [ALICE, BOB])
    assert len(await rows(world, access_codes)) == 2


async def test_a_passkey_brings_a_person_within_reach(world: World) -> None:
    """Bound at the mailbox it is not enough; vouched for it is."""
    alice = world.browser()
    await alice.sign_in(await world.announce())
    await add_passkey(alice, Authenticator())
    with pytest.raises(RecipientOutOfReach):
        await world.deliver(mail("<2@clinic.example>", cls="secret"))
    from portal.db.tables import passkeys

    await put(world, passkeys, {"vouched": 2})
    await world.deliver(mail("<3@clinic.example>", cls="secret"))


WRONG: list[tuple[dict[str, str], type[PortalError]]] = [
    ({"cls": "nowhere"}, ClassUnknown),
    ({"cls": "Not a name"}, AskedMalformed),
    ({"code": "12345"}, AskedMalformed),
    ({"code": "aaaaaaa"}, AskedMalformed),
    ({"code": "a1" * 40}, AskedMalformed),
    ({"code": "blue tractor", "hint": "it is BLUE-TRACTOR"}, AskedMalformed),
    ({"code": "blue tractor", "hint": "x" * 121}, AskedMalformed),
    (
        {"code": "\u2010\u2011\u2012\u2013\u2014\u2010"},
        AskedMalformed,
    ),  # dashes of every kind are not counted when it is hashed
    ({"code": "\u2010\u2011\u2012\u2013\u2014a"}, AskedMalformed),
    ({"code": "\ufdfa" * 6 + "ab"}, AskedMalformed),  # 110 signs in the form that is hashed
    ({"code": "=?x-unknown?q?caf=81_tractor?="}, AskedMalformed),
    ({"code": "blue tractor", "hint": "\uff22\uff2c\uff35\uff25 Tractor"}, AskedMalformed),  # in wide letters
    ({"code": "blue tractor", "hint": "b-l-u-e t r a c t o r, " + "x" * 80}, AskedMalformed),
    ({"hint": "without a code"}, AskedMalformed),
    ({"phone": "555 0100"}, AskedMalformed),
    ({"phone": "+1 555 0100 \u0661\u0662"}, AskedMalformed),
    ({"Klass": "results"}, AskedMalformed),
]


@pytest.mark.parametrize(("fields", "error"), WRONG, ids=[str(one) for one, _ in WRONG])
async def test_a_header_that_is_not_understood_is_refused(
    world: World, tmp_path: Path, fields: dict[str, str], error: type[PortalError]
) -> None:
    """Never guessed, never ignored: the sender hears what to do, and nothing is kept."""
    with pytest.raises(error) as refused:
        await world.deliver(mail(**fields))
    assert reply_to(refused.value).code == 550
    assert blobs(tmp_path) == []
    assert "tractor" not in repr(await world.events())


async def test_a_header_twice_is_refused_unless_it_says_the_same(world: World) -> None:
    """Which of two would count is for nobody to guess."""
    twice = b"X-Portal-Class: results\r\n" + mail(cls="default")
    with pytest.raises(AskedMalformed):
        await world.deliver(twice)
    await world.deliver(b"X-Portal-Class: default\r\n" + mail(cls="default"))


async def test_fields_that_are_not_read_any_more_are_not_passed_over(world: World, tmp_path: Path) -> None:
    """Behind 200 other fields or a line that is none, a class is still what the sender asked for; in the text it is text."""
    many = b"".join(b"X-Other: %d\r\n" % number for number in range(201))
    for before in (many, b"From: carol@clinic.example\r\nnot a field\r\n"):
        with pytest.raises(AskedMalformed):
            await world.deliver(before + mail(cls="secret"))
    assert blobs(tmp_path) == []
    await world.deliver(many + letter())
    await world.deliver(letter(text="X-Portal-Class: secret\n", message_id="<2@clinic.example>"))
    assert await level(world) == [1, 1]


async def test_a_code_in_bytes_of_no_known_charset_is_refused(world: World) -> None:
    """What it says could only be guessed, and the guess would lock the recipient out."""
    with pytest.raises(AskedMalformed):
        await world.deliver("X-Portal-Access-Code: blütezeit\r\n".encode("latin-1") + letter())


async def test_a_phone_number_is_one_persons(world: World) -> None:
    """In a mail to two it would send the codes of one to the other, in the place of the number that was hers."""
    with pytest.raises(AskedMalformed):
        await world.deliver(mail(phone="+15550100042"), [ALICE, BOB])
    assert await rows(world, phones) == []
    await world.deliver(mail(phone="+15550100042"), [ALICE, ALICE.upper()])
    assert len(await rows(world, phones)) == 1


async def test_what_was_taken_is_not_refused_when_it_is_sent_again(world: World) -> None:
    """The answer was lost, and meanwhile she is out of reach: stored once, and no report that it was not."""
    await world.deliver(mail("<0@clinic.example>", phone="+15550100042"))
    await world.deliver(mail(cls="results"), queue_id="4bX1")
    async with world.house.db.bookkeeping() as tx:
        await tx.change(delete(phones))
    assert (await world.deliver(mail(cls="results"), queue_id="4bX1")).again
    with pytest.raises(RecipientOutOfReach):
        await world.deliver(mail(cls="results"), [ALICE, BOB], queue_id="4bX1")
    assert len(await rows(world, messages)) == 2


async def test_without_a_provider_a_phone_number_is_refused(tmp_path: Path, database_url: str) -> None:
    """The sender is told to give an access code instead."""
    async with open_world(tmp_path, database_url) as world:
        await classes(world)
        with pytest.raises(NoTexts):
            await world.deliver(mail(cls="results", phone="+15550100042"))


# -- the floor of a thread


async def test_what_answers_a_message_is_never_below_its_level(world: World) -> None:
    """By References, by In-Reply-To, by the answer to a reply of the recipient's; another organisation knows nothing of it."""
    await world.deliver(mail("<1@clinic.example>", cls="results", code="blue tractor"))
    with pytest.raises(RecipientOutOfReach):
        await world.deliver(mail("<2@clinic.example>", answers="<0@clinic.example> <1@clinic.example>"))
    await world.deliver(mail("<2@clinic.example>", answers="<1@clinic.example>", code="red tractor"))
    in_reply_to = b"In-Reply-To: <2@clinic.example>\r\n" + mail("<3@clinic.example>", code="green tractor")
    await world.deliver(in_reply_to)
    assert await level(world) == [2, 2, 2]
    both = b"In-Reply-To: <1@clinic.example>\r\n" + mail("<5@clinic.example>", answers="<0@clinic.example>")
    with pytest.raises(RecipientOutOfReach):
        await world.deliver(both)
    await world.deliver(
        mail("<4@practice.example>", answers="<1@clinic.example>"),
        sender="erin@practice.example",
        relay=world.foreign_relay,
    )
    assert (await level(world))[-1] == 1


async def test_the_answer_to_a_recipients_reply_has_the_threads_floor(world: World) -> None:
    """The sender's mail program names the reply only; its id is enough."""
    token = await world.announce(mail(cls="results", code="blue tractor"))
    alice = world.browser()
    message = await alice.sign_in(token)
    step = (await alice.get(message)).headers["location"]
    await alice.get(step)
    await alice.post(f"{step}/access-code", {"code": "blue tractor"})
    await alice.get(f"{message}/reply")
    draft = alice.page.split('name="draft" value="')[1][:36]
    fields = {"csrf": (None, alice.csrf), "draft": (None, draft), "text": (None, "Thank you!")}
    assert (await alice.http.post(f"{message}/reply", files=fields)).status_code == 303
    await world.worker.send_due()
    reply_id = world.mail_for("carol@clinic.example")["Message-ID"]
    with pytest.raises(RecipientOutOfReach):
        await world.deliver(mail("<9@clinic.example>", answers=reply_id))


# -- by hand


async def test_an_operator_gives_an_access_code_afterwards(world: World) -> None:
    """For a message that is held already: one act, on record, and the earlier code is nothing."""
    token = await world.announce(mail(cls="results", code="blue tractor"))
    [row] = await rows(world, messages)
    count = await Persons(world.house, "dora").set_access_code("northside", row["id"], None, "red-tractor", "The farm")
    assert count == 1
    alice = world.browser()
    message = await alice.sign_in(token)
    step = (await alice.get(message)).headers["location"]
    assert "The farm" in (await alice.get(step)).text
    assert (await alice.post(f"{step}/access-code", {"code": "blue tractor"})).status_code == 422
    assert (await alice.post(f"{step}/access-code", {"code": "red tractor"})).status_code == 303
    [event] = await world.events("AccessCodeSet")
    assert (event.actor, event.detail) == ("dora", {"hint": True})


async def test_a_code_by_hand_is_judged_as_one_in_a_header(world: World) -> None:
    """Too short in the form that is hashed, or given away by its hint: the operator is told, and nothing is kept."""
    await world.deliver()
    [row] = await rows(world, messages)
    for code, hint in (("a-----", ""), ("blue tractor", "It is BLUE-TRACTOR")):
        with pytest.raises(InputRefused):
            await Persons(world.house, "dora").set_access_code("northside", row["id"], None, code, hint)
    assert await rows(world, access_codes) == []
    assert await world.events("AccessCodeSet") == []


async def test_an_operator_gives_a_phone_number(world: World) -> None:
    """On record by her id, without the number; a newer one takes its place, and what is none changes nothing."""
    await world.deliver()
    persons = Persons(world.house, "dora")
    assert await persons.set_phone("northside", ALICE, "+1 (555) 010-0042") == "+15550100042"
    assert await persons.set_phone("northside", ALICE, "+1 555 010 0043") == "+15550100043"
    for who, number in ((ALICE, "555 0100"), (BOB, "+15550100042"), ("nobody", "+15550100042")):
        with pytest.raises(InputRefused):
            await persons.set_phone("northside", who, number)
    [row] = await rows(world, phones)
    events = await world.events("PhoneSet")
    assert [(one.actor, one.detail) for one in events] == [("dora", {"recipient": row["recipient_id"]})] * 2
    assert "5550100" not in repr(await world.events())


async def test_each_class_is_listed_as_it_is_in_force(world: World) -> None:
    """The newest version of each, by name, and of this organisation alone."""
    classes = Classes(world.house.db, world.house.source, By(Who.OPERATOR, "dora"))
    await classes.set(world.northside.id, Policy(PolicyId(""), world.northside.id, "results", 0, life_days=7))
    async with world.house.db.read() as tx:
        found = await policies_in_force(tx, world.northside.id)
        others = await policies_in_force(tx, world.southside.id)
    assert [(one.name, one.version, one.life_days, int(one.assurance)) for one in found] == [
        ("default", 1, 30, 1),
        ("results", 2, 7, 1),
        ("secret", 1, 30, 3),
    ]
    assert [one.name for one in others] == ["default"]


async def test_a_class_keeps_its_versions(world: World) -> None:
    """Set anew it has version 2, and messages under way keep theirs."""
    await world.deliver(mail(cls="results", code="blue tractor"))
    classes = Classes(world.house.db, world.house.source, By(Who.OPERATOR, "dora"))
    policy = Policy(PolicyId(""), world.northside.id, "results", 0)
    made = await classes.set(world.northside.id, replace(policy, assurance=Assurance.MAILBOX))
    assert made.version == 2
    await world.deliver(mail("<2@clinic.example>", cls="results"))
    assert await level(world) == [2, 1]
