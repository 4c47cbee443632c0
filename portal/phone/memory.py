"""The provider for tests and trials: keeps the last messages in memory, and writes nothing anywhere."""

from collections import deque

from portal.phone import Sent, Spoken

_KEPT = 100


class MemoryTexter:
    """See the module."""

    def __init__(self) -> None:
        self.sent: deque[Spoken] = deque(maxlen=_KEPT)

    async def send(self, message: Spoken) -> Sent:
        self.sent.append(message)
        return Sent("memory", "kept")
