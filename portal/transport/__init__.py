"""What the DNS says. Only TXT records are asked for yet: they prove that a domain is an organisation's."""

from typing import Protocol


class Names(Protocol):
    """Looks names up. An answer may be some minutes old; each look-up ends within seconds."""

    async def txt(self, name: str) -> tuple[str, ...]:
        """The TXT records at a name, strings of one record joined (RFC 7208 3.3); none when there is no such name or record.

        Raises StorageAway when the name servers do not answer.
        """
