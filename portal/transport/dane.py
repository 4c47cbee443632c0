"""DANE for mail (RFC 7672): which TLSA records of a host count, and whether what it showed fits one of them.

Usages 2 (DANE-TA) and 3 (DANE-EE) count; 0 and 1 are not for mail (3.1.3). Where records are secure and none counts, TLS is a
duty, and whose certificate it is stays open (2.2).
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from portal.transport.resolver import Found, LookupFailed, NoSuchName, Resolver

TRUST_ANCHOR, END_ENTITY = 2, 3
_DIGESTS = {1: hashlib.sha256, 2: hashlib.sha512}
_MOST = 20


@dataclass(frozen=True)
class Tlsa:
    """One record: certificate usage, selector (0 the certificate, 1 its key), matching type (0 whole, 1 SHA-256, 2 SHA-512)."""

    usage: int
    selector: int
    matching: int
    data: bytes

    def __str__(self) -> str:
        return f"{self.usage} {self.selector} {self.matching} {self.data.hex()[:128]}"

    @property
    def usable(self) -> bool:
        lengths = {1: 32, 2: 64}
        return (
            self.usage in (TRUST_ANCHOR, END_ENTITY)
            and self.selector in (0, 1)
            and self.matching in (0, 1, 2)
            and len(self.data) == lengths.get(self.matching, len(self.data) or -1)
        )

    def fits(self, certificate: bytes, key: bytes) -> bool:
        """Whether it names this certificate (DER) or its key (DER of SubjectPublicKeyInfo)."""
        shown = key if self.selector else certificate
        digest = _DIGESTS.get(self.matching)
        return hmac.compare_digest(digest(shown).digest() if digest else shown, self.data)


@dataclass(frozen=True)
class Records:
    """What a host asks for. `base` is the name under which the records stand, and which its certificate must have."""

    base: str
    usable: tuple[Tlsa, ...]


def fitting(records: Sequence[Tlsa], usage: int, certificate: bytes) -> Tlsa | None:
    """The record of a usage that names a certificate (DER)."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509 import load_der_x509_certificate

    of_usage = [one for one in records if one.usage == usage]
    if not of_usage:
        return None
    try:
        public = load_der_x509_certificate(certificate).public_key()
        key = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except Exception:  # a stranger's bytes: the library raises ValueError, UnsupportedAlgorithm and more
        key = b""
    return next((one for one in of_usage if one.fits(certificate, key)), None)


async def records(resolver: Resolver, host: str, addresses: Sequence[Found], port: int) -> Records | None:
    """The TLSA records of a host, or None when it has none that are secure. Raises LookupFailed, which defers (RFC 7672 2.1.2).

    `addresses` are the look-ups of its addresses: without secure ones nothing is asked (2.2.2). A secure alias is
    followed first (2.2.3).
    """
    if not addresses or not all(one.secure for one in addresses):
        return None
    expanded = addresses[0].name
    for base in dict.fromkeys((expanded, host)):
        try:
            found = await resolver.find(f"_{port}._tcp.{base}", "TLSA")
        except NoSuchName:
            continue
        except LookupFailed as error:
            raise LookupFailed(f"its TLSA records could not be looked up: {error}") from error
        if found.records and found.secure:
            read = [_tlsa(one) for one in found.records[:_MOST]]
            return Records(base, tuple(one for one in read if one.usable))
    return None


def _tlsa(record: Any) -> Tlsa:
    return Tlsa(record.usage, record.selector, record.mtype, record.cert)
