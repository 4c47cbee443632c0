"""The load: keep-alive HTTP/1.1 connections in a process of their own, on the other core. Every answer is checked.

`python -m bench.load` takes a job on standard input and says what came of it on standard output, both JSON. A closed loop
keeps every connection busy; an open one asks at a fixed rate, and its latencies count from when an ask was due.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

from bench.lines import Wrong
from bench.processes import LOAD_CORE, ROOT

WARM_SECONDS = 0.4


@dataclass(frozen=True)
class Ask:
    """A GET, and words that only the right answer holds."""

    path: str
    marker: str
    cookie: str = ""


@dataclass(frozen=True)
class Load:
    """What came of a load. `counts` has the answers begun for each ask of each connection; 'wrong' is a sentence or empty."""

    answered: int
    per_second: float
    p50_ms: float
    p99_ms: float
    bytes_each: int
    wrong: str
    lost: int
    counts: list[list[int]]


def run(port: int, asks: Sequence[Sequence[Ask]], seconds: float, rate: float | None = None) -> Load:
    """Loads a server from one connection for each list of asks. Raises Wrong when an answer is not what it should be."""
    load = finish(begin(port, asks, seconds, rate))
    if load.wrong or load.lost:
        raise Wrong(load.wrong or f"{load.lost} connections were lost")
    return load


def begin(
    port: int, asks: Sequence[Sequence[Ask]], seconds: float, rate: float | None = None
) -> "subprocess.Popen[bytes]":
    job = {"port": port, "seconds": seconds, "rate": rate, "asks": [[asdict(one) for one in own] for own in asks]}
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdin is not None
    os.sched_setaffinity(process.pid, {LOAD_CORE})
    process.stdin.write(json.dumps(job).encode())
    process.stdin.close()
    process.stdin = None
    return process


def finish(process: "subprocess.Popen[bytes]") -> Load:
    said, _ = process.communicate()
    if process.returncode:
        raise Wrong("the load generator failed")
    return Load(**json.loads(said))


class _Connection(asyncio.Protocol):
    """One connection: an ask, its answer, the next."""

    def __init__(self, asks: list[dict[str, str]], gauge: "_Gauge") -> None:
        self._requests = [(_request(one), one["marker"].encode()) for one in asks]
        self._gauge = gauge
        self._next = -1
        self._marker = b""
        self._got: list[bytes] = []
        self._missing = -1
        self._due = 0.0
        self.counts = [0] * len(asks)
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def ask(self, due: float) -> None:
        self._next = (self._next + 1) % len(self._requests)
        request, self._marker = self._requests[self._next]
        self._due, self._missing = due, -1
        self._got.clear()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if not self._got:
            self.counts[self._next] += 1
        self._got.append(data)
        if self._missing < 0:
            whole = b"".join(self._got)
            end = whole.find(b"\r\n\r\n")
            if end < 0:
                return
            self._missing = end + 4 + _length(whole[:end]) - len(whole)
        else:
            self._missing -= len(data)
        if self._missing == 0:
            answer = b"".join(self._got)
            if not answer.startswith(b"HTTP/1.1 200") or self._marker not in answer:
                self._gauge.wrong = f"not the right answer: {answer[:200]!r}"
            self._gauge.answered(self, self._due, len(answer))

    def connection_lost(self, error: Exception | None) -> None:
        self._gauge.lost += not self._gauge.over.is_set()
        self._gauge.gone()


def _request(ask: dict[str, str]) -> bytes:
    cookie = f"cookie: {ask['cookie']}\r\n" if ask["cookie"] else ""
    said = f"GET {ask['path']} HTTP/1.1\r\nhost: portal.example\r\naccept-language: en\r\n"
    return f"{said}sec-fetch-site: same-origin\r\nuser-agent: bench\r\n{cookie}\r\n".encode()


def _length(head: bytes) -> int:
    at = head.find(b"content-length: ")
    return int(head[at + 16 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


class _Gauge:
    """Counts and times; decides who asks next, and when."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self.over = asyncio.Event()
        self.wrong = ""
        self.lost = 0
        self.connections: list[_Connection] = []
        self.total = 0
        self.times: list[tuple[float, float]] = []
        self.size = 0
        self._free: deque[_Connection] = deque()
        self._due: deque[float] = deque()

    def answered(self, connection: _Connection, due: float, size: int) -> None:
        now = perf_counter()
        self.total += 1
        self.size = size
        self.times.append((now, now - due))
        if self.over.is_set():
            return
        if self._rate is None:
            connection.ask(now)
        elif self._due:
            connection.ask(self._due.popleft())
        else:
            self._free.append(connection)

    def gone(self) -> None:
        if self.lost >= len(self.connections):
            self.over.set()

    async def drive(self, seconds: float) -> None:
        began = perf_counter()
        if self._rate is None:
            for one in self.connections:
                one.ask(perf_counter())
            await self._until(began + seconds)
            return
        self._free.extend(self.connections)
        count = 0
        while (now := perf_counter()) < began + seconds:
            while began + count / self._rate <= now:
                due = began + count / self._rate
                count += 1
                if self._free:
                    self._free.popleft().ask(due)
                else:
                    self._due.append(due)
            await asyncio.sleep(max(0.0, began + count / self._rate - perf_counter()))

    async def _until(self, end: float) -> None:
        try:
            async with asyncio.timeout(end - perf_counter()):
                await self.over.wait()
        except TimeoutError:
            pass


async def _work(job: dict[str, Any]) -> Load:
    loop = asyncio.get_running_loop()
    gauge = _Gauge(job["rate"])
    for own in job["asks"]:
        connection = _Connection(own, gauge)
        await loop.create_connection(lambda made=connection: made, "127.0.0.1", job["port"])  # type: ignore[misc]
        gauge.connections.append(connection)
    began = perf_counter()
    await gauge.drive(WARM_SECONDS + job["seconds"])
    ended = perf_counter()
    gauge.over.set()
    await asyncio.sleep(0.3)  # the last answers, which must not be missing from what was counted
    inside = [took for at, took in gauge.times if began + WARM_SECONDS <= at <= ended]
    inside.sort()
    return Load(
        answered=gauge.total,
        per_second=len(inside) / max(ended - began - WARM_SECONDS, 1e-9),
        p50_ms=1000 * inside[len(inside) // 2] if inside else 0,
        p99_ms=1000 * inside[len(inside) * 99 // 100] if inside else 0,
        bytes_each=gauge.size,
        wrong=gauge.wrong,
        lost=gauge.lost,
        counts=[one.counts for one in gauge.connections],
    )


def main() -> None:
    import uvloop

    print(json.dumps(asdict(uvloop.run(_work(json.load(sys.stdin))))))


if __name__ == "__main__":
    main()
