"""Look-ups by dnspython, over the system's name servers or those that the settings name.

The library is loaded by the first look-up, not at start: it brings 9 MB that most processes never need.
"""

from typing import TYPE_CHECKING

from portal.model.errors import StorageAway

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver as Library

_SECONDS = 5.0
_MOST_RECORDS = 100


class Resolver:
    """See `Names`. `servers` are `address` or `address:port`; none means the system's."""

    def __init__(self, servers: str = "") -> None:
        self._servers = servers.split()

    async def txt(self, name: str) -> tuple[str, ...]:
        import dns.exception
        import dns.resolver

        try:
            answer = await self._library().resolve(name, "TXT", search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return ()
        except (dns.exception.DNSException, OSError) as error:
            raise StorageAway(type(error).__name__) from error
        records = list(answer)[:_MOST_RECORDS]
        return tuple(b"".join(record.strings).decode("utf-8", "replace") for record in records)

    def _library(self) -> "Library":
        from dns.asyncresolver import Resolver as Library

        resolver = Library(configure=not self._servers)
        if self._servers:
            host, _, port = self._servers[0].rpartition(":")
            resolver.nameservers = [one.rpartition(":")[0] if ":" in one else one for one in self._servers]
            resolver.port = int(port) if host else 53
        resolver.lifetime = _SECONDS
        return resolver
