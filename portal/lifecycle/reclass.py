"""Puts a message under a stricter class after it was taken in: never a weaker one, and never one that strands a recipient."""

from collections.abc import Sequence

from portal.clock import Source
from portal.db import deliveries, given, holds, messages, orgs, threads
from portal.db.deliveries import Delivery
from portal.db.engine import Database
from portal.db.tx import ReadTx
from portal.model.assurance import Assurance, Method, Proof, reach
from portal.model.errors import InputRefused
from portal.model.events import By, ClassRaised
from portal.model.ids import MessageId, OrgId
from portal.model.message import READABLE, DeliveryState
from portal.model.policy import Policy, Scan


class Reclass:
    """See the module."""

    def __init__(self, db: Database, source: Source) -> None:
        self._db, self._source = db, source

    async def raise_to(self, org_id: OrgId, message_id: MessageId, policy_name: str, by: By) -> Policy:
        """The whole message, for all its recipients. Raises InputRefused."""
        async with self._db.read() as tx:
            classes = {one.name: one for one in await orgs.policies_in_force(tx, org_id)}
            every = [one for one in await deliveries.of_message(tx, message_id) if one.org_id == org_id]
            before = await deliveries.policy_name(tx, message_id)
        # What was sent on may wait here again: it comes back under the class of its message.
        gone = [one for one in every if one.state is DeliveryState.GRADUATED]
        wanted = classes.get(policy_name)
        alive = [one for one in every if one.state in READABLE or one.state is DeliveryState.UNSCANNED]
        if wanted is None:
            raise InputRefused("There is no class of that name.", "policy_name")
        if not alive:
            raise InputRefused("Nobody can read this message any more: there is nothing to protect further.")
        if any(wanted.assurance < one.needs for one in alive) or f"{wanted.name} {wanted.version}" == before:
            raise InputRefused(
                "A message can only be put under a class that asks for no less than it does now.", "policy_name"
            )
        await self._check_scan(message_id, wanted)
        await self._check_reach(alive, wanted)
        retain_until = wanted.retain_until(every[0].accepted_at)
        event = ClassRaised(
            **by.facts(self._source.now(), org_id, message_id),
            before=before,
            name=f"{wanted.name} {wanted.version}",
            needs=int(wanted.assurance),
        )
        async with self._db.write(event) as changed:
            await self._check_holds(changed, org_id, message_id, wanted)
            await deliveries.raise_message(changed, message_id, wanted)
            await messages.keep_until(changed, message_id, retain_until)
            await threads.lift(changed, org_id, message_id, wanted.assurance)
            for one in (*alive, *gone):
                if not await deliveries.raise_class(changed, one, wanted, max(one.needs, wanted.assurance)):
                    raise InputRefused("Somebody opened or changed it at this very moment. Look again, then repeat it.")
        return wanted

    async def _check_holds(self, tx: ReadTx, org_id: OrgId, message_id: MessageId, wanted: Policy) -> None:
        """A hold by class keeps what is under it: under another class it would keep this message no longer."""
        await holds.lock(tx, org_id)
        by_class = [one.criteria.policy_name for one in await holds.of_message(tx, message_id)]
        if any(name not in (None, wanted.name) for name in by_class):
            raise InputRefused(
                "A hold keeps this message by its class. It stays under that class until the hold is released.",
                "policy_name",
            )

    async def _check_scan(self, message_id: MessageId, wanted: Policy) -> None:
        """Neither to a class that scans less, nor, read already, to one that shows nothing unscanned."""
        async with self._db.read() as tx:
            now, message = await orgs.scan_of_message(tx, message_id), await messages.one(tx, message_id)
        order = list(Scan)
        if order.index(wanted.scan) < order.index(now):
            raise InputRefused("That class asks less of the virus scanner than the message's own.", "policy_name")
        if wanted.scan is Scan.REQUIRED and now is not Scan.REQUIRED and (message is None or message.scan != "clean"):
            raise InputRefused("No virus scanner has looked at this message, which that class requires.", "policy_name")

    async def _check_reach(self, alive: Sequence[Delivery], wanted: Policy) -> None:
        """A recipient with no way to the new level must be given one first."""
        if wanted.assurance is Assurance.MAILBOX:
            return
        for one in alive:
            ways = await given.ways(self._db, one.recipient_id)
            async with self._db.read() as tx:
                if await given.access_code(tx, one.id):
                    ways.append(Proof(Method.ACCESS_CODE))
            if reach(ways) < wanted.assurance:
                raise InputRefused(
                    "A recipient has no way to sign in that strongly. Give the message an access code first, then raise its class.",
                    "policy_name",
                )
