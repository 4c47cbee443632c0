"""What a notice says, and never says: no word of the message, not even its subject. Its only links go to the configured portal.

The words stand in templates/mail/; this module gives them their few facts and makes mails of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email import policy
from email.headerregistry import Address as HeaderAddress
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Protocol
from urllib.parse import urlsplit

from portal.db.deliveries import Delivery
from portal.db.orgs import Organisation
from portal.mail import as_checked_bytes, undecoded
from portal.model.notice import ChangePayload, CodePayload, NewsPayload, NoticePayload, StaffCodePayload, filled
from portal.model.parties import address


class Letter(Protocol):
    """A mail's words: the subject is one line."""

    @property
    def subject(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def html(self) -> str: ...


class Letters(Protocol):
    """Renders templates/mail/<name> in a language; `line` renders templates/text/<name>.txt as one line."""

    def render(self, name: str, lang: str, context: Mapping[str, object]) -> Letter: ...
    def line(self, name: str, lang: str, context: Mapping[str, object]) -> str: ...


@dataclass(frozen=True)
class Told:
    """Who tells whom, when, in which language, and from which portal."""

    organisation: Organisation
    language: str
    to: str
    at: datetime
    message_id: str
    base_url: str
    reply_to: str = ""
    """Where an answer goes, if not to the organisation's own address."""

    def mail(self, letter: Letter) -> bytes:
        """A mail of these words, text and HTML (RFC 3834: no automatic answer is wanted)."""
        return as_checked_bytes(self.built(letter))

    def built(self, letter: Letter) -> EmailMessage:
        mail = self.headed(letter.subject)
        mail.set_content(letter.text, charset="utf-8")
        mail.add_alternative(letter.html, subtype="html", charset="utf-8")
        return mail

    def headed(self, subject: str, refold_source: str = "long") -> EmailMessage:
        ours, theirs = address(self.organisation.mail_from), self.to.rsplit("@", 1)
        mail = EmailMessage(
            policy=policy.SMTP.clone(utf8=not (ours.local + self.to).isascii(), refold_source=refold_source)
        )
        mail["From"] = HeaderAddress(self.organisation.name, ours.local, ours.domain)
        mail["To"] = HeaderAddress("", theirs[0], theirs[1])
        if self.reply_to:
            mail["Reply-To"] = self.reply_to
        mail["Subject"] = undecoded(subject)
        mail["Date"] = format_datetime(self.at)
        mail["Message-ID"] = self.message_id
        mail["Auto-Submitted"] = "auto-generated"
        mail["X-Auto-Response-Suppress"] = "All"
        return mail


def answering(message_id: str, raw: bytes) -> bytes:
    """A mail that threads with another (RFC 5322 3.6.4). Written here: the library would encode an id longer than a line."""
    return f"In-Reply-To: {message_id}\r\nReferences: {message_id}\r\n".encode("ascii") + raw if message_id else raw


def mail_that_points(letters: Letters, told: Told, answers: str) -> bytes:
    """For a recipient who answered a notice by mail; `answers` is that notice's Message-ID."""
    context = {"org": told.organisation, "front_url": f"{told.base_url}/"}
    mail = told.built(letters.render("pointer", told.language, context))
    mail.replace_header("Auto-Submitted", "auto-replied")  # RFC 3834 3.1.7
    return answering(answers, as_checked_bytes(mail))


def mail_with_link(letters: Letters, told: Told, name: str, payload: NoticePayload, expires_at: datetime) -> bytes:
    """A notice or reminder."""
    context = {
        "org": told.organisation,
        "link": f"{told.base_url}/m/{payload.token}",
        "host": urlsplit(told.base_url).netloc,
        "reference": payload.reference,
        "front_url": f"{told.base_url}/",
        "expires_at": expires_at,
        "words": _own_words(told.organisation, payload.language),
    }
    return told.mail(letters.render(name, payload.language, context))


def _own_words(org: Organisation, language: str) -> str:
    """The organisation's own paragraph, in its own language only."""
    if not org.notice_words or language != org.language:
        return ""
    return filled(org.notice_words, organisation=org.name, phone=org.phone, address=org.address)


def mail_with_code(letters: Letters, told: Told, payload: CodePayload) -> bytes:
    context = {
        "org": told.organisation,
        "code": payload.code,
        "code_reference": payload.reference,
        "minutes": 10,
        "front_url": f"{told.base_url}/",
    }
    return told.mail(letters.render("code", payload.language, context))


def mail_of_change(letters: Letters, told: Told, payload: ChangePayload, at: datetime, front_url: str) -> bytes:
    """What a person is told of her own ways in; `front_url` is where she signs in."""
    is_code = payload.about == "address-code"
    context = {
        "org": told.organisation,
        "about": payload.about,
        "at": at,
        "front_url": front_url,
        "link": f"{told.base_url}/recovery/{payload.stop_token}" if payload.stop_token else "",
        "letters": payload.stop_letters,
        "effective_at": datetime.fromisoformat(payload.detail) if payload.detail and not is_code else None,
        "code": payload.detail if is_code else "",
        "minutes": 10,
    }
    return told.mail(letters.render("changed", told.language, context))


def mail_with_staff_code(letters: Letters, told: Told, payload: StaffCodePayload, console_url: str) -> bytes:
    """A sender's code for the console."""
    context = {
        "org": told.organisation,
        "code": payload.code,
        "code_reference": payload.reference,
        "minutes": 10,
        "console_url": console_url,
    }
    return told.mail(letters.render("staff-code", told.language, context))


def mail_of_news(letters: Letters, told: Told, news: NewsPayload, console_url: str) -> bytes:
    """What happened to a sender's messages."""
    lines = [
        {"what": what, "at": datetime.fromisoformat(at), "ref": ref, "recipient": recipient}
        for what, at, ref, recipient in news.lines
    ]
    context = {"org": told.organisation, "lines": lines, "console_url": console_url}
    return told.mail(letters.render("news", told.language, context))


def letter_to_sender(
    letters: Letters, told: Told, name: str, delivery: Delivery, recipient: str, console_url: str
) -> Letter:
    """News for the sender of a message: which, by number and day, and for whom, partly hidden."""
    why = delivery.state.value if name == "asked" else "bounced" if delivery.bounced_at else "not accepted"
    context = {
        "org": told.organisation,
        "message_ref": delivery.message_id,
        "sent_at": delivery.accepted_at,
        "expires_at": delivery.expires_at,
        "link": f"{console_url}/messages/{delivery.message_id}",
        "hidden_recipient": address(recipient).partly_hidden(),
        "reason": delivery.stopped.value if name == "stopped" and delivery.stopped else why,
    }
    return letters.render(name, told.language, context)
