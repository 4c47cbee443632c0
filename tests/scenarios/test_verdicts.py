"""Verdicts in the laboratory: every behaviour at every level and in every mode, and what is remembered of them."""

import asyncio
import base64
import shutil
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from portal.assembly import prober as default_prober
from portal.clock import Source
from portal.model.events import By, Who
from portal.model.routes import Level, Mode, Outcome, Rule
from portal.settings import Settings
from portal.smtp.server import listen, server_context
from portal.transport.verdicts import Prober, public_only, public_or
from tests.scenarios.behaviours import Build
from tests.scenarios.lab import Lab, hang, laboratory, policy, saying, sts
from tests.world import CAROL, Clock, World, certificates, letter
from tests.world import world as open_world

pytestmark = pytest.mark.anyio
DORA = By(Who.OPERATOR, "dora")
BARE = saying("220 hi", "250 mail.example")


class Relay:
    """A relay's connection to the intake, after TLS and AUTH. `say` gives code and enhanced code."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    async def hear(self) -> str:
        while True:
            line = (await self._reader.readline()).decode()
            assert line, "the intake hung up"
            if line[3] == " ":
                return line.strip()

    async def say(self, *lines: str) -> list[str]:
        """Pipelines lines, and gives the answers."""
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode())
        return [(await self.hear()) for _ in lines]

    async def offer(self, to: list[str], mail: bytes) -> tuple[list[str], str]:
        """One transaction: the answer to each RCPT, and to the message."""
        (began,) = await self.say(f"MAIL FROM:<{CAROL}>")
        assert began.startswith("250")
        answers = await self.say(*(f"RCPT TO:<{one}>" for one in to))
        (go,) = await self.say("DATA")
        if not go.startswith("354"):
            return answers, go
        self.writer.write(mail.replace(b"\r\n.", b"\r\n..") + b"\r\n.\r\n")
        return answers, await self.hear()


@asynccontextmanager
async def relay(world: World, mode: Mode) -> AsyncIterator[Relay]:
    """A new relay of Northside in a mode, connected to a real intake."""
    made = await world.house.fallback(DORA).add_relay(world.northside, mode.value, None, mode)
    ours = certificates()
    tls = server_context(ours / "server.pem", ours / "server.key", None)
    listeners = await listen(
        world.house.intake(), starttls=None, implicit=("127.0.0.1", 0), tls=tls, hostname="portal.example"
    )
    trusted = ssl.create_default_context(cafile=str(ours / "ca.pem"))
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", listeners.ports["implicit"], ssl=trusted, server_hostname="localhost"
    )
    try:
        client = Relay(reader, writer)
        await client.hear()
        await client.say("EHLO relay.clinic.example")
        secret = base64.b64encode(f"\0{made.row.username}\0{made.password}".encode()).decode()
        assert (await client.say(f"AUTH PLAIN {secret}"))[0].startswith("235")
        yield client
    finally:
        writer.transport.abort()
        await listeners.close(0)
        await asyncio.sleep(0.01)


_CODES = {
    Outcome.PORTAL: "250 2.1.5",
    Outcome.DIRECT: "450 4.7.1",
    Outcome.LATER: "450 4.7.1",
    Outcome.NOBODY: "550 5.1.2",
}


async def test_each_behaviour_at_each_level_in_each_mode(tmp_path: Path, sqlite_template: Path) -> None:
    """Almost 80 domains come out as the table says, and each recipient of one mail is answered by it; a message ends in one place."""
    database = tmp_path / "portal.db"
    shutil.copy(sqlite_template, database)
    async with laboratory(tmp_path) as lab, open_world(tmp_path, f"sqlite:///{database}", max_recipients=200) as world:
        built = Build(lab, tmp_path)
        await built.all()
        assert len(built.expected) > 75
        world.house.verdicts = prober = lab.prober(source=world.house.source)
        keys = [(domain, level) for domain in built.expected for level in Level]
        started = time.monotonic()
        found = await asyncio.gather(*(prober.verdict(domain, level) for domain, level in keys))
        assert time.monotonic() - started < 20
        wrong = []
        for (domain, level), verdict in zip(keys, found, strict=True):
            expected, said = built.expected[domain], "\n".join(verdict.transcript)
            if (verdict.outcome, verdict.rule) != (expected.at(level), expected.rule) or expected.word not in said:
                wrong.append(f"{domain} {level}: {verdict.outcome} by {verdict.rule}, not {expected}\n{said}")
        assert not wrong, "\n".join(wrong)
        for level in Level:
            await world.house.routes().set_transport(world.northside.id, level, None, DORA)
            await _is_answered_by(world, built, level)
        await _others_take_all(world, list(built.expected))
        await prober.close()


async def _is_answered_by(world: World, built: Build, level: Level) -> None:
    """One mail to all domains from an arbiter's relay: exactly those that the verdict brings here are stored."""
    domains, before = list(built.expected), len(await world.events("MessageAccepted"))
    async with relay(world, Mode.ARBITER) as arbiter:
        answers, stored = await arbiter.offer([f"alice@{one}" for one in domains], letter(message_id=f"<{level}@x>"))
    assert stored.startswith("250")
    codes = {domain: answer[:9] for domain, answer in zip(domains, answers, strict=True)}
    assert codes == {domain: _CODES[built.expected[domain].at(level)] for domain in domains}
    (event,) = (await world.events("MessageAccepted"))[before:]
    taken = [one for one in built.expected.values() if one.at(level) is Outcome.PORTAL]
    assert sorted(event.detail["came_by"]) == sorted(f"{one.rule} portal" for one in taken)


async def _others_take_all(world: World, domains: list[str]) -> None:
    """A trusted relay and one for marked mail are asked for no verdict; unmarked mail of the latter goes nowhere."""
    to = [f"alice@{one}" for one in domains]
    async with relay(world, Mode.TRUST) as trusted:
        answers, stored = await trusted.offer(to, letter(message_id="<trust@x>"))
        assert {one[:3] for one in answers} == {"250"}
        assert stored.startswith("250")
    async with relay(world, Mode.EXPLICIT) as explicit:
        answers, refused = await explicit.offer(to, letter(message_id="<unmarked@x>"))
        assert {one[:3] for one in answers} == {"250"}
        assert refused.startswith("550 5.7.1")
        _, stored = await explicit.offer(to, letter("[secure] Results", message_id="<marked@x>"))
        assert stored.startswith("250")


@dataclass
class Bench:
    """A laboratory with one good domain, and a prober with a clock of the test's own."""

    lab: Lab
    clock: Clock
    prober: Prober
    address: str
    behave: dict[str, object]

    async def domain(self, name: str, talk: object) -> str:
        self.lab.zone.add(name, "MX", f"10 mx1.{name}.")
        return await self.lab.host(f"mx1.{name}", talk)  # type: ignore[arg-type]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with laboratory(tmp_path) as lab:
        clock = Clock()
        behave: dict[str, object] = {"talk": lab.with_tls(lab.authority.server("mx1.good.example"))}

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await behave["talk"](reader, writer)  # type: ignore[operator]

        prober = lab.prober(source=Source(now=clock.now))
        made = Bench(lab, clock, prober, "", behave)
        made.address = await made.domain("good.example", talk)
        yield made
        await prober.close()


async def test_one_look_serves_all_who_ask(bench: Bench) -> None:
    """Fifty who ask at once wait for one connection, and who asks within the hour for none."""
    found = await asyncio.gather(*(bench.prober.verdict("good.example", Level.VERIFY) for _ in range(50)))
    assert {one.outcome for one in found} == {Outcome.DIRECT}
    bench.clock.forward(minutes=59)
    assert await bench.prober.verdict("GOOD.example.", Level.VERIFY) is found[0]
    assert bench.lab.connections[bench.address] == 1
    bench.clock.forward(minutes=2)
    assert await bench.prober.verdict("good.example", Level.VERIFY) is not found[0]
    assert bench.lab.connections[bench.address] == 2


async def test_a_fresh_look_is_had_once_a_minute(bench: Bench) -> None:
    """A host that lost its TLS is seen at the next contrary delivery, and no sooner than a minute after the last look."""
    first = await bench.prober.verdict("good.example", Level.ENCRYPT)
    bench.behave["talk"] = BARE
    assert await bench.prober.verdict("good.example", Level.ENCRYPT, fresh=True) is first
    bench.clock.forward(seconds=61)
    assert await bench.prober.verdict("good.example", Level.ENCRYPT) is first
    again = await asyncio.gather(*(bench.prober.verdict("good.example", Level.ENCRYPT, fresh=True) for _ in range(20)))
    assert {one.outcome for one in again} == {Outcome.PORTAL}
    assert bench.lab.connections[bench.address] == 2


async def test_slow_domains_keep_nobody_waiting(bench: Bench) -> None:
    """Four lanes and forty domains that hang: the good one is answered within two seconds, and all end within their time."""
    small = bench.lab.prober(source=Source(now=bench.clock.now), lanes=4, slow_lanes=8, seconds=4)
    for number in range(40):
        await bench.domain(f"slow{number}.example", hang)
    slow = [asyncio.create_task(small.verdict(f"slow{number}.example", Level.ENCRYPT)) for number in range(4)]
    await asyncio.sleep(0.1)
    started = time.monotonic()
    assert (await small.verdict("good.example", Level.VERIFY)).outcome is Outcome.DIRECT
    assert time.monotonic() - started < 2
    slow += [asyncio.create_task(small.verdict(f"slow{number}.example", Level.ENCRYPT)) for number in range(4, 40)]
    found = await asyncio.gather(*slow)
    assert {one.outcome for one in found} == {Outcome.LATER}
    assert time.monotonic() - started < 15
    await small.close()


async def test_who_asks_is_not_kept_longer_than_patience(bench: Bench) -> None:
    """The answer is `later` meanwhile; the look goes on, and its verdict is there for the next who asks."""

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.7)
        await BARE(reader, writer)

    bench.behave["talk"] = late
    made = bench.lab.prober(source=Source(now=bench.clock.now), patience=0.2)
    assert (await made.verdict("good.example", Level.ENCRYPT)).outcome is Outcome.LATER
    await asyncio.sleep(1.2)
    assert (await made.verdict("good.example", Level.ENCRYPT)).outcome is Outcome.PORTAL
    assert bench.lab.connections[bench.address] == 1
    await made.close()


async def test_a_known_policy_outlives_an_attack_on_its_record(bench: Bench) -> None:
    """RFC 8461 5.1: without record, name server or site the policy that was fetched stands, until its max_age is over."""
    zone, now = bench.lab.zone, bench.clock
    stranger = bench.lab.with_tls(bench.lab.stranger.server("mx1.good.example", file="stranger"))
    said = {"site": sts("enforce", "mx1.good.example", max_age=7200)}
    await bench.lab.site("good.example", lambda: said["site"]())

    async def verdict() -> tuple[Outcome, Rule]:
        now.forward(seconds=61)
        found = await bench.prober.verdict("good.example", Level.ENCRYPT, fresh=True)
        return found.outcome, found.rule

    assert await verdict() == (Outcome.DIRECT, Rule.MTA_STS)
    bench.behave["talk"] = stranger
    said["site"] = policy("", status="500 Broken")
    zone.records["_mta-sts.good.example", "TXT"] = ['"v=STSv1; id=2;"']
    assert await verdict() == (Outcome.PORTAL, Rule.MTA_STS)
    zone.records["_mta-sts.good.example", "TXT"] = ['"v=spf1 -all"']
    assert await verdict() == (Outcome.PORTAL, Rule.MTA_STS)
    zone.broken.add(("_mta-sts.good.example", "TXT"))
    assert await verdict() == (Outcome.PORTAL, Rule.MTA_STS)
    now.forward(hours=2)
    assert await verdict() == (Outcome.DIRECT, Rule.OPPORTUNISTIC)
    zone.broken.clear()
    zone.records["_mta-sts.good.example", "TXT"] = ['"v=STSv1; id=3;"']
    said["site"] = sts("testing", "mx1.good.example")
    assert await verdict() == (Outcome.DIRECT, Rule.OPPORTUNISTIC)
    said["site"] = sts("enforce", "mx1.good.example")
    assert await verdict() == (Outcome.DIRECT, Rule.OPPORTUNISTIC)
    zone.records["_mta-sts.good.example", "TXT"] = ['"v=STSv1; id=4;"']
    assert await verdict() == (Outcome.PORTAL, Rule.MTA_STS)


async def test_the_ad_bit_counts_from_name_servers_that_are_said_to_validate(bench: Bench) -> None:
    """Otherwise anybody on the path could set it: no TLSA record is even asked for."""
    zone, port = bench.lab.zone, bench.lab.mail_port
    zone.secure |= {"good.example", "mx1.good.example"}
    zone.add(f"_{port}._tcp.mx1.good.example", "TLSA", f"3 1 1 {'ab' * 32}", secure=True)
    assert (await bench.prober.verdict("good.example", Level.ENCRYPT)).outcome is Outcome.PORTAL
    believing_nobody = bench.lab.prober(validating=False)
    zone.asked.clear()
    assert (await believing_nobody.verdict("good.example", Level.ENCRYPT)).outcome is Outcome.DIRECT
    assert not any(kind == "TLSA" for _, kind in zone.asked)
    await believing_nobody.close()


async def test_with_probing_off_only_the_name_servers_are_asked(bench: Bench) -> None:
    """What has a mail host is taken, by its own rule; nobody and null MX are still refused; no connection is opened."""
    bench.lab.zone.add("null.example", "MX", "0 .")
    made = default_prober(Settings(probing=False, name_servers=bench.lab.dns), Source())
    found = await made.verdict("good.example", Level.VERIFY)
    assert (found.outcome, found.rule) == (Outcome.PORTAL, Rule.UNPROBED)
    assert (await made.verdict("null.example", Level.VERIFY)).outcome is Outcome.NOBODY
    assert bench.address not in bench.lab.connections
    await made.close()


async def test_what_is_no_domain_is_no_question(bench: Bench) -> None:
    """Address literals and worse are the caller's to refuse."""
    for text in ("[192.0.2.1]", "a b.example", "", "x" * 300):
        with pytest.raises(ValueError, match="not a domain name"):
            await bench.prober.verdict(text, Level.ENCRYPT)


def test_only_public_addresses_are_knocked_at() -> None:
    """A domain that names our own network, or this machine, has us open no connection to it."""
    public = ("192.0.1.1", "8.8.8.8", "2606:4700::1111")
    ours = (
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "fe80::1",
        "fc00::1",
        "::ffff:10.0.0.1",
        "ff02::1",
        "64:ff9b::a00:1",
        "2002:a00:1::1",
    )
    assert [one for one in public if not public_only(one)] == []
    assert [one for one in ours if public_only(one)] == []
    laboratory = public_or("127.77.0.0/16 fd00:77::/32")
    tried = [one for one in (*ours, "127.77.0.1", "127.78.0.1", "fd00:77::1", "fd00:78::1") if laboratory(one)]
    assert tried == ["127.77.0.1", "fd00:77::1"]
    assert all(laboratory(one) for one in public)
