"""What a sign-in proves (design: NIST SP 800-63B-4 bars email as an out-of-band factor, 3.1.3.1, so level 1 is no AAL)."""

from enum import IntEnum


class Assurance(IntEnum):
    """Level a session carries and a policy asks for; a higher one covers the lower ones."""

    MAILBOX = 1
    """Link and emailed code: the person can read the mailbox. Both travelled over the same unverified hop."""
    TWO_CHANNELS = 2
    """Level 1 and something that came another way: an access code, an SMS, an authenticator app."""
    PASSKEY = 3
    """WebAuthn with user verification."""
