"""A real Postfix in folders of its own, configured by the recipe that docs/RELAY.md prints."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.servers import free_port

_RECIPES = Path(__file__).resolve().parents[2] / "docs" / "RELAY.md"
_BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# What is of this machine, not of the recipe: where Postfix lives here, and that clinic staff hand their mail in on loopback.
_MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
myhostname = relay.clinic.example
mydestination =
alias_maps =
inet_protocols = ipv4
inet_interfaces = 127.0.0.1
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtp_host_lookup = native
smtp_dns_support_level = disabled
in_flow_delay = 0
address_verify_poll_delay = 1
"""
_MASTER = """
{intake} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


def recipe(name: str, replacing: Mapping[str, str]) -> str:
    """The block of docs/RELAY.md whose fence says `name`, with the example's addresses replaced. Each must be in the page."""
    blocks = {fence.strip(): text for fence, text in _BLOCK.findall(_RECIPES.read_text())}
    text = str(blocks[name])
    for example, mine in replacing.items():
        text = text.replace(example, mine)
    return text


def _once(main: str) -> str:
    """Each parameter with its last value only: Postfix warns of others at each command, and a reload may hang on its own log."""
    entries = re.findall(r"^(\w+)( *=.*\n(?:[ \t].*\n)*)", main, re.MULTILINE)
    return "".join(f"{name}{value}" for name, value in dict(entries).items())


class Postfix:
    """One instance. `port` is where clinic staff hand in mail."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, main: str, master: str, **files: str) -> None:
        """Writes the configuration: that of this machine, and the given lines after it."""
        intake = f"127.0.0.1:{self.port}"
        self._write("main.cf", _once(_MAIN.format(folder=self.folder) + main))
        self._write("master.cf", _MASTER.format(intake=intake) + master)
        for name, text in files.items():
            self._write(name, text)

    def _write(self, name: str, text: str) -> None:
        path = self.folder / "etc" / name
        path.write_text(text)
        path.chmod(0o600 if "password" in name else 0o644)

    def set(self, lines: str) -> None:
        """Changes main.cf while it runs."""
        pairs = [line for line in lines.splitlines() if line.strip() and not line.startswith("#")]
        self._run("postconf", "-c", str(self.folder / "etc"), "-e", *pairs)
        self.reload()

    def reload(self) -> None:
        reloaded, until = self.log().count("reload -- version"), time.monotonic() + 20
        self._run("postfix", "-c", str(self.folder / "etc"), "reload")
        while self.log().count("reload -- version") <= reloaded:
            assert time.monotonic() < until, f"Postfix did not reload:\n{self.log()[-4000:]}"
            time.sleep(0.05)

    def start(self, name_server: str | None = None) -> None:
        """Starts it; with `name_server`, an address, in a mount namespace where that is the machine's."""
        command = ["postfix", "-c", str(self.folder / "etc"), "start-fg"]
        if name_server:
            resolv = self.folder / "resolv.conf"
            resolv.write_text(f"nameserver {name_server}\noptions timeout:4 attempts:2\n")
            mounting = f"mount --make-rprivate / && mount --bind {resolv} /etc/resolv.conf && exec {' '.join(command)}"
            command = ["unshare", "--mount", "sh", "-c", mounting]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.await_log("daemon started")

    def stop(self) -> None:
        if self._process is None:
            return
        subprocess.run(["postfix", "-c", str(self.folder / "etc"), "stop"], capture_output=True, timeout=60)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""

    def await_log(self, pattern: str, seconds: float = 20) -> re.Match[str]:
        """Where the log says so, now or soon."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = re.search(pattern, self.log())
            if found:
                return found
            assert self._process is None or self._process.poll() is None, self._ended()
            time.sleep(0.05)
        raise AssertionError(f"Postfix did not say {pattern!r}:\n{self.log()[-4000:]}")

    def _ended(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        return f"Postfix ended: {self._process.stdout.read().decode()}{self.log()}"

    def await_outcome(self, queue_id: str, status: str, seconds: float = 20) -> str:
        """The log line that says how a delivery of a mail went: sent, deferred or bounced."""
        return self.await_log(rf".*{queue_id}: to=.*status={status}.*", seconds)[0]

    def queued(self) -> list[str]:
        """The ids of the mails in the queue."""
        said = self._run("postqueue", "-c", str(self.folder / "etc"), "-j")
        return re.findall(r'"queue_id": "(\w+)"', said)

    def waiting(self) -> list[str]:
        """The recipients of mails in the queue, one for each mail."""
        said = self._run("postqueue", "-c", str(self.folder / "etc"), "-j")
        return [one["address"] for line in said.splitlines() for one in json.loads(line)["recipients"]]

    def flush(self) -> None:
        """Tries again whatever waits."""
        self._run("postqueue", "-c", str(self.folder / "etc"), "-f")

    def release(self) -> None:
        """Lets go whatever is on hold, and tries it."""
        config = str(self.folder / "etc")
        done = subprocess.run(["postsuper", "-c", config, "-H", "ALL"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        self.flush()

    def await_empty(self, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while self.queued():
            assert time.monotonic() < deadline, self.log()[-4000:]
            time.sleep(0.2)

    def drop_all(self) -> None:
        """Empties the queue, so that nothing of one test is seen by the next."""
        subprocess.run(
            ["postsuper", "-c", str(self.folder / "etc"), "-d", "ALL"], capture_output=True, timeout=60, check=True
        )

    @staticmethod
    def _run(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout


@contextmanager
def postfix() -> Iterator[Postfix]:
    """An instance that is not started yet; stopped and gone afterwards."""
    if os.geteuid() != 0:
        pytest.fail("Postfix starts as root only: run this shelf as root, or as CI does in a container", pytrace=False)
    if shutil.which("postfix") is None:
        pytest.fail("Postfix is not installed: apt-get install postfix libsasl2-modules", pytrace=False)
    folder = Path(tempfile.mkdtemp(prefix="portal-postfix-"))
    try:
        folder.chmod(0o755)
        for name in ("etc", "queue", "data"):
            (folder / name).mkdir(mode=0o755)
        shutil.chown(folder / "data", "postfix")
        made = Postfix(folder)
        try:
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
