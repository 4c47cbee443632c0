"""Sessions: who is signed in, since when, at which assurance. Found by the hash of the cookie."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, select, update

from portal.db.engine import Database
from portal.db.hot import Hot, Statement
from portal.db.tables import instant, micros, organisations, sessions
from portal.db.tx import WriteTx
from portal.model.assurance import Assurance
from portal.model.events import SignedIn, SignedOut
from portal.model.ids import OrgId, RecipientId


@dataclass(frozen=True)
class Session:
    """A session as it stands, with what its pages say of the organisation."""

    token_hash: bytes
    org_id: OrgId
    recipient_id: RecipientId
    assurance: Assurance
    method: str
    started_at: datetime
    seen_at: datetime
    ends_at: datetime
    org_name: str
    org_address: str
    org_phone: str


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
            organisations.c.name,
            organisations.c.address,
            organisations.c.phone,
        )
        .join(organisations, organisations.c.id == sessions.c.org_id)
        .where(sessions.c.token_hash == bindparam("token_hash"), sessions.c.ended_at.is_(None))
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
    org_id, recipient_id, assurance, method, started, seen, ends, name, address, phone = row
    times = (instant(started), instant(seen), instant(ends))
    return Session(token_hash, org_id, recipient_id, Assurance(assurance), method, *times, name, address, phone)


def seen(token_hash: bytes, at: datetime) -> Statement:
    return Statement(_SEEN, {"hash": token_hash, "at": micros(at)})


async def start(tx: WriteTx[SignedIn], session: Session) -> None:
    values = {
        "token_hash": session.token_hash,
        "org_id": session.org_id,
        "recipient_id": session.recipient_id,
        "assurance": int(session.assurance),
        "method": session.method,
        "started_at": session.started_at,
        "seen_at": session.seen_at,
        "ends_at": session.ends_at,
    }
    await tx.change(sessions.insert().values(values))


async def end(tx: WriteTx[SignedOut], token_hash: bytes, at: datetime) -> None:
    await tx.change(update(sessions).where(sessions.c.token_hash == token_hash).values(ended_at=at))
