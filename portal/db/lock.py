"""One writer at a time, by a lock on a file beside the database.

SQLite 3.7.0 to 3.51.2 can corrupt a WAL database when two connections write or checkpoint at the very moment the log is
reset (sqlite.org/wal.html, "the WAL-reset bug"). Every write transaction and checkpoint of every process on the host holds this lock.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from portal.model.errors import StorageAway


class WriteLock:
    """An flock. One object serves one thread at a time; different objects exclude each other, in one process too."""

    def __init__(self, path: Path, timeout_seconds: float = 30) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._timeout = timeout_seconds

    def try_acquire(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def acquire(self) -> None:
        """Waits in the calling thread. Raises StorageAway after the timeout."""
        deadline = time.monotonic() + self._timeout
        pause = 0.0005
        while not self.try_acquire():
            if time.monotonic() > deadline:
                raise StorageAway("another process holds the write lock of the database")
            time.sleep(pause)
            pause = min(pause * 2, 0.02)

    def release(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)

    @contextmanager
    def held(self) -> Iterator[None]:
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def close(self) -> None:
        os.close(self._file)
