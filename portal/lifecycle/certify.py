"""Certificates of disposition: what was destroyed, when, why and by which rule, with a hash of the record about it. Signed.

A certificate is a C2SP signed note (https://c2sp.org/signed-note): text that people read, and an Ed25519 signature that
`portal certificate verify` and any other verifier of such notes checks. Destroyed messages wait for theirs in rows, so that none is
forgotten by a crash.
"""

import hashlib
import json
from datetime import UTC, datetime

from portal.clock import Source
from portal.db import audit, certificates, deliveries, messages, orgs
from portal.db.audit import Filter, Recorded
from portal.db.certificates import Certificate
from portal.db.engine import Database, Stale
from portal.db.messages import MessageRow
from portal.lifecycle.end import WORKER
from portal.model.errors import NotFound
from portal.model.events import By, CertificateIssued, MessageDisposed, ReportRead
from portal.model.ids import CertificateId, EventId, OrgId
from portal.sealing.sign import NoteSigner

_AT_ONCE = 500
_PAGE = 500


class Certificates:
    """See the module."""

    def __init__(self, db: Database, signer: NoteSigner, source: Source) -> None:
        self._db, self._signer, self._source = db, signer, source

    async def issue(self) -> list[Certificate]:
        """Certifies what was destroyed and has no certificate yet: one an organisation and turn."""
        made: list[Certificate] = []
        while True:
            async with self._db.read() as tx:
                waiting = await messages.uncertified(tx, _AT_ONCE)
            if not waiting:
                return made
            batch = [one for one in waiting if one.org_id == waiting[0].org_id]
            try:
                made.append(await self._issue(batch))
            except Stale:  # another worker was faster
                return made

    async def every(self, org_id: OrgId) -> list[Certificate]:
        """Newest first."""
        async with self._db.read() as tx:
            return await certificates.of_org(tx, org_id)

    async def one(self, org_id: OrgId, certificate_id: str, by: By) -> Certificate:
        """Raises NotFound. The look is on record."""
        async with self._db.read() as tx:
            found = await certificates.one(tx, org_id, certificate_id)
        if found is None:
            raise NotFound("no such certificate")
        await self._db.record(
            ReportRead(**by.facts(self._source.now(), org_id), report="certificate", rows=found.messages)
        )
        return found

    @property
    def verifier(self) -> str:
        """The key that certificates are checked by."""
        return self._signer.verifier

    async def _issue(self, batch: list[MessageRow]) -> Certificate:
        org_id, now = batch[0].org_id, self._source.now()
        async with self._db.read() as tx:
            organisation = await orgs.by_id(tx, org_id)
        assert organisation is not None
        certificate_id = CertificateId(self._source.new_id())
        lines = [
            f"{self._signer.name}/disposition",
            f"certificate {certificate_id}",
            f"organisation {organisation.id} {organisation.slug}",
            f"issued {_utc(now)}",
            "rule retention: the time to keep them was over, and no hold kept them",
            f"messages {len(batch)}",
            *[await self._line(one) for one in batch],
        ]
        note = self._signer.sign("\n".join(lines) + "\n")
        certificate = Certificate(certificate_id, org_id, len(batch), note, now)
        digest = hashlib.sha256(note.encode()).hexdigest()
        event = CertificateIssued(
            **WORKER.facts(now, org_id), certificate=certificate_id, messages=len(batch), digest=digest
        )
        async with self._db.write(event) as tx:
            if await messages.certified(tx, [one.id for one in batch]) != len(batch):
                raise Stale("another worker certifies these")
            await certificates.add(tx, certificate)
        return certificate

    async def _line(self, message: MessageRow) -> str:
        """A message: its life, and a hash of every event on record about it, up to its end: looks at what is left come later."""
        async with self._db.read() as tx:
            parts = await deliveries.of_message(tx, message.id)
            policy = await deliveries.policy_name(tx, message.id)
        assert message.disposed_at is not None
        times = f"accepted {_utc(message.accepted_at)} kept-until {_utc(message.retain_until)} destroyed {_utc(message.disposed_at)}"
        evidence = await self._evidence(message)
        return (
            f"{message.id} {times} class {policy.replace(' ', '/')} deliveries {len(parts)} evidence sha256:{evidence}"
        )

    async def _evidence(self, message: MessageRow) -> str:
        digest, after = hashlib.sha256(), None
        while True:
            async with self._db.read() as tx:
                found = await audit.page(tx, Filter(message_id=message.id), after, _PAGE)
            for one in found:
                digest.update(evidence_line(one))
                if one.kind == MessageDisposed.__name__:
                    return digest.hexdigest()
            if len(found) < _PAGE:
                return digest.hexdigest()
            after = EventId(found[-1].id)


def evidence_line(line: Recorded) -> bytes:
    """An event as it goes into the hash: JSON with sorted keys, one a line, as `portal audit export` writes it."""
    values = {**vars(line), "at": line.at.isoformat()}
    return (json.dumps(values, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")
