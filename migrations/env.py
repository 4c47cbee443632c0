"""How Alembic runs the versions beside this file. portal/db/migrate.py is who calls it; there is no alembic.ini.

Takes from the Config's attributes a ready `connection`, whose transaction it joins, or else a `url` to connect to by itself.
"""

import asyncio

from alembic import context
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from portal.db.tables import metadata


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=connection.dialect.name == "sqlite",  # it can't alter a column in place
        transactional_ddl=True,  # SQLite can too, when the driver does not commit behind our back
    )
    with context.begin_transaction():
        context.run_migrations()


async def _connect(url: str) -> None:
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_run)
    finally:
        await engine.dispose()


_given = context.config.attributes
if "connection" in _given:
    _run(_given["connection"])
else:
    asyncio.run(_connect(_given["url"]))
