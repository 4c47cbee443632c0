"""Routes of replying: one form that works without JavaScript; with it, text is saved while it is typed, and files go ahead."""

import re
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from urllib.parse import unquote

from markupsafe import Markup
from starlette.responses import Response

from portal.mime.formatted import REFUSED
from portal.model.access import Purpose, Reader
from portal.model.assurance import MAILBOX
from portal.model.errors import (
    AssuranceNeeded,
    BodyTooLarge,
    CodeRefused,
    DraftChanged,
    FileInfected,
    FilesChanged,
    FilesUnscanned,
    FileUnscanned,
    InputRefused,
    NoLongerReadable,
    NotFound,
    PortalError,
    ReplyEmpty,
    SignInNeeded,
    TooManyDrafts,
    TooManyFiles,
    TooManyTries,
    UploadOffset,
)
from portal.model.ids import DeliveryId, ReplyId, is_id
from portal.model.reply import DRAFT_LIFE, FileLabel, Written
from portal.reply.compose import Answered
from portal.signin import Whose
from portal.signin.links import Door
from portal.web import sentences
from portal.web.errors import minutes, status_of
from portal.web.forms import Multipart
from portal.web.recipient import answer, delivery_id, ended, no_id
from portal.web.signin import Wrong, hidden, mail_state
from portal.web.site import Visit

_NAMED = re.compile(r"attachment; ?filename\*=utf-8''([\w!#$&+.^`|~%-]{0,4000})\Z", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Attached:
    """A file of the draft, for the page."""

    name: str
    size: int
    remove_href: str


@dataclass(frozen=True)
class Head:
    href: str


@dataclass(frozen=True)
class Typed:
    """What stands in the form. `version` names what of it is kept: the page's own, and what it sent since without an answer."""

    draft: ReplyId
    written: Written = field(default_factory=lambda: Written(""))
    version: str = ""
    kept: bool = False
    """Whether all of it is kept as it stands."""

    @property
    def seen(self) -> frozenset[str]:
        return frozenset(self.version.split()[:50])


async def write(visit: Visit) -> Response:
    """The page to write a reply on. The draft's id is made here and kept only once something is sent to it."""
    reader, wanted = await visit.reader(), delivery_id(visit)
    fresh = _fresh(visit)
    try:
        answered = await visit.site.compose.answered(reader, wanted, fresh=fresh)
    except NoLongerReadable:
        return await ended(visit)
    full = _wrong(visit, TooManyDrafts("")) if await visit.site.compose.crowded(wanted) else None
    typed = Typed(ReplyId(visit.site.source.new_id()), Written("", fresh=fresh), kept=True)
    return _page(visit, wanted, answered, [], typed, full)


async def go_on(visit: Visit) -> Response:
    """The same page with a reply that was begun."""
    reader, wanted = await visit.reader(), delivery_id(visit)
    reply_id = await _reply_id(visit, reader, wanted, visit.request.path_params["reply"])
    try:
        answered, draft = await visit.site.compose.resumed(reader, wanted, reply_id)
    except NoLongerReadable:
        return await ended(visit)
    files = await visit.site.compose.files(reader, wanted, reply_id)
    return _page(visit, wanted, answered, files, Typed(reply_id, draft.typed, draft.version, kept=True))


async def submit(visit: Visit) -> Response:
    """The form, with or without files, to be sent, saved or looked at first; what went wrong is said beside what was typed, and
    nothing typed is lost."""
    wanted = delivery_id(visit)
    try:
        reader = await visit.reader()
    except SignInNeeded:
        return await _signed_out(visit, wanted)
    form, left_out = Multipart(visit.request), list[PortalError]()
    failure: Exception | None = None

    async def take(field: str, name: str, declared: str, pieces: AsyncIterator[bytes]) -> None:
        try:
            await _take(visit, reader, wanted, form, name, declared, pieces)
        except (
            FileInfected,
            FileUnscanned,
            AssuranceNeeded,
        ) as error:  # known once it is whole: the files behind it are taken
            left_out.append(error)

    try:
        await form.read(take)
    except InputRefused as error:
        failure = error
    failure = failure or next(iter(left_out), None)
    visit.check(form.fields.get("csrf", ""))
    reply_id = await _reply_id(visit, reader, wanted, form.fields.get("draft", ""))
    typed, preview = _typed(form, reply_id), None
    if failure is None:
        try:
            match form.fields.get("act"):
                case "save":
                    await _save(visit, reader, wanted, typed)
                    return visit.go("/inbox" if typed.written.fresh else f"/messages/{wanted}")
                case "preview":
                    preview = await _preview(visit, reader, typed)
                case _:
                    sent = await visit.site.compose.submit(reader, wanted, reply_id, typed.written, typed.seen)
                    return visit.go(f"/messages/{wanted}/replies/{sent.reply_id}")
        except DraftChanged as error:
            failure = error
            typed = await _apart(visit, reader, wanted, typed)
        except (InputRefused, AssuranceNeeded, TooManyTries) as error:
            failure = error
        except NoLongerReadable:
            return await _ended(visit, reader, typed)
    return await _again_or_prove(visit, reader, wanted, typed, failure, preview)


async def _again_or_prove(
    visit: Visit,
    reader: Reader,
    wanted: DeliveryId,
    typed: "Typed",
    failure: Exception | None,
    preview: Markup | None = None,
) -> Response:
    """The page once more; or, where the message asks for more than the session has by now, the words kept and the way to proving it,
    which leads back to them."""
    try:
        if not isinstance(failure, AssuranceNeeded):
            return await _again(visit, reader, wanted, typed, failure, preview)
        kept = await _save(visit, reader, wanted, typed, below=True)
    except AssuranceNeeded:
        return await _again_or_prove(visit, reader, wanted, typed, AssuranceNeeded("it rose meanwhile"))
    except DraftChanged:
        typed = Typed(ReplyId(visit.site.source.new_id()), typed.written)
        kept = await _save(visit, reader, wanted, typed, below=True)
    except NoLongerReadable:
        return await _ended(visit, reader, typed)
    prove = f"/step-up/{wanted}"
    return visit.go_and_return(prove, wanted, typed.draft) if kept else visit.go(prove)


async def _ended(visit: Visit, reader: Reader, typed: "Typed") -> Response:
    """The page of a message that ended. A new message is about none: its words go on beside another of hers, to be sent by her once
    she has seen that the files stayed behind."""
    place = await visit.site.compose.elsewhere(reader, typed.draft) if typed.written.fresh else None
    if place is None:
        return await ended(visit)
    own = Typed(ReplyId(visit.site.source.new_id()), typed.written)
    return await _again_or_prove(visit, reader, place, own, FilesChanged("they stayed with what ended"))


async def autosave(visit: Visit) -> Response:
    """The form without files, sent by the page's script while somebody types. `next` is what this version is to be called: the
    page made it, so that it knows its own when an answer was lost on the way."""
    reader, wanted = await visit.reader(), delivery_id(visit)
    form = Multipart(visit.request)
    await form.read(_pass_over)
    visit.check(form.fields.get("csrf", ""))
    reply_id = await _reply_id(visit, reader, wanted, visit.request.path_params["reply"])
    version = await _reply_id(visit, reader, wanted, form.fields.get("next", ""))
    typed = _typed(form, reply_id)
    await visit.site.compose.save(reader, wanted, reply_id, typed.written, typed.seen, version)
    return visit.settled(Response(status_code=204))


async def discard(visit: Visit) -> Response:
    """Throws a reply away that was not sent."""
    reader, wanted = await visit.reader(), delivery_id(visit)
    form = Multipart(visit.request)
    await form.read(_pass_over)
    visit.check(form.fields.get("csrf", ""))
    reply_id = await _reply_id(visit, reader, wanted, visit.request.path_params["reply"])
    await visit.site.compose.discard(reader, wanted, reply_id)
    return visit.go("/inbox" if form.fields.get("new") == "yes" else f"/messages/{wanted}")


async def _save(visit: Visit, reader: Reader, wanted: DeliveryId, typed: "Typed", *, below: bool = False) -> str:
    """The name of what is kept now; empty where nothing was typed and there is no draft."""
    version = visit.site.source.new_id()
    save = visit.site.compose.save
    return version if await save(reader, wanted, typed.draft, typed.written, typed.seen, version, below=below) else ""


async def _apart(visit: Visit, reader: Reader, wanted: DeliveryId, typed: "Typed") -> "Typed":
    """What was typed here while another window saved the same reply: a reply of its own from now on, so that both are kept."""
    own = Typed(ReplyId(visit.site.source.new_id()), typed.written)
    with suppress(TooManyDrafts):  # then it is in the page, as all that is not saved
        return replace(own, version=await _save(visit, reader, wanted, own), kept=True)
    return own


async def _preview(visit: Visit, reader: Reader, typed: "Typed") -> Markup:
    """What the sender will see. Raises InputRefused."""
    if not typed.written.formatted:
        return Markup('<div class="text">{}</div>').format(typed.written.text)
    return Markup(await visit.site.compose.preview(reader, typed.written))  # noqa: S704 - portal/mime/formatted.py


async def _signed_out(visit: Visit, wanted: DeliveryId) -> Response:
    """The session is over: the person signs in again on this very page, and her text is still there.

    Whose it was, the old cookie tells; it opens nothing. Files of this form are not taken: nobody is signed in.
    """
    whose = await visit.site.sessions.last(visit.token)
    if whose is None:
        raise SignInNeeded("nobody was signed in here")
    form, files = Multipart(visit.request), []

    async def left_out(field: str, name: str, declared: str, pieces: AsyncIterator[bytes]) -> None:
        files.append(name)

    with suppress(BodyTooLarge):
        await form.read(left_out)
    visit.check(form.fields.get("csrf", ""))
    door = await visit.site.links.inside(whose, wanted)
    wrong = None
    try:
        await visit.site.codes.send(door, visit.browser, visit.origin, visit.language)
    except TooManyTries as error:
        text = visit.site.pages.say(sentences.TOO_MANY_CODES, visit.language, minutes=minutes(error.wait))
        wrong = Wrong("code", text)
    return await _resume_page(visit, wanted, door, _typed(form, _draft(form)), wrong, files=bool(files))


async def resume(visit: Visit) -> Response:
    """The code typed on that page: signs in, and shows the reply as it was, ready to be sent."""
    form, wanted = Multipart(visit.request), delivery_id(visit)
    await form.read(_pass_over)
    visit.check(form.fields.get("csrf", ""))
    typed = _typed(form, _draft(form))
    if await visit.perhaps_signed_in():  # by a passkey, on the same page
        return await _again_or_prove(visit, await visit.reader(), wanted, typed, None)
    whose = await visit.site.sessions.last(visit.token)
    if whose is None:
        raise SignInNeeded("nobody was signed in here")
    door = await visit.site.links.inside(whose, wanted)
    try:
        code = await visit.site.codes.check(door, visit.browser, form.fields.get("code", "")[:64], visit.origin)
        named = Whose(whose.org_id, whose.recipient_id, delivery_id=wanted)
        token = await visit.site.sessions.start(named, MAILBOX, visit.client, visit.site.codes.use_up(code))
    except CodeRefused:
        asked = await visit.site.codes.sent(door, visit.browser)
        said = visit.site.pages.say(sentences.CODE_WRONG, visit.language, reference=asked.reference)
        return await _resume_page(visit, wanted, door, typed, Wrong("code", said))
    except TooManyTries as error:
        said = visit.site.pages.say(sentences.TRIES_WAIT, visit.language, minutes=minutes(error.wait))
        return await _resume_page(visit, wanted, door, typed, Wrong("code", said))
    visit.session = await visit.site.sessions.current(token)
    return visit.raised(await _again_or_prove(visit, await visit.reader(), wanted, typed, None), token)


async def _resume_page(
    visit: Visit, wanted: DeliveryId, door: Door, typed: Typed, wrong: Wrong | None, *, files: bool = False
) -> Response:
    assert door.named is not None
    asked = await visit.site.codes.sent(door, visit.browser)
    return visit.page(
        "resume",
        status=401,
        text=typed.written.text,
        formatted=typed.written.formatted,
        to_all=typed.written.to_all,
        fresh=typed.written.fresh,
        typed_subject=typed.written.subject,
        version=typed.version,
        draft=typed.draft,
        wanted=wanted,
        address=await hidden(visit, door.named),
        sent=True,
        code_reference=asked.reference,
        mail=mail_state(asked.mail, visit.site.source.now()),
        error=wrong,
        typed="",
        action=f"/messages/{wanted}/reply/resume",
        files_note=files,
        here="/",
    )


async def _take(
    visit: Visit,
    reader: Reader,
    wanted: DeliveryId,
    form: Multipart,
    name: str,
    declared: str,
    pieces: AsyncIterator[bytes],
) -> None:
    visit.check(form.fields.get("csrf", ""))  # it stands before the files: nothing is taken from another site
    draft = await _reply_id(visit, reader, wanted, form.fields.get("draft", ""))
    fresh = form.fields.get("new") == "yes"
    await visit.site.compose.attach(reader, wanted, draft, name, declared, pieces, fresh=fresh)


async def upload(visit: Visit) -> Response:
    """A file as a raw body, its name in Content-Disposition. With `Upload-Complete: ?0` this is its beginning, and the rest follows at
    the Location of the answer (draft-ietf-httpbis-resumable-upload, 4.2); there DELETE takes it away again."""
    reader, wanted, compose = await visit.reader(), delivery_id(visit), visit.site.compose
    visit.check(visit.request.headers.get("x-csrf-token", ""))
    draft = await _reply_id(visit, reader, wanted, visit.request.path_params["reply"])
    said = _number(visit, "content-length") or 0
    if said > compose.limits.max_bytes:
        raise BodyTooLarge("The files together are too large for one reply.", "files")
    declared = visit.request.headers.get("content-type", "application/octet-stream")
    name, pieces = file_name(visit.request.headers.get("content-disposition", "")), visit.request.stream()
    if not _more_comes(visit):
        label = await compose.attach(reader, wanted, draft, name, declared, pieces, fresh=_fresh(visit))
        return _uploaded(visit, 201, _file_href(wanted, draft, label.id), label.size, complete=True)
    length = _number(visit, "upload-length")
    begun = await compose.begin(reader, wanted, draft, name, declared, length, fresh=_fresh(visit))
    await compose.append(reader, wanted, draft, begun.begun.id, 0, pieces, complete=False)
    return _uploaded(visit, 201, _file_href(wanted, draft, begun.begun.id), begun.size, complete=False)


async def upload_stands(visit: Visit) -> Response:
    """HEAD: how much of a file is here (4.3)."""
    reader, wanted = await visit.reader(), delivery_id(visit)
    draft = await _reply_id(visit, reader, wanted, visit.request.path_params["reply"])
    offset, complete = await visit.site.compose.standing(reader, wanted, draft, visit.request.path_params["file"])
    return _uploaded(visit, 204, "", offset, complete=complete)


async def upload_more(visit: Visit) -> Response:
    """PATCH: the file goes on where it stopped (4.4)."""
    reader, wanted, compose = await visit.reader(), delivery_id(visit), visit.site.compose
    visit.check(visit.request.headers.get("x-csrf-token", ""))
    draft, file = (
        await _reply_id(visit, reader, wanted, visit.request.path_params["reply"]),
        visit.request.path_params["file"],
    )
    offset, asked = _number(visit, "upload-offset"), visit.request.headers
    if offset is None or asked.get("content-type") != "application/partial-upload":
        await compose.files(reader, wanted, draft)  # what is not hers was never there
        raise InputRefused("An upload goes on with Upload-Offset and application/partial-upload.", "files")
    more = _more_comes(visit)
    try:
        label = await compose.append(reader, wanted, draft, file, offset, visit.request.stream(), complete=not more)
    except UploadOffset as error:
        return _uploaded(visit, 409, "", error.offset, complete=False)
    if label is None:
        stands, _ = await compose.standing(reader, wanted, draft, file)
        return _uploaded(visit, 204, "", stands, complete=False)
    return _uploaded(visit, 201, _file_href(wanted, draft, label.id), label.size, complete=True)


def file_name(said: str) -> str:
    """How an upload's Content-Disposition says that its file is called; no address says it, which proxies write down. RFC 6266 4.1, in
    the form of RFC 8187 3.2 alone: `attachment; filename*=UTF-8''NAME`. Empty when nothing is said. Raises InputRefused else."""
    found = _NAMED.match(said)
    if said and found is None:
        raise InputRefused("The name of a file has to stand in filename*, percent-encoded.", "files")
    return unquote(found[1]) if found else ""


def _uploaded(visit: Visit, status: int, location: str, offset: int, *, complete: bool) -> Response:
    headers = {"upload-offset": str(offset), "upload-complete": "?1" if complete else "?0"}
    if location:
        headers |= {"location": location, "upload-limit": f"max-size={visit.site.compose.limits.max_bytes}"}
    return visit.settled(Response(status_code=status, headers=headers))


def _more_comes(visit: Visit) -> bool:
    return visit.request.headers.get("upload-complete", "?1").strip() == "?0"


def _number(visit: Visit, field: str) -> int | None:
    """A header field's whole number (RFC 9651 3.3.1 has 15 digits at most); None when it has none."""
    said = visit.request.headers.get(field, "").strip()
    return int(said) if said.isascii() and said.isdigit() and len(said) <= 15 else None


async def remove(visit: Visit) -> Response:
    """DELETE, from the page's script: a file of the draft, or what has come of one."""
    reader, wanted = await visit.reader(), delivery_id(visit)
    visit.check(visit.request.headers.get("x-csrf-token", ""))
    draft = await _reply_id(visit, reader, wanted, visit.request.path_params["reply"])
    await visit.site.compose.detach(reader, wanted, draft, visit.request.path_params["file"])
    return visit.settled(Response(status_code=204))


async def remove_by_form(visit: Visit) -> Response:
    """POST of the whole form to a file's address: takes the file away and shows the page again, with what was typed."""
    reader, wanted = await visit.reader(), delivery_id(visit)
    form = Multipart(visit.request)
    await form.read(_pass_over)
    visit.check(form.fields.get("csrf", ""))
    draft = await _reply_id(visit, reader, wanted, visit.request.path_params["reply"])
    await visit.site.compose.detach(reader, wanted, draft, visit.request.path_params["file"])
    return await _again(visit, reader, wanted, _typed(form, draft), None)


async def receipt(visit: Visit) -> Response:
    """What was sent, with names, sizes and hashes."""
    reader, wanted = await visit.reader(), delivery_id(visit)
    reply_id = await _reply_id(visit, reader, wanted, visit.request.path_params["reply"])
    view = await visit.site.reading.message(reader, wanted, Purpose.SUMMARY)
    sent = next((one for one in view.replies if one.id == reply_id), None)
    if sent is None:
        raise NotFound("no such reply")
    back = "/inbox" if sent.fresh else f"/messages/{wanted}"
    return visit.page("reply_sent", reply=answer(sent, f"/messages/{wanted}"), back_href=back)


async def _again(
    visit: Visit,
    reader: Reader,
    wanted: DeliveryId,
    typed: Typed,
    failure: Exception | None,
    preview: Markup | None = None,
) -> Response:
    answered = await visit.site.compose.answered(reader, wanted, fresh=typed.written.fresh)
    files = await visit.site.compose.files(reader, wanted, typed.draft)
    page = _page(visit, wanted, answered, files, typed, _wrong(visit, failure) if failure else None, preview)
    page.status_code = status_of(failure) if failure else 200
    return page


def _wrong(visit: Visit, failure: Exception) -> Wrong:
    limits, say = visit.site.compose.limits, visit.site.pages.say
    match failure:
        case TooManyFiles():
            return Wrong("files", say(sentences.FILES_TOO_MANY, visit.language, most=limits.max_files))
        case BodyTooLarge(field="files"):
            most = f"{limits.max_bytes // 1_000_000} MB"
            return Wrong("files", say(sentences.FILES_TOO_LARGE, visit.language, most=most))
        case FileInfected():
            return Wrong("files", say(sentences.FILE_INFECTED, visit.language))
        case FilesUnscanned():
            return Wrong("files", say(sentences.FILES_UNSCANNED, visit.language))
        case FileUnscanned():
            return Wrong("files", say(sentences.FILE_UNSCANNED, visit.language))
        case TooManyDrafts():
            return Wrong("files", say(sentences.DRAFTS_TOO_MANY, visit.language, days=DRAFT_LIFE.days))
        case TooManyTries(wait=wait):
            return Wrong("text", say(sentences.TOO_OFTEN_SAY, visit.language, minutes=minutes(wait)))
        case InputRefused(field="subject"):
            return Wrong("subject", say(sentences.SUBJECT_MISSING, visit.language))
        case DraftChanged():
            return Wrong("text", say(sentences.REPLY_CHANGED, visit.language))
        case InputRefused(say=said) if said == REFUSED:
            return Wrong("text", say(sentences.REPLY_NOT_FORMATTED, visit.language))
        case FilesChanged():
            return Wrong("files", say(sentences.FILES_CHANGED, visit.language))
        case ReplyEmpty():
            return Wrong("text", say(sentences.REPLY_EMPTY, visit.language))
        case _:
            return Wrong("text", say(sentences.REPLY_TOO_LONG, visit.language))


def _page(
    visit: Visit,
    wanted: DeliveryId,
    answered: Answered,
    files: list[FileLabel],
    typed: Typed,
    wrong: Wrong | None = None,
    preview: Markup | None = None,
) -> Response:
    base = f"/messages/{wanted}/reply"
    return visit.page(
        "reply",
        item=Head(f"/messages/{wanted}"),
        heading=answered.cover.heading if answered.cover else None,
        fresh=answered.cover is None,
        typed_subject=typed.written.subject,
        others=answered.others,
        to_all=typed.written.to_all,
        action=base,
        here=base,
        text=typed.written.text,
        formatted=typed.written.formatted,
        version=typed.version,
        kept=typed.kept,
        error=wrong,
        preview=preview,
        limits=visit.site.compose.limits,
        days=DRAFT_LIFE.days,
        draft=typed.draft,
        files=[Attached(one.name, one.size, _file_href(wanted, typed.draft, one.id)) for one in files],
        draft_href=f"{base}/{typed.draft}",
    )


async def _pass_over(field: str, name: str, declared: str, pieces: AsyncIterator[bytes]) -> None:
    """Takes no file: the form was sent to remove one."""


def _fresh(visit: Visit) -> bool:
    """Whether it is to be a new message to the organisation, no reply."""
    return visit.request.query_params.get("new") == "yes"


def _file_href(wanted: DeliveryId, draft: ReplyId, file_id: str) -> str:
    return f"/messages/{wanted}/reply/{draft}/files/{file_id}"


def _typed(form: Multipart, draft: ReplyId) -> Typed:
    fields = form.fields
    written = Written(fields.get("text", ""), fields.get("formatted") == "yes", fields.get("to_all") == "yes")
    if fields.get("new") == "yes":
        written = replace(written, to_all=False, fresh=True, subject=fields.get("subject", "")[:1000])
    return Typed(draft, written, form.fields.get("version", ""))


def _draft(form: Multipart) -> ReplyId:
    """The draft of a form while nobody is signed in."""
    text = form.fields.get("draft", "")
    if not is_id(text):
        raise NotFound("not an id")
    return ReplyId(text)


async def _reply_id(visit: Visit, reader: Reader, wanted: DeliveryId, text: str) -> ReplyId:
    if not is_id(text):
        raise await no_id(visit, reader, wanted)
    return ReplyId(text)
