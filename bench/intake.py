"""Taking mail in: SMTP with TLS, durable before the answer, compared byte for byte with what was sent."""

import os
import time
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench import house, opening, processes, relay
from bench.house import Prepared
from bench.lines import Line, Wrong, at_least, at_most, median, spread
from bench.mails import scan
from bench.processes import Server
from bench.relay import Handed
from portal.model.ids import DeliveryId, RecipientId

MB = 1_000_000
_PIECE = 256 * 1024
_NO_HTTP = "the portal takes no mail by HTTP yet"


def _handed(server: Server, made: Prepared, connections: int, each: int, size: int) -> Handed:
    """Hands mails over, and sees that each one answered 250 is there, with a delivery. The last is compared in full."""
    before = made.rows("SELECT count(*) FROM deliveries")[0][0]
    name = f"N{time.monotonic_ns()}"
    handed = relay.hand_over(
        server.ports["starttls"],
        made.folder / "ca.pem",
        made.login,
        connections=connections,
        each=each,
        size=size,
        name=name,
    )
    kept = made.rows("SELECT count(*) FROM deliveries")[0][0] - before
    if kept != len(handed.markers) or len(handed.markers) != connections * each:
        raise Wrong(f"{len(handed.markers)} mails were answered 250, {kept} are there")
    return handed


def _compared(made: Prepared, size: int, few: int = 8) -> None:
    """Opens the newest originals and compares them with what was sent. The server must have ended."""
    newest = made.rows("SELECT recipient_id, id FROM deliveries ORDER BY id DESC LIMIT ?", few)
    wanted = [(RecipientId(recipient), DeliveryId(delivery)) for recipient, delivery in newest]
    for original in house.originals(made, wanted):
        marker = original.partition(b"Message-ID: <")[2].partition(b"@")[0].decode()
        if original != relay.raw(marker, int(marker.split("-")[1]), size):
            raise Wrong(f"the original of {marker} is not what was sent")


def intake_small(made: Prepared, work: Path, quick: bool) -> list[Line]:
    """Processor time of a mail of 10 KB, against that of a hello: 16 connections, one recipient each."""
    costs, rates, hellos = [], [], []
    each, size = (20, 10_000) if quick else (150, 10_000)
    with house.copy(made, work / "copy") as own:
        with processes.portal(own.folder, roles=("intake",)) as portal, processes.floor(own.folder) as floor:
            _handed(portal, own, 16, 5, size)
            for _ in range(2 if quick else 5):
                hellos.append(opening.hello(floor, 1.0)[1])
                cpu = portal.cpu()
                handed = _handed(portal, own, 16, each, size)
                costs.append(1000 * (portal.cpu() - cpu) / len(handed.markers))
                rates.append(len(handed.markers) / handed.seconds)
        _compared(own, size)
    figure = f"{median(rates):,.0f}/s, {median(costs):.2f} ms CPU"
    ratios = [cost / hello for cost, hello in zip(costs, hellos, strict=True)]
    line = at_most("intake_small: SMTP", figure, f"hello {1000 * median(hellos):.0f} us CPU", ratios, 8, 5)
    return [line, Line("intake_small: HTTP", _NO_HTTP, "-", "-", "<= 8 / 5", None)]


def intake_25mb(made: Prepared, work: Path, quick: bool) -> list[Line]:
    """One mail of 25 MB after the other, against encrypting, writing and syncing the same bytes with nothing around it."""
    rates, floors, four = [], [], []
    each = 2 if quick else 4
    with house.copy(made, work / "copy") as own:
        with processes.portal(own.folder, roles=("intake",)) as portal:
            _handed(portal, own, 1, 1, 25 * MB)
            for _ in range(2 if quick else 5):
                floors.append(_sealed_raw(work / "raw", each))
                rates.append(25 * each / _handed(portal, own, 1, each, 25 * MB).seconds)
                four.append(100 / _handed(portal, own, 4, 1, 25 * MB).seconds)
        _compared(own, 25 * MB, few=2)
    ratios = [rate / floor for rate, floor in zip(rates, floors, strict=True)]
    figure = f"{median(rates):.0f} MB/s, 4 at once {median(four):.0f} MB/s, TLS included"
    floor = f"AES-GCM + write + fdatasync {median(floors):.0f} MB/s"
    return [
        at_least("intake_25mb: SMTP", figure, floor, ratios, 0.30, 0.45),
        Line("intake_25mb: HTTP", _NO_HTTP, "-", "-", ">= 0.42 / 0.6", None),
    ]


def _sealed_raw(path: Path, each: int) -> float:
    """The floor: MB a second."""
    mail = memoryview(scan("floor", "alice@patients.example", 25 * MB))
    cipher = AESGCM(bytes(32))
    with processes.on_server_core():
        began = time.perf_counter()
        for _ in range(each):
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            for number, at in enumerate(range(0, len(mail), _PIECE)):
                os.write(file, cipher.encrypt(number.to_bytes(12, "big"), mail[at : at + _PIECE], None))
            os.fdatasync(file)
            os.close(file)
        took = time.perf_counter() - began
    path.unlink()
    return each * len(mail) / MB / took


def memory_in(made: Prepared, work: Path, quick: bool) -> list[Line]:
    """What a mail on its way in takes in memory: by its size, and by how many come at once."""
    peaks = {}
    with house.copy(made, work / "copy") as own:
        for connections, size in ((1, 25), (1, 100), (4, 25)):
            with processes.portal(own.folder, roles=("intake",)) as portal:
                _handed(portal, own, 4, 1, 10_000)
                before = portal.memory()
                portal.forget_peak()
                _handed(portal, own, connections, 1 if quick else 3, size * MB)
                peaks[connections, size] = portal.peak() - before
    return slopes("memory_slope: in", peaks)


def five_at_once(made: Prepared, work: Path, quick: bool) -> list[Line]:
    """Five mails of 50 MB in parallel: what they take over what the idle server has, against the 64 MiB they may."""
    grown = []
    with house.copy(made, work / "copy") as own:
        with processes.portal(own.folder, roles=("intake",)) as portal:
            _handed(portal, own, 5, 1, 10_000)
            idle = portal.memory()
            for _ in range(1 if quick else 3):
                portal.forget_peak()
                _handed(portal, own, 5, 1, 50 * MB)
                grown.append(portal.peak() - idle)
        _compared(own, 50 * MB, few=5)
    most = max(grown)
    figure, floor = f"+{most:.1f} MiB ({spread(grown)})", f"idle {idle:.0f} MiB"
    return [Line("memory: 5 x 50 MB at once", figure, floor, f"{most / 64:.2f} of 64 MiB", "<= 64 MiB", most <= 64)]


def slopes(row: str, peaks: dict[tuple[int, int], float]) -> list[Line]:
    """The two lines of memory_slope, from the growth in MiB by (streams, MB each)."""
    slope, stream = (peaks[1, 100] - peaks[1, 25]) / 75, peaks[4, 25] / 4
    grown = ", ".join(f"{streams} x {size} MB: +{peak:.1f}" for (streams, size), peak in peaks.items())
    return [
        Line(row, f"{grown} MiB", "-", f"{slope:.3f} MiB a MB", "<= 0.02", slope <= 0.02),
        Line(f"{row}, a stream", f"{stream:.1f} MiB", "-", "-", "<= 6 / 4 MiB", stream <= 6),
    ]
