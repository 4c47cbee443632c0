"""What is known of a message without opening it: its heading, where its answer goes, and the ids that thread it.

Made at intake from the header block, sealed in the message's row, opened for the inbox and for a reply.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from portal.mime import Heading


@dataclass(frozen=True)
class Cover:
    """`sender` is the envelope's (MAIL FROM); `message_id` and `references` are msg-ids with their angle brackets."""

    heading: Heading
    sender: str
    message_id: str
    references: tuple[str, ...]

    def dump(self) -> bytes:
        shown, sent_at = self.heading, self.heading.sent_at
        heading: dict[str, Any] = {"subject": shown.subject, "sender": shown.sender, "to": shown.to, "cc": shown.cc}
        heading["sent_at"] = sent_at.isoformat() if sent_at else None
        values = {
            "sender": self.sender,
            "message_id": self.message_id,
            "references": self.references,
            "heading": heading,
        }
        return json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode()

    @staticmethod
    def load(dumped: bytes) -> "Cover":
        values: dict[str, Any] = json.loads(dumped)
        heading: dict[str, Any] = values["heading"]
        sent_at = datetime.fromisoformat(heading["sent_at"]) if heading["sent_at"] else None
        shown = Heading(heading["subject"], heading["sender"], tuple(heading["to"]), tuple(heading["cc"]), sent_at)
        return Cover(shown, values["sender"], values["message_id"], tuple(values["references"]))
