"""Throttles on strangers: by address prefix, and over all where nobody with a link or a session waits behind them.

In the database, so that they survive restarts and hold for all processes. Whoever has a link is throttled by her delivery, not by
what strangers do (portal/signin/codes.py); so no stranger locks anybody out.
"""

import ipaddress
from datetime import timedelta

from portal.clock import Source
from portal.db import limits
from portal.db.engine import Database
from portal.model.errors import TooManyTries
from portal.model.links import keyed_hash

HOUR = timedelta(hours=1)
CEREMONIES = 5000
"""Passkey ceremonies begun in an hour from one prefix: each page that offers one begins one, and a town may share an address."""
ANSWERS = 300
"""Answers of passkeys an hour from one prefix."""
STAFF_CODES = 60
"""Codes for the senders' console an hour from one prefix: a clinic sends from one address."""
STAFF_TRIES = 300
"""Typed codes and answers of the identity provider an hour from one prefix: each that fails is a line of the record."""
REFERENCES = 30
"""Typed references an hour from one prefix: 50 bits stand behind each."""
REFERENCES_OVER_ALL = 3000
"""From all of the world together. Links go on working."""


def prefix(origin: str) -> str:
    """The network an address is taken to belong to: /24 of IPv4, /64 of IPv6; what is no address stays as it is."""
    try:
        address = ipaddress.ip_address(origin)
    except ValueError:
        return origin
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    return str(ipaddress.ip_network((address, 24 if address.version == 4 else 64), strict=False))


class Throttle:
    """See the module. `key` is not in the database: its rows say nothing of addresses."""

    def __init__(self, db: Database, source: Source, key: bytes) -> None:
        self._db, self._source, self._key = db, source, key

    async def ceremonies(self, origin: str) -> None:
        """Counts a passkey ceremony that begins. Raises TooManyTries."""
        await self._count("ceremonies", prefix(origin), CEREMONIES)

    async def answers(self, origin: str) -> None:
        """Counts an answer of a passkey. Raises TooManyTries."""
        await self._count("answers", prefix(origin), ANSWERS)

    async def staff_codes(self, origin: str) -> None:
        """Counts a code that somebody has sent to a sender's address. Raises TooManyTries."""
        await self._count("staff codes", prefix(origin), STAFF_CODES)

    async def staff_tries(self, origin: str) -> None:
        """Counts a typed code of a sender, or an answer of the identity provider. Raises TooManyTries."""
        await self._count("staff tries", prefix(origin), STAFF_TRIES)

    async def references(self, origin: str) -> None:
        """Counts a typed reference. Raises TooManyTries."""
        await self._count("reference", prefix(origin), REFERENCES)
        await self._count("reference", "", REFERENCES_OVER_ALL)

    async def _count(self, what: str, whose: str, most: int) -> None:
        now = self._source.now()
        count, since = await limits.count(self._db, keyed_hash(self._key, "throttle", what, whose), now, HOUR)
        if count > most:
            raise TooManyTries(
                f"too many {what} from {'everywhere' if not whose else 'one network'}", since + HOUR - now
            )
