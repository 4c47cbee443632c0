"""`portal relay replay`: reads a Postfix log and says who would have come here, by domain, had the relay enforced TLS.

A delivery and the TLS of its connection stand on lines of their own, written by one process: they are joined by process and
host. A mail that waits is one, however often it is tried. Whatever else a line says, the answers of other hosts among it, is not
looked at: what is read is anchored at the line's beginning, and nothing but domain names comes out. Memory is bounded: what is
beyond the bounds is counted under OTHERS, and said.
"""

import gzip
import io
import re
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import BinaryIO, Literal

from portal.model.errors import InputRefused
from portal.model.parties import domain_name

Fate = Literal["verified", "trusted", "tls", "clear", "no_tls", "deferred", "bounced"]
OTHERS, NO_DOMAIN = "(other domains)", "(no domain name)"

_MOST_LINE_BYTES = 8192
_MOST_DOMAINS = 20_000
_MOST_PROCESSES = 5_000
_MOST_WAITING = 100_000

# Nov 28 01:32:01 relay postfix/smtp[123]: ...  ·  2026-11-28T01:32:01.123456+00:00 relay postfix-out/smtp[123]: ...
_HEAD = re.compile(
    rb"(?:[A-Z][a-z]{2} [ 0-9]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT[0-9:.]{8,24}(?:Z|[+-]\d\d:?\d\d)?) \S{1,255} "
    rb"([\w./-]{1,80}/smtp)\[(\d{1,10})\]: "
)
_TLS = re.compile(rb"(Anonymous|Untrusted|Trusted|Verified) TLS connection (?:established|reused) to (\S{1,300}): TLSv")
_TLS_LOST = re.compile(rb"(?:[0-9A-Za-z]{6,24}: )?Cannot start TLS: |SSL_connect error to ")
# The local part may be quoted, and may then hold anything, also `>, relay=`. RFC 5321 4.1.2.
_DELIVERY = re.compile(
    rb'([0-9A-Za-z]{6,24}): to=<((?:"(?:[^"\\]|\\.)*+"|[^"<>])*+)>, (?:orig_to=<(?:"(?:[^"\\]|\\.)*+"|[^"<>])*+>, )?'
    rb"relay=(\S{1,300}), (?:conn_use=(\d{1,6}), )?delay=[\d.e+]{1,20}, delays=[\d./e+]{1,60}, dsn=[245]\.\d{1,3}\.\d{1,3}, "
    rb"status=(sent|deferred|bounced) \((.*)"
)
_TLS_FAILURE = re.compile(
    rb"TLS is required, but (?:was not offered by|host \S+ refused to start TLS)|Cannot start TLS: |"
    rb"Server certificate not (?:trusted|verified)|non DNSSEC destination|no TLSA records found|TLSA records unusable"
)
_LOOPBACK = re.compile(rb"\[(?:127\.0\.0\.1|::1)\]")


@dataclass
class Counts:
    """Recipients by what became of their mail. `tls` is TLS whose certificate no known authority signed; `no_tls` waits because TLS
    was asked for and failed; `deferred` waits for another reason. A waiting mail that was sent later counts as sent.
    """

    verified: int = 0
    trusted: int = 0
    tls: int = 0
    clear: int = 0
    no_tls: int = 0
    deferred: int = 0
    bounced: int = 0

    @property
    def all(self) -> int:
        return sum(getattr(self, one.name) for one in fields(self))

    @property
    def encrypt(self) -> int:
        """Would have come here under level `encrypt`, any certificate."""
        return self.clear + self.no_tls

    @property
    def verify(self) -> int:
        """The same under `verify`: TLS with a certificate that no authority vouches for is not enough either."""
        return self.encrypt + self.tls

    @property
    def waiting(self) -> int:
        """Would have been offered besides: the arbiter has them wait, `trust` takes them."""
        return self.deferred


@dataclass
class Replay:
    """What a log said. `domains` is in no order; `lines` counts what was read, `unread` lines too long to be Postfix's."""

    domains: dict[str, Counts] = field(default_factory=dict)
    lines: int = 0
    deliveries: int = 0
    unread: int = 0
    cut_off: bool = False
    saw_tls: bool = False
    forgot: bool = False

    @property
    def total(self) -> Counts:
        made = Counts()
        for one in self.domains.values():
            for each in fields(made):
                setattr(made, each.name, getattr(made, each.name) + getattr(one, each.name))
        return made

    def ranked(self) -> list[tuple[str, Counts]]:
        """Those who would have come here most often first."""
        return sorted(self.domains.items(), key=lambda one: (-one[1].verify, -one[1].encrypt, -one[1].all, one[0]))


@dataclass
class _Connection:
    """The newest TLS connection of one process, and the mail that used it."""

    level: Fate
    relay: bytes
    queue_id: bytes | None = None


class Reader:
    """Reads lines one by one. `without` are domains to leave out: one's own."""

    def __init__(self, without: Iterable[str] = ()) -> None:
        self.result = Replay()
        self._without = frozenset(one.lower() for one in without)
        self._connections: OrderedDict[tuple[bytes, bytes], _Connection] = OrderedDict()
        self._waiting: OrderedDict[int, tuple[str, Fate]] = OrderedDict()
        self._names: dict[bytes, str] = {}

    def read(self, line: bytes) -> None:
        """Takes one line in. What is not Postfix's own is passed over."""
        head = _HEAD.match(line)
        if head is None:
            return
        process, at = (head[1], head[2]), head.end()
        if tls := _TLS.match(line, at):
            self.result.saw_tls = True
            self._connections[process] = _Connection(_LEVELS[tls[1]], tls[2])
            self._connections.move_to_end(process)
            if len(self._connections) > _MOST_PROCESSES:
                self._connections.popitem(last=False)
        elif _TLS_LOST.match(line, at):
            self._connections.pop(process, None)
        elif told := _DELIVERY.match(line, at):
            self._delivery(process, told)

    def _delivery(self, process: tuple[bytes, bytes], told: re.Match[bytes]) -> None:
        queue_id, to, relay, use, status, said = told.groups()
        if _LOOPBACK.search(relay):
            return  # a content filter: the mail comes back and is delivered after it
        domain = self._domain(to)
        if domain in self._without:
            return
        fate: Fate
        if status == b"sent":
            fate = self._level(process, queue_id, relay, reused=use is not None)
        elif status == b"bounced":
            fate = "bounced"
        else:
            fate = "no_tls" if _TLS_FAILURE.match(said) else "deferred"
        self.result.deliveries += 1
        self._count(hash((queue_id, to)), domain, fate)

    def _level(self, process: tuple[bytes, bytes], queue_id: bytes, relay: bytes, *, reused: bool) -> Fate:
        """A process says once a connection that it speaks TLS; another mail without that line, on a connection of its own, went in
        the clear.
        """
        known = self._connections.get(process)
        if known is None or known.relay != relay or (known.queue_id not in (None, queue_id) and not reused):
            self._connections.pop(process, None)
            return "clear"
        known.queue_id = queue_id
        return known.level

    def _count(self, mail: int, domain: str, fate: Fate) -> None:
        before = self._waiting.pop(mail, None)
        if before is not None:
            counts = self.result.domains[before[0]]
            setattr(counts, before[1], getattr(counts, before[1]) - 1)
            domain = before[0]
        if domain not in self.result.domains and len(self.result.domains) >= _MOST_DOMAINS:
            domain = OTHERS
        counts = self.result.domains.setdefault(domain, Counts())
        setattr(counts, fate, getattr(counts, fate) + 1)
        if fate in ("no_tls", "deferred"):
            self._waiting[mail] = (domain, fate)
            if len(self._waiting) > _MOST_WAITING:
                self._waiting.popitem(last=False)
                self.result.forgot = True

    def _domain(self, to: bytes) -> str:
        _, at, raw = to.rpartition(b"@")
        if not at:
            return NO_DOMAIN  # a bare local part is somebody's name
        known = self._names.get(raw)
        if known is None:
            try:
                known = domain_name(raw.decode())
            except ValueError:
                known = NO_DOMAIN
            if len(self._names) >= _MOST_DOMAINS:
                self._names.clear()
            self._names[raw] = known
        return known


_LEVELS: dict[bytes, Fate] = {b"Verified": "verified", b"Trusted": "trusted", b"Untrusted": "tls", b"Anonymous": "tls"}


def replay(path: Path, without: Iterable[str] = ()) -> Replay:
    """Reads a log, packed by gzip or not. Raises InputRefused when it can't be opened; a torn end is kept in `cut_off`."""
    reader = Reader(without)
    try:
        with path.open("rb") as file, closing(_unpacked(file)) as stream:
            try:
                for line in _lines(stream, reader.result):
                    reader.read(line)
            except (EOFError, gzip.BadGzipFile, zlib.error):
                reader.result.cut_off = True
    except OSError as error:
        raise InputRefused(f"{path} can't be read: {error.strerror}") from None
    return reader.result


def _unpacked(file: BinaryIO) -> BinaryIO:
    magic = file.read(2)
    file.seek(0)
    return io.BufferedReader(gzip.GzipFile(fileobj=file)) if magic == b"\x1f\x8b" else file


def _lines(stream: BinaryIO, result: Replay) -> Iterator[bytes]:
    """Lines of at most _MOST_LINE_BYTES; of a longer one nothing is read."""
    while line := stream.readline(_MOST_LINE_BYTES):
        result.lines += 1
        if line.endswith(b"\n") or len(line) < _MOST_LINE_BYTES:
            yield line
            continue
        result.unread += 1
        while (rest := stream.readline(_MOST_LINE_BYTES)) and not rest.endswith(b"\n"):
            pass
