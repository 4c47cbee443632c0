"""Routes of replying: one form that works without JavaScript, and uploads one by one with it."""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

from starlette.responses import Response

from portal.mime.cover import Cover
from portal.model.access import Purpose, Reader
from portal.model.assurance import MAILBOX
from portal.model.errors import (
    BodyTooLarge,
    CodeRefused,
    FileInfected,
    FilesChanged,
    FileUnscanned,
    InputRefused,
    NoLongerReadable,
    NotFound,
    ReplyEmpty,
    SignInNeeded,
    TooManyDrafts,
    TooManyFiles,
    TooManyTries,
)
from portal.model.ids import DeliveryId, ReplyId, is_id
from portal.model.reply import FileLabel
from portal.signin import Whose
from portal.signin.links import Door
from portal.web import sentences
from portal.web.errors import minutes, status_of
from portal.web.forms import Multipart
from portal.web.recipient import answer, delivery_id, ended, no_id
from portal.web.signin import Wrong, hidden, mail_state
from portal.web.site import Visit


@dataclass(frozen=True)
class Attached:
    """A file of the draft, for the page."""

    name: str
    size: int
    remove_href: str


@dataclass(frozen=True)
class Head:
    href: str


async def write(visit: Visit) -> Response:
    """The page to write a reply on. The draft's id is made here and kept only once something is sent to it."""
    reader, wanted = await visit.reader(), delivery_id(visit)
    try:
        cover = await visit.site.compose.answered(reader, wanted)
    except NoLongerReadable:
        return await ended(visit)
    full = _wrong(visit, TooManyDrafts("")) if await visit.site.compose.crowded(wanted) else None
    return _page(visit, wanted, ReplyId(visit.site.source.new_id()), cover, [], "", full)


async def submit(visit: Visit) -> Response:
    """The form, with or without files; what went wrong is said beside what was typed, and nothing typed is lost."""
    wanted = delivery_id(visit)
    try:
        reader = await visit.reader()
    except SignInNeeded:
        return await _signed_out(visit, wanted)
    form, left_out = Multipart(visit.request), list[InputRefused]()
    failure: Exception | None = None

    async def take(field: str, name: str, declared: str, pieces: AsyncIterator[bytes]) -> None:
        try:
            await _take(visit, reader, wanted, form, name, declared, pieces)
        except (FileInfected, FileUnscanned) as error:  # known once it is whole: the files behind it are taken
            left_out.append(error)

    try:
        await form.read(take)
    except InputRefused as error:
        failure = error
    failure = failure or next(iter(left_out), None)
    visit.check(form.fields.get("csrf", ""))
    draft, text = await _reply_id(visit, reader, wanted, form.fields.get("draft", "")), form.fields.get("text", "")
    if failure is None:
        try:
            receipt = await visit.site.compose.submit(reader, wanted, draft, text)
            return visit.go(f"/messages/{wanted}/replies/{receipt.reply_id}")
        except InputRefused as error:
            failure = error
        except NoLongerReadable:
            return await ended(visit)
    return await _again(visit, reader, wanted, draft, text, failure)


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
    return await _resume_page(visit, wanted, door, form.fields.get("text", ""), _draft(form), wrong, files=bool(files))


async def resume(visit: Visit) -> Response:
    """The code typed on that page: signs in, and shows the reply as it was, ready to be sent."""
    form, wanted = Multipart(visit.request), delivery_id(visit)
    await form.read(_pass_over)
    visit.check(form.fields.get("csrf", ""))
    text, draft = form.fields.get("text", ""), _draft(form)
    if await visit.perhaps_signed_in():  # by a passkey, on the same page
        return await _again(visit, await visit.reader(), wanted, draft, text, None)
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
        return await _resume_page(visit, wanted, door, text, draft, Wrong("code", said))
    except TooManyTries as error:
        said = visit.site.pages.say(sentences.TRIES_WAIT, visit.language, minutes=minutes(error.wait))
        return await _resume_page(visit, wanted, door, text, draft, Wrong("code", said))
    visit.session = await visit.site.sessions.current(token)
    return visit.raised(await _again(visit, await visit.reader(), wanted, draft, text, None), token)


async def _resume_page(
    visit: Visit, wanted: DeliveryId, door: Door, text: str, draft: ReplyId, wrong: Wrong | None, *, files: bool = False
) -> Response:
    assert door.named is not None
    asked = await visit.site.codes.sent(door, visit.browser)
    return visit.page(
        "resume",
        status=401,
        text=text,
        draft=draft,
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
    await visit.site.compose.attach(reader, wanted, draft, name, declared, pieces)


async def upload(visit: Visit) -> Response:
    """One file as a raw body (`PUT ...?name=`); the answer's Location takes it away again."""
    reader, wanted = await visit.reader(), delivery_id(visit)
    visit.check(visit.request.headers.get("x-csrf-token", ""))
    draft = await _reply_id(visit, reader, wanted, visit.request.path_params["reply"])
    said = visit.request.headers.get("content-length", "0")
    if said.isdigit() and int(said) > visit.site.compose.limits.max_bytes:
        raise BodyTooLarge("The files together are too large for one reply.", "files")
    declared = visit.request.headers.get("content-type", "application/octet-stream")
    name = visit.request.query_params.get("name", "")
    label = await visit.site.compose.attach(reader, wanted, draft, name, declared, visit.request.stream())
    return visit.settled(Response(status_code=201, headers={"location": _file_href(wanted, draft, label)}))


async def remove(visit: Visit) -> Response:
    """DELETE, from the page's script."""
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
    return await _again(visit, reader, wanted, draft, form.fields.get("text", ""), None)


async def receipt(visit: Visit) -> Response:
    """What was sent, with names, sizes and hashes."""
    reader, wanted = await visit.reader(), delivery_id(visit)
    reply_id = await _reply_id(visit, reader, wanted, visit.request.path_params["reply"])
    view = await visit.site.reading.message(reader, wanted, Purpose.SUMMARY)
    sent = next((one for one in view.replies if one.id == reply_id), None)
    if sent is None:
        raise NotFound("no such reply")
    return visit.page("reply_sent", reply=answer(sent, f"/messages/{wanted}"), back_href=f"/messages/{wanted}")


async def _again(
    visit: Visit, reader: Reader, wanted: DeliveryId, draft: ReplyId, text: str, failure: Exception | None
) -> Response:
    cover = await visit.site.compose.answered(reader, wanted)
    files = await visit.site.compose.files(reader, wanted, draft)
    page = _page(visit, wanted, draft, cover, files, text, _wrong(visit, failure) if failure else None)
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
        case FileUnscanned():
            return Wrong("files", say(sentences.FILE_UNSCANNED, visit.language))
        case TooManyDrafts():
            return Wrong("files", say(sentences.DRAFTS_TOO_MANY, visit.language))
        case FilesChanged():
            return Wrong("files", say(sentences.FILES_CHANGED, visit.language))
        case ReplyEmpty():
            return Wrong("text", say(sentences.REPLY_EMPTY, visit.language))
        case _:
            return Wrong("text", say(sentences.REPLY_TOO_LONG, visit.language))


def _page(
    visit: Visit,
    wanted: DeliveryId,
    draft: ReplyId,
    cover: Cover,
    files: list[FileLabel],
    text: str,
    wrong: Wrong | None,
) -> Response:
    return visit.page(
        "reply",
        item=Head(f"/messages/{wanted}"),
        heading=cover.heading,
        action=f"/messages/{wanted}/reply",
        here=f"/messages/{wanted}/reply",
        text=text,
        error=wrong,
        limits=visit.site.compose.limits,
        draft=draft,
        files=[Attached(one.name, one.size, _file_href(wanted, draft, one)) for one in files],
        upload_href=f"/messages/{wanted}/reply/{draft}/files",
    )


async def _pass_over(field: str, name: str, declared: str, pieces: AsyncIterator[bytes]) -> None:
    """Takes no file: the form was sent to remove one."""


def _file_href(wanted: DeliveryId, draft: ReplyId, label: FileLabel) -> str:
    return f"/messages/{wanted}/reply/{draft}/files/{label.id}"


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
