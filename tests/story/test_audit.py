"""The record: it grows, never changes, says who, what and when, and can be handed over."""

import csv
import io
import json
from collections.abc import Awaitable, Callable
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from portal.audit.export import COLUMNS, Export, as_text
from portal.db.audit import Filter, Recorded
from portal.model.errors import InputRefused, PortalError
from portal.model.events import By, Event, Who
from portal.operator import audit_filter, write_export
from tests.story.seams import all_deliveries, on_sqlite
from tests.world import ALICE, World, letter

pytestmark = pytest.mark.anyio


async def some_life(world: World) -> None:
    """A message that is read and answered."""
    token = await world.announce(letter("Canary subject"))
    alice = world.browser()
    message = await alice.sign_in(token)
    for page in ("", "/original.eml", "/reply"):
        await alice.get(message + page)
    await alice.get("/inbox")
    await alice.post("/sign-out")


async def test_no_line_of_the_record_can_be_changed_or_taken_away(world: World) -> None:
    """Through the running house's own connection, updating, deleting and replacing lines is refused, and all stays as it was."""
    await some_life(world)
    before = await world.events()
    attempts = [
        "UPDATE audit_events SET detail = '{}'",
        "DELETE FROM audit_events",
        "UPDATE audit_events SET at = 0 WHERE 1 = 0 OR id > ''",
    ]
    if on_sqlite(world):
        attempts.append("INSERT OR REPLACE INTO audit_events SELECT * FROM audit_events")
    else:
        attempts.append("TRUNCATE audit_events")
    for sql in attempts:
        async with world.house.db.read() as tx:
            with pytest.raises(Exception, match=r"append-only|readonly|read-only"):
                await tx.rows(text(sql))
        with pytest.raises(PortalError):
            await forced(world, sql)
    assert await world.events() == before


async def forced(world: World, sql: str) -> None:
    async with world.house.db.bookkeeping() as tx:
        await tx.change(text(sql))


async def test_every_line_says_who_what_and_when(world: World) -> None:
    """Each event has its moment, its kind of actor and its kind; a reader's has the session and address it came from."""
    await some_life(world)
    lines = await world.events()
    assert [one.id for one in lines] == sorted(one.id for one in lines)
    assert len({one.id for one in lines}) == len(lines)
    for one in lines:
        kind = Event.kinds[one.kind]
        own = {field.name for field in fields(kind)} - {field.name for field in fields(Event)}
        assert set(one.detail) <= own, one.kind
        assert one.at.tzinfo is not None
        assert one.who in ("recipient", "relay", "operator", "worker", "stranger")
        if one.who == "recipient":
            assert one.actor
            assert one.session
            assert one.origin == "192.0.2.7"
            assert one.org_id == world.northside.id
        if one.who == "relay":
            assert (one.actor, one.origin) == (world.relay.id, "192.0.2.1")
        if one.who == "operator":
            assert one.actor == "dora"
    kinds = {one.kind for one in lines}
    assert {
        "OrganisationAdded", "RelayAdded", "MessageAccepted", "NoticeSent", "LinkFollowed", "CodeRequested", "CodeSent", "SignedIn",
        "MessageOpened", "OriginalDownloaded", "InboxListed", "SignedOut",
    } <= kinds  # fmt: skip
    assert "Canary" not in str(lines)
    assert "patients.example" not in str(lines)


async def test_the_record_is_listed_by_what_is_asked(world: World) -> None:
    """By organisation, message, delivery, kind and time; a wrong id finds nothing; the pages of a long list are whole."""
    await some_life(world)
    export, lines = Export(world.house.db, world.house.source, By(Who.OPERATOR, "dora")), await world.events()
    [accepted] = [one for one in lines if one.kind == "MessageAccepted"]

    async def found(**wanted: object) -> list[Recorded]:
        return [one async for one in export.lines(Filter(**wanted))]  # type: ignore[arg-type]

    assert await found(org_id=world.southside.id) == [one for one in lines if one.org_id == world.southside.id]
    assert {one.message_id for one in await found(message_id=accepted.message_id)} == {accepted.message_id}
    assert await found(kind="SignedIn") == [one for one in lines if one.kind == "SignedIn"]
    assert await found(kind="SignedIn' OR 1=1") == []
    assert await found(until=accepted.at, since=accepted.at - timedelta(days=1)) == lines[: lines.index(accepted)]
    assert [one async for one in export.lines(Filter(), limit=3)] == lines[:3]
    with pytest.raises(InputRefused):
        await audit_filter(world.house, "dora", "no-such-clinic", None, None, None, None, None)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
async def test_an_export_is_whole_private_and_itself_on_record(world: World, folder: Path, form: str) -> None:
    """The file has every line, only its owner reads it, it replaces no other, and the record says that it was made."""
    await some_life(world)
    lines, to = await world.events(), folder / f"export.{form}"
    wanted = await audit_filter(world.house, "dora", None, None, None, None, None, None)
    assert await write_export(world.house, "dora", wanted, to, form) == len(lines)  # type: ignore[arg-type]
    assert to.stat().st_mode & 0o777 == 0o600
    written = to.read_text(encoding="utf-8")
    if form == "csv":
        table = list(csv.DictReader(io.StringIO(written)))
        assert [(row["id"], row["kind"]) for row in table] == [(one.id, one.kind) for one in lines]
        assert json.loads(table[-1]["detail"]) == lines[-1].detail
    else:
        assert [json.loads(line)["id"] for line in written.splitlines()] == [one.id for one in lines]
    [made] = await world.events("AuditExported")
    assert (made.actor, made.detail) == ("dora", {"rows": len(lines), "format": form})
    with pytest.raises(InputRefused):
        await write_export(world.house, "dora", wanted, to, form)  # type: ignore[arg-type]
    assert to.read_text(encoding="utf-8") == written


async def test_no_cell_of_a_spreadsheet_becomes_a_formula(world: World) -> None:
    """What a stranger could put into the record is text in every cell, and a line stays one line."""
    [line, *_] = await world.events()
    hostile = ["=cmd|'/c calc'!A1", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", 'a","=1', "a\r\n=1"]
    for value in hostile:
        written = as_text(
            Recorded(**{**vars(line), "actor": value, "origin": value, "detail": {"reason": value}}), "csv"
        )
        [cells] = list(csv.reader(io.StringIO(written, newline="")))
        assert len(cells) == len(COLUMNS)
        assert not any(cell[:1] in tuple("=+-@\t\r\n\uff1d") for cell in cells), value
        assert any(value in cell for cell in cells)


async def test_a_change_that_fails_leaves_its_refusal_on_record_and_nothing_else(world: World) -> None:
    """Denials are written in a transaction of their own; what was rolled back left no event."""
    token = await world.announce()
    alice = world.browser()
    door = await alice.ask_code(token)
    await alice.get(door)
    await alice.post(door, {"code": "00000000"})
    kinds = [one.kind for one in await world.events()]
    assert kinds[-1] == "SignInFailed"
    assert "SignedIn" not in kinds


async def test_looking_things_up_is_on_record(world: World) -> None:
    """An operator's search leaves a line with the names of the filters, never their values."""
    await world.announce()
    dora = world.operator()
    looks: list[Callable[[], Awaitable[object]]] = [
        lambda: dora.list_messages("northside", None, ALICE, None, None, 10),
        lambda: dora.list_messages("northside", "carol@clinic.example", None, "noticed", None, 10),
    ]
    for look in looks:
        assert await look()
    [first, second] = await world.events("MessagesListed")
    (who,) = {one.recipient_id for one in await all_deliveries(world)}
    assert (first.detail, first.actor) == ({"query": ["recipient"], "found": 1, "recipient": who}, "dora")
    assert second.detail == {"query": ["sender", "state"], "found": 1}
