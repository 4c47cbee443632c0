"""Runs the asked roles in one process until it is told to stop, and then lets what is in flight finish."""

import asyncio
import logging
import signal
import socket
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from structlog.typing import EventDict

from portal.assembly import House, open_house
from portal.clock import Source
from portal.db.engine import sqlite_path
from portal.db.host import HostClaim, this_host
from portal.lookup.http import HttpLookup
from portal.lookup.socketmap import MOST_BYTES, SocketMap
from portal.model.errors import RefusesToStart
from portal.settings import Role, Settings, split_listen
from portal.smtp.server import HostPort, listen, server_context
from portal.web.app import build
from portal.web.proxy import BehindProxy

_RENEW_SECONDS = 15
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def log_to_stderr(level: str) -> None:
    """JSON lines with the fields that are named where they are logged; no content, address or token ever is."""
    root = logging.getLogger()
    root.handlers = [_LibraryLog()]
    root.setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _where_only,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


class _LibraryLog(logging.Handler):
    """What libraries log, without their words: those may quote a request, a mail or an exception's text."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        log = structlog.get_logger("library")
        log.log(
            record.levelno, "logged", library=record.name, error=type(error).__name__ if error else None, exc_info=error
        )


def _where_only(logger: object, method: str, entry: EventDict) -> EventDict:
    """Where an exception came from, file and line; never its text, which may quote what was read."""
    error = entry.pop("exc_info", None)
    if isinstance(error, BaseException):
        frames = traceback.extract_tb(error.__traceback__)
        entry["at"] = " < ".join(f"{Path(one.filename).name}:{one.lineno} {one.name}" for one in reversed(frames))
    return entry


class _Server(uvicorn.Server):
    """Leaves the signals to `serve`."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class Running:
    """A portal that serves. `ports` has what it listens on by name (http, starttls, implicit); `tasks` end only by a fault."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.ports: dict[str, int] = {}
        self.tasks: list[asyncio.Task[None]] = []


@asynccontextmanager
async def running(settings: Settings, roles: Sequence[Role], source: Source | None = None) -> AsyncIterator[Running]:
    """Serves while the context is open. Leaving it drains: what is in flight finishes, leases are released."""
    async with AsyncExitStack() as stack:
        path = sqlite_path(settings.database_url)
        if path is not None and path.is_file():
            claim = HostClaim(path, this_host())
            stack.callback(claim.release)
            renewing = asyncio.create_task(_renew(claim))
            stack.push_async_callback(_ended, renewing)
        house = await stack.enter_async_context(
            open_house(settings, source, secret=bool({"web", "worker"} & set(roles)))
        )
        now_running = Running(house)
        if "worker" in roles:
            await _start_worker(stack, now_running)
        if "intake" in roles:
            await _start_intake(stack, now_running)
        if "lookup" in roles:
            await _start_lookup(stack, now_running, alone=set(roles) == {"lookup"})
        if "web" in roles:
            await _start_web(stack, now_running)
        yield now_running


async def serve(settings: Settings, roles: Sequence[Role], started: Callable[[Running], None] = lambda _: None) -> None:
    """Serves until SIGTERM or SIGINT. Raises what a role failed of."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(settings, roles) as now_running:
        log = structlog.get_logger("serve")
        log.info("serving", roles=list(roles), ports=now_running.ports)
        started(now_running)
        stopped = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([stopped, *now_running.tasks], return_when=asyncio.FIRST_COMPLETED)
        log.info("stopping")
        for task in done - {stopped}:
            stopped.cancel()
            task.result()


async def _start_worker(stack: AsyncExitStack, now_running: Running) -> None:
    worker = now_running.house.worker()
    task = asyncio.create_task(worker.run())
    now_running.tasks.append(task)

    async def stop() -> None:
        worker.stop()
        await _within(task, now_running.house.settings.drain_seconds)

    stack.push_async_callback(stop)


async def _start_intake(stack: AsyncExitStack, now_running: Running) -> None:
    settings, house = now_running.house.settings, now_running.house
    if settings.smtp_certificate is None or settings.smtp_key is None:
        raise RefusesToStart("the intake speaks TLS only: set PORTAL_SMTP_CERTIFICATE and PORTAL_SMTP_KEY")
    try:
        tls = server_context(settings.smtp_certificate, settings.smtp_key, settings.smtp_client_ca)
    except OSError as error:  # ssl.SSLError is one
        raise RefusesToStart(f"the intake's certificate, key or client CA can't be used: {error}") from error
    try:
        listeners = await listen(
            house.intake(),
            starttls=_where(settings.smtp_listen),
            implicit=_where(settings.smtps_listen),
            tls=tls,
            hostname=settings.smtp_hostname or settings.base_host,
            max_connections=settings.smtp_connections,
            max_per_address=settings.smtp_connections_per_address,
        )
    except OSError as error:
        raise RefusesToStart(f"the intake can't listen: {error}") from error
    stack.push_async_callback(listeners.close, float(settings.drain_seconds))
    now_running.ports |= listeners.ports


async def _start_lookup(stack: AsyncExitStack, now_running: Running, *, alone: bool) -> None:
    settings, house = now_running.house.settings, now_running.house
    if not settings.lookup_listen and not settings.lookup_http_listen:
        if alone:
            raise RefusesToStart("set PORTAL_LOOKUP_LISTEN or PORTAL_LOOKUP_HTTP_LISTEN: where relays ask")
        return
    answers = house.answers()
    if settings.lookup_listen:
        sockets = SocketMap(answers, settings.lookup_networks)
        listening = listening_socket(settings.lookup_listen)
        server = await asyncio.start_server(sockets.connected, sock=listening, limit=MOST_BYTES)
        stack.push_async_callback(sockets.close)
        stack.callback(server.close)
        if listening.family != socket.AF_UNIX:
            now_running.ports["lookup"] = listening.getsockname()[1]
    if settings.lookup_http_listen:
        listening = listening_socket(settings.lookup_http_listen)
        stack.callback(listening.close)
        app = HttpLookup(answers, settings.lookup_networks)
        now_running.tasks.append(await serve_http(stack, _http(app, settings.drain_seconds), listening))
        if listening.family != socket.AF_UNIX:
            now_running.ports["lookup http"] = listening.getsockname()[1]


async def _start_web(stack: AsyncExitStack, now_running: Running) -> None:
    settings, house = now_running.house.settings, now_running.house
    console = house.staff_site()
    apart = bool(settings.staff_listen)
    await _serve_app(stack, now_running, build(house.site(), house.not_ready, None if apart else console), "http")
    if apart:
        await _serve_app(stack, now_running, build(None, house.not_ready, console), "staff")


async def _serve_app(stack: AsyncExitStack, now_running: Running, app: Any, name: str) -> None:
    settings = now_running.house.settings
    listening = listening_socket(settings.staff_listen if name == "staff" else settings.http_listen)
    stack.callback(listening.close)
    is_unix = listening.family == socket.AF_UNIX
    if is_unix or settings.http_proxy:
        app = BehindProxy(app, None if is_unix else settings.http_proxy)
    now_running.tasks.append(await serve_http(stack, _http(app, settings.drain_seconds), listening))
    if not is_unix:
        now_running.ports[name] = listening.getsockname()[1]


def _http(app: Any, drain_seconds: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        proxy_headers=False,  # uvicorn takes the first address, which anybody can write
        timeout_graceful_shutdown=drain_seconds,
    )


async def serve_http(stack: AsyncExitStack, config: uvicorn.Config, listening: socket.socket) -> "asyncio.Task[None]":
    """Serves until the stack is left, which lets requests in flight finish."""
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listening]))

    async def stop() -> None:
        server.should_exit = True
        await _within(task, (config.timeout_graceful_shutdown or 0) + 2)

    stack.push_async_callback(stop)
    while not server.started and not task.done():  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0.005)
    return task


def listening_socket(where: str) -> socket.socket:
    """A listening socket. A unix one is made in a folder that only its owner and group enter."""
    try:
        if where.startswith("unix:"):
            path = Path(where.removeprefix("unix:"))
            if path.parent.stat().st_mode & 0o007:
                raise RefusesToStart(f"{path.parent} is open to everybody on this machine; give it mode 0750")
            path.unlink(missing_ok=True)
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(str(path))
            path.chmod(0o660)
        else:
            host, port = split_listen(where)
            listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        listening.setblocking(False)
    except OSError as error:
        raise RefusesToStart(f"can't listen on {where}: {error.strerror}") from error
    return listening


def _where(listen_at: str) -> HostPort | None:
    return split_listen(listen_at) if listen_at else None


async def _renew(claim: HostClaim) -> None:
    while True:
        await asyncio.sleep(_RENEW_SECONDS)
        with suppress(OSError):  # a full disk must not stop what is being served
            claim.renew()


async def _ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _within(task: "asyncio.Task[None]", seconds: float) -> None:
    """Waits for a task that was told to end; after `seconds` it is cancelled, and its rows stay claimable."""
    await asyncio.wait([task], timeout=seconds)
    if not task.done():
        await _ended(task)
