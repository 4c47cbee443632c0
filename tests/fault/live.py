"""A portal as operators run it, for tests that break it: `portal serve` as a process of its own, killed and started again.

The mail host that takes its mail lives in the test's process and outlives every kill.
"""

import asyncio
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiosmtplib

from portal.assembly import House, blob_store, keyring, open_house
from portal.clock import Source
from portal.db.migrate import migrate
from portal.db.orgs import Organisation
from portal.model.events import By, Who
from portal.model.ids import OrgId
from portal.orgs.setup import Setup, new_organisation
from portal.settings import Settings
from portal.smtp.server import listen, server_context
from portal.smtp.sink import Caught, Sink, open_sink
from tests.servers import free_port
from tests.world import BASE, World, certificates

_START_SECONDS = 30


@dataclass(frozen=True)
class RelayLogin:
    """Where a relay hands over, and as whom."""

    port: int
    username: str
    password: str


@dataclass(frozen=True)
class Place:
    """A portal's folder, its settings, one clinic with its relay's login, and its mail host."""

    folder: Path
    settings: Settings
    clinic: Organisation
    login: RelayLogin
    sink: Sink
    mails: list[tuple[float, Caught]]
    """Every mail that the host took, with the wall clock's time."""

    @property
    def http_port(self) -> int:
        return int(self.settings.http_listen.rsplit(":", 1)[1])

    @property
    def environment(self) -> dict[str, str]:
        """The settings as an operator writes them."""
        said = {f"PORTAL_{name.upper()}": str(value) for name, value in self.settings if value not in (None, "")}
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": os.getcwd(), **said}


def client_tls() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificates() / "ca.pem"))


@asynccontextmanager
async def place(folder: Path, database_url: str = "", **settings: object) -> AsyncIterator[Place]:
    """A new portal, set up and not yet serving. Without `database_url` its rows lie in SQLite in the folder."""
    made = certificates()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(made / "server.pem", made / "server.key")
    mails: list[tuple[float, Caught]] = []
    sink = await open_sink("127.0.0.1", tls=tls, taken=lambda caught: mails.append((time.time(), caught)))
    chosen = {
        "base_url": BASE,
        "database_url": database_url or f"sqlite:///{folder}/portal.db",
        "blobs_url": f"file://{folder}/blobs",
        "keys_url": f"keyring://{folder}/keys",
        "submission_url": f"smtp://localhost:{sink.port}",
        "submission_ca": made / "ca.pem",
        "smtp_certificate": made / "server.pem",
        "smtp_key": made / "server.key",
        "http_listen": f"127.0.0.1:{free_port()}",
        "smtp_listen": f"127.0.0.1:{free_port()}",
        "smtp_connections_per_address": 50,
        **settings,
    }
    try:
        yield await _set_up(folder, Settings.model_validate(chosen), sink, mails, migrated=bool(database_url))
    finally:
        await sink.close()


async def _set_up(
    folder: Path, settings: Settings, sink: Sink, mails: list[tuple[float, Caught]], *, migrated: bool
) -> Place:
    keyring(settings).create()
    blob_store(settings).make()
    if not migrated:
        await migrate(settings.database_url, create=True)
    async with open_house(settings, Source()) as house:
        setup, org_id = Setup(house.db, house.source, By(Who.OPERATOR, "dora")), OrgId(house.source.new_id())
        fallback = house.fallback(By(Who.OPERATOR, "dora"))
        clinic = new_organisation(
            house.source, org_id, "northside", "Northside Clinic", house.keyring.add_organisation(org_id),
            mail_from="portal@clinic.example", address="", phone="", language="en",
        )  # fmt: skip
        await setup.add(clinic)
        await fallback.add_domain(clinic, "clinic.example")
        port = int(settings.smtp_listen.rsplit(":", 1)[1])
        login = await _relay_of(house, clinic, port)
    return Place(folder, settings, clinic, login, sink, mails)


async def _relay_of(house: House, clinic: Organisation, port: int) -> RelayLogin:
    fallback = house.fallback(By(Who.OPERATOR, "dora"))
    made = await fallback.add_relay(clinic, "edge", None)
    return RelayLogin(port, made.row.username or "", made.password or "")


# -- `portal ...` as processes


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "portal.cli", *words]


class Serving:
    """`portal serve` in a process group of its own; its log is kept in the place's folder."""

    def __init__(self, where: Place, roles: Sequence[str] = ()) -> None:
        self.where = where
        self._roles = [word for role in roles for word in ("--role", role)]
        self._process: subprocess.Popen[bytes] | None = None
        self.log = where.folder / "serve.log"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def spawn(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command("serve", *self._roles),
                cwd=self.where.folder,
                env=self.where.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def start(self) -> None:
        """Serves when it returns: both of its doors answer."""
        self.spawn()
        deadline = time.monotonic() + _START_SECONDS
        for port in (self.where.http_port, self.where.login.port):
            while not await _answers(port):
                assert self._process is not None
                assert self._process.poll() is None, f"the portal did not start: {self.tail()}"
                assert time.monotonic() < deadline, f"the portal did not listen: {self.tail()}"
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """SIGKILL to the server alone; returns once it and the render processes it leaves behind are gone."""
        assert self._process is not None
        left = children(self._process.pid)
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
        deadline = time.monotonic() + 10
        while any(_lives(one) for one in left):
            assert time.monotonic() < deadline, "render processes outlive their server"
            await asyncio.sleep(0.01)
        self._process = None

    async def stop(self) -> int:
        """SIGTERM, and the exit status."""
        if self._process is None:
            return 0
        self._process.terminate()
        try:
            return await asyncio.to_thread(self._process.wait, 40)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process = None

    def tail(self) -> str:
        return self.log.read_text(encoding="utf-8")[-4000:]


@asynccontextmanager
async def serving(where: Place, roles: Sequence[str] = ()) -> AsyncIterator[Serving]:
    """A portal that serves, ended afterwards however the test ends."""
    one = Serving(where, roles)
    try:
        await one.start()
        yield one
    finally:
        await one.stop()


def children(pid: int) -> set[int]:
    """The processes that a process has started, such as its renderers."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.add(int(stat.parent.name))
    return found


def _lives(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True


@dataclass(frozen=True)
class Said:
    status: int
    text: str


async def portal(where: Place, *words: str, kill_after: float | None = None) -> Said:
    """Runs a command of the CLI to its end, or kills it after so many seconds."""
    process = await asyncio.create_subprocess_exec(
        *command(*words),
        cwd=where.folder,
        env=where.environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    if kill_after is not None:
        asyncio.get_running_loop().call_later(kill_after, _kill, process)
    out, _ = await process.communicate()
    return Said(process.returncode or 0, out.decode())


def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()


# -- a relay


@asynccontextmanager
async def edge(world: World) -> AsyncIterator[RelayLogin]:
    """The mail edge of a world, on a port, and a login of Northside's for it."""
    made = certificates()
    listeners = await listen(
        world.intake,
        starttls=("127.0.0.1", 0),
        implicit=None,
        tls=server_context(made / "server.pem", made / "server.key", None),
        hostname="portal.example",
    )
    try:
        yield await _relay_of(world.house, world.northside, listeners.ports["starttls"])
    finally:
        await listeners.close(5)


@asynccontextmanager
async def relay(login: RelayLogin) -> AsyncIterator[aiosmtplib.SMTP]:
    """A relay's connection: STARTTLS with the certificate checked, AUTH. Raises OSError, aiosmtplib.SMTPException."""
    client = aiosmtplib.SMTP(
        hostname="localhost", port=login.port, start_tls=True, tls_context=client_tls(), timeout=60
    )
    try:
        await client.connect()
        await client.login(login.username, login.password)
        yield client
    finally:
        client.close()


async def hand_over(
    client: aiosmtplib.SMTP, sender: str, to: Sequence[str], raw: bytes, queue_id: str | None = None
) -> str:
    """Sends one message and gives what it was answered: "250 2.6.0 Message stored". A refusal at any step is an answer too."""
    try:
        if queue_id is not None:
            answer = await client.execute_command(b"XFORWARD", b"IDENT=" + queue_id.encode())
            assert answer.code == 250, answer
        await client.mail(sender)
        for one in to:
            await client.rcpt(one)
        reply = await client.data(raw)
    except aiosmtplib.SMTPResponseException as error:
        with suppress(aiosmtplib.SMTPException):
            await client.rset()
        return f"{error.code} {error.message}"
    return f"{reply.code} {reply.message}"
