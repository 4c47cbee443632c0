"""What writer and reader agree on: suites, sizes, key derivation, chunk nonces, and what is damage.

Source: c2sp.org/chunked-encryption. The AEAD is a parameter, so that the public vectors for AES-128 run on this code.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

Bytes: TypeAlias = bytes | bytearray | memoryview
"""What is taken as input; nothing is kept of it beyond the call but a copied rest of less than a chunk."""

CHUNK = 16384
TAG = 16
SEALED_CHUNK = CHUNK + TAG
SALT = 24
COMMITMENT = 32
HEADER = SALT + COMMITMENT
NONCE = 12
MAX_CHUNKS = 2**38
"""The spec's own limit (4 PiB): the counter stays in the nonce's low 38 bits."""

_LABEL = b"c2sp.org/chunked-encryption@v1+"


@dataclass(frozen=True)
class Suite:
    """An instantiation: `aead` is the name in IANA's AEAD registry, `key_size` in bytes. The hash is SHA-512."""

    name: str
    key_size: int
    aead: bytes


COBBLESTONE_256 = Suite("Cobblestone-256", 32, b"AEAD_AES_256_GCM")
COBBLESTONE_128 = Suite("Cobblestone-128", 16, b"AEAD_AES_128_GCM")


class Damaged(Exception):
    """Sealed bytes that do not open. Permanent: the same bytes never will. `what` holds no content and no keys."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class Truncated(Damaged):
    """The object ends where no object can end: inside the header or a tag, or without its short last chunk."""


class WrongKey(Damaged):
    """The commitment does not match: another key, another context (object, message, organisation), or a changed header."""


class NotAuthentic(Damaged):
    """A chunk was changed, moved, doubled or cut."""


@dataclass(frozen=True)
class Keys:
    """What one (input key, salt, context) yields: secret, single-use, never printed."""

    key: bytes = field(repr=False)
    base_nonce: bytes = field(repr=False)
    commitment: bytes = field(repr=False)


def derive(suite: Suite, key: bytes, salt: bytes, context: bytes) -> Keys:
    """Key, base nonce and commitment of one object ("Key derivation"): HKDF-Expand only, no Extract.

    `key` is uniformly random and `suite.key_size` long, `salt` 24 bytes and never used twice under one key.
    Raises ValueError for other sizes.
    """
    if len(key) != suite.key_size:
        raise ValueError(f"{suite.name} takes a key of {suite.key_size} bytes, not {len(key)}")
    if len(salt) != SALT:
        raise ValueError(f"a salt has {SALT} bytes, not {len(salt)}")
    info = _LABEL + suite.aead + b"\x00" + salt + context
    okm = HKDFExpand(SHA512(), suite.key_size + NONCE + COMMITMENT, info).derive(key)
    return Keys(okm[: suite.key_size], okm[suite.key_size : -COMMITMENT], okm[-COMMITMENT:])


def sealed_length(plaintext: int) -> int:
    """Bytes of the object that holds `plaintext` bytes: header, and a tag for each full chunk and the short last one."""
    if plaintext < 0:
        raise ValueError("a length is not negative")
    return HEADER + plaintext + (plaintext // CHUNK + 1) * TAG


def plaintext_length(sealed: int) -> int:
    """Plaintext bytes in an object of `sealed` bytes, as its length alone says: nothing is authenticated by it.

    Raises Truncated for a length that no object has, among them each end at a chunk's border.
    """
    full, rest = divmod(sealed - HEADER, SEALED_CHUNK)
    if full < 0 or rest < TAG:
        raise Truncated(f"no sealed object is {sealed} bytes long")
    return full * CHUNK + rest - TAG


def encode_fields(*fields: bytes) -> bytes:
    """Fields made one byte string that no other list of fields gives: each after its length (4 bytes, big-endian).

    For contexts, AADs and HPKE's info.
    """
    return b"".join(len(part).to_bytes(4, "big") + part for part in fields)
