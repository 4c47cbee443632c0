"""What a person may read, for how long, and what Mallory gets instead."""

import asyncio
import gzip
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from email.message import EmailMessage
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from portal import paths
from portal.assembly import House
from portal.db import views
from portal.db.tables import grants, messages, parts, renditions
from portal.db.views import Stored
from portal.lifecycle.end import Lifecycle
from portal.mime import VERSION
from portal.model.errors import ContentDamaged, NoLongerReadable
from portal.model.events import By, Who
from portal.web.app import build
from tests.story.seams import all_deliveries, blob, delivery, dump, plain, prepared, put, refuse_audit, rows, run
from tests.world import ALICE, BOB, Browser, World, letter

pytestmark = pytest.mark.anyio

PDF = ("results.pdf", "application/pdf", b"%PDF-1.7\n%canary in a part")
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360000002000001"
    "e221bc330000000049454e44ae426082"
)
PAGES = ("", "/body", "/print", "/original.eml", "/parts/1", "/reply")
NEVER = "01a1fdb2-dcc0-706a-9d6a-be19c0bab1d0"


async def opened(world: World, mail: bytes | None = None, to: tuple[str, ...] = (ALICE,)) -> tuple[Browser, str]:
    """Alice, signed in, and the address of her message."""
    token = await world.announce(mail or letter(html="<p>The canary sings.</p>", attachments=[PDF]), to)
    await prepared(world)
    alice = world.browser()
    return alice, await alice.sign_in(token)


async def end(world: World, delivery_id: str, how: str = "revoke") -> None:
    life, by, one = (
        Lifecycle(world.house.db, world.house.source),
        By(Who.OPERATOR, "dora"),
        await delivery(world, delivery_id),
    )
    assert await (life.revoke(one, by, "wrong person") if how == "revoke" else life.expire(one, by))


async def kinds(world: World) -> list[str]:
    return [one.kind for one in await world.events()]


# -- whose it is


async def test_what_is_another_recipients_looks_as_if_it_had_never_existed(world: World) -> None:
    """Foreign and made-up ids get one and the same answer on every page, and each denial is on record without naming the message."""
    alice, mine = await opened(world, to=(ALICE, BOB))
    bobs = f"/messages/{next(one.id for one in await all_deliveries(world) if one.id not in mine)}"
    for page in PAGES:
        foreign, never = await alice.get(bobs + page), await alice.get(f"/messages/{NEVER}{page}")
        assert foreign.status_code == 404, page
        assert plain(foreign) == plain(never), page
        assert plain(await alice.get("/messages/not-an-id" + page))[:1] == (404,)
    denied = await world.events("ReadDenied")
    assert [(one.delivery_id, one.message_id, one.detail["reason"]) for one in denied] == [(None, None, "foreign")] * 12
    assert "MessageOpened" not in await kinds(world)


async def test_a_message_that_ended_says_why_and_gives_nothing(world: World) -> None:
    """Revoked, expired and disposed deliveries show a page that explains; no page of theirs gives a byte of content."""
    alice, message = await opened(world)
    for how, words in (("revoke", "taken back"), ("expire", ""), ("dispose", "")):
        one = (await all_deliveries(world))[0]
        if how == "revoke":
            await end(world, one.id)
        elif how == "expire":
            life, by = Lifecycle(world.house.db, world.house.source), By(Who.OPERATOR, "dora")
            assert await life.restore(one, by, "")
            world.clock.forward(days=30)
            await alice.sign_in(link(world))
        else:
            again = await world.announce(letter("Another", message_id="<2@clinic.example>"))
            world.clock.forward(days=340)
            await world.house.disposition().run()
            await alice.sign_in(again)
        for page in PAGES:
            answer = await alice.get(message + page)
            assert answer.status_code == 410, (how, page)
            assert "canary" not in answer.text.lower()
        shown = await alice.get(message)
        assert words in shown.text
        assert ("/ask" in shown.text) == (how != "dispose")
        inbox = await alice.get("/inbox")
        assert inbox.status_code == 200
        assert "Your results" not in inbox.text
        assert "canary" not in inbox.text
    reasons = {one.detail["reason"] for one in await world.events("ReadDenied")}
    assert reasons == {"revoked", "expired", "disposed"}
    assert "MessageOpened" not in await kinds(world)


def link(world: World) -> str:
    """The token of the first notice that went out."""
    body = world.read(world.sink.messages[0]).get_body(("plain",))
    assert body is not None
    found = re.search(r"/m/([\w-]+)", body.get_content())
    assert found
    return found[1]


async def test_a_view_that_loses_the_race_with_a_revoke_gives_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A revoke between the decision and the record of the view leaves no record of a view, and no content goes out."""
    alice, message = await opened(world)
    await alice.get(f"{message}/reply")
    one = (await all_deliveries(world))[0]
    look, before = views.stored, await kinds(world)

    async def stored(db: Any, delivery_id: Any) -> Stored | None:
        found = await look(db, delivery_id)
        monkeypatch.setattr(views, "stored", look)
        await end(world, one.id)
        return found

    for page in ("", "/body", "/print", "/original.eml", "/reply"):
        monkeypatch.setattr(views, "stored", stored)
        answer = await alice.get(message + page)
        assert answer.status_code == 410, page
        assert "canary" not in answer.text
        assert await Lifecycle(world.house.db, world.house.source).restore(
            await delivery(world, one.id), By(Who.OPERATOR, "dora"), ""
        )
    assert "MessageOpened" not in (await kinds(world))[len(before) :]
    assert "OriginalDownloaded" not in await kinds(world)


async def test_a_revoke_ends_a_running_download_within_a_second(world: World) -> None:
    """No byte goes out more than a second after the commit; pieces before it were whole."""
    big = letter(attachments=[("a.bin", "application/octet-stream", bytes(3_000_000))])
    alice, message = await opened(world, big)
    one, site = (await all_deliveries(world))[0], world.house.site()
    reader, _ = await reader_of(site, alice)
    download = await site.reading.original(reader, one.id)
    pieces: AsyncIterator[bytes] = download.pieces
    assert len(await anext(pieces)) > 0
    await end(world, one.id)
    world.clock.forward(seconds=1)
    with pytest.raises(NoLongerReadable):
        await anext(pieces)
    with pytest.raises(StopAsyncIteration):
        await anext(pieces)
    assert (await alice.get(f"{message}/original.eml")).status_code == 410


async def reader_of(site: Any, browser: Browser) -> tuple[Any, str]:
    from portal.signin.sessions import reader

    cookie = browser.http.cookies["__Host-session"]
    return reader(await site.sessions.current(cookie), "192.0.2.7"), cookie


async def test_a_class_that_needs_more_opens_to_no_emailed_code(world: World) -> None:
    """A session of an emailed code doesn't open what needs a passkey: page and part lead to the way up, the record says why."""
    alice, message = await opened(world)
    one = (await all_deliveries(world))[0]
    await run(world, f"UPDATE deliveries SET needs = 3 WHERE id = '{one.id}'")
    for page in PAGES:
        answer = await alice.get(message + page)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/step-up/{one.id}"), page
        assert "canary" not in answer.text
    assert {one.detail["reason"] for one in await world.events("ReadDenied")} == {"assurance"}
    assert "Your results" not in (await alice.get("/inbox")).text


# -- what is shown


async def test_what_was_sent_is_shown_and_comes_back_byte_for_byte(world: World) -> None:
    """Page, frame, print, parts and the original show what the sender wrote; the original is exact."""
    mail = letter(text="The canary sings.\n", html="<p>The <b>canary</b> sings.</p>", attachments=[PDF])
    alice, message = await opened(world, mail)
    page = await alice.get(message)
    assert "results.pdf" in page.text
    assert "sandbox=" in page.text
    assert "<b>canary</b>" in (await alice.get(f"{message}/body")).text
    assert "<b>canary</b>" in (await alice.get(f"{message}/print")).text
    assert (await alice.get(f"{message}/parts/1")).content == PDF[2]
    original = await alice.get(f"{message}/original.eml")
    assert original.content == mail
    assert original.headers["content-length"] == str(len(mail))
    for wrong in ("2", "0", "x", "1%00", "..%2f1"):
        assert (await alice.get(f"{message}/parts/{wrong}")).status_code == 404


async def test_a_rendition_is_made_on_the_first_view_when_it_is_missing_or_old(world: World) -> None:
    """A message without a rendition, or with one of an earlier sanitiser, is parsed for the view; once."""
    alice, message = await opened(world)
    await run(world, "DELETE FROM parts")
    await run(world, "DELETE FROM renditions")
    assert (await alice.get(f"{message}/parts/1")).status_code == 404
    assert "canary sings" in (await alice.get(f"{message}/body")).text
    assert (await alice.get(f"{message}/parts/1")).content == PDF[2]
    [made] = await rows(world, renditions)
    await alice.get(f"{message}/body")
    assert await rows(world, renditions) == [made]
    await put(world, renditions, {"version": 0, "sealed": b"an old one"})
    assert "canary sings" in (await alice.get(f"{message}/body")).text
    [anew] = await rows(world, renditions)
    assert anew["version"] == made["version"]
    assert (await alice.get(f"{message}/parts/1")).content == PDF[2]
    assert "OpenFailed" not in await kinds(world)


@pytest.mark.parametrize("path", ["", "/view"])
async def test_an_attachment_of_an_old_rendition_is_made_anew(world: World, path: str) -> None:
    """Whoever kept an attachment's address gets it after an upgrade too, before the message's page was opened; that is one event."""
    alice, message = await opened(world)
    await put(world, renditions, {"version": 1, "sealed": b"an old one"})
    before = await world.events()
    answer = await alice.get(f"{message}/parts/1{path}")
    assert (answer.status_code, answer.content) == (200, PDF[2])
    assert [one.kind for one in (await world.events())[len(before) :]] == ["AttachmentOpened"]
    assert [row["version"] for row in await rows(world, renditions)] == [VERSION]
    assert (await alice.get(f"{message}/parts/1{path}")).content == PDF[2]


async def test_a_big_message_is_streamed_in_and_shown_on_its_first_view(world: World) -> None:
    """A message over the size that is held in hand is prepared when it is first looked at."""
    content = bytes(range(256)) * 12_000
    alice, message = await opened(world, letter(attachments=[("scan.bin", "application/octet-stream", content)]))
    assert await rows(world, renditions) == []
    assert "scan.bin" in (await alice.get(message)).text
    assert (await alice.get(f"{message}/parts/1")).content == content


async def test_pictures_in_the_text_are_shown_and_remote_ones_are_not(world: World) -> None:
    """A picture of the mail itself becomes a data URL; one from elsewhere is never fetched, and its absence is said."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "carol@clinic.example", ALICE, "Picture"
    mail.set_content("See the picture.")
    mail.add_alternative('<p><img src="cid:one"><img src="https://mallory.example/pixel.png"></p>', subtype="html")
    html = mail.get_payload(1)
    assert isinstance(html, EmailMessage)
    html.add_related(PNG, "image", "png", cid="<one>")
    alice, message = await opened(world, mail.as_bytes().replace(b"\n", b"\r\n"))
    body = await alice.get(f"{message}/body")
    assert 'src="data:image/png;base64,' in body.text
    assert "mallory.example" not in body.text
    assert "Pictures from other websites were left out" in (await alice.get(message)).text


async def test_earlier_messages_are_folded_and_all_there(world: World) -> None:
    """An answer shows its own words, and what it quotes at a touch, without a script; on paper nothing is folded."""
    old = "On Fri, Nov 20, 2026 at 10:42 AM Alice <alice@patients.example> wrote:\n> Do I need the tablets?\n"
    mail = letter("Re: Tablets", "Yes, one a day.\n\n" + old)
    answer = b"In-Reply-To: <9@patients.example>\r\n" + mail
    alice, message = await opened(world, answer)
    page = (await alice.get(message)).text
    fold = page.index("<summary>Show earlier messages</summary>")
    assert page.index("Yes, one a day.") < fold < page.index("Do I need the tablets?") < page.index("</details>")
    assert (await alice.get(f"{message}/print")).text.count("Do I need the tablets?") == 1
    assert "<details" not in (await alice.get(f"{message}/print")).text
    html = f"<p>Yes, <b>one</b> a day.</p><div>{old.split(chr(10))[0]}</div><blockquote>Do I need them?</blockquote>"
    html = html.replace("<alice@patients.example>", "&lt;alice@patients.example&gt;")
    second = letter("Re: Tablets", "Yes.", html, message_id="<2@clinic.example>")
    token = await world.announce(b"In-Reply-To: <9@patients.example>\r\n" + second, (ALICE,))
    await prepared(world)
    body = (await alice.get(f"{await alice.sign_in(token)}/body")).text
    fold = body.index("<summary>Show earlier messages</summary>")
    assert body.index("a day.") < fold < body.index("Do I need them?") < body.index("</details>")


async def test_a_message_is_taken_as_a_pdf_and_that_is_on_record(world: World) -> None:
    """Where the extra is there: one file, one view with its own purpose, seen in the history; else no link and no such page."""
    alice, message = await opened(world, letter("Results", "The canary sings.\n"), (ALICE, BOB))
    assert f'href="{message}/message.pdf"' in (await alice.get(message)).text
    answer = await alice.get(f"{message}/message.pdf")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/pdf")
    assert answer.headers["content-disposition"].startswith('attachment; filename="message.pdf"')
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert "The canary sings." in PdfReader(BytesIO(answer.content)).pages[0].extract_text()
    assert [one.detail["part"] for one in await world.events("MessageOpened")][-1] == "pdf"
    assert "Downloaded as PDF" in (await alice.get(message)).text
    bobs = next(one.id for one in await all_deliveries(world) if one.id not in message)
    assert (await alice.get(f"/messages/{bobs}/message.pdf")).status_code == 404
    undrawn = await alice.sign_in(await world.announce(letter("Odd", "\U000f0000", message_id="<2@clinic.example>")))
    refused = await alice.get(f"{undrawn}/message.pdf")
    assert refused.status_code == 422
    assert f'href="{undrawn}/print"' in refused.text
    await end(world, message.rsplit("/", 1)[1])
    assert (await alice.get(f"{message}/message.pdf")).status_code == 410
    world.app = build(replace(world.house.site(), exports=False), world.house.not_ready)
    plainly = world.browser()
    bare = await plainly.sign_in(await world.announce(letter(message_id="<3@clinic.example>")))
    assert "message.pdf" not in (await plainly.get(bare)).text
    assert (await plainly.get(f"{bare}/message.pdf")).status_code == 404


async def test_names_of_attachments_are_safe_in_headers_and_on_disks(world: World) -> None:
    """RFC 6266 and 8187: no control, bidi or path character of a hostile name reaches the header, and nothing is shown inline."""
    hostile = [
        "../../etc/passwd", "..\\..\\windows\\system32\\calc.exe", "invoice\u202egnp.exe", 'a";x=y.html', "x\u0000y\u0007.txt",
        "naïve résumé.html", "=?utf-8?q?evil=0d=0aSet-Cookie:_a=3Db?=", "", "con.txt", "." * 300 + "pdf",
    ]  # fmt: skip
    alice, message = await opened(
        world, letter(attachments=[(n or "x", "text/html", b"<script>1</script>") for n in hostile])
    )
    for number in range(1, len(hostile) + 1):
        answer = await alice.get(f"{message}/parts/{number}")
        assert answer.status_code == 200
        said = answer.headers["content-disposition"]
        assert re.fullmatch(r"attachment; filename=\"[\w ._()-]+\"; filename\*=UTF-8''[\w.~%-]+", said, re.ASCII), said
        assert not re.search(r"%(0[0-9A-F]|1[0-9A-F]|7F|2F|5C|E2%80%AE|22|3A)", said), said
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert "set-cookie" not in answer.headers


# -- every answer


ALWAYS = {
    "strict-transport-security": "max-age=63072000; includeSubDomains",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "x-robots-tag": "noindex, nofollow",
}


async def test_style_and_scripts_travel_short_and_pages_never_do(world: World) -> None:
    """Static text is sent packed to who takes it; a page, with its token beside a sender's words, is not (BREACH)."""
    alice, message = await opened(world)
    whole = (paths.static() / "css" / "portal.css").read_bytes()
    for accepts, coding in (
        ("gzip, deflate, br", "gzip"), ("br;q=1.0, gzip;q=0.8", "gzip"), ("GZIP", "gzip"), ("gzip;q=0", None),
        ("identity", None), ("br", None), ("xgzip", None), ("gzip;q=0.000, br", None), ("", None),
    ):  # fmt: skip
        async with alice.http.stream(
            "GET", "/static/css/portal.css?v=1", headers={"accept-encoding": accepts}
        ) as answer:
            raw = b"".join([piece async for piece in answer.aiter_raw()])
        assert (answer.headers.get("content-encoding"), answer.headers["vary"]) == (coding, "Accept-Encoding"), accepts
        assert (gzip.decompress(raw) if coding else raw) == whole
        assert answer.headers["content-type"] == "text/css; charset=utf-8"
        assert len(raw) == int(answer.headers["content-length"])
    for path in ("/", "/inbox", message, f"{message}/body", f"{message}/print"):
        page = await alice.http.get(path, headers={"accept-encoding": "gzip, br"})
        assert "content-encoding" not in page.headers, path


async def test_every_answer_carries_its_headers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages, documents, downloads, files, errors of every kind: none leaves without its policy, and none is kept by a cache."""
    alice, message = await opened(world)
    answers = [await alice.get(message + page) for page in PAGES]
    answers += [await alice.get(path) for path in ("/", "/inbox", "/help", "/robots.txt", "/healthz", "/readyz")]
    answers += [await alice.get(path) for path in ("/no/page", "/static/none.css", "/static/%2e%2e/README.md", "/m/x")]
    answers += [await alice.http.request(verb, "/inbox") for verb in ("DELETE", "OPTIONS", "TRACE", "PROPFIND")]
    answers += [await alice.post(f"{message}/ask", {"csrf": "x"}), await world.browser().get("/inbox")]
    await put(world, messages, {"heading_sealed": b"damaged"})
    answers += [await alice.get(message)]
    answers += [await alice.get("/static/css/portal.css"), await alice.get("/static/css/portal.css?v=1")]
    assert [one.status_code for one in answers] == [200] * 12 + [404] * 4 + [404] * 4 + [403, 401, 500, 200, 200]
    for answer in answers:
        assert ALWAYS.items() <= dict(answer.headers).items(), answer.url
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'"), answer.url
        assert "allow-same-origin" not in policy
        assert "unsafe-inline" not in policy.replace("style-src 'unsafe-inline'", "")
        assert "publickey-credentials-get=(self)" in answer.headers["permissions-policy"]
        kept = answer.request.url.query == b"v=1"
        assert answer.headers["cache-control"] == ("public, max-age=31536000, immutable" if kept else "no-store")
        assert "server" not in answer.headers
    pages = [one for one in answers if "script-src 'nonce-" in one.headers["content-security-policy"]]
    nonces = [re.findall(r"nonce-([\w-]+)", one.headers["content-security-policy"])[0] for one in pages]
    assert len(set(nonces)) == len(nonces)
    for one in pages:
        policy = one.headers["content-security-policy"]
        for wanted in (
            "base-uri 'none'",
            "frame-ancestors 'none'",
            "form-action 'self'",
            "require-trusted-types-for 'script'",
        ):
            assert wanted in policy
        assert one.headers["cross-origin-opener-policy"] == "same-origin"


async def test_the_mail_stands_behind_a_wall_of_its_own(world: World) -> None:
    """The framed mail runs no script but the one that tells its height; on paper none runs at all."""
    alice, message = await opened(world)
    in_frame = await alice.get(f"{message}/body", headers={"sec-fetch-dest": "iframe"})
    framed = in_frame.headers["content-security-policy"]
    printed = (await alice.get(f"{message}/print")).headers["content-security-policy"]
    for policy in (framed, printed):
        assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'" in policy
        assert "sandbox" in policy
    assert re.search(r"script-src 'sha256-[\w+/=]+'", framed)
    assert "script" not in printed


async def test_the_mail_can_be_made_easy_to_read(world: World) -> None:
    """The same mail under the same policy, with rules that take back the sender's colours; it is a view like any other."""
    alice, message = await opened(world, letter(html="<p style='color:#eee!important'>canary</p>"))
    sent, easy = [await alice.get(f"{message}/body{asked}") for asked in ("", "?view=easy")]
    assert easy.headers["content-security-policy"] == sent.headers["content-security-policy"]
    assert '<p style="color:#eee">canary</p>' in sent.text
    assert '<p style="color:#eee">canary</p>' in easy.text
    assert "color:inherit!important" in easy.text
    assert "color:inherit!important" not in sent.text
    assert (await kinds(world)).count("MessageOpened") == 2
    assert 'target="letter"' in (await alice.get(message)).text


async def test_a_failure_speaks_in_no_librarys_words(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault inside gives a page in the reader's language that says nothing of the inside."""
    alice, message = await opened(world)

    def broken(*_: Any) -> Any:
        raise RuntimeError("canary: secret inside")

    monkeypatch.setattr(views, "stored", broken)
    answer = await alice.get(message)
    assert answer.status_code == 500
    assert "canary" not in answer.text
    assert "RuntimeError" not in answer.text
    assert "<html" in answer.text


# -- Mallory at the rows and the blobs


async def two(world: World) -> tuple[Browser, str, list[Any]]:
    """Alice with two messages of two parts each, the address of the first; both deliveries."""
    alice, _ = await opened(world, letter("First canary", html="<p>First canary</p>", attachments=[PDF, PDF]))
    await world.announce(
        letter("Second canary", html="<p>Second canary</p>", attachments=[PDF, PDF], message_id="<2@x.example>")
    )
    await prepared(world)
    both = await all_deliveries(world)
    return alice, f"/messages/{both[0].id}", both


async def refused(world: World, alice: Browser, path: str) -> None:
    """A page that doesn't open says so without a byte of content, and the record says that it did not open."""
    before = len(await world.events("OpenFailed"))
    answer = await alice.get(path)
    assert answer.status_code == 500, path
    assert "canary" not in answer.text, path
    failed = await world.events("OpenFailed")
    assert len(failed) == before + 1, path
    assert failed[-1].detail["reason"] == "ContentDamaged"


async def test_nothing_opens_in_anothers_place(world: World) -> None:
    """Heading, rendition, content, part and grant moved between any two rows fail: on record, and without a byte."""
    alice, first, both = await two(world)
    one, other = both
    original = await dump(world)
    heads = {row["id"]: row for row in await rows(world, messages)}
    keep = heads[one.message_id]
    moves: list[tuple[Any, dict[str, Any], dict[str, Any], list[str]]] = []
    swap = heads[other.message_id]
    moves.append(
        (
            messages,
            {"heading_sealed": swap["heading_sealed"]},
            {"heading_sealed": keep["heading_sealed"]},
            ["", "/reply"],
        )
    )
    moves.append((messages, {"blob_key": swap["blob_key"]}, {"blob_key": keep["blob_key"]}, ["/original.eml"]))
    for table, values, back, pages in moves:
        await put(world, table, values, id=one.message_id)
        for page in pages:
            await refused(world, alice, first + page)
        await put(world, table, back, id=one.message_id)
    sealed = {row["message_id"]: row["sealed"] for row in await rows(world, renditions)}
    await put(world, renditions, {"sealed": sealed[other.message_id]}, message_id=one.message_id)
    for page in ("", "/body", "/print", "/parts/1"):
        await refused(world, alice, first + page)
    await put(world, renditions, {"sealed": sealed[one.message_id]}, message_id=one.message_id)
    kept = {(row["message_id"], row["part_id"]): row["blob_key"] for row in await rows(world, parts)}
    for elsewhere in ((other.message_id, "1"), (one.message_id, "2")):
        await put(world, parts, {"blob_key": kept[elsewhere]}, message_id=one.message_id, part_id="1")
        await refused(world, alice, f"{first}/parts/1")
    await put(world, parts, {"blob_key": kept[one.message_id, "1"]}, message_id=one.message_id, part_id="1")
    wraps = {row["reader_id"]: row for row in await rows(world, grants)}
    await put(world, grants, {"wrapped": wraps[other.id]["wrapped"]}, reader_id=one.id)
    await refused(world, alice, first)
    await refused(world, alice, f"{first}/original.eml")
    assert (await alice.get("/inbox")).status_code == 200
    await put(world, grants, {"wrapped": wraps[one.id]["wrapped"]}, reader_id=one.id)
    assert {name: found for name, found in (await dump(world)).items() if name != "deliveries"} == {
        name: found for name, found in original.items() if name != "deliveries"
    }
    assert "First canary" in (await alice.get(first)).text


async def test_bobs_grant_does_not_open_for_alice(world: World) -> None:
    """The grant of one recipient put in the place of another's opens nothing: it is bound to its delivery."""
    alice, message = await opened(world, to=(ALICE, BOB))
    mine, bobs = await rows(world, grants)
    hers, his = (mine, bobs) if mine["reader_id"] in message else (bobs, mine)
    await put(world, grants, {"wrapped": his["wrapped"], "epoch_id": his["epoch_id"]}, reader_id=hers["reader_id"])
    await refused(world, alice, message)


async def take(site: Any, reader: Any, delivery_id: str, got: bytearray) -> None:
    download = await site.reading.attachment(reader, delivery_id, "1")
    async for piece in download.pieces:
        got += piece


async def test_a_damaged_blob_gives_nothing_from_the_damage_on(world: World, folder: Path) -> None:
    """Truncated, flipped, grown, swapped or lost: the download fails, on record, and only whole pieces went before."""
    content = bytes(range(256)) * 4_000
    alice, message = await opened(world, letter(attachments=[("a.bin", "application/octet-stream", content)]))
    await alice.get(message)
    [row] = await rows(world, parts)
    path = blob(folder, row["blob_key"])
    sound = path.read_bytes()
    site = world.house.site()
    reader, _ = await reader_of(site, alice)
    delivery_id = (await all_deliveries(world))[0].id
    damages = {
        "cut at a chunk": sound[: 56 + 16_400 * 3],
        "cut": sound[:-1],
        "cut to its head": sound[:56],
        "emptied": b"",
        "grown": sound + b"x",
        "header flipped": bytes([sound[0] ^ 1]) + sound[1:],
        "middle flipped": sound[:600_000] + bytes([sound[600_000] ^ 1]) + sound[600_001:],
    }
    for number, (name, damaged) in enumerate(damages.items(), 1):
        path.write_bytes(damaged)
        got = bytearray()
        with pytest.raises(ContentDamaged):
            await take(site, reader, delivery_id, got)
        assert content.startswith(got), name
        assert len(got) < 600_000, name
        assert len(await world.events("OpenFailed")) == number, name
    path.unlink()
    await refused(world, alice, f"{message}/parts/1")
    path.write_bytes(sound)
    assert (await alice.get(f"{message}/parts/1")).content == content


async def test_without_keys_nothing_opens_and_it_is_said_to_come_back(world: World, folder: Path) -> None:
    """Keys that are away give 503 with Retry-After and no plaintext, in the inbox too; when they are back, all opens."""
    alice, message = await opened(world)
    world.clock.forward(minutes=6)  # beyond what is kept in memory
    keys, away = folder / "keys" / "orgs", folder / "keys" / "away"
    keys.rename(away)
    try:
        for path in (message, f"{message}/original.eml", "/inbox"):
            answer = await alice.get(path)
            assert answer.status_code == 503, path
            assert int(answer.headers["retry-after"]) > 0
            assert "canary" not in answer.text
    finally:
        away.rename(keys)
    assert "canary" in (await alice.get(f"{message}/body")).text
    assert {one.detail["reason"] for one in await world.events("OpenFailed")} == {"KeysAway"}


async def test_a_view_that_cannot_be_recorded_is_not_given(world: World) -> None:
    """When the database refuses the audit row, no plaintext goes out and no key is unwrapped."""
    alice, message = await opened(world)
    assert (await alice.get(message)).status_code == 200
    csrf = alice.csrf
    for kind, pages in {
        "MessageOpened": ("", "/body", "/print", "/reply"), "OriginalDownloaded": ("/original.eml",),
        "AttachmentOpened": ("/parts/1",), "InboxListed": ("inbox",), "InboxSearched": ("search",),
    }.items():  # fmt: skip
        await refuse_audit(world, kind)
        for page in pages:
            if page == "search":
                answer = await alice.post("/inbox/search", {"words": "canary", "csrf": csrf})
            else:
                answer = await alice.get("/inbox" if page == "inbox" else message + page)
            assert answer.status_code == 503, page
            assert "canary" not in answer.text
            assert "Your results" not in answer.text
        await run(
            world, "DROP TRIGGER refuse" + ("" if "sqlite" in world.house.settings.database_url else " ON audit_events")
        )
        if "sqlite" not in world.house.settings.database_url:
            await run(world, "DROP FUNCTION refuse")


async def test_a_message_that_cannot_be_parsed_is_kept_and_said_to_be(world: World) -> None:
    """Headers beyond every limit: the page says it can't be shown, and the original downloads byte for byte."""
    hostile = b"Subject: odd\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(300)) + b"\r\nbody\r\n"
    alice, message = await opened(world, hostile)
    page = await alice.get(message)
    assert page.status_code == 200
    assert "download the original" in page.text
    assert (await alice.get(f"{message}/original.eml")).content == hostile
    empty = world.browser()
    nothing = await empty.sign_in(await world.announce(b""))
    assert (await empty.get(nothing)).status_code == 200
    assert (await empty.get(f"{nothing}/original.eml")).content == b""


async def test_the_inbox_shows_pages_of_what_is_hers_and_names_each_in_one_event(world: World) -> None:
    """Twenty-five to a page, newest first, each opened once under one event; a foreign cursor shows nothing foreign."""
    alice, _ = await opened(world, letter("Message 0"), (ALICE, BOB))
    for number in range(1, 27):
        await world.deliver(letter(f"Message {number}", message_id=f"<{number}@clinic.example>"))
    first = await alice.get("/inbox")
    subjects = re.findall(r"Message (\d+)<", first.text)
    assert subjects == [str(number) for number in range(26, 1, -1)]
    [more] = re.findall(r'href="(/inbox\?before=[\w-]+)"', first.text)
    second = await alice.get(more)
    assert re.findall(r"Message (\d+)<", second.text) == ["1", "0"]
    events = await world.events("InboxListed")
    assert [len(one.detail["deliveries"]) for one in events] == [25, 2]
    everything = await alice.get(f"/inbox?before={'f' * 8}-ffff-7fff-bfff-{'f' * 12}")
    assert len(re.findall(r"Message (\d+)<", everything.text)) == 25
    assert (await alice.get("/inbox?before='%20OR%201=1")).status_code == 200


async def test_many_views_at_once_are_each_on_record(world: World) -> None:
    """Twenty requests side by side share commits, and each has its own line."""
    alice, message = await opened(world)
    answers = await asyncio.gather(*(alice.get(message) for _ in range(20)))
    assert {one.status_code for one in answers} == {200}
    assert len(await world.events("MessageOpened")) == 20


def test_a_house_gives_what_reads_to_web_and_worker_only() -> None:
    """The composition has one place that makes readers, and intake does not call it."""
    assert "epochs" not in House.intake.__code__.co_names


async def test_a_download_that_broke_off_goes_on_where_it_stopped(world: World) -> None:
    """Ranges of an attachment and of the original are the very bytes; each is a view on record; a revoked one gives none."""
    content = bytes(range(256)) * 400  # 100 KB: several sealed chunks
    token = await world.announce(letter(attachments=[("a.bin", "application/octet-stream", content)]))
    await prepared(world)
    alice = world.browser()
    message = await alice.sign_in(token)
    for path, kind in ((f"{message}/parts/1", "AttachmentOpened"), (f"{message}/original.eml", "OriginalDownloaded")):
        whole = await alice.http.get(path)
        assert (whole.status_code, whole.headers["accept-ranges"]) == (200, "bytes")
        tag, size = whole.headers["etag"], len(whole.content)
        before = len(await world.events(kind))
        cuts = [(0, 10), (16_000, 17_000), (size - 7, size), (0, size)]
        for start, stop in cuts:
            part = await alice.http.get(path, headers={"range": f"bytes={start}-{stop - 1}", "if-range": tag})
            assert part.status_code == 206
            assert part.content == whole.content[start:stop]
            assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
            assert part.headers["content-length"] == str(stop - start)
        assert len(await world.events(kind)) == before + len(cuts)
        other = await alice.http.get(path, headers={"range": "bytes=0-9", "if-range": '"of another file"'})
        assert (other.status_code, other.content) == (200, whole.content)
        beyond = await alice.http.get(path, headers={"range": f"bytes={size}-"})
        assert (beyond.status_code, beyond.headers["content-range"], beyond.content) == (416, f"bytes */{size}", b"")
    await world.operator().lifecycle.revoke((await all_deliveries(world))[0], By(Who.OPERATOR, "dora"), "wrong person")
    gone = await alice.http.get(f"{message}/parts/1", headers={"range": "bytes=0-9"})
    assert (gone.status_code, content[:10] in gone.content) == (410, False)
