"""A laboratory of recipients' domains in one process: name server, mail hosts and policy sites.

Each host has a loopback address of its own; ports are free ones, so it takes no privileges, unless real relays shall find the hosts
(`real_ports`). The name server answers from a table and sets AD as a validating resolver would for signed zones (what real signatures
do is tried in test_dnssec.py). A mail host is a coroutine over one connection.
"""

import asyncio
import contextlib
import hashlib
import itertools
import os
import socket
import ssl
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from portal.clock import Source
from portal.transport.probe import Probe
from portal.transport.resolver import Resolver
from portal.transport.sts import Policies
from portal.transport.verdicts import Prober
from tests.scenarios.authority import Authority, Pair
from tests.servers import free_port

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Site = Callable[[], bytes | None]
"""What a policy site answers, whole; None: nothing ever."""


@dataclass
class Zone:
    """The name server's table. Names without the final dot; `broken` answer SERVFAIL, `silent` nothing."""

    records: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    broken: set[tuple[str, str]] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    secure: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    """Those with a record, and those above them."""

    def add(self, name: str, kind: str, *values: str, secure: bool = False) -> None:
        self.records.setdefault((name, kind), []).extend(values)
        labels = name.split(".")
        self.names |= {".".join(labels[at:]) for at in range(len(labels))}
        if secure:
            self.secure.add(name)

    def answer(self, wire: bytes, *, over_udp: bool) -> bytes | None:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        if name in self.silent:
            return None
        reply = dns.message.make_response(query, recursion_available=True)
        if (name, kind) in self.broken or (name, "ANY") in self.broken:
            reply.set_rcode(dns.rcode.SERVFAIL)
            return reply.to_wire()
        at, secure = name, name in self.secure
        while (alias := self.records.get((at, "CNAME"))) and len(reply.answer) < 20:
            reply.answer.append(dns.rrset.from_text(f"{at}.", 60, "IN", "CNAME", *alias))
            at = alias[0].rstrip(".").lower()
            secure = secure and at in self.secure
        values = self.records.get((at, kind), [])
        if values:
            reply.answer.append(dns.rrset.from_text(f"{at}.", 60, "IN", kind, *values))
        elif at not in self.names:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        if secure:
            reply.flags |= dns.flags.AD
        packed = reply.to_wire(max_size=65535)
        if over_udp and len(packed) > 1232:
            reply.answer.clear()
            reply.flags |= dns.flags.TC
            packed = reply.to_wire()
        return packed


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, zone: Zone) -> None:
        self._zone = zone

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        said = self._zone.answer(data, over_udp=True)
        if said is not None:
            self._transport.sendto(said, addr)


def _answers(zone: Zone, sock: socket.socket, stop: threading.Event) -> None:
    """For relays, which ask ten thousand times and do not wait for a loop that is busy. An answer is remembered, so the zone must be
    whole before the first question."""
    known: dict[bytes, bytes] = {}
    sock.settimeout(0.2)
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            asked, client = sock.recvfrom(4096)
            if asked[2:] not in known:
                known[asked[2:]] = (zone.answer(asked, over_udp=True) or b"")[2:]
            if said := known[asked[2:]]:
                sock.sendto(asked[:2] + said, client)
    sock.close()


async def name_server(zone: Zone, address: str, port: int) -> Callable[[], None]:
    """Answers over UDP until the returned function is called."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(zone), local_addr=(address, port))

    def close() -> None:
        loop.call_soon_threadsafe(transport.close)

    return close


@dataclass(frozen=True)
class Taken:
    """A mail that a host took for one recipient. `tls` is the version, such as TLSv1.3; empty when it came in the clear."""

    recipient: str
    tls: str
    raw: bytes


class Lab:
    """See the module. `prober` makes what is tested, with time limits fit for tests; `taken` is what the hosts took."""

    def __init__(self, folder: Path, stack: contextlib.AsyncExitStack, *, real_ports: bool = False) -> None:
        self.zone = Zone()
        self.taken: list[Taken] = []
        self._net = f"127.{80 + os.getpid() % 150}" if real_ports else "127.77"
        self.authority, self.stranger = Authority(folder / "known"), Authority(folder / "unknown")
        self._stack = stack
        self._numbers = itertools.count(1)
        self.mail_port, self._dns_port = (25, 53) if real_ports else (_port_of_all(), 0)
        self.site_port = _port_of_all()
        self.dns = ""
        self.connections: dict[str, int] = {}
        self._talks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        address = f"{self._net}.53.53" if self._dns_port else "127.0.0.1"
        sock.bind((address, self._dns_port or _port_of_all()))  # free for TCP, too
        port = sock.getsockname()[1]
        if self._dns_port:
            stop = threading.Event()
            thread = threading.Thread(target=_answers, args=(self.zone, sock, stop))
            thread.start()
            self._stack.callback(thread.join)
            self._stack.callback(stop.set)
        else:
            transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(self.zone), sock=sock)
            self._stack.callback(transport.close)
        await self.listen(address, port, self._dns_over_tcp)
        self.dns = f"{address}:{port}"

    async def hang_up(self) -> None:
        """Ends every connection that is still open."""
        for task in list(self._talks):
            task.cancel()
        await asyncio.gather(*self._talks)
        await asyncio.sleep(0.05)

    async def _dns_over_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(2), "big")
        said = self.zone.answer(await reader.readexactly(length), over_udp=False) or b""
        writer.write(len(said).to_bytes(2, "big") + said)
        await writer.drain()

    async def listen(self, address: str, port: int, talk: Talk, tls: ssl.SSLContext | None = None) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections[address] = self.connections.get(address, 0) + 1
            task = asyncio.current_task()
            assert task is not None
            self._talks.add(task)
            try:
                await talk(reader, writer)
            except (OSError, EOFError, asyncio.LimitOverrunError, asyncio.CancelledError):
                pass
            finally:
                writer.transport.abort()
                self._talks.discard(task)

        server = await asyncio.start_server(serve, address, port, ssl=tls, limit=1 << 20)
        self._stack.callback(server.close)

    def address(self) -> str:
        """The next loopback address."""
        number = next(self._numbers)
        return f"{self._net}.{number // 250}.{number % 250 + 1}"

    async def host(self, name: str, talk: Talk | None, *, secure: bool = False) -> str:
        """A mail host with an address record; without `talk` nothing listens there."""
        address = self.address()
        self.zone.add(name, "A", address, secure=secure)
        if talk is not None:
            await self.listen(address, self.mail_port, talk)
        return address

    def with_tls(
        self,
        pair: Pair,
        *,
        only_old: bool = False,
        before: Talk | None = None,
        rcpt: str = "250 2.1.5 yes",
        end: str = "250 2.0.0 taken",
    ) -> Talk:
        """A host that does STARTTLS with this certificate, and takes mail, unless `rcpt` or `end` (of a message) refuse it."""
        context = server_tls(pair, only_old=only_old)

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if not await _greet(reader, writer, "SIZE 1000000", "STARTTLS"):
                return
            writer.write(b"220 go ahead\r\n")
            if before is not None:
                await before(reader, writer)
            await writer.start_tls(context)
            await self._take(reader, writer, rcpt, end)

        return talk

    def in_clear(self, ehlo: str = "250 mail.example") -> Talk:
        """A host without STARTTLS. It takes what a relay should not give it."""

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mail.example ESMTP\r\n")
            await self._take(reader, writer, ehlo=ehlo)

        return talk

    async def _take(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        rcpt: str = "250 2.1.5 yes",
        end: str = "250 2.0.0 taken",
        ehlo: str = "250 mail.example",
    ) -> None:
        tls, recipients = writer.get_extra_info("ssl_object"), list[str]()
        version = tls.version() if tls else ""
        while line := (await reader.readuntil(b"\n")).decode("latin-1").strip():
            verb = line[:4].upper()
            said = {"EHLO": ehlo, "RCPT": rcpt, "DATA": "354 go on", "QUIT": "221 2.0.0 bye"}.get(verb, "250 2.0.0 yes")
            writer.write(f"{said}\r\n".encode())
            if verb == "RCPT" and rcpt.startswith("2"):
                recipients.append(line.partition("<")[2].partition(">")[0])
            elif verb == "DATA":
                raw = await reader.readuntil(b"\r\n.\r\n")
                if end.startswith("2"):
                    self.taken += [Taken(one, version, raw) for one in recipients]
                recipients = []
                writer.write(f"{end}\r\n".encode())
            elif verb == "QUIT":
                await writer.drain()
                return

    async def site(self, domain: str, said: Site, *, pair: Pair | None = None, policy_id: str = "1") -> None:
        """The policy site of a domain, and its record."""
        host, address = f"mta-sts.{domain}", self.address()
        self.zone.add(f"_mta-sts.{domain}", "TXT", f'"v=STSv1; id={policy_id};"')
        self.zone.add(host, "A", address)

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            answer = said()
            if answer is None:
                await asyncio.sleep(60)
            writer.write(answer or b"")
            await writer.drain()
            await asyncio.sleep(0.05)

        await self.listen(address, self.site_port, talk, server_tls(pair or self.authority.server(host)))

    def prober(
        self, *, validating: bool = True, seconds: float = 8.0, source: Source | None = None, **more: Any
    ) -> Prober:
        resolver, now = Resolver(self.dns, validating=validating), (source or Source()).now
        return Prober(
            resolver,
            Policies(
                resolver, now, lambda address: True, port=self.site_port, authorities=self.authority.ca, seconds=1.5
            ),
            Probe(
                "portal.example",
                port=self.mail_port,
                authorities=self.authority.ca,
                connect_seconds=1.0,
                seconds=1.0,
                host_seconds=3.0,
            ),
            now,
            lambda address: address.startswith("127."),
            seconds=seconds,
            **{"patience": seconds + 1, **more},
        )


@contextlib.asynccontextmanager
async def laboratory(folder: Path, *, real_ports: bool = False) -> AsyncIterator[Lab]:
    async with contextlib.AsyncExitStack() as stack:
        made = Lab(folder, stack, real_ports=real_ports)
        await made.start()
        yield made
        await made.hang_up()


def _port_of_all() -> int:
    """A port that nobody has on any loopback address."""
    return free_port()


def server_tls(pair: Pair, *, only_old: bool = False) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(*pair)
    if only_old:
        made.set_ciphers("DEFAULT:@SECLEVEL=0")
        with warnings.catch_warnings():  # that it is deprecated is the point
            warnings.simplefilter("ignore", DeprecationWarning)
            made.minimum_version = made.maximum_version = ssl.TLSVersion.TLSv1
    return made


# -- mail hosts


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *offers: str) -> bool:
    """Greeting and EHLO; whether STARTTLS was asked for."""
    writer.write(b"220 mail.example ESMTP\r\n")
    await reader.readuntil(b"\n")
    lines = ["mail.example", *offers]
    writer.write(b"".join(f"250{'-' if n < len(lines) - 1 else ' '}{x}\r\n".encode() for n, x in enumerate(lines)))
    return (await reader.readuntil(b"\n")).strip().upper() == b"STARTTLS"


def saying(*lines: str, then: Talk | None = None, offers: tuple[str, ...] | None = None) -> Talk:
    """A host that says these lines, one at the greeting and one after each command, then does `then` or closes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number, line in enumerate(lines):
            if number:
                await reader.readuntil(b"\n")
            writer.write(f"{line}\r\n".encode("latin-1"))
        await writer.drain()
        if then is not None:
            await reader.readuntil(b"\n")
            await then(reader, writer)
        elif len(lines) == 1:
            await reader.read(100)

    return talk


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A byte every 0.1 seconds, for ever."""
    for sign in itertools.cycle(b"220-still starting, wait\r\n"):
        writer.write(bytes([sign]))
        await writer.drain()
        await asyncio.sleep(0.1)


async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"220-more\r\n" * 1000)
        await writer.drain()
        await asyncio.sleep(0.01)  # the laboratory has one loop for all its hosts


async def endless_line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"2" * 65536)
        await writer.drain()
        await asyncio.sleep(0.01)


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\xff this is no TLS \r\n" * 20)
    await writer.drain()
    await asyncio.sleep(0.2)


# -- records and policies


def policy(*lines: str, kind: str = "text/plain; charset=utf-8", status: str = "200 OK", head: str = "") -> Site:
    body = "".join(f"{line}\r\n" for line in lines).encode()
    said = (
        f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return lambda: said.encode() + body


def sts(mode: str, *hosts: str, max_age: int = 86400) -> Site:
    return policy("version: STSv1", f"mode: {mode}", *(f"mx: {one}" for one in hosts), f"max_age: {max_age}")


def tlsa(certificate: Path, usage: int, selector: int, matching: int) -> str:
    """A TLSA record's text for a PEM file."""
    read = x509.load_pem_x509_certificate(certificate.read_bytes())
    shown = read.public_bytes(Encoding.DER)
    if selector == 1:
        shown = read.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = {0: shown, 1: hashlib.sha256(shown).digest(), 2: hashlib.sha512(shown).digest()}[matching]
    return f"{usage} {selector} {matching} {digest.hex()}"


def with_chain(pair: Pair, authority: Authority, folder: Path) -> Pair:
    """The same, with the authority's certificate sent along."""
    chain = folder / f"chain-{pair.certificate.name}"
    chain.write_bytes(pair.certificate.read_bytes() + authority.ca.read_bytes())
    return Pair(chain, pair.key)
