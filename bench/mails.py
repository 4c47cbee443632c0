"""The mails that are sent: the same every time, each with a marker that is in no other."""

from email.message import EmailMessage
from email.policy import SMTP

SENDER = "carol@clinic.example"
MESSAGE_BYTES = 20_000


def letter(marker: str, to: str, size: int = MESSAGE_BYTES, attachment: bytes = b"") -> bytes:
    """A mail of about `size` bytes in text and HTML, without its attachment."""
    mail = EmailMessage(policy=SMTP)
    mail["From"], mail["To"], mail["Subject"] = f"Dr Carol Reyes <{SENDER}>", to, f"Your results {marker}"
    mail["Date"], mail["Message-ID"] = "Sat, 21 Nov 2026 09:00:00 +0000", f"<{marker}@clinic.example>"
    mail.set_content(f"All is well, {marker}.\n" + "Please drink enough, and rest.\n" * (size // 5 // 31))
    row = (
        '<tr><td style="padding:4px;color:#123"><b>Potassium</b></td><td>4.1 mmol/l</td><td><i>3.5 to 5.1</i></td></tr>'
    )
    rows = f"{row}\n" * (size * 7 // 10 // len(row))
    mail.add_alternative(f"<html><body><h1>{marker}</h1><table>\n{rows}</table></body></html>\n", subtype="html")
    if attachment:
        mail.add_attachment(attachment, maintype="application", subtype="pdf", filename=f"{marker}.pdf")
    _same_boundaries(mail, marker)
    return mail.as_bytes()


def _same_boundaries(mail: EmailMessage, marker: str) -> None:
    """The library makes them up by chance; the same mail must be the same bytes."""
    for number, part in enumerate(one for one in mail.walk() if one.is_multipart()):
        part.set_boundary(f"=_{marker}_{number}")


def scan(marker: str, to: str, size: int) -> bytes:
    """A mail of `size` bytes, nearly all of it one attachment that is text already."""
    head = (
        f"From: {SENDER}\r\nTo: {to}\r\nSubject: Your scan {marker}\r\nMessage-ID: <{marker}@clinic.example>\r\n"
        "Content-Type: application/octet-stream; name=scan.bin\r\nContent-Disposition: attachment\r\n\r\n"
    ).encode()
    line = f"{marker} 0123456789abcdefghijklmnopqrstuvwxyz 0123456789ABCDEFGHIJKLMN\r\n".encode()
    return head + line * ((size - len(head)) // len(line))
