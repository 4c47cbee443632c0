"""Routes of people: recipients who can't get in (help desk), and the staff themselves (admins)."""

from starlette.responses import Response

from portal.db.overview import Wanted
from portal.model.errors import InputRefused, NotFound
from portal.model.ids import RecipientId, is_id
from portal.model.staff import INVITE_LIFE, Role, Verb
from portal.signin.recovery import HOW
from portal.web.staff.signin import form, wrong
from portal.web.staff.site import ROLE_NAMES, StaffVisit
from portal.web.staff.words import METHODS


async def search(visit: StaffVisit) -> Response:
    return visit.page("people", typed="")


async def find(visit: StaffVisit) -> Response:
    fields = await form(visit)
    typed = fields.get("recipient", "").strip()
    try:
        found = await visit.site.messages.look_up(await visit.view(Verb.PEOPLE), typed)
        if found is None:
            raise InputRefused("Nobody with this address has had a message here. Check how it is written.", "recipient")
    except InputRefused as error:
        return visit.page("people", status=422, typed=typed, error=wrong("recipient", error.say))
    return visit.go(f"/staff/people/{found}")


async def _recipient(visit: StaffVisit) -> tuple[RecipientId, str]:
    """The person of this page. Raises NotFound for one of another organisation, or of none."""
    wanted, org_id = visit.request.path_params["recipient"], (await visit.signed_in()).org_id
    if not is_id(wanted) or not await visit.site.messages.knows(org_id, RecipientId(wanted)):
        raise NotFound("no such person here")
    return RecipientId(wanted), await visit.site.messages.recipient_address(org_id, RecipientId(wanted))


async def person(visit: StaffVisit) -> Response:
    return await _person(visit)


async def _person(visit: StaffVisit, error: dict[str, str] | None = None) -> Response:
    recipient_id, address = await _recipient(visit)
    asker = await visit.person()
    ways = await visit.site.person_desk.look(asker.org_id, recipient_id, asker.by)
    view = await visit.view(Verb.SEE)
    page = await visit.site.messages.search(view, Wanted(recipient_id=recipient_id), None, 10)
    return visit.page(
        "person",
        status=422 if error else 200,
        recipient_id=recipient_id,
        address=address,
        ways=ways,
        shown=page.shown,
        how=HOW,
        methods=METHODS,
        open_recovery=any(one.applied_at is None and one.stopped_at is None for one in ways.recoveries),
        done=visit.request.query_params.get("done", ""),
        error=error,
    )


async def end_sessions(visit: StaffVisit) -> Response:
    await form(visit)
    recipient_id, _ = await _recipient(visit)
    asker = await visit.person()
    await visit.site.person_desk.end_sessions(asker.org_id, recipient_id, asker.by)
    return visit.go(f"/staff/people/{recipient_id}?done=signed-out")


async def recover(visit: StaffVisit) -> Response:
    """The code is on this page, once."""
    fields = await form(visit)
    recipient_id, address = await _recipient(visit)
    asker, organisation = await visit.person(), await visit.organisation()
    try:
        begun = await visit.site.person_desk.recover(
            asker.org_id, recipient_id, fields.get("how", ""), organisation.language, asker.by
        )
    except InputRefused as error:
        return await _person(visit, wrong(error.field or "recovery", error.say))
    return visit.page("recovery", recipient_id=recipient_id, address=address, begun=begun)


async def stop_recovery(visit: StaffVisit) -> Response:
    await form(visit)
    recipient_id, _ = await _recipient(visit)
    await visit.site.person_desk.stop_recovery(recipient_id, (await visit.person()).by)
    return visit.go(f"/staff/people/{recipient_id}?done=stopped")


# -- the staff


async def staff(visit: StaffVisit) -> Response:
    return await _staff(visit)


async def _staff(
    visit: StaffVisit, error: dict[str, str] | None = None, typed: dict[str, str] | None = None
) -> Response:
    session = await visit.signed_in()
    return visit.page(
        "staff",
        status=422 if error else 200,
        people=await visit.site.people.every(session.org_id),
        roles=ROLE_NAMES,
        me=session.staff_id,
        typed=typed or {},
        done=visit.request.query_params.get("done", "") if visit.request.method == "GET" else "",
        error=error,
    )


async def invite(visit: StaffVisit) -> Response:
    """The link is on this page, once."""
    fields, asker = await form(visit), await visit.person()
    try:
        role = _role(fields)
        token = await visit.site.people.invite(await visit.organisation(), fields.get("address", ""), role, asker.by)
    except InputRefused as error:
        return await _staff(visit, wrong(error.field or "address", error.say), fields)
    link = f"{visit.site.csrf.origin}/staff/invite/{token}"
    hours = int(INVITE_LIFE.total_seconds() // 3600)
    return visit.page(
        "invited", link=link, address=fields.get("address", ""), invited_role=ROLE_NAMES[role], hours=hours
    )


def _role(fields: dict[str, str]) -> Role:
    try:
        return Role(fields.get("role", ""))
    except ValueError:
        raise InputRefused("Choose a role.", "role") from None


async def role(visit: StaffVisit) -> Response:
    fields = await form(visit)
    try:
        await visit.site.people.change_role(await visit.person(), visit.request.path_params["person"], _role(fields))
    except InputRefused as error:
        return await _staff(visit, wrong("people", error.say))
    return visit.go("/staff/people-of-staff?done=role")


async def disable(visit: StaffVisit) -> Response:
    await form(visit)
    try:
        await visit.site.people.disable(await visit.person(), visit.request.path_params["person"])
    except InputRefused as error:
        return await _staff(visit, wrong("people", error.say))
    return visit.go("/staff/people-of-staff?done=disabled")


async def sign_out(visit: StaffVisit) -> Response:
    await form(visit)
    try:
        await visit.site.people.end_sessions(await visit.person(), visit.request.path_params["person"])
    except InputRefused as error:
        return await _staff(visit, wrong("people", error.say))
    return visit.go("/staff/people-of-staff?done=signed-out")
