"""Blobs as files, 0600, in folders of 0700: written beside, synced, renamed into place, and the folder synced.

Small blobs are written in one hop to a thread; large ones in pieces of 512 KiB, while the next piece is being sealed.
"""

import asyncio
import errno
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from portal.model.errors import NotFound, PortalError, StorageAway, StorageFull
from portal.model.ids import BlobKey

_BUFFER = 512 * 1024
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _translated(error: OSError) -> PortalError:
    if error.errno in _FULL:
        return StorageFull("the disk of the blob store is full")
    return StorageAway(f"the blob store did not answer: {error.strerror}")


class FileWriter:
    def __init__(self, final: Path, temp: Path) -> None:
        self._final, self._temp = final, temp
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._file: int | None = None
        self._writing: asyncio.Future[None] | None = None

    async def write(self, piece: bytes) -> None:
        self._held.append(piece)
        self._held_bytes += len(piece)
        if self._held_bytes >= _BUFFER:
            await self._settle()
            held, self._held, self._held_bytes = self._held, [], 0
            self._writing = asyncio.get_running_loop().run_in_executor(None, self._put, held)

    async def commit(self) -> None:
        await self._settle()
        self._writing = asyncio.get_running_loop().run_in_executor(None, self._finish)
        await self._settle()

    async def abort(self) -> None:
        writing, self._writing, self._held = self._writing, None, []
        if writing is None:
            self._discard()
            return
        # A thread that writes can't be stopped: what it leaves is discarded when it ends, whoever still waits.
        writing.add_done_callback(self._discard)
        await asyncio.wait([writing])

    def _discard(self, writing: "asyncio.Future[None] | None" = None) -> None:
        if writing is not None:
            writing.exception()  # looked at: it was told to whoever waited, or nobody waits
        if self._file is not None:
            os.close(self._file)
            self._file = None
            self._temp.unlink(missing_ok=True)

    async def _settle(self) -> None:
        if self._writing is None:
            return
        try:
            await asyncio.shield(self._writing)
        except OSError as error:
            await self.abort()
            raise _translated(error) from error
        self._writing = None

    def _put(self, pieces: list[bytes]) -> None:
        if self._file is None:
            self._file = os.open(self._temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        view = memoryview(b"".join(pieces))
        while view:
            view = view[os.write(self._file, view) :]

    def _finish(self) -> None:
        self._put(self._held)
        assert self._file is not None
        os.fsync(self._file)
        self._final.parent.mkdir(mode=0o700, exist_ok=True)
        os.link(self._temp, self._final)  # unlike rename, it refuses to replace: put once
        self._temp.unlink()
        os.close(self._file)
        self._file = None
        _sync_folder(self._final.parent)


class FileReader:
    def __init__(self, file: int) -> None:
        self._file = file
        self.size = os.fstat(file).st_size

    def read_at(self, offset: int, length: int) -> bytes:
        return os.pread(self._file, length, offset)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __del__(self) -> None:
        """A download given up before its first piece was asked for leaves no file open."""
        self.close()


class FileBlobs:
    """See the module. A blob lies at `<its key's last two characters>/<key>`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"

    def make(self) -> None:
        """Makes the folders. Only `portal init` calls it: a store that is not mounted must not come up empty."""
        for folder in (self._folder, self._incoming):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _path(self, key: BlobKey) -> Path:
        return self._folder / key[-2:] / key

    async def create(self, key: BlobKey) -> FileWriter:
        return FileWriter(self._path(key), self._incoming / key)

    async def open(self, key: BlobKey) -> FileReader:
        try:
            return FileReader(os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC))
        except FileNotFoundError:
            if not self._incoming.is_dir():
                raise StorageAway(f"there is no blob store at {self._folder}") from None
            raise NotFound(f"there is no blob {key}") from None
        except OSError as error:
            raise _translated(error) from error

    async def delete(self, key: BlobKey) -> None:
        try:
            await asyncio.to_thread(self._delete, self._path(key))
        except OSError as error:
            raise _translated(error) from error

    def _delete(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        if path.parent.is_dir():
            _sync_folder(path.parent)

    async def list(self) -> AsyncIterator[tuple[BlobKey, datetime]]:
        try:
            found = await asyncio.to_thread(lambda: sorted(self._folder.glob("??/*")))
            for path in found:
                with suppress(FileNotFoundError):
                    yield BlobKey(path.name), datetime.fromtimestamp(path.stat().st_mtime, UTC)
        except OSError as error:
            raise _translated(error) from error

    async def sweep(self, before: datetime) -> int:
        def stale(path: Path) -> bool:
            return datetime.fromtimestamp(path.stat().st_mtime, UTC) < before

        try:
            found = await asyncio.to_thread(lambda: [path for path in self._incoming.iterdir() if stale(path)])
            for path in found:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise _translated(error) from error
        return len(found)

    async def check(self) -> None:
        probe = self._incoming / f".probe-{secrets.token_hex(8)}"
        try:
            await asyncio.to_thread(_probe, probe)
        except OSError as error:
            raise _translated(error) from error


def _probe(path: Path) -> None:
    try:
        path.touch(0o600, exist_ok=False)
        path.write_bytes(b"probe")
        path.read_bytes()
    finally:
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
