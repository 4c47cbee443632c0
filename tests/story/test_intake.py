"""A message on its way in: refused, or durable once, whole, and sealed to those who can't be the intake itself."""

import asyncio
import gc
import io
import types
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from portal.assembly import House
from portal.db.engine import Database
from portal.db.tables import deliveries, messages, outbox, policies, recipients
from portal.intake import Envelope
from portal.keys.keyring import KeyringUnwrapper
from portal.model.errors import (
    MailLoop,
    MessageTooLarge,
    PortalError,
    RecipientIsYours,
    RecipientRefused,
    RelayUnknown,
    SenderNotYours,
    StorageAway,
    StorageFull,
)
from portal.sealing.open import EpochKeys, Fields, Opened, Opener
from tests.story.seams import all_deliveries, blobs, dump, holding, prepared, refuse_audit, rows, run
from tests.world import ALICE, BOB, CAROL, World, letter

pytestmark = pytest.mark.anyio

CANARIES = ("Zebrafinch", "Kakapo", "Hoatzin", "cassowary")
"""A subject's, a text's, an attachment's and an address's own word."""


async def commit(world: World, mail: bytes, to: tuple[str, ...] = (ALICE,), **more: Any) -> Any:
    """Hands a mail over as the edge does: what fails is aborted."""
    submission = await world.intake.begin(world.relay, Envelope(CAROL, to, "192.0.2.1", **more))
    try:
        await submission.write(mail)
        return await submission.commit()
    except PortalError:
        await submission.abort()
        raise


# -- refused


async def test_a_sender_who_is_not_the_relays_is_refused(world: World) -> None:
    """Only the relay's own domains send, whatever the address looks like; each refusal is on record."""
    others = ["mallory@evil.example", "carol@practice.example", "carol@sub.clinic.example", "carol", "@clinic.example"]
    for sender in others:
        with pytest.raises(SenderNotYours):
            await world.intake.check_sender(world.relay, sender, "192.0.2.1")
    for refused in await world.events("SubmissionRefused"):
        assert (refused.actor, refused.org_id) == (world.relay.id, world.northside.id)
        assert refused.detail == {"reason": "SenderNotYours"}
    assert len(await world.events("SubmissionRefused")) == len(others)


async def test_recipients_who_cannot_be_served_are_refused(world: World) -> None:
    """Mail to a sender's own domain is a loop; mail to no address, to a return path or with an encoded local part is for nobody."""
    refused = {
        "dora@clinic.example": RecipientIsYours,
        "dora@CLINIC.example.": RecipientIsYours,
        "erin@practice.example": RecipientIsYours,
        "nobody": RecipientRefused,
        "a@[192.0.2.1]": RecipientRefused,
        "a b@patients.example": RecipientRefused,
        "bounce+x@portal.example": RecipientRefused,
        "=?utf-8?q?a?=@patients.example": RecipientRefused,
    }
    for who, error in refused.items():
        with pytest.raises(error):
            await world.intake.check_recipient(world.relay, CAROL, who, "192.0.2.1")
    with pytest.raises(RecipientRefused):
        await world.intake.check_recipient(world.relay, "", ALICE, "192.0.2.1")
    assert len(await world.events("SubmissionRefused")) == len(refused) + 1
    assert "clinic.example" not in str(await world.events("SubmissionRefused"))


async def test_a_message_that_goes_round_is_refused_and_leaves_nothing(world: World, folder: Path) -> None:
    """More than fifty Received fields are a loop; nothing of it is kept but the refusal."""
    fields = b"".join(b"Received: from a by b; Sat, 21 Nov 2026 09:00:00 +0000\r\n" for _ in range(51))
    with pytest.raises(MailLoop):
        await commit(world, fields + letter())
    assert blobs(folder) == []
    assert await rows(world, messages) == []
    assert [one.detail["reason"] for one in await world.events("SubmissionRefused")] == ["MailLoop"]
    await commit(world, fields.split(b"\n", 1)[1] + letter())


async def test_without_a_policy_nothing_is_taken(world: World) -> None:
    """An organisation that has no default class takes no mail, rather than guess how long to keep it."""
    await run(world, "DELETE FROM policies")
    assert await rows(world, policies) == []
    with pytest.raises(RecipientRefused):
        await commit(world, letter())
    assert await rows(world, messages) == []


async def test_a_relay_that_cannot_say_who_it_is_is_refused(world: World) -> None:
    """A wrong password and an unknown name fail alike; the record keeps a hash of the name, and no password."""
    for name, password in (
        ("northside-0", "secret canary"),
        ("", ""),
        ("\x00", "x"),
        ("\udcff", "\udcff"),
        ("canary", "x" * 5000),
    ):
        with pytest.raises(RelayUnknown):
            await world.intake.relay_by_password(name, password, "192.0.2.1")
    assert await world.intake.relay_by_certificate("0" * 64, "192.0.2.1") is None
    assert len(await world.events("RelayRefused")) == 5
    assert "canary" not in str(await world.events())


# -- once, and for each


async def test_each_recipient_gets_one_delivery_however_often_written(world: World) -> None:
    """The same mailbox in other letters is the same recipient; plus tags and dots are other mailboxes."""
    same = ("alice@patients.example", "Alice@Patients.Example", "ALICE@patients.example.")
    await commit(world, letter(), (*same, BOB, "alice+tag@patients.example", "a.lice@patients.example"))
    assert len(await rows(world, messages)) == 1
    assert len(await rows(world, deliveries)) == 4
    assert len(await rows(world, outbox)) == 4
    [event] = await world.events("MessageAccepted")
    assert len(event.detail["deliveries"]) == 4


async def test_a_message_sent_twice_is_stored_once(world: World, folder: Path) -> None:
    """The same transaction again adds nothing and hears yes; another queue id, sender, id or byte is another message."""
    first = await commit(world, letter(), queue_id="4bX1")
    again = await commit(world, letter(), queue_id="4bX1")
    assert (first.again, again.again) == (False, True)
    await prepared(world)
    kept = await dump(world, without=())
    await commit(world, letter(), queue_id="4bX1")
    assert await dump(world, without=()) == kept
    assert len(blobs(folder)) == 1
    await commit(world, letter(), queue_id="4bX2")
    await commit(world, letter(text="Another.\n"), queue_id="4bX1")
    assert len(await rows(world, messages)) == 3


async def test_the_same_message_for_others_adds_only_the_others(world: World) -> None:
    """A relay sends one transaction a domain: who has it already gets no second delivery or notice."""
    await commit(world, letter(), (ALICE,), queue_id="4bX1")
    await commit(world, letter(), (ALICE, BOB), queue_id="4bX1")
    again = await commit(world, letter(), (BOB, ALICE), queue_id="4bX1")
    assert again.again
    assert len(await rows(world, deliveries)) == 2
    await world.worker.send_due()
    assert sorted(one.rcpt_to for one in world.sink.messages) == [(ALICE,), (BOB,)]


async def test_the_same_message_many_times_at_once_is_stored_once(world: World, folder: Path) -> None:
    """Six transactions of the same message at the same moment leave one message, one delivery, one notice and one blob."""
    answers = await asyncio.gather(*(commit(world, letter(), queue_id="4bX1") for _ in range(6)))
    assert sorted(one.again for one in answers) == [False] + [True] * 5
    assert [len(await rows(world, table)) for table in (messages, deliveries, outbox, recipients)] == [1, 1, 1, 1]
    assert len(blobs(folder)) == 1


async def test_different_messages_to_a_new_recipient_at_once_make_one_recipient(world: World) -> None:
    """Eight messages that each bring the same new address all arrive, and she is one person."""
    await asyncio.gather(*(commit(world, letter(message_id=f"<{n}@clinic.example>")) for n in range(8)))
    assert len(await rows(world, recipients)) == 1
    assert len(await rows(world, deliveries)) == 8


# -- whole


async def test_a_large_message_streams_through(world: World, folder: Path) -> None:
    """A message of 24 MB in small pieces is stored whole, and downloads byte for byte."""
    head = letter().split(b"\r\n\r\n")[0]
    mail = head + b"\r\n\r\n" + b"".join(b"%073d\r\n" % n for n in range(320_000))
    submission = await world.intake.begin(world.relay, Envelope(CAROL, (ALICE,), "192.0.2.1"))
    for at in range(0, len(mail), 60_000):
        await submission.write(mail[at : at + 60_000])
    await submission.commit()
    await world.worker.send_due()
    alice = world.browser()
    message = await alice.sign_in(world.token_for(ALICE))
    assert (await alice.get(f"{message}/original.eml")).content == mail
    assert world.intake.limits.max_bytes == world.house.settings.max_message_bytes
    assert issubclass(MessageTooLarge, PortalError)


async def test_what_cannot_be_parsed_is_kept_and_said_to_be(world: World) -> None:
    """Whatever a relay sends is stored, announced, and downloads byte for byte; no page fails over it."""
    odd = [
        b"", b"\r\n", b"\xff\xfe\x00", b"no header at all", b"Subject: =?x?q?\xff?=\r\n\r\n", b"From: " + b"(" * 9000 + b"\r\n\r\n",
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--x\r\n" * 500, b"X: y\r\n" * 20_000 + b"\r\n",
    ]  # fmt: skip
    for mail in odd:
        await world.announce(mail)
    await prepared(world)
    alice = world.browser()
    await alice.sign_in(world.token_for(ALICE))
    assert (await alice.get("/inbox")).status_code == 200
    for mail, one in zip(odd, await all_deliveries(world), strict=True):
        assert (await alice.get(f"/messages/{one.id}")).status_code == 200, mail[:20]
        assert (await alice.get(f"/messages/{one.id}/original.eml")).content == mail


# -- nothing half


class Failing:
    """Stands before a part of the house and fails one of its calls, or after the call was done."""

    def __init__(self, real: Any, call: str, error: Exception, *, done: bool = False) -> None:
        self._real, self._call, self._error, self._done = real, call, error, done

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        return partial(self._fail, real) if name == self._call else real

    async def _fail(self, real: Any, *given: Any) -> Any:
        if self._done:
            await real(*given)
        raise self._error


class Store(Failing):
    """A blob store whose blobs fail in `call` while they are written."""

    def __getattr__(self, name: str) -> Any:
        return self._begin if name == "create" else getattr(self._real, name)

    async def _begin(self, key: Any) -> Any:
        return Failing(await self._real.create(key), self._call, self._error)


async def test_a_database_that_fails_leaves_an_orphan_that_is_swept(world: World, folder: Path) -> None:
    """When the commit fails the relay hears no, no row is there, and the blob goes a day later."""
    await refuse_audit(world, "MessageAccepted")
    with pytest.raises(StorageAway):
        await commit(world, letter())
    assert await rows(world, messages) == []
    assert await rows(world, outbox) == []
    assert len(blobs(folder)) == 1
    assert await world.house.disposition().sweep() == 0
    world.clock.forward_from_the_disk(days=3)
    await world.house.disposition().sweep()
    assert blobs(folder) == []


async def test_a_commit_whose_answer_is_lost_is_the_same_message_when_sent_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failed, but done: the relay hears no and sends again; it is stored once, and its content is there."""
    house = world.intake._house  # type: ignore[attr-defined]
    real: Database = house.db
    monkeypatch.setattr(house, "db", Failing(real, "commit", StorageAway("the answer was lost"), done=True))
    with pytest.raises(StorageAway):
        await commit(world, letter(), queue_id="4bX1")
    monkeypatch.setattr(house, "db", real)
    assert (await commit(world, letter(), queue_id="4bX1")).again
    assert len(await rows(world, messages)) == 1
    await world.worker.send_due()
    alice = world.browser()
    message = await alice.sign_in(world.token_for(ALICE))
    assert (await alice.get(f"{message}/original.eml")).content == letter()


async def test_a_blob_store_that_fails_leaves_nothing(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full or away, at whichever step: the relay hears to come again, and neither row nor byte is left."""
    store = world.house.sealer.blobs
    errors: list[PortalError] = [StorageFull("full"), StorageAway("away")]
    for error in errors:
        for failing in (Failing(store, "create", error), Store(store, "write", error), Store(store, "commit", error)):
            monkeypatch.setattr(world.house.sealer, "blobs", failing)
            with pytest.raises(type(error)):
                await commit(world, letter() + b"x" * 700_000)
            assert await rows(world, messages) == []
            assert blobs(folder) == []
        assert error.transient
    monkeypatch.setattr(world.house.sealer, "blobs", store)
    await commit(world, letter())


# -- what the intake holds


def reachable(root: object) -> Iterator[object]:
    """Every object that can be got at from another, without going through modules, classes or code."""
    seen, waiting = {id(root)}, [root]
    while waiting:
        one = waiting.pop()
        yield one
        if isinstance(one, (type, types.ModuleType, types.CodeType, types.FrameType)):
            continue
        found = gc.get_referents(one)
        if isinstance(one, types.FunctionType):
            found = [cell.cell_contents for cell in one.__closure__ or ()]
        for other in found:
            if id(other) not in seen:
                seen.add(id(other))
                waiting.append(other)


async def test_the_intake_holds_nothing_that_reads(world: World) -> None:
    """From the intake no unwrapper, opener or house that makes them can be reached, before or after a message."""
    readers = (KeyringUnwrapper, Opener, Opened, EpochKeys, Fields, House)
    await world.deliver()
    await prepared(world)
    assert any(isinstance(one, EpochKeys) for one in reachable(world.house.site())), "the walk finds what is there"
    assert [type(one).__name__ for one in reachable(world.intake) if isinstance(one, readers)] == []


async def test_nothing_of_a_message_lies_anywhere_in_clear(world: World, folder: Path, log: io.StringIO) -> None:
    """Subject, text, attachment and address of a message that went the whole way are in no file, row, log line or notice."""
    who = f"{CANARIES[3]}@patients.example"
    name, content = f"{CANARIES[2]}.pdf", b"%PDF-1.7 " + CANARIES[2].encode()
    mail = letter(
        f"{CANARIES[0]} result", f"{CANARIES[1]}\n", f"<p>{CANARIES[1]}</p>", [(name, "application/pdf", content)], who
    )
    token = await world.announce(mail, (who,))
    await prepared(world)
    alice = world.browser()
    message = await alice.sign_in(token, who)
    for page in ("", "/body", "/parts/1", "/original.eml", "/reply"):
        assert (await alice.get(message + page)).status_code == 200
    await alice.get("/inbox")
    words = [word.encode() for word in CANARIES] + [word.lower().encode() for word in CANARIES]
    for raw in (b"%b" % word for word in words):
        assert holding(folder, raw) == [], raw
        assert raw.decode() not in repr(await dump(world, without=()))
        assert raw.decode() not in log.getvalue()
    for caught in world.sink.messages:
        text = caught.raw.decode()
        assert not any(word in text for word in CANARIES[:3])
        assert text.count(CANARIES[3]) == 1, "an address stands in its own To field alone"
