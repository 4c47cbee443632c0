"""The console's list and its searches with 1,000 and with 1,000,000 deliveries in the same run, on each engine that is there.

A clinic of two years: 300 senders, six classes, a person for each fifty deliveries. What is rare is as many rows in both sizes,
and what is common fills a page in both: so both answer with as many lines, and the ratio says what the search costs.
Every answer is held against the rows as they were made: which deliveries, in which order, none twice.
`BENCH_LIST_ROWS` and `BENCH_LIST_CALLS` change the size and the calls of a case; `BENCH_LIST_ENGINES` names engines.
"""

import asyncio
import os
import random
import shutil
import sys
import time
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert

from bench import house
from bench.house import Prepared
from bench.lines import Line, Wrong
from portal.assembly import House, blob_store, keyring, open_house
from portal.console import View
from portal.console.messages import MOST_AT_ONCE, PAGE, Messages
from portal.db import holds as db_holds
from portal.db import tables
from portal.db.holds import Criteria, Hold
from portal.db.migrate import migrate
from portal.db.overview import Wanted
from portal.lifecycle.dispose import Disposition
from portal.model.events import By, HoldPlaced, Who
from portal.model.ids import DeliveryId, HoldId, MessageId, OrgId, RecipientId, uuid7
from portal.model.message import DeliveryState as S
from portal.sealing import field_aad
from portal.settings import Settings

if TYPE_CHECKING:
    from tests.servers import Postgres

_SMALL, _TARGET, _WARM, _BATCH = 1000, 1.5, 10, 20_000
_SPAN, _LIFE, _RETENTION = timedelta(days=730), timedelta(days=30), timedelta(days=365)
_LONG = timedelta(days=3650)
_SENDERS, _COMMON, _SECOND, _RARE = 300, 0, 1, 299
_CLASSES = ("ordinary", "results", "billing", "referrals", "records", "psychiatry")
_ORDINARY, _RESULTS, _BILLING, _REFERRALS, _RECORDS, _PSYCHIATRY = range(6)
_KEPT_LONG = (_RECORDS, _PSYCHIATRY)
_STATES = tuple(S)
_HELD, _NOTICED, _OPENED, _REPLIED, _EXPIRED, _REVOKED, _DISPOSED = range(7)
_FAILED, _BOUNCED, _ASKED, _READ = 1, 2, 4, 8
_BUSIEST, _PERSON = 0, 1
_DUE = 300
"""Deliveries past retention that disposition has not come to yet."""
_HOLDS = 200


@dataclass
class Clinic:
    """The rows as they were made, oldest first, a column each."""

    n: int
    now: datetime
    ids: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    people: list[str] = field(default_factory=list)
    senders: list[bytes] = field(default_factory=list)
    sender: "array[int]" = field(default_factory=lambda: array("H"))
    recipient: "array[int]" = field(default_factory=lambda: array("I"))
    kind: bytearray = field(default_factory=bytearray)
    state: bytearray = field(default_factory=bytearray)
    flags: bytearray = field(default_factory=bytearray)
    holds: list[Criteria] = field(default_factory=list)

    def at(self, index: int) -> datetime:
        return self.now - _SPAN * (self.n - index) / self.n

    def kept_long(self, index: int) -> bool:
        kind = self.kind[index]
        return kind in _KEPT_LONG or (kind == _ORDINARY and self.sender[index] == _COMMON)

    def retained(self, index: int) -> datetime:
        return self.at(index) + (_LONG if self.kept_long(index) else _RETENTION)

    def on_hold(self) -> list[int]:
        """Deliveries whose message a hold names; some are past retention."""
        return _spread(self.n, 90, 0)


def _spread(n: int, count: int, place: int) -> list[int]:
    """`count` indices evenly over all, none of them the second delivery of a message."""
    return [
        at - at % 6 + place for at in (int((one + 0.5) * n / count) for one in range(count)) if at - at % 6 + place < n
    ]


def _clinic(n: int, now: datetime) -> Clinic:
    dice, own = random.Random(n), Clinic(n, now)
    people = max(n // 50, 20) + 2
    usual = (_ORDINARY, _RESULTS, _BILLING, _REFERRALS, _RECORDS)
    for _ in range(n):
        share = dice.random()
        sender = _COMMON if share < 0.2 else _SECOND if share < 0.3 else dice.randrange(2, _RARE)
        kind = dice.choices(usual, (45, 22, 15, 8, 10))[0]
        if sender == _COMMON:  # a laboratory: results, and some that is kept long
            kind = _ORDINARY if dice.random() < 0.3 else _RESULTS
        own.sender.append(sender)
        own.kind.append(kind)
        own.recipient.append(dice.randrange(2, people))
    for at in _spread(n, 20, 0):
        own.sender[at] = _RARE
    for at in _spread(n, 20, 1):
        own.kind[at] = _PSYCHIATRY
    for at in _spread(n, 50, 2):
        own.recipient[at] = _PERSON
    for at in _spread(n, max(60, n // 100), 3):
        own.recipient[at] = _BUSIEST
    for at in _spread(n, 5, 3):
        own.sender[at], own.kind[at] = _COMMON, _BILLING
    for at in range(5, n, 6):  # every fifth message has two recipients
        own.sender[at], own.kind[at] = own.sender[at - 1], own.kind[at - 1]
    _states(own, dice)
    own.people = [_id(now - _SPAN - timedelta(days=1), dice) for _ in range(max(people, 20_000))]
    for index in range(n):
        own.ids.append(_id(own.at(index), dice))
        own.messages.append(own.messages[-1] if index % 6 == 5 else _id(own.at(index), dice))
    return own


def _id(at: datetime, dice: random.Random) -> str:
    return uuid7(at, dice.randbytes(8))


def _states(own: Clinic, dice: random.Random) -> None:
    """By age: noticed or opened, then expired, then disposed of, but for the last that are due. Nobody replies here."""
    n, now = own.n, own.now
    past = int(n * (1 - _RETENTION / _SPAN))
    for at in range(n):
        if now - own.at(at) < _LIFE:
            state = _OPENED if dice.random() < 0.6 else _NOTICED
        else:
            state = _DISPOSED if at < past - _DUE and not own.kept_long(at) else _EXPIRED
        others = own.sender[at] != _COMMON and own.recipient[at] != _BUSIEST
        if state != _DISPOSED and others and dice.random() < max(0.01, 60 / n):
            state = _REVOKED
        own.state.append(state)
        own.flags.append(_READ if state == _OPENED or (state != _NOTICED and dice.random() < 0.85) else 0)
    _plant_states(own, past)
    _flag(own, _FAILED, _spread(n, max(65, n * 3 // 1000), 1), lambda at: own.sender[at] == _COMMON)
    _flag(own, _BOUNCED, _spread(n, max(70, n * 2 // 1000), 2), lambda at: own.kind[at] == _BILLING)
    for at in _spread(n, 40, 3):
        if own.state[at] == _EXPIRED:
            own.flags[at] |= _ASKED


def _flag(own: Clinic, flag: int, rows: list[int], spared: Callable[[int], bool]) -> None:
    """A flag on these, but on five only of those that are spared."""
    for at in rows:
        if not spared(at) and own.state[at] != _HELD:
            own.flags[at] |= flag
    for at in _first(own, 5, lambda at: spared(at) and own.state[at] == _DISPOSED):
        own.flags[at] |= flag


def _plant_states(own: Clinic, past: int) -> None:
    """Five of what there would be none of: two things that are common each, and hardly ever meet."""
    for at in own.on_hold():
        if own.state[at] == _DISPOSED:
            own.state[at] = _EXPIRED
    for meets, state in (
        (lambda at: own.kind[at] == _RECORDS and at < past, _DISPOSED),
        (lambda at: own.sender[at] == _COMMON and own.kind[at] == _ORDINARY and at < past, _DISPOSED),
        (lambda at: own.sender[at] == _COMMON and own.state[at] == _EXPIRED, _REVOKED),
        (lambda at: own.recipient[at] == _BUSIEST and own.state[at] == _EXPIRED, _REVOKED),
    ):
        for at in _first(own, 5, meets):
            own.state[at] = state
    for at in range(own.n - 20, own.n):
        own.state[at], own.flags[at] = _HELD, 0


def _first(own: Clinic, count: int, meets: Callable[[int], bool]) -> list[int]:
    found: list[int] = []
    for at in range(own.n):
        if meets(at):
            found.append(at)
            if len(found) == count:
                break
    return found


# -- into the database


async def _fill(made: House, org_id: OrgId, relay: str, own: Clinic) -> None:
    """Every sealed field opens: it is sealed for its row, under one epoch key."""
    policies = [_id(own.now, random.Random(kind)) for kind in _CLASSES]
    own.senders = [made.sealer.index(org_id, "sender", f"s{one}@clinic.example") for one in range(_SENDERS)]
    epoch = await made.sealer.epoch(org_id)

    def seal(row_id: str, kind: str, text: str) -> bytes:
        nonce = os.urandom(12)
        return nonce + epoch.key.encrypt(nonce, text.encode(), field_aad(org_id, row_id, kind, epoch.id))

    async with made.db.bookkeeping() as tx:
        rows: list[dict[str, Any]] = [
            {
                "id": policies[kind],
                "org_id": org_id,
                "name": name,
                "version": 1,
                "life_days": _LIFE.days,
                "retention_days": (_LONG if kind in _KEPT_LONG else _RETENTION).days,
                "reply_allowed": True,
                "assurance": 1,
                "set_at": own.now,
            }
            for kind, name in enumerate(_CLASSES)
        ]
        await tx.change(insert(tables.policies), rows)
        rows = [
            {
                "id": person,
                "org_id": org_id,
                "address_hash": made.sealer.index(org_id, "recipient", f"p{at}@patients.example"),
                "address_sealed": seal(person, "address", f"p{at}@patients.example"),
                "epoch_id": epoch.id,
                "added_at": own.now,
            }
            for at, person in enumerate(own.people)
        ]
        await tx.change(insert(tables.recipients), rows)
    for start in range(0, own.n, _BATCH):
        span = range(start, min(start + _BATCH, own.n))
        mails = [_message(own, at, policies, org_id, relay) for at in span if at % 6 != 5]
        for mail in mails:
            at = mail.pop("sender")
            mail["sender_hash"] = own.senders[at]
            mail["sender_sealed"] = seal(mail["id"], "sender", f"s{at}@clinic.example")
            mail["epoch_id"] = epoch.id
        async with made.db.bookkeeping() as tx:
            await tx.change(insert(tables.messages), mails)
            await tx.change(insert(tables.deliveries), [_delivery(own, at, org_id) for at in span])


def _message(own: Clinic, at: int, policies: list[str], org_id: OrgId, relay: str) -> dict[str, Any]:
    gone = own.state[at] == _DISPOSED and (at + 1 >= own.n or at % 6 != 4 or own.state[at + 1] == _DISPOSED)
    return {
        "id": own.messages[at],
        "org_id": org_id,
        "relay_id": relay,
        "policy_id": policies[own.kind[at]],
        "size": 20_000,
        "sender": own.sender[at],
        "accepted_at": own.at(at),
        "retain_until": own.retained(at),
        "disposed_at": own.retained(at) if gone else None,
    }


def _delivery(own: Clinic, at: int, org_id: OrgId) -> dict[str, Any]:
    when, state, flags = own.at(at), own.state[at], own.flags[at]
    later = when + timedelta(hours=1)
    return {
        "id": own.ids[at],
        "org_id": org_id,
        "message_id": own.messages[at],
        "recipient_id": own.people[own.recipient[at]],
        "state": _STATES[state].value,
        "needs": 1,
        "reply_allowed": True,
        "sender_hash": own.senders[own.sender[at]],
        "policy_name": _CLASSES[own.kind[at]],
        "accepted_at": when,
        "expires_at": when + _LIFE,
        "noticed_at": None if state == _HELD else later,
        "opened_at": later if flags & _READ else None,
        "ended_at": when + _LIFE if state >= _EXPIRED else None,
        "notice_failed_at": later if flags & _FAILED else None,
        "bounced_at": later if flags & _BOUNCED else None,
        "asked_at": later if flags & _ASKED else None,
    }


async def _place_holds(made: House, org_id: OrgId, own: Clinic) -> None:
    """200 in force, of each kind: messages, people, senders with days, classes with days. They keep few deliveries."""
    day, now = timedelta(days=1), own.now
    old = own.at(own.n // 100)
    kinds = [Criteria(message_id=MessageId(own.messages[at])) for at in own.on_hold()]
    kinds += [Criteria(recipient_id=RecipientId(own.people[-at])) for at in range(1, 71)]
    kinds += [
        Criteria(sender_hash=own.senders[at], accepted_from=old - day, accepted_until=old) for at in range(100, 130)
    ]
    kinds += [
        Criteria(policy_name="psychiatry", accepted_from=now - at * 10 * day, accepted_until=now - at * 9 * day)
        for at in range(1, _HOLDS - len(kinds) + 1)
    ]
    own.holds, by = kinds, By(Who.OPERATOR, "bench")
    for criteria in kinds:
        hold = Hold(HoldId(made.source.new_id()), org_id, "audit", "legal", now + _RETENTION, now, criteria)
        event = HoldPlaced(**by.facts(now, org_id), hold=hold.id, criteria=criteria.named, owner="legal", review="")
        async with made.db.write(event) as tx:
            await db_holds.place(tx, hold)


def _keeps(one: Criteria, own: Clinic, at: int) -> bool:
    return (
        one.message_id in (None, own.messages[at])
        and one.recipient_id in (None, own.people[own.recipient[at]])
        and one.sender_hash in (None, own.senders[own.sender[at]])
        and one.policy_name in (None, _CLASSES[own.kind[at]])
        and (one.accepted_from is None or one.accepted_from <= own.at(at))
        and (one.accepted_until is None or one.accepted_until > own.at(at))
    )


# -- what is asked, and what must come back

Ids = list[str]
Meets = Callable[[Clinic, int], bool]


@dataclass
class Stand:
    """A clinic in its database, opened: as its console sees it."""

    house: House
    org_id: OrgId
    rows: Clinic
    messages: Messages
    disposition: Disposition

    def view(self, own: int | None = None) -> View:
        return View(self.org_id, By(Who.STAFF, "dora"), None if own is None else self.rows.senders[own])

    def middle(self) -> DeliveryId:
        return DeliveryId(self.rows.ids[self.rows.n // 2])


@dataclass(frozen=True)
class _Case:
    """`ask` looks once and gives the ids it got; `meets` says of a delivery whether it is one that is asked for."""

    name: str
    ask: Callable[[Stand], Awaitable[Ids]]
    meets: Meets
    most: int = PAGE
    middle: bool = False
    oldest_first: bool = False

    def expected(self, own: Clinic) -> Ids:
        newest_first = range((own.n // 2 if self.middle else own.n) - 1, -1, -1)
        found = (own.ids[at] for at in (range(own.n) if self.oldest_first else newest_first) if self.meets(own, at))
        return list(islice(found, self.most))


def _search(
    name: str, wanted: Callable[[Clinic], Wanted], meets: Meets, own: int | None = None, *, middle: bool = False
) -> _Case:
    async def ask(stand: Stand) -> Ids:
        before = stand.middle() if middle else None
        page = await stand.messages.search(stand.view(own), wanted(stand.rows), before)
        return [one.delivery.id for one in page.shown]

    return _Case(name, ask, meets, middle=middle)


async def _unread(stand: Stand, own: int | None) -> Ids:
    return [one.shown.delivery.id for one in (await stand.messages.unread(stand.view(own)))[0]]


async def _requests(stand: Stand, own: int | None) -> Ids:
    return [one.delivery.id for one in await stand.messages.requests(stand.view(own))]


async def _due(stand: Stand) -> Ids:
    return [one.id for one in await stand.disposition.due(stand.org_id, 200)]


def _window(own: Clinic, middle: float) -> tuple[datetime, datetime]:
    """Days, as many as bring 60 deliveries; at least one."""
    days = max(1, 60 * _SPAN.days // own.n + 1)
    begin = own.at(int(own.n * middle)).replace(hour=0, minute=0, second=0, microsecond=0)
    return begin, begin + timedelta(days=days)


def _within(own: Clinic, at: int, middle: float) -> bool:
    begin, end = _window(own, middle)
    return begin <= own.at(at) < end


def _days(own: Clinic, middle: float, **more: Any) -> Wanted:
    begin, end = _window(own, middle)
    return Wanted(accepted_from=begin, accepted_until=end, **more)


def _is_due(own: Clinic, at: int) -> bool:
    past = own.state[at] != _DISPOSED and own.retained(at) <= own.now
    return past and not any(_keeps(one, own, at) for one in own.holds)


def _person(own: Clinic, who: int) -> RecipientId:
    return RecipientId(own.people[who])


_CASES = (
    _search("newest page", lambda c: Wanted(), lambda c, at: True),
    _search("page in the middle", lambda c: Wanted(), lambda c, at: True, middle=True),
    _search("recipient", lambda c: Wanted(recipient_id=_person(c, _PERSON)), lambda c, at: c.recipient[at] == _PERSON),
    _search(
        "recipient, a shared mailbox (1 in 100)",
        lambda c: Wanted(recipient_id=_person(c, _BUSIEST)),
        lambda c, at: c.recipient[at] == _BUSIEST,
    ),
    _search(
        "sender, common (1 in 5)",
        lambda c: Wanted(sender_hash=c.senders[_COMMON]),
        lambda c, at: c.sender[at] == _COMMON,
    ),
    _search("sender, rare (20)", lambda c: Wanted(sender_hash=c.senders[_RARE]), lambda c, at: c.sender[at] == _RARE),
    _search("state, common (expired)", lambda c: Wanted(state=S.EXPIRED), lambda c, at: c.state[at] == _EXPIRED),
    _search(
        "state, common, in the middle",
        lambda c: Wanted(state=S.EXPIRED),
        lambda c, at: c.state[at] == _EXPIRED,
        middle=True,
    ),
    _search("state, rare (held: 20)", lambda c: Wanted(state=S.HELD), lambda c, at: c.state[at] == _HELD),
    _search("state, none at all (replied)", lambda c: Wanted(state=S.REPLIED), lambda c, at: False),
    _search(
        "class, common (ordinary)", lambda c: Wanted(policy_name="ordinary"), lambda c, at: c.kind[at] == _ORDINARY
    ),
    _search("class, rare (20)", lambda c: Wanted(policy_name="psychiatry"), lambda c, at: c.kind[at] == _PSYCHIATRY),
    _search("notice waiting (20)", lambda c: Wanted(notice="waiting"), lambda c, at: c.state[at] == _HELD),
    _search(
        "notice sent",
        lambda c: Wanted(notice="sent"),
        lambda c, at: c.state[at] != _HELD and not c.flags[at] & _BOUNCED,
    ),
    _search("notice failed (3 in 1,000)", lambda c: Wanted(notice="failed"), lambda c, at: bool(c.flags[at] & _FAILED)),
    _search(
        "notice bounced (2 in 1,000)", lambda c: Wanted(notice="bounced"), lambda c, at: bool(c.flags[at] & _BOUNCED)
    ),
    _search("a day (of 60)", lambda c: _days(c, 0.4), lambda c, at: _within(c, at, 0.4)),
    _search(
        "sender, common + state that is common but 5 times among hers",
        lambda c: Wanted(sender_hash=c.senders[_COMMON], state=S.REVOKED),
        lambda c, at: c.sender[at] == _COMMON and c.state[at] == _REVOKED,
    ),
    _search(
        "sender + class, both common, 5 together",
        lambda c: Wanted(sender_hash=c.senders[_COMMON], policy_name="billing"),
        lambda c, at: c.sender[at] == _COMMON and c.kind[at] == _BILLING,
    ),
    _search(
        "class + state, both common, 5 together",
        lambda c: Wanted(policy_name="records", state=S.DISPOSED),
        lambda c, at: c.kind[at] == _RECORDS and c.state[at] == _DISPOSED,
    ),
    _search(
        "sender + class + state, each two common, 5 together",
        lambda c: Wanted(sender_hash=c.senders[_COMMON], policy_name="ordinary", state=S.DISPOSED),
        lambda c, at: c.sender[at] == _COMMON and c.kind[at] == _ORDINARY and c.state[at] == _DISPOSED,
    ),
    _search(
        "failed + sender, common, 5 together",
        lambda c: Wanted(notice="failed", sender_hash=c.senders[_COMMON]),
        lambda c, at: bool(c.flags[at] & _FAILED) and c.sender[at] == _COMMON,
    ),
    _search(
        "bounced + class, common, 5 together",
        lambda c: Wanted(notice="bounced", policy_name="billing"),
        lambda c, at: bool(c.flags[at] & _BOUNCED) and c.kind[at] == _BILLING,
    ),
    _search(
        "shared mailbox + state, 5 together",
        lambda c: Wanted(recipient_id=_person(c, _BUSIEST), state=S.REVOKED),
        lambda c, at: c.recipient[at] == _BUSIEST and c.state[at] == _REVOKED,
    ),
    _search(
        "recipient + sender, class and state, all common",
        lambda c: Wanted(
            recipient_id=_person(c, _PERSON),
            sender_hash=c.senders[_COMMON],
            policy_name="results",
            state=S.DISPOSED,
        ),
        lambda c, at: (
            c.recipient[at] == _PERSON
            and c.sender[at] == _COMMON
            and c.kind[at] == _RESULTS
            and c.state[at] == _DISPOSED
        ),
    ),
    _search(
        "state, common + a day that has none",
        lambda c: _days(c, 0.1, state=S.OPENED),
        lambda c, at: c.state[at] == _OPENED and _within(c, at, 0.1),
    ),
    _search(
        "sender, common + class, common + a day",
        lambda c: _days(c, 0.4, sender_hash=c.senders[_COMMON], policy_name="results"),
        lambda c, at: c.sender[at] == _COMMON and c.kind[at] == _RESULTS and _within(c, at, 0.4),
    ),
    _search(
        "sent + sender + state, 5 together",
        lambda c: Wanted(notice="sent", sender_hash=c.senders[_COMMON], state=S.REVOKED),
        lambda c, at: c.sender[at] == _COMMON and c.state[at] == _REVOKED and not c.flags[at] & _BOUNCED,
    ),
    _search("own list", lambda c: Wanted(), lambda c, at: c.sender[at] == _SECOND, _SECOND),
    _search(
        "own list + state, hardly any among hers",
        lambda c: Wanted(state=S.REVOKED),
        lambda c, at: c.sender[at] == _COMMON and c.state[at] == _REVOKED,
        _COMMON,
    ),
    _search("own list + state, none", lambda c: Wanted(state=S.REPLIED), lambda c, at: False, _COMMON),
    _Case(
        "unread report", lambda s: _unread(s, None), lambda c, at: c.state[at] == _EXPIRED and not c.flags[at] & _READ
    ),
    _Case(
        "unread report, own (20 messages)",
        lambda s: _unread(s, _RARE),
        lambda c, at: c.state[at] == _EXPIRED and not c.flags[at] & _READ and c.sender[at] == _RARE,
    ),
    _Case("asked again (40)", lambda s: _requests(s, None), lambda c, at: bool(c.flags[at] & _ASKED), MOST_AT_ONCE),
    _Case(
        "asked again, own",
        lambda s: _requests(s, _COMMON),
        lambda c, at: bool(c.flags[at] & _ASKED) and c.sender[at] == _COMMON,
        MOST_AT_ONCE,
    ),
    _Case("past retention, 200 holds", _due, _is_due, 200, oldest_first=True),
)


# -- the run


@dataclass(frozen=True)
class _Size:
    """How much is measured."""

    rows: int
    calls: int
    seconds: float


def list_and_search(_made: Prepared, work: Path, quick: bool) -> list[Line]:
    rows = int(os.environ.get("BENCH_LIST_ROWS", "5000" if quick else "1000000"))
    calls = int(os.environ.get("BENCH_LIST_CALLS", "10" if quick else "200"))
    size = _Size(rows, calls, float(os.environ.get("BENCH_LIST_SECONDS", "2" if quick else "20")))
    engines = os.environ.get("BENCH_LIST_ENGINES", "sqlite,postgresql").split(",")
    lines = []
    if "sqlite" in engines:
        lines += _measured("SQLite", size, [work / "small", work / "large"], None)
    if "postgresql" in engines and _has_postgres():
        from tests.servers import postgres

        with postgres() as server:
            lines += _measured("PostgreSQL", size, [work / "small-pg", work / "large-pg"], server)
    return lines


def _has_postgres() -> bool:
    return any(Path("/usr/lib/postgresql").glob("*/bin/postgres")) or shutil.which("postgres") is not None


def _measured(engine: str, size: _Size, folders: list[Path], server: "Postgres | None") -> list[Line]:
    try:
        return asyncio.run(_on(engine, size, folders, server))
    finally:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


async def _on(engine: str, size: _Size, folders: list[Path], server: "Postgres | None") -> list[Line]:
    now = datetime.now(UTC)
    async with AsyncExitStack() as stack:
        small, large = [
            await stack.enter_async_context(_stand(folder, _clinic(rows, now), server))
            for folder, rows in zip(folders, (_SMALL, size.rows), strict=True)
        ]
        lines = []
        for case in _CASES:
            if os.environ.get("BENCH_LIST_CASE", "") in case.name:
                lines.append(await _compared(engine, case, small, large, size))
                print(lines[-1], file=sys.stderr, flush=True)
        return lines


def _settings(folder: Path, database_url: str | None) -> Settings:
    folder.mkdir(mode=0o700)
    chosen = house.settings(folder)
    if database_url:
        chosen = chosen.model_copy(update={"database_url": database_url})
    keyring(chosen).create()
    blob_store(chosen).make()
    return chosen


@asynccontextmanager
async def _stand(folder: Path, own: Clinic, server: "Postgres | None") -> AsyncIterator[Stand]:
    name = server.fresh() if server else ""
    chosen = _settings(folder, server.url(name) if server else None)
    await migrate(chosen.database_url, create=True)
    async with open_house(chosen) as made:
        began = time.perf_counter()
        clinic = await house.clinic(made, folder)
        await _fill(made, clinic.org, clinic.relay.id, own)
        await _place_holds(made, clinic.org, own)
        print(f"{own.n} deliveries made in {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    if server:
        server.sql("VACUUM ANALYZE", name, seconds=600)  # as autovacuum would have done long since
    async with open_house(chosen) as made:
        yield Stand(made, clinic.org, own, made.messages(), made.disposition())


async def _compared(engine: str, case: _Case, small: Stand, large: Stand, size: _Size) -> Line:
    """Both take turns, so that each sees the same machine."""
    stands = (small, large)
    expected = [case.expected(one.rows) for one in stands]
    took: tuple[list[float], list[float]] = ([], [])
    warm, until = _WARM, time.perf_counter() + size.seconds
    while len(took[1]) < 2 or (len(took[1]) < size.calls and time.perf_counter() < until):
        for stand, want, own in zip(stands, expected, took, strict=True):
            began = time.perf_counter()
            got = await case.ask(stand)
            if warm <= 0:
                own.append(time.perf_counter() - began)
            if got != want:
                raise Wrong(f"{engine}, {case.name}: {len(got)} deliveries, {len(want)} expected, or others")
        warm = warm - 1 if time.perf_counter() < until else 0
    (p50, p95), (few50, few95) = _points(took[1]), _points(took[0])
    ratio = p95 / few95
    few, many = (f"{len(one)} line{'' if len(one) == 1 else 's'}" for one in expected)
    calls = "" if len(took[1]) >= size.calls else f", {len(took[1])} calls"
    return Line(
        f"list, {engine}: {case.name}",
        f"p50 {p50:.2f}, p95 {p95:.2f} ms, {many}{calls}",
        f"p50 {few50:.2f}, p95 {few95:.2f} ms" + ("" if few == many else f", {few}"),
        f"{ratio:.2f}",
        f"<= {_TARGET}",
        ratio <= _TARGET,
    )


def _points(seconds: list[float]) -> tuple[float, float]:
    """p50 and p95 in milliseconds."""
    cuts = quantiles(seconds, n=20)
    return cuts[9] * 1000, cuts[18] * 1000
