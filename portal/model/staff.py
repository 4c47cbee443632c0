"""Who of the staff may do what: one table, read by the console before anything else happens, and by its tests.

Default deny. `OWN` means deliveries of messages that went out from the person's own address; what is foreign never existed. Nobody
here reads content: there is no verb for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from types import MappingProxyType

from portal.model.errors import InputRefused
from portal.model.events import By, Who
from portal.model.ids import OrgId, StaffId

INVITE_LIFE = timedelta(hours=24)
FRESH = timedelta(minutes=5)
"""How long after a sign-in, or after proving once more, dangerous acts go on."""
REASON_SIGNS = 200


class Role(StrEnum):
    SENDER = "sender"
    HELP_DESK = "help-desk"
    ADMIN = "admin"
    AUDITOR = "auditor"


class Verb(StrEnum):
    """What can be done in the console. A route has one, and each act on deliveries has its own."""

    ACCOUNT = "account"
    """One's own passkeys, sessions and news."""
    SEE = "see"
    """Lists, searches and looks at deliveries: who, when, how far; never what."""
    REVOKE = "revoke"
    RESTORE = "restore"
    EXTEND = "extend"
    EXPIRE = "expire"
    RESEND = "resend"
    ACCESS_CODE = "access-code"
    RAISE = "raise"
    RELEASE = "release"
    """Letting go on what waits for the virus scanner, unscanned."""
    MISDIRECTED = "misdirected"
    REQUESTS = "requests"
    UNREAD = "unread"
    SEE_HOLDS = "see-holds"
    HOLD = "hold"
    CERTIFICATES = "certificates"
    DISPOSE = "dispose"
    PEOPLE = "people"
    RECOVER = "recover"
    FALLBACK = "fallback"
    CLASSES = "classes"
    LOOK = "look"
    STAFF = "staff"
    RECORD = "record"


class Scope(IntEnum):
    NONE = 0
    OWN = 1
    ORG = 2


_SENDER = {
    Verb.ACCOUNT, Verb.SEE, Verb.REVOKE, Verb.RESTORE, Verb.EXTEND, Verb.EXPIRE, Verb.RESEND, Verb.ACCESS_CODE, Verb.RAISE,
    Verb.MISDIRECTED, Verb.REQUESTS, Verb.UNREAD,
}  # fmt: skip
_HELP_DESK = {Verb.ACCOUNT, Verb.SEE, Verb.RESEND, Verb.PEOPLE, Verb.RECOVER}
_AUDITOR = {Verb.ACCOUNT, Verb.RECORD, Verb.UNREAD, Verb.SEE_HOLDS, Verb.CERTIFICATES}
_NOT_AN_ADMINS = {Verb.RECORD}
MATRIX: Mapping[Role, Mapping[Verb, Scope]] = MappingProxyType(
    {
        Role.SENDER: {verb: Scope.OWN for verb in Verb if verb in _SENDER},
        Role.HELP_DESK: {verb: Scope.ORG for verb in Verb if verb in _HELP_DESK},
        Role.ADMIN: {verb: Scope.ORG for verb in Verb if verb not in _NOT_AN_ADMINS},
        Role.AUDITOR: {verb: Scope.ORG for verb in Verb if verb in _AUDITOR},
    }
)
"""Role -> verb -> how far it reaches. What is not here may not be done."""

DANGEROUS = frozenset(
    {
        Verb.EXPIRE, Verb.RAISE, Verb.RELEASE, Verb.MISDIRECTED, Verb.HOLD, Verb.DISPOSE, Verb.RECOVER, Verb.FALLBACK, Verb.CLASSES,
        Verb.LOOK, Verb.STAFF,
    }
)  # fmt: skip
"""Whose changes want a sign-in of the last minutes. Taking back does not: it must be quick, and can be undone."""


@dataclass(frozen=True)
class Person:
    """A signed-in member of the staff, as decisions want to know her. `address_hash` is how her own messages are found."""

    id: StaffId
    org_id: OrgId
    role: Role
    address_hash: bytes
    session: str
    proved_at: datetime
    origin: str | None

    @property
    def by(self) -> By:
        return By(Who.STAFF, self.id, self.session, self.origin)

    def reach(self, verb: Verb) -> Scope:
        return MATRIX[self.role].get(verb, Scope.NONE)

    def may(self, verb: Verb, org_id: OrgId, sender_hash: bytes | None = None) -> bool:
        """Whether she may do this to an object of an organisation, sent by the holder of `sender_hash`."""
        scope = self.reach(verb)
        if org_id != self.org_id or scope is Scope.NONE:
            return False
        return scope is Scope.ORG or (sender_hash is not None and sender_hash == self.address_hash)

    def is_fresh(self, now: datetime) -> bool:
        return timedelta(0) <= now - self.proved_at <= FRESH


def check_reason(text: str, field: str = "reason", most: int = REASON_SIGNS) -> str:
    """A reason as it goes on record, on one line. Raises InputRefused when there is none, or too much of it."""
    reason = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    if len(reason) < 3:
        raise InputRefused("Say why: the reason goes on record.", field)
    if len(reason) > most:
        raise InputRefused(f"Shorten the reason to {most} characters. Leave names and diagnoses out.", field)
    return reason
