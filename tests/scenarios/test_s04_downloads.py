"""The largest message there can be, out of `portal serve`: through constant memory, broken off and gone on with, byte for byte."""

import hashlib
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from portal.assembly import open_house
from portal.clock import Source
from portal.intake import Envelope, Relay
from portal.model.events import By, Who
from portal.web.app import build
from portal.web.site import SESSION_COOKIE
from tests.fault.live import Place, place, serving
from tests.world import ALICE, CAROL, Clock, World, letter

pytestmark = pytest.mark.anyio
SIZE = 150 * 1024 * 1024
MOST_GROWTH = 12 * 1024 * 1024
HEAD = letter(text="Large.\r\n")
LINE = b"0123456789abcdef" * 4 + b"\r\n"


@asynccontextmanager
async def inside(where: Place) -> AsyncIterator[World]:
    """The house of a place, while it does not serve."""
    async with open_house(where.settings, Source()) as house:
        made = await house.fallback(By(Who.OPERATOR, "dora")).add_relay(where.clinic, "second", None)
        relay = Relay(made.relay.id, where.clinic.id, "second", made.row.id)
        app, orgs = build(house.site(), house.not_ready), (where.clinic, where.clinic)
        yield World(house, Clock(), house.intake(), app, house.worker(), where.sink, *orgs, relay, relay)


async def large(world: World) -> str:
    """Hands over a message of the largest size; its SHA-256."""
    submission = await world.intake.begin(world.relay, Envelope(CAROL, (ALICE,), "192.0.2.1"))
    digest, left, piece = hashlib.sha256(HEAD), SIZE - len(HEAD), LINE * 4000
    await submission.write(HEAD)
    while left > 0:
        digest.update(piece[:left])
        await submission.write(piece[:left])
        left -= len(piece)
    await submission.commit()
    return digest.hexdigest()


def memory(pid: int, what: str) -> int:
    """Bytes of resident memory: VmRSS now, or VmHWM at the most since `forget_peak`."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith(what)))


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def ask(port: int, path: str, cookie: str, **headers: str) -> tuple[HTTPConnection, HTTPResponse]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers={"cookie": f"{SESSION_COOKIE}={cookie}", **headers})
    return connection, connection.getresponse()


async def test_150_mb_go_out_through_constant_memory_and_a_broken_download_goes_on(tmp_path: Path) -> None:
    """Twice at once while another breaks off; the rest asked for with If-Range makes it whole; in seconds, and on record each time."""
    async with place(tmp_path, max_message_bytes=SIZE) as where:
        async with inside(where) as world:
            digest = await large(world)
            await world.worker.send_due()
            alice = world.browser()
            path = f"{await alice.sign_in(world.token_for(ALICE))}/original.eml"
            cookie = alice.http.cookies[SESSION_COOKIE]
        async with serving(where) as portal:
            port = where.http_port
            warm, answer = ask(port, path, cookie, range="bytes=0-99999")
            assert (answer.status, len(answer.read())) == (206, 100_000)
            warm.close()
            before = memory(portal.pid, "VmRSS")
            forget_peak(portal.pid)
            began = time.monotonic()
            broken, answer = ask(port, path, cookie)
            tag, got = answer.headers["etag"], hashlib.sha256()
            start = 0
            while start < SIZE // 3:
                piece = answer.read(1_000_000)
                got.update(piece)
                start += len(piece)
            assert broken.sock is not None
            broken.sock.shutdown(socket.SHUT_RDWR)
            broken.close()
            rest, answer = ask(port, path, cookie, range=f"bytes={start}-", **{"if-range": tag})
            assert (answer.status, answer.headers["content-range"]) == (206, f"bytes {start}-{SIZE - 1}/{SIZE}")
            other, whole = ask(port, path, cookie)
            second = hashlib.sha256()
            while piece := answer.read(1_000_000):
                got.update(piece)
                second.update(whole.read(1_000_000))
            while piece := whole.read(1_000_000):
                second.update(piece)
            rest.close()
            other.close()
            assert (got.hexdigest(), second.hexdigest()) == (digest, digest)
            assert time.monotonic() - began < 30  # some 4 s on a quiet machine
            assert memory(portal.pid, "VmHWM") - before < MOST_GROWTH
        async with inside(where) as world:
            assert len(await world.events("OriginalDownloaded")) == 4
