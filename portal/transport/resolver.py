"""Look-ups by dnspython, over the system's name servers or those that the settings name."""

import dns.asyncresolver
import dns.exception
import dns.resolver

from portal.model.errors import StorageAway

_SECONDS = 5.0
_MOST_RECORDS = 100


class Resolver:
    """See `Names`. `servers` are `address` or `address:port`; none means the system's."""

    def __init__(self, servers: str = "") -> None:
        self._servers = servers.split()

    def _resolver(self) -> dns.asyncresolver.Resolver:
        resolver = dns.asyncresolver.Resolver(configure=not self._servers)
        if self._servers:
            host, _, port = self._servers[0].rpartition(":")
            resolver.nameservers = [one.rpartition(":")[0] if ":" in one else one for one in self._servers]
            resolver.port = int(port) if host else 53
        resolver.lifetime = _SECONDS
        return resolver

    async def txt(self, name: str) -> tuple[str, ...]:
        try:
            answer = await self._resolver().resolve(name, "TXT", search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return ()
        except (dns.exception.DNSException, OSError) as error:
            raise StorageAway(type(error).__name__) from error
        records = list(answer)[:_MOST_RECORDS]
        return tuple(b"".join(record.strings).decode("utf-8", "replace") for record in records)
