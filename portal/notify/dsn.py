"""Tells a sender, in forms that mail programs know, what became of a message: delivery reports (RFC 3464), read receipts (RFC 8098).

They name the recipient, and the message by its id, and carry nothing else of it: what comes back never brings content out.
"""

import re
from collections.abc import Sequence
from email import policy
from email.headerregistry import Address as HeaderAddress
from email.message import EmailMessage, Message
from email.utils import format_datetime

from portal.db.deliveries import Delivery
from portal.mail import as_checked_bytes
from portal.model.mails import MailKind
from portal.model.parties import address
from portal.model.reports import AskedOfOne, ReportsAsked
from portal.notify.notice import Letter, Told, answering

OUTCOMES = {
    MailKind.UNDELIVERED: ("failed", "5.0.0"),
    MailKind.UNREAD: ("failed", "5.4.7"),  # RFC 3463 3.5: delivery time expired
    MailKind.DELIVERED: ("delivered", "2.0.0"),
}
"""The mails that are delivery reports, with Action and Status."""
_XTEXT = re.compile(r"[^!-*,-<>-\[\]-~]")


def delivery_report(
    told: Told, letter: Letter, delivery: Delivery, recipient: str, asked: ReportsAsked, kind: MailKind, status: str
) -> bytes:
    """`status` is a known enhanced code (RFC 3463), or empty."""
    action, usual = OUTCOMES[kind]
    about_message, about_recipient = Message(), _recipient(asked.of(delivery.id), recipient)
    if asked.envid:
        about_message["Original-Envelope-Id"] = asked.envid
    about_message["Reporting-MTA"] = f"dns; {_host(told)}"
    about_message["Arrival-Date"] = format_datetime(delivery.accepted_at)
    about_recipient["Action"] = action
    about_recipient["Status"] = status or usual
    return _report(told, letter, "delivery-status", [about_message, about_recipient], asked)


def read_receipt(told: Told, letter: Letter, delivery: Delivery, recipient: str, asked: ReportsAsked) -> bytes:
    """Sent because the recipient said so. From the organisation in her name, as her replies are: RFC 8098 3 wants her own address,
    which the organisation's mail may not bear (DMARC)."""
    said = _recipient(asked.of(delivery.id), recipient)
    fields = Message()
    fields["Reporting-UA"] = _host(told)
    for name, value in said.items():
        fields[name] = value
    if asked.message_id:
        fields["Original-Message-ID"] = asked.message_id
    fields["Disposition"] = "manual-action/MDN-sent-manually; displayed"
    return _report(told, letter, "disposition-notification", [fields], asked, author=recipient)


def _recipient(asked: AskedOfOne, recipient: str) -> Message:
    """RFC 3464 2.3 and RFC 8098 3.2: who it is about, as the sender wrote it and as the portal knows it."""
    fields = Message()
    if asked.orcpt:
        fields["Original-Recipient"] = asked.orcpt
    # RFC 6533 3: an address beyond ASCII is written as utf-8-addr-xtext
    written = recipient if recipient.isascii() else _XTEXT.sub(lambda sign: f"\\x{{{ord(sign[0]):X}}}", recipient)
    fields["Final-Recipient"] = f"{'rfc822' if recipient.isascii() else 'utf-8'}; {written}"
    return fields


def _report(
    told: Told, letter: Letter, kind: str, blocks: Sequence[Message], asked: ReportsAsked, author: str = ""
) -> bytes:
    """RFC 6522: words for people, fields for machines, and of the message its id alone."""
    mail = told.headed(letter.subject, refold_source="none")  # fields of reports are not to be folded or encoded
    if author:
        ours = address(told.organisation.mail_from)
        mail.replace_header("From", HeaderAddress(f"{author} via {told.organisation.name}", ours.local, ours.domain))
    mail.replace_header("Auto-Submitted", "auto-replied")
    mail["Content-Type"] = f'multipart/report; report-type="{kind}"'
    words = EmailMessage(policy=policy.SMTP)
    words.set_content(letter.text, charset="utf-8")
    mail.attach(words)
    mail.attach(_fields(kind, blocks))
    if asked.message_id:
        returned = EmailMessage(policy=policy.SMTP)
        returned.set_content(f"Message-ID: {asked.message_id}\n", subtype="rfc822-headers", cte="7bit")
        mail.attach(returned)
    return answering(asked.message_id, as_checked_bytes(mail))


def _fields(kind: str, blocks: Sequence[Message]) -> EmailMessage:
    part = EmailMessage(policy=policy.SMTP)
    if kind == "delivery-status":
        part["Content-Type"] = "message/delivery-status"
        part.set_payload([*blocks])
        return part
    part["Content-Type"] = "message/disposition-notification"
    part.set_payload("".join(f"{name}: {value}\r\n" for name, value in blocks[0].items()))
    return part


def _host(told: Told) -> str:
    return told.message_id.rsplit("@", 1)[1].rstrip(">")
