"""The record, as auditors page through it: newest first. Each look is on record."""

from dataclasses import dataclass

from portal.clock import Source
from portal.db import audit
from portal.db.audit import Filter, Recorded
from portal.db.engine import Database
from portal.model.events import AuditExported, By, Event
from portal.model.ids import EventId

PAGE = 50


@dataclass(frozen=True)
class RecordPage:
    """`after` is the key of the next page, None on the last."""

    lines: list[Recorded]
    after: EventId | None


class Reading:
    """See the module."""

    def __init__(self, db: Database, source: Source) -> None:
        self._db, self._source = db, source

    async def page(self, wanted: Filter, before: str | None, by: By) -> RecordPage:
        async with self._db.read() as tx:
            found = await audit.page_back(tx, wanted, EventId(before) if before else None, PAGE + 1)
        lines = found[:PAGE]
        await self._db.record(
            AuditExported(**by.facts(self._source.now(), wanted.org_id), rows=len(lines), format="page")
        )
        return RecordPage(lines, EventId(lines[-1].id) if len(found) > PAGE else None)

    async def count(self, wanted: Filter) -> int:
        async with self._db.read() as tx:
            return await audit.count(tx, wanted)

    async def note(self, event: Event) -> None:
        """Puts on record what an edge refused."""
        await self._db.record(event)
