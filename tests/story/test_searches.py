"""The console's searches, held against a plain look at every row: whatever is combined, just that comes, newest first, once."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import product

import pytest
from sqlalchemy import insert, update

from portal.db import overview
from portal.db.deliveries import Delivery
from portal.db.overview import NOTICES, Wanted
from portal.db.tables import deliveries, policies
from portal.model.ids import first_id
from portal.model.message import DeliveryState
from tests.story.seams import all_deliveries
from tests.world import ALICE, BOB, World, letter

pytestmark = pytest.mark.anyio


async def scattered(world: World) -> list[Delivery]:
    """Forty deliveries, of two senders and two people, an hour apart, in all that can have happened to them."""
    dice = random.Random(7)
    for number in range(20):
        sender = ("carol@clinic.example", "erin@clinic.example")[number % 3 == 0]
        await world.deliver(letter(message_id=f"<{number}@clinic.example>"), (ALICE, BOB), sender=sender)
        world.clock.forward(hours=1)
    async with world.house.db.bookkeeping() as tx:
        values = {"id": "results", "org_id": world.northside.id, "name": "results", "version": 1, "life_days": 30}
        more = {"retention_days": 365, "reply_allowed": True, "assurance": 1, "set_at": world.clock.at}
        await tx.change(insert(policies).values({**values, **more}))
        for one in await all_deliveries(world):
            facts = {
                name: one.accepted_at if dice.random() < often else None
                for name, often in (
                    ("noticed_at", 0.8),
                    ("opened_at", 0.5),
                    ("bounced_at", 0.3),
                    ("notice_failed_at", 0.3),
                    ("asked_at", 0.3),
                )
            }
            state = dice.choice([state for state in DeliveryState if state != "replied"]).value
            named = dice.choice(("default", "results"))
            values = {"state": state, "policy_name": named, **facts}
            await tx.change(update(deliveries).where(deliveries.c.id == one.id).values(values))
    return sorted(await all_deliveries(world), key=lambda one: one.id, reverse=True)


def meets(one: Delivery, wanted: Wanted) -> bool:
    notice = {
        None: True,
        "failed": one.notice_failed_at is not None,
        "bounced": one.bounced_at is not None,
        "sent": one.noticed_at is not None and one.bounced_at is None,
        "waiting": one.state == "held" and one.notice_failed_at is None,
    }
    return (
        wanted.message_id in (None, one.message_id)
        and wanted.recipient_id in (None, one.recipient_id)
        and wanted.sender_hash in (None, one.sender_hash)
        and wanted.policy_name in (None, one.policy_name)
        and wanted.state in (None, one.state)
        and notice[wanted.notice]
        and (one.asked_at is not None or not wanted.asked)
        and (not wanted.unread or (one.state == "expired" and one.opened_at is None))
        and (wanted.accepted_from is None or one.id >= first_id(wanted.accepted_from))
        and (wanted.accepted_until is None or one.id < first_id(wanted.accepted_until))
    )


def combined(every: list[Delivery]) -> Iterator[Wanted]:
    """Three hundred of all combinations, and each alone."""
    middle: datetime = every[20].accepted_at
    some = every[5]
    choices: dict[str, tuple[object, ...]] = {
        "message_id": (None, None, some.message_id),
        "recipient_id": (None, None, some.recipient_id),
        "sender_hash": (None, *{one.sender_hash for one in every}, b"\0" * 32),
        "policy_name": (None, "default", "results", "nowhere"),
        "state": (None, *DeliveryState),
        "notice": (None, None, None, *NOTICES),
        "accepted_from": (None, middle - timedelta(hours=6)),
        "accepted_until": (None, middle + timedelta(hours=6)),
        "asked": (False, False, False, True),
        "unread": (False, False, False, True),
    }
    for name, values in choices.items():
        yield from (Wanted(**{name: value}) for value in values)  # type: ignore[arg-type]
    for values in random.Random(11).sample(list(product(*choices.values())), 300):
        yield Wanted(**dict(zip(choices, values, strict=True)))  # type: ignore[arg-type]


async def test_every_search_finds_just_what_is_wanted(world: World) -> None:
    """Alone and combined, for all and for one sender, from the top and from the middle: the same as by looking at every row."""
    every = await scattered(world)
    org, erin = every[0].org_id, every[-1].sender_hash
    found_any = 0
    async with world.house.db.read() as tx:
        for wanted in combined(every):
            for before, own in ((None, None), (every[15].id, None), (None, erin)):
                lines = await overview.page(tx, org, wanted, before, 7, own)
                right = [
                    one.id
                    for one in every
                    if meets(one, wanted) and (before is None or one.id < before) and own in (None, one.sender_hash)
                ]
                assert [line.delivery.id for line in lines] == right[:7], (wanted, before, own)
                found_any += bool(right)
    assert found_any > 100
