"""Who may do what with the database, as types: the first belt of audit.

A function that only looks takes a `ReadTx`. One that changes what somebody must answer for takes the `WriteTx` of *its*
event, so that forgetting the event, or recording another one, is a type error. What nobody need answer for (leases,
counters, last-seen times) takes a `BookkeepingTx`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import CursorResult, Executable, Row, Table
from sqlalchemy.ext.asyncio import AsyncConnection

from portal.db.hot import Statement, own_insert
from portal.model.events import Event

E = TypeVar("E", bound=Event, covariant=True)


class ReadTx:
    """A consistent view. Made by `Database.read()`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def rows(self, statement: Executable, values: Mapping[str, Any] | None = None) -> Sequence[Row[Any]]:
        return (await self._connection.execute(statement, values)).all()

    async def row(self, statement: Executable) -> Row[Any] | None:
        return (await self._connection.execute(statement)).first()


class BookkeepingTx(ReadTx):
    """May change what nobody need answer for. Made by `Database.bookkeeping()`."""

    async def change(self, statement: Executable, values: Sequence[Mapping[str, Any]] | None = None) -> int:
        """Runs a changing statement and returns how many rows it touched."""
        result: CursorResult[Any] = await self._connection.execute(statement, values)
        return result.rowcount

    def insert(self, table: Table) -> Any:
        """The engine's own INSERT, for ON CONFLICT."""
        return own_insert(self._connection.dialect)(table)


class WriteTx(BookkeepingTx, Generic[E]):
    """May change what `event` says. Made by `Database.write(event)`, which has put the event on record first."""

    def __init__(self, connection: AsyncConnection, event: E) -> None:
        super().__init__(connection)
        self.event = event


@dataclass(frozen=True)
class Change(Generic[E]):
    """An event and the statements that belong to it, for `Database.commit`: all or nothing, durable together."""

    event: E
    statements: tuple[Statement, ...] = ()
