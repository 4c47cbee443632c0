"""What an engine must do for `Database`; sqlite.py and postgres.py do it."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Dialect
from sqlalchemy.ext.asyncio import AsyncConnection

from portal.model.errors import PortalError


class Duplicate(PortalError):
    """A row with this key is there already; nothing of the change was kept."""


class Stale(PortalError):
    """What the change relied on is no longer so; nothing of the change was kept."""


@dataclass(frozen=True)
class Prepared:
    """A statement in the driver's own form."""

    sql: str
    values: tuple[Any, ...]
    returns_rows: bool
    must_hit: bool


Outcome = PortalError | None


class Backend(Protocol):
    dialect: Dialect

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A consistent view of what is committed."""

    def writing(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that commits on leaving, and rolls back on an exception."""

    async def fetch(self, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Rows of one hot statement."""

    async def apply(self, batch: Sequence[Sequence[Prepared]]) -> list[Outcome]:
        """Commits the changes of a batch together, each all or nothing; when it returns, they are durable.

        The outcome of a change is None, or Duplicate or Stale when it was left out. Raises when none of it was kept.
        """

    async def close(self) -> None: ...
