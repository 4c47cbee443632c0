"""Which mail is a case for the portal: by mode, list and verdict; and what is kept of why."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from portal.db import orgs
from portal.intake import Relay
from portal.lookup.answers import Answers
from portal.model.errors import InputRefused, NotMarked, PortalError
from portal.model.events import By, Who
from portal.model.parties import domain_name
from portal.model.routes import Level, Mode, Outcome, Rule
from portal.model.staff import Role
from portal.orgs.wishes import Wishes
from portal.relay.doctor import Trial, examine
from portal.smtp.sink import open_sink
from portal.transport import Verdict
from tests.servers import free_port
from tests.story.staff import desk as a_desk
from tests.world import ALICE, BOB, CAROL, World, letter

pytestmark = pytest.mark.anyio
DORA = By(Who.OPERATOR, "dora")


class Told:
    """Verdicts as a test says them, by domain. `fresh` has those for a fresh look, `asked` what was asked."""

    def __init__(self, world: World, **outcomes: Outcome) -> None:
        self.world = world
        self.outcomes = {f"{name}.example": outcome for name, outcome in outcomes.items()}
        self.fresh: dict[str, Outcome] = {}
        self.asked: list[tuple[str, Level, bool]] = []
        self.rule = Rule.OPPORTUNISTIC

    async def verdict(self, domain: str, level: Level, fresh: bool = False) -> Verdict:
        domain = domain_name(domain)
        self.asked.append((domain, level, fresh))
        outcome = (self.fresh if fresh else {}).get(domain) or self.outcomes[domain]
        if level is Level.VERIFY and domain != "both.example" and outcome is Outcome.DIRECT:
            outcome = Outcome.PORTAL
        now = self.world.clock.now()
        lines = (f"MX: 10 mx.{domain}.", f"mx.{domain} [192.0.2.25]: It does not offer STARTTLS.")
        return Verdict(domain, level, outcome, self.rule, (), (), now, now + timedelta(minutes=15), lines)


def listening(world: World, told: Told, mode: Mode = Mode.ARBITER) -> Relay:
    """The relay of the world in a mode, and an intake with these verdicts."""
    world.house.verdicts = told
    world.intake = world.house.intake()
    return replace(world.relay, mode=mode)


async def answer(world: World, relay: Relay, who: str, mail: str = "") -> str:
    """What a recipient is answered: `Came` in words, or the error's name."""
    try:
        return str(await world.intake.check_recipient(relay, CAROL, who, "192.0.2.1", mail))
    except PortalError as error:
        return type(error).__name__


async def test_an_arbiter_is_answered_by_the_verdict(world: World) -> None:
    """Taken in, left in the relay's queue, or refused for good; each refusal is on record."""
    told = Told(world, bare=Outcome.PORTAL, safe=Outcome.DIRECT, away=Outcome.LATER, gone=Outcome.NOBODY)
    relay = listening(world, told)
    assert await answer(world, relay, "a@bare.example") == "opportunistic portal"
    assert await answer(world, relay, "a@safe.example") == "LeftToRelay"
    assert await answer(world, relay, "a@away.example") == "LeftToRelay"
    assert await answer(world, relay, "a@gone.example") == "NobodyThere"
    reasons = [one.detail["reason"] for one in await world.events("SubmissionRefused")]
    assert reasons == ["LeftToRelay", "LeftToRelay", "NobodyThere"]


async def test_a_relay_that_tries_for_days_does_not_fill_the_record(world: World) -> None:
    """Of what is left to the relay again and again an hour has one row for a recipient, which says how many went before."""
    relay = listening(world, Told(world, safe=Outcome.DIRECT))
    for minutes in (0, 5, 10, 40, 10, 70):
        world.clock.forward(minutes=minutes)
        assert await answer(world, relay, "a@safe.example") == "LeftToRelay"
        await asyncio.gather(*(answer(world, relay, "A@Safe.example") for _ in range(3)))
    await answer(world, relay, "b@safe.example")
    said = [one.detail for one in await world.events("SubmissionRefused")]
    left = {"reason": "LeftToRelay"}
    assert said == [left, {**left, "unsaid": 15}, {**left, "unsaid": 3}, left]
    who = await a_desk(world, Role.ADMIN, "dora@clinic.example")
    page = (await who.get(f"/staff/fallback/relays/{relay.id}")).text
    assert "(15 times before, too, since the last such line" in page


async def test_a_contrary_delivery_has_the_domain_looked_at_afresh(world: World) -> None:
    """The relay could not send to a domain that is known as safe: only a fresh look says so again, or takes the mail."""
    told = Told(world, safe=Outcome.DIRECT)
    relay = listening(world, told)
    told.fresh = {"safe.example": Outcome.PORTAL}
    assert await answer(world, relay, "a@safe.example") == "opportunistic portal"
    assert told.asked == [("safe.example", Level.ENCRYPT, False), ("safe.example", Level.ENCRYPT, True)]


async def test_what_is_taken_says_why_to_staff_and_on_record(world: World) -> None:
    """The rule and the outcome are in the event; the transcript is sealed, and shown on the message's page."""
    told = Told(world, patients=Outcome.PORTAL)
    told.rule = Rule.MTA_STS
    relay = listening(world, told)
    taken = await world.deliver(relay=relay, to=(ALICE, BOB))
    (event,) = await world.events("MessageAccepted")
    assert event.detail["came_by"] == ["mta-sts portal", "mta-sts portal"]
    desk = await a_desk(world, Role.ADMIN, "dora@clinic.example")
    page = (await desk.get(f"/staff/messages/{taken.message_id}")).text
    assert "does not meet its own policy (MTA-STS)" in page
    assert page.count("It does not offer STARTTLS.") == 2
    assert "level encrypt: portal by mta-sts" in page


async def test_a_trusted_relay_is_believed_and_nobody_looks(world: World) -> None:
    """As before there were verdicts: every recipient, and no look at any domain."""
    told = Told(world)
    relay = listening(world, told, Mode.TRUST)
    assert await answer(world, relay, "a@anywhere.example") == "trust"
    assert not told.asked


async def test_explicit_takes_marked_mail_only(world: World) -> None:
    """A header or the tag [secure] marks a mail; what has neither is refused for good, and nothing of it stays."""
    relay = listening(world, Told(world), Mode.EXPLICIT)
    for subject in ("Your results", "[lab] Your results", "secure"):
        with pytest.raises(NotMarked):
            await world.deliver(letter(subject), relay=relay)
    assert not await world.events("MessageAccepted")
    assert (await world.deliver(letter("Re: [Secure] Your results"), relay=relay)).message_id
    assert (await world.deliver(b"X-Portal-Class: default\r\n" + letter(), relay=relay)).message_id
    assert [one.detail["came_by"] for one in await world.events("MessageAccepted")] == [["marked"], ["marked"]]


async def test_lists_come_before_every_verdict(world: World) -> None:
    """Always and never count in each mode, for addresses before domains; a level of its own changes what a domain must do."""
    told = Told(world, safe=Outcome.DIRECT, bare=Outcome.PORTAL)
    relay, org_id, routes = listening(world, told), world.northside.id, world.house.routes()
    await routes.set(org_id, "Safe.example", "always", DORA)
    await routes.set(org_id, "never@safe.example", "never", DORA)
    await routes.set(org_id, "bare.example", "never", DORA)
    assert await answer(world, relay, "a@safe.example") == "always"
    assert await answer(world, relay, "Never@safe.example") == "LeftToRelay"
    assert await answer(world, relay, "a@bare.example") == "LeftToRelay"
    assert await answer(world, replace(relay, mode=Mode.TRUST), "a@bare.example") == "LeftToRelay"
    assert await answer(world, replace(relay, mode=Mode.EXPLICIT), "a@bare.example") == "NeverHere"
    assert not told.asked
    await routes.set(org_id, "safe.example", "verify", DORA)
    assert await answer(world, relay, "a@safe.example") == "opportunistic portal"
    assert {one[1] for one in told.asked} == {Level.VERIFY}
    for one in await routes.every(org_id):
        await routes.remove(org_id, one.ref, DORA)
    assert await answer(world, relay, "a@safe.example") == "LeftToRelay"
    await routes.set_transport(org_id, "verify", None, DORA)
    assert await answer(world, relay, "a@safe.example") == "opportunistic portal"


async def test_another_organisations_lists_are_not_ours(world: World) -> None:
    """What Southside has set changes nothing for Northside; what is neither address nor domain is refused."""
    told = Told(world, safe=Outcome.DIRECT)
    relay, routes = listening(world, told), world.house.routes()
    await routes.set(world.southside.id, "safe.example", "always", DORA)
    await routes.set_transport(world.southside.id, "verify", None, DORA)
    assert await answer(world, relay, "a@safe.example") == "LeftToRelay"
    assert await routes.every(world.northside.id) == []
    for value, route in (("no domain", "always"), ("a@b@", "always"), ("", "never"), ("x.example", "sometimes")):
        with pytest.raises(InputRefused):
            await routes.set(world.northside.id, value, route, DORA)


async def test_what_a_relay_keeps_bringing_is_taken_after_hours(world: World) -> None:
    """Only where it is set, only for this mail to this recipient, and only when the offers never stopped."""
    told = Told(world, safe=Outcome.DIRECT, other=Outcome.LATER)
    relay = listening(world, told)
    for _ in range(6):
        assert await answer(world, relay, "a@safe.example") == "LeftToRelay"
        world.clock.forward(hours=1)
    await world.house.routes().set_transport(world.northside.id, "encrypt", 4, DORA)
    for _ in range(4):
        assert await answer(world, relay, "a@safe.example") == "LeftToRelay"
        world.clock.forward(hours=1)
    assert await answer(world, relay, "b@safe.example") == "LeftToRelay"
    assert await answer(world, relay, "a@other.example") == "LeftToRelay"
    assert await answer(world, relay, "a@safe.example") == "waited direct"
    world.clock.forward(hours=9)
    assert await answer(world, relay, "a@safe.example") == "LeftToRelay"
    for hours in (0, 37):
        with pytest.raises(InputRefused):
            await world.house.routes().set_transport(world.northside.id, "encrypt", hours, DORA)


async def test_each_mail_waits_for_itself(world: World) -> None:
    """A mail of today does not come here because yesterday's waited: it is known by the relay's queue id, or the envelope's."""
    relay = listening(world, Told(world, safe=Outcome.DIRECT))
    await world.house.routes().set_transport(world.northside.id, "encrypt", 4, DORA)
    for _ in range(4):
        assert await answer(world, relay, "a@safe.example", "4Xb1") == "LeftToRelay"
        world.clock.forward(hours=1)
    assert await answer(world, relay, "a@safe.example", "4Xb2") == "LeftToRelay"
    assert await answer(world, relay, "a@safe.example") == "LeftToRelay"
    assert await answer(world, relay, "a@safe.example", "4Xb1") == "waited direct"


async def test_the_doctor_says_why_an_arbiter_took_nothing(world: World) -> None:
    """Mail hosts that the portal does not look at, or by no MX: the line names the setting, or asks for records."""
    relay = await open_sink("127.0.0.1")  # takes all and sends nothing on
    six = tuple(f"127.0.0.{number}" for number in range(31, 37))
    trial = Trial(
        "northside", CAROL, ("127.0.0.1", relay.port), Level.ENCRYPT, addresses=six, port=free_port(), seconds=0
    )
    await world.house.fallback(DORA).set_mode(world.northside, world.relay.id, "arbiter")
    blind = {one.case: one.change for one in await examine(world.operator(), trial, "1")}
    assert 'PORTAL_PROBE_PRIVATE="127.0.0.31/32 127.0.0.32/32' in blind["clear"]
    assert "the relay does not reach" in blind["tls"]
    by_map = {one.case: one.change for one in await examine(world.operator(), replace(trial, addresses=six[:1]), "2")}
    assert "set the MX records" in by_map["clear"]
    relay.refuse_with = "454 4.7.1 Relay access\x1bdenied"
    with pytest.raises(
        InputRefused, match=r"clear@|tls@.*: 454 4.7.1 Relay access denied. It must relay for this machine"
    ):
        await examine(world.operator(), trial, "3")
    await relay.close()


async def test_the_console_sets_mode_level_and_lists(world: World) -> None:
    """What is chosen on the page counts for the next connection, and is on record."""
    desk = await a_desk(world, Role.ADMIN, "dora@clinic.example")
    await desk.get("/staff/fallback")
    at = f"/staff/fallback/relays/{world.relay.id}"
    for path, fields in (
        (f"{at}/mode", {"mode": "explicit"}),
        ("/staff/fallback/level", {"level": "verify", "hours": "12"}),
        ("/staff/fallback/routes", {"value": "bücher.example", "route": "never"}),
    ):
        answered = await desk.post(path, fields)
        assert answered.status_code == 303, answered.text
    page = (await desk.get("/staff/fallback")).text
    assert "xn--bcher-kva.example" in page
    assert 'value="verify" checked' in page
    assert 'name="hours" value="12"' in page
    assert "<td>explicit</td>" in page
    (set_way,) = await world.house.routes().every(world.northside.id)
    assert (await desk.post(f"/staff/fallback/routes/{set_way.ref}/remove")).status_code == 303
    kinds = [one.kind for one in await world.events()]
    for kind in ("RelayModeSet", "TransportSet", "RecipientRouteSet", "RecipientRouteRemoved"):
        assert kind in kinds
    assert (await desk.post("/staff/fallback/level", {"level": "verify", "hours": "soon"})).status_code == 422


async def test_an_address_that_goes_direct_is_not_routed_by_its_domain(world: World) -> None:
    """A relay asks for the address, then for the domain: the second answer must not send here what the intake leaves to the relay."""
    told = Told(world, both=Outcome.DIRECT)
    relay, routes = listening(world, told), world.house.routes()
    await routes.set(world.northside.id, "both.example", "always", DORA)
    await routes.set(world.northside.id, "bob@both.example", "verify", DORA)
    answers = Answers(told, Wishes(world.house.db, world.house.sealer), "portal.example", 2526)
    first = await answers.answer("northside/route", "bob@both.example")
    then = await answers.answer("northside/route", "both.example")
    routed = first.text or then.text
    here = await answer(world, relay, "bob@both.example")
    assert not (routed.startswith("portal:") and here == "LeftToRelay"), (first, then, here)
    with pytest.raises(InputRefused, match="by domain"):
        await routes.set(world.northside.id, "bob@both.example", "encrypt", DORA)


async def test_a_neighbours_greylisted_mail_waits(world: World) -> None:
    """An arbiter's mail to another organisation of the portal is a matter of its mail hosts, as any other."""
    told = Told(world, **{"southside.example": Outcome.DIRECT})
    relay = listening(world, told)
    async with world.house.db.read() as tx:
        [domain, *_] = await orgs.domains(tx, world.southside.id)
    told.outcomes[domain] = Outcome.DIRECT
    assert await answer(world, relay, f"bob@{domain}") == "LeftToRelay"
