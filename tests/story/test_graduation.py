"""What waits unread goes out by the relay once its recipient's domain is safe: never by a guess, never twice, never lost."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import aiosmtplib
import pytest

from portal.db import orgs, views
from portal.db.engine import Stale
from portal.db.holds import Criteria
from portal.db.tables import deliveries as deliveries_table
from portal.db.tables import graduations, outbox, policies, recipients
from portal.intake import Relay
from portal.lifecycle.reclass import Reclass
from portal.mail import submission
from portal.model.access import Access, Purpose, Reader, may_read
from portal.model.assurance import Assurance
from portal.model.errors import InputRefused, SubmissionFailed
from portal.model.events import By, Who
from portal.model.message import DeliveryState
from portal.model.routes import Level, Mode, Outcome, Rule
from portal.model.staff import Role
from portal.smtp.sink import Sink, open_sink
from portal.transport import Verdict
from portal.worker import Worker
from tests.story.seams import all_deliveries, put, rows
from tests.story.staff import desk
from tests.story.ways import give_access_code
from tests.world import ALICE, BOB, CAROL, World, certificates, letter

pytestmark = pytest.mark.anyio
DORA = By(Who.OPERATOR, "dora")
HOURS = 7.0


class Told:
    """Verdicts as a test says them; `asked` has what the worker asked for."""

    def __init__(self, world: World) -> None:
        self.world, self.outcome, self.rule = world, Outcome.PORTAL, Rule.OPPORTUNISTIC
        self.asked: list[tuple[str, Level, bool]] = []

    async def verdict(self, domain: str, level: Level, fresh: bool = False) -> Verdict:
        self.asked.append((domain, level, fresh))
        now = self.world.clock.now()
        lines = (f"MX: 10 mx.{domain}.", f"mx.{domain} [192.0.2.25]: TLSv1.3.")
        return Verdict(domain, level, self.outcome, self.rule, (), (), now, now + timedelta(hours=1), lines)


@dataclass
class Around:
    """The world, what is found out about patients.example, the relay's way out, and the relay that brings mail in."""

    world: World
    told: Told
    out: Sink
    relay: Relay
    worker: Worker

    async def look(self, outcome: Outcome = Outcome.DIRECT, rule: Rule = Rule.OPPORTUNISTIC) -> None:
        """Some hours later the worker looks, and finds this; then it sends what is due."""
        self.told.outcome, self.told.rule = outcome, rule
        self.world.clock.forward(hours=HOURS)
        await self.worker._graduation.look_due()
        await self.worker.send_due()

    async def take(self, mail: bytes | None = None, to: tuple[str, ...] = (ALICE,)) -> str:
        """A mail that the verdict brings here; gives its link."""
        self.told.outcome = Outcome.PORTAL
        return await self.world.announce(mail, to, relay=self.relay)

    async def states(self) -> list[str]:
        return [one.state.value for one in await all_deliveries(self.world)]

    async def kinds(self) -> list[str]:
        return [one.kind for one in await self.world.events() if "Graduat" in one.kind]

    def another_worker(self) -> Worker:
        return _worker(self.world, self.out.port)


def _worker(world: World, port: int) -> Worker:
    settings = world.house.settings.model_copy(update={"graduation_url": f"smtp://localhost:{port}"})
    return replace(world.house, settings=settings).worker()


async def allow(world: World, **changes: object) -> None:
    found = await orgs.policy_in_force(world.house.db, world.northside.id, "default")
    assert found is not None
    await world.house.classes(DORA).set(world.northside.id, replace(found[0], **{"graduate": True, **changes}))  # type: ignore[arg-type]


@asynccontextmanager
async def _around(world: World) -> AsyncIterator[Around]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates() / "server.pem", certificates() / "server.key")
    out = await open_sink("127.0.0.1", tls=tls)
    told = Told(world)
    world.house.verdicts = told
    world.intake = world.house.intake()
    try:
        yield Around(world, told, out, replace(world.relay, mode=Mode.ARBITER), _worker(world, out.port))
    finally:
        await out.close()


@pytest.fixture
async def around(world: World) -> AsyncIterator[Around]:
    await allow(world)
    async with _around(world) as made:
        yield made


async def test_a_domain_that_is_safe_twice_gets_the_original(around: Around) -> None:
    """The bytes that came in, under the sender's own address, over TLS; the copy here is closed, and everybody finds out why."""
    world, mail = around.world, letter().replace(b"All is well.", b".with a dot\r\n..and two\tGr\xc3\xbc\xc3\x9fe  ")
    token = await around.take(mail, (ALICE, BOB))
    await around.look()
    assert await around.states() == ["noticed", "noticed"]
    assert not around.out.messages
    await around.look()
    assert await around.states() == ["graduated", "graduated"]
    assert {(one.mail_from, one.rcpt_to) for one in around.out.messages} == {(CAROL, (ALICE,)), (CAROL, (BOB,))}
    assert all(one.raw == mail and one.tls for one in around.out.messages)
    assert all(level is Level.VERIFY and fresh for _, level, fresh in around.told.asked[-2:])
    kinds = await around.kinds()
    assert sorted(kinds[:2]) == ["GraduationBegun", "GraduationBegun"]
    assert kinds.count("GraduationOpened") == kinds.count("MessageGraduated") == 2
    opened = len(await world.events("GraduationOpened"))
    assert around.worker._graduation._opener.unwrapped == opened
    alice = world.browser()
    page = (await alice.get(f"/m/{token}")).text
    assert "This message went to your mailbox" in page
    assert "Send me a code" in page  # no dead end: she can ask again
    where = await alice.sign_in(token)
    answer = await alice.get(where)
    assert answer.status_code == 410
    assert "Look for it there" in answer.text
    assert "Sent to your mailbox" in (await alice.get("/inbox")).text
    (first, _) = await all_deliveries(world)
    assert (await alice.get(f"/messages/{first.id}/original.eml")).status_code == 410
    assert (await alice.post(f"/messages/{first.id}/ask")).status_code == 303
    dora = await desk(world, Role.ADMIN, "dora@clinic.example")
    page = (await dora.get(f"/staff/messages/{first.message_id}")).text
    assert "Sent on to the mailbox" in page
    assert "level verify: direct by opportunistic" in page
    await around.look()
    assert len(around.out.messages) == 2  # and that was all


async def test_a_sender_can_have_it_back(around: Around) -> None:
    """It never arrived: it is given back here, as it was, and stays. It can't be taken back or ended, since it is not here."""
    world = around.world
    token = await around.take()
    await around.look()
    await around.look()
    (one,) = await all_deliveries(world)
    life = world.operator().lifecycle
    for act in (life.revoke(one, DORA, "why"), life.expire(one, DORA)):
        with pytest.raises(InputRefused, match="sent on"):
            await act
    assert await life.restore(one, DORA, "it never came")
    assert await around.states() == ["noticed"]
    await around.look()
    await around.look()
    assert len(around.out.messages) == 1
    await world.browser().sign_in(token)


@pytest.mark.parametrize(
    "looks",
    [
        [
            (Outcome.DIRECT, Rule.OPPORTUNISTIC),
            (Outcome.PORTAL, Rule.OPPORTUNISTIC),
            (Outcome.DIRECT, Rule.OPPORTUNISTIC),
        ],
        [(Outcome.DIRECT, Rule.OPPORTUNISTIC), (Outcome.LATER, Rule.DNS), (Outcome.DIRECT, Rule.OPPORTUNISTIC)],
        [(Outcome.DIRECT, Rule.MTA_STS), (Outcome.DIRECT, Rule.OPPORTUNISTIC)],
        [(Outcome.DIRECT, Rule.DANE), (Outcome.DIRECT, Rule.MTA_STS)],
        [(Outcome.PORTAL, Rule.UNPROBED), (Outcome.PORTAL, Rule.UNPROBED), (Outcome.NOBODY, Rule.DNS)],
    ],
    ids=["flip", "away", "policy hidden", "tlsa hidden", "never"],
)
async def test_dns_that_changes_its_mind_gains_nothing(around: Around, looks: list[tuple[Outcome, Rule]]) -> None:
    """Between two safe looks there is none that says otherwise, and the later is safe by no weaker a rule."""
    await around.take()
    for outcome, rule in looks:
        await around.look(outcome, rule)
    assert await around.states() == ["noticed"]
    assert not around.out.messages


async def test_what_its_own_policy_kept_goes_by_its_own_policy(around: Around) -> None:
    """It came here since the domain's MTA-STS policy was not met: hiding the policy does not get it out."""
    around.told.rule = Rule.MTA_STS
    await around.take()
    for _ in range(4):
        await around.look(rule=Rule.OPPORTUNISTIC)
    assert not around.out.messages
    await around.look(rule=Rule.MTA_STS)
    await around.look(rule=Rule.MTA_STS)
    assert await around.states() == ["graduated"]


async def test_two_looks_are_hours_apart(around: Around) -> None:
    """Whatever the worker's beat is, and however often a relay has the domain looked at."""
    await around.take()
    await around.look()
    around.told.outcome = Outcome.DIRECT
    for _ in range(5):
        around.world.clock.forward(hours=1)
        await around.worker._graduation.look_due()
    await around.worker.send_due()
    assert await around.states() == ["noticed"]


@pytest.mark.parametrize("why", ["class", "level", "code", "marked", "tagged", "trust", "always", "no way", "utf8"])
async def test_only_what_nothing_but_the_verdict_brought(world: World, why: str) -> None:
    """A class that does not allow it, a level above the mailbox, an access code, a mark, a list, a trusted relay: it stays."""
    await allow(world, graduate=why != "class")
    async with _around(world) as around:
        mail = {"marked": b"X-Portal-Class: default\r\n" + letter(), "tagged": letter("[Secure] Results")}.get(why)
        if why == "always":
            await world.house.routes().set(world.northside.id, "patients.example", "always", DORA)
        relay = world.relay if why == "trust" else around.relay
        if why == "utf8":
            await world.deliver(mail, relay=relay, smtp_utf8=True)
        else:
            await world.announce(mail, relay=relay)
        (one,) = await all_deliveries(world)
        if why == "level":
            await put(world, deliveries_table, {"needs": 2}, id=one.id)
        if why == "code":
            await give_access_code(world, one.id, "quiet harbour 71")
        if why == "no way":
            around.worker = world.worker
        for _ in range(3):
            await around.look()
        assert "graduated" not in await around.states()
        assert not around.out.messages


@pytest.mark.parametrize(
    "why", ["opened", "revoked", "held", "about to open", "bounced", "listed since", "moved", "raised"]
)
async def test_who_is_first_decides(around: Around, why: str) -> None:
    """Between the two looks somebody opens it, takes it back, holds it, asks for a code: then it stays."""
    world = around.world
    token = await around.take()
    await around.look()
    (one,) = await all_deliveries(world)
    alice = world.browser()
    if why == "opened":
        await alice.get(await alice.sign_in(token))
    elif why == "revoked":
        await world.operator().lifecycle.revoke(one, DORA, "wrong")
    elif why == "held":
        holds = world.house.staff_site().holds
        await holds.place(
            world.northside.id,
            Criteria(message_id=one.message_id),
            "case",
            "dora",
            world.clock.now() + timedelta(days=90),
            DORA,
        )
    elif why == "bounced":
        await put(world, deliveries_table, {"bounced_at": world.clock.now()}, id=one.id)
    elif why == "listed since":
        await world.house.routes().set(world.northside.id, "patients.example", "always", DORA)
    elif why == "raised":  # to a class that does not allow it
        await put(world, policies, {"graduate": False}, org_id=world.northside.id)
    elif why == "moved":
        await put(world, recipients, {"address_hash": bytes(32)}, id=one.recipient_id)
    world.clock.forward(hours=HOURS)
    around.told.outcome = Outcome.DIRECT
    if why == "about to open":
        await alice.ask_code(token)
    await around.worker._graduation.look_due()
    await around.worker.send_due()
    assert "graduated" not in await around.states()
    assert not around.out.messages


async def test_opening_and_leaving_at_once_have_one_winner(around: Around) -> None:
    """A reader and the worker at the same moment: read here, or sent on; never both, and the record says which."""
    world, opener = around.world, around.worker._graduation._opener
    for number in range(4):
        await around.take(letter(message_id=f"<{number}@clinic.example>"))
    await around.look()
    world.clock.forward(hours=HOURS)
    around.told.outcome = Outcome.DIRECT
    allowed = []
    for one in await all_deliveries(world):
        kept = await views.stored(world.house.db, one.id)
        assert kept is not None
        reader = Reader(one.recipient_id, one.org_id, Assurance.MAILBOX, "00", None)
        access = may_read(reader, kept.target, Purpose.ORIGINAL, world.clock.now())
        assert isinstance(access, Access)
        allowed.append(access)
    looking = asyncio.create_task(around.worker._graduation.look_due())
    await asyncio.sleep(0)
    read = await asyncio.gather(*(opener.open(access) for access in allowed), return_exceptions=True)
    await looking
    await around.worker.send_due()
    assert all(isinstance(one, (tuple, Stale)) for one in read)
    opened = sum(isinstance(one, tuple) for one in read)
    states = await around.states()
    assert states.count("opened") == opened == len(await world.events("OriginalDownloaded"))
    assert states.count("graduated") == len(around.out.messages) == 4 - opened


async def test_taking_back_and_leaving_at_once_have_one_winner(around: Around) -> None:
    """Taken back before it left, or told that it has left."""
    world = around.world
    for number in range(4):
        mail = letter(message_id=f"<{number}@clinic.example>")
        await around.take(mail)
    await around.look()
    world.clock.forward(hours=HOURS)
    around.told.outcome = Outcome.DIRECT
    life = world.operator().lifecycle
    every = await all_deliveries(world)
    await asyncio.gather(
        around.worker._graduation.look_due(),
        *(life.each([one], lambda it: life.revoke(it, DORA, "now")) for one in every),
    )
    await around.worker.send_due()
    states = await around.states()
    assert set(states) <= {"revoked", "graduated"}
    assert len(around.out.messages) == states.count("graduated") == len(await world.events("MessageGraduated"))
    assert len(await world.events("DeliveryRevoked")) == states.count("revoked")


async def test_two_workers_send_it_once(around: Around) -> None:
    """They look at the same moment, and send at the same moment."""
    await around.take()
    await around.look()
    around.world.clock.forward(hours=HOURS)
    around.told.outcome = Outcome.DIRECT
    other = around.another_worker()
    await asyncio.gather(around.worker._graduation.look_due(), other._graduation.look_due())
    await asyncio.gather(around.worker.send_due(), other.send_due())
    assert await around.states() == ["graduated"]
    assert len(around.out.messages) == 1
    assert (await around.kinds()).count("GraduationBegun") == 1


@pytest.mark.parametrize("answer", ["451 4.7.1 later", "550 5.7.1 not from you", "no TLS", "nobody there"])
async def test_what_the_relay_does_not_take_waits_here_again(around: Around, answer: str) -> None:
    """At once, as it was, on record; later it is tried again from the beginning, and the fifth failure is the last."""
    world = around.world
    token = await around.take()
    clear = await open_sink("127.0.0.1")
    if answer == "no TLS":
        around.worker = _worker(world, clear.port)
    elif answer == "nobody there":
        around.worker = _worker(world, 1)
    else:
        around.out.refuse_with = answer
    for turn in range(1, 7):
        await around.look()
        await around.look()
        assert await around.states() == ["noticed"]
        assert len(await world.events("GraduationFailed")) == min(turn, 5)
    await clear.close()
    failed = (await world.events("GraduationFailed"))[0].detail
    assert (failed["reopened"], failed["unclear"]) == (True, False)
    assert not around.out.messages
    assert not clear.messages
    alice = world.browser()
    assert (await alice.get(await alice.sign_in(token))).status_code == 200


async def test_a_crash_after_the_hand_over_is_sent_again_and_not_opened_here(
    around: Around, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows whether the relay took it: it stays closed, and the same mail goes again, as a reply would."""
    world = around.world
    await around.take()
    await around.look()
    around.told.outcome = Outcome.DIRECT
    world.clock.forward(hours=HOURS)
    await around.worker._graduation.look_due()

    async def dies(*_: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(around.worker._graduation, "handed_over", dies)
    with pytest.raises(asyncio.CancelledError):
        await around.worker.send_due()
    assert (await around.states(), len(around.out.messages)) == (["graduated"], 1)
    (one,) = await all_deliveries(world)
    with pytest.raises(InputRefused, match="at this moment"):
        await world.operator().lifecycle.restore(one, DORA, "now")
    other = around.another_worker()
    assert await other.send_due() == 0  # the dead one's lease
    world.clock.forward(minutes=11)
    around.out.refuse_with = "451 4.3.0 later"
    await other.send_due()
    assert await around.states() == ["graduated"]
    around.out.refuse_with = None
    world.clock.forward(hours=1)
    await other.send_due()
    first, again = around.out.messages
    assert first.raw == again.raw
    assert await around.states() == ["graduated"]
    assert len(await world.events("MessageGraduated")) == 1
    assert [row["state"] for row in await rows(world, outbox, kind="onward")] == ["done"]


async def test_what_stays_unclear_is_given_back_in_the_end(around: Around) -> None:
    """After hours without an answer it is readable here again, once and for all: better twice than never."""
    world = around.world
    await around.take()
    await around.look()
    around.told.outcome = Outcome.DIRECT
    world.clock.forward(hours=HOURS)
    await around.worker._graduation.look_due()

    class Silent:
        async def submit(self, *_: object, **__: object) -> None:
            raise SubmissionFailed("no answer", transient=True, unclear=True)

    around.worker._graduation._mailer = Silent()  # type: ignore[assignment]
    await around.worker.send_due()
    assert await around.states() == ["graduated"]
    world.clock.forward(minutes=9)
    assert await around.worker.send_due() == 0  # it may be there: never twice within the lease
    world.clock.forward(hours=5)
    await around.worker.send_due()
    assert await around.states() == ["noticed"]
    assert (await world.events("GraduationFailed"))[-1].detail["unclear"] is True
    around.worker = around.another_worker()
    for _ in range(3):
        await around.look()
    assert not around.out.messages


async def test_what_the_relay_brings_back_is_here_once(around: Around) -> None:
    """TLS failed on the relay's path, and its fallback is the portal: the copy here opens again, no second is stored, and it stays."""
    world, mail = around.world, letter(text="The same\n")
    token = await around.take(mail)
    await around.look()
    await around.look()
    around.told.outcome = Outcome.PORTAL
    back = b"Received: from portal.example by relay.clinic.example; Sat, 21 Nov 2026 23:00:00 +0000\r\n" + mail
    for _ in range(2):  # its answer was lost
        accepted = await world.deliver(back, relay=around.relay, queue_id="4XyZ")
        assert (accepted.message_id, accepted.again) == (None, True)
    assert await around.states() == ["noticed"]
    assert len(await world.events("GraduationReturned")) == 1
    assert len(await world.events("MessageAccepted")) == 1
    for _ in range(4):
        await around.look()
    assert len(around.out.messages) == 1
    alice = world.browser()
    assert (await alice.get(await alice.sign_in(token))).status_code == 200


async def test_it_may_come_back_before_the_answer_does(around: Around) -> None:
    """A relay's fallback needs a quarter of a second: the mail is back while the worker still writes down that it left."""
    world, mail = around.world, letter()
    await around.take(mail)
    await around.look()
    around.told.outcome = Outcome.DIRECT
    world.clock.forward(hours=HOURS)
    await around.worker._graduation.look_due()
    around.told.outcome = Outcome.PORTAL
    mailer = around.worker._graduation._mailer

    class Quick:
        async def submit(self, sender: str, to: str, raw: bytes, **more: Any) -> object:
            assert mailer is not None
            done = await mailer.submit(sender, to, raw, **more)
            assert (await world.deliver(raw, relay=around.relay, queue_id="4XyZ")).again
            return done

    around.worker._graduation._mailer = Quick()  # type: ignore[assignment]
    await around.worker.send_due()
    assert await around.states() == ["noticed"]
    assert [row["state"] for row in await rows(world, outbox, kind="onward")] == ["dropped"]


async def test_another_mail_with_its_id_is_another_mail(around: Around) -> None:
    """Mallory sends other words under the same Message-ID: they are stored, the copy that left stays closed, and they never leave."""
    world = around.world
    await around.take(letter(text="First\n"))
    await around.look()
    await around.look()
    around.told.outcome = Outcome.PORTAL
    assert (await world.deliver(letter(text="Second\n"), relay=around.relay)).message_id
    assert (await world.deliver(letter(text="First\n"), to=(BOB,), relay=around.relay)).message_id  # nor is Bob Alice
    for _ in range(3):
        await around.look()
    assert await around.states() == ["graduated", "noticed", "graduated"]
    assert not await world.events("GraduationReturned")
    (_, second, _) = await all_deliveries(world)
    assert not await rows(world, graduations, delivery_id=second.id)
    assert second.state is DeliveryState.NOTICED


async def test_the_other_clinic_can_open_nothing_by_sending_it_back(around: Around) -> None:
    """What a relay of another organisation brings is no return, however alike it is."""
    world, mail = around.world, letter()
    await around.take(mail)
    await around.look()
    await around.look()
    foreign = replace(world.foreign_relay, mode=Mode.TRUST)
    assert (await world.deliver(mail, sender="eve@practice.example", relay=foreign)).message_id
    assert (await around.states())[0] == "graduated"


async def test_what_ended_meanwhile_is_stored_anew(around: Around) -> None:
    """It comes back after its time was up: a new message, with its own notice; nothing is lost."""
    world, mail = around.world, letter()
    await around.take(mail)
    await around.look()
    await around.look()
    world.clock.forward(days=31)
    around.told.outcome = Outcome.PORTAL
    assert (await world.deliver(mail, relay=around.relay, queue_id="4XyZ")).message_id
    assert await around.states() == ["graduated", "held"]


async def test_its_subject_makes_it_another_mail(around: Around) -> None:
    """A program that gives every mail one Message-ID and one body says what it has to say in the subject: that is not swallowed."""
    world = around.world
    await around.take(letter("First"))
    await around.look()
    await around.look()
    around.told.outcome = Outcome.PORTAL
    assert (await world.deliver(letter("Second"), relay=around.relay)).message_id
    asks = b"X-Portal-Access-Code: quiet harbour 71\r\n" + letter("First")  # nor one that needs more
    assert (await world.deliver(asks, relay=around.relay, queue_id="4XyZ")).message_id
    assert await around.states() == ["graduated", "held", "held"]


async def test_nothing_leaves_before_its_notice_has(around: Around) -> None:
    """The notice would be dropped: should the message wait here again, nobody would know of it."""
    world = around.world
    await world.deliver(letter(), relay=around.relay)
    around.told.outcome = Outcome.DIRECT
    for _ in range(3):
        world.clock.forward(hours=HOURS)
        await around.worker._graduation.look_due()
    assert await around.states() == ["held"]
    assert not await around.kinds()


@pytest.mark.parametrize("changed", [{"stopped": "infected"}, {"needs": 2}], ids=["infected", "raised"])
async def test_what_changed_since_it_was_closed_does_not_leave(around: Around, changed: dict[str, object]) -> None:
    """Found infected, or put under a higher level, while it waits for the relay: it is not opened, and waits here as what it is."""
    world = around.world
    await around.take()
    await around.look()
    world.clock.forward(hours=HOURS)
    around.told.outcome = Outcome.DIRECT
    await around.worker._graduation.look_due()
    (one,) = await all_deliveries(world)
    assert one.state is DeliveryState.GRADUATED
    await put(world, deliveries_table, changed, id=one.id)
    await around.worker.send_due()
    assert not around.out.messages
    assert not await world.events("GraduationOpened")
    assert await around.states() == ["quarantined" if "stopped" in changed else "noticed"]


async def test_what_left_comes_back_under_the_class_that_was_raised(around: Around) -> None:
    """Alice's has left, Bob's waits, and the class is raised: should Alice's come back, it needs that too."""
    world, mail = around.world, letter()
    await around.take(mail, (ALICE, BOB))
    (alice, bob) = await all_deliveries(world)
    await put(world, deliveries_table, {"bounced_at": world.clock.now()}, id=bob.id)
    await around.look()
    await around.look()
    assert sorted(await around.states()) == ["graduated", "noticed"]
    await give_access_code(world, bob.id, "quiet harbour 71")
    found = await orgs.policy_in_force(world.house.db, world.northside.id, "default")
    assert found is not None
    strict = replace(found[0], name="strict", assurance=Assurance.TWO_CHANNELS, graduate=False)
    await world.house.classes(DORA).set(world.northside.id, strict)
    await Reclass(world.house.db, world.house.source).raise_to(world.northside.id, alice.message_id, "strict", DORA)
    assert {one.needs for one in await all_deliveries(world)} == {strict.assurance}


@pytest.mark.parametrize(("code", "unclear"), [(-1, True), (252, True), (451, False), (550, False)])
async def test_only_a_no_is_a_no(code: int, unclear: bool) -> None:
    """An answer that can't be read, or is none to this question, says nothing: the mail may be there."""

    class Odd:
        async def data(self, raw: bytes, *, timeout: float) -> None:
            assert timeout >= 60
            raise aiosmtplib.SMTPDataError(code, "what?")

    with pytest.raises(SubmissionFailed if unclear else aiosmtplib.SMTPDataError) as found:
        await submission._answer(Odd(), b"", 60)  # type: ignore[arg-type]
    assert getattr(found.value, "unclear", False) is unclear


async def test_a_recipient_who_moved_since_it_was_closed_gets_it_here(around: Around) -> None:
    """Her address changed while it waited for the relay: nobody has looked at the new one's domain, so it is not sent there."""
    world = around.world
    await around.take()
    await around.look()
    world.clock.forward(hours=HOURS)
    around.told.outcome = Outcome.DIRECT
    await around.worker._graduation.look_due()
    (one,) = await all_deliveries(world)
    assert one.state is DeliveryState.GRADUATED
    await put(world, recipients, {"address_hash": bytes(32)}, id=one.recipient_id)
    await around.worker.send_due()
    assert await around.states() == ["noticed"]
    assert not around.out.messages
