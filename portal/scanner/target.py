"""The link that emulators are let loose on, and the origin they stay at (RFC 6454 4)."""

import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import quote, urldefrag, urljoin, urlsplit, urlunsplit

from portal.model.errors import InputRefused

_PORTS = {"http": 80, "https": 443}
_KEPT = "/%:@!$&'()*+,;=~"
"""What stays as it is in a path; all else is escaped, so that any link can be asked for."""


@dataclass(frozen=True)
class Origin:
    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == _PORTS[self.scheme] else f":{self.port}")


@dataclass(frozen=True)
class Target:
    """A link, and who answers for it. With `any_certificate` none is checked."""

    url: str
    origin: Origin
    any_certificate: bool = False

    def holds(self, url: str) -> bool:
        return origin_of(url) == self.origin

    def join(self, at: str, link: str) -> str | None:
        """Where a link on a page leads; None when that is elsewhere, or nowhere."""
        try:
            joined = urldefrag(urljoin(at, link.strip())).url
        except ValueError:
            return None
        return joined if self.holds(joined) else None

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self.any_certificate:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context


def target_of(url: str, *, insecure_localhost: bool = False) -> Target:
    """Raises InputRefused for what is no link to be asked over HTTP."""
    url = url.strip()
    origin = origin_of(url)
    if origin is None:
        raise InputRefused("Give a whole link, such as https://portal.example/m/...")
    if insecure_localhost and not _is_here(origin.host):
        raise InputRefused(
            "Only this machine may go without a certificate: with --insecure-localhost give a link to localhost."
        )
    return Target(urldefrag(url).url, origin, any_certificate=insecure_localhost)


def origin_of(url: str) -> Origin | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not parts.hostname:
        return None
    return Origin(parts.scheme, parts.hostname, port or _PORTS[parts.scheme])


def path_of(url: str) -> str:
    """What is asked for on the wire: path and query, in ASCII."""
    parts = urlsplit(url)
    return urlunsplit(("", "", quote(parts.path or "/", safe=_KEPT), quote(parts.query, safe=f"{_KEPT}?"), ""))


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
