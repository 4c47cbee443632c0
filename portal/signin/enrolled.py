"""What a person has to get in with, for the pages that list it and for the rule on changing it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from portal.db import passkeys, ways
from portal.db.engine import Database
from portal.db.sessions import Session
from portal.db.ways import App
from portal.model.assurance import Method, may_change_ways
from portal.model.errors import ProofNeeded
from portal.model.ids import RecipientId


@dataclass(frozen=True)
class Enrolled:
    """`app` is confirmed; `codes_left` are unused recovery codes."""

    passkeys: int
    app: App | None
    codes_left: int

    @property
    def methods(self) -> Collection[Method]:
        """What counts for how strong a sign-in must be that changes any of it."""
        return {Method.PASSKEY} if self.passkeys else {Method.APP} if self.app else set()


async def enrolled(db: Database, recipient_id: RecipientId) -> Enrolled:
    async with db.read() as tx:
        app = await ways.app(tx, recipient_id)
        left = await ways.codes_left(tx, recipient_id)
        count = await passkeys.count(tx, recipient_id)
    return Enrolled(count, app if app and app.confirmed_at else None, left)


async def check_may_change(db: Database, session: Session, now: datetime) -> Enrolled:
    """Raises ProofNeeded unless the session is fresh and as strong as the strongest way in."""
    has = await enrolled(db, session.recipient_id)
    if not may_change_ways(Method(session.method), has.methods, session.proved_at, now):
        raise ProofNeeded("the session is too old or too weak for this")
    return has
