"""The processes under load: `portal serve` with its settings in the environment, and the floor's server beside it.

Servers run on the first core this process may use, what loads them on the last; where there is one core only, they share it.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.lines import Wrong

ROOT = Path(__file__).resolve().parent.parent
_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = _CORES[0], _CORES[-1]
_TICK = os.sysconf("SC_CLK_TCK")
_START_SECONDS = 30
_PORTAL = ("-c", "from portal.cli import main; main()")


def cpu(pid: int) -> float:
    """Seconds of processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


class Server:
    """A process that serves. `ports` by name, as it said itself; `ready_seconds` from its start until it said so."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path, began: float) -> None:
        self._process, self._log = process, log
        self.pid = process.pid
        self.ports = self._ports()
        self.ready_seconds = time.perf_counter() - began

    @property
    def port(self) -> int:
        return self.ports["http"]

    def _ports(self) -> dict[str, int]:
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            for line in self._log.read_text().splitlines(keepends=True):
                if line.endswith("\n") and '"ports"' in line:
                    found: dict[str, int] = json.loads(line)["ports"]
                    return found
            if self._process.poll() is not None:
                break
            time.sleep(0.002)
        raise Wrong(f"it did not start: {self._log.read_text()}")

    def cpu(self) -> float:
        """Seconds of processor time so far, of all its threads; not of its render processes."""
        return cpu(self.pid)

    def memory(self) -> float:
        """Resident now, in MiB."""
        return self._status("VmRSS")

    def peak(self) -> float:
        """Most resident since `forget_peak`, in MiB."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # proc_pid_clear_refs(5)

    def _status(self, field: str) -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024
        raise Wrong(f"no {field} of process {self.pid}")

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()


@contextmanager
def _serving(command: Sequence[str], folder: Path, environment: dict[str, str]) -> Iterator[Server]:
    log = folder / f"log-{time.monotonic_ns()}"
    base = {name: value for name, value in os.environ.items() if not name.startswith("PORTAL_")}
    began = time.perf_counter()
    with log.open("wb") as target:
        process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.DEVNULL,
            stdout=target,
            stderr=target,
            cwd=folder,
            env={**base, "PYTHONPATH": str(ROOT), **environment},
        )
    os.sched_setaffinity(process.pid, {SERVER_CORE})
    server = None
    try:
        server = Server(process, log, began)
        yield server
    finally:
        if server is not None:
            server.stop()
        elif process.poll() is None:
            process.kill()
            process.wait()


@contextmanager
def portal(
    folder: Path, roles: Sequence[str] = ("web",), program: Sequence[str] = _PORTAL, **more: str
) -> Iterator[Server]:
    """`portal serve` on a house (bench/house.py). `more` are further variables of its environment."""
    command = [*program, "serve", *(word for role in roles for word in ("--role", role))]
    with _serving(command, folder, {**environment(folder), **more}) as server:
        yield server


def environment(folder: Path) -> dict[str, str]:
    """The settings of a house in `folder`, as variables."""
    return {
        "PORTAL_BASE_URL": "https://portal.example",
        "PORTAL_DATABASE_URL": f"sqlite:///{folder}/portal.db",
        "PORTAL_BLOBS_URL": f"file://{folder}/blobs",
        "PORTAL_KEYS_URL": f"keyring://{folder}/keys",
        "PORTAL_SUBMISSION_URL": "smtp://localhost:9",
        "PORTAL_HTTP_LISTEN": "127.0.0.1:0",
        "PORTAL_SMTP_LISTEN": "127.0.0.1:0",
        "PORTAL_SMTP_CERTIFICATE": f"{folder}/server.pem",
        "PORTAL_SMTP_KEY": f"{folder}/server.key",
        "PORTAL_SMTP_CONNECTIONS_PER_ADDRESS": "100",
        "PORTAL_SMTP_CONNECTIONS": "200",
        "PORTAL_MAX_MESSAGE_BYTES": str(150 * 1024 * 1024),
    }


@contextmanager
def floor(folder: Path) -> Iterator[Server]:
    """The same HTTP server with nothing in it (bench/hello.py)."""
    with _serving(("-m", "bench.hello", str(folder)), folder, {}) as server:
        yield server


@contextmanager
def on_server_core() -> Iterator[None]:
    """Runs a floor that needs no server where the servers run."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {SERVER_CORE})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
