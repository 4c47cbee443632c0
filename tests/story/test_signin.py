"""From a link that proves nothing to a session, with Mallory at the door."""

import asyncio
import base64
import re
import time
from statistics import median
from typing import Any

import httpx2
import pytest

from portal.db.tables import codes, deliveries, links, sessions
from tests.story.seams import dump, prepared, put, rows
from tests.world import ALICE, BOB, CODE, REFERENCE, Browser, World, letter

pytestmark = pytest.mark.anyio

NEVER = "K7QF-3MPD-9T"
_VARYING = re.compile(
    r'nonce="[^"]+"|name="csrf" value="[^"]+"|/sign-in/[\w.-]+|<strong>[2-9A-Z]{3}</strong>|data-(?:csrf|delivery)="[^"]+"'
)


def wrong_for(code: str) -> str:
    """Another code than this one."""
    return str((int(code.replace(" ", "")) + 1) % 10**8).zfill(8)


def code_in(world: World, index: int = -1) -> str:
    """The code in one of the mails that went out."""
    body = world.read(world.sink.messages[index]).get_body(("plain",))
    assert body is not None
    found = CODE.search(body.get_content())
    assert found
    return found[0]


async def try_code(browser: Browser, door: str, code: str) -> int:
    await browser.get(door)
    return (await browser.post(door, {"code": code})).status_code


async def reasons(world: World) -> list[str]:
    return [one.detail["reason"] for one in await world.events("SignInFailed")]


async def forget_sends(world: World) -> None:
    """As if the codes sent so far had been asked for long ago: the limits on sending have tests of their own."""
    world.clock.forward(minutes=16)


# -- what a code is bound to


async def test_a_code_opens_once_within_ten_minutes_and_only_where_it_was_asked_for(world: World) -> None:
    """A code that is wrong, of another link, another browser, lapsed or used before does not sign in, and all say the same."""
    token = await world.announce(to=[ALICE, BOB])
    alice, mallory = world.browser(), world.browser()
    door = await alice.ask_code(token)
    code = await world.code_for(ALICE)
    bobs_door = await mallory.ask_code(world.token_for(BOB))
    bobs = await world.code_for(BOB)
    said = set()
    for browser, where, typed in (
        (alice, door, wrong_for(code)),
        (alice, door, bobs),
        (mallory, bobs_door, code),
        (mallory, door, code),
    ):
        assert await try_code(browser, where, typed) == 422
        said.update(re.findall(r"does not match|did not match|not the code", browser.page))
    assert len(said) <= 1
    assert await try_code(alice, door, code) == 303
    assert await try_code(alice, door, code) == 422
    await forget_sends(world)
    late = await alice.ask_code(token)
    lapsed = await world.code_for(ALICE)
    world.clock.forward(minutes=10)
    assert await try_code(alice, late, lapsed) == 422
    assert len(await world.events("SignedIn")) == 1
    assert len(await world.events("SignInFailed")) == 6


async def test_a_code_is_nowhere_kept_in_clear(world: World) -> None:
    """Neither the rows nor the record hold the digits of a code, the token of a link or that of a session."""
    token = await world.announce()
    alice = world.browser()
    await alice.sign_in(token)
    code = code_in(world)
    cookie = alice.http.cookies["__Host-session"]
    kept = repr(await dump(world, without=()))
    reference = REFERENCE.search(world.read(world.sink.messages[0]).as_string())
    assert reference
    for secret in (code, code.replace(" ", ""), token, cookie, reference[0]):
        assert secret not in kept


async def test_a_resend_leaves_the_earlier_code_valid(world: World) -> None:
    """Whoever gets two codes may type either; page and mail name the newer by the same reference."""
    token = await world.announce()
    alice = world.browser()
    door = await alice.ask_code(token)
    first = await world.code_for(ALICE)
    await alice.get(f"{door}/help")
    await alice.post(alice.form("/send"))
    await world.worker.send_due()
    page = await alice.get(door)
    shown = re.search(r"<strong>([2-9A-Z]{3})</strong>", page.text)
    assert shown
    assert shown[1] in world.text_for(ALICE)
    assert code_in(world) != first
    assert await try_code(alice, door, first) == 303


async def test_spaces_and_dashes_are_forgiven_and_what_is_no_code_costs_no_try(world: World) -> None:
    """A code may be typed as it stands in the mail; too few digits are said to be so and count for nothing."""
    token = await world.announce()
    alice = world.browser()
    door = await alice.ask_code(token)
    code = await world.code_for(ALICE)
    for typed in ("", "1234", "12345678901", "\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668", "x" * 5000):
        assert await try_code(alice, door, typed) == 422
    assert (await rows(world, codes))[0]["tries"] == 0
    assert await try_code(alice, door, f" {code[:4]}\u2013{code[5:]} ") == 303


# -- throttles


async def test_fifty_tries_at_once_count_as_fifty_and_let_one_in_at_most(world: World) -> None:
    """Parallel tries can't outrun the counter: after five a code is dead, and after ten the door is closed."""
    token = await world.announce()
    mallory = world.browser()
    door = await mallory.ask_code(token)
    wrong = wrong_for(await world.code_for(ALICE))
    await mallory.get(door)
    csrf = mallory.csrf
    answers = await asyncio.gather(*(mallory.http.post(door, data={"csrf": csrf, "code": wrong}) for _ in range(50)))
    assert sorted(one.status_code for one in answers) == [422] * 10 + [429] * 40
    [row] = await rows(world, deliveries)
    assert (row["tries"], row["window_tries"]) == (10, 10)
    [code] = await rows(world, codes)
    assert code["tries"] == 5
    assert len(await reasons(world)) == 50
    assert await try_code(mallory, door, code_in(world)) == 429


async def test_the_right_code_typed_many_times_at_once_signs_in_once(world: World) -> None:
    """A code works once, also when it is sent several times at the same moment; those that came late are on record."""
    token = await world.announce()
    alice = world.browser()
    door = await alice.ask_code(token)
    code = await world.code_for(ALICE)
    await alice.get(door)
    csrf = alice.csrf
    answers = await asyncio.gather(*(alice.http.post(door, data={"csrf": csrf, "code": code}) for _ in range(4)))
    assert sorted(one.status_code for one in answers) == [303, 422, 422, 422]
    assert len(await rows(world, sessions)) == 1
    assert len(await world.events("SignedIn")) == 1
    assert len(await reasons(world)) == 3


async def test_a_code_takes_five_tries(world: World) -> None:
    """The sixth try finds no open code, even with the right digits."""
    token = await world.announce()
    alice = world.browser()
    door = await alice.ask_code(token)
    code = await world.code_for(ALICE)
    for _ in range(5):
        assert await try_code(alice, door, wrong_for(code)) == 422
    assert await try_code(alice, door, code) == 422
    assert await reasons(world) == ["wrong"] * 5 + ["none open for this browser"]


async def test_a_door_closes_for_longer_each_time_and_then_for_good(world: World) -> None:
    """Ten tries an hour, then the wait doubles; after fifty in all no code is taken, however right."""
    token = await world.announce()
    mallory = world.browser()
    door = await mallory.ask_code(token)
    waits = []
    for _ in range(5):
        for _ in range(10):
            assert await try_code(mallory, door, "00000000") == 422
        answer = await mallory.post(door, {"code": "00000000"})
        assert answer.status_code == 429
        [row] = await rows(world, deliveries)
        waits.append(round((row["closed_until"] - world.clock.at).total_seconds() / 3600))
        world.clock.forward(hours=waits[-1], minutes=1)
        await mallory.get(f"/m/{token}")
        door = re.findall(r'action="(/sign-in/[^/"]+)/send"', mallory.page)[0]
    assert waits == [1, 2, 4, 8, 16]
    world.clock.forward(days=3)
    door = await mallory.ask_code(token)
    assert await try_code(mallory, door, await world.code_for(ALICE)) == 429
    assert (await rows(world, deliveries))[0]["disabled_at"] is not None


async def test_a_stranger_without_the_link_uses_up_nobodys_tries(world: World) -> None:
    """Tries behind a reference that names nothing leave every real door open."""
    token = await world.announce()
    mallory = world.browser()
    await mallory.get("/")
    door = (await mallory.post("/", {"reference": NEVER})).headers["location"]
    for _ in range(11):
        await try_code(mallory, door, "00000000")
    alice = world.browser()
    await alice.sign_in(token)
    assert (await rows(world, deliveries))[0]["tries"] == 0


async def test_three_codes_in_a_quarter_of_an_hour_and_ten_a_day(world: World) -> None:
    """Nobody's mailbox is filled: the fourth code within 15 minutes and the eleventh within a day are not sent."""
    token = await world.announce()
    browsers, waits = [world.browser() for _ in range(4)], []
    for turn in range(4):
        for browser in (*browsers, browsers[0]):
            await browser.get(f"/m/{token}")
            last = await browser.post(browser.form("/send"))
            waits.append((last.status_code, int(last.headers.get("retry-after", 0)) > 0))
        assert waits[-1] == (429, True)
        assert len(await rows(world, codes, copy_of=None)) == min(3 * (turn + 1), 10)
        world.clock.forward(minutes=15, seconds=1)
    assert "code" in (await reasons(world))[0]
    world.clock.forward(hours=24)
    await browsers[0].ask_code(token)


async def test_two_browsers_cannot_both_send_the_last_code_allowed(world: World) -> None:
    """The limit on sending holds for requests that come at the same moment."""
    token = await world.announce()
    browsers = [world.browser() for _ in range(6)]
    for browser in browsers:
        await browser.get(f"/m/{token}")
    answers = await asyncio.gather(*(browser.post(browser.form("/send")) for browser in browsers))
    assert [one.status_code for one in answers] == [303] * 6, "the newest counts for the others too"
    assert len(await rows(world, codes, copy_of=None)) == 3


# -- references


def alike(answer: httpx2.Response) -> Any:
    """An answer without what is random in it."""
    letters = re.search(r"(?:reference|code) (?:<strong>)?([2-9A-Z]{3})\b", answer.text)
    text = answer.text.replace(letters[1], "...") if letters else answer.text
    kept = {
        name: re.sub(r"nonce-[\w-]+", "", re.sub(r"/sign-in/[\w.-]+", "", re.sub(r"=[\w-]{43};", ";", value)))
        for name, value in answer.headers.items()
    }
    return answer.status_code, len(answer.content), _VARYING.sub("", text), kept


async def walk(world: World, reference: str) -> list[Any]:
    """What somebody sees who types a reference and then tries what can be tried."""
    browser, seen = world.browser(), []
    await browser.get("/")
    found = await browser.post("/", {"reference": reference})
    door = found.headers["location"]
    seen += [found, await browser.get(door), await browser.post(door, {"code": "00000000"})]
    first = re.findall(r"<strong>([2-9A-Z]{3})</strong>", browser.page)
    seen += [await browser.get(f"{door}/help"), await browser.post(f"{door}/send"), await browser.get(door)]
    assert re.findall(r"<strong>([2-9A-Z]{3})</strong>", browser.page) != first
    seen += [await browser.post(f"{door}/send"), await browser.get(f"{door}/help")]
    await browser.get(door)
    seen.append(await browser.post(f"{door}/send"))
    await browser.get(door)
    for _ in range(10):
        seen.append(await browser.post(door, {"code": "00000000"}))
    return [alike(one) for one in seen]


async def test_a_reference_that_names_nothing_looks_like_one_that_does(world: World) -> None:
    """Known and unknown references get the same status, length, words, headers and cookies, page after page."""
    await world.announce()
    reference = REFERENCE.search(world.text_for(ALICE))
    assert reference
    known, unknown = await walk(world, reference[0]), await walk(world, NEVER)
    for number, (one, other) in enumerate(zip(known, unknown, strict=True)):
        assert one == other, number
    assert [one[0] for one in known][:9] == [303, 200, 422, 200, 303, 200, 303, 200, 429]
    assert known[-1][0] == 429


async def test_a_door_by_reference_says_nothing_of_what_is_behind(world: World) -> None:
    """The address of the sign-in pages holds no id, and no address or clinic is shown before the code."""
    await world.announce()
    reference = REFERENCE.search(world.text_for(ALICE))
    [delivery] = await rows(world, deliveries)
    assert reference
    alice = world.browser()
    await alice.get("/")
    answer = await alice.post("/", {"reference": reference[0].lower().replace("-", " ")})
    door = answer.headers["location"]
    assert delivery["id"] not in decoded(door)
    page = await alice.get(door)
    assert "patients.example" not in page.text
    assert "Northside" not in page.text
    code = await world.code_for(ALICE)
    assert await try_code(alice, door, code) == 303


def decoded(door: str) -> str:
    """What stands in a door, for whoever looks: it is signed, not sealed."""
    payload = door.rsplit("/", 1)[1].split(".")[0]
    return base64.urlsafe_b64decode(payload + "==").decode()


async def test_references_take_about_the_same_time(world: World) -> None:
    """Over many tries, a known reference takes no more than a few times as long as one that names nothing."""
    await world.announce()
    found = REFERENCE.search(world.text_for(ALICE))
    assert found
    spent: dict[str, list[float]] = {found[0]: [], NEVER: []}
    for _ in range(12):
        world.clock.forward(hours=3)
        for reference, times in spent.items():
            browser = world.browser()
            await browser.get("/")
            before = time.perf_counter()
            answer = await browser.post("/", {"reference": reference})
            times.append(time.perf_counter() - before)
            assert answer.status_code == 303
    known, unknown = (median(times) for times in spent.values())
    assert 0.25 < known / unknown < 4, spent


async def test_typed_references_are_throttled_by_address(world: World) -> None:
    """Thirty references an hour from one address: 50 bits stand behind each, and nobody gets to try many."""
    browser = world.browser()
    await browser.get("/")
    for _ in range(30):
        assert (await browser.post("/", {"reference": "nonsense"})).status_code == 422
    answer = await browser.post("/", {"reference": NEVER})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 3000
    world.clock.forward(hours=1)
    await browser.get("/")
    assert (await browser.post("/", {"reference": NEVER})).status_code == 303


# -- links, doors and machines


async def test_looking_changes_nothing(world: World) -> None:
    """GET and HEAD of every page before the sign-in leave every table as it was; only the record says that somebody looked."""
    token = await world.announce()
    alice = world.browser()
    door = await alice.ask_code(token)
    await prepared(world)
    before = await dump(world)
    for path in (
        "/",
        f"/m/{token}",
        door,
        f"{door}/help",
        "/help",
        "/inbox",
        "/m/unknown",
        "/sign-in/unknown",
        "/robots.txt",
    ):
        for method in ("GET", "HEAD"):
            answer = await alice.http.request(method, path)
            assert answer.status_code in (200, 401, 404), path
            assert method == "GET" or not answer.content
    assert await dump(world) == before
    followed = await world.events("LinkFollowed")
    assert [one.detail["machine"] for one in followed] == [False, False, True]


async def test_a_machine_that_follows_the_link_is_recorded_as_one(world: World) -> None:
    """What scanners and previews fetch is on record as a machine's doing, and moves nothing."""
    token = await world.announce()
    await prepared(world)
    before = await dump(world)
    for agent in ("HeadlessChrome/120", "Mozilla/5.0 (compatible; Googlebot/2.1)", "", "curl/8"):
        answer = await world.browser().get(f"/m/{token}", headers={"user-agent": agent})
        assert answer.status_code == 200
    assert [one.detail["machine"] for one in await world.events("LinkFollowed")] == [True] * 4
    assert await dump(world) == before


async def test_a_link_that_was_never_sent_is_not_found(world: World) -> None:
    """A made-up link looks like any page that is not there, and nothing is told."""
    token = await world.announce()
    browser = world.browser()
    made_up = await browser.get("/m/" + "A" * 43)
    nowhere = await browser.get("/no/such/page")
    cut = await browser.get(f"/m/{token[:-1]}")
    assert made_up.status_code == nowhere.status_code == cut.status_code == 404
    assert _VARYING.sub("", made_up.text).replace("/m/" + "A" * 43, "") == _VARYING.sub("", cut.text).replace(
        f"/m/{token[:-1]}", ""
    )


async def test_a_door_lapses_and_cannot_be_forged(world: World) -> None:
    """A door older than an hour, or with anything changed in it, is not found."""
    token = await world.announce()
    alice = world.browser()
    door = await alice.ask_code(token)
    head, _, tail = door.rpartition(".")
    payload = head.split("/")[-1]
    for forged in (
        door[:-2] + ("AA" if door[-2] != "A" else "BA"),
        f"{head}.",
        f"/sign-in/{payload[:-2]}AA.{tail}",
        "/sign-in/x",
    ):
        assert (await alice.get(forged)).status_code == 404, forged
        assert (await alice.http.post(forged, data={"csrf": alice.csrf, "code": "00000000"})).status_code in (403, 404)
    assert (await alice.get(door)).status_code == 200


async def test_a_link_leads_to_the_delivery_it_was_made_for(world: World) -> None:
    """A row that points a link at another delivery sends the code to that one's recipient, never to who holds the link."""
    token = await world.announce(to=[ALICE, BOB])
    mine, other = await rows(world, deliveries)
    await put(world, links, {"delivery_id": other["id"]}, delivery_id=mine["id"])
    mallory = world.browser()
    await mallory.ask_code(token)
    await world.worker.send_due()
    assert world.sink.messages[-1].rcpt_to == (BOB,)


# -- sessions


async def test_a_session_ends_after_fifteen_idle_minutes_and_after_an_hour_in_all(world: World) -> None:
    """Use keeps a session alive, but not beyond its hour."""
    token = await world.announce()
    idle = world.browser()
    message = await idle.sign_in(token)
    world.clock.forward(minutes=14, seconds=59)
    assert (await idle.get(message)).status_code == 200
    world.clock.forward(minutes=15)
    assert (await idle.get(message)).status_code == 401
    busy = world.browser()
    await busy.sign_in(token)
    for _ in range(5):
        world.clock.forward(minutes=11)
        assert (await busy.get("/inbox")).status_code == 200
    world.clock.forward(minutes=5)
    assert (await busy.get("/inbox")).status_code == 401


async def test_signing_out_ends_the_session_for_whoever_has_its_cookie(world: World) -> None:
    """After signing out the old cookie is worth nothing, and the browser is told to forget."""
    token = await world.announce()
    alice = world.browser()
    message = await alice.sign_in(token)
    stolen = alice.http.cookies["__Host-session"]
    await alice.get(message)
    answer = await alice.post("/sign-out")
    assert answer.status_code == 200
    assert answer.headers["clear-site-data"] == '"cache", "storage"'
    assert "__Host-session" not in alice.http.cookies
    mallory = world.browser()
    mallory.http.cookies.set("__Host-session", stolen, domain="portal.example")
    assert (await mallory.get(message)).status_code == 401
    assert len(await world.events("SignedOut")) == 1


async def test_each_sign_in_makes_a_new_session_and_ends_the_browsers_last(world: World) -> None:
    """Signing in again gives another cookie, and the one before is dead (ASVS 7.2.4)."""
    token = await world.announce()
    alice = world.browser()
    message = await alice.sign_in(token)
    first = alice.http.cookies["__Host-session"]
    await alice.sign_in(token)
    second = alice.http.cookies["__Host-session"]
    assert first != second
    assert (await alice.get(message)).status_code == 200
    old = world.browser()
    old.http.cookies.set("__Host-session", first, domain="portal.example")
    assert (await old.get(message)).status_code == 401


async def test_a_cookie_that_was_planted_is_not_taken_over(world: World) -> None:
    """Signing in never uses a session value that somebody else chose."""
    token = await world.announce()
    alice = world.browser()
    alice.http.cookies.set("__Host-session", "A" * 43, domain="portal.example")
    await alice.sign_in(token)
    assert "A" * 43 not in list(alice.http.cookies.values())


async def test_cookies_are_out_of_reach_of_scripts_and_other_hosts(world: World) -> None:
    """Every cookie is __Host-, Secure, HttpOnly, SameSite=Lax, for this host alone, and those of signing in live with the browser."""
    token = await world.announce()
    alice = world.browser()
    answers = [await alice.get(f"/m/{token}?lang=es&theme=dark")]
    door = await alice.ask_code(token)
    code = await world.code_for(ALICE)
    await alice.get(door)
    answers += [await alice.post(door, {"code": code})]
    lines = [line for answer in answers for line in answer.headers.get_list("set-cookie")]
    assert {line.partition("=")[0] for line in lines} == {
        "__Host-browser", "__Host-language", "__Host-theme", "__Host-session",
    }  # fmt: skip
    for line in lines:
        attributes = {part.strip().lower() for part in line.split(";")[1:]}
        assert {"path=/", "secure", "httponly", "samesite=lax"} <= attributes
        assert not any(one.startswith("domain") for one in attributes)
        lasting = any(one.startswith(("max-age", "expires")) for one in attributes)
        assert lasting == line.startswith(("__Host-language", "__Host-theme"))


async def test_who_is_not_signed_in_sees_no_page_of_messages(world: World) -> None:
    """Without a session every page of a message asks to sign in, and says nothing about it."""
    token = await world.announce(letter("Canary subject"))
    alice = world.browser()
    message = await alice.sign_in(token)
    stranger = world.browser()
    for path in ("/inbox", message, f"{message}/body", f"{message}/original.eml", f"{message}/reply"):
        answer = await stranger.get(path)
        assert answer.status_code == 401
        assert "Canary" not in answer.text


# -- forged requests


async def test_a_form_without_its_own_browsers_token_is_refused(world: World) -> None:
    """A missing, forged, old or borrowed form token changes nothing."""
    token = await world.announce()
    alice, mallory = world.browser(), world.browser()
    await alice.get(f"/m/{token}")
    await mallory.get(f"/m/{token}")
    send = alice.form("/send")
    await prepared(world)
    before = await dump(world)
    for csrf in ("", "x", alice.csrf[:-2] + "zz", mallory.csrf):
        assert (await alice.http.post(send, data={"csrf": csrf})).status_code == 403, csrf
    assert await dump(world) == before
    assert (await alice.post(send)).status_code == 303


async def test_another_site_changes_nothing(world: World) -> None:
    """A form sent by another site is refused by where it came from, whatever token it has; so is a page it embeds."""
    token = await world.announce()
    alice = world.browser()
    await alice.get(f"/m/{token}")
    send, data = alice.form("/send"), {"csrf": alice.csrf}
    del alice.http.headers["sec-fetch-site"]
    refused: list[dict[str, str]] = [
        {"sec-fetch-site": "cross-site", "origin": "https://portal.example"},
        {"sec-fetch-site": "same-site"},
        {},
        {"origin": "https://mallory.example"},
        {"origin": "null"},
        {"origin": "http://portal.example"},
        {"origin": "https://portal.example.mallory.example"},
        {"referer": "https://portal.example/"},
    ]
    for headers in refused:
        assert (await alice.http.post(send, data=data, headers=headers)).status_code == 403, headers
    for headers in ({"origin": "https://portal.example"}, {"sec-fetch-site": "none"}):
        assert (await alice.http.post(send, data=data, headers=headers)).status_code == 303, headers
    embedded = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}
    assert (await alice.get("/inbox", headers=embedded)).status_code == 403
    assert (await alice.get("/inbox", headers={"sec-fetch-site": "same-site"})).status_code == 403
    followed = embedded | {"sec-fetch-dest": "document"}
    assert (await alice.get(f"/m/{token}", headers=followed)).status_code == 200


async def test_links_are_built_from_the_configured_name_and_never_from_the_request(world: World) -> None:
    """A forged Host or forwarded header shows up on no page, in no redirect and in no mail."""
    token = await world.announce()
    alice = world.browser()
    forged = {"host": "mallory.example", "x-forwarded-host": "mallory.example", "forwarded": "host=mallory.example"}
    page = await alice.get(f"/m/{token}", headers=forged)
    sent = await alice.post(alice.form("/send"), headers=forged)
    await world.worker.send_due()
    assert "mallory" not in page.text + str(sent.headers) + world.mail_for(ALICE).as_string()


# -- scanners and the limits


async def test_a_scanner_that_presses_send_leaves_a_way_in(world: World) -> None:
    """Three codes asked for by others are in her mailbox: the newest counts in her browser too, works once, and for nobody else."""
    token = await world.announce()
    for _ in range(3):
        await world.browser().ask_code(token)
    scanner = world.browser()
    door = await scanner.ask_code(token)
    await world.worker.send_due()
    alice = world.browser()
    hers = await alice.ask_code(token)
    page = await alice.get(hers)
    shown = re.search(r"<strong>([2-9A-Z]{3})</strong>", page.text)
    assert shown
    code = world.newest(re.compile(rf"(\d{{4}} \d{{4}})\s+Reference of this email: {shown[1]}"), ALICE)[1]
    assert [one.detail["sent"] for one in await world.events("CodeRequested")] == [True] * 3 + [False] * 2
    assert (await alice.post(hers, {"code": code})).status_code == 303
    assert await try_code(scanner, door, code) == 422, "it works once"
    again = await alice.post(f"{hers}/send")
    assert again.status_code in (303, 429)


async def test_a_browser_that_has_a_code_gets_no_other_by_pressing(world: World) -> None:
    """Four times from one browser: the fourth waits, known or unknown alike."""
    await world.announce()
    reference = REFERENCE.search(world.text_for(ALICE))
    assert reference
    for typed in (reference[0], NEVER):
        first, other = world.browser(), world.browser()
        statuses = []
        for browser in (first, first, first, first, other):
            await browser.get("/")
            answer = await browser.post("/", {"reference": typed})
            statuses.append(answer.status_code)
        assert statuses == [303, 303, 303, 429, 303], typed


async def test_a_used_up_code_is_not_brought_back_by_asking_again(world: World) -> None:
    """Five wrong tries, then another press: the fourth send of a quarter of an hour waits, known or unknown alike."""
    await world.announce()
    reference = REFERENCE.search(world.text_for(ALICE))
    assert reference
    for typed in (reference[0], NEVER):
        browser = world.browser()
        await browser.get("/")
        door = (await browser.post("/", {"reference": typed})).headers["location"]
        for _ in range(2):
            await browser.get(f"{door}/help")
            assert (await browser.post(f"{door}/send")).status_code == 303
        for _ in range(5):
            assert await try_code(browser, door, "00000000") == 422
        await browser.get(door)
        assert (await browser.post(f"{door}/send")).status_code == 429, typed
