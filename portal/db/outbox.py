"""The outbox: mail that must go out, as rows. Claimed by lease, so that one worker or ten is the same code."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, func, insert, select, update

from portal.db.hot import Hot, Statement
from portal.db.tables import micros, outbox
from portal.db.tx import BookkeepingTx, ReadTx
from portal.model.ids import DeliveryId, EpochId, JobId, OrgId
from portal.model.mails import MailKind, give_up_at

_ADD = Hot(
    lambda insert: insert(outbox).values(
        {column: bindparam(column.name, type_=column.type) for column in outbox.columns}
    ),
    returns_rows=False,
)


@dataclass(frozen=True)
class Job:
    """A mail to send. `payload_sealed` is all it says and where it goes; it is deleted when the job is settled.

    `delivery_id` names the delivery that it tells of. A mail to staff, about themselves or about many messages, tells of none.
    """

    id: JobId
    org_id: OrgId
    kind: str
    delivery_id: DeliveryId | None
    subject_id: str | None
    epoch_id: EpochId | None
    payload_sealed: bytes | None
    made_at: datetime
    due_at: datetime
    give_up_at: datetime
    return_hash: bytes | None = None
    attempts: int = 0


def job_for(
    job_id: str,
    org_id: OrgId,
    kind: MailKind,
    delivery_id: DeliveryId | None,
    now: datetime,
    *,
    subject_id: str | None = None,
    epoch_id: EpochId | None = None,
    payload_sealed: bytes | None = None,
    return_hash: bytes | None = None,
) -> Job:
    """A job that is due now, and tried as long as its kind is worth it."""
    return Job(
        id=JobId(job_id),
        org_id=org_id,
        kind=kind.value,
        delivery_id=delivery_id,
        subject_id=subject_id,
        epoch_id=epoch_id,
        payload_sealed=payload_sealed,
        made_at=now,
        due_at=now,
        give_up_at=give_up_at(kind, now),
        return_hash=return_hash,
    )


def _values(job: Job) -> dict[str, Any]:
    return {**dict.fromkeys((c.name for c in outbox.columns), None), **vars(job), "state": "queued"}


def add(job: Job) -> Statement:
    values = {name: micros(value) if isinstance(value, datetime) else value for name, value in _values(job).items()}
    return Statement(_ADD, values)


async def enqueue(tx: BookkeepingTx, *jobs: Job) -> None:
    for job in jobs:
        await tx.change(insert(outbox).values(_values(job)))


def _job(row: Row[Any]) -> Job:
    return Job(**{name: getattr(row, name) for name in Job.__dataclass_fields__})


async def claim(tx: BookkeepingTx, holder: str, now: datetime, lease_until: datetime, limit: int) -> list[Job]:
    """Takes due jobs, and those whose lease ran out, for `holder`."""
    due = (outbox.c.state == "queued", outbox.c.due_at <= now)
    free = outbox.c.lease_until.is_(None) | (outbox.c.lease_until <= now)
    statement = (
        select(outbox).where(*due, free).order_by(outbox.c.due_at).limit(limit).with_for_update(skip_locked=True)
    )
    jobs = [_job(row) for row in await tx.rows(statement)]
    if jobs:
        values = {"lease_holder": holder, "lease_until": lease_until, "attempts": outbox.c.attempts + 1}
        await tx.change(update(outbox).where(outbox.c.id.in_([job.id for job in jobs])).values(values))
    return jobs


@dataclass(frozen=True)
class Settled:
    """How a job ended: `done`, `failed` or `dropped`; and what the submission host said."""

    state: str
    at: datetime
    host: str = ""
    tls: str = ""
    answer: str = ""


async def settle(tx: BookkeepingTx, job: Job, settled: Settled) -> bool:
    """Ends a job, and says whether it was still open. What it said is forgotten."""
    values = {
        "state": settled.state,
        "settled_at": settled.at,
        "host": settled.host[:255],
        "tls": settled.tls[:80],
        "answer": settled.answer[:500],
        "lease_until": None,
        "payload_sealed": None,
        "epoch_id": None,
    }
    return await tx.change(update(outbox).where(outbox.c.id == job.id, outbox.c.state == "queued").values(values)) == 1


async def came_back(tx: BookkeepingTx, job: Job, answer: str) -> None:
    """A mail that a host had taken was returned: its page is to say so."""
    await tx.change(
        update(outbox).where(outbox.c.id == job.id, outbox.c.state == "done").values(state="failed", answer=answer)
    )


async def put_back(tx: BookkeepingTx, job: Job, due_at: datetime, answer: str) -> None:
    """Leaves a job for later."""
    values = {"due_at": due_at, "lease_until": None, "answer": answer[:500]}
    await tx.change(update(outbox).where(outbox.c.id == job.id, outbox.c.state == "queued").values(values))


async def release(tx: BookkeepingTx, holder: str) -> int:
    """Gives back what a worker that is going away has not done."""
    values = {"lease_until": None, "lease_holder": None}
    return await tx.change(
        update(outbox).where(outbox.c.lease_holder == holder, outbox.c.state == "queued").values(values)
    )


async def by_return_hash(tx: ReadTx, return_hash: bytes) -> Job | None:
    row = await tx.row(select(outbox).where(outbox.c.return_hash == return_hash))
    return _job(row) if row else None


async def next_due(tx: ReadTx) -> datetime | None:
    row = await tx.row(select(func.min(outbox.c.due_at)).where(outbox.c.state == "queued"))
    return row[0] if row else None


async def stuck(tx: ReadTx, before: datetime) -> int:
    """How many jobs have been due since before `before`."""
    row = await tx.row(
        select(func.count()).select_from(outbox).where(outbox.c.state == "queued", outbox.c.made_at < before)
    )
    return int(row[0]) if row else 0


@dataclass(frozen=True)
class Sent:
    """A mail about a delivery, as the timeline shows it."""

    kind: str
    state: str
    made_at: datetime
    settled_at: datetime | None
    host: str | None
    tls: str | None
    answer: str | None


async def of_delivery(tx: ReadTx, delivery_id: DeliveryId) -> list[Sent]:
    wanted = (
        outbox.c.kind,
        outbox.c.state,
        outbox.c.made_at,
        outbox.c.settled_at,
        outbox.c.host,
        outbox.c.tls,
        outbox.c.answer,
    )
    statement = select(*wanted).where(outbox.c.delivery_id == delivery_id).order_by(outbox.c.id)
    return [Sent(**row._mapping) for row in await tx.rows(statement)]
