"""The queue agent's own parts: what it reads of the queue, and the map that it writes. tests/scenarios runs it with Postfix."""

import ast
import json
import time
from pathlib import Path
from typing import Any

import pytest

from portal.relay import agent
from portal.relay.agent import Agent, Failed, options, read

NOT_OFFERED = "TLS is required, but was not offered by host mx.patients.example[192.0.2.21]"
TO = "portal:[portal.example]:2526"


def _mail(*recipients: tuple[str, str], queue: str = "deferred", queue_id: str = "4aBcDeFgHiJk") -> str:
    told = [{"address": address, "delay_reason": reason} for address, reason in recipients]
    return json.dumps({"queue_name": queue, "queue_id": queue_id, "sender": "carol@clinic.example", "recipients": told})


def _agent(path: Path, *more: str, kind: str = "texthash") -> Agent:
    return Agent(options(["--map", f"{kind}:{path}", "--to", TO, *more]))


@pytest.mark.parametrize(
    "reason",
    [
        NOT_OFFERED,
        "TLS is required, but host mx.patients.example[192.0.2.21] refused to start TLS: 454 4.7.0 not now",
        "Cannot start TLS: handshake failure",
        "Server certificate not trusted",
        "Server certificate not verified",
        "no TLSA records found",
    ],
)
def test_postfixs_own_words_for_want_of_tls_are_known(reason: str) -> None:
    """The domain of whoever waits for them is read."""
    assert read(_mail(("alice@patients.example", reason))) == ("4aBcDeFgHiJk", ["patients.example"])


@pytest.mark.parametrize(
    "reason",
    [
        f"host mx.patients.example[192.0.2.21] said: 451 {NOT_OFFERED} (in reply to RCPT TO command)",
        f"host mx.patients.example[192.0.2.21] refused to talk to me: 421 {NOT_OFFERED}",
        "connect to mx.patients.example[192.0.2.21]:25: Connection refused",
        "TLS is required, but our TLS engine is unavailable",
        "TLSA lookup error for mx.patients.example:25",
        "",
    ],
)
def test_nothing_else_moves_a_domain(reason: str) -> None:
    """Neither what another host says, nor this host's own troubles, nor a host that is down."""
    assert read(_mail(("alice@patients.example", reason)))[1] == []


@pytest.mark.parametrize(
    "address",
    [
        "alice@patients.example other.example smtp:[192.0.2.66]",
        "alice@patients.example\nother.example smtp:[192.0.2.66]",
        "alice@patients.example\x00",
        "alice@[192.0.2.21]",
        "alice@.",
        "alice@-.example",
        "alice@" + "a." * 200 + "example",
        "alice@*",
        "alice@localhost",
        "alice",
        "",
    ],
)
def test_only_domain_names_get_into_the_map(address: str) -> None:
    """An address made to write lines of its own writes none."""
    assert read(_mail((address, NOT_OFFERED)))[1] == []


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "null",
        "[" * 100_000,
        '{"queue_id": 7, "queue_name": "deferred", "recipients": []}',
        '{"queue_id": "4aBcDeFgHiJk", "queue_name": "deferred", "recipients": [7, null]}',
        '{"queue_id": "4aBcDeFgHiJk", "queue_name": "deferred", "recipients": {"address": "x"}}',
        _mail(("alice@patients.example", NOT_OFFERED), queue="hold"),
        _mail(("alice@patients.example", NOT_OFFERED), queue_id="ALL; rm"),
    ],
)
def test_what_is_no_line_of_the_queue_is_passed_over(line: str) -> None:
    """Torn or foreign JSON, another queue, a queue id that is none."""
    assert read(line) == ("", [])


def test_domains_are_entered_in_one_form() -> None:
    """In the ASCII form of IDNA, in lower case; and a last dot do not count."""
    assert read(_mail(("a@klinik-müller.example", NOT_OFFERED), ("b@Patients.Example.", NOT_OFFERED)))[1] == [
        "xn--klinik-mller-klb.example",
        "patients.example",
    ]


def test_the_map_is_read_back_and_foreign_lines_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was stored is loaded with its time; a line without a time ends at once; nothing is left of the temporary file."""
    monkeypatch.setattr(agent, "run", lambda *command: None)
    path, one = tmp_path / "transport", _agent(tmp_path / "transport")
    one.store({"patients.example": 7_000_000_000, "a.example": 7_000_000_001})
    assert one.load() == {"patients.example": 7_000_000_000, "a.example": 7_000_000_001}
    assert f"\npatients.example {TO}\n" in path.read_text()
    assert list(tmp_path.iterdir()) == [path]
    path.write_text("b.example smtp:\n\x00\xff\n# until x\n# until 12\nc.example x\n", encoding="latin-1")
    assert one.load() == {"b.example": 0, "c.example": 12}


def test_an_entry_ends_after_its_time_and_never_grows_older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round drops what is over, and holds to --hold what a moved clock made longer; what is left out is never entered."""
    said: list[tuple[str, ...]] = []
    monkeypatch.setattr(agent, "run", lambda *command: said.append(command))
    one, now = _agent(tmp_path / "transport", "--without", "own.example"), int(time.time())
    one.store({"over.example": now - 1, "long.example": now + 99_999, "now.example": now + 30})
    queue = [_mail(("x@new.example", NOT_OFFERED)), _mail(("x@own.example", NOT_OFFERED), queue_id="4aBcDeFgHiJl")]
    queue_is(monkeypatch, tmp_path, queue)
    said.clear()
    assert one.round() == 1
    kept = one.load()
    assert sorted(kept) == ["long.example", "new.example", "now.example"]
    assert kept["now.example"] == now + 30
    assert now + 3590 < kept["long.example"] <= now + 3610
    assert said == [("postfix", "reload"), ("postqueue", "-i", "4aBcDeFgHiJk")]
    assert one.round() == 0, "a mail that waits anew is left alone for a minute"


def queue_is(monkeypatch: pytest.MonkeyPatch, folder: Path, queue: list[str], status: int = 0) -> None:
    """`postqueue` prints this; 2,000,000 characters without an end of line before it."""
    (folder / "queue").write_text("x" * 2_000_000 + "\n" + "\n".join(queue) + "\n")
    command = folder / "postqueue"
    command.write_text(f"#!/bin/sh\ncat {folder}/queue\nexit {status}\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_queue_that_is_not_told_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When postqueue fails the map stays as it is: half a queue is no reason to move mail."""
    monkeypatch.setattr(agent, "run", lambda *command: None)
    queue_is(monkeypatch, tmp_path, [_mail(("x@new.example", NOT_OFFERED))], status=69)
    with pytest.raises(Failed):
        _agent(tmp_path / "transport").round()
    assert not (tmp_path / "transport").exists()


@pytest.mark.parametrize(
    "given",
    [
        ["--map", "/etc/postfix/transport", "--to", TO],
        ["--map", "texthash:/a b", "--to", TO],
        ["--map", "texthash:/a", "--to", "portal:[portal.example]:2526\nx"],
        ["--map", "texthash:/a", "--to", "portal.example"],
        ["--map", "texthash:/a", "--to", TO, "--hold", "5"],
    ],
)
def test_options_that_can_not_be_meant_are_refused(given: list[str], capsys: Any) -> None:
    """A map that is none, a next hop that is none, an hour of five seconds."""
    with pytest.raises(SystemExit):
        options(given)
    assert "error:" in capsys.readouterr().err


def test_it_is_one_file_for_an_old_python() -> None:
    """It parses as Python 3.9 and imports nothing but that version's standard library."""
    tree = ast.parse(Path(agent.__file__).read_text(), feature_version=(3, 9))
    names = {node.names[0].name for node in ast.walk(tree) if isinstance(node, ast.Import)}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names <= {
        "__future__", "argparse", "collections.abc", "json", "os", "re", "signal", "subprocess", "sys", "tempfile",
        "threading", "time", "typing",
    }  # fmt: skip
