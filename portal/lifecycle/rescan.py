"""Has messages scanned that could not be when they came in, and whose class shows nothing unscanned.

Intake holds no key that reads, so this is the worker's: it opens the original, on record first, by the grant of one of its deliveries.
"""

from dataclasses import replace

from portal.clock import Source
from portal.db import deliveries, messages
from portal.db.deliveries import Delivery
from portal.db.engine import Database
from portal.db.messages import Waiting
from portal.lifecycle.release import Release
from portal.model.errors import InputRefused, PortalError, StorageAway
from portal.model.events import By, ScanOpened, Who
from portal.model.mails import rescan_after
from portal.model.message import DeliveryState, Stopped
from portal.scan import Finding, Scanner, Verdict
from portal.sealing import Kind
from portal.sealing.open import Opener

_WORKER = By(Who.WORKER)


class Rescan:
    """See the module. Without a scanner all of it waits for an admin."""

    def __init__(self, db: Database, opener: Opener, scanner: Scanner | None, release: Release, source: Source) -> None:
        self._db, self._opener, self._scanner, self._release, self._source = db, opener, scanner, release, source

    async def run(self, limit: int = 20) -> int:
        """Scans what is due, as long as a scanner answers; returns how many messages it took up."""
        async with self._db.read() as tx:
            due = await messages.to_rescan(tx, self._source.now(), limit)
        if self._scanner is None or not due:
            return 0
        try:
            await self._scanner.check()  # nothing is opened for a scanner that is not there
        except StorageAway:
            return 0
        for one in due:
            await self._one(self._scanner, one)
        return len(due)

    async def _one(self, scanner: Scanner, waiting: Waiting) -> None:
        async with self._db.read() as tx:
            every = await deliveries.of_message(tx, waiting.id)
        stopped = [one for one in every if one.stopped is Stopped.UNSCANNED]
        for one in every:  # a run before this one was cut off between two of them
            if one.stopped is Stopped.INFECTED and one.state is not DeliveryState.QUARANTINED:
                await self._release.quarantine(one.id, _WORKER, "found before")
        alive = [one for one in stopped if one.state is not DeliveryState.DISPOSED]
        now = self._source.now()
        again = replace(waiting, rescan_at=now + rescan_after(now - waiting.accepted_at))
        async with self._db.bookkeeping() as changed:
            mine = await messages.rescan_later(changed, waiting, again.rescan_at if alive else None)
        open_now = [one for one in alive if one.state is DeliveryState.UNSCANNED]
        if not mine or not open_now:
            return
        found = await self._found(scanner, waiting, open_now[0])
        if found.verdict is Verdict.UNKNOWN:
            async with self._db.bookkeeping() as changed:
                await messages.rescan_later(changed, again, again.rescan_at, found.said)
            return
        for one in every if found.verdict is Verdict.INFECTED else open_now:
            if found.verdict is Verdict.INFECTED:
                await self._release.quarantine(one.id, _WORKER, found.said)
            else:
                await self._clean(one)

    async def _found(self, scanner: Scanner, waiting: Waiting, by: Delivery) -> Finding:
        if waiting.blob_key is None:
            return Finding(Verdict.UNKNOWN, "destroyed")
        event = ScanOpened(**_WORKER.facts(self._source.now(), waiting.org_id, waiting.id, by.id))
        scan = await scanner.begin()
        try:
            opened = await self._opener.for_scan(event, by.recipient_id)
            stream = await opened.stream(Kind.ORIGINAL, waiting.blob_key)
            try:
                async for piece in stream:
                    await scan.write(piece)
            finally:
                stream.close()
            return await scan.finding()
        except PortalError as error:  # on record already; it is tried again, and an admin sees that it waits
            return Finding(Verdict.UNKNOWN, f"could not be opened: {type(error).__name__}")
        finally:
            scan.close()

    async def _clean(self, one: Delivery) -> None:
        try:
            await self._release.let_through(one, _WORKER, "", clean=True)
        except InputRefused:  # an admin was faster, or its time is up
            return
