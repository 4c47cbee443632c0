"""Lists and exports the record. Reading the record is itself on record."""

import csv
import io
import json
from collections.abc import AsyncIterator
from typing import Literal

from portal.clock import Source
from portal.db import audit
from portal.db.audit import Filter, Recorded
from portal.db.engine import Database
from portal.model.events import AuditExported, By
from portal.model.ids import EventId

COLUMNS = ("id", "at", "kind", "who", "actor", "org_id", "message_id", "delivery_id", "session", "origin", "detail")
_PAGE = 500
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet takes for the beginning of a formula, full-width forms too (OWASP, CSV injection)."""
Format = Literal["jsonl", "csv"]


class Export:
    """See the module. `by` is who reads."""

    def __init__(self, db: Database, source: Source, by: By) -> None:
        self._db, self._source, self._by = db, source, by

    async def lines(self, wanted: Filter, limit: int | None = None) -> AsyncIterator[Recorded]:
        """What the filter finds, oldest first."""
        after: EventId | None = None
        left = limit
        while left is None or left > 0:
            async with self._db.read() as tx:
                found = await audit.page(tx, wanted, after, min(_PAGE, left) if left is not None else _PAGE)
            for one in found:
                yield one
            if len(found) < _PAGE:
                return
            after = found[-1].id
            left = None if left is None else left - len(found)

    async def done(self, wanted: Filter, rows: int, form: str) -> None:
        """Puts the export on record."""
        event = AuditExported(**self._by.facts(self._source.now(), wanted.org_id), rows=rows, format=form)
        await self._db.record(event)


def as_text(line: Recorded, form: Format) -> str:
    """A line of the export. CSV cells that a spreadsheet would take for a formula are quoted with an apostrophe."""
    values = {name: getattr(line, name) for name in COLUMNS}
    values["at"] = line.at.isoformat()
    if form == "jsonl":
        return json.dumps(values, sort_keys=True, ensure_ascii=False) + "\n"
    values["detail"] = json.dumps(line.detail, sort_keys=True, ensure_ascii=False)
    out = io.StringIO()
    csv.writer(out).writerow([_cell(values[name]) for name in COLUMNS])
    return out.getvalue()


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text[:1] in _FORMULA else text
