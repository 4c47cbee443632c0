"""The intake behind its real edge, over TLS: many recipients, half a message, the same one again, and any bytes there may be."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import aiosmtplib
import pytest
from sqlalchemy import func, select

from portal.assembly import open_house
from portal.clock import Source
from portal.db import messages
from portal.db.tables import deliveries
from portal.db.tables import messages as messages_table
from tests.fault.live import Place, edge, hand_over, place, relay, serving
from tests.story.seams import rows
from tests.world import ALICE, CAROL, World, letter
from tests.world import world as open_world

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    """The house, once on SQLite and once on PostgreSQL."""
    async with open_world(tmp_path, database_url) as made:
        yield made


def people(count: int) -> list[str]:
    return [f"patient{number}@patients.example" for number in range(count)]


async def test_one_mail_to_24_is_one_message_and_24_deliveries(world: World) -> None:
    """One transaction, one blob, a delivery and a notice for each; sent again, it adds nothing."""
    async with edge(world) as login, relay(login) as client:
        for _ in range(2):
            assert (await hand_over(client, CAROL, people(24), letter(), "Q1")).startswith("250")
    assert [len(await rows(world, table)) for table in (messages_table, deliveries)] == [1, 24]


async def test_a_mail_to_120_is_taken_in_as_many_transactions_as_it_needs(world: World) -> None:
    """What is over the limit hears 452, and comes in the next transactions (RFC 5321 4.5.3.1.10): everybody has one delivery."""
    left, rounds = people(120), 0
    async with edge(world) as login, relay(login) as client:
        while left:
            rounds += 1
            left = await _as_many_as_are_taken(client, left)
    assert rounds == 3
    found = await rows(world, deliveries)
    assert (len(found), len({row["recipient_id"] for row in found})) == (120, 120)


async def _as_many_as_are_taken(client: aiosmtplib.SMTP, to: list[str]) -> list[str]:
    """Who is left for the next transaction."""
    later = []
    await client.execute_command(b"XFORWARD", b"IDENT=Q1")
    await client.mail(CAROL)
    for one in to:
        try:
            await client.rcpt(one)
        except aiosmtplib.SMTPRecipientRefused as refused:
            later.append((one, f"{refused.code} {refused.message[:5]}"))
    assert (await client.data(letter())).code == 250
    assert {answer for _, answer in later} <= {"452 4.5.3"}
    return [one for one, _ in later]


async def test_any_bytes_come_out_as_they_went_in(world: World) -> None:
    """100 messages of dots, empty lines, 8-bit bytes and long lines through edge, seal, store and page: each byte for byte."""
    alice, chance = world.browser(), random.Random(4711)
    await alice.sign_in(await world.announce())
    sent = [_message(chance, number) for number in range(100)]
    async with edge(world) as login, relay(login) as client:
        for number, raw in enumerate(sent):
            assert (await hand_over(client, CAROL, (ALICE,), raw, f"Q{number}")).startswith("250")
    for raw, row in zip(sent, (await rows(world, deliveries))[1:], strict=True):
        assert (await alice.get(f"/messages/{row['id']}/original.eml")).content == raw


def _message(chance: random.Random, number: int) -> bytes:
    pieces = [b".", b"..", b"", b"\x80\xff\xfe", b"From ", b"\t", b"=\xc3\xa9", b"x" * 998, b"--b", b"Content-Type:"]
    lines = [b"".join(chance.choices(pieces, k=chance.randrange(4))) for _ in range(chance.randrange(40))]
    head = f"X-Number: {number}".encode() if chance.random() < 0.9 else b"no header at all"
    return b"\r\n".join([head, *lines, b""])


async def test_a_portal_killed_in_the_middle_of_a_message_keeps_nothing_of_it(tmp_path: Path) -> None:
    """Killed mid-body: no message. Sent again and killed right after its 250: one message, however often it comes after that."""
    raw = letter(text="All is well.\n" * 20_000)
    async with place(tmp_path) as where, serving(where) as server:
        async with relay(where.login) as client:
            await client.execute_command(b"XFORWARD", b"IDENT=Q1")
            await client.mail(CAROL)
            await client.rcpt(ALICE)
            await client.execute_command(b"DATA")
            assert isinstance(client.transport, asyncio.WriteTransport)
            client.transport.write(raw[: len(raw) // 2])
            await asyncio.sleep(0.3)
            await server.kill()
        assert await _stored(where) == 0
        await server.start()
        async with relay(where.login) as client:
            assert (await hand_over(client, CAROL, (ALICE,), raw, "Q1")).startswith("250")
            await server.kill()
        await server.start()
        async with relay(where.login) as client:
            assert (await hand_over(client, CAROL, (ALICE,), raw, "Q1")).startswith("250")
        assert await server.stop() == 0
        assert await _stored(where) == 1


async def _stored(where: Place) -> int:
    """How many messages there are; each has its blob."""
    async with open_house(where.settings, Source()) as house, house.db.read() as tx:
        for key in await messages.blobs_relied_on(tx, None, 10):
            (await house.blobs.open(key)).close()
        row = await tx.row(select(func.count()).select_from(messages_table))
    return int(row[0]) if row else 0
