"""A house for the benches: a clinic with a relay, and people with messages, made through the portal's own intake.

Every row gets a copy of its own, in which everybody has just signed in. What comes back is compared with what was sent.
"""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from bench.load import Ask
from bench.mails import SENDER, letter
from bench.processes import environment
from portal.assembly import House, blob_store, keyring, open_house
from portal.db import deliveries, sessions
from portal.db.migrate import migrate
from portal.db.sessions import Session
from portal.demo import make_certificates
from portal.intake import Envelope, Relay
from portal.model.access import Reader
from portal.model.assurance import MAILBOX, Assurance, written
from portal.model.events import By, SignedIn, Who
from portal.model.ids import DeliveryId, OrgId, RecipientId
from portal.model.links import TOKEN_BYTES, link_token, token_hash
from portal.orgs.setup import Setup, new_organisation
from portal.settings import Settings, load

_AT_ONCE = 16


@dataclass(frozen=True)
class Sent:
    """A message that was sent: the delivery it became, and the word that is in it and in no other."""

    delivery: DeliveryId
    marker: str


@dataclass(frozen=True)
class Person:
    """A recipient with messages; `token` is her session's, when she has signed in."""

    recipient: RecipientId
    messages: tuple[Sent, ...]
    token: str = ""

    @property
    def cookie(self) -> str:
        return f"__Host-session={self.token}; __Host-browser={'A' * 43}"

    @property
    def session(self) -> str:
        """As the record names it."""
        return token_hash(self.token).hex()


@dataclass(frozen=True)
class Prepared:
    """A house on disk. `login` is the relay's name and password."""

    folder: Path
    org: OrgId
    relay: Relay
    login: tuple[str, str]
    people: tuple[Person, ...]

    def asks(self, connections: int, ending: str = "", turn: int = 0) -> list[list[Ask]]:
        """Each connection is another person who opens hers, one after the other; the next `turn` is other people's.

        `ending`: "" for the page, "/body" for the mail in its frame.
        """
        first = turn * connections % len(self.people)
        return [
            [Ask(f"/messages/{sent.delivery}{ending}", sent.marker, person.cookie) for sent in person.messages]
            for person in self.people[first : first + connections]
        ]

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What another process finds in the database."""
        with closing(sqlite3.connect(f"file:{self.folder}/portal.db?mode=ro", uri=True)) as rows:
            return rows.execute(query, values).fetchall()

    def recorded(self, part: str) -> dict[tuple[str, str], int]:
        """How many `MessageOpened` are durable, by session and delivery."""
        query = (
            "SELECT session, delivery_id, count(*) FROM audit_events"
            " WHERE kind = 'MessageOpened' AND json_extract(detail, '$.part') = ? GROUP BY 1, 2"
        )
        return {(session, delivery): count for session, delivery, count in self.rows(query, part)}

    def unrecorded(self, counts: Sequence[Sequence[int]], part: str = "summary") -> int:
        """Answers (by connection and ask, see bench/load.py) that have no event."""
        have = self.recorded(part)
        return sum(
            max(0, answered - have.get((person.session, sent.delivery), 0))
            for person, own in zip(self.people, counts, strict=False)
            for sent, answered in zip(person.messages, own, strict=True)
        )


def settings(folder: Path) -> Settings:
    with mock.patch.dict(os.environ, environment(folder)):
        return load()


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[House]:
    async with open_house(settings(folder)) as house:
        yield house


# -- made once a run


def prepare(folder: Path, people: int, messages: int) -> Prepared:
    """A new house with `people`, each with as many `messages` of 20 KB, ready to be opened."""
    folder.mkdir(mode=0o700)
    return asyncio.run(_prepare(folder, people, messages))


async def _prepare(folder: Path, people: int, messages: int) -> Prepared:
    chosen = settings(folder)
    make_certificates(folder)
    keyring(chosen).create()
    blob_store(chosen).make()
    await migrate(chosen.database_url, create=True)
    async with opened(folder) as house:
        made = await clinic(house, folder)
        mails = [(_address(number), f"M{number:03}x{at:03}y") for number in range(people) for at in range(messages)]
        sent: list[tuple[RecipientId, Sent]] = []
        for at in range(0, len(mails), _AT_ONCE):
            group = mails[at : at + _AT_ONCE]
            sent += [await send(house, made.relay, to, marker, letter(marker, to)) for to, marker in group]
            await house.preparing.drain(30)
    found: dict[RecipientId, list[Sent]] = {}
    for recipient, one in sent:
        found.setdefault(recipient, []).append(one)
    return replace(made, people=tuple(Person(recipient, tuple(own)) for recipient, own in found.items()))


def _address(number: int) -> str:
    return f"p{number}@patients.example"


async def clinic(house: House, folder: Path) -> Prepared:
    """An organisation with a domain and a relay, and nobody in it yet."""
    setup, org_id = Setup(house.db, house.source, By(Who.OPERATOR, "bench")), OrgId(house.source.new_id())
    fallback = house.fallback(By(Who.OPERATOR, "bench"))
    northside = new_organisation(
        house.source,
        org_id,
        "northside",
        "Northside Clinic",
        house.keyring.add_organisation(org_id),
        mail_from="portal@clinic.example",
        address="14 Harbour Lane",
        phone="+1 555 0100",
        language="en",
    )
    await setup.add(northside)
    await fallback.add_domain(northside, "clinic.example")
    made = await fallback.add_relay(northside, "relay", None)
    relay = Relay(made.relay.id, org_id, "relay", made.row.id)
    return Prepared(folder, org_id, relay, (made.row.username or "", made.password or ""), ())


async def send(house: House, relay: Relay, to: str, marker: str, raw: bytes) -> tuple[RecipientId, Sent]:
    """Hands a mail for one person to the intake, as its edge does."""
    submission = await house.intake().begin(relay, Envelope(SENDER, (to,), "192.0.2.1"))
    await submission.write(raw)
    accepted = await submission.commit()
    assert accepted.message_id is not None
    async with house.db.read() as tx:
        delivery = (await deliveries.of_message(tx, accepted.message_id))[0]
    return delivery.recipient_id, Sent(delivery.id, marker)


# -- copied for each row


@contextmanager
def copy(made: Prepared, folder: Path) -> Iterator[Prepared]:
    """The house once more, with everybody signed in; gone afterwards."""
    shutil.copytree(made.folder, folder, ignore=shutil.ignore_patterns("log-*", "*.lock", "*.host"))
    try:
        yield asyncio.run(_signed_in(replace(made, folder=folder)))
    finally:
        shutil.rmtree(folder)


async def _signed_in(made: Prepared) -> Prepared:
    async with opened(made.folder) as house:
        return replace(made, people=tuple([await sign_in(house, made.org, one) for one in made.people]))


async def sign_in(house: House, org_id: OrgId, person: Person) -> Person:
    """A session as portal/signin begins one, without the mail and the code before it."""
    token, now = link_token(house.source.random(TOKEN_BYTES)), datetime.now(UTC)
    session = Session(
        token_hash=token_hash(token),
        org_id=org_id,
        recipient_id=person.recipient,
        assurance=Assurance.MAILBOX,
        method=MAILBOX.method.value,
        proofs=written([MAILBOX]),
        started_at=now,
        proved_at=now,
        seen_at=now,
        ends_at=now + timedelta(hours=1),
    )
    event = SignedIn(
        at=now,
        who=Who.RECIPIENT,
        actor=person.recipient,
        org_id=org_id,
        session=session.token_hash.hex(),
        method=session.method,
        assurance=int(session.assurance),
    )
    async with house.db.write(event) as tx:
        await sessions.start(tx, session)
    return replace(person, token=token)


# -- compared afterwards


def originals(made: Prepared, wanted: Sequence[tuple[RecipientId, DeliveryId]]) -> list[bytes]:
    """What the readers of deliveries are given as the originals."""
    return asyncio.run(_originals(made, wanted))


async def _originals(made: Prepared, wanted: Sequence[tuple[RecipientId, DeliveryId]]) -> list[bytes]:
    found = []
    async with opened(made.folder) as house:
        reading = house.site().reading
        for recipient, delivery in wanted:
            reader = Reader(recipient, made.org, Assurance.MAILBOX, "00", None)
            download = await reading.original(reader, delivery)
            found.append(b"".join([piece async for piece in download.pieces]))
    return found
