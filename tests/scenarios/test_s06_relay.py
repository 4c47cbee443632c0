"""s06: what a mail admin has beside the relay, with a real Postfix that finds mail hosts by MX: the maps, the agent, the doctor.

Mail hosts listen on port 25 of loopback addresses of their own; a name server of the test's own names them, and Postfix alone sees it.
"""

import asyncio
import re
import shutil
import smtplib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from ipaddress import ip_network
from pathlib import Path

import pytest
from typer.testing import CliRunner

from portal.cli import app
from portal.db import orgs
from portal.intake import Relay
from portal.lookup.answers import Answers
from portal.lookup.socketmap import MOST_BYTES, SocketMap
from portal.model.errors import InputRefused
from portal.model.events import By, Who
from portal.model.parties import Address
from portal.model.routes import Level, Mode, Outcome, Rule
from portal.smtp.server import listen, server_context
from portal.transport import Verdict
from tests.scenarios.authority import Authority
from tests.scenarios.exim import exim
from tests.scenarios.lab import Zone, name_server
from tests.scenarios.mailhosts import MailHost, MailHosts, mail_hosts
from tests.scenarios.portals import Credential, Portal
from tests.scenarios.postfix import Postfix, postfix, recipe
from tests.servers import free_port
from tests.story.seams import all_deliveries
from tests.world import Clock, World, letter
from tests.world import world as open_world

NAME_SERVER = "127.77.53.53"
CAROL = "carol@clinic.example"
WHO = ["--org", "northside", "--from", CAROL]
DOMAINS = {"clear": "127.77.20.1", "good": "127.77.20.2", "sts": "127.77.20.3", "stranger": "127.77.20.4"}


class Told:
    """Verdicts as this test's hosts would get them."""

    def __init__(self) -> None:
        self.known = {
            "clear.example": (Outcome.PORTAL, Rule.OPPORTUNISTIC, ()),
            "good.example": (Outcome.DIRECT, Rule.OPPORTUNISTIC, ()),
            "sts.example": (Outcome.DIRECT, Rule.MTA_STS, ("mx.sts.example",)),
            "stranger.example": (Outcome.DIRECT, Rule.MTA_STS, ("mx.stranger.example",)),
        }

    async def verdict(self, domain: str, level: Level, fresh: bool = False) -> Verdict:
        outcome, rule, match = self.known.get(domain, (Outcome.LATER, Rule.DNS, ()))
        now = datetime.now(UTC)
        return Verdict(domain, level, outcome, rule, (), match, now, now + timedelta(hours=1), ())

    async def of(self, org: str, recipient: Address | None, domain: str | None) -> tuple[Level, bool | None]:
        return Level.ENCRYPT, None


@dataclass
class Around:
    """The relay, its portal, and the mail hosts of `DOMAINS` by name."""

    portal: Portal
    postfix: Postfix
    hosts: MailHosts
    mail: dict[str, MailHost]
    zone: Zone
    authority: Authority
    credential: Credential
    intake_port: int
    submission_port: int
    replacing: dict[str, str]

    def send(self, *to: str, subject: str = "Your results", port: int | None = None) -> str:
        """Hands in a mail as Carol's mail program does; gives what was said of it at last: Postfix's queue id."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = CAROL, ", ".join(to), subject
        mail["Message-ID"] = f"<{time.monotonic_ns()}@clinic.example>"
        mail.set_content("All is well.\n")
        with smtplib.SMTP("127.0.0.1", port or self.postfix.port, timeout=30) as client:
            client.ehlo()
            client.mail(CAROL)
            for one in to:
                assert client.rcpt(one)[0] == 250
            code, said = client.data(mail.as_bytes())
        assert code == 250, said
        return said.decode().rpartition(" ")[2]

    def set_up(self, *blocks: str, more: str = "", **files: str) -> None:
        """The fallback's recipe with these blocks of the page after it."""
        self.configure(*blocks, more=more, **files)
        self.postfix.reload()

    def configure(self, *blocks: str, more: str = "", **files: str) -> None:
        mine = "smtp_host_lookup = dns\nsmtp_dns_support_level = enabled\n"
        lines = [
            recipe("postfix main.cf", self.replacing),
            *(recipe(one, self.replacing) for one in blocks),
            mine,
            more,
        ]
        self.postfix.configure(
            "\n".join(lines),
            recipe("postfix master.cf", self.replacing),
            **{"portal-password": recipe("postfix portal-password", self.replacing)},
            **files,
        )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Around]:
    with mail_hosts() as hosts, postfix() as instance:
        authority = Authority(instance.folder / "certificates")
        own, relay = authority.server("portal.example", "localhost"), authority.server("localhost")
        zone = Zone()
        close_dns = hosts.run(name_server(zone, NAME_SERVER, 53))
        mail = {}
        for name, address in DOMAINS.items():
            zone.add(f"{name}.example", "MX", f"10 mx.{name}.example.")
            zone.add(f"mx.{name}.example", "A", address)
            shown = {"clear": None, "stranger": authority.server("mx.other.example")}
            pair = shown[name] if name in shown else authority.server(f"mx.{name}.example")
            mail[name] = hosts.open(address, pair, port=25)
        zone.add("localhost", "A", "127.0.0.1")
        mailbox, submission, intake = hosts.open("127.0.0.1", relay), free_port(), free_port()
        portal = Portal(
            tmp_path_factory.mktemp("portal"),
            SMTP_LISTEN=f"127.0.0.1:{intake}",
            SMTP_CERTIFICATE=own.certificate,
            SMTP_KEY=own.key,
            SUBMISSION_URL=f"smtp://localhost:{submission}",
            SUBMISSION_CA=authority.ca,
            SMTP_CONNECTIONS_PER_ADDRESS=100,
            LOOKUP_LISTEN=f"127.0.0.1:{free_port()}",
            LOOKUP_HTTP_LISTEN=f"127.0.0.1:{free_port()}",
            NAME_SERVERS=NAME_SERVER,
            PROBE_PRIVATE="127.77.30.0/24",
        )
        credential = portal.set_up()
        etc = instance.folder / "etc"
        replacing = {
            "[portal.example]:2526": f"[localhost]:{intake}",
            "match=portal.example": "match=portal.example",
            "[mailbox.clinic.example] }": f"[localhost]:{mailbox.port} }}",
            "/etc/ssl/certs/ca-certificates.crt": str(authority.ca),
            "/etc/postfix/relay.clinic.example.pem": str(relay.certificate),
            "/etc/postfix/relay.clinic.example.key": str(relay.key),
            "/etc/postfix/": f"{etc}/",
            "192.0.2.10/32": "127.0.0.1/32",
            "192.0.2.25:587": f"127.0.0.1:{submission}",
            "USERNAME:PASSWORD": f"{credential.username}:{credential.password}",
        }
        around = Around(portal, instance, hosts, mail, zone, authority, credential, intake, submission, replacing)
        around.configure()
        instance.start(NAME_SERVER)
        with portal.serving():
            yield around
        close_dns()


@pytest.fixture
def around(running: Around) -> Iterator[Around]:
    for host in running.mail.values():
        host.forget()
    yield running
    print(running.postfix.log()[-20000:])  # shown where a test fails
    running.postfix.drop_all()


@contextmanager
def agent(around: Around, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """The file that `portal relay agent` prints, run as the page says."""
    file, etc = around.postfix.folder / "portal-agent.py", around.postfix.folder / "etc"
    file.write_text(around.portal.cli("relay", "agent"))
    command = recipe("sh agent", around.replacing).split()
    words = [word.strip("'") for word in command[1:]]
    process = subprocess.Popen([sys.executable, "-I", file, *words, "--config", etc, "--every", "0.5", *options])
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def test_the_agent_takes_what_waits_for_want_of_tls_to_the_portal(around: Around) -> None:
    """One mail to three: direct where TLS works, the portal where there is none, waiting where the host greylists. The notice comes
    out through the relay, whatever the map says of that domain, and the next mail goes the short way."""
    around.set_up("postfix-agent main.cf", **{"portal-transport": ""})
    around.mail["sts"].refuse_with("451 4.7.1 TLS is required, but was not offered by host mx.sts.example")
    with agent(around):
        queue_id = around.send("alice@clear.example", "bob@good.example", "carl@sts.example")
        assert around.mail["good"].await_mail("bob@good.example").tls == "TLSv1.3"
        log = around.postfix.await_log(rf".*{queue_id}: to=<alice@clear.example>.*status=sent.*")[0]
        assert f"relay=localhost[127.0.0.1]:{around.intake_port}" in log
        notice = around.mail["clear"].await_mail("alice@clear.example")
        assert notice.mail_from.startswith("bounce+")
        assert f"{queue_id}: to=<carl@sts.example>" in around.postfix.log()
        second = around.send("alice@clear.example")
        around.postfix.await_outcome(second, "sent")
    log = around.postfix.log()
    assert not [line for line in log.splitlines() if f"{second}: to=" in line and "status=deferred" in line]
    assert not [
        line
        for line in log.splitlines()
        if "carl@sts.example" in line and "status=deferred" not in line and "to=" in line
    ]
    table = (around.postfix.folder / "etc" / "portal-transport").read_text()
    assert [line.split()[0] for line in table.splitlines() if not line.startswith("#")] == ["clear.example"]


@contextmanager
def lookups(around: Around) -> Iterator[int]:
    """The look-up service at a port of its own."""
    answers = Answers(told := Told(), told, "localhost", around.intake_port)

    async def start() -> tuple[SocketMap, asyncio.Server]:
        made = SocketMap(answers, [ip_network("127.0.0.0/8")])
        return made, await asyncio.start_server(made.connected, "127.0.0.1", 0, limit=MOST_BYTES)

    sockets, server = around.hosts.run(start())
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        around.hosts.run(sockets.close())


def test_postfix_asks_the_portal_for_policy_and_way(around: Around) -> None:
    """Without a fallback: what has no TLS goes to the portal at once, the rest direct, each by the policy that its domain has; a
    certificate for another name is not taken. While nobody answers all mail waits, and nothing is lost."""
    before = len(around.postfix.log())
    with lookups(around) as port:
        maps = around.replacing | {"127.0.0.1:8462": f"127.0.0.1:{port}"}
        around.replacing.update(maps)
        around.set_up(
            "postfix-lookup main.cf", "postfix-map main.cf", more="smtp_fallback_relay =\nsmtp_tls_loglevel = 1\n"
        )
        queue_id = around.send("alice@clear.example", "bob@good.example", "carl@sts.example", "dora@stranger.example")
        around.mail["clear"].await_mail("alice@clear.example")  # its notice
        assert around.mail["good"].await_mail("bob@good.example").tls == "TLSv1.3"
        around.mail["sts"].await_mail("carl@sts.example")
        waits = around.postfix.await_log(rf".*{queue_id}: to=<dora@stranger.example>.*status=deferred.*")[0]
        assert "Server certificate not verified" in waits
    log = around.postfix.log()
    assert (
        f"relay=localhost[127.0.0.1]:{around.intake_port}"
        in around.postfix.await_log(rf".*{queue_id}: to=<alice@clear.*sent.*")[0]
    )
    assert "Verified TLS connection established to mx.sts.example" in log
    assert "Trusted TLS connection established to mx.good.example" in log
    assert "Verified TLS connection established to localhost" in log, "the portal's certificate is checked by name"
    down = around.send("bob@good.example")
    assert "transport map" in around.postfix.await_outcome(down, "deferred") or "lookup" in around.postfix.log()
    (around.postfix.folder / "of-this-test").write_text(around.postfix.log()[before:])
    replayed = around.portal.cli("relay", "replay", str(around.postfix.folder / "of-this-test"))
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in replayed.splitlines() if "\t" in line}
    assert int(rows["clear.example"][0]) >= 1
    assert rows["good.example"][0] == "0"
    assert int(rows["sts.example"][2]) >= 1
    assert "alice" not in replayed


class SafeByNow:
    """To the relay's question no host can do TLS yet; to the worker's, later, every one can."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def verdict(self, domain: str, level: Level, fresh: bool = False) -> Verdict:
        outcome, now = Outcome.DIRECT if level is Level.VERIFY else Outcome.PORTAL, self._clock.now()
        return Verdict(domain, level, outcome, Rule.OPPORTUNISTIC, (), (), now, now + timedelta(hours=1), ())


async def _graduating(around: Around, world: World, port: int) -> None:
    """Two mails leave a portal by Postfix: one arrives by verified TLS, the other comes back by the fallback."""
    house, dora = world.house, By(Who.OPERATOR, "dora")
    relay = await house.fallback(dora).add_relay(world.northside, "postfix", None, Mode.ARBITER)
    house.verdicts = SafeByNow(world.clock)
    world.intake = house.intake()
    own = around.authority.server("portal.example", "localhost")
    tls = server_context(own.certificate, own.key, None)
    listeners = await listen(world.intake, starttls=("127.0.0.1", 0), implicit=None, tls=tls, hostname="portal.example")
    back = f"[localhost]:{listeners.ports['starttls']}"
    mine = {
        f"[localhost]:{around.intake_port}": back,
        f"{around.credential.username}:{around.credential.password}": f"{relay.row.username}:{relay.password}",
    }
    master = recipe("postfix master.cf", around.replacing) + recipe("postfix-graduation master.cf", around.replacing)
    main = recipe("postfix main.cf", around.replacing)
    password = recipe("postfix portal-password", around.replacing)
    for old, new in mine.items():
        main, password = main.replace(old, new), password.replace(old, new)
    dns = "\nsmtp_host_lookup = dns\nsmtp_dns_support_level = enabled\nsmtp_tls_loglevel = 1\n"
    around.postfix.configure(main + dns, master, **{"portal-password": password})
    await asyncio.to_thread(around.postfix.reload)
    found = await orgs.policy_in_force(house.db, world.northside.id, "default")
    assert found is not None
    await house.classes(dora).set(world.northside.id, replace(found[0], graduate=True))
    settings = house.settings.model_copy(
        update={"submission_ca": around.authority.ca, "graduation_url": f"smtp://localhost:{port}"}
    )
    worker = replace(house, settings=settings).worker()
    arbiter = Relay(relay.relay.id, world.northside.id, "postfix", relay.row.id, Mode.ARBITER)
    mail = letter().replace(b"All is well.", b".well, Gr\xc3\xbc\xc3\x9fe")
    for to in ("alice@good.example", "bob@stranger.example"):
        await world.deliver(mail, (to,), relay=arbiter)
    await world.worker.send_due()  # nothing leaves before its notice has
    for _ in range(2):
        world.clock.forward(hours=7)
        await worker._graduation.look_due()
    await worker.send_due()
    arrived = await asyncio.to_thread(around.mail["good"].await_mail, "alice@good.example")
    assert (arrived.mail_from, arrived.tls) == (CAROL, "TLSv1.3")
    assert arrived.raw.endswith(mail)
    for _ in range(200):
        if await world.events("GraduationReturned"):
            break
        await asyncio.sleep(0.05)
    states = {one.end_reason: one.state.value for one in await all_deliveries(world)}
    assert states == {"sent on to the mailbox": "graduated", None: "noticed"}
    assert len(await world.events("MessageAccepted")) == len(await world.events("MessageGraduated")) == 2
    assert not around.mail["stranger"].messages
    assert "Verified TLS connection established to mx.good.example" in around.postfix.log()
    await listeners.close(0)


def test_what_graduates_goes_by_verified_tls_or_comes_back(
    around: Around, tmp_path: Path, sqlite_template: Path
) -> None:
    """By the page's recipe: the original as it came to the host whose certificate is good; what another host would get is back at the
    portal, which had it, has it once, and shows it again."""
    port = free_port()
    around.replacing["192.0.2.25:588"] = f"127.0.0.1:{port}"

    async def run() -> None:
        shutil.copy(sqlite_template, tmp_path / "portal.db")
        async with open_world(tmp_path, f"sqlite:///{tmp_path}/portal.db") as world:
            await _graduating(around, world, port)

    asyncio.run(run())


def test_a_portal_that_serves_answers_relays(around: Around) -> None:
    """By socketmap and by HTTP: its own pin, a listed domain, one that does not exist, and a map that is none."""
    around.portal.cli("route", "set", "always.example", "always", "--org", "northside")
    here, pin = (
        f"[portal.example]:{around.intake_port}",
        "secure match=portal.example protocols=!SSLv2:!SSLv3:!TLSv1:!TLSv1.1",
    )
    expected = {
        f"tlspolicy {here}": f"OK {pin}",
        "route alice@always.example": f"OK portal:{here}",
        "northside/route always.example": f"OK portal:{here}",
        "tlspolicy gone.nowhere": "NOTFOUND ",
        "route gone.nowhere": "NOTFOUND ",
    }
    host, port = around.portal.settings["LOOKUP_LISTEN"].split(":")
    with socket.create_connection((host, int(port)), timeout=20) as asked, asked.makefile("rb") as said:
        for question, answer in expected.items():
            asked.sendall(b"%d:%b," % (len(question), question.encode()))
            assert said.read(len(f"{len(answer)}:{answer},")) == f"{len(answer)}:{answer},".encode()
    by_http = f"http://{around.portal.settings['LOOKUP_HTTP_LISTEN']}/route?key="
    with urllib.request.urlopen(f"{by_http}always.example", timeout=20) as answered:
        assert answered.read() == f"portal:{here}\n".encode()
    with pytest.raises(urllib.error.HTTPError, match="404") as none:
        urllib.request.urlopen(f"{by_http}gone.nowhere", timeout=20)
    none.value.close()


@contextmanager
def arbiter(around: Around) -> Iterator[None]:
    """The relay in mode arbiter for a while."""
    relay = around.credential.id
    around.portal.cli("relay", "mode", relay, "arbiter", "--org", "northside")
    try:
        yield
    finally:
        around.portal.cli("relay", "mode", relay, "trust", "--org", "northside")


def _doctor(around: Around, *options: str) -> dict[str, list[str]]:
    """The doctor's table by case: verdict, mail host, expected, seen, what to change."""
    asked = ["relay", "doctor", *WHO, "--relay", f"127.0.0.1:{around.postfix.port}"]
    done = CliRunner().invoke(app, [*asked, *options], env=around.portal.environment())
    rows = [line.split("\t") for line in done.stdout.splitlines() if "\t" in line]
    assert rows, done.output
    assert done.exit_code == (1 if any(row[0] == "BAD" for row in rows) else 0)
    return {row[1]: [row[0], *row[2:]] for row in rows}


def _plan(around: Around, port: int) -> str:
    """The lines of the transport map that the doctor asks for."""
    said = around.portal.cli("relay", "doctor", *WHO, "--port", str(port), "--plan")
    lines = [line.replace("  ", " = ", 1) for line in said.splitlines() if ".invalid  :[" in line]
    return "".join(f"    {{ {line} }}\n" for line in lines)


def test_the_doctor_finds_a_good_relay_good_and_names_each_leak(around: Around) -> None:
    """The recipe is right but for greylisted mail, which a relay of mode `trust` brings, and that is said. A relay with level
    `dane` and old TLS allowed: each leak by name, with the line that mends it. Found by MX records and by the transport map."""
    around.set_up()
    addresses = [f"127.77.30.{number}" for number in range(1, 7)]
    listening = [word for one in addresses for word in ("--address", one)]
    for line in around.portal.cli("relay", "doctor", *WHO, *listening, "--port", "25", "--plan").splitlines()[1:]:
        name, _, _, kind, value = line.split(None, 4)
        around.zone.add(name.rstrip("."), kind, value)
    good = _doctor(around, *listening, "--port", "25", "--seconds", "8")
    wrong = {name for name, row in good.items() if row[0] == "BAD"}
    assert wrong == {"later", "down", "nobody"}, "\n".join(
        line for line in around.postfix.log().splitlines() if "nobody" in line
    )
    assert all(
        "portal relay mode RELAY arbiter --org northside" in good[name][4] for name in ("later", "down", "nobody")
    )
    assert good["tls"][3] == "direct, TLSv1.3"
    assert good["stranger"][3] == "direct, TLSv1.3"
    assert [good[name][3] for name in ("clear", "asked", "old")] == ["the portal"] * 3
    assert good["notice"][0] == "ok"
    with arbiter(around):  # who looks for himself, also in a laboratory's networks where the settings say so
        table = _doctor(around, *listening, "--port", "25", "--seconds", "8")
        assert {name for name, row in table.items() if row[0] == "BAD"} == set()
    states = around.portal.cli("message", "list", "--org", "northside", "--sender", CAROL)
    assert "doctor-" in states
    assert not [line for line in states.splitlines() if "doctor-" in line and "revoked" not in line]
    leaking = "smtp_tls_security_level = dane\nsmtp_tls_mandatory_protocols = >=TLSv1\nsmtp_tls_protocols = >=TLSv1\n"
    ciphers = "tls_medium_cipherlist = ALL:@SECLEVEL=0\nsmtp_tls_ciphers = medium\n"
    port = free_port()
    own = recipe("postfix main.cf", around.replacing)
    own = own[own.index("transport_maps") : own.index("relay_domains")].rstrip().removesuffix("}")
    around.set_up(more=f"{own}\n{_plan(around, port)}    }}\n{leaking}{ciphers}")
    bad = _doctor(around, "--port", str(port), "--seconds", "3", "--level", "verify")
    assert bad["clear"][3] == "direct, in the clear"
    assert "smtp_tls_security_level = encrypt" in bad["clear"][4]
    assert bad["asked"][0] == bad["old"][0] == bad["stranger"][0] == "BAD"
    assert "smtp_tls_mandatory_protocols" in bad["old"][4]
    assert "smtp_tls_security_level = verify" in bad["stranger"][4]
    assert "notice" not in bad


def test_the_doctor_looks_at_real_mailboxes_where_it_can_not_listen(around: Around) -> None:
    """With addresses given only what came here is seen; cases and addresses that can't be meant are refused."""
    around.set_up()
    found = _doctor(around, "--to", "clear=alice@clear.example", "--to", "tls=bob@good.example", "--seconds", "3")
    assert found["clear"][:1] + found["clear"][2:4] == ["ok", "the portal", "the portal"]
    assert found["tls"][0] == "ok"
    assert around.mail["good"].await_mail("bob@good.example")
    for wrong in (
        ["--to", "what=a@b.example"],
        ["--domain", "a b"],
        ["--address", "127.0.0.1", "--address", "127.0.0.2"],
        ["--address", "localhost"],
    ):
        with pytest.raises(InputRefused):
            app(["relay", "doctor", *WHO, "--plan", *wrong], standalone_mode=False)


def test_exim_sends_by_tls_or_hands_over(around: Around) -> None:
    """One mail to two: direct where TLS works, the portal where there is none; with the portal's certificate checked."""
    around.set_up()  # Postfix takes the portal's notices
    replacing = {
        "portal.example::2526": f"localhost::{around.intake_port}",
        "s = portal.example": "s = localhost",
        "auth = portal.example": "auth = localhost",
        "tls_verify_certificates = system": f"tls_verify_certificates = {around.authority.ca}",
        "driver = dnslookup": "driver = dnslookup\n  self = send",  # all hosts are on loopback
        "driver = smtp": "driver = smtp\n  allow_localhost",
        "USERNAME": around.credential.username,
        "PASSWORD": around.credential.password,
    }
    blocks = [recipe(f"exim {name}", replacing) for name in ("router", "transport", "authenticator")]
    before = len(around.portal.messages())
    with exim(NAME_SERVER, *blocks) as running:
        around.send("alice@clear.example", "bob@good.example", subject="By Exim", port=running.port)
        assert around.mail["good"].await_mail("bob@good.example", "By Exim").tls == "TLSv1.3"
        running.await_log("=> alice@clear.example")
        assert b"By Exim" not in around.mail["clear"].await_mail("alice@clear.example").raw
        log = running.log()
    handed = next(line for line in log.splitlines() if "=> alice@clear.example" in line)
    assert "H=localhost" in handed
    assert "CV=yes" in handed
    assert len(around.portal.messages()) == before + 1


def test_a_ready_configuration_has_this_portals_names_and_pin(around: Around) -> None:
    """Host, port, domains, a new credential in the mode that fits, the certificate's fingerprint; unknown kinds are refused."""
    said = around.portal.cli("relay", "config", "exim", "--org", "northside", "--add", "second")
    assert f"fallback_hosts = portal.example::{around.intake_port}" in said
    assert re.search(r"client_send = \^northside-\w+\^[\w-]{43}\n", said)
    assert re.search(r"SHA-256: ([0-9A-F]{2}:){31}[0-9A-F]{2}\n", said)
    again = around.portal.cli("relay", "config", "postfix", "--org", "northside")
    assert "smtp_fallback_relay = [portal.example]" in again
    assert ":PASSWORD" in again
    assert around.portal.events("RelayAdded")[-1].detail["mode"] == "arbiter"
    assert "postfix-agent" in around.portal.refuses("relay", "config", "sendmail", "--org", "northside")
