"""`portal doctor`: looks at each thing the portal stands on and says what it found, without changing anything."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from portal.assembly import blob_store, keyring, onward, scanner, submission
from portal.clock import Source
from portal.db import grants, messages, orgs, outbox
from portal.db.engine import Database
from portal.db.revision import head
from portal.lifecycle.dispose import orphans
from portal.model.errors import NotFound, PortalError, StorageAway
from portal.model.ids import BlobKey
from portal.model.policy import Scan
from portal.model.routes import Mode
from portal.settings import Settings

_STUCK_AFTER = timedelta(hours=1)
_PAGE = 500


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. When it is not ok, `said` tells what to do."""

    name: str
    ok: bool
    said: str


async def examine(settings: Settings) -> list[Finding]:
    """All findings; one that fails does not keep the others from being looked at."""
    source = Source()
    try:
        db = Database(settings.database_url, source)
    except PortalError as error:
        return [Finding("database", False, str(error)), await _found("submission", lambda: _submission(settings))]
    look = _Look(settings, db, source)
    try:
        checks: list[tuple[str, Callable[[], Awaitable[str]]]] = [
            ("database", look.database),
            ("migrations", look.migrations),
            ("blobs", look.blobs),
            ("keys", look.keys),
            ("clock", look.clock),
            ("mail hosts", look.mail_hosts),
            ("submission", lambda: _submission(settings)),
            ("graduation", look.graduation),
            ("content", look.content),
            ("orphan blobs", look.orphans),
            ("outbox", look.outbox),
            ("scanner", look.scanner),
        ]
        return [await _found(name, check) for name, check in checks]
    finally:
        await db.close()


class _Wrong(Exception):
    """A finding that is not ok."""


async def _found(name: str, check: Callable[[], Awaitable[str]]) -> Finding:
    try:
        async with asyncio.timeout(120):
            return Finding(name, True, await check())
    except TimeoutError:
        return Finding(name, False, "did not answer within two minutes")
    except (_Wrong, PortalError) as error:
        return Finding(name, False, str(error) or type(error).__name__)


async def _submission(settings: Settings) -> str:
    said = await submission(settings).check()
    return f"{said.host} answers over {said.tls}"


class _Look:
    def __init__(self, settings: Settings, db: Database, source: Source) -> None:
        self._settings, self._db, self._source = settings, db, source

    async def database(self) -> str:
        async with self._db.read() as tx:
            return f"answers; {len(await orgs.every(tx))} organisation(s)"

    async def migrations(self) -> str:
        at, wanted = await self._db.revision(), head()
        if at != wanted:
            raise _Wrong(f"at revision {at}, this program at {wanted}; run `portal migrate`")
        return f"at revision {at}"

    async def blobs(self) -> str:
        await blob_store(self._settings).check()
        return "can be written, read and deleted"

    async def keys(self) -> str:
        ring = keyring(self._settings)
        ring.check_there()
        async with self._db.read() as tx:
            every = await orgs.every(tx)
            for one in every:
                ring.check(one.id, one.slug, {one.kek_id} | await grants.kek_ids(tx, one.id), secret=True)
        return f"the keyring holds every KEK of {len(every)} organisation(s)"

    async def graduation(self) -> str:
        way = onward(self._settings)
        async with self._db.read() as tx:
            every = [policy for one in await orgs.every(tx) for policy in await orgs.policies_in_force(tx, one.id)]
        classes = sorted({one.name for one in every if one.graduate})
        if way is None and classes:
            raise _Wrong(
                f"no graduation_url is set, and classes allow it: {', '.join(classes)}; all of their mail stays"
            )
        if way is None:
            return "not set up; what waits here stays"
        said = await way.check()
        return f"{said.host} answers over {said.tls}"

    async def scanner(self) -> str:
        asked = scanner(self._settings)
        if asked is None:
            async with self._db.read() as tx:
                every = [policy for one in await orgs.every(tx) for policy in await orgs.policies_in_force(tx, one.id)]
            waiting = sorted({one.name for one in every if one.scan is Scan.REQUIRED})
            if waiting:
                raise _Wrong(f"no clamd is set, and classes require a scan: {', '.join(waiting)}; their mail waits")
            return "none is set; nothing is scanned"
        try:
            return f"{await asked.check()} answers"
        except StorageAway:
            raise _Wrong("clamd does not answer; mail of classes that require a scan waits for it") from None

    async def clock(self) -> str:
        """An event or message from the future shows a clock that was, or is, wrong."""
        now = self._source.now()
        async with self._db.read() as tx:
            newest = await messages.newest(tx)
        if newest and newest > now + timedelta(minutes=5):
            raise _Wrong(f"a message is dated {newest - now} in the future; set the clock (NTP)")
        if now.year < 2026 or abs(time.time() - now.timestamp()) > 1:
            raise _Wrong(f"the clock says {now.isoformat()}; set it (NTP)")
        return now.isoformat(timespec="seconds")

    async def mail_hosts(self) -> str:
        """Whether verdicts can be had: what an arbiter's relay is answered by."""
        async with self._db.read() as tx:
            relays = [one for org in await orgs.every(tx) for one in await orgs.relays_of(tx, org.id)]
        if not any(one.mode is Mode.ARBITER and one.disabled_at is None for one in relays):
            return "no relay is in mode arbiter, so none is looked at"
        if not self._settings.probing:
            return "probing is off: relays in mode arbiter bring in greylisted mail too, and mail to hosts that are merely down"
        trusted = "believed" if self._settings.name_servers_validate else "not asked: set PORTAL_NAME_SERVERS_VALIDATE"
        return f"are looked at by port 25 as their mail comes; DANE is {trusted}"

    async def content(self) -> str:
        """Every blob that a row relies on is there."""
        store, missing, count = blob_store(self._settings), [], 0
        after: BlobKey | None = None
        while True:
            async with self._db.read() as tx:
                page = await messages.blobs_relied_on(tx, after, _PAGE)
            for key in page:
                count += 1
                try:
                    (await store.open(key)).close()
                except NotFound:
                    missing.append(key)
            if len(page) < _PAGE:
                break
            after = page[-1]
        if missing:
            raise _Wrong(
                f"{len(missing)} of {count} blobs are missing, such as {missing[0]}; restore them from the backup"
            )
        return f"all {count} blobs are there"

    async def orphans(self) -> str:
        found = await orphans(self._db, blob_store(self._settings), self._source.now())
        if found:
            raise _Wrong(
                f"{len(found)} blobs belong to no row, such as {found[0]}; the worker deletes them within a day"
            )
        return "none"

    async def outbox(self) -> str:
        async with self._db.read() as tx:
            stuck = await outbox.stuck(tx, self._source.now() - _STUCK_AFTER)
        if stuck:
            raise _Wrong(
                f"{stuck} mails have waited for over an hour; is the worker running, does the submission host take mail?"
            )
        return "nothing has waited for over an hour"
