"""A reply while it is being written: kept sealed as it is typed, opened by nobody without record, lost only by its writer's will."""

import asyncio
import hashlib
import re
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from starlette.requests import ClientDisconnect

from portal.db.tables import deliveries, grants, outbox, replies, reply_files
from portal.lifecycle.end import Lifecycle
from portal.mime.pool import ProcessRenderer
from portal.model.events import By, Who
from portal.web import app as web
from tests.story.seams import all_deliveries, blobs, holding, prepared, put, rows, run
from tests.story.test_replying import PDF, draft, send, writing
from tests.story.ways import give_access_code, needs
from tests.world import ALICE, BOB, CAROL, Browser, World, letter, named

pytestmark = pytest.mark.anyio

PARTIAL = {"content-type": "application/partial-upload"}


async def save(
    browser: Browser, message: str, draft_id: str, text: str, version: str = "", name: str = "", **more: str
) -> tuple[int, str]:
    """What the page's script sends while somebody types; the status, and what this version is called."""
    name = name or str(uuid4())
    fields = {"csrf": browser.csrf, "text": text, "version": version, "next": name, **more}
    form = {key: (None, value) for key, value in fields.items()}
    answer = await browser.http.post(f"{message}/reply/{draft_id}", files=form)
    return answer.status_code, name


async def form(browser: Browser, message: str, draft_id: str, act: str, text: str, **more: str) -> httpx2.Response:
    """The form as a browser without JavaScript sends it."""
    fields = {"csrf": browser.csrf, "draft": draft_id, "text": text, "act": act, **more}
    answer = await browser.http.post(f"{message}/reply", files={key: (None, value) for key, value in fields.items()})
    if "text/html" in answer.headers.get("content-type", ""):
        browser.page = answer.text
    return answer


def shown(page: str) -> tuple[str, str, str]:
    """Draft, version and text of a reply's page."""
    found = re.search(r'name="draft" value="([^"]*)">\s*<input type="hidden" name="version" value="([^"]*)"', page)
    text = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)
    assert found
    assert text
    return found[1], found[2], text[1]


# -- text


async def test_what_is_typed_is_kept_sealed_and_found_again(world: World, folder: Path) -> None:
    """Saved while typing, it outlives the session and the server; the message's page says so, and opening it is one view on record."""
    alice, message, draft_id = await writing(world)
    before = [one.kind for one in await world.events()]
    version = ""
    for text in ("I still", "I still feel Canary-dizzy", "I still feel Canary-dizzy in the morning."):
        status, version = await save(alice, message, draft_id, text, version, formatted="yes")
        assert status == 204
    assert [one.kind for one in await world.events()] == before  # a save is neither a view nor a line of the record
    assert holding(folder, b"Canary-dizzy") == []
    assert len(await rows(world, grants, container_id=draft_id)) == 1  # of what was typed before none is left
    site = world.house.site()  # the server begins anew, and her session is over
    world.app = web.build(site, world.house.not_ready)
    world.clock.forward(hours=20)
    again = world.browser()
    await again.sign_in(world.token_for(ALICE))
    page = (await again.get(message)).text
    assert "You began a reply on 21 November 2026" in page
    assert f'href="{message}/reply/{draft_id}"' in page
    assert "Canary" not in page
    opener, had = site.compose._opener, site.compose._opener.unwrapped
    page = (await again.get(f"{message}/reply/{draft_id}")).text
    assert shown(page) == (draft_id, version, "I still feel Canary-dizzy in the morning.")
    assert 'value="yes" checked' in page
    assert "7 days after your last change" in page
    event = (await world.events("MessageOpened"))[-1]
    assert (event.detail["part"], event.detail["replies"]) == ("quote", [draft_id])
    assert opener.unwrapped - had == 2
    answer = await form(again, message, draft_id, "send", "Sent at last.", version=version)
    assert answer.status_code == 303
    assert "You began" not in (await again.get(message)).text
    await world.worker.send_due()
    assert world.text_for(CAROL).strip() == "Sent at last."


async def test_two_windows_lose_nothing_to_one_another(world: World) -> None:
    """A later save from a window that did not see the other's is refused; what it has becomes a reply of its own: both are kept."""
    alice, message, draft_id = await writing(world)
    _, first = await save(alice, message, draft_id, "from the first window")
    assert (await save(alice, message, draft_id, "from the second"))[0] == 409
    status, lost = await save(alice, message, draft_id, "first, more", first)
    assert status == 204
    # The first window never heard of that answer, and knows its own version all the same.
    status, newest = await save(alice, message, draft_id, "first, still more", f"{first} {lost}")
    assert status == 204
    for act in ("save", "send"):
        answer = await form(alice, message, draft_id, act, f"second window, {act}", version=first)
        assert answer.status_code == 409
        other, version, text = shown(answer.text)
        assert (other != draft_id, bool(version), text) == (True, True, f"second window, {act}")
        assert "changed in another window too" in answer.text
        assert shown((await alice.get(f"{message}/reply/{other}")).text) == (other, version, text)
    assert shown((await alice.get(f"{message}/reply/{draft_id}")).text) == (draft_id, newest, "first, still more")
    assert await rows(world, outbox, kind="reply") == []
    assert (await form(alice, message, draft_id, "send", "first", version=newest)).status_code == 303
    assert len(await rows(world, replies, state="draft")) == 2
    assert (await save(alice, message, draft_id, "too late", newest))[0] == 404


async def test_without_javascript_it_is_saved_looked_at_and_thrown_away(world: World, folder: Path) -> None:
    """The form's own buttons do it all: files go with the text, a look shows what will be sent, and throwing away leaves nothing."""
    alice, message, draft_id = await writing(world)
    before = (blobs(folder), await rows(world, grants))
    fields = {"csrf": alice.csrf, "draft": draft_id, "text": "Half a sentence", "act": "save"}
    parts: list[tuple[str, Any]] = [(key, (None, value)) for key, value in fields.items()]
    answer = await alice.http.post(f"{message}/reply", files=[*parts, ("files", ("a.pdf", PDF, "application/pdf"))])
    assert (answer.status_code, answer.headers["location"]) == (303, message)
    page = (await alice.get(f"{message}/reply/{draft_id}")).text
    _, version, text = shown(page)
    assert (text, "a.pdf" in page) == ("Half a sentence", True)
    answer = await form(alice, message, draft_id, "preview", "**Two** <b>\n\n7. x", version=version, formatted="yes")
    assert answer.status_code == 200
    assert '<p><strong>Two</strong> &lt;b&gt;</p>\n<ol>\n<li value="7">x</li>\n</ol>' in answer.text
    assert shown(answer.text) == (draft_id, version, "**Two** &lt;b&gt;\n\n7. x")
    answer = await form(alice, message, draft_id, "preview", "**as typed**", version=version)
    assert '<div class="text">**as typed**</div>' in answer.text
    gone = await alice.http.post(f"{message}/reply/{draft_id}/discard", files={"csrf": (None, alice.csrf)})
    assert (gone.status_code, gone.headers["location"]) == (303, message)
    assert (blobs(folder), await rows(world, grants)) == before
    assert await rows(world, replies) == []
    assert (await form(alice, message, str(uuid4()), "save", "")).status_code == 303  # nothing typed begins nothing
    assert await rows(world, replies) == []


async def test_a_draft_ends_a_week_after_its_last_change_or_with_its_delivery(world: World, folder: Path) -> None:
    """The sweep counts from the last change; destroying a delivery takes its drafts at once, text, files, grants and bytes."""
    alice, message, draft_id = await writing(world)
    _, version = await save(alice, message, draft_id, "first")
    world.clock.forward(minutes=10)
    assert (await save(alice, message, draft_id, "second", version))[0] == 204
    kept = draft_id
    world.clock.forward(days=6, hours=23, minutes=55)
    await world.house.disposition().sweep()
    assert [row["id"] for row in await rows(world, replies)] == [kept]
    world.clock.forward(minutes=6)
    await world.house.disposition().sweep()
    assert (await rows(world, replies), await rows(world, grants, container_id=kept)) == ([], [])
    alice = world.browser()
    message = await alice.sign_in(world.token_for(ALICE))
    draft_id = await draft(alice, message)
    assert (await save(alice, message, draft_id, "third"))[0] == 204
    headers = {"x-csrf-token": alice.csrf}
    assert (await alice.http.put(f"{message}/reply/{draft_id}/files", content=PDF, headers=headers)).is_success
    world.clock.forward(days=800)
    assert await world.house.disposition().run() == 1
    assert await rows(world, replies) + await rows(world, reply_files) + await rows(world, grants) == []
    assert blobs(folder) == []


async def test_taken_back_or_raised_a_draft_is_out_of_reach(world: World) -> None:
    """What is typed after a revoke is not kept and what was kept not shown; below a floor that rose nothing is opened or saved."""
    alice, message, draft_id = await writing(world)
    csrf = alice.csrf
    _, version = await save(alice, message, draft_id, "kept")
    [one] = await all_deliveries(world)
    lifecycle, dora = Lifecycle(world.house.db, world.house.source), By(Who.OPERATOR, "dora")
    await put(world, deliveries, {"needs": 2})
    opened = len(await world.events("MessageOpened"))
    assert (await alice.get(f"{message}/reply/{draft_id}")).headers["location"].startswith("/step-up/")
    assert (await save(alice, message, draft_id, "more", version))[0] == 303
    headers = {"x-csrf-token": csrf, "upload-complete": "?0"}
    assert (await alice.http.put(f"{message}/reply/{draft_id}/files", headers=headers)).status_code == 403
    assert len(await world.events("MessageOpened")) == opened
    await put(world, deliveries, {"needs": 1})
    assert await lifecycle.revoke(one, dora, "wrong person")
    assert (await alice.get(f"{message}/reply/{draft_id}")).status_code == 410
    await alice.get("/")
    assert (await save(alice, message, draft_id, "more", version))[0] == 410
    assert (await form(alice, message, draft_id, "send", "more", version=version)).status_code == 410
    assert (await form(alice, message, draft_id, "save", "more", version=version)).status_code == 410
    assert [row["version"] for row in await rows(world, replies)] == [version]


@pytest.mark.parametrize("act", ["send", "save", "preview"])
async def test_a_floor_that_rose_while_somebody_typed_costs_no_word(world: World, act: str) -> None:
    """The words are kept, unseen, and nothing is sent; once she has proved more, the way back leads to them, once."""
    alice, message, draft_id = await writing(world)
    delivery = await needs(world, message, 2)
    await give_access_code(world, delivery, "harbour lights")
    opened = len(await world.events("MessageOpened"))
    fields: list[tuple[str, Any]] = [(k, (None, v)) for k, v in
        {"csrf": alice.csrf, "draft": draft_id, "text": "two hours of typing", "act": act, "formatted": "yes"}.items()]  # fmt: skip
    answer = await alice.http.post(f"{message}/reply", files=[*fields, ("files", ("a.pdf", PDF, "application/pdf"))])
    assert (answer.status_code, answer.headers["location"]) == (303, f"/step-up/{delivery}")
    assert len(await world.events("MessageOpened")) == opened
    assert not await rows(world, outbox, kind="reply")
    assert (
        await alice.get(f"{message}/reply/{draft_id}")
    ).status_code == 303  # kept, and shown to nobody below the level
    await alice.get(f"/step-up/{delivery}")
    answer = await alice.post(f"/step-up/{delivery}/access-code", {"code": "harbour lights"})
    back = await alice.get(answer.headers["location"])
    assert (back.status_code, back.headers["location"]) == (303, f"{message}/reply/{draft_id}")
    page = (await alice.get(back.headers["location"])).text
    _, version, text = shown(page)
    assert (text, 'value="yes" checked' in page) == ("two hours of typing", True)
    assert "Go on writing" in (await alice.get(message)).text
    assert (await form(alice, message, draft_id, "send", text, version=version)).status_code == 303


async def test_signed_out_below_the_level_costs_no_word(world: World) -> None:
    """Who is signed out while answering a message that needs more than a code signs in by one, and finds her words after the step."""
    alice, message, draft_id = await writing(world)
    csrf = alice.csrf
    world.clock.forward(minutes=16)
    assert (await form(alice, message, draft_id, "send", "late words", csrf=csrf)).status_code == 401
    delivery = await needs(world, message, 2)
    await give_access_code(world, delivery, "harbour lights")
    fields = {"csrf": alice.csrf, "draft": draft_id, "text": "late words", "code": await world.code_for(ALICE)}
    answer = await alice.http.post(f"{message}/reply/resume", files={k: (None, v) for k, v in fields.items()})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/step-up/{delivery}")
    await alice.get(f"/step-up/{delivery}")
    await alice.post(f"/step-up/{delivery}/access-code", {"code": "harbour lights"})
    back = await alice.get(message)
    assert shown((await alice.get(back.headers["location"])).text)[2] == "late words"


async def test_below_a_floor_another_windows_words_stay(world: World) -> None:
    """What another window saved is not written over: the words become a reply of their own. Of what is over nothing is kept."""
    alice, message, draft_id = await writing(world)
    _, version = await save(alice, message, draft_id, "the other window")
    delivery = await needs(world, message, 2)
    assert (await form(alice, message, draft_id, "send", "this window")).status_code == 303
    kept = {row["id"]: row["version"] for row in await rows(world, replies)}
    assert (len(kept), kept[draft_id]) == (2, version)
    [one] = await all_deliveries(world)
    await Lifecycle(world.house.db, world.house.source).revoke(one, By(Who.OPERATOR, "dora"), "wrong person")
    assert (await form(alice, message, str(uuid4()), "send", "too late")).status_code == 410
    bob = world.browser()
    await bob.sign_in(await world.announce(letter(message_id="<2@clinic.example>"), (BOB,)), BOB)
    await bob.get("/inbox")
    assert (await form(bob, message, draft_id, "save", "not mine")).status_code == 404
    assert (len(await rows(world, replies)), delivery) == (2, one.id)


async def test_foreign_and_borrowed_ids_reach_nothing(world: World) -> None:
    """Another's draft is not there by any verb, no form goes without its token, and a draft named like something sealed
    neither opens nor destroys it."""
    token = await world.announce(to=(ALICE, BOB))
    await prepared(world)
    alice, bob = world.browser(), world.browser()
    message, bobs = await alice.sign_in(token), await bob.sign_in(world.token_for(BOB), BOB)
    draft_id = await draft(alice, message)
    _, version = await save(alice, message, draft_id, "Alice's own words")
    headers = {"x-csrf-token": alice.csrf, "upload-complete": "?0", "upload-length": "4"}
    href = (await alice.http.put(f"{message}/reply/{draft_id}/files", headers=headers)).headers["location"]
    await draft(bob, bobs)
    theirs = {"x-csrf-token": bob.csrf, "upload-offset": "0", **PARTIAL}
    for base in (message, bobs):
        at = f"{base}/reply/{draft_id}"
        assert (await bob.http.get(at)).status_code == 404
        assert (await save(bob, base, draft_id, "x", version))[0] == 404
        assert (await form(bob, base, draft_id, "save", "x", version=version)).status_code == 404
        assert (await form(bob, base, draft_id, "preview", "x")).status_code == 404
        assert (await bob.http.post(f"{at}/discard", files={"csrf": (None, theirs["x-csrf-token"])})).status_code == 404
        place = href.replace(message, base)
        assert (await bob.http.head(place)).status_code == 404
        assert (await bob.http.patch(place, content=b"evil", headers=theirs)).status_code == 404
        assert (await bob.http.delete(place, headers={"x-csrf-token": theirs["x-csrf-token"]})).status_code == 404
    forged = Browser(world)
    forged.http.cookies = alice.http.cookies
    for path in (f"{message}/reply/{draft_id}", f"{message}/reply/{draft_id}/discard", f"{message}/reply"):
        for csrf in ("", theirs["x-csrf-token"]):
            fields = {"csrf": csrf, "draft": draft_id, "text": "x", "next": str(uuid4()), "version": version}
            answer = await forged.http.post(path, files={key: (None, value) for key, value in fields.items()})
            assert answer.status_code == 403, path
        elsewhere = {"sec-fetch-site": "cross-site"}
        assert (await alice.http.post(path, files={"csrf": (None, alice.csrf)}, headers=elsewhere)).status_code == 403
    assert (await alice.http.patch(href, content=b"x", headers={**PARTIAL, "upload-offset": "0"})).status_code == 403
    assert shown((await alice.get(f"{message}/reply/{draft_id}")).text)[2] == "Alice&#39;s own words"
    held = await rows(world, grants)
    message_id = (await rows(world, deliveries))[0]["message_id"]
    assert (await save(alice, message, message_id, "named like a message"))[0] == 404
    assert (await form(alice, message, message_id, "send", "named like a message")).status_code == 404
    files = {"x-csrf-token": alice.csrf}
    await alice.http.put(f"{message}/reply/{message_id}/files", content=b"x", headers=files)
    assert (await save(alice, message, message_id, "named like a message"))[0] == 404
    assert (
        await alice.http.post(f"{message}/reply/{message_id}/discard", files={"csrf": (None, alice.csrf)})
    ).is_redirect
    assert await rows(world, grants) == held
    assert (await alice.get(message)).status_code == 200


async def test_side_by_side_every_act_is_whole_or_not_at_all(world: World, folder: Path) -> None:
    """Saves, uploads, removals, sending and throwing away at once, round after round: nothing half done, no error of ours."""
    alice, message, draft_id = await writing(world)
    before, sent = len(blobs(folder)), 0
    for turn in range(6):
        headers = {"x-csrf-token": alice.csrf}
        url = f"{message}/reply/{draft_id}"
        had = await alice.http.put(f"{url}/files", content=PDF, headers=headers)
        _, version = await save(alice, message, draft_id, f"turn {turn}")
        if turn % 2:
            last = alice.http.post(f"{url}/discard", files={"csrf": (None, alice.csrf)})
        else:
            last = form(alice, message, draft_id, "send", "done", version=version)
        got = await asyncio.gather(
            save(alice, message, draft_id, "one", version),
            save(alice, message, draft_id, "two", version),
            alice.http.put(f"{url}/files", content=PDF, headers=headers),
            alice.http.delete(had.headers["location"], headers=headers),
            last,
        )
        codes = [one[0] if isinstance(one, tuple) else one.status_code for one in got]
        assert all(code in (200, 201, 204, 303, 404, 409, 422) for code in codes), codes
        assert codes[:2].count(204) <= 1 or turn % 2
        sent += turn % 2 == 0 and codes[4] == 303
        alice.page = (await alice.http.get(f"{message}/reply")).text
        draft_id = await draft(alice, message)
        for row in await rows(world, replies, state="draft"):
            gone = await alice.http.post(f"{message}/reply/{row['id']}/discard", files={"csrf": (None, alice.csrf)})
            assert gone.status_code == 303
    while await world.worker.send_due():
        pass
    assert len(await world.events("ReplyHandedOver")) == len(await world.events("ReplySubmitted")) == sent
    kept = await rows(world, reply_files)
    assert len(blobs(folder)) == before + len(kept)
    containers = {row["container_id"] for row in await rows(world, grants)}
    known = {row["id"] for row in [*kept, *await rows(world, replies)]} | {(await all_deliveries(world))[0].message_id}
    assert containers == known


# -- uploads


async def begun(browser: Browser, message: str, draft_id: str, name: str, length: int | None = None) -> httpx2.Response:
    headers = {"x-csrf-token": browser.csrf, "upload-complete": "?0", "content-type": "application/pdf"}
    if length is not None:
        headers["upload-length"] = str(length)
    return await browser.http.put(f"{message}/reply/{draft_id}/files", headers={**headers, **named(name)})


async def more(
    browser: Browser, href: str, offset: int, content: Any, *, last: bool = True, headers: dict[str, str] | None = None
) -> httpx2.Response:
    told = {"x-csrf-token": browser.csrf, "upload-offset": str(offset), "upload-complete": "?1" if last else "?0"}
    return await browser.http.patch(href, content=content, headers={**PARTIAL, **told, **(headers or {})})


async def test_a_broken_upload_goes_on_where_it_stopped(world: World, folder: Path) -> None:
    """HEAD says how far it is, PATCH goes on from there; what arrives is the file, byte for byte, with its SHA-256 on the receipt."""
    alice, message, draft_id = await writing(world)
    content = b"%PDF-1.7\n" + b"Canary-In-An-Upload " * 60_000
    began = await begun(alice, message, draft_id, "scan.pdf", len(content))
    assert (began.status_code, began.headers["upload-complete"]) == (201, "?0")
    href = began.headers["location"]

    async def breaking() -> Any:
        yield content[:300_000]
        yield content[300_000:700_000]
        raise ClientDisconnect  # the train went into a tunnel

    assert (await more(alice, href, 0, breaking())).status_code == 400
    stands = await alice.http.head(href)
    assert (stands.status_code, stands.headers["upload-offset"], stands.headers["upload-complete"]) == (
        204,
        "700000",
        "?0",
    )
    assert stands.headers["cache-control"] == "no-store"
    for wrong in (0, 699_999, 700_001, len(content)):
        answer = await more(alice, href, wrong, b"x")
        assert (answer.status_code, answer.headers["upload-offset"]) == (409, "700000")
    for field, value in (("content-type", "application/pdf"), ("upload-offset", "-1"), ("upload-offset", "0x1")):
        assert (await more(alice, href, 700_000, b"x", headers={field: value})).status_code == 422
    assert await rows(world, reply_files) == []
    half = await more(alice, href, 700_000, content[700_000:900_000], last=False)
    assert (half.status_code, half.headers["upload-offset"]) == (204, "900000")
    assert holding(folder, b"Canary-In-An-Upload") == []
    whole = await more(alice, href, 900_000, content[900_000:])
    assert (whole.status_code, whole.headers["location"], whole.headers["upload-complete"]) == (201, href, "?1")
    stands = await alice.http.head(href)  # whose answer was lost asks again, and hears that all is there
    assert (stands.headers["upload-complete"], stands.headers["upload-offset"]) == ("?1", str(len(content)))
    assert (await more(alice, href, len(content), b"x")).status_code == 404
    assert (await send(alice, message, draft_id)).status_code == 303
    receipt = (await alice.get(f"{message}/replies/{draft_id}")).text
    assert hashlib.sha256(content).hexdigest() in receipt
    assert "data-print" in receipt
    assert [said for said in ("scan.pdf", "1.2", CAROL, "Re: Your results") if said not in receipt] == []
    await world.worker.send_due()
    [mailed] = world.mail_for(CAROL).iter_attachments()
    assert mailed.get_content() == content
    assert "Thank you!" in (await alice.get(message)).text


async def test_an_upload_holds_its_room_and_gives_it_back(world: World, folder: Path) -> None:
    """Files sent side by side keep to the limits together, from the first byte; what is cancelled, broken or idle frees its room."""
    alice, message, draft_id = await writing(world)
    most, before = world.house.settings.max_reply_bytes, blobs(folder)
    large = await begun(alice, message, draft_id, "large", most - 10)
    assert large.status_code == 201
    assert (await begun(alice, message, draft_id, "more", 11)).status_code == 413
    assert (await begun(alice, message, draft_id, "more", 10)).status_code == 201
    unsaid = (await begun(alice, message, draft_id, "unsaid")).headers["location"]
    assert (await more(alice, unsaid, 0, b"x")).status_code == 413
    assert (await alice.http.head(unsaid)).status_code == 404
    csrf = {"x-csrf-token": alice.csrf}
    assert (await alice.http.delete(large.headers["location"], headers=csrf)).status_code == 204
    assert (await more(alice, large.headers["location"], 0, b"x")).status_code == 404
    lies = (await begun(alice, message, draft_id, "lies", 100)).headers["location"]
    assert (await more(alice, lies, 0, b"x" * 101)).status_code == 413
    short = (await begun(alice, message, draft_id, "short", 100)).headers["location"]
    assert (await more(alice, short, 0, b"x" * 99)).status_code == 422
    # A page that is gone leaves an upload behind: after half a minute it makes way, after ten it is over.
    left = (await begun(alice, message, draft_id, "left", most - 10)).headers["location"]
    assert (await begun(alice, message, draft_id, "again", most - 10)).status_code == 413
    world.clock.forward(seconds=31)
    again = await begun(alice, message, draft_id, "again", most - 10)
    assert (again.status_code, (await alice.http.head(left)).status_code) == (201, 404)
    world.clock.forward(minutes=11)
    assert (await alice.http.head(again.headers["location"])).status_code == 404
    empty = (await begun(alice, message, draft_id, "empty", 0)).headers["location"]
    assert (await more(alice, empty, 0, b"")).status_code == 201
    assert [row["size"] for row in await rows(world, reply_files)] == [0]
    assert len(blobs(folder)) == len(before) + 1
    for number in range(world.house.settings.max_reply_files - 1):
        assert (await begun(alice, message, draft_id, str(number), 1)).status_code == 201
    assert (await begun(alice, message, draft_id, "one more", 1)).status_code == 409


async def test_whoever_asks_where_it_stands_stops_who_still_sends(world: World) -> None:
    """A connection that only its client knows to be dead adds nothing behind the answer; of two who finish, one does."""
    alice, message, draft_id = await writing(world)
    href = (await begun(alice, message, draft_id, "a.pdf", 10)).headers["location"]
    there, go_on = asyncio.Event(), asyncio.Event()

    async def dying() -> Any:
        yield b"01234"
        there.set()
        await go_on.wait()
        yield b"XXXXX"

    old = asyncio.create_task(more(alice, href, 0, dying()))
    await there.wait()
    assert (await alice.http.head(href)).headers["upload-offset"] == "5"
    new = [asyncio.create_task(more(alice, href, 5, b"56789")) for _ in range(3)]
    go_on.set()
    assert (await old).status_code in (404, 409)
    answers = sorted([(await one).status_code for one in new])
    assert answers[0] == 201
    assert set(answers[1:]) <= {404, 409}
    [row] = await rows(world, reply_files)
    assert row["size"] == 10
    assert (await send(alice, message, draft_id)).status_code == 303
    taken = await alice.get(f"{message}/replies/{draft_id}/files/{row['id']}")
    assert taken.content == b"0123456789"


# -- what goes out


async def test_formatting_travels_beside_the_words_and_only_when_asked_for(world: World) -> None:
    """With it the mail has the words as typed and the same as HTML, beside the files; without it the words alone."""
    quoted = "The secret of the original letter."
    alice, message, draft_id = await writing(world, letter(text=quoted, html=f"<p>{quoted}</p>"))
    text = "**Two** a day\n\n3. morning\n7. evening\n\n[safe](https://evil.example) <script>"
    fields = {"csrf": alice.csrf, "draft": draft_id, "text": text, "formatted": "yes"}
    parts: list[tuple[str, Any]] = [(key, (None, value)) for key, value in fields.items()]
    answer = await alice.http.post(f"{message}/reply", files=[*parts, ("files", ("a.pdf", PDF, "application/pdf"))])
    assert answer.status_code == 303
    assert "<strong>Two</strong> a day" in (await alice.get(answer.headers["location"])).text
    assert "<strong>Two</strong> a day" in (await alice.get(message)).text
    await world.worker.send_due()
    mail, raw = world.mail_for(CAROL), world.sink.messages[-1].raw
    kinds = [part.get_content_type() for part in mail.walk()]
    assert kinds == ["multipart/mixed", "multipart/alternative", "text/plain", "text/html", "application/pdf"]
    assert world.text_for(CAROL).replace("\r\n", "\n").strip() == text
    body = mail.get_body(("html",))
    assert body is not None
    html = body.get_content().replace("\r\n", "\n")
    assert "<strong>Two</strong> a day" in html
    assert '<li value="3">morning</li>\n<li value="7">evening</li>' in html
    assert "[safe](https://evil.example) &lt;script&gt;" in html
    assert set(re.findall(r"<[^>]*>", html)) <= {
        "<p>", "</p>", "<strong>", "</strong>", "<ol>", "</ol>", "</li>", '<li value="3">', '<li value="7">',
    }  # fmt: skip
    assert quoted.encode() not in raw  # the answer holds nothing of the message but its subject
    plain = await draft(alice, message)
    assert (await form(alice, message, plain, "send", "**2*3*4**")).status_code == 303
    await world.worker.send_due()
    assert [part.get_content_type() for part in world.mail_for(CAROL).walk()] == ["text/plain"]
    deep = await draft(alice, message)
    answer = await form(alice, message, deep, "send", "- " * 30 + "x", formatted="yes")
    assert (answer.status_code, "can&#39;t be formatted" in answer.text) == (422, True)
    assert shown(answer.text)[2] == "- " * 30 + "x"


async def test_what_people_wait_for_is_made_in_their_own_turn(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first view, a look at what will be sent and a PDF queue up behind the same person's; mail that comes in behind nobody's."""
    turns, whole = list[str](), ProcessRenderer._turn

    def noted(self: ProcessRenderer, whose: str) -> AbstractAsyncContextManager[None]:
        turns.append(whose)
        return whole(self, whose)

    monkeypatch.setattr(ProcessRenderer, "_turn", noted)
    alice, message, draft_id = await writing(world)
    assert turns == [""]
    await run(world, "DELETE FROM renditions")
    assert (await alice.get(message)).status_code == 200
    assert (await form(alice, message, draft_id, "preview", "**x**", formatted="yes")).status_code == 200
    assert (await alice.get(f"{message}/message.pdf")).status_code == 200
    [one] = await all_deliveries(world)
    assert turns == ["", *[one.recipient_id] * 3]


async def test_what_answers_a_reply_stays_at_the_floor_of_the_thread(world: World) -> None:
    """A clinic's mail that answers her reply, and may quote it, needs what the message she answered needs."""
    alice, message, draft_id = await writing(world)
    assert (await form(alice, message, draft_id, "send", "Thank you.")).status_code == 303
    await put(world, deliveries, {"needs": 2})  # its class was raised
    await world.worker.send_due()
    answered = world.mail_for(CAROL)["Message-ID"]
    quoting = letter(text="> Thank you.\nYou are welcome.", message_id="<2@clinic.example>")
    reply = quoting.replace(
        b"Subject:", f"In-Reply-To: {answered}\r\nX-Portal-Access-Code: harbour lights\r\nSubject:".encode()
    )
    await world.deliver(reply)
    assert [one.needs for one in await all_deliveries(world)] == [2, 2]


async def test_a_time_out_keeps_what_the_form_knows(world: World) -> None:
    """Signed out while typing, the page that asks for a code carries version and formatting on, and an autosave sends no code."""
    alice, message, draft_id = await writing(world)
    csrf = alice.csrf
    _, version = await save(alice, message, draft_id, "kept")
    world.clock.forward(minutes=16)
    mails = len(world.sink.messages)
    assert (await save(alice, message, draft_id, "late", version))[0] == 401
    await world.worker.send_due()
    assert len(world.sink.messages) == mails
    page = await form(alice, message, draft_id, "save", "late", version=version, formatted="yes", csrf=csrf)
    assert page.status_code == 401
    for field in (f'name="version" value="{version}"', 'name="formatted" value="yes"'):
        assert field in page.text
    code = await world.code_for(ALICE)
    back = await alice.http.post(
        f"{message}/reply/resume",
        files={k: (None, v) for k, v in {"csrf": alice.csrf, "draft": draft_id, "text": "late", "version": version,
                                         "formatted": "yes", "code": code}.items()},
    )  # fmt: skip
    alice.page = back.text
    assert shown(back.text) == (draft_id, version, "late")
    assert (await form(alice, message, draft_id, "save", "late", version=version)).status_code == 303
