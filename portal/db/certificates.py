"""Certificates of disposition: signed texts that say what was destroyed. Kept as long as the record."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select

from portal.db.tables import certificates as t
from portal.db.tx import ReadTx, WriteTx
from portal.model.events import CertificateIssued
from portal.model.ids import CertificateId, OrgId


@dataclass(frozen=True)
class Certificate:
    """`note` is a C2SP signed note; `messages` counts what it lists."""

    id: CertificateId
    org_id: OrgId
    messages: int
    note: str
    made_at: datetime


async def add(tx: WriteTx[CertificateIssued], certificate: Certificate) -> None:
    await tx.change(insert(t).values(vars(certificate)))


async def one(tx: ReadTx, org_id: OrgId, certificate_id: str) -> Certificate | None:
    row = await tx.row(select(t).where(t.c.org_id == org_id, t.c.id == certificate_id))
    return Certificate(**row._mapping) if row else None


async def of_org(tx: ReadTx, org_id: OrgId, limit: int = 200) -> list[Certificate]:
    """Newest first."""
    rows = await tx.rows(select(t).where(t.c.org_id == org_id).order_by(t.c.id.desc()).limit(limit))
    return [Certificate(**row._mapping) for row in rows]
