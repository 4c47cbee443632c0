"""A relay that hands over mail: connections with STARTTLS and AUTH in a process of their own, on the other core.

`python -m bench.relay` takes a job on standard input and says what came of it on standard output, both JSON.
"""

import asyncio
import json
import os
import ssl
import subprocess
import sys
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from bench.lines import Wrong
from bench.mails import SENDER, letter, scan
from bench.processes import LOAD_CORE, ROOT


@dataclass(frozen=True)
class Handed:
    """What a relay has handed over: the markers of what was answered 250, and how long it took, log-ins aside."""

    seconds: float
    markers: list[str]


def address(connection: int) -> str:
    return f"p{connection}@patients.example"


def raw(marker: str, connection: int, size: int) -> bytes:
    """The mail with this marker, as the relay sends it."""
    return (letter if size < 1_000_000 else scan)(marker, address(connection), size)


def hand_over(
    port: int, ca: Path, login: Sequence[str], *, connections: int, each: int, size: int, name: str
) -> Handed:
    """Sends `each` mails of `size` bytes on each connection, for one person each. Raises Wrong when one is not taken."""
    job = {"port": port, "ca": str(ca), "login": list(login), "connections": connections}
    job |= {"each": each, "size": size, "name": name}
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.relay"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    os.sched_setaffinity(process.pid, {LOAD_CORE})
    said, _ = process.communicate(json.dumps(job).encode())
    if process.returncode:
        raise Wrong("the relay failed")
    return Handed(**json.loads(said))


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def _answers(self, *codes: str) -> None:
        for code in codes:
            line = (await self._reader.readline()).decode()
            while line[3:4] == "-":
                line = (await self._reader.readline()).decode()
            if not line.startswith(code):
                raise Wrong(f"answered {line!r}")

    async def log_in(self, ca: str, name: str, password: str) -> None:
        await self._answers("220")
        self._writer.write(b"EHLO relay.clinic.example\r\nSTARTTLS\r\n")
        await self._answers("250", "220")
        await self._writer.start_tls(ssl.create_default_context(cafile=ca), server_hostname="localhost")
        said = b64encode(f"\0{name}\0{password}".encode()).decode()
        self._writer.write(f"EHLO relay.clinic.example\r\nAUTH PLAIN {said}\r\n".encode())
        await self._answers("250", "235")

    async def send(self, to: str, mail: bytes) -> None:
        self._writer.write(f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{to}>\r\nDATA\r\n".encode())
        await self._answers("250", "250", "354")
        for at in range(0, len(mail), 262144):
            self._writer.write(mail[at : at + 262144])
            await self._writer.drain()
        self._writer.write(b".\r\n")
        await self._answers("250")


async def _work(job: dict[str, Any]) -> Handed:
    connections = [
        _Connection(*await asyncio.open_connection("127.0.0.1", job["port"])) for _ in range(job["connections"])
    ]
    mails = [
        [(marker := f"{job['name']}-{at}-{number}", raw(marker, at, job["size"])) for number in range(job["each"])]
        for at in range(len(connections))
    ]
    for one in connections:
        await one.log_in(job["ca"], *job["login"])
    taken: list[str] = []

    async def one_after_the_other(at: int) -> None:
        for marker, mail in mails[at]:
            await connections[at].send(address(at), mail)
            taken.append(marker)

    began = perf_counter()
    async with asyncio.TaskGroup() as group:
        for at in range(len(connections)):
            group.create_task(one_after_the_other(at))
    return Handed(perf_counter() - began, taken)


def main() -> None:
    import uvloop

    print(json.dumps(asdict(uvloop.run(_work(json.load(sys.stdin))))))


if __name__ == "__main__":
    main()
