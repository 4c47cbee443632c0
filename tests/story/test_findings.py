"""What Mallory found once: each of these attacks worked, and must never work again."""

import asyncio
import base64
import contextlib
import os
import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from sqlalchemy import text

from portal.audit.export import Export
from portal.db import deliveries
from portal.db.audit import Filter
from portal.lifecycle.end import WORKER, Lifecycle
from portal.mime.report import read_report
from portal.model.errors import MailLoop, PortalError, RecipientRefused, StorageAway
from portal.model.events import By, Who
from portal.model.ids import BlobKey, MessageId
from portal.model.links import reference as make_reference
from portal.model.parties import domain_name
from portal.serve import running
from portal.signin.sessions import Sessions, reader
from tests.world import ALICE, BASE, BOB, Browser, World, letter, settings_for
from tests.world import world as open_world

pytestmark = pytest.mark.anyio


async def reply_form(browser: Browser, message: str, draft: str, words: str = "Thank you!") -> Any:
    await browser.get(f"{message}/reply")
    form = {"csrf": (None, browser.csrf), "draft": (None, draft), "text": (None, words)}
    return await browser.http.post(f"{message}/reply", files=form)


def draft_of(browser: Browser) -> str:
    return browser.page.split('name="draft" value="')[1][:36]


async def test_a_draft_named_like_a_delivery_destroys_no_grant(world: World) -> None:
    """A reply whose id Mallory chose to be Bob's delivery leaves Bob's message readable."""
    await world.deliver(to=(ALICE, BOB))
    await world.worker.send_due()
    bob, alice = world.browser(), world.browser()
    bobs = await bob.sign_in(world.token_for(BOB), BOB)
    mine = await alice.sign_in(world.token_for(ALICE), ALICE)
    assert (await bob.get(bobs)).status_code == 200
    sent = await reply_form(alice, mine, bobs.rsplit("/", 1)[1])
    await world.worker.send_due()
    assert sent.status_code in (303, 404, 422)
    assert (await bob.get(bobs)).status_code == 200


async def test_a_subject_that_the_mail_library_chokes_on_stops_no_worker(world: World) -> None:
    """A reply that can't be built fails by itself; the worker's turn goes on."""
    bad = base64.b64encode("é=?unknown-8bit?q?=ff?=x".encode()).decode()
    mail = letter().replace(b"Subject: Your results", f"Subject: =?utf-8?b?{bad}?=".encode())
    token = await world.announce(mail)
    alice = world.browser()
    message = await alice.sign_in(token)
    assert (await reply_form(alice, message, str(uuid4()))).status_code == 303
    await world.worker.send_due()


async def test_a_recipient_that_the_mail_library_chokes_on_is_refused(world: World) -> None:
    """An address that looks like an encoded word is refused at RCPT, before anything is built of it."""
    with pytest.raises(RecipientRefused):
        await world.deliver(to=("=?unknown-8bit?q?=ff?=é@patients.example",), smtp_utf8=True)


async def test_a_domain_of_another_spelling_is_not_taken_for_this_one(world: World) -> None:
    """IDNA 2003 turns ß into ss, which is another domain: such a recipient is refused or kept apart, never merged."""
    try:
        made = domain_name("straße.example")
    except ValueError:
        return
    assert made != "strasse.example"


async def test_a_mail_taken_by_the_host_is_not_sent_again_when_settling_fails(world: World) -> None:
    """A notice that went out, and could not be settled, is left to its lease: nobody is told twice within ten minutes."""
    await world.deliver()
    dispatch = world.worker._dispatch
    real, failures = dispatch.sent, [StorageAway("once")]

    async def sent(*given: Any) -> None:
        if failures:
            raise failures.pop()
        await real(*given)

    dispatch.sent = sent  # type: ignore[method-assign,assignment]
    with contextlib.suppress(PortalError):
        await world.worker.send_due()
    world.clock.forward(minutes=2)
    await world.worker.send_due()
    assert len(world.sink.messages) == 1


async def test_a_revoke_that_did_nothing_is_not_on_record(world: World) -> None:
    """When the delivery moved on meanwhile and is still readable, the log does not say it was revoked."""
    token = await world.announce()
    made = (await world.events("MessageAccepted"))[0]
    async with world.house.db.read() as tx:
        stale = (await deliveries.of_message(tx, MessageId(made.message_id or "")))[0]
    alice = world.browser()
    message = await alice.sign_in(token)
    await alice.get(message)
    life = Lifecycle(world.house.db, world.house.source)
    done = await life.revoke(stale, world.operator().by, "wrong person")
    gone = (await alice.get(message)).status_code == 410
    assert done == gone == bool(await world.events("DeliveryRevoked"))


async def test_an_extended_delivery_is_not_expired_by_a_stale_look(world: World) -> None:
    """An extension that commits between the worker's look and its write stands."""
    token = await world.announce()
    made = (await world.events("MessageAccepted"))[0]
    world.clock.forward(days=31)
    life = Lifecycle(world.house.db, world.house.source)
    async with world.house.db.read() as tx:
        due = await deliveries.past_their_end(tx, world.clock.now(), 10)
        assert [one.message_id for one in due] == [made.message_id]
    assert await life.extend(due[0], world.operator().by, world.clock.now() + timedelta(days=10))
    with contextlib.suppress(PortalError):
        await life.expire(due[0], WORKER)
    async with world.house.db.read() as tx:
        now = (await deliveries.of_message(tx, MessageId(made.message_id or "")))[0]
    assert now.state in ("noticed", "held")
    assert token


async def test_no_address_of_a_patient_is_on_record(world: World) -> None:
    """What a mail host says of a recipient is not kept word for word: it names them."""
    world.sink.refuse_with = f"550 5.1.1 <{ALICE}>: no such user"
    await world.deliver()
    await world.worker.send_due()
    assert await world.events("NoticeFailed")
    assert ALICE not in str(await world.events())
    async with world.house.db.read() as tx:
        assert ALICE not in str(await tx.rows(text("SELECT answer FROM outbox")))


async def test_one_damaged_heading_does_not_close_the_inbox(world: World) -> None:
    """A line that does not open is shown as such beside the others."""
    token = await world.announce()
    alice = world.browser()
    await alice.sign_in(token)
    async with world.house.db.bookkeeping() as tx:
        row = await tx.row(text("SELECT id, heading_sealed FROM messages"))
        assert row
        sealed = bytearray(row.heading_sealed)
        sealed[-1] ^= 1
        await tx.change(text("UPDATE messages SET heading_sealed = :s").bindparams(s=bytes(sealed)))
    assert (await alice.get("/inbox")).status_code == 200


async def test_content_that_does_not_open_is_on_record(world: World) -> None:
    """`OpenFailed` follows an opening after which the content turned out to be damaged."""
    token = await world.announce()
    alice = world.browser()
    message = await alice.sign_in(token)
    await alice.get(message)
    async with world.house.db.bookkeeping() as tx:
        row = await tx.row(text("SELECT sealed FROM renditions"))
        assert row
        sealed = bytearray(row.sealed)
        sealed[-1] ^= 1
        await tx.change(text("UPDATE renditions SET sealed = :s").bindparams(s=bytes(sealed)))
    assert (await alice.get(message)).status_code == 500
    assert await world.events("OpenFailed")


async def test_a_denied_reply_is_on_record(world: World) -> None:
    """Asking to answer another's message is refused, and the refusal is on record as for reading it."""
    await world.deliver(to=(ALICE, BOB))
    await world.worker.send_due()
    bob, alice = world.browser(), world.browser()
    bobs = await bob.sign_in(world.token_for(BOB), BOB)
    await alice.sign_in(world.token_for(ALICE), ALICE)
    assert (await alice.get(f"{bobs}/reply")).status_code == 404
    assert await world.events("ReadDenied")


async def test_files_sent_at_once_keep_to_the_limit(world: World) -> None:
    """Uploads side by side can't together go over what one reply may carry."""
    token = await world.announce()
    alice = world.browser()
    message = await alice.sign_in(token)
    await alice.get(f"{message}/reply")
    draft, most = draft_of(alice), world.house.settings.max_reply_files
    headers = {"x-csrf-token": alice.csrf}
    url = f"{message}/reply/{draft}/files"
    await alice.http.put(url, content=b"x", headers=headers)

    async def one() -> int:
        return (await alice.http.put(url, content=b"x", headers=headers)).status_code

    got = await asyncio.gather(*(one() for _ in range(most + 10)))
    assert got.count(201) <= most - 1, got


async def test_a_file_that_comes_after_the_reply_was_sent_is_refused(world: World) -> None:
    """An upload that ends after `submit` is told so: it is in no mail."""
    token = await world.announce()
    alice = world.browser()
    message = await alice.sign_in(token)
    await alice.get(f"{message}/reply")
    draft, csrf = draft_of(alice), alice.csrf
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> Any:
        yield b"first"
        begun.set()
        await go_on.wait()
        yield b"last"

    headers = {"x-csrf-token": csrf}
    site_compose = _compose(world)
    reader, delivery = await _reader(world, alice, message)
    upload = asyncio.create_task(site_compose.attach(reader, delivery, draft, "late.txt", "text/plain", slow()))
    await begun.wait()
    form = {"csrf": (None, csrf), "draft": (None, draft), "text": (None, "done")}
    assert (await alice.http.post(f"{message}/reply", files=form)).status_code == 303
    go_on.set()
    with pytest.raises(PortalError):
        await upload
    assert headers


async def test_a_file_removed_while_the_reply_is_sent_stops_no_worker(world: World) -> None:
    """A reply whose file is taken away at the moment it is submitted is sent with it or without it."""
    token = await world.announce()
    alice = world.browser()
    message = await alice.sign_in(token)
    for _ in range(15):
        await alice.get(f"{message}/reply")
        draft, csrf = draft_of(alice), alice.csrf
        headers = {"x-csrf-token": csrf}
        put = await alice.http.put(f"{message}/reply/{draft}/files", content=b"x", headers=headers)
        form = {"csrf": (None, csrf), "draft": (None, draft), "text": (None, "done")}
        await asyncio.gather(
            alice.http.post(f"{message}/reply", files=form),
            *(alice.http.request("DELETE", put.headers["location"], headers=headers) for _ in range(3)),
        )
        while await world.worker.send_due():
            pass
    submitted, handed = await world.events("ReplySubmitted"), await world.events("ReplyHandedOver")
    assert len(submitted) == len(handed)


async def test_a_form_of_many_fields_is_refused(world: World) -> None:
    """A form is held in memory: it has few fields, and they are small together."""
    token = await world.announce()
    alice = world.browser()
    message = await alice.sign_in(token)
    await alice.get(f"{message}/reply")
    form = {"csrf": (None, alice.csrf), "draft": (None, draft_of(alice)), "text": (None, "hello")}
    form |= {f"f{number}": (None, "x" * 400_000) for number in range(120)}
    assert (await alice.http.post(f"{message}/reply", files=form)).status_code in (413, 422)


async def test_being_asked_often_keeps_the_house_ready(world: World) -> None:
    """Probes side by side don't get in each other's way."""
    results = await asyncio.gather(*(world.house.not_ready() for _ in range(30)))
    assert not any(results), results


async def test_a_revoke_while_the_first_view_is_prepared_lets_nothing_out(world: World) -> None:
    """A message that takes seconds to prepare is looked at again before it is shown."""
    big = letter(attachments=[("a.bin", "application/octet-stream", os.urandom(1_200_000))])
    token = await world.announce(big)
    alice = world.browser()
    message = await alice.sign_in(token)
    renderer = world.house.renderer
    real = renderer.render

    async def slow(raw: Any, sink: Any, whose: str = "") -> Any:
        rendition = await real(raw, sink)
        async with world.house.db.read() as tx:
            made = (await deliveries.of_message(tx, MessageId(accepted)))[0]
        life = Lifecycle(world.house.db, world.house.source)
        assert await life.revoke(made, world.operator().by, "wrong person")
        world.clock.forward(seconds=5)
        return rendition

    accepted = (await world.events("MessageAccepted"))[0].message_id or ""
    renderer.render = slow  # type: ignore[method-assign]
    assert (await alice.get(message)).status_code == 410


async def test_a_page_links_to_no_other_site_for_an_odd_path(world: World) -> None:
    """A path that begins with two slashes does not become a link to another host."""
    page = await world.browser().http.get("https://portal.example//evil.example/x")
    assert 'href="//evil.example' not in page.text


def _compose(world: World) -> Any:
    return world.house.site().compose


async def _reader(world: World, browser: Browser, message: str) -> Any:
    cookie = browser.http.cookies.get("__Host-session")
    session = await Sessions(world.house.db, world.house.source).current(cookie)
    return reader(session, "192.0.2.7"), message.rsplit("/", 1)[1]


async def test_a_recipient_brings_no_line_into_a_notice(world: World) -> None:
    """An address that looks like an encoded line break is not decoded into one."""
    with pytest.raises(RecipientRefused):
        await world.deliver(to=("=?us-ascii?q?=0d=0abcc=3amallory=40evil.example=0d=0ax=3a?=@patients.example",))


async def test_a_hostile_report_takes_no_time(world: World) -> None:
    """A delivery report with absurd parameters is no report, and is seen to be none at once."""
    raw = b'Content-Type: multipart/report; a="' + b";" * 80_000 + b"\r\n\r\nhello\r\n"
    began = time.monotonic()
    read_report(raw)
    assert time.monotonic() - began < 1


async def test_strangers_add_little_to_the_record(world: World) -> None:
    """A door that never opens, pressed for ever, does not grow the record for ever."""
    mallory = world.browser()
    await mallory.get("/")
    csrf = mallory.csrf
    door = (await mallory.post("/", {"reference": make_reference(os.urandom(16))})).headers["location"]
    before = len(await world.events())
    for _ in range(40):
        await mallory.http.post(f"{door}/send", data={"csrf": csrf})
    assert len(await world.events()) - before <= 10


async def test_a_transfer_cut_off_while_the_disk_is_slow_leaves_nothing(world: World) -> None:
    """Abort after a cancelled write closes and removes the blob that was begun (blobs/__init__.py: it never raises)."""
    loop = asyncio.get_running_loop()
    writer = await world.house.blobs.create(BlobKey(world.house.source.new_id()))
    await writer.write(b"x" * 600_000)
    await asyncio.sleep(0.1)
    slow = [loop.run_in_executor(None, time.sleep, 0.2) for _ in range(40)]
    await writer.write(b"x" * 600_000)
    third = asyncio.create_task(writer.write(b"x" * 600_000))
    await asyncio.sleep(0.05)
    third.cancel()
    await asyncio.gather(third, return_exceptions=True)
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(writer.abort())), 5)
    await asyncio.gather(*slow)
    folder = Path(world.house.settings.blobs_url.removeprefix("file://"))
    assert list((folder / "incoming").iterdir()) == []


async def test_a_mail_loop_is_on_record(world: World) -> None:
    """Every refusal is on record, also the one that is made when the message is whole."""
    with pytest.raises(MailLoop):
        await world.deliver(b"Received: x\r\n" * 60 + letter())
    assert await world.events("SubmissionRefused")


async def test_a_line_without_its_grant_does_not_close_the_inbox(world: World) -> None:
    """A delivery whose grant is gone stands in the inbox without its heading."""
    token = await world.announce()
    alice = world.browser()
    await alice.sign_in(token)
    async with world.house.db.bookkeeping() as tx:
        await tx.change(text("DELETE FROM grants"))
    assert (await alice.get("/inbox")).status_code == 200


async def test_no_redirect_is_built_from_the_host_field(world: World) -> None:
    """Where a redirect leads does not depend on the request's Host."""
    answer = await world.browser().http.get("/inbox/", headers={"host": "evil.example"})
    assert "evil.example" not in answer.headers.get("location", "")


async def test_an_absurd_origin_disturbs_nobody(world: World) -> None:
    """What a proxy claims to be the client's address is cut to what the record holds."""
    transport = httpx2.ASGITransport(app=world.app, client=("6" * 100, 1))
    headers = {"user-agent": "Mozilla/5.0", "sec-fetch-site": "same-origin"}
    token = await world.announce()
    async with httpx2.AsyncClient(transport=transport, base_url=BASE, headers=headers) as odd:
        alice = world.browser()
        first, second = await asyncio.gather(odd.get(f"/m/{token}"), alice.get(f"/m/{token}"))
    assert (first.status_code, second.status_code) == (200, 200)


async def test_an_odd_part_is_simply_not_found(world: World) -> None:
    """A part id that no column can hold is not found, on either engine."""
    token = await world.announce()
    alice = world.browser()
    message = await alice.sign_in(token)
    assert (await alice.get(f"{message}/parts/%00")).status_code == 404


async def test_an_odd_id_within_anothers_message_is_on_record(world: World) -> None:
    """Asking with what is no id for a piece of another's message is denied and on record, and looks like one that never was."""
    await world.deliver(to=(ALICE, BOB))
    await world.worker.send_due()
    bob, alice = world.browser(), world.browser()
    bobs = await bob.sign_in(world.token_for(BOB), BOB)
    mine = await alice.sign_in(world.token_for(ALICE), ALICE)
    await alice.get(f"{mine}/reply")
    headers, never = {"x-csrf-token": alice.csrf}, f"/messages/{uuid4()}"
    form = {"csrf": (None, alice.csrf)}

    async def ask(message: str) -> list[Any]:
        odd = f"{message}/reply/odd/files"
        return [
            await alice.http.get(f"{message}/parts/odd"),
            await alice.http.get(f"{message}/replies/odd/files/odd"),
            await alice.http.get(f"{message}/replies/{uuid4()}/files/odd"),
            await alice.http.get(f"{message}/replies/odd"),
            await alice.http.put(odd, content=b"x", headers=headers),
            await alice.http.delete(f"{odd}/odd", headers=headers),
            await alice.http.post(f"{odd}/odd", files=form),
            await alice.http.post(f"{message}/reply", files=form),
        ]

    for message in (bobs, never):
        before = len(await world.events("ReadDenied"))
        assert [one.status_code for one in await ask(message)] == [404] * 8
        denied = (await world.events("ReadDenied"))[before:]
        assert [(one.detail, one.delivery_id) for one in denied] == [({"reason": "foreign"}, None)] * 8
    before = len(await world.events("ReadDenied"))
    assert [one.status_code for one in await ask(mine)] == [404] * 8
    assert len(await world.events("ReadDenied")) == before


async def test_behind_a_unix_socket_the_proxys_own_word_counts(tmp_path: Path, database_url: str) -> None:
    """Of X-Forwarded-For the last address is the one the proxy saw; those before it anybody can write."""
    async with open_world(tmp_path, database_url):
        pass  # makes keys and blobs
    await asyncio.to_thread(tmp_path.chmod, 0o750)
    sock = tmp_path / "portal.sock"
    settings = settings_for(tmp_path, database_url, 1, http_listen=f"unix:{sock}")
    async with running(settings, ["web"]) as portal:
        async with httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(uds=str(sock)), base_url="http://portal.example"
        ) as mallory:
            forged = {"sec-fetch-site": "same-origin", "x-forwarded-for": "198.51.100.66, 203.0.113.9"}
            page = (await mallory.get("/", headers=forged)).text
            csrf = re.search(r'name="csrf" value="([^"]+)"', page)
            cookie = "; ".join(f"{one.name}={one.value}" for one in mallory.cookies.jar)
            fields = {"csrf": csrf[1] if csrf else "", "reference": "K7QF-3MPD-9T"}
            await mallory.post("/", data=fields, headers={**forged, "cookie": cookie})
        lines = [
            one async for one in Export(portal.house.db, portal.house.source, By(Who.OPERATOR, "t")).lines(Filter())
        ]
        origins = {one.origin for one in lines if one.kind == "SignInFailed"}
    assert origins == {"203.0.113.9"}
