"""What happened to a delivery, in words: one sentence an event."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from portal.console.messages import Moment, Timeline
from portal.model.routes import Rule

Detail = dict[str, object]
_LEVELS = {1: "the mailbox", 2: "two channels", 3: "a passkey"}
METHODS = {
    "emailed-code": "a code by email",
    "access-code": "the access code",
    "sms": "a code by text",
    "voice": "a code by call",
    "app": "an authenticator app",
    "recovery-code": "a recovery code",
    "passkey": "a passkey",
}
_PARTS = {
    "summary": "Opened and read",
    "body": "Read as HTML",
    "print": "Opened to print",
    "quote": "Opened to answer",
}


@dataclass(frozen=True)
class Line:
    """A line of a timeline: `fact` marks what counts as evidence of a view."""

    at: datetime
    text: str
    fact: str = ""


def next_day(day: datetime) -> datetime:
    """Where a search until a day ends; the last day there is has none after it."""
    return min(day, datetime.max.replace(tzinfo=UTC) - timedelta(days=1)) + timedelta(days=1)


def _hop(detail: Detail) -> str:
    tls = f", {detail['tls']}" if detail.get("tls") else ""
    return f"{detail.get('host', '')}{tls}; it answered: {detail.get('reply', '')}"


def _notice(detail: Detail) -> str:
    return ("Reminder" if detail.get("reminder") else "Notice") + f" handed to {_hop(detail)}"


_SENTENCES: dict[str, Callable[[Detail], str]] = {
    "NoticeSent": _notice,
    "NoticeFailed": lambda d: f"The notice could not be sent: {d.get('reason', '')}",
    "NoticeBounced": lambda d: f"The notice came back ({d.get('action', '')} {d.get('status', '')})",
    "NoticeRequested": lambda d: "Another notice was asked for",
    "LinkFollowed": lambda d: (
        "A machine fetched the link (no view)" if d.get("machine") else "The link was followed (proves nothing yet)"
    ),
    "CodeRequested": lambda d: f"A code was asked for by {d.get('channel', 'mail')}",
    "CodeSent": lambda d: f"The code was handed to {_hop(d)}",
    "CodeFailed": lambda d: f"The code could not be sent: {d.get('reason', '')}",
    "SignedIn": lambda d: f"Signed in by {METHODS.get(str(d.get('method')), d.get('method'))}",
    "SteppedUp": lambda d: f"Proved more by {METHODS.get(str(d.get('method')), d.get('method'))}",
    "SignInFailed": lambda d: f"A sign-in failed ({d.get('method', '')})",
    "MessageOpened": lambda d: f"{_PARTS.get(str(d.get('part')), 'Opened')} after {_LEVELS.get(_int(d), 'a sign-in')}",
    "AttachmentOpened": lambda d: (
        f"Attachment {d.get('part', '')} {'looked at' if d.get('way') == 'preview' else 'taken'}"
    ),
    "OriginalDownloaded": lambda d: "Original (.eml) downloaded",
    "ReadDenied": lambda d: f"A look was refused ({d.get('reason', '')})",
    "OpenFailed": lambda d: "The content did not open",
    "ReplySubmitted": lambda d: (
        f"{'Wrote a new message' if d.get('fresh') else 'Answered'}, with {d.get('attachments', 0)} attachments"
    ),
    "ReplyOpened": lambda d: "The portal opened the answer to hand it over",
    "ReplyHandedOver": lambda d: f"The answer was handed to {_hop(d)}",
    "ReplyFailed": lambda d: "The answer could not be handed over",
    "FileRefused": lambda d: f"A file for the answer was refused by the virus scanner: {d.get('said', '')}",
    "GraduationBegun": lambda d: "The recipient's mail host has become safe: closed here, for the relay to send",
    "GraduationOpened": lambda d: "The portal opened it to hand it to the relay",
    "MessageGraduated": lambda d: f"Sent on to the mailbox: handed to {_hop(d)}",
    "GraduationFailed": lambda d: (
        f"It could not be sent on{' for certain' if d.get('unclear') else ''}: {d.get('reason', '')}"
        + ("; it waits here as before" if d.get("reopened") else "")
    ),
    "GraduationReturned": lambda d: (
        "The relay could not send it on and brought it back; it waits here as before, and stays"
    ),
    "ScanOpened": lambda d: "The portal opened it to have it scanned",
    "DeliveryQuarantined": lambda d: f"Quarantined: the virus scanner found {d.get('said', '')}",
    "DeliveryReleased": lambda d: (
        "Scanned and clean" if d.get("scan") == "clean" else f"Let through unscanned: {d.get('reason', '')}"
    ),
    "ReceiptGiven": lambda d: "The recipient sent a read receipt",
    "NoticeAnswered": lambda d: f"Mail came back for a notice ({d.get('what', '')}); nothing of it was kept",
    "AskedAgain": lambda d: "The recipient asked to read it again",
    "AccessCodeSet": lambda d: "An access code was set",
    "DeliveryExpired": lambda d: "Ended, unread" if d.get("unread") else "Ended",
    "DeliveryRevoked": lambda d: f"Taken back: {d.get('reason', '')}",
    "DeliveryRestored": lambda d: f"Given back: {d.get('reason', '')}",
    "DeliveryExtended": lambda d: f"Can be read until {str(d.get('until', ''))[:10]}",
    "DeliveryDisposed": lambda d: "Destroyed: nobody can open it again",
    "SenderTold": lambda d: f"The sender was told ({d.get('about', '')})",
    "SenderNotTold": lambda d: f"The sender could not be told ({d.get('about', '')})",
}
_WHY = {
    Rule.DANE: "its mail host does not show the certificate that its own DNS asks for (DANE)",
    Rule.MTA_STS: "its mail host does not meet its own policy (MTA-STS)",
    Rule.OPPORTUNISTIC: "its mail host can't do the TLS that you ask for",
    Rule.ALWAYS: "your list says that this recipient always gets a portal message",
    Rule.MARKED: "its sender marked it for the portal",
    Rule.WAITED: "the relay kept bringing it and could not send it",
    Rule.UNPROBED: "the relay could not send it, and probing is switched off here",
}


def why(one: Timeline) -> str:
    """Why it came here, in words."""
    return _WHY.get(one.came.rule, one.came.rule.value) if one.came else "the relay brought it, on its own verdict"


_EVIDENCE = {"MessageOpened", "AttachmentOpened", "OriginalDownloaded"}


def _int(detail: Detail) -> int:
    value = detail.get("assurance", 0)
    return value if isinstance(value, int) else 0


def sentence(kind: str, detail: Detail) -> str:
    """The event in words; its name where nothing better is known."""
    made = _SENTENCES.get(kind)
    return made(detail) if made else kind


def _by(one: Moment) -> str:
    who = {"staff": "staff", "operator": "operator", "worker": "the portal"}.get(one.who, "")
    return f" (by {who})" if who and one.kind not in ("NoticeSent", "SenderTold", "CodeSent") else ""


def lines_of(one: Timeline) -> list[Line]:
    """The timeline of a recipient, oldest first, from acceptance on."""
    delivery = one.shown.delivery
    first = Line(delivery.accepted_at, f"Taken in under class {one.shown.line.policy}: {why(one)}")
    rest = [
        Line(
            moment.at,
            sentence(moment.kind, moment.detail) + _by(moment),
            "view" if moment.kind in _EVIDENCE else "machine" if moment.detail.get("machine") else "",
        )
        for moment in one.moments
    ]
    return [first, *rest]
