"""A link with its reference, and the job of mailing both: for the first notice, a reminder and a notice sent again.

The link's token stands nowhere in clear but in that mail: the database has its hash, the job has it sealed.
"""

from datetime import datetime

from portal.db import links, outbox
from portal.db.hot import Statement
from portal.db.tables import micros
from portal.model.ids import DeliveryId, JobId, OrgId
from portal.model.links import TOKEN_BYTES, keyed_hash, link_token, path_hash, reference, return_token, token_hash
from portal.model.mails import MailKind
from portal.model.notice import NoticePayload
from portal.sealing.seal import Sealer


class Announcer:
    """`references_key` hashes references, which are too short for a plain hash."""

    def __init__(self, sealer: Sealer, references_key: bytes) -> None:
        self._sealer, self._key = sealer, references_key

    async def announce(
        self, org_id: OrgId, delivery_id: DeliveryId, kind: MailKind, language: str, now: datetime
    ) -> tuple[list[Statement], outbox.Job]:
        """The statements that add the link, and the job to add beside them."""
        source = self._sealer.source
        token, typed = link_token(source.random(TOKEN_BYTES)), reference(source.random(16))
        job_id = JobId(source.new_id())
        back = return_token(source.random(16))
        payload = NoticePayload(token, typed, language, back)
        field = await self._sealer.field(org_id, job_id, kind.value, payload.dump())
        link = links.add(token_hash(token), keyed_hash(self._key, typed), org_id, delivery_id, micros(now))
        job = outbox.job_for(
            job_id,
            org_id,
            kind,
            delivery_id,
            now,
            epoch_id=field.epoch_id,
            payload_sealed=field.sealed,
            return_hash=path_hash(back),
        )
        return [link], job
