"""The sealed object: what goes in comes out, and nothing else ever does."""

import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal.envelope import (
    CHUNK,
    COBBLESTONE_128,
    HEADER,
    TAG,
    Damaged,
    NotAuthentic,
    RandomReader,
    StreamReader,
    Truncated,
    Writer,
    WrongKey,
    encode_fields,
    open_sealed,
    plaintext_length,
    seal,
    sealed_length,
)
from portal.envelope.chunks import Chunks
from portal.envelope.format import COBBLESTONE_256, MAX_CHUNKS, derive
from portal.envelope.reader import BATCH

DOCUMENT = (Path(__file__).parents[2] / "docs" / "ENVELOPE.md").read_text()
KEY = bytes(range(32))
SALT = b"a salt of 24 bytes, once"
CONTEXT = encode_fields(b"1", b"clinic", b"message", b"original", b"")
SEALED = CHUNK + TAG
LENGTHS = [0, 1, 16383, 16384, 16385, 32767, 32768, 32769]
FEEDS = [1, 3, 15, 17, 55, 57, 999, 4097, 16383, 16385, 16399, 16401, 32801, 100_001]

lengths = st.one_of(st.sampled_from(LENGTHS), st.integers(0, 3 * CHUNK + 5))
quick = settings(max_examples=60, deadline=None)


@cache
def content(n: int) -> bytes:
    """`n` bytes in which no two chunks are alike."""
    return (bytes(range(251)) * (n // 251 + 1))[:n]


@cache
def sealed_content(n: int) -> bytes:
    return seal(KEY, CONTEXT, content(n), salt=SALT)


def cut(data: bytes, sizes: list[int]) -> Iterator[memoryview]:
    """`data` in pieces of `sizes`, over and over."""
    view, at = memoryview(data), 0
    for size in cycle(sizes):
        if at >= len(data):
            return
        yield view[at : at + size]
        at += size


def write(data: bytes, sizes: list[int]) -> bytes:
    writer = Writer(KEY, CONTEXT, salt=SALT)
    return b"".join([*[writer.update(piece) for piece in cut(data, sizes)], writer.finish()])


def stream(sealed: bytes, sizes: list[int]) -> bytes:
    reader = StreamReader(KEY, CONTEXT)
    return b"".join([*[reader.feed(piece) for piece in cut(sealed, sizes)], reader.finish()])


def pour(reader: StreamReader, sealed: bytes, released: bytearray) -> None:
    """Feed `sealed` to `reader` and keep in `released` what comes out before it fails."""
    for piece in cut(sealed, [1000]):
        released += reader.feed(piece)
    released += reader.finish()


def at_random(sealed: bytes, key: bytes = KEY, context: bytes = CONTEXT) -> RandomReader:
    return RandomReader(key, context, lambda offset, n: sealed[offset : offset + n], len(sealed))


def assert_refused(sealed: bytes, good_chunks: int) -> None:
    """`sealed` fails every way, stays failed, and lets out no more than the `good_chunks` it starts with."""
    good = content(3 * CHUNK)[: good_chunks * CHUNK]
    with pytest.raises(Damaged):
        open_sealed(KEY, CONTEXT, sealed)
    reader, released = StreamReader(KEY, CONTEXT), bytearray()
    with pytest.raises(Damaged):
        pour(reader, sealed, released)
    assert good.startswith(released)
    with pytest.raises(Damaged):
        reader.feed(b"")
    with pytest.raises(Damaged):
        reader.finish()
    with pytest.raises(Damaged):
        b"".join(at_random(sealed).chunks())


# -- what goes in comes out


@pytest.mark.parametrize("n", LENGTHS)
def test_every_edge_length_comes_back(n: int) -> None:
    """Each length around a chunk's border opens every way, and its size is as foretold."""
    sealed = sealed_content(n)
    assert len(sealed) == sealed_length(n)
    assert plaintext_length(len(sealed)) == n
    assert open_sealed(KEY, CONTEXT, sealed) == content(n)
    assert at_random(sealed).size == n
    assert b"".join(at_random(sealed).chunks()) == content(n)


@pytest.mark.parametrize("size", FEEDS)
def test_every_feed_size_gives_the_same(size: int) -> None:
    """Writer and reader give the same bytes in whatever pieces theirs come."""
    for n in (0, 32768, 32769):
        assert write(content(n), [size]) == sealed_content(n)
        assert stream(sealed_content(n), [size]) == content(n)


def test_fifty_mebibytes_come_back() -> None:
    """An object of 50 MiB streams in and out, and its pieces are at most a batch."""
    plain = bytes(50 * 1024 * 1024)
    sealed = write(plain, [262_144])
    assert len(sealed) == sealed_length(len(plain))
    assert stream(sealed, [200_000]) == plain
    reader = at_random(sealed)
    assert reader.size == len(plain)
    pieces = [len(piece) for piece in reader.chunks(5)]
    assert sum(pieces) == len(plain) - 5
    assert max(pieces) == BATCH * CHUNK
    assert reader.read(len(plain) - 3, 10) == bytes(3)


@given(lengths, st.lists(st.integers(1, 40_000), min_size=1, max_size=6))
@quick
def test_pieces_of_any_size_round_trip(n: int, sizes: list[int]) -> None:
    """Any length in any pieces round-trips, and streaming gives what sealing at once gives."""
    assert write(content(n), sizes) == sealed_content(n)
    assert stream(sealed_content(n), sizes) == content(n)


@given(lengths, st.integers(0, 4 * CHUNK), st.integers(0, 4 * CHUNK))
@quick
def test_any_range_reads_like_a_slice(n: int, offset: int, count: int) -> None:
    """A read at random gives what a slice of the plaintext gives, past its end too."""
    reader = at_random(sealed_content(n))
    assert reader.read(offset, count) == content(n)[offset : offset + count]
    assert b"".join(reader.chunks(offset, offset + count)) == content(n)[offset : offset + count]


def test_header_comes_with_the_first_output() -> None:
    """The first output starts with the header, and the second has none."""
    writer = Writer(KEY, CONTEXT, salt=SALT)
    assert writer.update(b"hello") == writer.header == sealed_content(5)[:HEADER]
    assert len(writer.finish()) == 5 + TAG


def test_several_chunks_cost_one_read() -> None:
    """Reading on asks for a batch of chunks at a time, never for more than the object has."""
    sealed, asked = sealed_content(20 * CHUNK + 7), list[tuple[int, int]]()

    def read_at(offset: int, n: int) -> bytes:
        asked.append((offset, n))
        return sealed[offset : offset + n]

    assert b"".join(RandomReader(KEY, CONTEXT, read_at, len(sealed)).chunks()) == content(20 * CHUNK + 7)
    batch = HEADER + BATCH * SEALED
    assert asked == [
        (0, HEADER),
        (HEADER + 20 * SEALED, 7 + TAG),
        (HEADER, BATCH * SEALED),
        (batch, len(sealed) - batch),
    ]


# -- what was touched does not


@given(lengths, st.data())
@quick
def test_flipped_bit_is_found(n: int, data: st.DataObject) -> None:
    """One bit changed anywhere fails every way, and nothing from the bad chunk on comes out."""
    sealed = bytearray(sealed_content(n))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= 1 << data.draw(st.integers(0, 7))
    assert_refused(bytes(sealed), max(0, at - HEADER) // SEALED)


@given(lengths, st.data())
@quick
def test_truncation_is_found(n: int, data: st.DataObject) -> None:
    """An object cut short at any byte fails every way."""
    keep = data.draw(st.integers(0, len(sealed_content(n)) - 1))
    assert_refused(sealed_content(n)[:keep], max(0, keep - HEADER) // SEALED)


@pytest.mark.parametrize("chunks", [0, 1, 2, 3])
def test_end_at_a_border_is_truncation(chunks: int) -> None:
    """An object that ends where a full chunk ends lacks its last one, and says so."""
    cut_short = sealed_content(3 * CHUNK)[: HEADER + chunks * SEALED]
    with pytest.raises(Truncated):
        open_sealed(KEY, CONTEXT, cut_short)
    with pytest.raises(Truncated, match="without its last chunk"):
        stream(cut_short, [5000])
    for extra in range(TAG):
        with pytest.raises(Truncated):
            plaintext_length(len(cut_short) + extra)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6).filter(lambda order: order != [0, 1, 2, 3]))
@quick
def test_moved_doubled_and_dropped_chunks_are_found(order: list[int]) -> None:
    """Chunks in any other order, doubled or left out, fail at the first that is out of place."""
    sealed = sealed_content(3 * CHUNK + 100)
    chunks = [sealed[HEADER + k * SEALED : HEADER + (k + 1) * SEALED] for k in range(4)]
    in_place = next((k for k, chunk in enumerate(order) if chunk != k), len(order))
    assert_refused(sealed[:HEADER] + b"".join(chunks[k] for k in order), min(in_place, 3))


def test_bytes_behind_the_end_are_found() -> None:
    """Whatever follows the last chunk, be it a chunk sealed for that place, fails."""
    sealed = sealed_content(100)
    other = sealed_content(CHUNK)[HEADER + SEALED :]
    for tail in (b"\0", bytes(TAG), other, bytes(SEALED), sealed):
        assert_refused(sealed + tail, 0)


@pytest.mark.parametrize(
    "context",
    [
        encode_fields(b"2", b"clinic", b"message", b"original", b""),
        encode_fields(b"1", b"another clinic", b"message", b"original", b""),
        encode_fields(b"1", b"clinic", b"another message", b"original", b""),
        encode_fields(b"1", b"clinic", b"message", b"rendition", b""),
        encode_fields(b"1", b"clinic", b"message", b"original", b"2"),
        b"",
    ],
)
def test_object_in_another_ones_place_does_not_open(context: bytes) -> None:
    """An object put where another version, organisation, message, kind or part belongs fails at its header."""
    sealed = sealed_content(100)
    with pytest.raises(WrongKey):
        open_sealed(KEY, context, sealed)
    with pytest.raises(WrongKey):
        StreamReader(KEY, context).feed(sealed)
    with pytest.raises(WrongKey):
        at_random(sealed, context=context)


def test_another_key_or_suite_does_not_open() -> None:
    """Another key fails at the header, and so does a half of the key under the smaller suite."""
    with pytest.raises(WrongKey):
        open_sealed(KEY[::-1], CONTEXT, sealed_content(5))
    with pytest.raises(WrongKey):
        open_sealed(KEY[:16], CONTEXT, sealed_content(5), COBBLESTONE_128)


def test_parts_of_two_objects_do_not_mix() -> None:
    """A chunk of another object under the same key and context, with its own salt, is not taken."""
    other = seal(KEY, CONTEXT, content(CHUNK + 9), salt=SALT[::-1])
    mine = sealed_content(CHUNK + 9)
    assert_refused(mine[: HEADER + SEALED] + other[HEADER + SEALED :], 1)
    assert_refused(other[:24] + mine[24:], 0)


# -- after the damage


def test_damage_lasts_in_a_random_reader() -> None:
    """Once a bad chunk was met, nothing is read any more: not the good chunks, not the size, not a running download."""
    sealed = bytearray(sealed_content(40 * CHUNK))
    sealed[HEADER + 20 * SEALED] ^= 1
    reader = at_random(bytes(sealed))
    assert reader.read(0, 10) == content(10)
    download, elsewhere = reader.chunks(), reader.chunks(30 * CHUNK)
    assert next(download) == content(BATCH * CHUNK)
    for _ in range(2):
        with pytest.raises(NotAuthentic, match="chunk 20 "):
            next(download)
    with pytest.raises(NotAuthentic):
        next(elsewhere)
    with pytest.raises(NotAuthentic):
        reader.read(0, 10)
    with pytest.raises(NotAuthentic):
        _ = reader.size


def test_range_to_the_end_authenticates_the_end_first() -> None:
    """Who relies on the length learns of a missing end before the first byte; who reads inside is served."""
    sealed = sealed_content(3 * CHUNK)
    forged = sealed[: HEADER + SEALED] + bytes(40)
    assert at_random(forged).read(0, CHUNK) == content(CHUNK)
    for ask in (
        lambda: at_random(forged).chunks(),
        lambda: at_random(forged).size,
        lambda: at_random(forged).read(0, 2 * CHUNK),
        lambda: at_random(forged).read(5 * CHUNK, 1),
    ):
        with pytest.raises(NotAuthentic, match="chunk 1 "):
            ask()


def test_object_shorter_than_it_was_said_to_be_is_truncated() -> None:
    """A store that gives fewer bytes than the object's length is damage, not an end."""
    sealed = sealed_content(3 * CHUNK)
    reader = RandomReader(KEY, CONTEXT, lambda at, n: sealed[: 2 * SEALED][at : at + n], len(sealed))
    with pytest.raises(Truncated):
        _ = reader.size
    with pytest.raises(Truncated):
        RandomReader(KEY, CONTEXT, lambda at, n: b"", len(sealed))


def test_store_that_is_away_is_not_damage() -> None:
    """A read that the store could not answer is passed on, and may be asked again."""
    sealed, away = sealed_content(100), [OSError("away")]

    def read_at(offset: int, n: int) -> bytes:
        if offset and away:
            raise away.pop()
        return sealed[offset : offset + n]

    reader = RandomReader(KEY, CONTEXT, read_at, len(sealed))
    with pytest.raises(OSError, match="away"):
        reader.read(0, 100)
    assert reader.read(0, 100) == content(100)


# -- wrong calls


def test_finished_writer_and_reader_take_no_more() -> None:
    """After the last chunk there is no next one."""
    writer = Writer(KEY, CONTEXT, salt=SALT)
    sealed = writer.finish()
    with pytest.raises(ValueError, match="finished"):
        writer.update(b"more")
    with pytest.raises(ValueError, match="finished"):
        writer.finish()
    reader = StreamReader(KEY, CONTEXT)
    reader.feed(sealed)
    assert reader.finish() == b""
    with pytest.raises(ValueError, match="end"):
        reader.feed(b"")


def test_keys_salts_and_ranges_of_the_wrong_size_are_refused() -> None:
    """What can't be meant is refused before anything is sealed or opened."""
    with pytest.raises(ValueError, match="key of 32 bytes"):
        seal(KEY[:31], CONTEXT, b"", salt=SALT)
    with pytest.raises(ValueError, match="salt"):
        Writer(KEY, CONTEXT, salt=SALT[:23])
    with pytest.raises(ValueError, match="negative"):
        sealed_length(-1)
    for start, stop in ((-1, 5), (5, 4)):
        with pytest.raises(ValueError, match="range"):
            at_random(sealed_content(10)).chunks(start, stop)


def test_counter_stops_at_the_limit_of_the_spec() -> None:
    """No chunk is sealed under a number that the nonce's low 38 bits can't hold."""
    chunks, room = Chunks(derive(COBBLESTONE_256, KEY, SALT, CONTEXT)), memoryview(bytearray(SEALED))
    assert chunks.seal(MAX_CHUNKS - 1, memoryview(b"x"), room) == 1 + TAG
    with pytest.raises(ValueError, match="at most"):
        chunks.seal(MAX_CHUNKS, memoryview(b"x"), room)


def test_keys_are_not_printed() -> None:
    """The derived keys show nothing of themselves."""
    assert repr(derive(COBBLESTONE_256, KEY, SALT, CONTEXT)) == "Keys()"


@given(st.lists(st.binary(max_size=6), max_size=5), st.lists(st.binary(max_size=6), max_size=5))
@quick
def test_two_lists_of_fields_never_look_alike(one: list[bytes], other: list[bytes]) -> None:
    """Encoded fields are equal only when the fields are."""
    assert (encode_fields(*one) == encode_fields(*other)) == (one == other)


def test_fields_are_encoded_as_documented() -> None:
    """Each field follows its length in four big-endian bytes."""
    assert encode_fields(b"ab", b"", b"\xff") == b"\0\0\0\2ab\0\0\0\0\0\0\0\1\xff"


# -- as documented


def documented(name: str) -> str:
    """A value of the worked example in docs/ENVELOPE.md."""
    found = re.search(rf"^\| {name} \| `(.*)` \|$", DOCUMENT, re.MULTILINE)
    assert found, name
    return found[1]


def documented_decryptor() -> Callable[..., bytes]:
    code = re.search(r"^```python\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert code
    names: dict[str, Any] = {}
    exec(code[1], names)
    opener: Callable[..., bytes] = names["open_object"]
    return opener


def test_documented_example_is_what_the_writer_makes() -> None:
    """The worked example in docs/ENVELOPE.md is byte for byte what the portal seals."""
    dek, salt = bytes.fromhex(documented("DEK")), bytes.fromhex(documented("salt"))
    place = [*documented("organisation, container").split("`, `"), "heading", ""]
    context = encode_fields(b"portal object v1", *[field.encode() for field in place])
    sealed = bytes.fromhex(documented("object"))
    assert seal(dek, context, documented("plaintext").encode(), salt=salt) == sealed
    keys = derive(COBBLESTONE_256, dek, salt, context)
    assert (keys.key.hex(), keys.base_nonce.hex()) == (documented("key"), documented("base nonce"))
    assert documented_decryptor()(dek, *place, sealed).decode() == documented("plaintext")


@pytest.mark.parametrize("n", LENGTHS)
def test_documented_decryptor_opens_every_length(n: int) -> None:
    """Who follows docs/ENVELOPE.md opens what the portal seals, and nothing that is cut short or misplaced."""
    place = ["clinic", "message", "part", "7"]
    context = encode_fields(b"portal object v1", *[field.encode() for field in place])
    opener, sealed = documented_decryptor(), seal(KEY, context, content(n), salt=SALT)
    assert opener(KEY, *place, sealed) == content(n)
    with pytest.raises(ValueError, match="truncated"):
        opener(KEY, *place, sealed[: HEADER + n // CHUNK * SEALED])
    with pytest.raises(ValueError, match="another place"):
        opener(KEY, "clinic", "message", "part", "8", sealed)
