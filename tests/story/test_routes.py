"""Every route as every member of the cast. Kept for ever: what is unwrapped is on record, and what is not yours never was.

A route that stands in the site and not in the table here fails the test, until somebody has said who may do what with it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from portal.db import audit
from portal.db.audit import Filter, Recorded
from portal.db.tables import reply_files
from portal.model.ids import EventId
from portal.sealing.open import Opener
from portal.web import app as web
from portal.web.staff import app as staff
from tests.story.seams import all_deliveries, dump, plain, prepared, rows
from tests.world import ALICE, BOB, Browser, World, letter

pytestmark = pytest.mark.anyio

NEVER = "01a1fdb2-dcc0-706a-9d6a-be19c0bab1d0"
PDF = ("a.pdf", "application/pdf", b"%PDF-1.7\n%x")
BESIDE = {"/healthz", "/readyz", "/robots.txt", "/static"}
"""What the site answers without looking at who asks; `test_reading` looks at its headers."""

Send = Callable[[Browser, str, dict[str, str]], Awaitable[httpx2.Response]]


async def get(browser: Browser, path: str, ids: dict[str, str]) -> httpx2.Response:
    return await browser.get(path)


async def post(browser: Browser, path: str, ids: dict[str, str]) -> httpx2.Response:
    return await browser.post(path, {"code": "00000000", "reference": "K7QF-3MPD-9T"})


async def look(browser: Browser, path: str, ids: dict[str, str]) -> httpx2.Response:
    return await browser.post(path, {"words": "results"})


async def form(browser: Browser, path: str, ids: dict[str, str]) -> httpx2.Response:
    """The form for replies, with the draft it belongs to."""
    fields = {"csrf": (None, browser.csrf), "draft": (None, ids["reply"]), "text": (None, "Thank you!")}
    return await browser.http.post(path, files=fields)


async def upload(browser: Browser, path: str, ids: dict[str, str]) -> httpx2.Response:
    return await browser.http.put(path, content=b"x", headers={"x-csrf-token": browser.csrf})


async def autosave(browser: Browser, path: str, ids: dict[str, str]) -> httpx2.Response:
    """What the page's script sends while somebody types."""
    fields = {"csrf": browser.csrf, "text": "Thank", "version": ids.get("version", ""), "next": ids["reply"]}
    return await browser.http.post(path, files={name: (None, value) for name, value in fields.items()})


async def head(browser: Browser, path: str, ids: dict[str, str]) -> httpx2.Response:
    return await browser.http.head(path)


async def go_on(browser: Browser, path: str, ids: dict[str, str]) -> httpx2.Response:
    """The rest of an upload, of which all has come already."""
    headers = {"x-csrf-token": browser.csrf, "upload-offset": "1", "content-type": "application/partial-upload"}
    return await browser.http.patch(path, content=b"x", headers=headers)


async def ask(browser: Browser, path: str, ids: dict[str, str]) -> httpx2.Response:
    """What the passkey module sends."""
    return await browser.http.post(path, json={"credential": {"id": "x"}}, headers={"x-csrf-token": browser.csrf})


async def delete(browser: Browser, path: str, ids: dict[str, str]) -> httpx2.Response:
    return await browser.http.delete(path, headers={"x-csrf-token": browser.csrf})


@dataclass(frozen=True)
class Route:
    """What Alice gets for what is hers, what a stranger gets, and how many keys her request unwraps.

    `ids` says which reply is meant: the one she sent or her draft. `public` routes ask for no session.
    """

    alice: int
    unwraps: int = 0
    send: Send = get
    ids: str = "sent"
    public: bool = False
    stranger: int = field(default=401)


TABLE: dict[tuple[str, str], Route] = {
    ("GET", "/"): Route(200, public=True, stranger=200),
    ("POST", "/"): Route(303, send=post, public=True, stranger=303),
    ("GET", "/m/{token}"): Route(200, public=True, stranger=200),
    ("GET", "/sign-in/{door}"): Route(200, public=True, stranger=200),
    ("POST", "/sign-in/{door}"): Route(422, send=post, public=True, stranger=422),
    ("POST", "/sign-in/{door}/send"): Route(303, send=post, public=True, stranger=303),
    ("GET", "/sign-in/{door}/help"): Route(200, public=True, stranger=200),
    ("GET", "/help"): Route(200, public=True, stranger=200),
    ("GET", "/inbox"): Route(200, 1),
    ("POST", "/inbox/search"): Route(200, 1, send=look),
    ("GET", "/messages/{delivery}"): Route(200, 2),
    ("GET", "/messages/{delivery}/body"): Route(200, 1),
    ("GET", "/messages/{delivery}/print"): Route(200, 2),
    ("GET", "/messages/{delivery}/message.pdf"): Route(200, 2),
    ("GET", "/messages/{delivery}/original.eml"): Route(200, 1),
    ("GET", "/messages/{delivery}/parts/{part}"): Route(200, 1),
    ("GET", "/messages/{delivery}/parts/{part}/view"): Route(200, 1),
    ("POST", "/messages/{delivery}/ask"): Route(303, send=post),
    ("POST", "/messages/{delivery}/receipt"): Route(303, send=post),
    ("GET", "/messages/{delivery}/reply"): Route(200, 1),
    ("GET", "/messages/{delivery}/replies/{reply}"): Route(200, 2),
    ("GET", "/messages/{delivery}/replies/{reply}/files/{file}"): Route(200, 1),
    ("GET", "/messages/{delivery}/reply/{reply}"): Route(200, 2, ids="kept draft"),
    ("POST", "/messages/{delivery}/reply/{reply}"): Route(204, send=autosave, ids="kept draft"),
    ("POST", "/messages/{delivery}/reply/{reply}/discard"): Route(303, send=autosave, ids="kept draft"),
    ("PUT", "/messages/{delivery}/reply/{reply}/files"): Route(201, send=upload, ids="draft"),
    ("HEAD", "/messages/{delivery}/reply/{reply}/files/{file}"): Route(204, send=head, ids="draft"),
    ("PATCH", "/messages/{delivery}/reply/{reply}/files/{file}"): Route(404, send=go_on, ids="draft"),
    ("DELETE", "/messages/{delivery}/reply/{reply}/files/{file}"): Route(204, send=delete, ids="draft"),
    ("POST", "/messages/{delivery}/reply/{reply}/files/{file}"): Route(200, 1, send=form, ids="other draft"),
    ("POST", "/messages/{delivery}/reply"): Route(303, 1, send=form, ids="draft"),
    ("POST", "/messages/{delivery}/reply/resume"): Route(200, 1, send=form, ids="other draft"),
    # Proving more: she has what the message needs, and nothing beside the mailbox to prove more with.
    ("GET", "/step-up/{delivery}"): Route(303),
    ("POST", "/step-up/{delivery}/send/{channel}"): Route(404, send=post),
    ("POST", "/step-up/{delivery}/{method}"): Route(422, send=post),
    ("GET", "/confirm"): Route(200),
    ("POST", "/confirm/send/{channel}"): Route(404, send=post),
    ("POST", "/confirm/{method}"): Route(422, send=post),
    ("POST", "/passkeys/options"): Route(200, send=ask, public=True, stranger=200),
    ("POST", "/passkeys/sign-in"): Route(422, send=ask, public=True, stranger=422),
    ("POST", "/passkeys/step-up"): Route(422, send=ask),
    ("POST", "/session/stay"): Route(200, send=ask),
    ("GET", "/.well-known/webauthn"): Route(200, public=True, stranger=200),
    # Her ways in: her sign-in is more than five minutes old, so that every change first leads to showing who she is.
    ("GET", "/account"): Route(200),
    ("POST", "/passkeys/add/options"): Route(403, send=ask),
    ("POST", "/passkeys/add"): Route(403, send=ask),
    ("GET", "/account/passkey"): Route(303),
    ("POST", "/account/passkeys/{passkey}/name"): Route(303, send=post),
    ("POST", "/account/passkeys/{passkey}/remove"): Route(303, send=post),
    ("POST", "/account/app/begin"): Route(303, send=post),
    ("POST", "/account/app/confirm"): Route(303, send=post),
    ("POST", "/account/app/remove"): Route(303, send=post),
    ("POST", "/account/recovery-codes"): Route(303, send=post),
    ("GET", "/account/address"): Route(303),
    ("POST", "/account/address"): Route(303, send=post),
    ("POST", "/account/address/{change}"): Route(422, send=post),
    ("POST", "/account/shared"): Route(303, send=post),
    ("POST", "/account/sessions/{session}/end"): Route(404, send=post),
    ("POST", "/account/sessions/end-others"): Route(303, send=post),
    ("GET", "/who"): Route(200),
    ("POST", "/who"): Route(422, send=post),
    ("POST", "/offer/not-now"): Route(303, send=post, public=True, stranger=303),
    ("GET", "/look/{look}.css"): Route(404, public=True, stranger=404),
    ("GET", "/look/{look}.png"): Route(404, public=True, stranger=404),
    ("GET", "/recovery/{token}"): Route(404, public=True, stranger=404),
    ("POST", "/recovery/{token}"): Route(404, send=post, public=True, stranger=404),
    ("POST", "/sign-out"): Route(200, send=post, public=True, stranger=200),
}


def unwrapped_by(event: Recorded) -> int:
    """How many keys an event says were unwrapped for a reader."""
    match event.kind:
        case "MessageOpened":
            return 1 + len(event.detail.get("replies", ()))
        case "AttachmentOpened" | "OriginalDownloaded":
            return 1
        case "InboxListed" | "InboxSearched":
            return len(event.detail["deliveries"])
    return 0


@dataclass
class Stage:
    """The site with its opener, the cast in their browsers, and Alice's ids by the name of the reply that is meant."""

    world: World
    opener: Opener
    alice: Browser
    bob: Browser
    mallory: Browser
    stranger: Browser
    signed_out: Browser
    ids: dict[str, dict[str, str]]
    bobs: str
    after: EventId | None = None
    homes: dict[Browser, str] = field(default_factory=dict)
    """The front page as each browser got it, with the token its forms take."""

    def path(self, pattern: str, ids: dict[str, str]) -> str:
        for name, value in ids.items():
            pattern = pattern.replace(f"{{{name}}}", value)
        return pattern

    async def drive(self, browser: Browser, key: tuple[str, str], ids: dict[str, str]) -> httpx2.Response:
        """One request; what it unwraps must be on record, neither more nor less."""
        if browser not in self.homes:
            await browser.get("/")
            self.homes[browser] = browser.page
        browser.page = self.homes[browser]
        await self.recorded()
        unwrapped = self.opener.unwrapped
        answer = await TABLE[key].send(browser, self.path(key[1], ids), ids)
        assert self.opener.unwrapped - unwrapped == await self.recorded(), key
        return answer

    async def recorded(self) -> int:
        """How many keys were unwrapped, by the lines that the record has grown since it was last asked."""
        async with self.world.house.db.read() as tx:
            lines = await audit.page(tx, Filter(), self.after, 10_000)
        self.after = lines[-1].id if lines else self.after
        return sum(map(unwrapped_by, lines))


async def drafted(browser: Browser, message: str) -> tuple[str, str]:
    """A draft with a file; their ids."""
    await browser.get(f"{message}/reply")
    draft = browser.page.split('name="draft" value="')[1][:36]
    put = await upload(browser, f"{message}/reply/{draft}/files", {})
    return draft, str(put.headers["location"]).rsplit("/", 1)[1]


async def stage(world: World) -> Stage:
    """Alice has read and answered a message that Bob has too; Mallory is signed in at the other organisation."""
    site = world.house.site()
    world.app = web.build(site, world.house.not_ready)
    token = await world.announce(letter(html="<p>Well.</p>", attachments=[PDF]), (ALICE, BOB))
    bobs_token = world.token_for(BOB)
    elsewhere = "mallory@patients.example"
    mallorys = await world.announce(letter(), (elsewhere,), sender="erin@practice.example", relay=world.foreign_relay)
    await prepared(world)
    alice, bob, mallory, out = (world.browser() for _ in range(4))
    message, bobs = await alice.sign_in(token), await bob.sign_in(bobs_token, BOB)
    await mallory.sign_in(mallorys, elsewhere)
    sent, file = await drafted(alice, message)
    assert (await form(alice, f"{message}/reply", {"reply": sent})).status_code == 303
    draft, draft_file = await drafted(alice, message)
    other, other_file = await drafted(alice, message)
    kept = {"reply": world.house.source.new_id(), "version": ""}
    assert (await autosave(alice, f"{message}/reply/{kept['reply']}", kept)).status_code == 204
    kept["version"] = kept["reply"]
    world.clock.forward(minutes=5)
    for browser, who in ((alice, token), (bob, bobs_token), (mallory, mallorys)):
        await browser.get(f"/m/{who}")
    await out.sign_in(token)
    await out.get("/inbox")
    cookie = out.http.cookies["__Host-session"]
    await out.post("/sign-out")
    out.http.cookies.set("__Host-session", cookie, domain="portal.example")
    door = await asked(world, token)
    shared = {"delivery": message.rsplit("/", 1)[1], "part": "1", "token": token, "door": door}
    shared |= {"channel": "sms", "method": "access-code", "passkey": NEVER, "change": NEVER, "session": "ab" * 32}
    ids = {
        "sent": shared | {"reply": sent, "file": file},
        "draft": shared | {"reply": draft, "file": draft_file},
        "other draft": shared | {"reply": other, "file": other_file},
        "kept draft": shared | kept,
    }
    return Stage(world, site.reading._opener, alice, bob, mallory, world.browser(), out, ids, bobs.rsplit("/", 1)[1])


async def asked(world: World, token: str) -> str:
    browser = world.browser()
    await browser.get(f"/m/{token}")
    return browser.form("/send").split("/")[2]


def mounted(app: Any) -> set[str]:
    """What the site routes, whatever stands around it."""
    while not isinstance(app, Starlette):
        app = app._app
    return {str(getattr(route, "path", "")) for route in app.routes}


async def test_the_table_names_every_route_of_the_site(world: World) -> None:
    """A new route fails here until this file says what each member of the cast gets from it."""
    routes = {(method, path) for method, path, _ in web._ROUTES}
    assert routes == set(TABLE)
    console = {path for _, path, _, _ in staff.ROUTES}  # tests/story/test_staff_matrix.py has their table
    assert mounted(world.app) == {path for _, path in routes} | BESIDE | console


async def test_what_is_not_yours_never_was(world: World) -> None:
    """Strangers, other recipients, other organisations and ended sessions get nothing, learn nothing and change nothing."""
    on = await stage(world)
    quiet = ("audit_events", "throttles", "tries", "ceremonies", "codes", "outbox", "sessions", "epochs")
    before = await dump(world, without=quiet)
    never = {"delivery": NEVER, "reply": NEVER, "file": NEVER, "part": "7", "token": "A" * 43, "door": "x"}
    never |= {name: on.ids["sent"][name] for name in ("channel", "method")}
    for key, route in TABLE.items():
        ids = on.ids[route.ids]
        if route.public:
            assert (await on.drive(on.stranger, key, ids)).status_code == route.stranger, key
            continue
        for browser in (on.stranger, on.signed_out):
            assert (await on.drive(browser, key, ids)).status_code == 401, key
        if "{delivery}" not in key[1]:
            continue
        for browser in (on.bob, on.mallory):
            foreign = await on.drive(browser, key, ids)
            assert foreign.status_code == 404, key
            assert plain(foreign) == plain(await on.drive(browser, key, never | {"reply": ids["reply"]})), key
            assert plain(foreign) == plain(await on.drive(browser, key, ids | {"delivery": NEVER})), key
        mixed = await on.drive(on.bob, key, ids | {"delivery": on.bobs})
        if "{reply}" in key[1] or route.send is form:
            assert mixed.status_code == 404, key
    bob = next(one for one in await all_deliveries(world) if one.id == on.bobs)
    assert bob.opened_at is not None  # his own message, under the mixed addresses: nothing else moved
    after = await dump(world, without=quiet)
    assert {name for name in after if after[name] != before[name]} <= {"deliveries"}
    denied = await world.events("ReadDenied")
    assert {one.detail["reason"] for one in denied} == {"foreign"}
    assert {one.delivery_id for one in denied} == {None}


async def test_what_is_hers_is_opened_as_often_as_the_record_says(world: World) -> None:
    """Alice gets each page of hers, each unwraps what it must, and each unwrapping is on record."""
    on = await stage(world)
    for key, route in TABLE.items():
        unwrapped = on.opener.unwrapped
        answer = await on.drive(on.alice, key, on.ids[route.ids])
        assert answer.status_code == route.alice, (key, answer.text[:200])
        assert on.opener.unwrapped - unwrapped == route.unwraps, key
    assert len(await world.events("OpenFailed")) == 0
    kept = [row for row in await rows(world, reply_files) if row["reply_id"] == on.ids["draft"]["reply"]]
    assert len(kept) == 1


async def test_ids_that_are_no_ids_are_simply_not_found(world: World) -> None:
    """Whatever stands in the place of an id, the answer is 404 and nothing is unwrapped."""
    on = await stage(world)
    odd = ["x", "'%20OR%201=1--", "0", "%00", "A" * 3000, "\u0661"]
    for key, route in TABLE.items():
        if "{delivery}" not in key[1]:
            continue
        for name in ("delivery", "part", "reply", "file"):
            if f"{{{name}}}" not in key[1]:
                continue
            for value in odd:
                answer = await on.drive(on.alice, key, on.ids[route.ids] | {name: value})
                assert answer.status_code == 404, (key, name, value)
