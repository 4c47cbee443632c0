"""One download after the other, compared with the file it should be, in a process of its own.

`python -m bench.fetch` takes a job on standard input and says how many MB a second came, for each, on standard output.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

from bench.lines import Wrong
from bench.processes import LOAD_CORE, ROOT

_PIECE = 1024 * 1024


def begin(port: int, path: str, cookie: str, expected: Path, times: int) -> "subprocess.Popen[bytes]":
    job = {"port": port, "path": path, "cookie": cookie, "expected": str(expected), "times": times}
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.fetch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdin is not None
    os.sched_setaffinity(process.pid, {LOAD_CORE})
    process.stdin.write(json.dumps(job).encode())
    process.stdin.close()
    process.stdin = None
    return process


def finish(process: "subprocess.Popen[bytes]") -> list[float]:
    """MB a second of each. Raises Wrong when a byte was not what it should be."""
    said, _ = process.communicate()
    found = json.loads(said) if process.returncode == 0 else None
    if not isinstance(found, list):
        raise Wrong(str(found or "the download failed"))
    return [float(one) for one in found]


def _fetched(connection: socket.socket, job: dict[str, Any], expected: bytes) -> float | str:
    said = f"GET {job['path']} HTTP/1.1\r\nhost: portal.example\r\ncookie: {job['cookie']}\r\n\r\n"
    began = perf_counter()
    connection.sendall(said.encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(_PIECE)
    head, _, first = head.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200") or f"content-length: {len(expected)}".encode() not in head:
        return f"not the right answer: {head!r}"
    got, at, room = first, 0, bytearray(_PIECE)
    while True:
        if got != expected[at : at + len(got)]:
            return f"another byte than was sent, near {at}"
        at += len(got)
        if at == len(expected):
            return at / 1_000_000 / (perf_counter() - began)
        length = connection.recv_into(room)
        if not length:
            return f"it ended at {at}"
        got = bytes(room[:length])


def main() -> None:
    job = json.load(sys.stdin)
    expected = Path(job["expected"]).read_bytes()
    with socket.create_connection(("127.0.0.1", job["port"])) as connection:
        found = [_fetched(connection, job, expected) for _ in range(job["times"])]
    wrong = [one for one in found if isinstance(one, str)]
    print(json.dumps(wrong[0] if wrong else found))


if __name__ == "__main__":
    main()
