"""A real Exim in a folder of its own, configured by the recipe that docs/RELAY.md prints.

Debian's package can't be installed beside Postfix: .ci/services unpacks it under /opt/portal-exim and makes its user.
"""

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers import free_port

_UNPACKED = Path("/opt/portal-exim/usr/sbin/exim4")
_MAIN = """
keep_environment =
exim_path = {program}
primary_hostname = relay.clinic.example
spool_directory = {folder}/spool
log_file_path = {folder}/%slog
pid_file_path = {folder}/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
domainlist local_domains =
tls_advertise_hosts =
host_lookup =
rfc1413_query_timeout = 0s
acl_smtp_rcpt = accept
acl_smtp_data = accept
deliver_drop_privilege = true
{main}
begin routers
{routers}
begin transports
{transports}
begin authenticators
{authenticators}
begin retry
{retry}
"""


class Exim:
    """A running instance. `port` is where clinic staff hand in mail."""

    def __init__(self, folder: Path, program: str) -> None:
        self.folder, self.port, self._program = folder, free_port(), program

    def log(self) -> str:
        path = self.folder / "mainlog"
        return path.read_text(errors="replace") if path.exists() else ""

    def await_log(self, text: str, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.log():
            assert time.monotonic() < deadline, f"Exim did not say {text!r}: {self.log()[-4000:]}"
            time.sleep(0.05)

    def is_idle(self) -> bool:
        """Whether the daemon alone is there: nothing is being received or delivered."""
        config = str(self.folder / "exim.conf").encode()
        return sum(config in _command(one).split(b"\0") for one in Path("/proc").glob("[0-9]*")) <= 1

    def run(self, *arguments: str) -> str:
        """What the program says, with this instance's configuration."""
        command = [self._program, "-C", str(self.folder / "exim.conf"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def waiting(self) -> list[str]:
        """The recipients of mails in the queue who have not been dealt with, one for each mail."""
        lines = [line.split() for line in self.run("-bp").splitlines() if line.startswith(" " * 8)]
        return [words[0] for words in lines if len(words) == 1]  # `D address` is done with


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:  # it has just ended
        return b""


def _await_start(made: Exim, daemon: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 20
    while "daemon started" not in made.log():
        said = (made.folder / "out").read_text()
        assert daemon.poll() is None, f"Exim ended: {said}"
        assert time.monotonic() < deadline, f"Exim did not start: {said}{made.log()}"
        time.sleep(0.05)


@contextmanager
def exim(
    name_server: str, routers: str, transports: str, authenticators: str, main: str = "", retry: str = "* * F,2h,5m"
) -> Iterator[Exim]:
    """Exim with these blocks, in a mount namespace where `name_server` is the machine's. `main` is for the first part."""
    program = str(_UNPACKED) if _UNPACKED.exists() else shutil.which("exim4")
    if program is None:
        pytest.fail("Exim is not there: .ci/services unpacks it", pytrace=False)
    folder = Path(tempfile.mkdtemp(prefix="portal-exim-"))
    made = Exim(folder, program)
    try:
        folder.chmod(0o755)
        shutil.chown(folder, "Debian-exim")
        (folder / "spool").mkdir()
        shutil.chown(folder / "spool", "Debian-exim")
        config = folder / "exim.conf"
        blocks = {"routers": routers, "transports": transports, "authenticators": authenticators}
        config.write_text(
            _MAIN.format(folder=folder, program=program, port=made.port, main=main, retry=retry, **blocks)
        )
        resolv = folder / "resolv.conf"
        resolv.write_text(f"nameserver {name_server}\noptions timeout:4 attempts:2 trust-ad\n")
        mounting = f"mount --make-rprivate / && mount --bind {resolv} /etc/resolv.conf"
        command = f"{mounting} && exec {program} -C {config} -bdf -q1m"
        with (folder / "out").open("wb") as out:
            daemon = subprocess.Popen(["unshare", "--mount", "sh", "-c", command], stdout=out, stderr=out)
        try:
            _await_start(made, daemon)
            yield made
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(10)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
