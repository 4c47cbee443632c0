"""Disks that are full, read-only, locked or gone: the relay is told to come again, nothing is half-stored, and all goes on afterwards.

Small disks are tmpfs, so these tests run as root (CI does); without it they fail and say so.
"""

import asyncio
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from portal.db import messages
from portal.db.tables import messages as messages_table
from portal.doctor import examine
from tests.fault.live import RelayLogin, Serving, edge, hand_over, place, portal, relay, serving
from tests.fault.load import browser
from tests.world import ALICE, CAROL, World, letter
from tests.world import world as open_world

pytestmark = pytest.mark.anyio
MEGABYTE = 1024 * 1024
PDF = ("scan.pdf", "application/pdf", b"%PDF-1.7\n" + os.urandom(700_000))


class SmallDisk:
    """A disk of a few megabytes that can be filled, emptied and write-protected."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self, leaving: int = 0) -> None:
        """Leaves so many bytes, or none at all."""
        with self._filler.open("ab", buffering=0) as file:
            room = os.statvfs(self.folder).f_bavail * 4096 - leaving
            while room > 0:
                try:
                    room -= file.write(bytes(min(room, MEGABYTE)))
                except OSError:
                    return

    def empty(self) -> None:
        self._filler.unlink()

    def protect(self, *, writable: bool) -> None:
        _run("mount", "-o", "remount," + ("rw" if writable else "ro"), str(self.folder))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if done.returncode != 0:
        pytest.fail(f"small disks need root and the right to mount: {done.stderr.strip()}", pytrace=False)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A tmpfs of 16 MB, gone afterwards."""
    folder = tmp_path / "disk"
    folder.mkdir()
    _run("mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "portal-tests", str(folder))
    yield SmallDisk(folder)
    _run("umount", "--lazy", str(folder))


@asynccontextmanager
async def doors(folder: Path, database: Path, template: Path) -> AsyncIterator[tuple[World, RelayLogin]]:
    """A world with its blobs in `folder` and its rows at `database`, and its mail edge."""
    shutil.copy(template, database)
    async with open_world(folder, f"sqlite:///{database}") as world, edge(world) as login:
        yield world, login


async def send(login: RelayLogin, raw: bytes, queue_id: str = "Q1") -> str:
    async with relay(login) as client:
        return await hand_over(client, CAROL, (ALICE,), raw, queue_id)


async def stored(world: World) -> int:
    """How many messages there are; each has its blob."""
    async with world.house.db.read() as tx:
        rows = await tx.rows(select(messages_table.c.id))
        for key in await messages.blobs_relied_on(tx, None, 1000):
            (await world.house.blobs.open(key)).close()
    return len(rows)


def blobs(folder: Path) -> list[Path]:
    return [path for path in (folder / "blobs").rglob("*") if path.is_file()]


# -- full


@pytest.mark.parametrize("size", [1_000, 3 * MEGABYTE])
async def test_a_full_blob_disk_keeps_the_mail_at_the_relay(
    tmp_path: Path, sqlite_template: Path, disk: SmallDisk, size: int
) -> None:
    """The relay hears 452 and nothing of the message is kept; with space it is taken, once."""
    raw = letter(text="All is well.\n" * (size // 13))
    async with doors(disk.folder, tmp_path / "portal.db", sqlite_template) as (world, login):
        disk.fill()
        assert (await send(login, raw)).startswith("452 4.3.1")
        assert (await stored(world), blobs(disk.folder)) == (0, [])
        disk.empty()
        assert (await send(login, raw)).startswith("250")
        assert (await send(login, raw)).startswith("250")
        assert await stored(world) == 1


async def test_a_full_database_disk_keeps_the_mail_at_the_relay(
    tmp_path: Path, sqlite_template: Path, disk: SmallDisk
) -> None:
    """When the commit finds no space there is 452 and no row; a view that can't be recorded is not given; later both are."""
    async with doors(tmp_path, disk.folder / "portal.db", sqlite_template) as (world, login):
        token = await world.announce(letter("The first"))
        alice = world.browser()
        first = await alice.sign_in(token)
        disk.fill()
        sent, answer = 0, "250"
        while answer.startswith("250") and sent < 200:  # the log's file may have some room inside
            sent, answer = sent + 1, await send(login, letter(f"No. {sent + 1}"), f"Q{sent + 1}")
        assert answer.startswith("452 4.3.1")
        assert await stored(world) == sent
        denied = await alice.get(first)
        assert (denied.status_code, "The first" in denied.text) == (503, False)
        disk.empty()
        assert (await alice.get(first)).status_code == 200
        assert (await send(login, letter(f"No. {sent}"), f"Q{sent}")).startswith("250")
        assert await stored(world) == sent + 1


async def test_no_room_for_a_rendition_costs_only_time(tmp_path: Path, sqlite_template: Path, disk: SmallDisk) -> None:
    """A message that fits is taken though its attachments don't fit a second time; it is shown once there is room."""
    async with doors(disk.folder, tmp_path / "portal.db", sqlite_template) as (world, login):
        disk.fill(leaving=1_300_000)
        assert (await send(login, letter(attachments=[PDF]))).startswith("250")
        await world.house.preparing.drain(10)
        await world.worker.send_due()
        alice = world.browser()
        message = await alice.sign_in(world.token_for(ALICE))
        assert (await alice.get(message)).status_code == 503
        disk.empty()
        assert "All is well" in (await alice.get(message)).text
        assert (await alice.get(f"{message}/parts/1")).content == PDF[2]


async def test_a_file_size_limit_is_a_full_disk(tmp_path: Path) -> None:
    """Under `ulimit -f` a message beyond it hears 452, one below 250; the portal serves on, and takes it without the limit."""
    large, small = letter(text="All is well.\n" * 300_000), letter("small", message_id="<2@clinic.example>")
    async with place(tmp_path) as where, serving(where) as server:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (2 * MEGABYTE, resource.RLIM_INFINITY))
        assert (await send(where.login, large)).startswith("452 4.3.1")
        assert (await send(where.login, small, "Q2")).startswith("250")
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert (await send(where.login, large)).startswith("250")
        assert (await portal(where, "doctor")).status == 0


# -- read-only


async def test_a_read_only_blob_disk_still_reads(tmp_path: Path, sqlite_template: Path, disk: SmallDisk) -> None:
    """Nothing new is taken (451), what is there is shown, and /readyz says what is wrong."""
    async with doors(disk.folder, tmp_path / "portal.db", sqlite_template) as (world, login):
        alice = world.browser()
        message = await alice.sign_in(await world.announce())
        await world.house.preparing.drain(10)
        disk.protect(writable=False)
        assert (await send(login, letter("later"))).startswith("451 4.3.0")
        assert await stored(world) == 1
        assert (await alice.get(message)).status_code == 200
        assert (await alice.get(f"{message}/original.eml")).content == letter()
        ready = await alice.get("/readyz")
        assert (ready.status_code, ready.text) == (503, "blobs: StorageAway")
        disk.protect(writable=True)
        assert (await send(login, letter("later"))).startswith("250")


# -- locked

_HOLDER = """
import fcntl, sys, time
with open(sys.argv[1], "r+b") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


async def test_a_locked_database_makes_wait_and_loses_nothing(tmp_path: Path, long_form: bool) -> None:
    """While another process writes, relays and people wait; beyond 30 s they are told to come again, and nothing is lost.

    Meanwhile the portal still answers that it lives: the wait blocks no one else.
    """
    seconds = 40.0 if long_form else 3.0
    async with place(tmp_path) as where, serving(where) as server:
        holder = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _HOLDER,
            str(tmp_path / "portal.db.lock"),
            str(seconds),
            stdout=asyncio.subprocess.PIPE,
        )
        assert holder.stdout is not None
        assert await holder.stdout.readline() == b"held\n"
        began = time.monotonic()
        sending = [asyncio.create_task(_until_stored(where.login, f"Q{number}")) for number in range(5)]
        while holder.returncode is None:
            await _lives(server)
            await asyncio.sleep(0.2)
        answers = await asyncio.gather(*sending)
        assert time.monotonic() - began >= seconds - 1
        refusals = [answer[:9] for heard in answers for answer in heard[:-1]]
        assert set(refusals) <= ({"451 4.3.0"} if long_form else set())
        listed = await portal(where, "message", "list", "--org", "northside")
        assert len(listed.text.splitlines()) == 5, listed.text


async def _until_stored(login: RelayLogin, queue_id: str) -> list[str]:
    """What a relay hears until it hears 250."""
    heard: list[str] = []
    while not heard or not heard[-1].startswith("250"):
        heard.append(await _send_patiently(login, queue_id))
    return heard


async def _send_patiently(login: RelayLogin, queue_id: str) -> str:
    async with relay(login) as client:
        return await hand_over(client, CAROL, (ALICE,), letter(message_id=f"<{queue_id}@clinic.example>"), queue_id)


async def _lives(server: Serving) -> None:
    async with asyncio.timeout(1), browser(server.where) as http:
        assert (await http.get("/healthz")).status_code == 200


# -- gone


async def test_a_database_that_was_removed_takes_nothing_more(tmp_path: Path, sqlite_template: Path) -> None:
    """A removed or replaced file is noticed at the next write: 451 and 503, never a 250 into a file without a name."""
    database = tmp_path / "portal.db"
    async with doors(tmp_path, database, sqlite_template) as (world, login):
        alice = world.browser()
        message = await alice.sign_in(await world.announce())
        database.rename(tmp_path / "elsewhere")
        assert (await send(login, letter("lost?"))).startswith("451")
        assert (await alice.get(message)).status_code == 503
        shutil.copy(sqlite_template, database)
        assert (await send(login, letter("lost?"))).startswith("451")
        assert (await alice.get("/readyz")).status_code == 503
        (tmp_path / "elsewhere").rename(database)
        assert (await send(login, letter("lost?"))).startswith("250")
        assert (await alice.get(message)).status_code == 200


async def test_a_portal_without_its_database_does_not_start(tmp_path: Path) -> None:
    """Nothing is made in the place of what is missing."""
    async with place(tmp_path) as where:
        (tmp_path / "portal.db").unlink()
        refused = await portal(where, "serve")
        assert refused.status == 1
        assert "there is no database at" in refused.text
        assert not (tmp_path / "portal.db").exists()


async def test_the_doctor_finds_every_blob_that_is_missing(tmp_path: Path, sqlite_template: Path) -> None:
    """The oracle of these tests notices the loss of any one blob: a message's, an attachment's."""
    async with doors(tmp_path, tmp_path / "portal.db", sqlite_template) as (world, _):
        await world.deliver(letter(attachments=[PDF]))
        await world.house.preparing.drain(10)
        found = blobs(tmp_path)
        assert len(found) == 2
        for blob in found:
            blob.rename(tmp_path / "elsewhere")
            content = next(one for one in await examine(world.house.settings) if one.name == "content")
            assert (content.ok, content.said[:27]) == (False, "1 of 2 blobs are missing, s")
            (tmp_path / "elsewhere").rename(blob)
