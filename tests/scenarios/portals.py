"""A portal as an operator has it: set up and served by its command line, in processes of its own."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from typer.testing import CliRunner

from portal.assembly import House, open_house
from portal.audit.export import Export
from portal.cli import app
from portal.db.audit import Filter, Recorded
from portal.model.events import By, Who
from portal.operator import Operator
from portal.settings import Settings
from tests.servers import free_port

START_SECONDS = 30
T = TypeVar("T")


class Credential(NamedTuple):
    """What `portal relay add` shows once. A relay that is known by its certificate has neither name nor password."""

    id: str
    username: str
    password: str


class Serving:
    """A `portal serve` that runs. `ports` is what it said it listens on."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process, self._log = process, log
        self.ports: dict[str, int] = self._started()["ports"]

    def _started(self) -> dict[str, Any]:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for line in self.log().splitlines():
                with suppress(ValueError):
                    said = json.loads(line)
                    if said.get("event") == "serving":
                        return dict(said)
            assert self._process.poll() is None, f"the portal ended at once: {self.log()}"
            time.sleep(0.05)
        raise AssertionError(f"the portal did not serve in {START_SECONDS} s: {self.log()}")

    def log(self) -> str:
        return self._log.read_text()

    @property
    def pid(self) -> int:
        return self._process.pid

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = 30) -> int:
        return self._process.wait(seconds)

    def stop(self) -> None:
        """As an operator does: SIGTERM, and it ends well."""
        self.terminate()
        assert self.wait() == 0, self.log()

    def kill(self) -> None:
        """SIGKILL, to all of its processes."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)


class Portal:
    """One portal's folder and settings. Settings are written as in the environment, without the prefix."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.settings: dict[str, str] = {
            "BASE_URL": "https://portal.example",
            "DATABASE_URL": f"sqlite:///{folder}/portal.db",
            "BLOBS_URL": f"file://{folder}/blobs",
            "KEYS_URL": f"keyring://{folder}/keys",
            "HTTP_LISTEN": f"127.0.0.1:{free_port()}",
            "SMTP_LISTEN": f"127.0.0.1:{free_port()}",
        }
        self.set(**settings)
        self._starts = 0

    def set(self, **settings: object) -> None:
        self.settings |= {name: str(value) for name, value in settings.items()}

    def environment(self, **more: object) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PORTAL_")}
        mine = self.settings | {name: str(value) for name, value in more.items()}
        return kept | {f"PORTAL_{name}": value for name, value in mine.items()}

    # -- commands

    def run(self, *command: str, **more: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "portal.cli", *command],
            cwd=self.folder,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=60,
        )

    def process(self, *command: str, **more: object) -> str:
        """What a command says, which must end well, in a process of its own."""
        done = self.run(*command, **more)
        assert done.returncode == 0, f"portal {' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def cli(self, *command: str, **more: object) -> str:
        """The same in the process of the tests: the start of one takes a second of processor time."""
        done = CliRunner().invoke(app, list(command), env=self.environment(**more))
        assert done.exit_code == 0, f"portal {' '.join(command)}: {done.output}{done.exception}"
        return done.stdout

    def refuses(self, *command: str, **more: object) -> str:
        """The one line with which a command refuses."""
        done = self.run(*command, **more)
        said = " ".join(done.stderr.split())
        assert done.returncode == 1, f"portal {' '.join(command)} ended {done.returncode}: {done.stdout}{done.stderr}"
        assert said.startswith("portal: "), said
        assert "Traceback" not in said
        return said

    def set_up(self) -> Credential:
        """A new portal with one clinic and one relay."""
        self.process("init")
        self.cli("org", "add", "northside", "--name", "Northside Clinic", "--mail-from", "portal@clinic.example")
        self.cli("org", "domain", "add", "clinic.example", "--org", "northside")
        return self._relay(self.process("relay", "add", "relay", "--org", "northside"))

    def add_relay(self, name: str, *options: str) -> Credential:
        return self._relay(self.cli("relay", "add", name, "--org", "northside", *options))

    @staticmethod
    def _relay(said: str) -> Credential:
        words = dict(re.findall(r"^(Relay|user name:|password:) +(\S+)$", said, re.MULTILINE))
        return Credential(words["Relay"], words.get("user name:", ""), words.get("password:", ""))

    # -- what an operator sees

    def events(self, kind: str | None = None) -> list[Recorded]:
        """The record, oldest first."""

        async def look(house: House) -> list[Recorded]:
            return [
                line async for line in Export(house.db, house.source, By(Who.OPERATOR, "dora")).lines(Filter(kind=kind))
            ]

        return self._in_house(look)

    def messages(self) -> list[str]:
        """The ids of all that is stored, newest first."""

        async def look(house: House) -> list[str]:
            found = await Operator(house, "dora").list_messages("northside", None, None, None, None, 500)
            return list(dict.fromkeys(one.delivery.message_id for one in found))

        return self._in_house(look)

    def _in_house(self, look: Callable[[House], Awaitable[T]]) -> T:
        async def inside() -> T:
            settings: dict[str, Any] = {name.lower(): value for name, value in self.settings.items()}
            async with open_house(Settings(**settings)) as house:
                return await look(house)

        return asyncio.run(inside())

    # -- serving

    def start(self, *roles: str, **more: object) -> Serving:
        """`portal serve`, with these roles only if any are named."""
        self._starts += 1
        log = self.folder / f"serve-{self._starts}.log"
        asked = [word for role in roles for word in ("--role", role)]
        with log.open("wb") as target:
            process = subprocess.Popen(
                [sys.executable, "-m", "portal.cli", "serve", *asked],
                cwd=self.folder,
                env=self.environment(**more),
                stdin=subprocess.DEVNULL,
                stdout=target,
                stderr=target,
                start_new_session=True,
            )
        try:
            return Serving(process, log)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise

    @contextmanager
    def serving(self, *roles: str, **more: object) -> Iterator[Serving]:
        """Serves while the context is open; nothing of it is left afterwards."""
        serving = self.start(*roles, **more)
        try:
            yield serving
        finally:
            serving.kill()
