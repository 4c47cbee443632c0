"""The listeners: STARTTLS and implicit TLS, limits a connection and an address, and an orderly end.

Client certificates are pinned: the file given as `client_ca` holds the certificates themselves (or a CA's), the intake
then looks the fingerprint up. Python's ssl has no way to ask for a certificate and judge it later; OpenSSL verifies what
is presented. So a self-signed certificate must stand in that file, and VERIFY_X509_PARTIAL_CHAIN lets a certificate in
it that is not self-signed be its own anchor. A client that presents any other certificate fails in the handshake; one
that presents none goes on and gives a password. Its dates are checked, and its extended key usage, if it has one, must
name client authentication: certificates of public CAs often name servers only, so relays better get one of their own.
"""

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from portal.intake import Intake
from portal.smtp.session import Session
from portal.smtp.stream import HANDSHAKE_SECONDS, Stream, Wiring

HostPort = tuple[str, int]


class Doorway:
    """Counts connections, and holds commits that must outlive theirs."""

    def __init__(self, max_connections: int, max_per_address: int) -> None:
        self._max_connections = max_connections
        self._max_per_address = max_per_address
        self._streams: set[Stream] = set()
        self._by_address: Counter[str] = Counter()
        self._work: set[asyncio.Task[Any]] = set()

    def enter(self, stream: Stream) -> bool:
        if len(self._streams) >= self._max_connections or self._by_address[stream.origin] >= self._max_per_address:
            return False
        self._streams.add(stream)
        self._by_address[stream.origin] += 1
        return True

    def leave(self, stream: Stream) -> None:
        self._streams.discard(stream)
        self._by_address[stream.origin] -= 1
        if not self._by_address[stream.origin]:
            del self._by_address[stream.origin]

    def keep(self, work: asyncio.Task[Any]) -> None:
        self._work.add(work)
        work.add_done_callback(self._work.discard)

    async def empty(self, seconds: float) -> None:
        """Sends the idle away at once, waits for transactions and commits, then cuts what is left."""
        for stream in list(self._streams):
            stream.drain_out()
        deadline = asyncio.get_running_loop().time() + seconds
        while (self._streams or self._work) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # two sets to watch, once in a process's life
        left = list(self._work)
        for work in left:
            work.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for stream in list(self._streams):
            stream.cut()


class Listeners:
    """Open listeners. `ports` has the port of each by name: "starttls", "implicit"."""

    def __init__(self, door: Doorway) -> None:
        self._door = door
        self._servers: list[asyncio.Server] = []
        self.ports: dict[str, int] = {}

    async def open(
        self, name: str, where: HostPort, session: Callable[[], Stream], tls: ssl.SSLContext | None = None
    ) -> None:
        """Listens at `where` (port 0: any), with `tls` from the first byte. Raises OSError."""
        patience = HANDSHAKE_SECONDS if tls else None
        loop = asyncio.get_running_loop()
        server = await loop.create_server(session, *where, ssl=tls, ssl_handshake_timeout=patience)
        self._servers.append(server)
        self.ports[name] = server.sockets[0].getsockname()[1]

    async def close(self, drain_seconds: float) -> None:
        """Takes no new connection, answers 421 to idle ones, and gives transactions `drain_seconds` to be committed."""
        for server in self._servers:
            server.close()
        await self._door.empty(drain_seconds)


async def listen(
    intake: Intake,
    *,
    starttls: HostPort | None,
    implicit: HostPort | None,
    tls: ssl.SSLContext,
    hostname: str,
    max_connections: int = 50,
    max_per_address: int = 5,
    read_timeout: float = 300.0,
    auth_delay: float = 1.0,
) -> Listeners:
    """Opens the asked listeners. `read_timeout` and `auth_delay` are seconds. Raises OSError."""
    logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd logs what clients say below that
    door = Doorway(max_connections, max_per_address)
    listeners = Listeners(door)
    session = partial(Session, Wiring(hostname, door, tls, read_timeout), intake, auth_delay)
    try:
        if starttls is not None:
            await listeners.open("starttls", starttls, session)
        if implicit is not None:
            await listeners.open("implicit", implicit, session, tls)
    except BaseException:
        await listeners.close(0)
        raise
    return listeners


def server_context(cert_file: Path, key_file: Path, client_ca: Path | None = None) -> ssl.SSLContext:
    """TLS 1.2 or later with our certificate; with `client_ca`, client certificates are asked for but not required.

    Raises OSError or ssl.SSLError when a file is missing or is not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.load_cert_chain(cert_file, key_file)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
