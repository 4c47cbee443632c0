"""`BlobStore` as files: put once, whole or not at all, for the owner only."""

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from portal.blobs.files import FileBlobs, FileWriter
from portal.model.errors import NotFound, StorageAway, StorageFull
from portal.model.ids import BlobKey

pytestmark = pytest.mark.anyio
KEY = BlobKey("01a20036-878c-71bf-a5d0-ed113c6ab87e")


@pytest.fixture
def store(tmp_path: Path) -> FileBlobs:
    made = FileBlobs(tmp_path / "blobs")
    made.make()
    return made


async def put(store: FileBlobs, content: bytes, key: BlobKey = KEY, piece: int = 100_000) -> None:
    writer = await store.create(key)
    for at in range(0, len(content), piece):
        await writer.write(content[at : at + piece])
    await writer.commit()


def everything(tmp_path: Path) -> list[Path]:
    return [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("size", [0, 1, 511 * 1024, 512 * 1024, 3_000_000])
async def test_what_was_committed_is_read_back(store: FileBlobs, size: int) -> None:
    """Any size comes back byte for byte, at any offset."""
    content = os.urandom(size)
    await put(store, content)
    reader = await store.open(KEY)
    assert reader.size == size
    assert reader.read_at(0, size) == content
    assert reader.read_at(size // 2, 10) == content[size // 2 : size // 2 + 10]
    reader.close()


async def test_a_blob_is_not_there_before_its_commit(store: FileBlobs, tmp_path: Path) -> None:
    """Until the commit nobody can open it, and an abort leaves no file."""
    writer = await store.create(KEY)
    await writer.write(os.urandom(2_000_000))
    with pytest.raises(NotFound):
        await store.open(KEY)
    await writer.abort()
    await writer.abort()
    assert everything(tmp_path) == []


async def test_a_blob_is_never_replaced(store: FileBlobs) -> None:
    """A second one of the same key is refused, and the first stays as it is."""
    await put(store, b"first")
    with pytest.raises(StorageAway):
        await put(store, b"second")
    reader = await store.open(KEY)
    assert reader.read_at(0, 10) == b"first"
    reader.close()


async def test_files_are_for_their_owner_only(store: FileBlobs, tmp_path: Path) -> None:
    """Files are 0600 in folders of 0700."""
    await put(store, b"x")
    folders = [path for path in (tmp_path / "blobs").rglob("*") if path.is_dir()]
    assert {oct(path.stat().st_mode & 0o777) for path in everything(tmp_path)} == {"0o600"}
    assert {oct(path.stat().st_mode & 0o777) for path in folders} == {"0o700"}


async def test_an_open_reader_outlives_the_blob(store: FileBlobs) -> None:
    """A download that is under way can be ended by rule, not by accident."""
    await put(store, b"content")
    reader = await store.open(KEY)
    await store.delete(KEY)
    await store.delete(KEY)
    assert reader.read_at(0, 7) == b"content"
    reader.close()
    with pytest.raises(NotFound):
        await store.open(KEY)


async def test_a_store_that_is_not_mounted_is_away_and_not_empty(store: FileBlobs, tmp_path: Path) -> None:
    """A missing folder is an error, never an empty store that gets filled."""
    (tmp_path / "blobs").rename(tmp_path / "elsewhere")
    writer = await store.create(KEY)
    await writer.write(b"x")
    with pytest.raises(StorageAway):
        await writer.commit()
    with pytest.raises(StorageAway):
        await store.open(KEY)
    with pytest.raises(StorageAway):
        await store.check()
    assert not (tmp_path / "blobs").exists()


@pytest.mark.parametrize("size", [10, 2_000_000])
async def test_a_full_disk_leaves_nothing(
    store: FileBlobs, tmp_path: Path, small_files: Callable[[], None], size: int
) -> None:
    """When the disk takes no more, the commit fails and no piece is left."""
    writer = await store.create(KEY)
    small_files()
    with pytest.raises(StorageFull):
        await _write(writer, os.urandom(size))
    await writer.abort()
    assert everything(tmp_path) == []


async def test_the_sweeper_takes_only_what_is_old_and_unfinished(store: FileBlobs, tmp_path: Path) -> None:
    """What a crash left half-written goes; what is committed or still being written stays."""
    await put(store, b"kept")
    left = tmp_path / "blobs" / "incoming" / "left-by-a-crash"
    left.write_bytes(b"x")
    now = datetime.now(UTC)
    assert await store.sweep(now - timedelta(hours=1)) == 0
    assert await store.sweep(now + timedelta(hours=1)) == 1
    assert [key async for key, _ in store.list()] == [KEY]


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes the disk full from the moment it is called on."""

    def fill() -> None:
        def full(file: int, content: bytes) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "write", full)

    return fill


async def test_two_at_once_of_one_key_leave_one_whole_blob(store: FileBlobs) -> None:
    """Whoever loses the race hears of it; the winner's content is whole."""
    contents = [b"a" * 700_000, b"b" * 700_000]
    writers = [await store.create(KEY), await store.create(BlobKey(KEY))]
    outcomes = await asyncio.gather(
        *(_write(writer, content) for writer, content in zip(writers, contents, strict=True)), return_exceptions=True
    )
    assert sum(isinstance(one, StorageAway) for one in outcomes) == 1
    reader = await store.open(KEY)
    assert reader.read_at(0, 700_000) in contents
    reader.close()


async def _write(writer: FileWriter, content: bytes) -> None:
    await writer.write(content)
    await writer.commit()
