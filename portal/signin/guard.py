"""Tries at what a person knows or has, beside the emailed code: ten an hour, then back-off, fifty in all, then closed.

A try is counted in a transaction of its own before anything is compared, so that fifty at once count as fifty. Only whoever has
a session of that person gets here: a stranger can't use her tries up.
"""

from datetime import timedelta

from portal.clock import Source
from portal.db import tries
from portal.db.engine import Database
from portal.db.tx import BookkeepingTx
from portal.model.codes import one_more, wait_to_try
from portal.model.errors import TooManyTries
from portal.model.links import keyed_hash


class Guard:
    """See the module. A secret is named by its kind and its owner's id."""

    def __init__(self, db: Database, source: Source, key: bytes) -> None:
        self._db, self._source, self._key = db, source, key

    async def count(self, kind: str, owner: str) -> None:
        """Counts a try. Raises TooManyTries when it may not be made."""
        now = self._source.now()
        async with self._db.bookkeeping() as tx:
            counted = await tries.locked(tx, self._hash(kind, owner), now)
            wait = wait_to_try(counted, now)
            if wait == timedelta(0):
                await tries.keep(tx, self._hash(kind, owner), one_more(counted, now))
        if wait != timedelta(0):
            raise TooManyTries(f"too many tries at {kind}", wait)

    async def forget(self, tx: BookkeepingTx, kind: str, owner: str) -> None:
        """Ends the run of tries, in the transaction of the success."""
        await tries.forget(tx, self._hash(kind, owner))

    def _hash(self, kind: str, owner: str) -> bytes:
        return keyed_hash(self._key, "tries", kind, owner)
