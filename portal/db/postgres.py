"""The engine for more than one host: PostgreSQL by asyncpg."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from portal.db.backend import Duplicate, Outcome, Prepared, Stale
from portal.model.errors import StorageAway, StorageFull

_AWAY = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


_SETTINGS = {"synchronous_commit": "on", "jit": "off"}
"""Whatever the server's own: a commit that returned is on disk, and no statement here is worth compiling (0.4 s, once seen)."""
_COLD = {"plan_cache_mode": "force_custom_plan"}
"""A search is planned for what it names: one mailbox has ten messages, another ten thousand."""


class _Missed(Exception):
    """A statement that had to find or change a row did not."""


class PostgresBackend:
    """See the module. Connections are opened on first use; each look-up and commit has a time limit of 30 s."""

    def __init__(self, url: URL) -> None:
        self._engine = create_async_engine(
            url,
            pool_size=8,
            pool_timeout=30,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={"server_settings": {**_SETTINGS, **_COLD}},
        )
        self._dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._opening = asyncio.Lock()
        self.dialect = self._engine.dialect

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        async with self._engine.connect() as connection, connection.begin():
            await connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        async with self._engine.begin() as connection:
            yield connection

    async def _hot(self) -> "asyncpg.Pool[asyncpg.Record]":
        if self._pool is None:
            async with self._opening:  # a pool that is being opened refuses whoever else comes
                if self._pool is None:
                    self._pool = await asyncpg.create_pool(
                        self._dsn, min_size=1, max_size=8, command_timeout=30, server_settings=_SETTINGS
                    )
        return self._pool

    async def fetch(self, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        try:
            return [tuple(row) for row in await (await self._hot()).fetch(sql, *values)]
        except _AWAY as error:
            raise StorageAway(f"the database did not answer: {error}") from error

    async def apply(self, batch: Sequence[Sequence[Prepared]]) -> list[Outcome]:
        try:
            async with (await self._hot()).acquire() as connection, connection.transaction():
                return [await self._apply_one(connection, change) for change in batch]
        except asyncpg.DiskFullError as error:
            raise StorageFull("the disk of the database is full") from error
        except _AWAY as error:
            raise StorageAway(f"the database did not answer: {error}") from error

    async def _apply_one(self, connection: Any, change: Sequence[Prepared]) -> Outcome:
        try:
            async with connection.transaction():
                for statement in change:
                    if statement.returns_rows:
                        hit = await connection.fetchrow(statement.sql, *statement.values) is not None
                    else:
                        tag: str = await connection.execute(statement.sql, *statement.values)
                        hit = not tag.endswith(" 0")
                    if statement.must_hit and not hit:
                        raise _Missed
        except _Missed:
            return Stale("what this change relied on is no longer so")
        except asyncpg.UniqueViolationError as error:
            return Duplicate(error.constraint_name or "")
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            return StorageAway(f"the database refused the change: {type(error).__name__}")  # it takes no other with it
        return None

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()
        await self._engine.dispose()
