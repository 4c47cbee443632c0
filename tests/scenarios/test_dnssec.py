"""DANE over real signatures: zones signed for the test, and Unbound, which validates them as an operator's resolver would."""

import asyncio
import shutil
import smtplib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import dns.dnssec
import dns.dnssectypes
import dns.name
import dns.node
import dns.rdatatype
import dns.rrset
import dns.zone
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from portal.lookup.answers import Answers
from portal.lookup.socketmap import MOST_BYTES, SocketMap
from portal.model.parties import Address
from portal.model.routes import Level, Outcome, Rule
from portal.transport import Verdict
from portal.transport.verdicts import Prober
from tests.scenarios.authority import Pair
from tests.scenarios.lab import Lab, laboratory, sts, tlsa
from tests.scenarios.postfix import postfix, recipe
from tests.servers import free_port

pytestmark = pytest.mark.anyio

_CONF = """
server:
  interface: {address}@{port}
  access-control: 127.0.0.0/8 allow
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: "{folder}/unbound.pid"
  use-syslog: no
  logfile: "{folder}/unbound.log"
  module-config: "validator iterator"
  num-threads: 1
  do-ip6: no
{anchors}
remote-control:
  control-enable: no
{zones}
"""
_ZONE = """
  name: "{name}"
  zonefile: "{folder}/{name}.zone"
  for-downstream: no
  for-upstream: yes
  fallback-enabled: no
"""


def signed(folder: Path, name: str, text: str, *, spoiled: bool = False) -> str:
    """Writes a signed zone and gives its trust anchor. `spoiled`: one signature in it is another record's."""
    zone = dns.zone.from_text(
        f"@ 60 IN SOA ns hostmaster 1 60 60 60 60\n@ 60 IN NS ns\nns 60 IN A 127.0.0.1\n{text}", name
    )
    key = ec.generate_private_key(ec.SECP256R1())
    public = dns.dnssec.make_dnskey(key.public_key(), dns.dnssectypes.Algorithm.ECDSAP256SHA256, flags=257)
    now = datetime.now(UTC)
    with zone.writer() as transaction:
        dns.dnssec.sign_zone(
            zone, transaction, keys=[(key, public)], inception=now - timedelta(days=1), expiration=now + timedelta(days=1),
            add_dnskey=True, dnskey_ttl=60,
        )  # fmt: skip
    lines = zone.to_text(relativize=False).splitlines()
    if spoiled:
        lines = [_spoil(line) if " RRSIG MX " in line else line for line in lines]
    (folder / f"{name}.zone").write_text("\n".join(lines) + "\n")
    return f"{name}. DNSKEY {public.to_text()}"


def _spoil(line: str) -> str:
    head, _, signature = line.rpartition(" ")
    return f"{head} {'A' * 8}{signature[8:]}"


@asynccontextmanager
async def unbound(
    folder: Path, anchors: list[str], zones: list[str], address: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[str]:
    """A validating resolver that knows these zones alone; where it listens."""
    if shutil.which("unbound") is None:
        pytest.fail("Unbound is not installed: apt-get install unbound", pytrace=False)
    port = port or free_port()
    conf = _CONF.format(
        address=address,
        port=port,
        folder=folder,
        anchors="\n".join(f'  trust-anchor: "{one}"' for one in anchors),
        zones="\n".join("auth-zone:" + _ZONE.format(name=one, folder=folder) for one in zones),
    )
    (folder / "unbound.conf").write_text(conf)
    process = await asyncio.create_subprocess_exec(
        "unbound", "-d", "-c", str(folder / "unbound.conf"), stderr=asyncio.subprocess.PIPE
    )
    try:
        for _ in range(100):
            await asyncio.sleep(0.05)
            if process.returncode is not None or (folder / "unbound.pid").exists():
                break
        if process.returncode is not None:
            pytest.fail(f"Unbound ended: {(await process.communicate())[1].decode()}")
        yield f"{address}:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
            await process.communicate()


async def test_dane_counts_where_signatures_hold(tmp_path: Path) -> None:
    """A right record makes a host safe that no authority vouches for; a wrong one brings the mail here; a broken signature defers."""
    async with laboratory(tmp_path) as lab:
        port, pairs = lab.mail_port, {}
        lines: dict[str, str] = {}
        for name in ("right", "wrong", "absent"):
            lines[name], pairs[name] = await _domain(lab, f"{name}.signed.example", name)
        record = tlsa(pairs["right"].certificate, 3, 1, 1)
        good = "".join(lines.values()) + f"_{port}._tcp.mx.right 60 IN TLSA {record}\n"
        good += f"_{port}._tcp.mx.wrong 60 IN TLSA 3 1 1 {'ab' * 32}\n"
        broken, pair = await _domain(lab, "there.broken.example", "there")
        broken += f"_{port}._tcp.mx.there 60 IN TLSA {tlsa(pair.certificate, 3, 1, 1)}\n"
        plain, pair = await _domain(lab, "there.plain.example", "there")
        plain += f"_{port}._tcp.mx.there 60 IN TLSA 3 1 1 {'ab' * 32}\n"
        anchors = [
            await asyncio.to_thread(signed, tmp_path, "signed.example", good),
            await asyncio.to_thread(signed, tmp_path, "broken.example", broken, spoiled=True),
        ]
        await asyncio.to_thread(signed, tmp_path, "plain.example", plain)  # signed, and nobody vouches for its key
        async with unbound(tmp_path, anchors, ["signed.example", "broken.example", "plain.example"]) as lab.dns:
            prober = lab.prober()
            names = ("right.signed", "wrong.signed", "absent.signed", "there.broken", "there.plain")
            found = {name: await prober.verdict(f"{name}.example", Level.VERIFY) for name in names}
            await prober.close()
    assert {name: _short(one) for name, one in found.items()} == {
        "right.signed": (Outcome.DIRECT, Rule.DANE),
        "wrong.signed": (Outcome.PORTAL, Rule.DANE),
        "absent.signed": (Outcome.PORTAL, Rule.OPPORTUNISTIC),
        "there.broken": (Outcome.LATER, Rule.DNS),
        "there.plain": (Outcome.PORTAL, Rule.OPPORTUNISTIC),
    }, [one.transcript for one in found.values()]
    assert any("(DNSSEC)" in line for line in found["absent.signed"].transcript)
    assert not any("(DNSSEC)" in line for line in found["there.plain"].transcript)


async def _domain(lab: Lab, domain: str, name: str, *, known: bool = False) -> tuple[str, Pair]:
    """Zone lines of a domain whose host shows a stranger's certificate (or one that is `known`), and that certificate."""
    pair = (lab.authority if known else lab.stranger).server(f"mx.{domain}")
    address = lab.address()
    await lab.listen(address, lab.mail_port, lab.with_tls(pair))
    return f"{name} 60 IN MX 10 mx.{name}\nmx.{name} 60 IN A {address}\n", pair


def _short(found: Verdict) -> tuple[Outcome, Rule]:
    return found.outcome, found.rule


async def _with_policy(lab: Lab, name: str, *, known: bool) -> str:
    """Zone lines of a domain in plain.example with an MTA-STS policy in mode enforce."""
    domain = f"{name}.plain.example"
    lines, _ = await _domain(lab, domain, name, known=known)
    await lab.site(domain, sts("enforce", f"mx.{domain}"))
    [record], [address] = lab.zone.records[f"_mta-sts.{domain}", "TXT"], lab.zone.records[f"mta-sts.{domain}", "A"]
    return f"{lines}_mta-sts.{name} 60 IN TXT {record}\nmta-sts.{name} 60 IN A {address}\n"


class Unset:
    """An organisation that has set nothing."""

    async def of(self, org: str, recipient: Address | None, domain: str | None) -> tuple[Level, bool | None]:
        return Level.ENCRYPT, None


@asynccontextmanager
async def lookups(prober: Prober) -> AsyncIterator[int]:
    """The look-up service on these verdicts; its port."""
    sockets = SocketMap(Answers(prober, Unset(), "portal.example", 2526), [ip_network("127.0.0.0/8")])
    server = await asyncio.start_server(sockets.connected, "127.0.0.1", 0, limit=MOST_BYTES)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await sockets.close()
        await prober.close()


async def test_postfix_sends_by_the_policy_that_a_domain_has(tmp_path: Path) -> None:
    """A real Postfix asks the portal, and both ask Unbound: by DANE alone, by MTA-STS with the policy's hosts, or by the level. What
    does not fit waits, and so does what can't be known; nothing of it goes out."""
    async with laboratory(tmp_path, real_ports=True) as lab:
        right, pair = await _domain(lab, "right.signed.example", "right")
        wrong, _ = await _domain(lab, "wrong.signed.example", "wrong", known=True)
        absent, _ = await _domain(lab, "absent.signed.example", "absent")
        good = f"{right}{wrong}{absent}_25._tcp.mx.right 60 IN TLSA {tlsa(pair.certificate, 3, 1, 1)}\n"
        good += f"_25._tcp.mx.wrong 60 IN TLSA 3 1 1 {'ab' * 32}\n"
        broken, _ = await _domain(lab, "there.broken.example", "there", known=True)
        plain, _ = await _domain(lab, "there.plain.example", "there")
        plain += f"_25._tcp.mx.there 60 IN TLSA 3 1 1 {'ab' * 32}\n"  # nobody vouches for it, so it does not count
        plain += await _with_policy(lab, "sts", known=True) + await _with_policy(lab, "stranger", known=False)
        anchors = [
            await asyncio.to_thread(signed, tmp_path, "signed.example", good),
            await asyncio.to_thread(signed, tmp_path, "broken.example", broken, spoiled=True),
        ]
        await asyncio.to_thread(signed, tmp_path, "plain.example", plain)
        zones = ["signed.example", "broken.example", "plain.example"]
        async with unbound(tmp_path, anchors, zones, lab.address(), 53) as lab.dns, lookups(lab.prober()) as port:
            with postfix() as relay:
                replacing = {
                    "127.0.0.1:8462": f"127.0.0.1:{port}",
                    "/etc/ssl/certs/ca-certificates.crt": str(lab.authority.ca),
                }
                own = (
                    "smtp_host_lookup = dns\nsmtp_fallback_relay =\nsmtp_sasl_auth_enable = no\nsmtp_tls_loglevel = 1\n"
                )
                main = recipe("postfix main.cf", replacing) + recipe("postfix-lookup main.cf", replacing)
                relay.configure(main + own, recipe("postfix master.cf", {"192.0.2.25:587": f"127.0.0.1:{free_port()}"}))
                await asyncio.to_thread(relay.start, lab.dns.partition(":")[0])
                names = (
                    "right.signed",
                    "wrong.signed",
                    "absent.signed",
                    "there.broken",
                    "there.plain",
                    "sts.plain",
                    "stranger.plain",
                )
                to = [f"alice@{one}.example" for one in names]
                await asyncio.to_thread(_send, relay.port, to)
                for one in to:
                    await asyncio.to_thread(relay.await_log, rf"to=<{one}>.*status=")
                log, waiting = relay.log(), await asyncio.to_thread(relay.waiting)
    assert sorted(one.recipient for one in lab.taken) == [
        "alice@absent.signed.example",
        "alice@right.signed.example",
        "alice@sts.plain.example",
        "alice@there.plain.example",
    ], log
    assert sorted(waiting) == [
        "alice@stranger.plain.example",
        "alice@there.broken.example",
        "alice@wrong.signed.example",
    ]
    for kind, host in (
        ("Verified", "right.signed"),
        ("Verified", "sts.plain"),
        ("Untrusted", "absent.signed"),
        ("Untrusted", "there.plain"),
    ):
        assert f"{kind} TLS connection established to mx.{host}.example" in log


def _send(port: int, to: list[str]) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        assert client.sendmail("carol@clinic.example", to, b"Subject: Results\r\n\r\nAll is well.\r\n") == {}
