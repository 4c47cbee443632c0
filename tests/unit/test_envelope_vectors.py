"""Project Wycheproof's vectors for C2SP chunked-encryption, by streaming, by random access and at once."""

import hashlib
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from portal.envelope import CHUNK, COBBLESTONE_128, HEADER, TAG, Damaged, RandomReader, StreamReader, open_sealed, seal
from portal.envelope.format import derive

FILE = Path(__file__).parent.parent / "vectors" / "c2sp_chunked_encryption_aes_128_gcm_test.json"


@dataclass(frozen=True)
class Vector:
    """One case: `length` and `sha512` tell the plaintext, or its longest good prefix, or are None when nothing opens."""

    number: int
    comment: str
    key: bytes
    context: bytes
    sealed: bytes
    aead_key: bytes | None
    base_nonce: bytes | None
    length: int
    sha512: str | None
    valid: bool
    flags: frozenset[str]

    def stream(self) -> StreamReader:
        return StreamReader(self.key, self.context, COBBLESTONE_128)

    def random(self) -> RandomReader:
        return RandomReader(self.key, self.context, self.read_at, len(self.sealed), COBBLESTONE_128)

    def read_at(self, offset: int, length: int) -> bytes:
        return self.sealed[offset : offset + length]

    def is_prefix(self, plain: bytes) -> bool:
        """Whether `plain` is no more than the good prefix, and all of it where it is as long."""
        if len(plain) == self.length and self.sha512:
            return hashlib.sha512(plain).hexdigest() == self.sha512
        return not plain


def load(case: dict[str, Any]) -> Vector:
    return Vector(
        number=case["tcId"],
        comment=case["comment"],
        key=bytes.fromhex(case["key"]),
        context=bytes.fromhex(case["ctx"]),
        sealed=zlib.decompress(bytes.fromhex(case["ct"])),
        aead_key=bytes.fromhex(case["aeadKey"]) if "aeadKey" in case else None,
        base_nonce=bytes.fromhex(case["baseNonce"]) if "baseNonce" in case else None,
        length=case.get("msgLength", 0),
        sha512=case.get("msgSha512"),
        valid=case["result"] == "valid",
        flags=frozenset(case["flags"]),
    )


GROUPS = json.loads(FILE.read_text())["testGroups"]
VECTORS = [load(case) for group in GROUPS for case in group["tests"]]
VALID = [v for v in VECTORS if v.valid]
BAD_KEY = [v for v in VECTORS if "InvalidKeySize" in v.flags]
INVALID = [v for v in VECTORS if not v.valid and v not in BAD_KEY]
STARTED = [v for v in INVALID if "HeaderFailure" not in v.flags and (len(v.sealed) - HEADER) % (CHUNK + TAG) >= TAG]
FEEDS = [1009, 16399, 16400, 16401, 100_000]


def name(vector: Vector) -> str:
    return str(vector.number)


def pour(reader: StreamReader, sealed: bytes, size: int, released: bytearray) -> None:
    """Feed `sealed` to `reader`, `size` bytes at a time, and keep in `released` what comes out before it fails."""
    for at in range(0, len(sealed), size):
        released += reader.feed(sealed[at : at + size])
    released += reader.finish()


def walk(vector: Vector, released: bytearray) -> None:
    """Read `vector` at random, a chunk after the other, and keep in `released` what comes out before it fails."""
    reader = vector.random()
    while piece := reader.read(len(released), CHUNK):
        released += piece


def release(vector: Vector, size: int) -> bytes:
    """What a stream fed with `size` bytes at a time lets out before it fails, having checked that it stays failed."""
    reader, released = vector.stream(), bytearray()
    with pytest.raises(Damaged):
        pour(reader, vector.sealed, size, released)
    for _ in range(2):
        with pytest.raises(Damaged):
            reader.feed(b"x" * 20_000)
        with pytest.raises(Damaged):
            reader.finish()
    return bytes(released)


def test_vector_file_is_whole() -> None:
    """The file holds 35 vectors of the suite they are run with."""
    assert len(VECTORS) == 35
    assert {(group["aead"], group["sha"]) for group in GROUPS} == {(COBBLESTONE_128.aead.decode(), "SHA-512")}
    assert (len(VALID), len(INVALID), len(BAD_KEY)) == (10, 23, 2)


@pytest.mark.parametrize("vector", [v for v in VECTORS if v.aead_key], ids=name)
def test_keys_are_derived_as_published(vector: Vector) -> None:
    """Key and base nonce of each vector come out of its input key, salt and context."""
    keys = derive(COBBLESTONE_128, vector.key, vector.sealed[:24], vector.context)
    assert (keys.key, keys.base_nonce, keys.commitment) == (vector.aead_key, vector.base_nonce, vector.sealed[24:56])


@pytest.mark.parametrize("vector", VALID, ids=name)
def test_valid_vector_opens_every_way(vector: Vector) -> None:
    """A valid vector gives the same plaintext at once, as a stream and by random access, and is sealed anew alike."""
    plain = open_sealed(vector.key, vector.context, vector.sealed, COBBLESTONE_128)
    assert len(plain) == vector.length
    assert hashlib.sha512(plain).hexdigest() == vector.sha512
    for size in FEEDS:
        reader = vector.stream()
        fed = [reader.feed(vector.sealed[at : at + size]) for at in range(0, len(vector.sealed), size)]
        assert b"".join([*fed, reader.finish()]) == plain
    random = vector.random()
    assert random.size == vector.length
    assert b"".join(random.chunks()) == plain
    assert random.read(CHUNK - 3, 7) == plain[CHUNK - 3 : CHUNK + 4]
    assert seal(vector.key, vector.context, plain, salt=vector.sealed[:24], suite=COBBLESTONE_128) == vector.sealed


@pytest.mark.parametrize("vector", INVALID, ids=name)
def test_invalid_vector_does_not_open_at_once(vector: Vector) -> None:
    """An invalid vector is refused as a whole."""
    with pytest.raises(Damaged):
        open_sealed(vector.key, vector.context, vector.sealed, COBBLESTONE_128)


@pytest.mark.parametrize("vector", INVALID, ids=name)
def test_invalid_vector_streams_no_more_than_its_good_prefix(vector: Vector) -> None:
    """A stream of an invalid vector fails, stays failed, and lets out the longest good prefix at most."""
    for size in FEEDS:
        assert vector.is_prefix(release(vector, size))
    if "PartialPlaintext" in vector.flags:
        assert len(release(vector, 16400)) == vector.length  # fed as chunks come, the good ones do come out


@pytest.mark.parametrize("vector", INVALID, ids=name)
def test_invalid_vector_gives_random_access_no_more_than_its_good_prefix(vector: Vector) -> None:
    """Reading an invalid vector chunk by chunk never passes its first bad chunk, and goes on failing there."""
    released = bytearray()
    with pytest.raises(Damaged):
        walk(vector, released)
    assert vector.is_prefix(bytes(released))


@pytest.mark.parametrize("vector", STARTED, ids=name)
def test_invalid_vector_keeps_failing_at_random(vector: Vector) -> None:
    """A random reader that met the damage of an invalid vector gives nothing any more, not even its good chunks."""
    reader = vector.random()
    with pytest.raises(Damaged):
        b"".join(reader.chunks())
    with pytest.raises(Damaged):
        reader.read(0, 1)
    with pytest.raises(Damaged):
        _ = reader.size


@pytest.mark.parametrize("vector", INVALID, ids=name)
def test_only_a_valid_last_chunk_vouches_for_the_length(vector: Vector) -> None:
    """The length of an invalid vector is believed only where its last chunk is the one that was sealed there."""
    if "ValidFinalChunk" in vector.flags:
        assert vector.random().size >= 0
    else:
        with pytest.raises(Damaged):
            _ = vector.random().size


@pytest.mark.parametrize("vector", BAD_KEY, ids=name)
def test_key_of_the_wrong_size_is_refused_when_given(vector: Vector) -> None:
    """A key that the suite does not take is refused before any byte of the object is looked at."""
    with pytest.raises(ValueError, match="takes a key of 16 bytes"):
        vector.stream()
    with pytest.raises(ValueError, match="takes a key of 16 bytes"):
        vector.random()
    with pytest.raises(ValueError, match="takes a key of 16 bytes"):
        open_sealed(vector.key, vector.context, vector.sealed, COBBLESTONE_128)
