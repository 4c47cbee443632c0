"""Hands a reply to the sender's own mailbox, through the submission host and over TLS, in the thread it belongs to.

Where it goes to others of the message too, they get the same mail in the same transaction: one hop, one rule for all.

Built by the email library, parsed again and checked before it goes: exactly the fields that were meant, each once, and the words
as they were typed, beside them the same with light formatting where it was asked for; of the message answered its subject alone. The
Message-ID is made from the reply's id, so that a reply handed over twice (the answer was lost) is known by its reader's mail program.
"""

from dataclasses import replace
from email import message_from_bytes, policy
from email.headerregistry import Address as HeaderAddress
from email.message import EmailMessage, Message
from email.utils import format_datetime, getaddresses
from functools import partial

from portal.clock import Source
from portal.db import outbox, replies
from portal.db.engine import Database
from portal.db.orgs import Organisation
from portal.mail import Mailer, Submitted, as_checked_bytes, undecoded
from portal.mime.formatted import harmless
from portal.model.errors import NotFound, SubmissionFailed
from portal.model.events import Facts, ReplyFailed, ReplyHandedOver, ReplyOpened, Who
from portal.model.ids import ReplyId
from portal.model.parties import address
from portal.model.reply import ReplyText
from portal.sealing import Kind
from portal.sealing.open import Opened, Opener

_FIELDS = {
    "From", "To", "Cc", "Reply-To", "Subject", "Date", "Message-ID", "In-Reply-To", "References", "Content-Type",
    "Content-Transfer-Encoding", "MIME-Version",
}  # fmt: skip
_PART_FIELDS = {"Content-Type", "Content-Transfer-Encoding", "Content-Disposition", "MIME-Version"}
_NEXT_LINE = "\r\n "
_TRIES_FOR_ALL = 6
"""So often, over some ten minutes, it is tried to reach everybody at once; then whoever is refused for now is left out."""


class Handover:
    """See the module. Holds the Opener, for replies only."""

    def __init__(self, db: Database, opener: Opener, mailer: Mailer, source: Source, return_domain: str) -> None:
        self._db, self._opener, self._mailer = db, opener, mailer
        self._source, self._domain = source, return_domain

    async def hand_over(self, job: outbox.Job, organisation: Organisation) -> Submitted:
        """Opens the reply and submits it. Raises SubmissionFailed, NotFound."""
        reply_id = ReplyId(job.subject_id or "")
        async with self._db.read() as tx:
            reply = await replies.one(tx, reply_id)
            files = await replies.files(tx, reply_id)
        if reply is None or reply.text_sealed is None:
            raise NotFound("the reply is gone")
        event = ReplyOpened(**self._facts(job, reply), reply_id=reply_id)
        opened = await self._opener.handover(event, [reply_id, *(file.id for file in files)])
        text = ReplyText.load(await opened[0].read(Kind.TEXT, reply.text_sealed))
        contents = {file.id: await _whole(one, file) for one, file in zip(opened[1:], files, strict=True)}
        raw = build(text, contents, organisation, f"<{reply_id}@{self._domain}>", format_datetime(self._source.now()))
        whole = job.attempts < _TRIES_FOR_ALL
        submit = partial(self._mailer.submit, organisation.mail_from, text.to, raw)
        try:
            return await submit(also=text.others, whole=whole)
        except SubmissionFailed as failed:
            if whole or not text.others or not failed.transient or failed.unclear:
                raise
        # A host that hangs up for the others (Postfix does after so many that it doesn't know) takes it for the sender alone.
        return replace(await submit(), left_out=text.others)

    async def handed_over(self, job: outbox.Job, submitted: Submitted) -> None:
        reply = await self._reply(job)
        host, tls, said = submitted.host, submitted.tls, submitted.reply
        facts, left_out = self._facts(job, reply), len(submitted.left_out)
        event = ReplyHandedOver(**facts, reply_id=reply.id, host=host, tls=tls, reply=said, left_out=left_out)
        async with self._db.write(event) as tx:
            if await outbox.settle(tx, job, outbox.Settled("done", event.at, host, tls, said)):
                await replies.settle(tx, reply.id, "handed-over", left_out)

    async def failed(self, job: outbox.Job, error: Exception) -> None:
        reply = await self._reply(job)
        event = ReplyFailed(**self._facts(job, reply), reply_id=reply.id, reason=str(error)[:200])
        async with self._db.write(event) as tx:
            if await outbox.settle(tx, job, outbox.Settled("failed", event.at, answer=str(error))):
                await replies.settle(tx, reply.id, "failed")

    async def _reply(self, job: outbox.Job) -> replies.Reply:
        async with self._db.read() as tx:
            reply = await replies.one(tx, ReplyId(job.subject_id or ""))
        if reply is None:
            raise NotFound("the reply is gone")
        return reply

    def _facts(self, job: outbox.Job, reply: replies.Reply) -> Facts:
        return Facts(
            at=self._source.now(),
            who=Who.WORKER,
            actor="",
            org_id=job.org_id,
            message_id=reply.message_id,
            delivery_id=job.delivery_id,
            session=None,
            origin=None,
        )


async def _whole(opened: Opened, file: replies.ReplyFile) -> bytes:
    stream = await opened.stream(Kind.PART, file.blob_key, file.id)
    try:
        return b"".join([piece async for piece in stream])
    finally:
        stream.close()


def build(text: ReplyText, contents: dict[str, bytes], organisation: Organisation, message_id: str, date: str) -> bytes:
    """The mail as it goes out: from the organisation's address in the recipient's name, answers to the recipient.

    Raises SubmissionFailed (permanent) when what comes out is not what was meant.
    """
    try:
        mail = _mail(text, contents, organisation, message_id, date)
    except Exception as error:  # the library raises whatever it likes on text it can't take
        raise SubmissionFailed(f"the reply can't be built: {type(error).__name__}", transient=False) from error
    raw = _threading(text) + as_checked_bytes(mail)
    _check(raw, text)
    return raw


def _threading(text: ReplyText) -> bytes:
    """In-Reply-To and References, an id a line: the library would encode one that is longer than a line (RFC 5322 2.2.3)."""
    ids = [("In-Reply-To", [text.in_reply_to] if text.in_reply_to else []), ("References", list(text.references))]
    return "".join(f"{name}: {_NEXT_LINE.join(found)}\r\n" for name, found in ids if found).encode("ascii")


def _mail(
    text: ReplyText, contents: dict[str, bytes], organisation: Organisation, message_id: str, date: str
) -> EmailMessage:
    ours, author = address(organisation.mail_from), address(text.author)
    mail = EmailMessage(policy=policy.SMTP.clone(utf8=not (ours.local + author.local + text.to).isascii()))
    mail["From"] = HeaderAddress(f"{text.author} via {organisation.name}", ours.local, ours.domain)
    mail["Reply-To"] = HeaderAddress("", author.local, author.domain)
    mail["To"] = HeaderAddress("", *text.to.rsplit("@", 1))
    if text.others:
        mail["Cc"] = [HeaderAddress("", *one.rsplit("@", 1)) for one in text.others]
    mail["Subject"] = undecoded(text.subject)
    mail["Date"] = date
    mail["Message-ID"] = message_id
    mail.set_content(text.text + "\n", charset="utf-8")
    if text.html:
        mail.add_alternative(text.html + "\n", subtype="html", charset="utf-8")
    for label in text.files:
        kind, _, sub = label.media_type.partition("/")
        mail.add_attachment(contents[label.id], maintype=kind, subtype=sub, filename=label.name)
    return mail


def _check(raw: bytes, text: ReplyText) -> None:
    mail = message_from_bytes(raw, policy=policy.compat32)
    names, said = mail.keys(), str(mail.get("References", "")).split()
    exact = len(names) == len(set(names)) and set(names) <= _FIELDS
    if not exact or mail.get("In-Reply-To", "") != text.in_reply_to or said != list(text.references):
        raise SubmissionFailed("the reply came out with fields that were not meant", transient=False)
    if [one for _, one in getaddresses(mail.get_all("Cc", []))] != list(text.others):
        raise SubmissionFailed("the reply came out to people who were not meant", transient=False)
    parts = [one for one in mail.walk() if not one.is_multipart()]
    if any(set(one.keys()) - _PART_FIELDS for one in parts if one is not mail):
        raise SubmissionFailed("the reply came out with parts that were not meant", transient=False)
    meant = [("text/plain", text.text), *([("text/html", text.html)] if text.html else [])]
    words = [(one.get_content_type(), _words(one)) for one in parts[: len(meant)]]
    if words != meant or len(parts) != len(meant) + len(text.files) or not harmless(text.html):
        raise SubmissionFailed("the reply came out with words that were not meant", transient=False)


def _words(part: Message) -> str:
    """What a mail program reads in a part."""
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content.decode("utf-8").replace("\r\n", "\n").removesuffix("\n")
