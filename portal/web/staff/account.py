"""Routes of one's own: showing once more that it is her, passkeys, sessions, and when a sender is told of her messages."""

from starlette.responses import JSONResponse, Response

from portal.model.errors import CodeRefused, InputRefused
from portal.model.staff import Role
from portal.signin.staff.people import NEWS
from portal.web.staff.signin import answered, code_words, form, ours, read_json, wrong
from portal.web.staff.site import StaffVisit


async def confirm(visit: StaffVisit) -> Response:
    """Where a dangerous act leads when the last sign-in is more than five minutes old."""
    session = await visit.signed_in()
    to = ours(visit.request.query_params.get("to", ""))
    has_passkey = bool(await visit.site.passkeys.of(session.staff_id))
    by_provider = session.method == "identity-provider"
    by_code = session.role is Role.SENDER and not (has_passkey and to == "/staff/account")  # passkeys want the passkey
    return visit.page("confirm", to=to, has_passkey=has_passkey, by_code=by_code, by_provider=by_provider)


async def send_code(visit: StaffVisit) -> Response:
    fields, session = await form(visit), await visit.signed_in()
    await visit.site.throttle.staff_codes(visit.client.origin)
    reference = await visit.site.codes.send_to(session, visit.browser, visit.client)
    to = ours(fields.get("to", ""))
    return visit.page("code", reference=reference, to=to, action="/staff/confirm/code", again=f"/staff/confirm?to={to}")


async def enter_code(visit: StaffVisit) -> Response:
    fields, session = await form(visit), await visit.signed_in()
    typed, to, reference = fields.get("code", "")[:64], ours(fields.get("to", "")), fields.get("reference", "")[:8]
    try:
        token = await visit.site.codes.prove(typed, visit.browser, session, visit.client)
    except CodeRefused:
        return visit.page(
            "code",
            status=422,
            reference=reference,
            to=to,
            action="/staff/confirm/code",
            again=f"/staff/confirm?to={to}",
            error=wrong("code", code_words(typed, reference)),
        )
    return visit.begun(visit.go(to), token)


@answered
async def prove(visit: StaffVisit) -> Response:
    said, session = await read_json(visit), await visit.signed_in()
    token = await visit.site.passkeys.prove(visit.browser, said.get("credential"), session, visit.client)
    return visit.begun(visit.settled(JSONResponse({"to": ours(str(said.get("delivery", "")))})), token)


async def account(visit: StaffVisit) -> Response:
    return await _account(visit)


async def _account(visit: StaffVisit, error: dict[str, str] | None = None) -> Response:
    session, person = await visit.signed_in(), await visit.person()
    sessions = [
        {"agent": one.agent, "started_at": one.started_at, "seen_at": one.seen_at, "current": one.ref == session.ref}
        for one in await visit.site.sessions.listed(session)
    ]
    return visit.page(
        "account",
        status=422 if error else 200,
        address=await visit.site.people.address(session),
        passkeys=await visit.site.passkeys.of(session.staff_id),
        sessions=sessions,
        fresh=await visit.site.passkeys.may_change(session, visit.client),
        news=await visit.site.people.news(person) if session.role is Role.SENDER else None,
        choices=NEWS,
        done=visit.request.query_params.get("done", "") if visit.request.method == "GET" else "",
        error=error,
    )


@answered
async def adding(visit: StaffVisit) -> Response:
    await read_json(visit)
    return visit.settled(JSONResponse(await visit.site.passkeys.begin_adding(await visit.signed_in(), visit.client)))


@answered
async def add(visit: StaffVisit) -> Response:
    said, session = await read_json(visit), await visit.signed_in()
    await visit.site.passkeys.add(session, said.get("credential"), str(said.get("name", ""))[:60], visit.client)
    return visit.settled(JSONResponse({"to": "/staff/account?done=passkey"}))


async def remove(visit: StaffVisit) -> Response:
    await form(visit)
    try:
        await visit.site.passkeys.remove(await visit.signed_in(), visit.request.path_params["passkey"], visit.client)
    except InputRefused as error:
        return await _account(visit, wrong("passkeys", error.say))
    return visit.go("/staff/account?done=removed")


async def end_others(visit: StaffVisit) -> Response:
    await form(visit)
    await visit.site.sessions.end_others(await visit.signed_in(), visit.client)
    return visit.go("/staff/account?done=ended")


async def news(visit: StaffVisit) -> Response:
    fields = await form(visit)
    try:
        await visit.site.people.choose_news(await visit.person(), fields.get("news", ""))
    except InputRefused as error:
        return await _account(visit, wrong("news", error.say))
    return visit.go("/staff/account?done=news")
