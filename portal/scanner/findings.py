"""What an emulator did, how much it may do, and whether it got in, as far as that can be seen from outside."""

import time
from dataclasses import dataclass, field

SESSION = "__Host-session"
SIGN_OUT = "/sign-out"
INBOX = "/inbox"

BY_COOKIE, BY_PAGE, BY_INBOX = "a session cookie", "a page to sign out from", "the inbox"


@dataclass
class Findings:
    """`got_in` says by what it was noticed to be signed in, empty when it was not. `note` says why it was not run."""

    name: str
    does: str
    requests: int = 0
    forms: int = 0
    got_in: str = ""
    note: str = ""

    @property
    def verdict(self) -> str:
        return self.note or (f"GOT IN: {self.got_in}" if self.got_in else "held off")


@dataclass
class Bounds:
    """How much one emulator may still do."""

    most_requests: int
    most_seconds: float = 60
    requests: int = 0
    _from: float = field(default_factory=time.monotonic)

    def left(self) -> bool:
        return self.requests < self.most_requests and time.monotonic() - self._from < self.most_seconds
