"""What an organisation has set about the way of its mail: the level that TLS must have, and the way of single recipients and domains.

Who is written to is nobody's business: values are sealed, and found by keyed hash.
"""

from dataclasses import dataclass

from portal.clock import Source
from portal.db import routes
from portal.db.engine import Database
from portal.db.routes import RouteRow
from portal.model.errors import InputRefused
from portal.model.events import By, RecipientRouteRemoved, RecipientRouteSet, TransportSet
from portal.model.ids import OrgId
from portal.model.parties import address, domain_name
from portal.model.routes import Level, Route
from portal.sealing import Field
from portal.sealing.open import Fields
from portal.sealing.seal import Sealer

MOST_HOURS = 36
"""A relay that keeps bringing a mail for longer gives up on it soon (Postfix and Exim: 4 to 5 days)."""
MOST_ROUTES = 1000


@dataclass(frozen=True)
class ShownRoute:
    """A recipient's or a domain's way. `ref` names it in forms."""

    ref: str
    kind: str
    value: str
    route: Route


class Routes:
    """See the module."""

    def __init__(self, db: Database, sealer: Sealer, fields: Fields, source: Source) -> None:
        self._db, self._sealer, self._fields, self._source = db, sealer, fields, source

    async def every(self, org_id: OrgId) -> list[ShownRoute]:
        async with self._db.read() as tx:
            found = await routes.every(tx, org_id)
        shown = []
        for one in found:
            ref, field = one.value_hash.hex(), Field(one.epoch_id, one.value_sealed)
            value = (await self._fields.open(org_id, ref, "route", field)).decode()
            shown.append(ShownRoute(ref, one.kind, value, one.route))
        return sorted(shown, key=lambda one: (one.value.rpartition("@")[2], one.value))

    async def set(self, org_id: OrgId, text: str, route: str, by: By) -> None:
        """Sets the way of an address or a domain. Raises InputRefused."""
        kind, value = _value(text)
        if route not in set(Route):
            raise InputRefused("Choose always, never, encrypt or verify.", "route")
        wanted = Route(route)
        if kind == "address" and wanted is Route.ENCRYPT:
            raise InputRefused("Relays ask for TLS by domain: set encrypt for the whole domain.", "route")
        async with self._db.read() as tx:
            if len(await routes.every(tx, org_id)) >= MOST_ROUTES:
                raise InputRefused(f"There are {MOST_ROUTES} already. Remove some first.", "value")
        hashed = self._sealer.index(org_id, f"route {kind}", value)
        field = await self._sealer.field(org_id, hashed.hex(), "route", value.encode())
        now = self._source.now()
        row = RouteRow(org_id, hashed, kind, wanted, field.sealed, field.epoch_id, now)
        event = RecipientRouteSet(**by.facts(now, org_id), kind_of_value=kind, value=hashed.hex(), route=wanted)
        async with self._db.write(event) as changed:
            await routes.set_route(changed, row)

    async def remove(self, org_id: OrgId, ref: str, by: By) -> None:
        """Raises InputRefused when it is gone already."""
        async with self._db.read() as tx:
            found = next((one for one in await routes.every(tx, org_id) if one.value_hash.hex() == ref), None)
        if found is None:
            raise InputRefused("This is gone already.")
        async with self._db.write(RecipientRouteRemoved(**by.facts(self._source.now(), org_id), value=ref)) as changed:
            await routes.remove_route(changed, org_id, found.value_hash)

    async def set_transport(self, org_id: OrgId, level: str, portal_after_hours: int | None, by: By) -> None:
        """Raises InputRefused."""
        if level not in set(Level):
            raise InputRefused("The level is encrypt or verify.", "level")
        if portal_after_hours is not None and not 1 <= portal_after_hours <= MOST_HOURS:
            raise InputRefused(f"Give a number of hours from 1 to {MOST_HOURS}, or none.", "hours")
        wanted = Level(level)
        event = TransportSet(
            **by.facts(self._source.now(), org_id), level=wanted, portal_after_hours=portal_after_hours
        )
        async with self._db.write(event) as changed:
            await routes.set_transport(changed, org_id, wanted, portal_after_hours)


def _value(text: str) -> tuple[str, str]:
    """Kind and normal form of an address or a domain. Raises InputRefused."""
    try:
        return ("address", str(address(text))) if "@" in text else ("domain", domain_name(text))
    except ValueError:
        raise InputRefused("This is neither a mail address nor a domain name.", "value") from None
