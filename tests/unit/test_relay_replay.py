"""A Postfix log, replayed: who would have come here."""

import gzip
import tracemalloc
from pathlib import Path

import pytest

from portal.model.errors import InputRefused
from portal.relay import replay as module
from portal.relay.replay import NO_DOMAIN, OTHERS, Counts, Reader, replay

NOT_OFFERED = "TLS is required, but was not offered by host mx.b.example[192.0.2.2]"
TAIL = "delay=0.5, delays=0.1/0.1/0.2/0.1"


def _line(text: str, pid: int = 7, program: str = "postfix/smtp", when: str = "Nov 28 01:32:01") -> bytes:
    return f"{when} relay {program}[{pid}]: {text}\n".encode()


def _sent(queue_id: str, to: str, host: str, *, use: str = "", status: str = "sent", said: str = "250 OK") -> str:
    dsn = {"sent": "2.0.0", "deferred": "4.7.4", "bounced": "5.1.1"}[status]
    return f"{queue_id}: to=<{to}>, relay={host}, {use}{TAIL}, dsn={dsn}, status={status} ({said})"


def _tls(level: str, host: str, verb: str = "established") -> str:
    return f"{level} TLS connection {verb} to {host}: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)"


def _read(*lines: bytes, without: tuple[str, ...] = ()) -> dict[str, Counts]:
    reader = Reader(without)
    for line in lines:
        reader.read(line)
    return reader.result.domains


A, B = "mx.a.example[192.0.2.1]:25", "mx.b.example[192.0.2.2]:25"


def test_each_way_of_a_delivery_is_counted_under_its_domain() -> None:
    """Verified, trusted, other TLS, in the clear, waiting for want of TLS, waiting, bounced; both forms of a log's time."""
    iso = "2026-11-28T01:32:01.123456+01:00"
    lines = []
    for number, level in enumerate(("Verified", "Trusted", "Untrusted", "Anonymous")):
        host = f"mx{number}.example[192.0.2.{number}]:25"
        lines += [
            _line(_tls(level, host), number, when=iso),
            _line(_sent(f"4aBcDe{number}", f"x@{level}.example", host), number, when=iso),
        ]
    lines.append(_line(_sent("4aBcDe8", "alice@clear.example", A), program="postfix-out/smtp"))
    lines.append(_line(_sent("4aBcDe9", "alice@no.example", B, status="deferred", said=NOT_OFFERED)))
    lines.append(_line(_sent("4aBcDfA", "alice@grey.example", B, status="deferred", said="host mx said: 451 later")))
    lines.append(_line(_sent("4aBcDfB", "alice@gone.example", "none", status="bounced", said="Host not found")))
    assert _read(*lines) == {
        "verified.example": Counts(verified=1),
        "trusted.example": Counts(trusted=1),
        "untrusted.example": Counts(tls=1),
        "anonymous.example": Counts(tls=1),
        "clear.example": Counts(clear=1),
        "no.example": Counts(no_tls=1),
        "grey.example": Counts(deferred=1),
        "gone.example": Counts(bounced=1),
    }


def test_what_would_come_here_depends_on_the_policy() -> None:
    """Under `encrypt` what has no TLS; under `verify` what no authority vouches for as well; what waits is apart."""
    counts = Counts(verified=1, trusted=2, tls=4, clear=8, no_tls=16, deferred=32, bounced=64)
    assert (counts.encrypt, counts.verify, counts.waiting, counts.all) == (24, 28, 32, 127)


def test_a_mail_that_waited_and_was_sent_counts_once_as_sent() -> None:
    """Three tries of greylisting and a delivery are one delivery."""
    waits = _line(_sent("4aBcDe1", "alice@grey.example", A, status="deferred", said="host mx said: 451 4.7.1 later"))
    sent = [_line(_tls("Trusted", A)), _line(_sent("4aBcDe1", "alice@grey.example", A))]
    assert _read(waits, waits, waits, *sent) == {"grey.example": Counts(trusted=1)}
    assert _read(waits, waits) == {"grey.example": Counts(deferred=1)}


def test_tls_is_of_the_connection_that_said_so() -> None:
    """Another process, another host, a connection of its own, or a handshake that failed is not covered by it."""
    tls, to_a = _line(_tls("Trusted", A)), _line(_sent("4aBcDe1", "x@a.example", A))
    assert _read(tls, to_a, to_a)["a.example"].trusted == 2  # two recipients of one mail, as far as the line says
    assert _read(tls, _line(_sent("4aBcDe1", "x@a.example", A), pid=8))["a.example"].clear == 1
    assert _read(tls, _line(_sent("4aBcDe1", "x@b.example", B)))["b.example"].clear == 1
    assert _read(tls, to_a, _line(_sent("4aBcDe2", "x@a.example", A)))["a.example"] == Counts(trusted=1, clear=1)
    assert _read(tls, to_a, _line(_sent("4aBcDe2", "x@a.example", A, use="conn_use=2, ")))["a.example"].trusted == 2
    assert _read(tls, _line("4aBcDe1: Cannot start TLS: handshake failure"), to_a)["a.example"].clear == 1


@pytest.mark.parametrize(
    "hostile",
    [
        _line(
            _sent(
                "4aBcDe1",
                "x@a.example",
                A,
                status="deferred",
                said="host mx said: 451 TLS is required, but was not offered by host mx",
            )
        ),
        _line(_sent("4aBcDe1", "x@a.example", A, status="deferred", said=f"host mx said: 451 {_tls('Verified', A)}")),
        _line(_sent("4aBcDe1", '"b>, relay=none, status=sent ("@a.example', A, status="deferred", said="451")),
    ],
)
def test_what_other_hosts_say_counts_for_nothing(hostile: bytes) -> None:
    """An answer or a local part that reads like a line of Postfix's own changes neither fate nor domain."""
    assert _read(hostile) == {"a.example": Counts(deferred=1)}


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\x00" * 100,
        b"Nov 28 01:32:01 relay sshd[1]: 4aBcDe1: to=<x@a.example>, relay=x, delay=1, delays=1, dsn=2.0.0, status=sent (",
        _line('4aBcDe1: to=<"' + '\\"' * 3000 + f">, relay={A}"),
        _line("4aBcDe1: to=<" + '"a"' * 2000),
        _line("4aBcDe1: to=<" + "x" * 7000),
        _line(_sent("4aBcDe1", "x@a.example", "127.0.0.1[127.0.0.1]:10024")),
        _line(_sent("4aBcDe1", "x@clinic.example", A)),
    ],
)
def test_what_is_no_delivery_to_others_is_passed_over(line: bytes) -> None:
    """Other programs, bytes, torn lines, the hop to a content filter, one's own domain."""
    assert _read(line, without=("clinic.example",)) == {}


@pytest.mark.parametrize("to", ["x@[192.0.2.1]", "x@\x1b[31mred.example", "x@a b.example", "x", "x@" + "a" * 300])
def test_only_domain_names_come_out(to: str) -> None:
    """What is none, terminal controls among it, is counted under one name."""
    assert _read(_line(_sent("4aBcDe1", to, A))) == {NO_DOMAIN: Counts(clear=1)}


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of ever new domains, processes and waiting mails takes no more than the bounds; the totals stay right."""
    for name in ("_MOST_DOMAINS", "_MOST_PROCESSES", "_MOST_WAITING"):
        monkeypatch.setattr(module, name, 100)
    reader = Reader()
    tracemalloc.start()
    for number in range(5_000):
        reader.read(_line(_tls("Trusted", A), number))
        reader.read(_line(_sent(f"4aBcD{number}", f"x@d{number}.example", A, status="deferred", said="451")))
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    assert len(reader.result.domains) == 101
    assert reader.result.domains[OTHERS].deferred == 4_900
    assert reader.result.total.deferred == 5_000
    assert reader.result.forgot


def test_files_packed_torn_and_long_lined_are_read(tmp_path: Path) -> None:
    """gzip is unpacked; a torn file is read as far as it goes; a line beyond 8 KiB is not read; no file is refused."""
    good = _line(_sent("4aBcDe1", "x@a.example", A))
    (tmp_path / "long").write_bytes(b"x" * 100_000 + b"\n" + good)
    found = replay(tmp_path / "long")
    assert (found.domains, found.unread, found.cut_off) == ({"a.example": Counts(clear=1)}, 1, False)
    packed = gzip.compress(good * 100_000)
    (tmp_path / "log.gz").write_bytes(packed)
    assert replay(tmp_path / "log.gz").deliveries == 100_000
    (tmp_path / "torn.gz").write_bytes(packed[: len(packed) // 2])
    torn = replay(tmp_path / "torn.gz")
    assert torn.cut_off
    assert 0 < torn.deliveries < 100_000
    with pytest.raises(InputRefused):
        replay(tmp_path / "nothing")
