"""The one map from the portal's errors to HTTP: status, and a page that says what happened and what to do next."""

import math
from datetime import timedelta

from starlette.responses import Response

from portal.model import errors
from portal.model.errors import PortalError
from portal.model.reply import DRAFT_LIFE
from portal.web import sentences
from portal.web.site import SESSION_COOKIE, Visit

STATUS: dict[type[PortalError], int] = {
    errors.NotFound: 404,
    errors.SignInNeeded: 401,
    errors.NoLongerReadable: 410,
    errors.AssuranceNeeded: 403,
    errors.ContentDamaged: 500,
    errors.CodeRefused: 422,
    errors.PasskeyRefused: 422,
    errors.IdentityRefused: 422,
    errors.IdentityAway: 503,
    errors.MemberNeeded: 403,
    errors.ProofNeeded: 403,
    errors.TooManyTries: 429,
    errors.RequestForged: 403,
    errors.ReplyEmpty: 422,
    errors.FilesChanged: 409,
    errors.FileInfected: 415,  # not 422, which the page's script takes for a fault of ours
    errors.FileUnscanned: 503,
    errors.FilesUnscanned: 503,
    errors.DraftChanged: 409,
    errors.UploadOffset: 409,
    errors.TooManyFiles: 409,
    errors.TooManyDrafts: 422,  # not 409, at which the page's script says that this very reply is full
    errors.BodyTooLarge: 413,
    errors.WayRefused: 422,
    errors.InputRefused: 422,
    errors.StorageFull: 503,
    errors.StorageAway: 503,
    errors.KeysAway: 503,
    errors.PortalError: 500,
}
_RETRY_SECONDS = 60


def status_of(error: Exception) -> int:
    """The HTTP status of an error: its own, or that of the nearest class above it."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    return 500


def minutes(wait: timedelta | None) -> int:
    """Whole minutes to wait, at least one."""
    return max(1, math.ceil((wait or timedelta()).total_seconds() / 60))


def error_page(visit: Visit, error: Exception) -> Response:
    status = status_of(error)
    leads_to = _leads_to(visit, error)
    if leads_to and visit.request.method in ("GET", "POST"):
        return visit.go(leads_to)
    if status == 404:
        return visit.page("not_found", status=404)
    heading, say, next_href, next_text = _words(error)
    if isinstance(error, errors.SignInNeeded) and SESSION_COOKIE not in visit.request.cookies:
        heading, say = sentences.SIGN_IN_FIRST, sentences.SIGN_IN_FIRST_SAY
    values: dict[str, object] = {}
    if isinstance(error, errors.TooManyTries):
        values["minutes"] = minutes(error.wait)
        if error.wait is None:
            say = sentences.SIGN_IN_CLOSED
            values = {}
    if isinstance(error, errors.TooManyDrafts):
        values["days"] = DRAFT_LIFE.days
    speak = visit.site.pages.say
    response = visit.page(
        "error",
        status=status,
        heading=speak(heading, visit.language),
        say=speak(say, visit.language, **values),
        next_href=next_href,
        next_text=speak(next_text, visit.language),
        here="" if visit.request.method == "GET" else "/",
    )
    if status == 503:
        response.headers["retry-after"] = str(_RETRY_SECONDS)
    elif isinstance(error, errors.TooManyTries) and error.wait is not None:
        response.headers["retry-after"] = str(math.ceil(error.wait.total_seconds()))
    return response


def _leads_to(visit: Visit, error: Exception) -> str:
    """Where the way on is a page of ours rather than words: proving more, proving anew, saying who."""
    delivery = visit.request.path_params.get("delivery", "")
    match error:
        case errors.AssuranceNeeded() if delivery:
            return f"/step-up/{delivery}"
        case errors.ProofNeeded():
            return "/confirm"
        case errors.MemberNeeded():
            return f"/who?to={delivery}"
        case _:
            return ""


def _words(error: Exception) -> tuple[str, str, str, str]:
    """Heading, sentence, and the way on."""
    match error:
        case errors.SignInNeeded():
            return sentences.TIMED_OUT, sentences.TIMED_OUT_SAY, "/", sentences.TYPE_REFERENCE
        case errors.RequestForged():
            return sentences.FORM_OLD, sentences.FORM_OLD_SAY, "/", sentences.TO_START
        case errors.AssuranceNeeded():
            return sentences.NOT_ALLOWED, sentences.NOT_ALLOWED_SAY, "/inbox", sentences.TO_MESSAGES
        case errors.BodyTooLarge() | errors.TooManyFiles():
            return sentences.TOO_LARGE, sentences.TOO_LARGE_SAY, "/inbox", sentences.TO_MESSAGES
        case errors.TooManyDrafts():
            return sentences.TOO_LARGE, sentences.DRAFTS_TOO_MANY, "/inbox", sentences.TO_MESSAGES
        case errors.FileInfected():
            return sentences.TOO_LARGE, sentences.FILE_INFECTED, "/inbox", sentences.TO_MESSAGES
        case errors.TooManyTries():
            return sentences.TOO_OFTEN, sentences.TOO_OFTEN_SAY, "/", sentences.TO_START
        case errors.InputRefused():
            return sentences.FORM_OLD, sentences.FORM_OLD_SAY, "/", sentences.TO_START
        case errors.StorageFull() | errors.StorageAway() | errors.KeysAway():
            return sentences.AWAY, sentences.AWAY_SAY, "/", sentences.TRY_AGAIN
        case _:
            return sentences.BROKEN, sentences.BROKEN_SAY, "/", sentences.TO_START
