"""Finds words in the reader's own messages, without an index: what an index holds would lie readable on the disk.

So the messages are opened one by one, newest first, for at most `MOST_MESSAGES` and `SECONDS`; then the reader may go on with the
older ones. Each batch is on record before it is opened, as `InboxSearched`, which names the deliveries and never the words.

A search is no view. Of what is found the reader is shown what the inbox shows, nobody has read the text, and so the delivery does not
become "opened": reminders go on, and the sender is not told that it was read.
"""

import asyncio
import re
import unicodedata
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from html import unescape
from weakref import WeakValueDictionary

from portal.clock import Source
from portal.db import views
from portal.db.engine import Database
from portal.mime import VERSION
from portal.mime.cover import Cover
from portal.mime.wire import load
from portal.model.access import Access, Purpose, Reader, may_read
from portal.model.errors import ContentDamaged, InputRefused, TooManyTries
from portal.model.events import InboxSearched, Who
from portal.model.ids import DeliveryId, RecipientId
from portal.model.message import READABLE, DeliveryState
from portal.reading.read import InboxLine
from portal.sealing import Kind
from portal.sealing.open import Opened, Opener

MOST_MESSAGES = 200
SECONDS = 3.0
MOST_CHARS = 200
NOTHING = "no word to look for"
TOO_LONG = "too long to look for"
_BATCH = 25
_TAG = re.compile(r"<[^>]*>")
_AT_ONCE = 2
WAIT_SECONDS = 5.0
"""How long a search waits for its turn."""
_MOST_BYTES = 1024 * 1024
"""Of a sealed rendition: larger ones hold pictures, and would take the server's time from others."""
# Letters that Unicode does not take apart, and signs that are not seen: soft hyphen, zero-width and direction marks, tatweel.
_FOLD = str.maketrans("đøłħ", "dolh", "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u0640")


@dataclass(frozen=True)
class Found:
    """Messages with all the words, newest first; how many could not be looked through whole; where to go on, if there are more."""

    lines: tuple[InboxLine, ...]
    unread: int
    next_id: DeliveryId | None


class Search:
    """See the module. Holds the Opener: handed to the web role only.

    At most two searches run at once, and one of each person's. Others wait in the order in which they came, for `WAIT_SECONDS`.
    """

    def __init__(self, db: Database, opener: Opener, source: Source) -> None:
        self._db, self._opener, self._source = db, opener, source
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._own: WeakValueDictionary[RecipientId, asyncio.Lock] = WeakValueDictionary()
        """Of each person who searches or waits: who sends many searches waits for herself, not in the way of others."""

    async def find(self, reader: Reader, typed: str, before: DeliveryId | None = None) -> Found:
        """Messages older than `before` that hold every word of `typed`, whatever its capitals and accents. Raises InputRefused, and
        TooManyTries when its turn does not come."""
        words = words_of(typed)
        own = self._own.setdefault(reader.recipient_id, asyncio.Lock())
        async with AsyncExitStack() as turn:
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await turn.enter_async_context(own)
                    await turn.enter_async_context(self._slots)
            except TimeoutError:
                raise TooManyTries("searches are still running", timedelta(seconds=WAIT_SECONDS)) from None
            found = await self._find(reader, words, before)
        now = self._source.now()  # seconds may have passed since the first of them was looked at
        kept = [one for one in found.lines if await views.still_readable(self._db, one.line.target.delivery_id, now)]
        return replace(found, lines=tuple(kept))

    async def _find(self, reader: Reader, words: list[str], before: DeliveryId | None) -> Found:
        clock = asyncio.get_running_loop()
        until = clock.time() + SECONDS
        found: list[InboxLine] = []
        unread = 0
        for _ in range(MOST_MESSAGES // _BATCH):
            lines = await views.inbox(self._db, reader.org_id, reader.recipient_id, before, _BATCH + 1)
            more, lines = len(lines) > _BATCH, lines[:_BATCH]
            for line, opened in await self._opened(reader, lines):
                before = line.target.delivery_id
                hit, whole = await self._looked(line, opened, words)
                if hit:
                    found.append(hit)
                unread += not whole and not hit
                if clock.time() > until and line is not lines[-1]:
                    return Found(tuple(found), unread, before)
            if not more:
                return Found(tuple(found), unread, None)
            if clock.time() > until:
                break
        return Found(tuple(found), unread, before)

    async def _opened(self, reader: Reader, lines: list[views.Line]) -> list[tuple[views.Line, Opened | None]]:
        """Every line with its message, open where the reader may and it does: once that is on record."""
        now = self._source.now()
        decisions = [may_read(reader, line.target, Purpose.SEARCH, now) for line in lines]
        allowed = [one for one in decisions if isinstance(one, Access)]
        event = InboxSearched(
            at=now,
            who=Who.RECIPIENT,
            actor=reader.recipient_id,
            org_id=reader.org_id,
            session=reader.session,
            origin=reader.origin,
            deliveries=tuple(one.target.delivery_id for one in allowed),
        )
        opened = iter(await self._opener.listed(allowed, event))
        return [
            (line, next(opened) if isinstance(decision, Access) else None)
            for line, decision in zip(lines, decisions, strict=True)
        ]

    async def _looked(self, line: views.Line, opened: Opened | None, words: list[str]) -> tuple[InboxLine | None, bool]:
        """The line if it has the words, and whether all of it was looked at. What is over has nothing to look at."""
        now = self._source.now()
        kept = await views.searched(self._db, line.target.delivery_id, _MOST_BYTES)
        if kept is None or kept.state not in READABLE or now >= kept.expires_at:
            return None, True
        if opened is None or line.heading_sealed is None:
            return None, False
        whole = False
        try:
            cover = Cover.load(await opened.read(Kind.HEADING, line.heading_sealed))
            said = [cover.heading.subject, cover.heading.sender]
            if kept.sealed is not None and kept.version == VERSION:
                rendition = await opened.read(Kind.RENDITION, kept.sealed)
                said, whole = [*said, *await asyncio.to_thread(_texts, rendition)], True
        except (ContentDamaged, ValueError):
            return None, False
        hit = await asyncio.to_thread(_holds, said, words)
        return (InboxLine(line, DeliveryState(kept.state), cover) if hit else None), whole


def words_of(typed: str) -> list[str]:
    """The words to look for. Raises InputRefused: `NOTHING` or `TOO_LONG`."""
    if len(typed) > MOST_CHARS:
        raise InputRefused(TOO_LONG, "words")
    words = folded("".join(sign if sign.isprintable() else " " for sign in typed)).split()
    if not words:
        raise InputRefused(NOTHING, "words")
    return words


@lru_cache(maxsize=4096)
def _apart(sign: str) -> str:
    return unicodedata.normalize("NFKD", sign)


def folded(text: str) -> str:
    """Text without capitals, accents and signs that are not seen, for comparing (Unicode 3.13, D147, and UAX 15)."""
    if text.isascii():
        return text.lower()
    apart = "".join(map(_apart, text))  # sign by sign: the library puts a run of marks in order in quadratic time
    bare = "".join(sign for sign in apart if not unicodedata.combining(sign))
    return unicodedata.normalize("NFKC", bare.casefold()).translate(_FOLD)


def _texts(rendition: bytes) -> list[str]:
    shown = load(rendition)
    # In the sanitiser's output an angle bracket is a tag's. Words that a tag parts are one, as the reader sees them.
    documents = [(shown.text, shown.html), *((one.text, one.html) for one in shown.enclosed)]
    words = [said for text, html in documents for said in (text, unescape(_TAG.sub("", html or "")))]
    headings = [said for one in shown.enclosed if one.heading for said in (one.heading.subject, one.heading.sender)]
    return [*words, *headings, *(part.name for part in shown.parts)]


def _holds(said: list[str], words: list[str]) -> bool:
    all_of_it = "\n".join(map(folded, said))
    return all(word in all_of_it for word in words)
