"""Each step that leaves the process, refused, slow, failed, and failed-but-done: what was promised still holds.

A step that failed-but-done did its work and its answer was lost: for who asked it looks like a failure.
"""

import asyncio
import os
import signal
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sized
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from pathlib import Path
from typing import Any
from uuid import RFC_4122, UUID

import pytest
from sqlalchemy import select

from portal.assembly import House, open_house
from portal.blobs import BlobReader, BlobStore, BlobWriter
from portal.clock import Source
from portal.db import messages, views
from portal.db.engine import Database
from portal.db.tables import messages as messages_table
from portal.intake import Envelope, Relay
from portal.keys.keyring import KeyringUnwrapper, KeyringWrapper
from portal.mail import submission
from portal.model.errors import KeysAway, StorageAway
from portal.model.events import By, Event, Who
from portal.model.ids import BlobKey, DeliveryId, uuid7
from portal.worker import Worker
from tests.fault.live import RelayLogin, Serving, children, edge, hand_over, place, relay
from tests.servers import free_port
from tests.world import ALICE, BOB, CAROL, Browser, World, certificates, letter
from tests.world import world as open_world

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    """The house, once on SQLite and once on PostgreSQL; epoch keys are unwrapped anew each time."""
    async with open_world(tmp_path, database_url, epoch_cache_seconds=0) as made:
        yield made


async def send(login: RelayLogin, raw: bytes | None = None) -> str:
    async with relay(login) as client:
        return await hand_over(client, CAROL, (ALICE,), raw or letter(), "Q1")


async def count(world: World) -> int:
    async with world.house.db.read() as tx:
        return len(await tx.rows(select(messages_table.c.id)))


# -- the submission host


class Host:
    """A submission host, TLS from the first byte, that behaves as `manner` says.

    `take`; `hang`: it never greets; an answer such as `451 4.7.1 later`: to each recipient; `drop` and `mute`: it takes the
    mail, and then closes or says nothing more.
    """

    def __init__(self, manner: str) -> None:
        self.manner = manner
        self.taken: list[bytes] = []

    @property
    def names(self) -> list[str]:
        return [str(message_from_bytes(raw)["Message-ID"]) for raw in self.taken]

    async def speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await self._speak(reader, writer)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def _speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.manner == "hang":
            await reader.read()
            return
        writer.write(b"220 mail.patients.example\r\n")
        while line := await reader.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                writer.write(b"354 go on\r\n")
                self.taken.append(await reader.readuntil(b"\r\n.\r\n"))
                if self.manner == "drop":
                    return
                if self.manner == "mute":
                    await reader.read()
                    return
            refused = verb == b"RCPT" and self.manner[0].isdigit()
            writer.write(self.manner.encode() + b"\r\n" if refused else b"250 2.0.0 OK\r\n")
            if verb == b"QUIT":
                return


@asynccontextmanager
async def host(world: World, manner: str) -> AsyncIterator[tuple[Host, Worker]]:
    """A host, and a worker that submits to it. With `down` nobody listens until `take` is asked for."""
    made, port, one = certificates(), free_port(), Host(manner)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(made / "server.pem", made / "server.key")
    server = await asyncio.start_server(one.speak, "127.0.0.1", port, ssl=tls)
    url = f"smtps://localhost:{free_port() if manner == 'down' else port}"
    try:
        yield one, _worker(world.house, url)
    finally:
        server.close()
        await server.wait_closed()


def _worker(house: House, url: str) -> Worker:
    house.settings = house.settings.model_copy(update={"submission_url": url})
    return house.worker()


@pytest.mark.parametrize("manner", ["down", "hang", "451 4.7.1 later", "drop", "mute"])
async def test_a_notice_outlives_its_host(world: World, monkeypatch: pytest.MonkeyPatch, manner: str) -> None:
    """Whatever the host does, the notice goes out once it is well again; one it had taken already has the same Message-ID."""
    monkeypatch.setattr(submission, "_TIMEOUT_SECONDS", 0.5)
    await world.deliver()
    async with host(world, manner) as (ill, worker):
        assert await worker.send_due() == 1
        assert await worker.send_due() == 0  # not again at once
        assert await world.events("NoticeSent") == []
        world.clock.forward(seconds=20)
        ill.manner = "take"
        if manner in ("drop", "mute"):  # it may have the notice: nobody is notified twice within ten minutes
            assert await worker.send_due() == 0
            world.clock.forward(minutes=10)
        assert await (world.worker if manner == "down" else worker).send_due() == 1
        world.clock.forward(hours=1)
        assert await worker.send_due() == 0
    assert len(await world.events("NoticeSent")) == 1
    if manner != "down":
        assert all(b"\r\nAuto-Submitted: auto-generated\r\n" in raw for raw in ill.taken)
        assert (len(ill.names), len(set(ill.names))) == (2 if manner in ("drop", "mute") else 1, 1)


async def test_a_refusal_for_good_is_told_to_the_sender(world: World) -> None:
    """After 550 nobody tries again; Carol gets a delivery report."""
    await world.deliver()
    async with host(world, "550 5.1.1 no such person") as (ill, worker):
        await worker.send_due()
        assert [event.detail["reason"] for event in await world.events("NoticeFailed")] == ["550 5.1.1 no such person"]
        ill.manner = "take"
        assert await worker.send_due() == 1
    assert b"multipart/report" in ill.taken[0]
    assert b'report-type="delivery-status"' in ill.taken[0]
    assert b"Auto-Submitted: auto-" in ill.taken[0]


@pytest.mark.parametrize("manner", ["451 4.7.1 later", "drop"])
async def test_a_reply_is_handed_over_at_least_once(world: World, monkeypatch: pytest.MonkeyPatch, manner: str) -> None:
    """A reply whose answer was lost goes again under the same Message-ID, and is on record as handed over once."""
    monkeypatch.setattr(submission, "_TIMEOUT_SECONDS", 0.5)
    alice = world.browser()
    message = await alice.sign_in(await world.announce())
    await _answer(alice, message)
    async with host(world, manner) as (ill, worker):
        await worker.send_due()
        world.clock.forward(seconds=20)
        ill.manner = "take"
        await worker.send_due()
    assert len(await world.events("ReplyHandedOver")) == 1
    assert set(Counter(ill.names).values()) == {2 if manner == "drop" else 1}


async def _answer(who: Browser, message: str) -> None:
    await who.get(f"{message}/reply")
    draft = who.page.split('name="draft" value="')[1][:36]
    form = {"csrf": (None, who.csrf), "draft": (None, draft), "text": (None, "Thank you!")}
    assert (await who.http.post(f"{message}/reply", files=form)).status_code == 303


# -- the blob store


class Failing(BlobStore):
    """A store on which one step fails: before it is done, or (`done`) after it."""

    def __init__(self, inner: BlobStore, step: str, *, done: bool = False) -> None:
        self._inner, self.step, self._done = inner, step, done

    async def fail(self, step: str, act: Callable[[], Awaitable[Any]]) -> Any:
        if step != self.step:
            return await act()
        if self._done:
            await act()
        raise StorageAway(f"{step} failed")

    async def create(self, key: BlobKey) -> BlobWriter:
        inner = await self.fail("create", lambda: self._inner.create(key))
        return FailingWriter(self, inner)

    async def open(self, key: BlobKey) -> BlobReader:
        reader: BlobReader = await self.fail("open", lambda: self._inner.open(key))
        return reader

    async def delete(self, key: BlobKey) -> None:
        await self.fail("delete", lambda: self._inner.delete(key))

    def list(self) -> AsyncIterator[Any]:
        return self._inner.list()

    async def sweep(self, before: Any) -> int:
        return await self._inner.sweep(before)

    async def check(self) -> None:
        await self._inner.check()


class FailingWriter(BlobWriter):
    def __init__(self, store: Failing, inner: BlobWriter) -> None:
        self._store, self._inner = store, inner

    async def write(self, piece: bytes) -> None:
        await self._store.fail("write", lambda: self._inner.write(piece))

    async def commit(self) -> None:
        await self._store.fail("commit", self._inner.commit)

    async def abort(self) -> None:
        await self._inner.abort()


@pytest.mark.parametrize(("step", "done"), [("create", False), ("write", False), ("commit", False), ("commit", True)])
async def test_a_failing_blob_store_costs_no_message(world: World, step: str, done: bool) -> None:
    """The relay hears 451 and no row is left; sent again, the message is there once, and a stray blob goes after a day."""
    failing = Failing(world.house.blobs, step, done=done)
    world.house.sealer.blobs = world.house.blobs = failing
    async with edge(world) as login:
        assert (await send(login)).startswith("451 4.3.0")
        assert await count(world) == 0
        failing.step = ""
        assert (await send(login)).startswith("250")
        assert (await send(login)).startswith("250")
    assert await count(world) == 1
    await world.house.preparing.drain(10)
    world.clock.forward(days=1000)  # the files' own times are the machine's
    assert await world.house.disposition().sweep() == (1 if done else 0)
    async with world.house.db.read() as tx:
        kept = await messages.blobs_relied_on(tx, None, 10)
    assert [key async for key, _ in world.house.blobs.list()] == kept


async def test_a_blob_that_does_not_open_is_not_shown_as_something_else(world: World) -> None:
    """While the store is away a download is 503, on record all the same; afterwards it is whole."""
    alice = world.browser()
    message = await alice.sign_in(await world.announce())
    failing = Failing(world.house.blobs, "open")
    monkey: Any = world.house.blobs
    inner, monkey.open = monkey.open, failing.open
    assert (await alice.get(f"{message}/original.eml")).status_code == 503
    failing.step = ""
    monkey.open = inner
    assert (await alice.get(f"{message}/original.eml")).content == letter()
    assert len(await world.events("OriginalDownloaded")) == 2


# -- the database's answer


@pytest.mark.parametrize("done", [False, True])
async def test_a_lost_commit_costs_no_message_and_doubles_none(world: World, done: bool) -> None:
    """When the commit's answer is lost the relay hears 451 and the blob stays; sent again, the message is there once, readable."""
    async with edge(world) as login, relay(login):  # the login's own bookkeeping is done before the failure
        with _failing_commit(world, done=done):
            assert (await send(login)).startswith("451 4.3.0")
        assert await count(world) == (1 if done else 0)
        assert (await send(login)).startswith("250")
    assert await count(world) == 1
    await world.worker.send_due()
    alice = world.browser()
    message = await alice.sign_in(world.token_for(ALICE))
    assert (await alice.get(f"{message}/original.eml")).content == letter()


@pytest.mark.parametrize("done", [False, True])
async def test_a_view_whose_record_is_in_doubt_is_not_given(world: World, done: bool) -> None:
    """No answer from the record, no content; what was recorded without being shown is the safe side."""
    alice = world.browser()
    message = await alice.sign_in(await world.announce())
    with _failing_commit(world, done=done):
        denied = await alice.get(message)
    assert denied.status_code == 503
    assert "All is well" not in denied.text
    assert len(await world.events("MessageOpened")) == (1 if done else 0)
    assert (await alice.get(message)).status_code == 200


class _failing_commit:  # noqa: N801 - used as a statement
    """`Database.commit` of changes of messages and views fails, before or after its work."""

    def __init__(self, world: World, *, done: bool) -> None:
        self._db: Any = world.house.db
        self._done = done

    def __enter__(self) -> None:
        inner = self._db.commit

        async def commit(change: Any) -> None:
            event: Event = change.event
            if event.kind not in ("MessageAccepted", "MessageOpened"):
                await inner(change)
                return
            if self._done:
                await inner(change)
            raise StorageAway("the answer was lost")

        self._db.commit = commit

    def __exit__(self, *_: object) -> None:
        del self._db.commit


async def test_the_first_at_once_wait_for_each_other(database_url: str) -> None:
    """Twenty who ask a fresh portal at the same moment all get their answer."""
    db = Database(database_url, Source())
    try:
        found = await asyncio.gather(*(views.stored(db, DeliveryId("none")) for _ in range(20)))
    finally:
        await db.close()
    assert found == [None] * 20


# -- keys


async def test_without_keys_nothing_opens_and_mail_still_comes_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unwrapper away: pages are 503 with Retry-After, notices wait, intake goes on; all is made good afterwards."""
    alice = world.browser()
    message = await alice.sign_in(await world.announce())

    async def away(*_: object) -> bytes:
        raise KeysAway("the key service did not answer")

    with monkeypatch.context() as patch:
        patch.setattr(KeyringUnwrapper, "unwrap", away)
        denied = await alice.get(message)
        assert (denied.status_code, denied.headers["retry-after"]) == (503, "60")
        assert "All is well" not in denied.text
        await world.deliver(letter("second", message_id="<2@clinic.example>"), to=[BOB])
        await world.worker.send_due()
    assert len(await world.events("OpenFailed")) == 1
    assert (await alice.get(message)).status_code == 200
    world.clock.forward(seconds=20)
    await world.worker.send_due()
    assert world.mail_for(BOB)


async def test_without_the_wrapper_the_relay_keeps_its_mail(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be sealed is not taken: 451, and nothing in clear anywhere."""

    async def away(*_: object) -> bytes:
        raise KeysAway("the key service did not answer")

    async with edge(world) as login:
        with monkeypatch.context() as patch:
            patch.setattr(KeyringWrapper, "wrap", away)
            assert (await send(login)).startswith("451 4.3.0")
        assert await count(world) == 0
        assert (await send(login)).startswith("250")


# -- the render process


async def test_a_renderer_killed_at_work_costs_no_message(world: World) -> None:
    """A mail whose renderer dies after acceptance is rendered for its first view, by another process."""
    await _with_a_stopped_renderer(world, lambda: _accepted(world))
    await world.worker.send_due()
    alice = world.browser()
    message = await alice.sign_in(world.token_for(ALICE))
    assert "All is well" in (await alice.get(message)).text


async def test_a_renderer_killed_at_a_view_leaves_the_original(world: World) -> None:
    """A mail that can't be rendered for a view either is kept and not displayed; its original can be had."""
    preparing: Any = world.house.preparing
    preparing.later = lambda *_: None  # as when too many wait
    alice = world.browser()
    message = await alice.sign_in(await world.announce())
    await _with_a_stopped_renderer(world, lambda: alice.get(message))
    page = await alice.get(message)
    assert (page.status_code, "All is well" in page.text) == (200, False)
    assert (await alice.get(f"{message}/original.eml")).content == letter()


async def _accepted(world: World) -> None:
    await world.deliver()
    await world.house.preparing.drain(10)


async def _with_a_stopped_renderer(world: World, act: Callable[[], Awaitable[object]]) -> None:
    """Does something whose render process stands still, and is killed half a second later."""
    before = children(os.getpid())
    await world.house.renderer.render(_piece(letter()), _Nowhere())
    (child,) = children(os.getpid()) - before
    os.kill(child, signal.SIGSTOP)
    doing = asyncio.ensure_future(act())
    await asyncio.sleep(0.5)
    os.kill(child, signal.SIGKILL)
    await doing


async def _piece(raw: bytes) -> AsyncIterator[bytes]:
    yield raw


class _Nowhere:
    async def begin(self, part_id: str) -> None: ...
    async def write(self, piece: bytes) -> None: ...
    async def end(self) -> None: ...


# -- the clock


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_clock_an_hour_off_locks_nobody_out_and_loses_nothing(world: World, hours: int) -> None:
    """The clock jumps between everything: codes and sessions lapse or hold, a new sign-in works, all mail and events are there."""
    alice, again = world.browser(), world.browser()
    token = await world.announce()
    message = await alice.sign_in(token)
    door = await again.ask_code(token)
    code = await world.code_for(ALICE)
    world.clock.forward(hours=hours)
    assert (await alice.get(message)).status_code == (401 if hours > 0 else 200)
    await again.get(door)
    assert (await again.post(door, {"code": code})).status_code == (422 if hours > 0 else 303)
    second = await world.announce(letter("The second", message_id="<2@clinic.example>"))
    signed_in = await world.browser().sign_in(second)
    assert signed_in != message
    bob = await world.announce(letter("The third", message_id="<3@clinic.example>", to=BOB), to=[BOB])
    reader = world.browser()
    assert "The third" in (await reader.get(await reader.sign_in(bob, BOB))).text
    assert len(await world.events("MessageAccepted")) == 3
    assert len(await world.events("NoticeSent")) == 3


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_dead_workers_mail_is_sent_whatever_the_clock_does(world: World, hours: int) -> None:
    """A lease taken before a jump runs out at the latest an hour later, and the notice goes out once."""
    await world.deliver()
    dead = world.house.worker()
    async with asyncio.timeout(5):
        await _claimed_only(dead)
    assert await world.worker.send_due() == 0
    world.clock.forward(hours=hours)
    world.clock.forward(minutes=11)
    if hours < 0:
        assert await world.worker.send_due() == 0
        world.clock.forward(hours=1)
    assert await world.worker.send_due() == 1
    assert len(await world.events("NoticeSent")) == 1


def test_ids_sort_by_the_moment_they_were_made() -> None:
    """A UUIDv7 has its version, its variant and its time, and sorts within a millisecond too, whatever chance gave it."""
    at = datetime(2026, 11, 21, 10, 42, tzinfo=UTC)
    made = [uuid7(at + timedelta(microseconds=step), bytes([255 - step]) * 8) for step in range(50)]
    assert made == sorted(made)
    assert {(UUID(one).version, UUID(one).variant) for one in made} == {(7, RFC_4122)}
    assert {UUID(one).int >> 80 for one in made} == {int(at.timestamp() * 1000)}


async def _claimed_only(worker: Any) -> None:
    """A turn of a worker that dies with its jobs claimed."""

    async def dies(_job: object) -> None:
        return

    worker._one = dies
    assert await worker.send_due() == 1


# -- two workers


async def test_two_workers_share_one_outbox(tmp_path: Path, database_url: str) -> None:
    """Two worker processes at one outbox send each notice once."""
    async with place(tmp_path, database_url) as where:
        await _queue(where.settings, where.clinic, 40)
        workers = [Serving(where, ["worker"]) for _ in range(2)]
        for one in workers:
            one.spawn()
        try:
            await _reached(where.mails, 40)
            await asyncio.sleep(1)
        finally:
            statuses = [await one.stop() for one in workers]
    assert statuses == [0, 0]
    names = Counter(str(World.read(caught)["Message-ID"]) for _, caught in where.mails)
    assert (len(names), set(names.values())) == (40, {1})


async def _reached(mails: Sized, many: int, seconds: float = 10) -> None:
    """Waits until so many are there. A mail that is put back for later comes too late."""
    for _ in range(int(seconds / 0.05)):
        if len(mails) >= many:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{len(mails)} of {many} mails went out in {seconds} s")


async def _queue(settings: Any, clinic: Any, many: int) -> None:
    """Stores messages as the intake does, with nobody to send their notices."""
    async with open_house(settings) as house:
        fallback = house.fallback(By(Who.OPERATOR, "dora"))
        made = await fallback.add_relay(clinic, "second", None)
        known, intake = Relay(made.relay.id, clinic.id, "second", made.row.id), house.intake()
        for number in range(many):
            one = await intake.begin(known, Envelope(CAROL, (ALICE,), "192.0.2.1"))
            await one.write(letter(message_id=f"<{number}@clinic.example>"))
            await one.commit()
