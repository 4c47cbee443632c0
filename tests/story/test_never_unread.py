"""Never expires unread without a human knowing: warnings to senders, news they asked for, and the report."""

import re

import pytest

from portal.db.tables import deliveries, staff
from portal.model.ids import PolicyId
from portal.model.policy import Policy
from portal.model.staff import Role
from portal.orgs.classes import Classes
from tests.story.seams import all_deliveries, rows
from tests.story.staff import OPERATOR, desk, sender
from tests.world import ALICE, BOB, CAROL, World, letter

pytestmark = pytest.mark.anyio


async def day(world: World, **by: float) -> None:
    """Time goes on, and the worker does what is due."""
    world.clock.forward(**by)
    await world.worker._daily_life()
    while await world.worker.send_due():
        pass


def told(world: World, who: str = CAROL) -> list[str]:
    return [str(world.read(mail)["Subject"]) for mail in world.sink.messages if who in mail.rcpt_to]


async def test_before_a_message_dies_unread_its_sender_hears_of_it_and_can_extend(world: World) -> None:
    """Three days before the end: one mail with a link, no content; one press gives more time, and she is told anew before that."""
    await world.announce()
    await day(world, days=26)
    assert told(world) == []
    await day(world, days=1.5)
    await day(world, hours=1)
    assert told(world) == ["Your message will soon end unread"]
    mail = world.text_for(CAROL)
    assert "Your results" not in mail
    assert ALICE not in mail
    link = re.search(r"https://portal\.example(/staff/messages/[\w-]+)", mail)
    assert link
    carol = await sender(world)
    assert (await carol.get(link[1])).status_code == 200
    (one,) = await all_deliveries(world)
    assert (await carol.act("extend", [one.id], days="14")).status_code == 303
    await day(world, days=13.5)
    assert told(world).count("Your message will soon end unread") == 2


async def test_an_unread_end_is_told_and_stands_in_the_report(world: World) -> None:
    """The sender hears of the end too; the report says who was told when; what was opened is in neither."""
    await world.announce()
    token = await world.announce(letter(message_id="<2@clinic.example>"), (BOB,))
    bob = world.browser()
    await bob.get(await bob.sign_in(token, BOB))
    await day(world, days=28)
    await day(world, days=3)
    assert sorted(told(world)) == ["Your message ended unread", "Your message will soon end unread"]
    for role in (Role.ADMIN, Role.AUDITOR):
        who = await desk(world, role, f"{role}@clinic.example")
        page = (await who.get("/staff/unread")).text
        assert ALICE in page
        assert BOB not in page
        assert "before its end: told" in page
        assert "after its end: told" in page
    assert (await world.events("ReportRead"))[-1].detail == {"report": "unread", "rows": 1}


async def test_a_sender_who_could_not_be_told_stands_in_the_report_as_such(world: World) -> None:
    """The report says when a mail to the sender failed: then a human must act."""
    await world.announce()
    world.sink.refuse_with = "550 5.1.1 no such mailbox"
    await day(world, days=28)
    await day(world, days=3)
    world.sink.refuse_with = None
    dora = await desk(world, Role.ADMIN, "dora@clinic.example")
    page = (await dora.get("/staff/unread")).text
    assert "could not be told" in page


async def test_what_is_opened_or_ended_by_hand_warns_nobody(world: World) -> None:
    """Opened, taken back and ended on purpose: the sender knows, or need not."""
    token = await world.announce()
    alice = world.browser()
    await alice.get(await alice.sign_in(token))
    for number, act in ((2, "revoke"), (3, "expire")):
        await world.announce(letter(message_id=f"<{number}@clinic.example>"), (BOB,))
        dora = await desk(world, Role.ADMIN, f"d{number}@clinic.example")
        await dora.act(act, [(await all_deliveries(world))[-1].id], reason="on purpose")
    await day(world, days=29)
    await day(world, days=3)
    assert told(world) == []


async def test_a_class_says_when_and_a_change_counts_for_new_messages(world: World) -> None:
    """A message keeps the days of the version it came under."""
    await world.announce()
    classes = Classes(world.house.db, world.house.source, OPERATOR)
    await classes.set(world.northside.id, Policy(PolicyId(""), world.northside.id, "default", 0, warn_days=20))
    await world.announce(letter(message_id="<2@clinic.example>"), (BOB,))
    await day(world, days=11)
    assert told(world) == ["Your message will soon end unread"]
    one, two = await rows(world, deliveries)
    assert (one["warn_at"] is None, two["warn_at"] is None) == (False, True)


@pytest.mark.parametrize(("news", "after"), [("each", {"minutes": 3}), ("daily", {"hours": 25})])
async def test_news_of_own_messages_come_as_asked(world: World, news: str, after: dict[str, float]) -> None:
    """Soon or once a day, all that happened since, partly hidden and without content; nobody else's; off again, no more."""
    await world.announce()
    carol = await sender(world)
    await carol.get("/staff/account")
    assert (await carol.post("/staff/account/news", {"news": news})).status_code == 303
    world.clock.forward(seconds=30)
    token = await world.announce(letter(message_id="<2@clinic.example>"))
    await world.announce(letter(message_id="<3@clinic.example>"), (BOB,), sender="erin@clinic.example")
    alice = world.browser()
    await alice.get(await alice.sign_in(token))
    await day(world, **after)
    assert told(world).count("News of your messages") == 1
    text = " ".join(world.text_for(CAROL).split())
    assert "was opened" in text
    assert "is waiting in the portal" in text
    for secret in (ALICE, BOB, "b…b@", "Your results", "All is well"):
        assert secret not in text
    await day(world, **after)
    assert told(world).count("News of your messages") == 1  # nothing new happened
    await carol.get("/staff/sign-in")
    carol = await sender(world)
    await carol.get("/staff/account")
    await carol.post("/staff/account/news", {"news": "off"})
    await world.announce(letter(message_id="<4@clinic.example>"))
    await day(world, days=2)
    assert told(world).count("News of your messages") == 1
    assert (await rows(world, staff))[0]["news"] == "off"
