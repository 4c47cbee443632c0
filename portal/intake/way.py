"""Whether a recipient is a case for the portal: the organisation's lists first, then how the relay is listened to, then the verdict.

An arbiter's relay brings whatever it could not send at once, greylisted mail and mistyped domains too. So each recipient is answered
by what his domain's hosts can do: taken in, left in the relay's queue (450), or refused for good (550). A verdict that contradicts
what the relay has just seen is found out again before it is answered by.
"""

from datetime import timedelta

from portal.clock import Source
from portal.db import limits, routes
from portal.db.engine import Database
from portal.intake import Came, Relay
from portal.model.errors import LeftToRelay, NeverHere, NobodyThere
from portal.model.parties import Address
from portal.model.routes import Level, Mode, Outcome, Route, Rule
from portal.sealing.seal import Sealer
from portal.transport import Verdict, Verdicts

_GAP = timedelta(hours=8)
"""Offers further apart than this are not one wait: relays try again within 68 minutes (Postfix) or 6 hours (Exim)."""


class Ways:
    """See the module."""

    def __init__(self, db: Database, sealer: Sealer, source: Source, verdicts: Verdicts) -> None:
        self._db, self._sealer, self._source, self._verdicts = db, sealer, source, verdicts

    async def of(self, relay: Relay, sender: Address, recipient: Address, mail: str) -> Came:
        """Why he is served here; `mail` as in `Intake.check_recipient`. Raises LeftToRelay, NobodyThere, NeverHere."""
        route = await self._set_for(relay, recipient)
        if route is Route.NEVER:
            if relay.mode is Mode.EXPLICIT:
                raise NeverHere("the organisation's list says never")
            raise LeftToRelay("the organisation's list says never")
        if route is Route.ALWAYS:
            return Came(Rule.ALWAYS)
        if relay.mode is Mode.EXPLICIT:
            return Came(Rule.MARKED)  # whether it is, the message itself shows
        if relay.mode is Mode.TRUST:
            return Came(Rule.TRUST)
        return await self._by_verdict(relay, sender, recipient, mail, route)

    async def _set_for(self, relay: Relay, recipient: Address) -> Route | None:
        address = self._sealer.index(relay.org_id, "route address", str(recipient))
        domain = self._sealer.index(relay.org_id, "route domain", recipient.domain)
        return await routes.listed(self._db, relay.org_id, address, domain)

    async def _by_verdict(
        self, relay: Relay, sender: Address, recipient: Address, mail: str, route: Route | None
    ) -> Came:
        level, hours = await routes.transport_of(self._db, relay.org_id)
        if route is not None:
            level = Level(route.value)
        found = await self._verdicts.verdict(recipient.domain, level)
        if found.outcome is Outcome.DIRECT:
            found = await self._verdicts.verdict(recipient.domain, level, fresh=True)
        if found.outcome is Outcome.PORTAL:
            return Came(found.rule, found)
        if found.outcome is Outcome.NOBODY:
            raise NobodyThere("the name servers say that nobody takes mail there")
        one = "\0".join((relay.id, mail, str(sender), str(recipient)))
        if hours is not None and await self._has_waited(relay, one, timedelta(hours=hours)):
            return Came(Rule.WAITED, found)
        raise LeftToRelay(found.outcome.value)

    async def _has_waited(self, relay: Relay, one: str, long: timedelta) -> bool:
        """Whether a relay has brought this one mail to this one recipient over and over for so long.

        Where the relay does not name the mail, all of its mail from this sender to this recipient is one.
        The counter's moment is the first offer; its count is the minutes from there to the latest.
        """
        key = self._sealer.index(relay.org_id, "waits", one)
        now, known = self._source.now(), await limits.look(self._db, key)
        if known is None or now - (known[1] + timedelta(minutes=known[0])) > _GAP:
            await limits.keep(self._db, key, now, 0)
            return False
        waited = now - known[1]
        await limits.keep(self._db, key, known[1], int(waited / timedelta(minutes=1)))
        return waited >= long


def transcript(found: Verdict) -> str:
    """What staff are shown of a verdict, a line a step."""
    stands = f"{found.at:%Y-%m-%d %H:%M:%S} UTC, level {found.level}: {found.outcome} by {found.rule}"
    return "\n".join([stands, *found.transcript])[:8000]
