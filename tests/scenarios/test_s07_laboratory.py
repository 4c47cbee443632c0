"""s07: real Postfix and real Exim carry mail to every behaviour of the laboratory, and each mail ends in exactly one place.

Both relays run as docs/RELAY.md says, beside a portal whose probe looks at the same hosts; Postfix also asks it for the TLS policy
of each domain. There are two clinics, one for each level, each with a relay's credential for each mode, told apart by who sends.
Where a mail ended is read from where mail can be: what the hosts took, the portal's rows, the reports to the sender, the queues.
"""

import asyncio
import re
import shutil
import smtplib
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from email import message_from_bytes
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import NamedTuple

import pytest

from portal.db.orgs import Organisation
from portal.lookup.answers import Answers
from portal.lookup.socketmap import MOST_BYTES, SocketMap
from portal.model.events import By, Who
from portal.model.routes import Level, Mode, Outcome
from portal.orgs.fallback import Credential
from portal.orgs.wishes import Wishes
from portal.smtp.server import listen, server_context
from tests.scenarios.authority import Pair
from tests.scenarios.behaviours import Build
from tests.scenarios.exim import Exim, exim
from tests.scenarios.lab import Lab, laboratory
from tests.scenarios.postfix import Postfix, postfix, recipe
from tests.servers import free_port
from tests.world import World, letter
from tests.world import world as open_world

pytestmark = pytest.mark.anyio
DORA = By(Who.OPERATOR, "dora")
DOMAINS = {Level.ENCRYPT: "clinic.example", Level.VERIFY: "practice.example"}
SECONDS = 120


class Place(StrEnum):
    """Where a mail can end."""

    HOST = "taken by the recipient's host"
    PORTAL = "in the portal"
    SENDER = "reported to the sender"
    QUEUE = "waiting in the relay's queue"


class Attempt(StrEnum):
    """What came of the relay's own attempt, before it turns to the portal."""

    SENT = "sent"
    FAILED = "handed to the portal"
    BOUNCED = "reported, without asking the portal"
    HELD = "kept, without asking the portal"


@dataclass(frozen=True)
class Run:
    """One mail: by which relay, under which level, with a credential of which mode."""

    relay: str
    level: Level
    mode: Mode
    marked: bool = False

    @property
    def transport(self) -> str:
        return f"{self.mode}-{self.level}"

    @property
    def sender(self) -> str:
        return f"{self.mode}@{DOMAINS[self.level]}"

    def recipient(self, domain: str) -> str:
        return f"{self.relay}-{self.transport}{'-marked' * self.marked}@{domain}"

    def attempt(self, domain: str, verdict: Outcome) -> Attempt:
        """By what the hosts can do, unless the table of this relay's own ways says otherwise."""
        name = domain.removesuffix(".example")
        own = _OWN_WAYS[self.relay].get(f"{name} {self.level}") or _OWN_WAYS[self.relay].get(name)
        return own or (Attempt.SENT if verdict is Outcome.DIRECT else Attempt.FAILED)

    def expected(self, domain: str, verdict: Outcome) -> Place:
        attempt = self.attempt(domain, verdict)
        if attempt is not Attempt.FAILED:
            return _ENDS_THERE[attempt]
        if self.mode is Mode.ARBITER:
            return _ARBITER_SAYS[verdict]
        return Place.PORTAL if self.mode is Mode.TRUST or self.marked else Place.SENDER


_ENDS_THERE = {Attempt.SENT: Place.HOST, Attempt.BOUNCED: Place.SENDER, Attempt.HELD: Place.QUEUE}
_ARBITER_SAYS = {
    Outcome.PORTAL: Place.PORTAL,
    Outcome.DIRECT: Place.QUEUE,
    Outcome.LATER: Place.QUEUE,
    Outcome.NOBODY: Place.SENDER,
}
_REFUSED = {
    **dict.fromkeys(("rcpt-451", "rcpt-452", "data-451"), Attempt.FAILED),
    **dict.fromkeys(("rcpt-550", "data-554"), Attempt.BOUNCED),
}
_OWN_WAYS: dict[str, dict[str, Attempt]] = {
    "postfix": {**_REFUSED, "starttls-501": Attempt.BOUNCED},
    "exim": {
        **_REFUSED,
        **dict.fromkeys(("sts-enforce encrypt", "sts-mismatch"), Attempt.SENT),
        **dict.fromkeys(("servfail", "dns-silent", "mx-servfail", "alias-loop"), Attempt.HELD),
        **dict.fromkeys(("null-mx", "nxdomain", "nothing-there", "mx-without-address", "banner-554"), Attempt.BOUNCED),
    },
}
_LEFT_OUT = {"lying-address.example"}
"""A relay knocks at any address, also of other networks than this test's."""

RUNS = [
    Run(relay, level, mode, marked)
    for relay in _OWN_WAYS
    for level in Level
    for mode, marked in ((Mode.ARBITER, False), (Mode.TRUST, False), (Mode.EXPLICIT, False), (Mode.EXPLICIT, True))
]


@dataclass
class Ground:
    """What both relays stand on. `credentials` by transport; `intake` and `lookups` are ports."""

    lab: Lab
    world: World
    built: Build
    credentials: dict[str, Credential]
    intake: int
    lookups: int
    authorities: Path
    certificate: Pair

    @property
    def name_server(self) -> str:
        return self.lab.dns.rpartition(":")[0]


@asynccontextmanager
async def ground(folder: Path, database: str) -> AsyncIterator[Ground]:
    async with (
        laboratory(folder, real_ports=True) as lab,
        open_world(folder, database, max_recipients=200) as world,
    ):
        built = Build(lab, folder)
        await built.all()
        for domain in _LEFT_OUT:
            del built.expected[domain]
        own = lab.authority.server("portal.example", "*.portal.example", "relay.clinic.example")
        lab.zone.add("portal.example", "A", "127.0.0.1")
        await lab.host("mailbox.clinic.example", lab.with_tls(lab.authority.server("mailbox.clinic.example")))
        world.house.verdicts = lab.prober(source=world.house.source)
        credentials = {}
        for level, org in _clinics(world).items():
            await world.house.routes().set_transport(org.id, level, None, DORA)
            for mode in Mode:
                name = f"{mode}-{level}"
                lab.zone.add(f"{name}.portal.example", "A", "127.0.0.1")
                credentials[name] = await world.house.fallback(DORA).add_relay(org, name, None, mode)
        listeners = await listen(
            world.house.intake(),
            starttls=("127.0.0.1", 0),
            implicit=None,
            tls=server_context(*own),
            hostname="portal.example",
            max_connections=500,
            max_per_address=500,
        )
        answers = Answers(world.house.verdicts, Wishes(world.house.db, world.house.sealer), "portal.example", 2526)
        sockets = SocketMap(answers, [ip_network("127.0.0.0/8")], most_connections=1000)
        lookups = await asyncio.start_server(sockets.connected, "127.0.0.1", 0, limit=MOST_BYTES)
        try:
            ports = listeners.ports["starttls"], lookups.sockets[0].getsockname()[1]
            yield Ground(lab, world, built, credentials, *ports, lab.authority.ca, own)
        finally:
            lookups.close()
            await sockets.close()
            await listeners.close(0)
            await world.house.verdicts.close()


def _clinics(world: World) -> dict[Level, Organisation]:
    return {Level.ENCRYPT: world.northside, Level.VERIFY: world.southside}


# -- the relays


class Relays(NamedTuple):
    """Two of Exim: it remembers of a host that it failed, whatever the level, and would not try it again for the other."""

    postfix: Postfix
    exim_encrypt: Exim
    exim_verify: Exim

    def of(self, run: "Run") -> Postfix | Exim:
        if run.relay == "postfix":
            return self.postfix
        return self.exim_encrypt if run.level is Level.ENCRYPT else self.exim_verify


def _set_up_postfix(relay: Postfix, made: Ground) -> None:
    """The page's recipe with the policy map, and a transport for each credential in the place of its one."""
    etc = relay.folder / "etc"
    replacing = {
        "/etc/ssl/certs/ca-certificates.crt": str(made.authorities),
        "/etc/postfix/relay.clinic.example.pem": str(made.certificate.certificate),
        "/etc/postfix/relay.clinic.example.key": str(made.certificate.key),
        "/etc/postfix/": f"{etc}/",
        "192.0.2.25:587": f"127.0.0.1:{free_port()}",
        "[portal.example]:2526": f"[portal.example]:{made.intake}",
        "127.0.0.1:8462": f"127.0.0.1:{made.lookups}",
        "{ clinic.example = internal:[mailbox.clinic.example] }": "{ clinic.example = internal:[mailbox.clinic.example]:25 }"
        " { practice.example = internal:[mailbox.clinic.example]:25 }",
        "relay_domains = clinic.example": "relay_domains = clinic.example, practice.example",
        "{ @clinic.example = OK }": "{ @clinic.example = OK } { @practice.example = OK }",
    }
    main, master = recipe("postfix main.cf", replacing), recipe("postfix master.cf", replacing)
    lookup = recipe("postfix-lookup main.cf", replacing)
    pins = " ".join(
        f"{{ [{one}.portal.example]:{made.intake} = secure match=portal.example }}" for one in made.credentials
    )
    senders = ""
    for level, org in (("encrypt", "northside"), ("verify", "southside")):
        for mode in Mode:
            transport = f"{mode}-{level}"
            senders += f" {{ {mode}@{DOMAINS[Level(level)]} = {transport}: }}"
            master += (
                f"{transport} unix - - n - 12 smtp\n  -o smtp_fallback_relay=[{transport}.portal.example]:{made.intake}\n"
                f"  -o smtp_tls_policy_maps=$pins,socketmap:inet:127.0.0.1:{made.lookups}:{org}/tlspolicy\n"
            )
    main += (
        f"{lookup}\nsmtp_host_lookup = dns\npins = inline:{{ {pins} }}\nsmtp_tls_policy_maps = $pins\n"
        f"sender_dependent_default_transport_maps = inline:{{{senders} }}\n"
        "smtp_connect_timeout = 10s\nsmtp_helo_timeout = 10s\nsmtp_starttls_timeout = 10s\nsmtp_per_request_deadline = yes\n"
    )
    relay.configure(main, master, **{"portal-password": _passwords(made)})


def _readable(relay: Postfix, made: Ground) -> Path:
    """The authorities where a relay that has given up its privileges can read them: pytest's folders are root's."""
    return Path(shutil.copy(made.authorities, relay.folder / "ca.pem"))


def _passwords(made: Ground) -> str:
    return "".join(
        f"[{name}.portal.example]:{made.intake} {one.row.username}:{one.password}\n"
        for name, one in made.credentials.items()
    )


@contextmanager
def _exim(made: Ground, authorities: Path, level: Level) -> Iterator[Exim]:
    """The page's blocks, each once more for each credential."""
    replacing = {
        "tls_verify_certificates = system": f"tls_verify_certificates = {authorities}",
        "driver = dnslookup": "driver = dnslookup\n  self = send",  # all hosts are on loopback
        "driver = smtp": "driver = smtp\n  allow_localhost\n  connect_timeout = 10s\n  command_timeout = 10s",
        "domains = clinic.example": "domains = clinic.example : practice.example",
    }
    router, transport, authenticator = (
        recipe(f"exim {one}", replacing) for one in ("router", "transport", "authenticator")
    )
    before, _, others = router.partition("others:")
    first, _, notice = transport.partition("notice:")
    routers, transports, login = before, f"notice:{notice}", '""'
    for mode in Mode:
        name, driver = f"{mode}-{level}", f"{mode}_{level}"
        one = made.credentials[name]
        own = others.replace("tls_or_portal", driver).replace(
            "portal.example::2526", f"{name}.portal.example::{made.intake}"
        )
        routers += f"{driver}:\n  senders = {mode}@{DOMAINS[level]}{own}\n"
        own = first.replace("tls_or_portal:", f"{driver}:").replace("portal.example", f"{name}.portal.example")
        if level is Level.VERIFY:
            own = re.sub(r"(tls_verify_hosts|tls_verify_cert_hostnames) = .*", r"\1 = *", own)
        transports += f"{own}\n"
        login = f"${{if eq{{$host}}{{{name}.portal.example}}{{^{one.row.username}^{one.password}}}{{{login}}}}}"
    main = "remote_max_parallel = 8\ndns_retrans = 4s\ndns_retry = 2\ndns_dnssec_ok = 1"
    authenticator = authenticator.replace("^USERNAME^PASSWORD", login)
    with exim(made.name_server, routers, transports, authenticator, main) as running:
        yield running


def _send(port: int, run: Run, domains: list[str]) -> None:
    mail = letter("[secure] Results" if run.marked else "Results", message_id=f"<{run.recipient('x')}>")
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        client.ehlo()
        client.mail(run.sender)
        for domain in domains:
            assert client.rcpt(run.recipient(domain))[0] == 250
        assert client.data(mail)[0] == 250


# -- where mail is


def _is_dealt_with(log: str, recipients: set[str]) -> set[str]:
    """Those whom the log has nothing final of, nor a deferral."""
    for found in re.finditer(r"to=<(\S+?)>.*status=|(?:=>|->|\*\*|==) ([^\s:]+@[^\s:]+)", log):
        recipients.discard(found[1] or found[2])
    return recipients


def _reported(lab: Lab) -> list[str]:
    """The recipients whom reports to the senders name as failed."""
    reports = [one.raw for one in lab.taken if one.recipient.partition("@")[2] in DOMAINS.values()]
    blocks = [
        block for raw in reports for block in message_from_bytes(raw).walk()
    ]  # a recipient's fields are a part, too
    return [str(block["Final-Recipient"]).partition(";")[2].strip() for block in blocks if block["Action"] == "failed"]


def _stored(made: Ground, folder: Path, recipients: list[str]) -> list[str]:
    """Those for whom the portal has a delivery, one for each."""
    with closing(sqlite3.connect(f"file:{folder}/portal.db?mode=ro", uri=True)) as rows:
        kept = Counter(
            rows.execute("SELECT r.org_id, r.address_hash FROM deliveries d JOIN recipients r ON d.recipient_id = r.id")
        )
    hashes = {
        (org.id, made.world.house.sealer.index(org.id, "recipient", one)): one
        for org in _clinics(made.world).values()
        for one in recipients
    }
    return [hashes[key] for key in kept.elements()]


async def test_each_mail_ends_in_exactly_one_place(tmp_path: Path, sqlite_template: Path) -> None:
    """Behaviour by level by mode, by Postfix and by Exim: at the host, in the portal, reported, or waiting; never two, never none."""
    shutil.copy(sqlite_template, tmp_path / "portal.db")
    async with ground(tmp_path, f"sqlite:///{tmp_path}/portal.db") as made:
        domains = list(made.built.expected)
        prober = made.world.house.verdicts
        looks = asyncio.gather(*(prober.verdict(one, level) for one in domains for level in Level))
        with (
            postfix() as first,
            _exim(made, authorities := _readable(first, made), Level.ENCRYPT) as second,
            _exim(made, authorities, Level.VERIFY) as third,
        ):
            _set_up_postfix(first, made)
            await asyncio.to_thread(first.start, made.name_server)
            await looks  # so that no relay waits for them
            relays = Relays(first, second, third)
            for run in RUNS:
                await asyncio.to_thread(_send, relays.of(run).port, run, domains)
            expected = {
                run.recipient(one): run.expected(one, behaviour.at(run.level))
                for run in RUNS
                for one, behaviour in made.built.expected.items()
            }
            found = await _places(made, tmp_path, relays, list(expected))
            wrong = [
                f"{one}: {' and '.join(found[one]) or 'nowhere'}, not {place}"
                for one, place in expected.items()
                if found[one] != [place]
            ]
            if wrong:
                print(first.log()[-400000:], second.log()[-400000:], third.log()[-400000:])
    assert not wrong, "\n".join(wrong)
    assert len(domains) > 65
    assert {(one.partition("-")[0], place) for one, place in expected.items()} == {
        (relay, place) for relay in _OWN_WAYS for place in Place
    }


async def _places(made: Ground, folder: Path, relays: Relays, recipients: list[str]) -> dict[str, list[Place]]:
    """Where each recipient's mail is, once both relays have dealt with all of them and have nothing under way."""
    until, left = time.monotonic() + SECONDS, set(recipients)
    while left:
        assert time.monotonic() < until, f"{len(left)} are still under way: {sorted(left)[:20]}"
        await asyncio.sleep(0.5)
        for relay in relays:
            left = _is_dealt_with(relay.log(), left)
    while True:
        idle = all(one.is_idle() for one in relays[1:])  # Exim writes down last what it has done
        waiting = [one for relay in relays for one in await asyncio.to_thread(relay.waiting)]
        reports = [one for one in waiting if one.partition("@")[2] in DOMAINS.values()]
        if idle and not reports:
            break
        assert time.monotonic() < until, f"there is still something under way: {reports}"
        await asyncio.sleep(0.5)
    hosts = [one.recipient for one in made.lab.taken if one.recipient.partition("@")[2] not in DOMAINS.values()]
    seen = {
        Place.HOST: Counter(hosts),
        Place.PORTAL: Counter(_stored(made, folder, recipients)),
        Place.SENDER: Counter(_reported(made.lab)),
        Place.QUEUE: Counter(waiting),
    }
    return {one: [place for place, counts in seen.items() for _ in range(counts[one])] for one in recipients}
