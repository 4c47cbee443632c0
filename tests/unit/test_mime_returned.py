"""What came to a return path: machines say that they are ones, and only a report with the null sender is believed."""

import pytest

from portal.mime.returned import Form, returned

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
