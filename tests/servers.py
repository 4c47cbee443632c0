"""Real servers for tests: started on loopback with folders of their own, ended with the tests.

A server that is not installed fails the tests that need it, with a line that says what to install; none is skipped.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

_START_SECONDS = 30


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Postgres:
    """A running PostgreSQL. `fresh` makes a database, empty or as a copy of a template."""

    def __init__(self, port: int, psql: Path) -> None:
        self.port = port
        self._psql = psql
        self._made = 0

    def url(self, name: str) -> str:
        return f"postgresql://portal@127.0.0.1:{self.port}/{name}"

    def sql(self, statement: str, database: str = "postgres", seconds: float = 60) -> str:
        """Runs a statement as the owner of the databases; the answer as plain text."""
        done = subprocess.run(
            [self._psql, "-qAtX", "-v", "ON_ERROR_STOP=1", "-d", self.url(database), "-c", statement],
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def await_ready(self) -> None:
        """It listens a moment before it takes anybody in."""
        for _ in range(_START_SECONDS * 10):
            with suppress(AssertionError):
                self.sql("SELECT 1")
                return
            time.sleep(0.1)
        raise AssertionError(f"PostgreSQL was not ready in {_START_SECONDS} s")

    def fresh(self, template: str = "template0") -> str:
        """The name of a new database."""
        self._made += 1
        name = f"test_{self._made}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def postgres() -> Iterator[Postgres]:
    """PostgreSQL on a free port, in a data folder of its own, without fsync; gone afterwards."""
    binaries = _postgres_binaries()
    folder = Path(tempfile.mkdtemp(prefix="portal-postgres-"))
    try:
        user = _unprivileged(folder)
        data, port = folder / "data", free_port()
        _run([*user, binaries / "initdb", "-D", data, "-U", "portal", "--auth=trust", "-E", "UTF8", "--locale=C", "-N"])
        options = {
            "port": port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "32MB",
        }
        with (folder / "data" / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in options.items())
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen([*user, binaries / "postgres", "-D", data], stdout=log, stderr=log, cwd=folder)
        try:
            _await_port(port, server, folder / "log")
            made = Postgres(port, binaries / "psql")
            made.await_ready()
            yield made
        finally:
            server.send_signal(signal.SIGINT)  # a fast shutdown: open connections are ended
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


PATTERN = b"PORTAL-HARMLESS-STRING-THAT-ITS-OWN-TESTS-CALL-A-VIRUS"
"""What the tests' own signature finds, wherever it stands. It harms nobody."""
SIGNATURE = "Portal.Test.Harmless"


class Clamd:
    """A running clamd that knows one signature. `where` is what the setting says: a socket's path, or `host:port`."""

    def __init__(self, server: "subprocess.Popen[bytes]", path: Path, port: int) -> None:
        self.server, self.path, self.tcp = server, str(path), f"127.0.0.1:{port}"

    def hang(self) -> None:
        """It goes on listening and answers nobody, until `go_on`."""
        self.server.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.server.send_signal(signal.SIGCONT)


@contextmanager
def clamd(**options: str) -> Iterator[Clamd]:
    """clamd in a folder of its own, with a signature database of one line; takes streams up to 2 MB."""
    program = shutil.which("clamd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.fail("clamd is not installed: apt-get install clamav-daemon", pytrace=False)
    folder, port = Path(tempfile.mkdtemp(prefix="portal-clamd-")), free_port()
    try:
        (folder / "own.ndb").write_text(f"{SIGNATURE}:0:*:{PATTERN.hex()}\n")
        said = {
            "DatabaseDirectory": folder,
            "LocalSocket": folder / "clamd.ctl",
            "TCPSocket": port,
            "TCPAddr": "127.0.0.1",
            "Foreground": "yes",
            "StreamMaxLength": "2M",
            "AlertExceedsMax": "yes",
            **options,
        }
        (folder / "clamd.conf").write_text("".join(f"{name} {value}\n" for name, value in said.items()))
        with (folder / "log").open("wb") as log:
            command = [program, f"--config-file={folder / 'clamd.conf'}"]
            server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            _await_port(port, server, folder / "log")
            yield Clamd(server, folder / "clamd.ctl", port)
        finally:
            server.send_signal(signal.SIGCONT)
            server.kill()
            server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _postgres_binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("postgres")
    if on_path is None:
        pytest.fail("PostgreSQL is not installed: apt-get install postgresql", pytrace=False)
    return Path(on_path).resolve().parent


def _unprivileged(folder: Path) -> list[str]:
    """PostgreSQL refuses to run as root: the prefix of a command that runs it as its own user, who then owns the folder."""
    if os.geteuid() != 0:
        return []
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        pytest.fail("there is no user postgres: apt-get install postgresql", pytrace=False)
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]


def _run(command: list[str | Path]) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd="/", env=os.environ | {"LC_ALL": "C"}
    )
    assert done.returncode == 0, done.stderr


def _await_port(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, f"the server ended at once: {log.read_text()}"
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError(f"the server did not listen in {_START_SECONDS} s: {log.read_text()}")
