"""What the sender of a message wants to hear of it: delivery reports (RFC 3461) and read receipts (RFC 8098)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class AskedOfOne:
    """Of one recipient: the words of NOTIFY, none where nothing was said; and the address as the sender wrote it, with its type."""

    notify: frozenset[str] = frozenset()
    orcpt: str = ""

    @property
    def success(self) -> bool:
        return "SUCCESS" in self.notify

    @property
    def failure(self) -> bool:
        """Whether a report may tell of failures: where nothing is said it may (RFC 3461 4.1)."""
        return not self.notify or "FAILURE" in self.notify


@dataclass(frozen=True)
class ReportsAsked:
    """Sealed beside the message. By its id, and by `envid` where it was given, a mail program finds what a report is about."""

    message_id: str = ""
    envid: str = ""
    asked: Mapping[str, AskedOfOne] = field(default_factory=dict)
    """By delivery."""

    def of(self, delivery_id: str) -> AskedOfOne:
        return self.asked.get(delivery_id, AskedOfOne())

    def dump(self) -> bytes:
        asked = {key: [sorted(one.notify), one.orcpt] for key, one in self.asked.items() if one.notify or one.orcpt}
        return json.dumps([self.message_id, self.envid, asked]).encode()

    @staticmethod
    def load(dumped: bytes) -> "ReportsAsked":
        message_id, envid, asked = json.loads(dumped)
        return ReportsAsked(
            message_id, envid, {key: AskedOfOne(frozenset(notify), orcpt) for key, (notify, orcpt) in asked.items()}
        )
