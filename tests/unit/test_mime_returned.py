"""What came to a return path: machines say that they are ones, and only a report with the null sender is believed."""

from pathlib import Path

import pytest

from portal.mime.returned import Form, Returned, returned

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "dsn"
ALICE = "alice@patients.example"
ANSWER = f"From: {ALICE}\r\nSubject: Re\r\nMessage-ID: <9@patients.example>\r\n\r\nHello\r\n"


def with_field(field: str) -> bytes:
    return f"{field}\r\n{ANSWER}".encode()


@pytest.mark.parametrize(
    "field",
    [
        "Auto-Submitted: auto-replied (vacation)",
        "Auto-Submitted: auto-generated",
        "Precedence: bulk",
        "Precedence: auto_reply",
        "List-Id: <news.patients.example>",
        "List-Unsubscribe: <mailto:x@patients.example>",
        "X-Autoreply: yes",
        "X-Auto-Response-Suppress: All",
        "Return-Path: <>",
        "Content-Type: multipart/report; report-type=disposition-notification; boundary=b",
    ],
)
def test_a_machine_says_that_it_is_one(field: str) -> None:
    """Each sign that the standards give machines is heard; without one, words are a person's."""
    assert returned(with_field(field), ALICE, "portal.example").form is Form.AUTOMATIC
    assert returned(with_field("Auto-Submitted: no"), ALICE, "portal.example").form is Form.ANSWER


@pytest.mark.parametrize(
    ("name", "action", "status"),
    [
        ("refused", "failed", "5.1.1"),
        ("expired", "failed", "4.7.1"),  # Action decides: the queue gave up on what was a temporary answer
        ("unreachable", "failed", "4.4.1"),
        ("delayed", "delayed", "4.7.1"),
        ("relayed", "relayed", "2.6.0"),
    ],
)
def test_what_postfix_reports_is_understood(name: str, action: str, status: str) -> None:
    """Reports of a real Postfix, as they came; the same with a sender is somebody's word."""
    raw = (VECTORS / f"postfix_{name}.eml").read_bytes()
    assert returned(raw, "", "portal.example") == Returned(Form.REPORT, action, status)
    assert returned(raw, "mallory@evil.example", "portal.example").form is Form.AUTOMATIC


@pytest.mark.parametrize(
    ("name", "action", "status"),
    [
        ("refused", "failed", "5.1.1"),  # Exim's own Status is 5.0.0, whatever the host said
        ("unrouteable", "failed", "5.0.0"),
        ("expired", "failed", "4.7.1"),
        ("unreachable", "failed", "5.0.0"),
        ("delayed", "delayed", "4.7.1"),
        ("relayed", "delivered", "2.0.0"),
    ],
)
def test_what_exim_reports_is_understood(name: str, action: str, status: str) -> None:
    """Reports of a real Exim, as they came; the code is the host's own where it gave one."""
    raw = (VECTORS / f"exim_{name}.eml").read_bytes()
    assert returned(raw, "", "portal.example") == Returned(Form.REPORT, action, status)
    assert returned(raw, "mallory@evil.example", "portal.example").form is Form.AUTOMATIC


@pytest.mark.parametrize(
    ("status", "diagnostic", "read"),
    [
        ("5.0.0", "smtp; 550-5.1.1 no", "5.1.1"),
        ("5.0.0", "SMTP;550 5.1.1", "5.1.1"),
        ("5.2.2", "smtp; 550 5.1.1 no", "5.2.2"),
        ("5.0.0", "smtp; 550 no 5.1.1", "5.0.0"),
        ("5.0.0", "x-unix; 550 5.1.1", "5.0.0"),
        ("5.0.0", "smtp; 550 5.1.1111", "5.0.0"),
        ("5.0.0", "smtp; 999 5.1.1", "5.0.0"),
        ("", "smtp; 550 5.1.1", ""),
    ],
)
def test_the_hosts_own_code_counts_where_status_says_nothing(status: str, diagnostic: str, read: str) -> None:
    """Only at its place in an SMTP answer, and only beside a Status that is x.0.0."""
    raw = (VECTORS / "exim_refused.eml").read_bytes()
    raw = raw.replace(b"Status: 5.0.0", f"Status: {status}".encode())
    raw = raw.replace(b"smtp; 550 5.1.1 No such user here", diagnostic.encode())
    assert returned(raw, "", "portal.example").status == read


@pytest.mark.parametrize("name", ["postfix_refused", "exim_refused"])
def test_a_report_that_is_cut_or_spoiled_is_nothing_and_never_an_error(name: str) -> None:
    """Cut anywhere, or with any byte changed, a report is itself, or no failure at all: nothing else is ever read from it."""
    raw = (VECTORS / f"{name}.eml").read_bytes()
    for at in range(0, len(raw), 7):
        for spoiled in (raw[:at], raw[:at] + b"\xff" + raw[at + 1 :], raw[:at] + b"\r\n\r\n" + raw[at:]):
            found = returned(spoiled, "", "portal.example")
            assert found.form in (Form.REPORT, Form.AUTOMATIC)
            assert len(found.action) <= 20


def test_a_report_of_a_relay_that_bears_our_name_is_a_report() -> None:
    """Portal and relay on one host: its reports have Message-IDs of our domain, and nobody answers a report."""
    raw = (
        b"From: MAILER-DAEMON@portal.example\r\nAuto-Submitted: auto-replied\r\n"
        b"Message-Id: <20261128032600.4ABCDEF@portal.example>\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        b"--b\r\n\r\nno\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; portal.example\r\n\r\n"
        b"Final-Recipient: rfc822; a@b.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--b--\r\n"
    )
    assert returned(raw, "", "portal.example").form is Form.REPORT
