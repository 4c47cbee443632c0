"""Runs of chunks, sealed and opened in place: the loop that all throughput hangs on.

A chunk's nonce is the base nonce XOR its number, and the AAD is empty ("AEAD usage"). The cipher writes straight into the
caller's buffer; nothing is copied here.
"""

from hmac import compare_digest

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from portal.envelope.format import (
    CHUNK,
    HEADER,
    MAX_CHUNKS,
    NONCE,
    SALT,
    SEALED_CHUNK,
    TAG,
    Keys,
    NotAuthentic,
    Suite,
    Truncated,
    WrongKey,
    derive,
)


class Chunks:
    """The cipher of one object. Holds its key; sharing it between threads is safe, sealing one number twice is not."""

    def __init__(self, keys: Keys) -> None:
        self._aead = AESGCM(keys.key)
        self._base = int.from_bytes(keys.base_nonce, "big")

    def seal(self, first: int, plain: memoryview, out: memoryview) -> int:
        """Seal `plain` as chunks `first`, `first + 1`, ... into `out`, and say how many bytes were written.

        All chunks are full but the last, which may be short; empty `plain` is one empty chunk.
        """
        encrypt, base, number, at, written = self._aead.encrypt_into, self._base, first, 0, 0
        while True:
            piece = plain[at : at + CHUNK]
            end = written + len(piece) + TAG
            encrypt(_nonce(base, number), piece, None, out[written:end])
            at, written, number = at + CHUNK, end, number + 1
            if at >= len(plain):
                return written

    def open(self, first: int, sealed: memoryview, out: memoryview) -> int:
        """Open whole sealed chunks, `first` onwards, into `out`, and say how many bytes were written.

        Raises NotAuthentic at the first bad one; what `out` holds then must not be looked at. Whether a short chunk is
        the object's last is for the caller to know.
        """
        decrypt, base, number, written = self._aead.decrypt_into, self._base, first, 0
        try:
            for at in range(0, len(sealed), SEALED_CHUNK):
                piece = sealed[at : at + SEALED_CHUNK]
                end = written + len(piece) - TAG
                decrypt(_nonce(base, number), piece, None, out[written:end])
                written, number = end, number + 1
        except InvalidTag:
            raise NotAuthentic(f"chunk {number} is not authentic") from None
        return written


def _nonce(base: int, number: int) -> bytes:
    if number >= MAX_CHUNKS:
        raise ValueError(f"an object has at most {MAX_CHUNKS} chunks")
    return (base ^ number).to_bytes(NONCE, "big")


def begin(suite: Suite, key: bytes, context: bytes, header: bytes) -> Chunks:
    """The cipher for the object that starts with `header`, its commitment checked before any chunk is touched.

    Raises Truncated when the header is cut short, WrongKey when the commitment does not match, ValueError for a key of
    the wrong size.
    """
    if len(header) < HEADER:
        raise Truncated("the object ends inside its header")
    keys = derive(suite, key, header[:SALT], context)
    if not compare_digest(keys.commitment, header[SALT:HEADER]):
        raise WrongKey("the commitment does not match: another key or context, or a changed header")
    return Chunks(keys)
