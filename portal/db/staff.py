"""Staff: who they are, invitations, passkeys, sessions and emailed codes. Apart from everything that recipients have."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import Row, and_, bindparam, func, insert, or_, select, update
from sqlalchemy import delete as delete_from

from portal.db.engine import Database
from portal.db.hot import Hot, Statement
from portal.db.tables import instant, micros, organisations, staff_codes, staff_invites, staff_passkeys, staff_sessions
from portal.db.tables import staff as t
from portal.db.tx import BookkeepingTx, ReadTx, WriteTx
from portal.model.events import (
    NewsChosen,
    StaffCodeRequested,
    StaffDisabled,
    StaffInvited,
    StaffJoined,
    StaffPasskeyAdded,
    StaffPasskeyRemoved,
    StaffProved,
    StaffRoleChanged,
    StaffSessionsEnded,
    StaffSignedIn,
    StaffSignedOut,
)
from portal.model.ids import CodeId, EpochId, OrgId, PasskeyId, StaffId
from portal.model.staff import Role

_NO_EPOCH = EpochId("")


@dataclass(frozen=True)
class Member:
    """A member of the staff; the address is sealed. `subject_hash` is of the identity provider's name for her."""

    id: StaffId
    org_id: OrgId
    role: Role
    address_hash: bytes
    address_sealed: bytes
    epoch_id: EpochId
    added_at: datetime
    subject_hash: bytes | None = None
    news: str = "off"
    news_at: datetime | None = None
    disabled_at: datetime | None = None


def _member(row: Row[Any]) -> Member:
    values = {name: getattr(row, name) for name in Member.__dataclass_fields__}
    return Member(**{**values, "role": Role(row.role)})


async def add(tx: WriteTx[StaffInvited | StaffJoined], member: Member) -> None:
    """Raises Duplicate when the organisation has somebody with this address."""
    await tx.change(insert(t).values({**vars(member), "role": member.role.value}))


async def one(tx: ReadTx, org_id: OrgId, staff_id: str) -> Member | None:
    row = await tx.row(select(t).where(t.c.org_id == org_id, t.c.id == staff_id))
    return _member(row) if row else None


async def by_address(tx: ReadTx, org_id: OrgId, address_hash: bytes) -> Member | None:
    row = await tx.row(select(t).where(t.c.org_id == org_id, t.c.address_hash == address_hash))
    return _member(row) if row else None


async def by_subject(tx: ReadTx, org_id: OrgId, subject_hash: bytes) -> Member | None:
    row = await tx.row(select(t).where(t.c.org_id == org_id, t.c.subject_hash == subject_hash))
    return _member(row) if row else None


async def of_org(tx: ReadTx, org_id: OrgId, limit: int = 500) -> list[Member]:
    """The staff of an organisation who were invited, oldest first; senders who came by themselves stand behind."""
    statement = select(t).where(t.c.org_id == org_id).order_by(t.c.role == Role.SENDER.value, t.c.id).limit(limit)
    return [_member(row) for row in await tx.rows(statement)]


async def admins(tx: ReadTx, org_id: OrgId) -> int:
    """How many admins can get in: not disabled, and with a passkey or the identity provider. The organisation's row is locked."""
    await tx.row(select(organisations.c.id).where(organisations.c.id == org_id).with_for_update())
    has_key = select(staff_passkeys.c.id).where(staff_passkeys.c.staff_id == t.c.id).exists()
    able = has_key | t.c.subject_hash.is_not(None)
    statement = select(func.count()).select_from(t)
    row = await tx.row(
        statement.where(t.c.org_id == org_id, t.c.role == Role.ADMIN.value, t.c.disabled_at.is_(None), able)
    )
    return int(row[0]) if row else 0


async def set_role(tx: WriteTx[StaffRoleChanged], member: Member, role: Role) -> bool:
    """Says whether she still had the role she was looked at with. A sender's passkeys go: only a mailbox stands behind them."""
    if member.role is Role.SENDER:
        await tx.change(delete_from(staff_passkeys).where(staff_passkeys.c.staff_id == member.id))
    same = (t.c.id == member.id, t.c.role == member.role.value, t.c.disabled_at.is_(None))
    return await tx.change(update(t).where(*same).values(role=role.value)) == 1


async def disable(tx: WriteTx[StaffDisabled], member: Member) -> bool:
    open_still = (t.c.id == member.id, t.c.role == member.role.value, t.c.disabled_at.is_(None))
    await tx.change(delete_from(staff_passkeys).where(staff_passkeys.c.staff_id == member.id))
    return await tx.change(update(t).where(*open_still).values(disabled_at=tx.event.at)) == 1


async def enable(tx: WriteTx[StaffInvited], staff_id: StaffId, role: Role) -> None:
    """Whoever is invited anew is let in again, in the role that the invitation names. It binds a new passkey, in the place of all
    she had: so she notices when somebody else holds the link."""
    await tx.change(delete_from(staff_passkeys).where(staff_passkeys.c.staff_id == staff_id))
    await tx.change(update(t).where(t.c.id == staff_id).values(disabled_at=None, role=role.value))


async def keep_subject(tx: WriteTx[StaffSignedIn | StaffProved], staff_id: StaffId, subject_hash: bytes) -> None:
    await tx.change(update(t).where(t.c.id == staff_id).values(subject_hash=subject_hash))


async def choose_news(tx: WriteTx[NewsChosen], staff_id: StaffId, news: str) -> None:
    await tx.change(update(t).where(t.c.id == staff_id).values(news=news, news_at=tx.event.at))


async def wanting_news(tx: ReadTx, daily_before: datetime, each_before: datetime, limit: int) -> list[Member]:
    """Senders who want news and were not told since these moments."""
    due = or_(
        and_(t.c.news == "daily", t.c.news_at <= daily_before), and_(t.c.news == "each", t.c.news_at <= each_before)
    )
    return [_member(row) for row in await tx.rows(select(t).where(t.c.disabled_at.is_(None), due).limit(limit))]


async def told_news(tx: BookkeepingTx, member: Member, at: datetime) -> bool:
    same = (t.c.id == member.id, t.c.news_at == member.news_at)
    return await tx.change(update(t).where(*same).values(news_at=at)) == 1


# -- invitations


@dataclass(frozen=True)
class Invite:
    """An invitation that is open."""

    token_hash: bytes
    org_id: OrgId
    staff_id: StaffId
    made_at: datetime
    expires_at: datetime


async def invite(tx: WriteTx[StaffInvited], made: Invite) -> None:
    """Earlier invitations of the same person are void."""
    await tx.change(
        update(staff_invites)
        .where(staff_invites.c.staff_id == made.staff_id, staff_invites.c.used_at.is_(None))
        .values(used_at=made.made_at)
    )
    await tx.change(insert(staff_invites).values(vars(made)))


async def open_invite(tx: ReadTx, token_hash: bytes, now: datetime) -> Invite | None:
    good = (
        staff_invites.c.token_hash == token_hash,
        staff_invites.c.used_at.is_(None),
        staff_invites.c.expires_at > now,
    )
    row = await tx.row(select(staff_invites).where(*good))
    return Invite(row.token_hash, row.org_id, row.staff_id, row.made_at, row.expires_at) if row else None


async def use_invite(tx: WriteTx[StaffPasskeyAdded], token_hash: bytes) -> bool:
    unused = (staff_invites.c.token_hash == token_hash, staff_invites.c.used_at.is_(None))
    return await tx.change(update(staff_invites).where(*unused).values(used_at=tx.event.at)) == 1


# -- passkeys


@dataclass(frozen=True)
class StaffPasskey:
    """A credential bound to a member of the staff."""

    id: PasskeyId
    org_id: OrgId
    staff_id: StaffId
    credential_id: bytes
    public_key: bytes
    sign_count: int
    backup_eligible: bool
    backed_up: bool
    transports: str
    name: str
    made_at: datetime
    used_at: datetime | None = None


def _passkey(row: Row[Any]) -> StaffPasskey:
    return StaffPasskey(**{name: getattr(row, name) for name in StaffPasskey.__dataclass_fields__})


async def passkey_by_credential(tx: ReadTx, credential_id: bytes) -> StaffPasskey | None:
    row = await tx.row(select(staff_passkeys).where(staff_passkeys.c.credential_id == credential_id))
    return _passkey(row) if row else None


async def passkeys_of(tx: ReadTx, staff_id: StaffId) -> list[StaffPasskey]:
    rows = await tx.rows(
        select(staff_passkeys).where(staff_passkeys.c.staff_id == staff_id).order_by(staff_passkeys.c.id)
    )
    return [_passkey(row) for row in rows]


async def passkeys_counted(tx: ReadTx, org_id: OrgId) -> dict[StaffId, int]:
    """How many passkeys the staff of an organisation have; who has none is not here."""
    c = staff_passkeys.c
    counted = select(c.staff_id, func.count().label("keys")).where(c.org_id == org_id).group_by(c.staff_id)
    return {StaffId(row.staff_id): row.keys for row in await tx.rows(counted)}


async def add_passkey(tx: WriteTx[StaffPasskeyAdded], passkey: StaffPasskey) -> None:
    """Raises Duplicate when the credential is bound already."""
    await tx.change(insert(staff_passkeys).values(vars(passkey)))


async def used_passkey(
    tx: WriteTx[StaffSignedIn | StaffProved], passkey: StaffPasskey, sign_count: int, *, backed_up: bool
) -> bool:
    values = {"used_at": tx.event.at, "sign_count": sign_count, "backed_up": backed_up}
    return await tx.change(update(staff_passkeys).where(staff_passkeys.c.id == passkey.id).values(values)) == 1


async def remove_passkey(tx: WriteTx[StaffPasskeyRemoved], passkey: StaffPasskey) -> bool:
    """Removes one, unless it is the last: the others are locked and counted in the same transaction."""
    mine = select(staff_passkeys.c.id).where(staff_passkeys.c.staff_id == passkey.staff_id).with_for_update()
    if len(await tx.rows(mine)) < 2:
        return False
    return await tx.change(delete_from(staff_passkeys).where(staff_passkeys.c.id == passkey.id)) == 1


# -- sessions


@dataclass(frozen=True)
class StaffSession:
    """A session as it stands, with what its pages say of the person and of the organisation."""

    token_hash: bytes
    org_id: OrgId
    staff_id: StaffId
    method: str
    agent: str
    started_at: datetime
    proved_at: datetime
    seen_at: datetime
    ends_at: datetime
    role: Role = Role.SENDER
    address_hash: bytes = b""
    address_sealed: bytes = b""
    epoch_id: EpochId = _NO_EPOCH
    org_name: str = ""
    org_slug: str = ""

    @property
    def ref(self) -> str:
        return self.token_hash.hex()


_OWN = ("token_hash", "org_id", "staff_id", "method", "agent", "started_at", "proved_at", "seen_at", "ends_at")
_BY_TOKEN = Hot(
    lambda insert: (
        select(
            *(staff_sessions.c[name] for name in _OWN[1:]),
            t.c.role,
            t.c.address_hash,
            t.c.address_sealed,
            t.c.epoch_id,
            organisations.c.name,
            organisations.c.slug,
        )
        .join(t, t.c.id == staff_sessions.c.staff_id)
        .join(organisations, organisations.c.id == staff_sessions.c.org_id)
        .where(
            staff_sessions.c.token_hash == bindparam("token_hash"),
            staff_sessions.c.ended_at.is_(None),
            t.c.disabled_at.is_(None),
        )
    )
)
_SEEN = Hot(
    lambda insert: (
        update(staff_sessions)
        .where(staff_sessions.c.token_hash == bindparam("hash"))
        .values(seen_at=bindparam("at", type_=staff_sessions.c.seen_at.type))
    ),
    returns_rows=False,
)


async def session(db: Database, token_hash: bytes) -> StaffSession | None:
    """The session of a cookie, unless it was ended or its owner shut out; whether it is over by time is for the caller to see."""
    row = await db.row(_BY_TOKEN, token_hash=token_hash)
    if row is None:
        return None
    org_id, staff_id, method, agent, started, proved, seen_at, ends, role, *rest = row
    return StaffSession(
        token_hash,
        org_id,
        staff_id,
        method,
        agent or "",
        instant(started),
        instant(proved),
        instant(seen_at),
        instant(ends),
        Role(role),
        *rest,
    )


def seen(token_hash: bytes, at: datetime) -> Statement:
    return Statement(_SEEN, {"hash": token_hash, "at": micros(at)})


async def start(tx: WriteTx[StaffSignedIn | StaffProved | StaffPasskeyAdded], begun: StaffSession) -> None:
    await tx.change(insert(staff_sessions).values({name: getattr(begun, name) for name in _OWN}))


async def end(tx: WriteTx[StaffSignedOut | StaffProved | StaffSessionsEnded], token_hash: bytes) -> bool:
    open_still = (staff_sessions.c.token_hash == token_hash, staff_sessions.c.ended_at.is_(None))
    return await tx.change(update(staff_sessions).where(*open_still).values(ended_at=tx.event.at)) == 1


Ending: TypeAlias = StaffSessionsEnded | StaffRoleChanged | StaffDisabled | StaffPasskeyRemoved | StaffInvited


async def end_all(tx: WriteTx[Ending], staff_id: StaffId, keep: bytes | None = None) -> int:
    mine = (staff_sessions.c.staff_id == staff_id, staff_sessions.c.ended_at.is_(None))
    others = mine if keep is None else (*mine, staff_sessions.c.token_hash != keep)
    return await tx.change(update(staff_sessions).where(*others).values(ended_at=tx.event.at))


async def open_sessions(tx: ReadTx, staff_id: StaffId, now: datetime, idle_since: datetime) -> list[StaffSession]:
    mine = (staff_sessions.c.staff_id == staff_id, staff_sessions.c.ended_at.is_(None))
    fresh = (staff_sessions.c.ends_at > now, staff_sessions.c.seen_at > idle_since)
    rows = await tx.rows(select(staff_sessions).where(*mine, *fresh).order_by(staff_sessions.c.seen_at.desc()))
    return [StaffSession(**{name: getattr(row, name) for name in _OWN} | {"agent": row.agent or ""}) for row in rows]


# -- emailed codes, for senders


@dataclass(frozen=True)
class StaffCode:
    """A code under way to a sender's address, for one browser."""

    id: CodeId
    org_id: OrgId
    address_hash: bytes
    browser_hash: bytes
    code_hash: bytes
    reference: str
    made_at: datetime
    expires_at: datetime
    tries: int = 0
    used_at: datetime | None = None


async def add_code(tx: WriteTx[StaffCodeRequested], code: StaffCode) -> None:
    await tx.change(insert(staff_codes).values(vars(code)))


async def codes_sent(
    tx: WriteTx[StaffCodeRequested], org_id: OrgId, address_hash: bytes, since: datetime, browser_hash: bytes | None
) -> list[datetime]:
    """When codes were sent to an address, to one browser or (None) to any, oldest first. The organisation's row is locked: two can't
    both send the last one allowed."""
    await tx.row(select(organisations.c.id).where(organisations.c.id == org_id).with_for_update(key_share=True))
    c = staff_codes.c
    by = () if browser_hash is None else (c.browser_hash == browser_hash,)
    rows = await tx.rows(
        select(c.made_at)
        .where(c.org_id == org_id, c.address_hash == address_hash, c.made_at > since, *by)
        .order_by(c.made_at)
    )
    return [row.made_at for row in rows]


async def codes_of_browser(tx: ReadTx, browser_hash: bytes, now: datetime) -> list[StaffCode]:
    """The codes that may be typed in this browser, newest first."""
    c = staff_codes.c
    good = (c.browser_hash == browser_hash, c.used_at.is_(None), c.expires_at > now)
    rows = await tx.rows(select(staff_codes).where(*good).order_by(c.made_at.desc()).limit(5))
    return [StaffCode(**row._mapping) for row in rows]


async def count_try(tx: BookkeepingTx, code: StaffCode, most: int) -> bool:
    """Counts a try at a code before it is compared; says whether it may be made."""
    c = staff_codes.c
    left = (c.id == code.id, c.tries < most, c.used_at.is_(None))
    return await tx.change(update(staff_codes).where(*left).values(tries=c.tries + 1)) == 1


async def use_code(tx: WriteTx[StaffSignedIn | StaffProved], code: StaffCode) -> bool:
    """Says whether it had not been used before."""
    unused = (staff_codes.c.id == code.id, staff_codes.c.used_at.is_(None))
    return await tx.change(update(staff_codes).where(*unused).values(used_at=tx.event.at)) == 1


async def forget_old(tx: BookkeepingTx, before: datetime) -> None:
    """Lapsed codes and invitations, and sessions that are long over."""
    await tx.change(delete_from(staff_codes).where(staff_codes.c.made_at < before))
    await tx.change(delete_from(staff_invites).where(staff_invites.c.expires_at < before))
