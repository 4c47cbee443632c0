"""The sealed object's bytes: C2SP chunked-encryption (Cobblestone-256), specified in docs/ENVELOPE.md.

Bytes in, bytes out: no files, no randomness, no notion of messages or readers. Keys and salts come from portal/sealing,
the only importer, and what damage means to a reader is said there.
"""

from portal.envelope.format import (
    CHUNK,
    COBBLESTONE_128,
    COBBLESTONE_256,
    HEADER,
    SALT,
    TAG,
    Damaged,
    NotAuthentic,
    Suite,
    Truncated,
    WrongKey,
    encode_fields,
    plaintext_length,
    sealed_length,
)
from portal.envelope.reader import Pieces, RandomReader, StreamReader, open_sealed
from portal.envelope.writer import Writer, seal

__all__ = [
    "CHUNK",
    "COBBLESTONE_128",
    "COBBLESTONE_256",
    "HEADER",
    "SALT",
    "TAG",
    "Damaged",
    "NotAuthentic",
    "Pieces",
    "RandomReader",
    "StreamReader",
    "Suite",
    "Truncated",
    "Writer",
    "WrongKey",
    "encode_fields",
    "open_sealed",
    "plaintext_length",
    "seal",
    "sealed_length",
]
