"""Routes of a signed-in recipient: the inbox, a message and its parts, and asking again for one that has ended."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from urllib.parse import quote

from markupsafe import Markup
from starlette.responses import HTMLResponse, Response, StreamingResponse

from portal.db.audit import Seen
from portal.db.replies import Reply
from portal.mime import Card, Event, Heading, Part, Report
from portal.mime.formatted import harmless
from portal.mime.names import preview_type
from portal.model.access import Purpose, Reader
from portal.model.errors import InputRefused, NoLongerReadable, NotFound, TooManyTries
from portal.model.ids import DeliveryId, ReplyId, is_id
from portal.model.message import DeliveryState
from portal.reading.read import Download, InboxLine, SentReply, View
from portal.reading.search import MOST_CHARS, TOO_LONG, WAIT_SECONDS
from portal.web import ranges, sentences
from portal.web.errors import status_of
from portal.web.forms import read_form
from portal.web.headers import INERT, SHOWN, framed_mail, printed_mail
from portal.web.languages import direction
from portal.web.signin import Wrong
from portal.web.site import OFFER_COOKIE, Visit
from portal.web.templating import body_script_hash

_HISTORY = {"AttachmentOpened": "attachment", "OriginalDownloaded": "downloaded", "ReplySubmitted": "replied"}

_TAKEN: Mapping[str, str] = {Purpose.PRINT: "printed", Purpose.PDF: "pdf"}


@dataclass(frozen=True)
class Item:
    """A line of the inbox, and the head of a message page."""

    id: str
    href: str
    subject: str
    sender: str
    sent_at: datetime
    expires_at: datetime
    state: str
    unread: bool
    attachments: int


@dataclass(frozen=True)
class Linked:
    """An attachment with its address."""

    name: str
    media_type: str
    size: int
    href: str
    sha256: str = ""
    view_href: str = ""
    """Where the browser shows it; empty where it is only downloaded."""


@dataclass(frozen=True)
class Said:
    """What machine-readable attachments say, by kind."""

    events: Sequence[Event]
    cards: Sequence[Card]
    reports: Sequence[Report]


@dataclass(frozen=True)
class Document:
    """A message in the message, or more of its own words: then it has no heading."""

    heading: Heading | None
    text: str
    body_href: str | None
    said: Said
    parts: Sequence[Linked]
    kind: str = ""
    """Of the attachment that the words were taken out of, where that is to be said."""


@dataclass(frozen=True)
class Answer:
    """A reply in the thread."""

    at: datetime
    text: str
    parts: Sequence[Linked]
    state: str
    html: Markup | None = None
    to: str = ""
    subject: str = ""
    others: Sequence[str] = ()
    left_out: int = 0
    fresh: bool = False


@dataclass(frozen=True)
class WrittenLine:
    """A new message to the organisation, sent or begun."""

    at: datetime
    state: str
    href: str


@dataclass(frozen=True)
class Unsent:
    """A reply that was begun and can be gone on with."""

    at: datetime
    href: str


@dataclass(frozen=True)
class Entry:
    """A line of "who has seen this"."""

    at: datetime
    text: str
    name: str
    who: str = ""
    """Which of several people at a shared mailbox."""


def delivery_id(visit: Visit) -> DeliveryId:
    """The id in the address. Raises NotFound when it is none."""
    text = visit.request.path_params["delivery"]
    if not is_id(text):
        raise NotFound("not an id")
    return DeliveryId(text)


async def no_id(visit: Visit, reader: Reader, wanted: DeliveryId) -> NotFound:
    """The error for what can't name a piece of a message; when the message is not the reader's, once that is on record."""
    await visit.site.reading.denied(reader, wanted)
    return NotFound("not an id")


async def inbox(visit: Visit) -> Response:
    reader = await visit.reader()
    before = visit.request.query_params.get("before", "")
    lines, next_id = await visit.site.reading.inbox(reader, DeliveryId(before) if is_id(before) else None)
    next_href = f"/inbox?before={next_id}" if next_id else None
    items = [_item(one, visit) for one in lines]
    place, written = None, []
    if before == "":
        place, written = await visit.site.compose.place(reader), await visit.site.compose.written(reader)
    return visit.page(
        "inbox",
        items=items,
        next_href=next_href,
        found=None,
        typed="",
        error=None,
        write_href=f"/messages/{place}/reply?new=yes" if place else None,
        written=[_written(one) for one in written],
    )


async def search(visit: Visit) -> Response:
    """Words come in a form and stay there: an address would keep them in histories and logs."""
    form = await read_form(visit.request)
    visit.check(form.get("csrf", ""))
    typed, before = form.get("words", ""), form.get("before", "")
    found, wrong, status = None, None, 200
    try:
        reader = await visit.reader()
        found = await visit.site.search.find(reader, typed, DeliveryId(before) if is_id(before) else None)
    except InputRefused as error:
        say = sentences.SEARCH_LONG if error.say == TOO_LONG else sentences.SEARCH_EMPTY
        wrong, status = Wrong("words", visit.site.pages.say(say, visit.language, most=MOST_CHARS)), 422
    except TooManyTries as error:
        wrong, status = Wrong("words", visit.site.pages.say(sentences.SEARCH_BUSY, visit.language)), status_of(error)
    page = visit.page(
        "inbox",
        status=status,
        items=[_item(one, visit) for one in found.lines] if found else [],
        next_href=None,
        found=found,
        write_href=None,
        written=[],
        typed=typed[:MOST_CHARS],
        error=wrong,
        here="/inbox",
    )
    if status == 429:
        page.headers["retry-after"] = str(math.ceil(WAIT_SECONDS))
    return page


def _written(one: Reply) -> WrittenLine:
    way = "reply" if one.state == "draft" else "replies"
    return WrittenLine(one.submitted_at or one.begun_at, one.state, f"/messages/{one.delivery_id}/{way}/{one.id}")


def _item(one: InboxLine, visit: Visit) -> Item:
    target = one.line.target
    heading = one.cover.heading if one.cover else None
    org = visit.organisation()
    return Item(
        id=target.delivery_id,
        href=f"/messages/{target.delivery_id}",
        subject=heading.subject if heading else "",
        sender=(heading.sender if heading else "") or (org.name if org else ""),
        sent_at=one.line.accepted_at,
        expires_at=target.expires_at,
        state=one.state.value,
        unread=one.line.opened_at is None and one.state in (DeliveryState.HELD, DeliveryState.NOTICED),
        attachments=one.line.attachments or 0,
    )


async def message(visit: Visit) -> Response:
    reader, wanted = await visit.reader(), delivery_id(visit)
    if back := visit.returned(wanted):
        return back
    try:
        view = await visit.site.reading.message(reader, wanted, Purpose.SUMMARY)
    except NoLongerReadable:
        return await ended(visit)
    base, session = f"/messages/{wanted}", await visit.signed_in()
    refuses = visit.request.cookies.get(OFFER_COOKIE) == "no"
    names = await visit.site.people.names_of_sessions(session, view.sessions) if session.shared else {}
    return visit.page(
        "message",
        offer=not refuses and await visit.site.passkeys.to_offer(session),
        item=item_of(view, wanted),
        heading=view.cover.heading,
        text=view.rendition.text[: view.rendition.quoted_text],
        earlier=_from(view.rendition.text, view.rendition.quoted_text),
        body_href=f"{base}/body" if view.rendition.html is not None else None,
        parts=[_linked(part, base, view.stored.previews) for part in view.rendition.parts if not part.within],
        said=_said(view, ""),
        enclosed=_enclosed(view, base),
        problems=view.rendition.problems,
        replies=[answer(one, base) for one in view.replies if not one.fresh],
        reply_href=f"{base}/reply" if view.stored.reply_allowed else None,
        drafts=[Unsent(at, f"{base}/reply/{one}") for one, at in view.drafts if view.stored.reply_allowed],
        print_href=f"{base}/print",
        pdf_href=f"{base}/message.pdf" if visit.site.exports else None,
        original_href=f"{base}/original.eml",
        history=_history(view, names),
        expires_at=view.stored.target.expires_at,
        receipt=await visit.site.receipts.asked(view.stored.target),
    )


def item_of(view: View, wanted: DeliveryId) -> Item:
    heading, target = view.cover.heading, view.stored.target
    return Item(
        id=wanted,
        href=f"/messages/{wanted}",
        subject=heading.subject,
        sender=heading.sender,
        sent_at=view.stored.accepted_at,
        expires_at=target.expires_at,
        state=target.state.value,
        unread=False,
        attachments=len(view.rendition.parts),
    )


def _from(text: str, at: int | None) -> str:
    return "" if at is None else text[at:]


def _linked(part: Part, base: str, previews: bool) -> Linked:
    href = f"{base}/parts/{part.id}"
    shown = previews and preview_type(part.media_type, part.declared, part.size)
    return Linked(part.name, part.kind or part.media_type, part.size, href, view_href=f"{href}/view" if shown else "")


def _enclosed(view: View, base: str) -> list[Document]:
    kinds = {part.id: part.kind for part in view.rendition.parts}
    return [
        Document(
            heading=one.heading,
            kind=kinds.get(one.part, "") if one.heading is None else "",
            text=one.text,
            body_href=f"{base}/body?document={number}" if one.html is not None else None,
            said=_said(view, one.part) if one.part else Said((), (), ()),
            parts=[
                _linked(part, base, view.stored.previews)
                for part in view.rendition.parts
                if one.part and part.within == one.part
            ],
        )
        for number, one in enumerate(view.rendition.enclosed, 1)
    ]


def _said(view: View, within: str) -> Said:
    """What is said by the attachments of the message itself, or of a message in it."""
    own = {part.id for part in view.rendition.parts if part.within == within}
    told = [one for one in view.rendition.told if one.part in own]
    return Said(
        [one for one in told if isinstance(one, Event)],
        [one for one in told if isinstance(one, Card)],
        [one for one in told if isinstance(one, Report)],
    )


def answer(reply: SentReply, base: str) -> Answer:
    parts = [
        Linked(one.name, one.media_type, one.size, f"{base}/replies/{reply.id}/files/{one.id}", one.sha256)
        for one in reply.text.files
    ]
    said = reply.text
    html = Markup(said.html) if harmless(said.html) and said.html else None  # noqa: S704 - few tags, and looked at once more
    return Answer(
        reply.at, said.text, parts, reply.state, html, said.to, said.subject, said.others, reply.left_out, reply.fresh
    )


def _history(view: View, people: Mapping[str, str]) -> list[Entry]:
    """What was done before, one line for what belongs together: a page and its framed body are one look."""
    names = {part.id: part.name for part in view.rendition.parts}
    return [
        Entry(
            seen.at,
            _HISTORY.get(seen.kind, _TAKEN.get(seen.part, "opened")),
            names.get(seen.part, ""),
            people.get(seen.session, ""),
        )
        for seen in view.history
        if not _is_detail(seen)
    ]


def _is_detail(seen: Seen) -> bool:
    return seen.kind == "MessageOpened" and seen.part in (Purpose.BODY, Purpose.QUOTE)


async def ended(visit: Visit) -> Response:
    """The page of a delivery that is over: it explains, and offers to ask the sender again."""
    reader, wanted = await visit.reader(), delivery_id(visit)
    stored = await visit.site.reading.denied(reader, wanted)
    if stored is None:
        raise NotFound("not the reader's")
    state = stored.target.state
    reason = (
        state.value if state in (DeliveryState.REVOKED, DeliveryState.DISPOSED, DeliveryState.GRADUATED) else "expired"
    )
    ask = reason != "disposed" and stored.asked_at is None
    href = f"/messages/{wanted}/ask" if ask else None
    return visit.page("ended", status=410, reason=reason, ask_href=href, asked_at=stored.asked_at, subject="")


async def ask(visit: Visit) -> Response:
    form = await read_form(visit.request)
    visit.check(form.get("csrf", ""))
    reader, wanted = await visit.reader(), delivery_id(visit)
    stored = await visit.site.reading.denied(reader, wanted)
    if stored is None or stored.target.state is DeliveryState.DISPOSED:
        raise NotFound("not the reader's, or gone for good")
    await visit.site.asking.ask(reader, stored)
    return visit.go(f"/messages/{wanted}")


async def receipt(visit: Visit) -> Response:
    form = await read_form(visit.request)
    visit.check(form.get("csrf", ""))
    reader, wanted = await visit.reader(), delivery_id(visit)
    stored = await visit.site.reading.denied(reader, wanted)
    if stored is None:
        raise NotFound("not the reader's")
    await visit.site.receipts.give(reader, stored)
    return visit.go(f"/messages/{wanted}")


# -- documents of their own: the framed mail, and the one for paper


async def body(visit: Visit) -> Response:
    view = await visit.site.reading.message(await visit.reader(), delivery_id(visit), Purpose.BODY)
    number = visit.request.query_params.get("document", "")
    clean, heading = _document(view, number)
    if clean is None:
        raise NotFound("this message has no HTML")
    begin, end = (None if number else view.rendition.quoted_html) or (None, None)
    # Made harmless by portal/mime/clean.py, and behind a CSP of its own; cut between elements by portal/mime/quoted.py.
    html, earlier, rest = (
        Markup(piece)  # noqa: S704
        for piece in (clean[:begin], _from(clean[:end], begin), _from(clean, end))
    )
    # On its own page nobody asks for its height. Where no script may run, a browser follows no refresh either: in the
    # frame our page's frame-src stops one, alone nothing else would.
    framed = visit.request.headers.get("sec-fetch-dest") == "iframe"
    context = {
        "dir": direction(visit.language),
        "html": html,
        "earlier": earlier,
        "rest": rest,
        "subject": heading.subject,
        "script": framed,
        "easy": visit.request.query_params.get("view") == "easy",
    }
    policy = _framed() if framed else printed_mail()
    return HTMLResponse(
        visit.site.pages.render("recipient/body.html", visit.language, context),
        headers={"content-security-policy": policy, "cross-origin-opener-policy": "unsafe-none"},
    )


def _document(view: View, number: str) -> tuple[str | None, Heading]:
    """The HTML of one document, alone, and the heading it stands under: the message's own, or that of `enclosed` by its number."""
    if not number:
        return view.rendition.html, view.cover.heading
    wanted = int(number) if number.isascii() and number.isdigit() and len(number) <= 3 else 0
    if not 0 < wanted <= len(view.rendition.enclosed):
        raise NotFound("no such document in the message")
    found = view.rendition.enclosed[wanted - 1]
    return found.html, found.heading or view.cover.heading


async def printed(visit: Visit) -> Response:
    wanted = delivery_id(visit)
    view = await visit.site.reading.message(await visit.reader(), wanted, Purpose.PRINT)
    html = view.rendition.html
    context = {
        "dir": direction(visit.language),
        "heading": view.cover.heading,
        "html": None if html is None else Markup(html),  # noqa: S704 - as above
        "text": view.rendition.text,
        "org": visit.organisation(),
        "parts": view.rendition.parts,
        "replies": [answer(one, f"/messages/{wanted}") for one in view.replies if not one.fresh],
        "sent_at": view.cover.heading.sent_at or view.stored.accepted_at,
        "said": _said(view, ""),
        "enclosed": _enclosed(view, ""),
        "printed_at": visit.site.source.now(),
    }
    page = visit.site.pages.render("recipient/print.html", visit.language, context)
    return HTMLResponse(page, headers={"content-security-policy": printed_mail()})


async def exported(visit: Visit) -> Response:
    """The message as a PDF for screen readers: where the extra is installed."""
    reader, wanted = await visit.reader(), delivery_id(visit)
    if not visit.site.exports:
        raise await no_id(visit, reader, wanted)
    view = await visit.site.reading.message(reader, wanted, Purpose.PDF)
    context = {
        "dir": direction(visit.language),
        "heading": view.cover.heading,
        "text": view.rendition.text,
        "enclosed": view.rendition.enclosed,
        "org": visit.organisation(),
        "parts": view.rendition.parts,
        "replies": [answer(one, f"/messages/{wanted}") for one in view.replies if not one.fresh],
        "sent_at": view.cover.heading.sent_at or view.stored.accepted_at,
        "printed_at": visit.site.source.now(),
    }
    sheet = visit.site.pages.render("recipient/paper.json", visit.language, context)
    pdf = await visit.site.reading.paper(view, sheet.encode())
    if pdf is None:
        say = visit.site.pages.say
        return visit.page(
            "error",
            status=422,
            heading=say(sentences.NO_PDF, visit.language),
            say=say(sentences.NO_PDF_SAY, visit.language),
            next_href=f"/messages/{wanted}/print",
            next_text=say(sentences.PRINT, visit.language),
        )
    headers = {"content-disposition": disposition("message.pdf"), "content-security-policy": INERT}
    return Response(pdf, media_type="application/pdf", headers=headers)


@lru_cache
def _framed() -> str:
    return framed_mail(body_script_hash())


# -- downloads


async def attachment(visit: Visit) -> Response:
    reader = await visit.reader()
    return _download(visit, await visit.site.reading.attachment(reader, *await _part_id(visit, reader)))


async def attachment_view(visit: Visit) -> Response:
    """An attachment for the browser to show: whole, so that one look is one event (a PDF viewer would ask for ranges)."""
    reader = await visit.reader()
    shown = await visit.site.reading.preview(reader, *await _part_id(visit, reader))
    headers = {
        "content-disposition": disposition(shown.name, "inline"),
        "content-security-policy": SHOWN,
        "content-length": str(shown.size),
    }
    return _sent(visit, shown, 200, headers)


async def _part_id(visit: Visit, reader: Reader) -> tuple[DeliveryId, str]:
    wanted, part_id = delivery_id(visit), visit.request.path_params["part"]
    if not part_id.isascii() or not part_id.isdigit() or len(part_id) > 4:
        raise await no_id(visit, reader, wanted)
    return wanted, part_id


async def reply_file(visit: Visit) -> Response:
    reader, wanted, params = await visit.reader(), delivery_id(visit), visit.request.path_params
    reply_id, file_id = params["reply"], params["file"]
    if not is_id(reply_id) or not is_id(file_id):
        raise await no_id(visit, reader, wanted)
    return _download(visit, await visit.site.reading.reply_attachment(reader, wanted, ReplyId(reply_id), file_id))


async def original(visit: Visit) -> Response:
    return _download(visit, await visit.site.reading.original(await visit.reader(), delivery_id(visit)))


def _download(visit: Visit, download: Download) -> Response:
    """The whole, or the range that is asked for: each request is a view of its own, and on record."""
    asked, tag = visit.request.headers, download.tag
    headers = {
        "content-disposition": disposition(download.name),
        "content-security-policy": INERT,
        "accept-ranges": "bytes",
        "etag": f'"{tag}"',
    }
    try:
        part = ranges.wanted(asked.get("range"), asked.get("if-range"), tag, download.size)
    except ranges.Unsatisfiable:
        download.close()
        return Response(status_code=416, headers={"content-range": f"bytes */{download.size}", **headers})
    start, stop = part or (0, download.size)
    if part:
        download.cut(start, stop)
        headers["content-range"] = f"bytes {start}-{stop - 1}/{download.size}"
    headers["content-length"] = str(stop - start)
    return _sent(visit, download, 206 if part else 200, headers)


def _sent(visit: Visit, download: Download, status: int, headers: dict[str, str]) -> Response:
    """The bytes; for HEAD the same headers and none of them (RFC 9110 9.3.2)."""
    if visit.request.method == "HEAD":
        download.close()
        return Response(status_code=status, media_type=download.media_type, headers=headers)
    return StreamingResponse(download.pieces, status, media_type=download.media_type, headers=headers)


def disposition(name: str, kind: str = "attachment") -> str:
    """RFC 6266: an ASCII name for old browsers, and the real one (RFC 8187)."""
    plain = "".join(sign if sign.isascii() and (sign.isalnum() or sign in " ._-()") else "_" for sign in name)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
