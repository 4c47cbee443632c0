"""Tells a person, at every address that is or was hers, that something changed about how she gets in."""

from collections.abc import Callable

from portal.clock import Source
from portal.db import outbox, people
from portal.db.engine import Database
from portal.model.ids import JobId, OrgId, RecipientId
from portal.model.links import path_hash, return_token
from portal.model.mails import MailKind
from portal.model.notice import ChangePayload
from portal.sealing import Field
from portal.sealing.open import Fields
from portal.sealing.seal import Sealer


class Tell:
    """See the module. `wake` tells the worker of this process that a mail is queued."""

    def __init__(self, db: Database, sealer: Sealer, fields: Fields, source: Source, wake: Callable[[], None]) -> None:
        self._db, self._sealer, self._fields = db, sealer, fields
        self._source, self._wake = source, wake

    async def addresses(self, org_id: OrgId, recipient_id: RecipientId) -> list[str]:
        """Every known address, the present one first."""
        async with self._db.read() as tx:
            kept = await people.known_addresses(tx, recipient_id)
        return [
            (await self._fields.open(org_id, one.row_id, "address", Field(one.epoch_id, one.address_sealed))).decode()
            for one in kept
        ]

    async def jobs(
        self,
        org_id: OrgId,
        recipient_id: RecipientId,
        about: str,
        language: str,
        *,
        stop_token: str = "",
        stop_letters: str = "",
        detail: str = "",
    ) -> list[outbox.Job]:
        """The mails to queue, one an address; for the transaction of what they tell of."""
        async with self._db.read() as tx:
            newest = await people.newest_delivery(tx, recipient_id)
        if newest is None:
            return []
        made = []
        for to in await self.addresses(org_id, recipient_id):
            back, job_id = return_token(self._source.random(16)), JobId(self._source.new_id())
            payload = ChangePayload(about, to, language, back, stop_token, stop_letters, detail)
            field = await self._sealer.field(org_id, job_id, MailKind.CHANGED.value, payload.dump())
            made.append(
                outbox.job_for(
                    job_id,
                    org_id,
                    MailKind.CHANGED,
                    newest[0],
                    self._source.now(),
                    epoch_id=field.epoch_id,
                    payload_sealed=field.sealed,
                    return_hash=path_hash(back),
                )
            )
        return made

    def wake(self) -> None:
        self._wake()
