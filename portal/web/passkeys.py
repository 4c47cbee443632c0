"""Routes of the passkey module: JSON in and out, each ceremony in two steps. Nothing here works without JavaScript; codes do.

Every answer that leads on names a page of ours in `to`; every refusal has a sentence in `say`.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import JSONResponse, Response

from portal.model.errors import (
    BodyTooLarge,
    InputRefused,
    NotFound,
    PasskeyRefused,
    ProofNeeded,
    SignInNeeded,
    TooManyTries,
    WayRefused,
)
from portal.model.ids import is_id
from portal.web import sentences
from portal.web.errors import minutes
from portal.web.site import Visit

_MOST_BYTES = 32 * 1024
WORDS = {
    "many": sentences.PASSKEYS_MANY,
    "here": sentences.PASSKEY_HERE,
    "last": sentences.PASSKEY_LAST,
    "name": sentences.NAME_MISSING,
    "app": sentences.APP_THERE,
    "who": sentences.WHO_MISSING,
    "address-shape": sentences.ADDRESS_SHAPE,
    "address-same": sentences.ADDRESS_SAME,
    "address-sender": sentences.ADDRESS_SENDER,
    "address-taken": sentences.ADDRESS_TAKEN,
}
"""What the chapters' refusals are in the page's language."""


async def _read(visit: Visit) -> dict[str, Any]:
    visit.check(visit.request.headers.get("x-csrf-token", ""))
    body = b""
    async for piece in visit.request.stream():
        body += piece
        if len(body) > _MOST_BYTES:
            raise BodyTooLarge("That was too much at once.")
    try:
        said = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise InputRefused("This is no answer of a passkey.")
    return said


def answered(handler: Callable[[Visit], Awaitable[Response]]) -> Callable[[Visit], Awaitable[Response]]:
    """A handler whose refusals are JSON."""

    async def route(visit: Visit) -> Response:
        say = visit.site.pages.say
        try:
            return await handler(visit)
        except SignInNeeded:
            return visit.settled(JSONResponse({"to": "/"}, 401))
        except ProofNeeded:
            return visit.settled(JSONResponse({"to": "/confirm"}, 403))
        except TooManyTries as error:
            text = say(sentences.TRIES_WAIT, visit.language, minutes=minutes(error.wait))
            return visit.settled(JSONResponse({"say": text}, 429))
        except WayRefused as error:
            return visit.settled(JSONResponse({"say": say(WORDS[error.why], visit.language)}, 422))
        except PasskeyRefused as error:
            sentence = sentences.PASSKEY_UNKNOWN if error.unknown else sentences.PASSKEY_REFUSED
            told = {"say": say(sentence, visit.language), "unknown": error.unknown, "rp_id": visit.site.passkeys.rp_id}
            return visit.settled(JSONResponse(told, 422))
        except (InputRefused, BodyTooLarge):
            return visit.settled(JSONResponse({"say": say(sentences.PASSKEY_REFUSED, visit.language)}, 422))

    return route


@answered
async def options(visit: Visit) -> Response:
    """For signing in, or with `for=step-up` for proving more."""
    await _read(visit)
    more = visit.request.query_params.get("for") == "step-up"
    session = await visit.signed_in() if more else None
    await visit.site.throttle.ceremonies(visit.origin)
    return visit.settled(JSONResponse(await visit.site.passkeys.begin(visit.browser, session)))


@answered
async def sign_in(visit: Visit) -> Response:
    said = await _read(visit)
    await visit.site.throttle.answers(visit.origin)
    before = await visit.perhaps_signed_in()
    token = await visit.site.passkeys.sign_in(visit.browser, said.get("credential"), visit.client)
    if before:  # ASVS 7.2.4, as after a code
        await visit.site.sessions.end(before, visit.client)
    wanted = await _wanted(visit, str(said.get("door", "")))
    return visit.raised(visit.settled(JSONResponse({"to": wanted})), token)


async def _wanted(visit: Visit, door: str) -> str:
    """The message whose link or reference led here, else all of them. Whether it is this person's is decided when it is opened."""
    try:
        named = (await visit.site.links.enter(door)).named if door else None
    except NotFound:
        named = None
    return f"/messages/{named.delivery_id}" if named else "/inbox"


@answered
async def step_up(visit: Visit) -> Response:
    said, session = await _read(visit), await visit.signed_in()
    token = await visit.site.passkeys.step_up(visit.browser, said.get("credential"), session, visit.client)
    return visit.raised(visit.settled(JSONResponse({"to": _back(str(said.get("delivery", "")))})), token)


@answered
async def adding(visit: Visit) -> Response:
    await _read(visit)
    return visit.settled(JSONResponse(await visit.site.passkeys.begin_adding(await visit.signed_in())))


@answered
async def add(visit: Visit) -> Response:
    said, session = await _read(visit), await visit.signed_in()
    name = str(said.get("name", ""))
    token = await visit.site.passkeys.add(session, said.get("credential"), name, visit.client, visit.language)
    to = _back(str(said.get("delivery", "")), "/account?done=passkey")
    return visit.raised(visit.settled(JSONResponse({"to": to})), token)


@answered
async def stay(visit: Visit) -> Response:
    """Puts the end of idleness off, because somebody pressed a button."""
    await _read(visit)
    session = await visit.signed_in()
    ends_at, now = await visit.site.sessions.stay(session), visit.site.source.now()
    seconds = {"ends_in": int((ends_at - now).total_seconds()), "over_in": int((session.ends_at - now).total_seconds())}
    return visit.settled(JSONResponse(seconds))


def _back(delivery: str, otherwise: str = "/account") -> str:
    return f"/messages/{delivery}" if is_id(delivery) else otherwise


async def related_origins(visit: Visit) -> Response:
    """The origins at which this site's passkeys work too (WebAuthn Level 3, 5.11.1)."""
    return JSONResponse({"origins": list(await visit.site.passkeys.origins())})
