"""Outgoing mail: `Mailer` and its contract."""

from collections.abc import Sequence
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Protocol

from portal.model.errors import SubmissionFailed


@dataclass(frozen=True)
class Submitted:
    """What the submission host said. `tls` names protocol and cipher of the hop to it; `reply` is its last line.

    `left_out` are those of `also` whose address it refused: the mail went to the rest.
    """

    host: str
    tls: str
    reply: str
    left_out: tuple[str, ...] = ()


class Mailer(Protocol):
    async def submit(
        self,
        mail_from: str,
        rcpt_to: str,
        raw: bytes,
        *,
        tls_all_the_way: bool = False,
        also: Sequence[str] = (),
        whole: bool = False,
        original: bool = False,
    ) -> Submitted:
        """Hands one mail to the submission host. Raises SubmissionFailed, transient or not as the host says.

        It is for `rcpt_to`, and for `also` in the same transaction: who of these is refused is left out; with `whole`, one that
        is refused for now (4xx) fails it all, so that the next try reaches everybody once.

        With `tls_all_the_way` the mail goes over verified TLS at every hop or comes back (REQUIRETLS, RFC 8689).

        With `original` the bytes are somebody's own mail: SubmissionFailed where the host, or SMTP, would change them.

        A failure after the host took the mail can't be told from one before: the mail may go out twice, never not at all.
        """

    async def check(self) -> Submitted:
        """Connects, does TLS and authentication, and leaves. Raises SubmissionFailed."""


def undecoded(text: str) -> str:
    """`text` as a header field's value: what looks like an encoded word (RFC 2047) is not decoded once more by the library."""
    return text.replace("=?", "= ?")


def as_checked_bytes(mail: EmailMessage) -> bytes:
    """The mail as it goes out, parsed again: exactly the fields that were set, each once and in order.

    Raises SubmissionFailed (permanent) when it can't be written, or what comes out is not what was meant.
    """
    try:
        raw = mail.as_bytes()
        names = message_from_bytes(raw, policy=policy.compat32).keys()
    except Exception as error:  # the library raises whatever it likes on text it can't encode
        raise SubmissionFailed(f"the mail can't be built: {type(error).__name__}", transient=False) from error
    if names != mail.keys():
        raise SubmissionFailed("the mail came out with fields that were not meant", transient=False)
    return raw
