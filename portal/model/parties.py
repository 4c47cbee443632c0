"""Addresses in one normal form, so that the same mailbox is the same recipient.

The rule: the domain is lower case and ASCII (A-labels of IDNA; what IDNA would map to another domain is refused); the local
part is Unicode NFC and lower case (RFC 6531). Plus tags and dots are kept: only the receiving host knows what they mean (RFC 5321
2.3.11), and two people must never be merged. Read again, an address is itself.
"""

import re
import unicodedata
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

_LOCAL = re.compile(r"[^\x00-\x20\x7f<>()\[\],;:\\\"@]+\Z")
_SERVER = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<v4>[^\[\]:]+))(?::(?P<port>[0-9]{1,5}))?\Z")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)\Z")


@dataclass(frozen=True)
class Address:
    """A mailbox in normal form. `str()` gives `local@domain`; the domain is always ASCII."""

    local: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"

    def partly_hidden(self) -> str:
        """For showing where a code went without giving the address away: `a...e@example.org`."""
        shown = self.local[0] + "…" + (self.local[-1] if len(self.local) > 3 else "")
        return f"{shown}@{self.domain}"


def domain_name(text: str) -> str:
    """The domain in normal form. Raises ValueError when it is none (address literals are refused)."""
    text = unicodedata.normalize("NFC", text.strip().rstrip(".")).lower()
    try:
        name = text if text.isascii() else text.encode("idna").decode("ascii")
        # The codec maps ß to ss and full-width letters to plain ones: other domains, of other people.
        same = text.isascii() or name.encode().decode("idna") == text
    except UnicodeError:
        raise ValueError("not a domain name") from None
    if not same or len(name) > 253 or not name or not all(_LABEL.match(label) for label in name.split(".")):
        raise ValueError("not a domain name")
    return name


def address(text: str) -> Address:
    """The address written in `text` (RFC 5321 4.1.2 Mailbox, RFC 6531 for non-ASCII; quoted local parts are refused).

    Raises ValueError when there is none.
    """
    local, at, domain = text.strip().rpartition("@")
    local = unicodedata.normalize("NFC", local)
    if not at or not local or len(local.encode()) > 64 or not _LOCAL.match(local):
        raise ValueError("not a mail address")
    if local.startswith(".") or local.endswith(".") or ".." in local or "=?" in local:  # RFC 2047: never decoded later
        raise ValueError("not a mail address")
    if any(unicodedata.category(sign)[0] in "CZ" for sign in local):  # line ends and bidi signs beyond ASCII
        raise ValueError("not a mail address")
    return Address(unicodedata.normalize("NFC", local.lower()), domain_name(domain))


def name_server(text: str) -> tuple[str, int]:
    """The address and port of a name server: `192.0.2.53`, `192.0.2.53:5353`, `2001:db8::53` or `[2001:db8::53]:5353`.

    Raises ValueError when it is none.
    """
    try:
        if found := _SERVER.match(text):
            of_its_kind = IPv6Address(found["v6"]) if found["v6"] else IPv4Address(found["v4"])
            port = int(found["port"] or 53)
            if 0 < port < 65536:
                return str(of_its_kind), port
        else:
            return str(ip_address(text)), 53
    except ValueError:
        pass
    raise ValueError("not a name server")
