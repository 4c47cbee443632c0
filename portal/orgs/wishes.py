"""What an organisation has set for a recipient, as relays ask for it: the level of TLS, always here, never here.

The same rows as the intake's own (portal/intake/way.py), and read anew for each question: a list that was changed counts at once.
"""

import time

from portal.db import orgs, routes
from portal.db.engine import Database
from portal.model.errors import InputRefused
from portal.model.ids import OrgId
from portal.model.parties import Address
from portal.model.routes import Level, Route
from portal.sealing.seal import Sealer

_SECONDS = 10.0  # which one is meant: the only one may soon not be the only one


class Wishes:
    """See the module."""

    def __init__(self, db: Database, sealer: Sealer) -> None:
        self._db, self._sealer = db, sealer
        self._ids: dict[str, tuple[float, OrgId]] = {}

    async def of(self, org: str, recipient: Address | None, domain: str | None) -> tuple[Level, bool | None]:
        """The level, and True for always here, False for never, None for as the verdict says. `org` is a short name, '' the only one.

        Raises InputRefused when there is no such organisation, or not one only; StorageAway.
        """
        org_id = await self._id(org)
        level, _ = await routes.transport_of(self._db, org_id)
        by_address = self._sealer.index(org_id, "route address", str(recipient) if recipient else "")
        by_domain = self._sealer.index(org_id, "route domain", domain or "")
        route = await routes.listed(self._db, org_id, by_address, by_domain)
        if route in (Route.ALWAYS, Route.NEVER):
            return level, route is Route.ALWAYS
        return Level(route.value) if route else level, None

    async def _id(self, org: str) -> OrgId:
        known = self._ids.get(org)
        if known and time.monotonic() - known[0] < _SECONDS:
            return known[1]
        async with self._db.read() as tx:
            every = await orgs.every(tx)
        found = [one for one in every if org in ("", one.slug)]
        if len(found) != 1:
            raise InputRefused("Name one organisation: northside/route, where northside is its short name.")
        self._ids[org] = time.monotonic(), found[0].id
        return found[0].id
