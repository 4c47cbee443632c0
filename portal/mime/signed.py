"""The words in an opaque-signed S/MIME part (RFC 8551 3.5.2), taken out of what was signed. Nothing here looks at the signature.

The library reads DER in a language that does not overrun its buffers, and takes no other encoding: what a program wrote in BER of
indefinite length stays the attachment that it is anyway. Refused: a reader of our own, and one in Python, whose cost a sender sets.
"""

from functools import cache
from typing import Annotated, Any

_SIGNED = "1.2.840.113549.1.7.2"
_PLAIN = "1.2.840.113549.1.7.1"
MAX_SIGNED_BYTES = 4 * 1024 * 1024
"""As many certificates as fit into that take 200 MB while they are read."""


def words_of(content: bytes) -> bytes | None:
    """The MIME entity inside SignedData (RFC 5652 5.1), as it was signed, or None: there is none, or it is not read here. Total."""
    if len(content) > MAX_SIGNED_BYTES:
        return None
    try:
        asn1, shape = _shape()
        found = asn1.decode_der(shape, content)
    except ValueError:
        return None
    inner = found.content.inside
    if (found.kind.dotted_string, inner.kind.dotted_string) != (_SIGNED, _PLAIN):
        return None
    words: bytes | None = inner.content
    return words


@cache
def _shape() -> tuple[Any, Any]:
    from cryptography.hazmat import asn1  # here: few mails are signed so, and the server has no need of it
    from cryptography.x509 import ObjectIdentifier

    @asn1.sequence
    class Inside:
        kind: ObjectIdentifier
        content: Annotated[bytes | None, asn1.Explicit(0)]

    @asn1.sequence
    class Signed:
        version: int
        digests: asn1.SetOf[asn1.TLV]
        inside: Inside
        certificates: Annotated[asn1.SetOf[asn1.TLV] | None, asn1.Implicit(0)]
        crls: Annotated[asn1.SetOf[asn1.TLV] | None, asn1.Implicit(1)]
        signers: asn1.SetOf[asn1.TLV]

    @asn1.sequence
    class Info:
        kind: ObjectIdentifier
        content: Annotated[Signed, asn1.Explicit(0)]

    return asn1, Info
