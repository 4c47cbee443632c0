"""What a sign-in proves: the level that each ceremony earns, and what a person can reach with the ways in she has.

How it maps to NIST SP 800-63B-4: an emailed code is no authenticator at all (3.1.3.1 bars email as out-of-band), so level 1
is below AAL1 and says only that somebody reads the mailbox. Level 2 adds something that came another way (a look-up secret,
3.1.2; an out-of-band device over the telephone network, 3.1.3, restricted; a single-factor OTP, 3.1.4). Level 3 is a
multi-factor cryptographic authenticator (3.1.7), AAL2 for a synced passkey.

A way in is worth no more than the sign-in that bound it (63B 4.1.2): a passkey or app added after an emailed code alone is
`vouched` at level 1, and whoever read the mailbox could have added it. It saves the code, and opens what the mailbox opens.
Used once beside a second channel it is vouched for at level 2 from then on, and earns its full level.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum

FRESH = timedelta(minutes=5)
"""How old a sign-in may be that changes the ways in."""


class Assurance(IntEnum):
    """Level a session carries and a policy asks for; a higher one covers the lower ones."""

    MAILBOX = 1
    """Link and emailed code: the person can read the mailbox. Both travelled over the same unverified hop."""
    TWO_CHANNELS = 2
    """Level 1 and something that came another way: an access code, an SMS, an authenticator app."""
    PASSKEY = 3
    """WebAuthn with user verification."""


class Method(StrEnum):
    """A ceremony by which somebody shows who she is."""

    EMAILED_CODE = "emailed-code"
    ACCESS_CODE = "access-code"
    SMS = "sms"
    VOICE = "voice"
    APP = "app"
    RECOVERY_CODE = "recovery-code"
    PASSKEY = "passkey"


SECOND = frozenset({Method.ACCESS_CODE, Method.SMS, Method.VOICE, Method.APP, Method.RECOVERY_CODE})
"""What comes by another channel than the mailbox."""


@dataclass(frozen=True)
class Proof:
    """A ceremony that succeeded, or could; `vouched` is the level of the sign-in that bound what it used.

    What the organisation itself gave (an access code, a phone number) is vouched for at level 2.
    """

    method: Method
    vouched: Assurance = Assurance.TWO_CHANNELS


MAILBOX = Proof(Method.EMAILED_CODE, Assurance.MAILBOX)


def earned(proofs: Collection[Proof]) -> Assurance:
    """The level that these ceremonies together earn."""
    methods = {one.method for one in proofs}
    second = any(one.method in SECOND and one.vouched >= Assurance.TWO_CHANNELS for one in proofs)
    passkey = any(one.method is Method.PASSKEY and one.vouched >= Assurance.TWO_CHANNELS for one in proofs)
    if passkey or (second and Method.PASSKEY in methods):
        return Assurance.PASSKEY
    if second and methods & {Method.EMAILED_CODE, Method.PASSKEY}:
        return Assurance.TWO_CHANNELS
    return Assurance.MAILBOX


def reach(ways: Collection[Proof]) -> Assurance:
    """The highest level a person with these ways in can come to, beside the emailed code that everybody can get.

    Who comes to level 2 may add a passkey there, and so comes to level 3.
    """
    best = earned([MAILBOX, *ways])
    return Assurance.PASSKEY if best >= Assurance.TWO_CHANNELS else best


def may_change_ways(last: Method, enrolled: Collection[Method], proved_at: datetime, now: datetime) -> bool:
    """Whether a session may add or remove a way in: its last ceremony is fresh, and as strong as the strongest enrolled.

    After an emailed code only when nothing is enrolled yet, whatever was proved hours before. A recovery code stands in for
    what was lost.
    """
    if now - proved_at > FRESH:
        return False
    if last is Method.RECOVERY_CODE:
        return True
    if Method.PASSKEY in enrolled:
        return last is Method.PASSKEY
    return last in SECOND if enrolled else True


def written(proofs: Collection[Proof]) -> str:
    """Proofs as a session's row keeps them: `emailed-code:1 access-code:2`."""
    return " ".join(sorted(f"{one.method.value}:{int(one.vouched)}" for one in proofs))


def read_proofs(text: str) -> frozenset[Proof]:
    """The proofs in a session's row. Raises ValueError."""
    pairs = (one.split(":") for one in text.split())
    return frozenset(Proof(Method(method), Assurance(int(level))) for method, level in pairs)
