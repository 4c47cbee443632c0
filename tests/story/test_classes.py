"""What a sender asks for in the mail's header: a class, an access code, a phone number; and a recipient out of reach."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from portal.db.tables import access_codes, deliveries, messages, phones
from portal.model.assurance import Assurance
from portal.model.errors import (
    AskedMalformed,
    ClassUnknown,
    NoTexts,
    PortalError,
    RecipientOutOfReach,
)
from portal.model.ids import PolicyId
from portal.model.policy import Policy
from portal.operator import Persons
from portal.orgs.setup import Setup
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
    setup = Setup(world.house.db, world.house.source, "dora")
    for name, level in (("results", Assurance.TWO_CHANNELS), ("secret", Assurance.PASSKEY)):
        await setup.set_policy(world.northside.id, Policy(PolicyId(""), world.northside.id, name, 0, assurance=level))


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


async def test_an_access_code_from_the_header_opens_the_message(world: World, tmp_path: Path) -> None:
    """From the clinic's mail program to the page, with its hint; and it stands in no file, notice or event."""
    token = await world.announce(mail(cls="results", code="Canary-Tractor", hint="Canary hint"))
    alice = world.browser()
    message = await alice.sign_in(token)
    step = (await alice.get(message)).headers["location"]
    assert "Canary hint" in (await alice.get(step)).text
    assert (await alice.post(f"{step}/access-code", {"code": "canary tractor"})).headers["location"] == message
    assert (await alice.get(message)).status_code == 200
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


async def test_a_class_keeps_its_versions(world: World) -> None:
    """Set anew it has version 2, and messages under way keep theirs."""
    await world.deliver(mail(cls="results", code="blue tractor"))
    setup = Setup(world.house.db, world.house.source, "dora")
    policy = Policy(PolicyId(""), world.northside.id, "results", 0)
    made = await setup.set_policy(world.northside.id, replace(policy, assurance=Assurance.MAILBOX))
    assert made.version == 2
    await world.deliver(mail("<2@clinic.example>", cls="results"))
    assert await level(world) == [2, 1]
