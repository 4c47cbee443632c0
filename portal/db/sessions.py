"""Sessions: who is signed in, since when, at which assurance. Found by the hash of the cookie."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import bindparam, func, select, update

from portal.db.engine import Database
from portal.db.hot import Hot, Statement
from portal.db.tables import instant, micros, organisations, recipients, sessions
from portal.db.tx import ReadTx, WriteTx
from portal.model.assurance import Assurance, Proof, read_proofs
from portal.model.events import (
    MemberNamed,
    PasskeyRemoved,
    RecoveryApplied,
    SessionEnded,
    SignedIn,
    SignedOut,
    SteppedUp,
)
from portal.model.ids import MemberId, OrgId, PasskeyId, RecipientId


@dataclass(frozen=True)
class Session:
    """A session as it stands, with what its pages say of the organisation. `proofs` is written as in portal/model/assurance.py."""

    token_hash: bytes
    org_id: OrgId
    recipient_id: RecipientId
    assurance: Assurance
    method: str
    started_at: datetime
    seen_at: datetime
    ends_at: datetime
    proofs: str
    proved_at: datetime
    passkey_id: PasskeyId | None = None
    member_id: MemberId | None = None
    agent: str = ""
    place: str = ""
    org_name: str = ""
    org_address: str = ""
    org_phone: str = ""
    org_look: str = ""
    org_host: str = ""
    shared: bool = False

    @property
    def proven(self) -> frozenset[Proof]:
        return read_proofs(self.proofs)

    @property
    def ref(self) -> str:
        """How the record and the owner's list call it: the hash of its cookie, from which nobody makes the cookie."""
        return self.token_hash.hex()


_BY_TOKEN = Hot(
    lambda insert: (
        select(
            sessions.c.org_id,
            sessions.c.recipient_id,
            sessions.c.assurance,
            sessions.c.method,
            sessions.c.started_at,
            sessions.c.seen_at,
            sessions.c.ends_at,
            sessions.c.proofs,
            func.coalesce(sessions.c.proved_at, sessions.c.started_at),
            sessions.c.passkey_id,
            sessions.c.member_id,
            sessions.c.agent,
            sessions.c.place,
            organisations.c.name,
            organisations.c.address,
            organisations.c.phone,
            organisations.c.look,
            organisations.c.host,
            recipients.c.shared_at,
        )
        .join(organisations, organisations.c.id == sessions.c.org_id)
        .join(recipients, recipients.c.id == sessions.c.recipient_id)
        .where(sessions.c.token_hash == bindparam("token_hash"), sessions.c.ended_at.is_(None))
    )
)
_LAST = Hot(
    lambda insert: select(sessions.c.org_id, sessions.c.recipient_id, sessions.c.seen_at).where(
        sessions.c.token_hash == bindparam("token_hash"), sessions.c.ended_at.is_(None)
    )
)
_SEEN = Hot(
    lambda insert: (
        update(sessions)
        .where(sessions.c.token_hash == bindparam("hash"))
        .values(seen_at=bindparam("at", type_=sessions.c.seen_at.type))
    ),
    returns_rows=False,
)


async def by_token(db: Database, token_hash: bytes) -> Session | None:
    """The session of a cookie, unless it was ended; whether it is over by time is for the caller to see."""
    row = await db.row(_BY_TOKEN, token_hash=token_hash)
    if row is None:
        return None
    (
        org_id,
        recipient_id,
        assurance,
        method,
        started,
        seen,
        ends,
        proofs,
        proved,
        passkey,
        member,
        agent,
        place,
        *org,
    ) = row
    return Session(
        token_hash,
        org_id,
        recipient_id,
        Assurance(assurance),
        method,
        instant(started),
        instant(seen),
        instant(ends),
        proofs,
        instant(proved),
        passkey,
        member,
        agent or "",
        place or "",
        org[0],
        org[1],
        org[2],
        org[3] or "",
        org[4] or "",
        org[5] is not None,
    )


async def owner_of_last(db: Database, token_hash: bytes) -> tuple[OrgId, RecipientId, datetime] | None:
    """Whose session a cookie was, also when its time is over, and when it was seen last. Opens nothing.

    None for one that was ended on purpose.
    """
    row = await db.row(_LAST, token_hash=token_hash)
    return (row[0], row[1], instant(row[2])) if row else None


def seen(token_hash: bytes, at: datetime) -> Statement:
    return Statement(_SEEN, {"hash": token_hash, "at": micros(at)})


async def start(tx: WriteTx[SignedIn | SteppedUp], session: Session) -> None:
    values = {
        "token_hash": session.token_hash,
        "org_id": session.org_id,
        "recipient_id": session.recipient_id,
        "assurance": int(session.assurance),
        "method": session.method,
        "proofs": session.proofs,
        "passkey_id": session.passkey_id,
        "member_id": session.member_id,
        "agent": session.agent,
        "place": session.place,
        "started_at": session.started_at,
        "proved_at": session.proved_at,
        "seen_at": session.seen_at,
        "ends_at": session.ends_at,
    }
    await tx.change(sessions.insert().values(values))


async def end(tx: WriteTx[SignedOut | SteppedUp | SessionEnded], token_hash: bytes, at: datetime) -> bool:
    """Says whether it was open still."""
    open_still = (sessions.c.token_hash == token_hash, sessions.c.ended_at.is_(None))
    return await tx.change(update(sessions).where(*open_still).values(ended_at=at)) == 1


Ending: TypeAlias = SessionEnded | PasskeyRemoved | RecoveryApplied | SteppedUp


async def end_all(tx: WriteTx[Ending], recipient_id: RecipientId, keep: bytes | None = None) -> int:
    """Ends every session of a person, but the one to keep."""
    mine = (sessions.c.recipient_id == recipient_id, sessions.c.ended_at.is_(None))
    others = mine if keep is None else (*mine, sessions.c.token_hash != keep)
    return await tx.change(update(sessions).where(*others).values(ended_at=tx.event.at))


async def end_of_passkey(tx: WriteTx[PasskeyRemoved], passkey_id: PasskeyId, keep: bytes | None) -> int:
    """Ends the sessions that a passkey began or raised."""
    its = (sessions.c.passkey_id == passkey_id, sessions.c.ended_at.is_(None), sessions.c.token_hash != (keep or b""))
    return await tx.change(update(sessions).where(*its).values(ended_at=tx.event.at))


async def name_member(tx: WriteTx[MemberNamed], token_hash: bytes, member_id: MemberId) -> None:
    await tx.change(update(sessions).where(sessions.c.token_hash == token_hash).values(member_id=member_id))


@dataclass(frozen=True)
class Listed:
    """A session in its owner's list."""

    ref: str
    method: str
    started_at: datetime
    seen_at: datetime
    ends_at: datetime
    agent: str
    place: str


async def open_of(tx: ReadTx, recipient_id: RecipientId, now: datetime, idle_since: datetime) -> list[Listed]:
    """A person's sessions that are not over, the one used last first."""
    mine = (sessions.c.recipient_id == recipient_id, sessions.c.ended_at.is_(None))
    fresh = (sessions.c.ends_at > now, sessions.c.seen_at > idle_since)
    statement = select(sessions).where(*mine, *fresh).order_by(sessions.c.seen_at.desc()).limit(50)
    return [
        Listed(
            row.token_hash.hex(),
            row.method,
            row.started_at,
            row.seen_at,
            row.ends_at,
            row.agent or "",
            row.place or "",
        )
        for row in await tx.rows(statement)
    ]


async def members_by_session(tx: ReadTx, recipient_id: RecipientId, refs: Collection[str]) -> dict[str, MemberId]:
    """Who of a shared mailbox each of its sessions was."""
    hashes = [bytes.fromhex(ref) for ref in refs]
    mine = (
        sessions.c.recipient_id == recipient_id,
        sessions.c.token_hash.in_(hashes),
        sessions.c.member_id.is_not(None),
    )
    rows = await tx.rows(select(sessions.c.token_hash, sessions.c.member_id).where(*mine))
    return {row.token_hash.hex(): MemberId(row.member_id) for row in rows}
