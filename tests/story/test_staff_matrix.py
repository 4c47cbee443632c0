"""The matrix role x route x object, walked: whoever may gets an answer, whoever may not gets what never existed, and changes nothing.

A route of the console that is not in the table here fails the test, until somebody has said what an allowed person gets from it.
"""

import re
from dataclasses import dataclass, field

import httpx2
import pytest

from portal.db.tables import deliveries, recipients, relay_credentials, relays, staff
from portal.model.staff import DANGEROUS, MATRIX, Role, Scope, Verb
from portal.web.staff.app import ROUTES
from portal.web.staff.signin import ours
from tests.story.seams import dump, prepared, rows
from tests.story.staff import Desk, desk, sender
from tests.world import ALICE, BOB, CAROL, World, letter

pytestmark = pytest.mark.anyio

NEVER = "01a1fdb2-dcc0-706a-9d6a-be19c0bab1d0"
QUIET = ("audit_events", "throttles", "tries", "ceremonies", "staff_sessions", "staff_codes", "outbox", "epochs")
BULLET = {"reason": "a reason for the test", "owner": "Privacy office", "review": "2027-01-31"}


@dataclass(frozen=True)
class Case:
    """What somebody who may gets: the status, and what is sent. `act` sends the deliveries that are meant."""

    status: int = 200
    fields: dict[str, str] = field(default_factory=dict)
    json: bool = False
    act: bool = False


TABLE: dict[tuple[str, str], Case] = {
    ("GET", "/staff"): Case(303),
    ("GET", "/staff/sign-in"): Case(),
    ("POST", "/staff/sign-in/code"): Case(200, {"address": "nobody@clinic.example"}),
    ("POST", "/staff/sign-in/code/enter"): Case(422, {"code": "00000000"}),
    ("POST", "/staff/passkeys/options"): Case(json=True),
    ("POST", "/staff/passkeys/sign-in"): Case(422, json=True),
    ("GET", "/staff/provider"): Case(404),
    ("GET", "/staff/oidc/back"): Case(404),
    ("GET", "/staff/invite/{token}"): Case(404),
    ("POST", "/staff/invite/{token}/passkeys/add/options"): Case(404, json=True),
    ("POST", "/staff/invite/{token}/passkeys/add"): Case(404, json=True),
    ("GET", "/staff/confirm"): Case(),
    ("POST", "/staff/confirm/send"): Case(),
    ("POST", "/staff/confirm/code"): Case(422, {"code": "00000000"}),
    ("POST", "/staff/passkeys/step-up"): Case(422, json=True),
    ("GET", "/staff/account"): Case(),
    ("POST", "/staff/passkeys/add/options"): Case(json=True),
    ("POST", "/staff/passkeys/add"): Case(422, json=True),
    ("POST", "/staff/account/passkeys/{passkey}/remove"): Case(404),
    ("POST", "/staff/account/sessions/end-others"): Case(303),
    ("POST", "/staff/account/news"): Case(422, {"news": "hourly"}),
    ("GET", "/staff/messages"): Case(),
    ("POST", "/staff/messages/find"): Case(303, {"recipient": ALICE}),
    ("GET", "/staff/messages/{message}"): Case(),
    ("GET", "/staff/messages/{message}/evidence"): Case(),
    ("GET", "/staff/requests"): Case(),
    ("GET", "/staff/unread"): Case(),
    **{
        (method, f"/staff/act/{name}"): Case(200 if method == "GET" else 409, act=True)
        for name in ("revoke", "restore", "extend", "expire", "resend", "access-code", "raise", "misdirected")
        for method in ("GET", "POST")
    },
    ("GET", "/staff/holds"): Case(),
    ("GET", "/staff/holds/new"): Case(),
    ("POST", "/staff/holds"): Case(422),
    ("GET", "/staff/holds/{hold}"): Case(404),
    ("POST", "/staff/holds/{hold}/release"): Case(404, BULLET),
    ("GET", "/staff/disposition"): Case(),
    ("POST", "/staff/disposition/run"): Case(303),
    ("GET", "/staff/certificates/{certificate}"): Case(404),
    ("GET", "/staff/people"): Case(),
    ("POST", "/staff/people"): Case(303, {"recipient": ALICE}),
    ("GET", "/staff/people/{recipient}"): Case(),
    ("POST", "/staff/people/{recipient}/sign-out"): Case(303),
    ("POST", "/staff/people/{recipient}/recover"): Case(422, {"how": "by heart"}),
    ("POST", "/staff/people/{recipient}/stop-recovery"): Case(303),
    ("GET", "/staff/fallback"): Case(),
    ("POST", "/staff/fallback/domains"): Case(422, {"domain": "no domain"}),
    ("POST", "/staff/fallback/domains/{domain}/prove"): Case(422),
    ("POST", "/staff/fallback/domains/{domain}/remove"): Case(422),
    ("POST", "/staff/fallback/relays"): Case(422, {"name": ""}),
    ("GET", "/staff/fallback/relays/{relay}"): Case(),
    ("GET", "/staff/fallback/relays/{relay}/live"): Case(),
    ("POST", "/staff/fallback/relays/{relay}/rotate"): Case(422, {"certificate": "no certificate"}),
    ("POST", "/staff/fallback/relays/{relay}/domains"): Case(422, {"domain": "other.example"}),
    ("POST", "/staff/fallback/relays/{relay}/mode"): Case(422, {"mode": "king"}),
    ("POST", "/staff/fallback/level"): Case(422, {"level": "none"}),
    ("POST", "/staff/fallback/routes"): Case(422, {"value": "x y", "route": "always"}),
    ("POST", "/staff/fallback/routes/{route}/remove"): Case(422),
    ("POST", "/staff/fallback/relays/{relay}/disable"): Case(303),
    ("POST", "/staff/fallback/relays/{relay}/credentials/{credential}/disable"): Case(303),
    ("GET", "/staff/classes"): Case(),
    ("GET", "/staff/classes/{name}"): Case(),
    ("POST", "/staff/classes/{name}"): Case(422),
    ("POST", "/staff/rules"): Case(422),
    ("POST", "/staff/rules/{rule}/remove"): Case(422),
    ("GET", "/staff/look"): Case(),
    ("GET", "/staff/look/logo.png"): Case(404),
    ("POST", "/staff/look"): Case(422),
    ("POST", "/staff/look/logo"): Case(422),
    ("GET", "/staff/people-of-staff"): Case(),
    ("POST", "/staff/people-of-staff"): Case(422, {"address": "x", "role": "admin"}),
    ("POST", "/staff/people-of-staff/{person}/role"): Case(422, {"role": "king"}),
    ("POST", "/staff/people-of-staff/{person}/disable"): Case(404),
    ("POST", "/staff/people-of-staff/{person}/sign-out"): Case(404),
    ("GET", "/staff/record"): Case(),
    ("POST", "/staff/record/export"): Case(),
    ("POST", "/staff/sign-out"): Case(),
}


async def send(who: Desk, method: str, path: str, case: Case, ids: dict[str, str]) -> httpx2.Response:
    """One request as the page would make it, with a form token of this browser."""
    there = path
    for name, value in ids.items():
        there = there.replace(f"{{{name}}}", value)
    if not who.csrf:
        await who.get("/staff/sign-in")
    token = who.csrf
    if method == "GET":
        return await who.http.get(f"{there}?d={ids['delivery']}" if case.act else there)
    if case.json:
        return await who.http.post(there, json={"credential": {}}, headers={"x-csrf-token": token})
    if path.endswith("/logo"):
        return await who.http.post(there, files={"csrf": (None, token), "logo": ("x.svg", b"<svg/>")})
    more = {"d": ids["delivery"]} if case.act else {}
    return await who.http.post(there, data={"csrf": token, **case.fields, **more})


async def ids_of(world: World, org_id: str) -> dict[str, str]:
    """What stands in the addresses: one of each object of an organisation."""
    found = (await rows(world, deliveries, org_id=org_id))[0]
    relay = (await rows(world, relays, org_id=org_id))[0]
    credential = (await rows(world, relay_credentials, org_id=org_id))[0]
    return {
        "delivery": found["id"],
        "message": found["message_id"],
        "recipient": (await rows(world, recipients, org_id=org_id))[0]["id"],
        "relay": relay["id"],
        "credential": credential["id"],
        "domain": "clinic.example",
        "name": "default",
        "rule": "00" * 32,
        "token": "A" * 43,
        **dict.fromkeys(("hold", "certificate", "passkey", "person"), NEVER),
    }


def blurred(answer: httpx2.Response, ids: dict[str, str]) -> str:
    """An answer's text without tokens, and without the ids that were asked for."""
    text = re.sub(r'(?:nonce|value|data-csrf)="[^"]+"|/staff/[\w./?=&-]+', "", answer.text)
    for value in (*ids.values(), NEVER):
        text = text.replace(value, "")
    return text


async def two_clinics(world: World) -> tuple[dict[str, str], dict[str, str]]:
    """A message in each of two organisations; the ids of each."""
    await world.announce()
    sent = await world.announce(letter(), (BOB,), sender="erin@practice.example", relay=world.foreign_relay)
    assert sent
    await prepared(world)
    return await ids_of(world, world.northside.id), await ids_of(world, world.southside.id)


async def staff_of(world: World, role: Role) -> Desk:
    """Somebody in a role, fresh; the sender is the one who sent."""
    return await sender(world, CAROL) if role is Role.SENDER else await desk(world, role, f"{role}@clinic.example")


def test_the_table_names_every_route() -> None:
    """A new route fails here until this file says who gets what from it."""
    assert {(method, path) for method, path, _, _ in ROUTES} == set(TABLE)


def test_the_matrix_is_what_product_and_issue_say() -> None:
    """Senders reach their own only; the auditor reads; nobody but an admin sets up; no verb reads content."""
    assert set(MATRIX) == set(Role)
    assert set(MATRIX[Role.SENDER].values()) == {Scope.OWN}
    assert Verb.SEE not in MATRIX[Role.AUDITOR]
    assert not set(MATRIX[Role.AUDITOR]) & {Verb.REVOKE, Verb.EXTEND, Verb.DISPOSE, Verb.HOLD, Verb.PEOPLE}
    assert not set(MATRIX[Role.HELP_DESK]) & {Verb.REVOKE, Verb.ACCESS_CODE, Verb.RECORD, Verb.UNREAD}
    assert Verb.RECORD not in MATRIX[Role.ADMIN]
    for verb in (Verb.STAFF, Verb.FALLBACK, Verb.CLASSES, Verb.LOOK, Verb.DISPOSE, Verb.HOLD):
        assert [role for role in Role if verb in MATRIX[role]] == [Role.ADMIN]
    assert not {verb for verb in Verb if "read" in verb or "open" in verb} - {Verb.UNREAD}


@pytest.mark.parametrize("role", Role)
async def test_a_role_gets_its_routes_and_no_others(world: World, role: Role) -> None:
    """What the matrix gives answers as the table says; all else is not found, on record, and changes no row."""
    ids, _ = await two_clinics(world)
    who = await staff_of(world, role)
    for method, path, verb, _ in ROUTES:
        if path == "/staff/sign-out":
            continue
        case = TABLE[method, path]
        if verb is None or MATRIX[role].get(verb):
            answer = await send(who, method, path, case, ids)
            assert answer.status_code == case.status, (role, method, path, answer.status_code, answer.text[-900:])
            assert "Your results" not in answer.text
            continue
        before, denied = await dump(world, without=QUIET), len(await world.events("StaffDenied"))
        answer = await send(who, method, path, case, ids)
        assert answer.status_code == 404, (role, method, path, answer.status_code)
        assert await dump(world, without=QUIET) == before, (role, method, path)
        events = await world.events("StaffDenied")
        assert (len(events), events[-1].detail["verb"]) == (denied + 1, verb.value)


async def test_a_foreign_object_never_existed(world: World) -> None:
    """With the ids of another organisation an admin gets what she gets for ids that nobody ever had."""
    ids, foreign = await two_clinics(world)
    dora = await desk(world, Role.ADMIN, "dora@clinic.example")
    never = {**foreign, **dict.fromkeys(("delivery", "message", "recipient", "relay", "credential"), NEVER)}
    before = await dump(world, without=QUIET)
    for method, path, verb, _ in ROUTES:
        names = [name for name in ("message", "recipient", "relay", "credential") if f"{{{name}}}" in path]
        case = TABLE[method, path]
        if not (names or case.act) or verb is None or not MATRIX[Role.ADMIN].get(verb):
            continue
        one, other = await send(dora, method, path, case, foreign), await send(dora, method, path, case, never)
        if not path.endswith("/live"):  # which has nothing to show for either
            assert one.status_code in (404, 422), (method, path, one.status_code)
        assert (one.status_code, blurred(one, foreign)) == (other.status_code, blurred(other, foreign)), (method, path)
        assert "erin@practice.example" not in one.text
    assert await dump(world, without=QUIET) == before
    assert ids["message"] != foreign["message"]


async def test_a_sender_reaches_her_own_and_nobody_elses(world: World) -> None:
    """A colleague's message in the same organisation is not in her list, not on its page, and can't be acted on."""
    await world.announce()
    await world.announce(letter(), (BOB,), sender="erin@clinic.example")
    carol = await sender(world)
    mine, erins = (await rows(world, deliveries))[0], (await rows(world, deliveries))[1]
    page = (await carol.get("/staff/messages")).text
    assert ALICE in page
    assert BOB not in page
    assert (await carol.get(f"/staff/messages/{mine['message_id']}")).status_code == 200
    assert (await carol.get(f"/staff/messages/{erins['message_id']}")).status_code == 404
    for ids in ([erins["id"]], [mine["id"], erins["id"]]):
        query = "&".join(f"d={one}" for one in ids)
        assert (await carol.get(f"/staff/act/revoke?{query}")).status_code == 404
        assert (await carol.send_act("revoke", ids, reason="not hers at all")).status_code == 404
    assert [row["state"] for row in await rows(world, deliveries)] == ["noticed", "noticed"]


@pytest.mark.parametrize("role", [Role.ADMIN, Role.HELP_DESK, Role.SENDER])
async def test_dangerous_changes_want_a_fresh_sign_in(world: World, role: Role) -> None:
    """Six minutes after the sign-in every dangerous change leads to showing once more who it is, and changes nothing."""
    ids, _ = await two_clinics(world)
    who = await staff_of(world, role)
    await who.get("/staff/account")
    world.clock.forward(minutes=6)
    before = await dump(world, without=QUIET)
    for method, path, verb, _ in ROUTES:
        if method == "GET" or verb not in DANGEROUS or not MATRIX[role].get(verb):
            continue
        answer = await send(who, method, path, TABLE[method, path], ids)
        assert (answer.status_code, answer.headers["location"][:14]) == (303, "/staff/confirm"), path
    assert await dump(world, without=QUIET) == before


async def test_strangers_and_ended_sessions_are_led_to_the_sign_in(world: World) -> None:
    """Without a session every route with a verb leads to the sign-in, or says so in JSON; signed out is as good as never in."""
    ids, _ = await two_clinics(world)
    gone = await desk(world, Role.ADMIN, "dora@clinic.example")
    cookie = gone.http.cookies["__Host-staff"]
    await gone.get("/staff/account")
    await gone.post("/staff/sign-out")
    gone.http.cookies.set("__Host-staff", cookie, domain="portal.example")
    before = await dump(world, without=QUIET)
    for who in (Desk(world), gone):
        for method, path, verb, _ in ROUTES:
            if verb is None:
                continue
            answer = await send(who, method, path, TABLE[method, path], ids)
            assert (answer.status_code, answer.headers.get("location", "")[:14]) in {(303, "/staff/sign-in")}, (
                method,
                path,
            )
    assert await dump(world, without=QUIET) == before


@pytest.mark.parametrize(
    "to",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/inbox",
        "/staffx",
        "javascript:x",
        "/staff//x",
        "é",
    ],
)
def test_a_sign_in_leads_to_pages_of_the_console_only(to: str) -> None:
    """Where a link asks to be led after the sign-in is the console, whatever it asks for."""
    assert ours(to) == "/staff"


async def test_a_recipients_cookie_opens_nothing_here(world: World) -> None:
    """A recipient's session, in either cookie, is no session of the staff, and the other way round."""
    token = await world.announce()
    alice = world.browser()
    message = await alice.sign_in(token)
    hers = alice.http.cookies["__Host-session"]
    dora = await desk(world, Role.ADMIN, "dora@clinic.example")
    doras = dora.http.cookies["__Host-staff"]
    mallory = world.browser()
    mallory.http.cookies.set("__Host-staff", hers, domain="portal.example")
    mallory.http.cookies.set("__Host-session", doras, domain="portal.example")
    assert (await mallory.get("/staff/messages")).headers["location"].startswith("/staff/sign-in")
    assert (await mallory.get(message)).status_code == 401
    assert (await rows(world, staff))[0]["role"] == "admin"
