"""Look-ups by dnspython, over the system's name servers or those that the settings name.

The library is loaded by the first look-up, not at start: it brings 9 MB that most processes never need.

DNSSEC is not validated here: that takes a cache of keys and a chain of look-ups from the root, and validating resolvers do it well.
With `validating` the name servers are taken at their word, which is the AD bit (RFC 6840 5.8): for those on loopback, or
behind a path that nobody else can write to. Without it nothing is ever secure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from portal.model.errors import StorageAway
from portal.model.parties import name_server

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver as Library

_SECONDS = 5.0
_TRY_SECONDS = 2.0
_MOST_RECORDS = 100
_EDNS_BYTES = 1232


class NoSuchName(Exception):
    """NXDOMAIN: nothing is at or below this name."""


class LookupFailed(Exception):
    """SERVFAIL, no answer, nonsense; of a validating name server also what does not validate. Its text is for people."""


@dataclass(frozen=True)
class Found:
    """What a look-up found; `records` may be empty. `secure`: a trusted name server has validated it, aliases too."""

    records: tuple[Any, ...]
    secure: bool
    name: str
    """The name at the end of any aliases (CNAME), without the final dot."""


class Resolver:
    """See `Names`. `servers` are as `name_server` reads them, a space between; none means the system's."""

    def __init__(self, servers: str = "", *, validating: bool = False) -> None:
        self._servers = [name_server(one) for one in servers.split()]
        self._validating = validating

    @property
    def validating(self) -> bool:
        return self._validating

    async def txt(self, name: str) -> tuple[str, ...]:
        try:
            found = await self.find(name, "TXT")
        except NoSuchName:
            return ()
        except LookupFailed as error:
            raise StorageAway(str(error)) from error
        return texts(found.records)

    async def find(self, name: str, kind: str) -> Found:
        """The records of one type at a name, at most 100 of them. Raises NoSuchName and LookupFailed."""
        import dns.exception
        import dns.flags
        import dns.resolver

        try:
            answer = await self._library().resolve(name, kind, search=False, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            raise NoSuchName(name) from None
        except (dns.exception.DNSException, OSError, ValueError) as error:
            raise LookupFailed(_WORDS.get(type(error).__name__, type(error).__name__)) from error
        secure = self._validating and bool(answer.response.flags & dns.flags.AD)
        records = tuple(answer.rrset or ())[:_MOST_RECORDS]
        return Found(records, secure, answer.canonical_name.to_text(omit_final_dot=True).lower())

    def _library(self) -> "Library":
        import dns.flags
        from dns.asyncresolver import Resolver as Library
        from dns.nameserver import Do53Nameserver

        resolver = Library(configure=not self._servers)
        if self._servers:
            resolver.nameservers = [Do53Nameserver(address, port) for address, port in self._servers]
        resolver.lifetime, resolver.timeout = _SECONDS, _TRY_SECONDS
        if self._validating:  # RFC 6840 5.7: an answer says whether it is authentic when the question asks
            resolver.use_edns(0, dns.flags.DO, _EDNS_BYTES)
            resolver.flags = dns.flags.RD | dns.flags.AD
        return resolver


_WORDS = {
    "NoNameservers": "the name servers say that they failed",
    "LifetimeTimeout": "the name servers did not answer in time",
}


def texts(records: Sequence[Any]) -> tuple[str, ...]:
    """TXT records as text, the strings of each joined."""
    return tuple(b"".join(record.strings).decode("utf-8", "replace") for record in records)
