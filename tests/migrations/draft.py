"""Prints the steps from the newest migration to portal/db/tables.py: the first draft of the next one (`make migration`).

With `all`, the steps from nothing, for as long as 0001 has not been released. A draft is read and corrected by a person.
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.autogenerate.api import AutogenContext
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from portal.db.migrate import migrate
from portal.db.tables import Instant, metadata


def _render(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    """Migrations stand alone: they name what a column is, not our type for it."""
    return "sa.BigInteger()" if kind == "type" and isinstance(item, Instant) else False


def draft(*, from_nothing: bool) -> str:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'draft.db'}"
        if not from_nothing:
            asyncio.run(migrate(url, create=True))
        engine = create_engine(url)
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            script = produce_migrations(context, metadata)
        engine.dispose()
    assert script.upgrade_ops is not None
    return render_python_code(script.upgrade_ops, render_as_batch=not from_nothing, render_item=_render)


if __name__ == "__main__":
    print(draft(from_nothing=sys.argv[1:] == ["all"]))
