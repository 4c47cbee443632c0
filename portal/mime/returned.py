"""What came to a return or reply path: a delivery report, an automatic answer, or a person's own words. Nobody answers a machine.

Told by what the standards give machines to say so: RFC 3834 (Auto-Submitted, senders that are nobody), RFC 2919 and 2369 (lists),
Precedence, RFC 6522 (reports). Read with the same linear, bounded readers as any mail.
"""

from dataclasses import dataclass
from enum import StrEnum

from portal.mime.fields import Fields, Raw, split
from portal.mime.report import read_report

MAX_RECEIVED = 50
"""A mail that passed more hosts than this goes round (RFC 5321 6.3)."""
_NOBODY = ("mailer-daemon", "postmaster", "noreply", "no-reply", "donotreply", "do-not-reply")
_AUTOMATIC = (b"x-autoreply", b"x-autorespond", b"x-auto-response-suppress", b"feedback-id")
_REPORTS = (b"multipart/report", b"message/delivery-status", b"message/disposition-notification")


class Form(StrEnum):
    """What it is, as the record says it."""

    REPORT = "report"
    """A delivery report with the null sender: the only one that is believed."""
    AUTOMATIC = "automatic"
    """An absence note, a list, a read receipt, a report that somebody sends in his own name."""
    LOOP = "loop"
    """Our own mail, or one that goes round."""
    ANSWER = "answer"
    """A person's, as far as a machine can tell."""


@dataclass(frozen=True)
class Returned:
    """`action` (lower case) and `status` are a report's, of its first recipient."""

    form: Form
    action: str = ""
    status: str = ""


def returned(raw: Raw, mail_from: str, our_domain: str) -> Returned:
    """What a mail is that came from `mail_from` (empty for the null sender). `our_domain` is that of our Message-IDs. Never raises."""
    fields = split(raw)
    report = read_report(raw) if not mail_from else None
    if report:  # before the loop: a relay may bear the portal's own name, and nobody answers a report
        return Returned(Form.REPORT, *report)
    if _goes_round(fields, our_domain):
        return Returned(Form.LOOP)
    return Returned(Form.AUTOMATIC if _by_machine(fields, mail_from) else Form.ANSWER)


def _goes_round(fields: Fields, our_domain: str) -> bool:
    own = fields.first(b"message-id").strip().lower().endswith(b"@" + our_domain.encode() + b">")
    return own or sum(name == b"received" for name, _ in fields.found) > MAX_RECEIVED


def _by_machine(fields: Fields, mail_from: str) -> bool:
    local = mail_from.rpartition("@")[0].lower()
    if not mail_from or local.startswith((*_NOBODY, "owner-", "bounce")) or local.endswith(("-request", "-bounces")):
        return True
    if fields.over or any(name in _AUTOMATIC or name.startswith(b"list-") for name, _ in fields.found):
        return True
    submitted = fields.first(b"auto-submitted").split(b";")[0].strip().lower()
    if submitted not in (b"", b"no") or fields.first(b"return-path").strip() == b"<>":
        return True
    precedence = fields.first(b"precedence").strip().lower()
    return precedence in (b"bulk", b"list", b"junk", b"auto_reply") or _is_report(fields)


def _is_report(fields: Fields) -> bool:
    return fields.first(b"content-type").strip().lower().startswith(_REPORTS)
