"""One host serves an SQLite database. A second one is refused: file locks and WAL do not reach across hosts.

A file beside the database says which host serves and when it last said so. Stopping removes it; a host that died is
forgotten after a minute.
"""

import json
import time
from contextlib import suppress
from pathlib import Path
from socket import gethostname

from portal.model.errors import RefusesToStart

FRESH_SECONDS = 60


def this_host() -> str:
    """What tells this host from another: its machine id where it has one, else its name."""
    with suppress(OSError):
        return Path("/etc/machine-id").read_text(encoding="ascii").strip() or gethostname()
    return gethostname()


class HostClaim:
    """Raises RefusesToStart when another host serves the database at `path`."""

    def __init__(self, path: Path, host: str) -> None:
        self._file = path.with_name(path.name + ".host")
        self._host = host
        self._refuse_another()
        self.renew()

    def _refuse_another(self) -> None:
        with suppress(OSError, ValueError, KeyError, TypeError):
            said = json.loads(self._file.read_text(encoding="utf-8"))
            if said["host"] != self._host and time.time() - float(said["at"]) < FRESH_SECONDS:
                raise RefusesToStart(
                    f"another host ({said['name']}) serves this SQLite database; several hosts need PostgreSQL "
                    f"(docs/OPERATING.md). If that host is gone for good, wait a minute or delete {self._file}"
                )

    def renew(self) -> None:
        """Says again that this host serves. Call it at least every half minute."""
        said = {"host": self._host, "name": gethostname(), "at": time.time()}
        temp = self._file.with_name(self._file.name + ".new")
        temp.write_text(json.dumps(said), encoding="utf-8")
        temp.replace(self._file)

    def release(self) -> None:
        self._file.unlink(missing_ok=True)
