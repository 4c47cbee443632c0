"""Mail through a real Postfix that keeps its connections: to the portal, over TLS and with a password, and to smtp-sink beside it.

Mails are put on hold as they are handed in, then let go together: what is timed is the hop alone. smtp-sink (Postfix's own) speaks
in the clear, so its rate is what Postfix can send at most; it keeps what it takes, so that this too is looked at. Runs as root only.
"""

import os
import re
import shutil
import smtplib
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import house, processes
from bench.house import Prepared
from bench.lines import Line, Wrong, median, spread
from bench.mails import SENDER, letter
from bench.processes import LOAD_CORE, Server
from portal.model.ids import DeliveryId, RecipientId
from tests.scenarios.postfix import Postfix, postfix
from tests.servers import free_port

_PEOPLE = 16
_AT_ONCE = 8  # connections by which mails are handed in
_SECONDS = 120
_SIZE = 10_000
_MAIN = """
smtp_tls_CAfile = {folder}/ca.pem
smtp_tls_connection_reuse = yes
smtp_tls_loglevel = 1
smtp_connection_cache_destinations = [localhost]:{portal}, [127.0.0.1]:{sink}
smtp_tls_policy_maps = inline:{{ {{ [localhost]:{portal} = secure match=localhost }} }}
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = texthash:{folder}/etc/portal-password
smtp_sasl_security_options = noanonymous
smtp_sasl_mechanism_filter = plain
smtp_send_xforward_command = yes
enable_long_queue_ids = yes
initial_destination_concurrency = 20
transport_maps = inline:{{ {{ patients.example = portal:[localhost]:{portal} }} {{ sink.example = sink:[127.0.0.1]:{sink} }} }}
smtpd_client_restrictions = check_client_access static:HOLD
"""
_MASTER = """
portal unix - - n - 10 smtp
sink unix - - n - 10 smtp
tlsproxy unix - - n - 0 tlsproxy
"""


@dataclass
class _Sink:
    """A running smtp-sink; `kept` has all that it took."""

    process: "subprocess.Popen[bytes]"
    port: int
    kept: Path

    def cpu(self) -> float:
        return processes.cpu(self.process.pid)


def through_postfix(made: Prepared, work: Path, quick: bool) -> list[Line]:
    """Messages a second and the receiver's processor time for each, portal against smtp-sink, one round after the other."""
    if os.geteuid() or not shutil.which("postfix") or not shutil.which("smtp-sink"):
        return [Line("postfix", "runs as root only, with Postfix installed", "-", "-", "-", None)]
    count, rounds = (200, 2) if quick else (600, 5)
    rates: dict[str, list[float]] = {"portal": [], "sink": []}
    costs: dict[str, list[float]] = {"portal": [], "sink": []}
    with (
        house.copy(made, work / "copy") as own,
        postfix() as relay,
        _sink(relay.folder) as sink,
    ):
        with processes.portal(own.folder, roles=("intake",)) as portal:
            _start(relay, own, portal, sink)
            _round(relay, "portal", _markers("warm", 20))
            markers: list[str] = []
            for number in range(rounds):
                for kind, receiver in (("sink", sink), ("portal", portal)):
                    markers, before, used = _markers(f"{kind}{number}", count), _deliveries(own), receiver.cpu()
                    rates[kind].append(_round(relay, kind, markers))
                    costs[kind].append(1000 * (receiver.cpu() - used) / count)
                    _arrived(own, sink, kind, markers, before)
            connections = len(
                re.findall(r"postfix/smtp.*Verified TLS connection established to localhost", relay.log())
            )
        _compared(own, markers)
    sent = rounds * count + 20
    if not 0 < connections < sent * 0.7:
        raise Wrong(f"{connections} connections for {sent} mails: they were not kept")
    ratios = [mine / floor for mine, floor in zip(rates["portal"], rates["sink"], strict=True)]
    return [
        Line(
            "postfix: messages/s",
            f"{median(rates['portal']):.0f}/s, {sent / connections:.0f} mails a connection",
            f"smtp-sink, in the clear {median(rates['sink']):.0f}/s",
            f"{median(ratios):.3g} ({spread(ratios)})",
            "-",
            None,
        ),
        Line(
            "postfix: CPU a message",
            f"{median(costs['portal']):.2f} ms",
            f"smtp-sink, in the clear {median(costs['sink']):.2f} ms",
            f"{median(costs['portal']) / max(median(costs['sink']), 0.01):.3g}",
            "-",
            None,
        ),
    ]


def _start(relay: Postfix, own: Prepared, portal: Server, sink: _Sink) -> None:
    shutil.copy(own.folder / "ca.pem", relay.folder / "ca.pem")
    port, (name, password) = portal.ports["starttls"], own.login
    main = _MAIN.format(folder=relay.folder, portal=port, sink=sink.port)
    relay.configure(main, _MASTER, **{"portal-password": f"[localhost]:{port} {name}:{password}\n"})
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {LOAD_CORE})  # what is started has it, too
    try:
        relay.start()
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _sink(folder: Path) -> Iterator[_Sink]:
    where, port = folder / "sink", free_port()
    where.mkdir()
    shutil.chown(where, "postfix")
    command = ["smtp-sink", "-u", "postfix", "-D", str(where / "kept"), f"127.0.0.1:{port}", "100"]
    with processes.on_server_core():
        process = subprocess.Popen(command)
    try:
        yield _Sink(process, port, where / "kept")
    finally:
        process.terminate()
        process.wait()


# -- one round


def _markers(name: str, count: int) -> list[str]:
    return [f"{name}-{at % _PEOPLE}-{at}-{time.monotonic_ns()}" for at in range(count)]


def _to(kind: str, marker: str) -> str:
    return f"p{marker.split('-')[1]}@{'patients' if kind == 'portal' else 'sink'}.example"


def _round(relay: Postfix, kind: str, markers: Sequence[str]) -> float:
    """Mails a second, from the first of which Postfix has been told that it was taken to the last."""
    _hand_in(relay, kind, markers)
    said = _Said(relay.folder / "log")
    relay.release()
    first = said.wait(1)
    began = time.perf_counter()
    all_of_them = said.wait(len(markers))
    return (all_of_them - first) / (time.perf_counter() - began)


class _Said:
    """How many mails a log says were sent, from now on."""

    def __init__(self, log: Path) -> None:
        self._log, self._at, self._sent = log, log.stat().st_size, 0

    def wait(self, count: int) -> int:
        """Waits for at least so many, and says how many there are. Raises Wrong after two minutes."""
        until = time.monotonic() + _SECONDS
        while self._sent < count:
            if time.monotonic() > until:
                raise Wrong(f"{self._sent} of {count} mails were sent in {_SECONDS} s")
            time.sleep(0.02)
            with self._log.open("rb") as log:
                log.seek(self._at)
                new = log.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._at, self._sent = self._at + len(whole), self._sent + whole.count(b"status=sent")
        return self._sent


def _hand_in(relay: Postfix, kind: str, markers: Sequence[str]) -> None:
    def some(own: Sequence[str]) -> None:
        with smtplib.SMTP("127.0.0.1", relay.port, timeout=60) as client:
            for marker in own:
                client.sendmail(SENDER, [_to(kind, marker)], _raw(kind, marker))

    threads = [threading.Thread(target=some, args=(markers[at::_AT_ONCE],)) for at in range(_AT_ONCE)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


def _raw(kind: str, marker: str) -> bytes:
    return letter(marker, _to(kind, marker), _SIZE)


# -- what came


def _arrived(own: Prepared, sink: _Sink, kind: str, markers: Sequence[str], before: int) -> None:
    """Each mail once, and no other. `before` is how many deliveries the portal had."""
    if kind == "sink":
        found = re.findall(rb"^Message-ID: <([^@]+)@", sink.kept.read_bytes(), re.MULTILINE)
        mine = [one.decode() for one in found if one.startswith(markers[0].split("-")[0].encode())]
        if sorted(mine) != sorted(markers):
            raise Wrong(f"smtp-sink has {len(mine)} of {len(markers)} mails")
        return
    kept = _deliveries(own) - before
    if kept != len(markers):
        raise Wrong(f"{len(markers)} mails were taken, {kept} are there")


def _deliveries(own: Prepared) -> int:
    return int(own.rows("SELECT count(*) FROM deliveries")[0][0])


def _compared(own: Prepared, markers: Sequence[str]) -> None:
    """The originals of these newest mails, but for the lines that relays put on top, are what was handed in: each, and no other."""
    newest = own.rows("SELECT recipient_id, id FROM deliveries ORDER BY id DESC LIMIT ?", len(markers))
    left = set(markers)
    for original in house.originals(own, [(RecipientId(one), DeliveryId(delivery)) for one, delivery in newest]):
        marker = original.partition(b"Message-ID: <")[2].partition(b"@")[0].decode()
        if marker not in left or not original.endswith(_raw("portal", marker)):
            raise Wrong(f"the original of {marker} is not what was sent")
        left.discard(marker)
