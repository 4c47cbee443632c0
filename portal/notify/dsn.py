"""Tells a sender, in a form that mail programs know (RFC 3464), that a recipient could not be told of a message.

The report names the recipient and carries nothing of the message: a bounce never brings content back out.
"""

from email import policy
from email.message import EmailMessage, Message
from email.utils import format_datetime

from portal.db.deliveries import Delivery
from portal.mail import as_checked_bytes
from portal.notify.notice import Letter, Told


def delivery_report(told: Told, letter: Letter, delivery: Delivery, recipient: str) -> bytes:
    mail = told.headed(letter.subject)
    del mail["Auto-Submitted"]
    mail["Auto-Submitted"] = "auto-replied"
    mail["Content-Type"] = 'multipart/report; report-type="delivery-status"'
    words = EmailMessage(policy=policy.SMTP)
    words.set_content(letter.text, charset="utf-8")
    mail.attach(words)
    mail.attach(_status(told, delivery, recipient))
    return as_checked_bytes(mail)


def _status(told: Told, delivery: Delivery, recipient: str) -> EmailMessage:
    """RFC 3464 2.2 and 2.3: a block about the message, and one about the recipient."""
    about_message = Message()
    about_message["Reporting-MTA"] = f"dns; {told.message_id.rsplit('@', 1)[1].rstrip('>')}"
    about_message["Arrival-Date"] = format_datetime(delivery.accepted_at)
    about_recipient = Message()
    about_recipient["Final-Recipient"] = f"rfc822; {recipient}" if recipient.isascii() else f"utf-8; {recipient}"
    about_recipient["Action"] = "failed"
    about_recipient["Status"] = "5.0.0"
    status = EmailMessage(policy=policy.SMTP)
    status["Content-Type"] = "message/delivery-status"
    status.set_payload([about_message, about_recipient])
    return status
