"""The way back: from the recipient's form to the sender's mailbox, with nothing in clear on the way."""

import asyncio
import hashlib
import re
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from portal.db.tables import grants, outbox, replies, reply_files
from portal.lifecycle.end import Lifecycle
from portal.model.events import By, Who
from portal.reply.compose import MAX_DRAFTS
from tests.story.seams import all_deliveries, blobs, files_of, holding, prepared, rows
from tests.world import ALICE, BOB, CAROL, Browser, World, letter, named

pytestmark = pytest.mark.anyio

PDF = b"%PDF-1.7\n" + bytes(range(256)) * 3000


async def writing(world: World, mail: bytes | None = None) -> tuple[Browser, str, str]:
    """Alice at the page for a reply: her browser, the message's address and the draft's id."""
    token = await world.announce(mail or letter())
    await prepared(world)
    alice = world.browser()
    message = await alice.sign_in(token)
    return alice, message, await draft(alice, message)


async def draft(browser: Browser, message: str) -> str:
    await browser.get(f"{message}/reply")
    return browser.page.split('name="draft" value="')[1][:36]


async def put(browser: Browser, message: str, draft_id: str, name: str, content: Any) -> httpx2.Response:
    headers = {"x-csrf-token": browser.csrf, "content-type": "application/pdf", **named(name)}
    return await browser.http.put(f"{message}/reply/{draft_id}/files", content=content, headers=headers)


async def send(
    browser: Browser,
    message: str,
    draft_id: str,
    text: str = "Thank you!",
    files: list[tuple[str, bytes]] | None = None,
) -> httpx2.Response:
    fields: list[tuple[str, Any]] = [
        ("csrf", (None, browser.csrf)),
        ("draft", (None, draft_id)),
        ("text", (None, text)),
    ]
    fields += [("files", (name, content, "application/pdf")) for name, content in files or []]
    answer = await browser.http.post(f"{message}/reply", files=fields)
    if answer.status_code != 303:
        browser.page = answer.text
    return answer


async def test_a_reply_with_files_by_both_ways_reaches_the_sender_whole(world: World) -> None:
    """Files sent one by one and files sent with the form arrive byte for byte; the receipt names each with its SHA-256."""
    alice, message, draft_id = await writing(world)
    assert (await put(alice, message, draft_id, "första.pdf", PDF)).status_code == 201
    answer = await send(alice, message, draft_id, "Two files.", [("second.pdf", PDF[::-1]), ("", b"")])
    assert answer.status_code == 303
    receipt = await alice.get(answer.headers["location"])
    for content in (PDF, PDF[::-1]):
        assert hashlib.sha256(content).hexdigest() in receipt.text
    await world.worker.send_due()
    mail = world.mail_for(CAROL)
    assert [(one.get_filename(), one.get_content()) for one in mail.iter_attachments()] == [
        ("första.pdf", PDF), ("second.pdf", PDF[::-1]),
    ]  # fmt: skip
    page = await alice.get(message)
    assert "Two files." in page.text
    assert "Delivered to the sender" in page.text
    [row] = await rows(world, replies)
    assert row["state"] == "handed-over"
    taken = await alice.get(f"{message}/replies/{draft_id}/files/{(await rows(world, reply_files))[0]['id']}")
    assert taken.content == PDF
    assert [one.detail["reply_id"] for one in await world.events("AttachmentOpened")] == [draft_id]


async def test_the_answer_goes_back_into_the_thread_and_to_the_person(world: World) -> None:
    """From is the clinic's own address, Reply-To the recipient's; In-Reply-To and References name the message, however long its id."""
    long_id = f"<{'AM0PR04MB' * 10}@eurprd04.prod.outlook.example>"
    older = [f"<{'x' * 90}{number}@clinic.example>" for number in range(12)]
    mail = letter(message_id="<gone@clinic.example>").replace(
        b"Message-ID: <gone@clinic.example>",
        f"Message-ID: {long_id}\r\nReferences: {' '.join(older)[:7900]}".encode(),
    )
    alice, message, draft_id = await writing(world, mail)
    assert (await send(alice, message, draft_id)).status_code == 303
    await world.worker.send_due()
    answer = world.mail_for(CAROL)
    assert answer["In-Reply-To"] == long_id
    assert answer["References"].split() == [*older, long_id]
    raw = world.sink.messages[-1].raw
    assert b"=?" not in raw.split(b"\r\nReferences:")[1].split(b"From:")[0]
    assert max(map(len, raw.split(b"\r\n"))) < 998
    assert answer["From"].addresses[0].addr_spec == "portal@clinic.example"
    assert answer["Reply-To"].addresses[0].addr_spec == ALICE
    assert answer["To"].addresses[0].addr_spec == CAROL
    assert answer["Subject"] == "Re: Your results"
    assert answer["Message-ID"].startswith(f"<{draft_id}@")
    assert world.sink.messages[-1].mail_from == "portal@clinic.example"
    assert world.sink.messages[-1].tls


async def test_limits_hold_while_a_file_streams_in(world: World, folder: Path) -> None:
    """A file over the limit is refused as it comes, said or not said beforehand; what came of it is gone."""
    alice, message, draft_id = await writing(world)
    most, before = world.house.settings.max_reply_bytes, blobs(folder)
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while sent < 4 * most:
            sent += 1_000_000
            yield bytes(1_000_000)

    assert (await put(alice, message, draft_id, "endless.bin", endless())).status_code == 413
    assert sent < most + 3_000_000
    assert (await put(alice, message, draft_id, "said.bin", b"x" * (most + 1))).status_code == 413
    assert blobs(folder) == before
    assert await rows(world, reply_files) == []
    assert (await put(alice, message, draft_id, "small.bin", b"x")).status_code == 201


async def test_a_files_name_stands_in_no_address(world: World) -> None:
    """It comes in a header, in whatever letters and signs; what an address says is not read, and what is no name is refused."""
    alice, message, draft_id = await writing(world)
    name = "Befund (neu) – 'Müller' 100% 血液 *;.pdf"
    assert (await put(alice, message, draft_id, name, PDF)).status_code == 201
    url, csrf = f"{message}/reply/{draft_id}/files", {"x-csrf-token": alice.csrf}
    assert (await alice.http.put(f"{url}?name=hiv-test.pdf", content=PDF, headers=csrf)).status_code == 201
    for odd in (
        "attachment; filename*=UTF-8''a b.pdf", "attachment; filename*=latin-1''a", "inline",
        "attachment; filename*=UTF-8''" + "a" * 9000,
        "attachment" + "; x=y" * 10_000, "attachment; filename=a.pdf; filename*=UTF-8''b.pdf", 'attachment; filename="a',
    ):  # fmt: skip
        answer = await alice.http.put(url, content=PDF, headers={**csrf, "content-disposition": odd})
        assert answer.status_code == 422, odd
    assert (await send(alice, message, draft_id)).status_code == 303
    await world.worker.send_due()
    names = [part.get_filename() for part in world.mail_for(CAROL).iter_attachments()]
    assert (names[0], "hiv" in (names[1] or ""), len(names)) == ("Befund (neu) – 'Müller' 100 血液 ;.pdf", False, 2)


async def test_a_reply_carries_so_many_files_and_no_more(world: World, folder: Path) -> None:
    """The file after the last one allowed is refused by both ways, and the page says so beside what was typed."""
    alice, message, draft_id = await writing(world)
    for number in range(world.house.settings.max_reply_files):
        assert (await put(alice, message, draft_id, f"{number}.txt", b"x")).status_code == 201
    kept = blobs(folder)
    assert (await put(alice, message, draft_id, "more.txt", b"x")).status_code == 409
    answer = await send(alice, message, draft_id, "what was typed", [("more.pdf", PDF)])
    assert answer.status_code == 409
    assert "what was typed" in answer.text
    assert blobs(folder) == kept
    assert "ReplySubmitted" not in [one.kind for one in await world.events()]


async def test_no_file_is_spooled_in_clear(world: World, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a large file is sent, by form or by itself, no temporary file is made and no file has its words."""
    made: list[str] = []
    for name in ("SpooledTemporaryFile", "NamedTemporaryFile", "TemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, lambda *_, name=name, **__: made.append(name))
    before = files_of(Path(tempfile.gettempdir()))
    alice, message, draft_id = await writing(world)
    content = b"%PDF-1.7\n" + b"Canary-In-A-File " * 200_000
    assert (await put(alice, message, draft_id, "a.pdf", content)).status_code == 201
    assert (await send(alice, message, draft_id, "x", [("b.pdf", content)])).status_code == 303
    assert made == []
    assert files_of(Path(tempfile.gettempdir())) == before
    assert holding(folder, b"Canary-In-A-File") == []


async def test_nothing_typed_becomes_a_header(world: World) -> None:
    """CR, LF, NUL and encoded words in subject, names and text bring no field into the mail to the sender."""
    subject = "=?utf-8?q?Hi=0d=0aBcc:_mallory=40evil.example?="
    mail = letter().replace(b"Subject: Your results", f"Subject: {subject}".encode())
    alice, message, draft_id = await writing(world, mail)
    names = [
        "a\r\nBcc: mallory@evil.example.pdf",
        "=?utf-8?q?a=0d=0aBcc:_b?=.pdf",
        'x"; name="y\x00.pdf',
        "\u202efdp.exe",
    ]
    for name in names:
        assert (await put(alice, message, draft_id, name, PDF)).status_code == 201
    text = "Bcc: mallory@evil.example\r\n\r\n.\r\nMAIL FROM:<mallory@evil.example>"
    assert (await send(alice, message, draft_id, text)).status_code == 303
    await world.worker.send_due()
    raw, parsed = world.sink.messages[-1].raw, world.mail_for(CAROL)
    assert sorted(parsed.keys()) == sorted(
        [
            "From",
            "Reply-To",
            "To",
            "Subject",
            "Date",
            "Message-ID",
            "In-Reply-To",
            "References",
            "MIME-Version",
            "Content-Type",
        ]
    )
    assert world.sink.messages[-1].rcpt_to == (CAROL,)
    assert b"\nbcc:" not in raw.split(b"\r\n\r\n", 1)[0].lower()
    for part in parsed.iter_attachments():
        assert not re.search(r"[\x00-\x1f\"\u202e]", part.get_filename() or "")
        assert set(part.keys()) <= {"Content-Type", "Content-Transfer-Encoding", "Content-Disposition", "MIME-Version"}
    assert text.replace("\r\n", "\n") in world.text_for(CAROL).replace("\r\n", "\n")


async def test_what_cannot_be_sent_is_said_and_nothing_typed_is_lost(world: World) -> None:
    """Empty replies, controls and too much text are refused with a page that still has the words."""
    alice, message, draft_id = await writing(world)
    answer = await send(alice, message, draft_id, "")
    for text in ("  \r\n ", "a\x00b", "a\x07b", "x" * 100_001):
        assert answer.status_code == 422
        answer = await send(alice, message, draft_id, text)
        assert answer.status_code == 422, text[:9]
        assert 'id="text"' in answer.text
    assert "x" * 1000 in answer.text
    assert await rows(world, outbox, kind="reply") == []
    assert (await send(alice, message, draft_id, "At last.")).status_code == 303


async def test_a_draft_is_its_writers_alone(world: World) -> None:
    """Bob, who has the same message, can neither add to, see, empty nor send Alice's draft."""
    token = await world.announce(to=(ALICE, BOB))
    alice, bob = world.browser(), world.browser()
    message, bobs = await alice.sign_in(token), await bob.sign_in(world.token_for(BOB), BOB)
    draft_id = await draft(alice, message)
    href = (await put(alice, message, draft_id, "mine.pdf", PDF)).headers["location"]
    await draft(bob, bobs)
    assert (await put(bob, bobs, draft_id, "x.pdf", PDF)).status_code == 404
    assert (await send(bob, bobs, draft_id)).status_code == 404
    csrf = {"x-csrf-token": bob.csrf}
    for path in (href, href.replace(message, bobs)):
        assert (await bob.http.delete(path, headers=csrf)).status_code == 404
    assert len(await rows(world, reply_files)) == 1
    assert (await send(alice, message, draft_id)).status_code == 303


async def with_drafts(world: World) -> tuple[Browser, str, list[str]]:
    """Alice with as many drafts of a reply open as she may have, a file in each; where each file can be taken away."""
    alice, message, first = await writing(world)
    ids = [first, *[await draft(alice, message) for _ in range(MAX_DRAFTS - 1)]]
    put_away = [await put(alice, message, one, f"{at}.pdf", PDF) for at, one in enumerate(ids)]
    return alice, message, [answer.headers["location"] for answer in put_away]


TOO_MANY_DRAFTS = "so this one is not saved"


async def test_one_draft_too_many_is_refused_and_takes_nothing_away(world: World, folder: Path) -> None:
    """A file for one more draft is refused by both ways with what to do; the others keep theirs, and what was typed stays."""
    alice, message, hrefs = await with_drafts(world)
    more = await draft(alice, message)
    assert TOO_MANY_DRAFTS in alice.page
    kept, files = blobs(folder), await rows(world, reply_files)
    assert (await put(alice, message, more, "more.pdf", PDF)).status_code == 422
    answer = await send(alice, message, more, "what was typed", [("more.pdf", PDF)])
    assert answer.status_code == 422
    assert "what was typed" in answer.text
    assert TOO_MANY_DRAFTS in answer.text
    assert (blobs(folder), await rows(world, reply_files)) == (kept, files)
    assert len(await rows(world, replies, state="draft")) == MAX_DRAFTS
    assert (await put(alice, message, hrefs[0].split("/")[4], "second.pdf", PDF)).status_code == 201


async def test_words_alone_need_no_place_among_the_drafts(world: World) -> None:
    """However many drafts hold files, a reply without one is sent; a page that is shown or refused begins no draft."""
    alice, message, _ = await with_drafts(world)
    more = await draft(alice, message)
    assert (await send(alice, message, more, " ")).status_code == 422
    assert len(await rows(world, replies)) == MAX_DRAFTS
    assert (await send(alice, message, more, "Thank you!")).status_code == 303
    assert (await rows(world, replies, id=more))[0]["state"] == "queued"


@pytest.mark.parametrize("how", ["sent", "emptied", "forgotten"])
async def test_a_draft_that_is_over_makes_room_for_another(world: World, how: str) -> None:
    """Sending one, taking its files away, or the sweep a week after its last change: then one more can be begun."""
    alice, message, hrefs = await with_drafts(world)
    if how == "sent":
        assert (await send(alice, message, hrefs[0].split("/")[4])).status_code == 303
    elif how == "emptied":
        assert (await alice.http.delete(hrefs[0], headers={"x-csrf-token": alice.csrf})).status_code == 204
    else:
        world.clock.forward(days=7, seconds=1)
        await world.house.disposition().sweep()
        alice = world.browser()
        await alice.sign_in(await world.announce())
    more = await draft(alice, message)
    assert TOO_MANY_DRAFTS not in alice.page
    assert (await put(alice, message, more, "more.pdf", PDF)).status_code == 201


async def test_drafts_begun_at_once_keep_to_their_number(world: World, folder: Path) -> None:
    """Files for many drafts sent side by side begin as many as one after the other would; of the rest nothing is kept."""
    alice, message, _ = await writing(world)
    before = len(blobs(folder))
    got = await asyncio.gather(*(put(alice, message, str(uuid4()), f"{n}.pdf", PDF) for n in range(3 * MAX_DRAFTS)))
    answers = sorted(one.status_code for one in got)
    assert answers == [201] * MAX_DRAFTS + [422] * 2 * MAX_DRAFTS
    assert len(await rows(world, replies)) == len(await rows(world, reply_files)) == MAX_DRAFTS
    assert len(blobs(folder)) == before + MAX_DRAFTS


async def test_a_draft_sent_twice_goes_out_once(world: World) -> None:
    """Pressing twice, also at once, makes one reply; the second press finds no draft."""
    alice, message, draft_id = await writing(world)
    assert (await send(alice, message, draft_id)).status_code == 303
    assert (await send(alice, message, draft_id)).status_code == 404
    assert (await put(alice, message, draft_id, "late.pdf", PDF)).status_code == 404
    assert len(await rows(world, outbox, kind="reply")) == 1
    assert len(await world.events("ReplySubmitted")) == 1


async def test_a_file_that_is_taken_away_is_gone(world: World, folder: Path) -> None:
    """Removing a file, with or without a script, deletes its grants and its bytes, and keeps what was typed."""
    alice, message, draft_id = await writing(world)
    before = blobs(folder)
    first = (await put(alice, message, draft_id, "a.pdf", PDF)).headers["location"]
    second = (await put(alice, message, draft_id, "b.pdf", PDF)).headers["location"]
    assert (await alice.http.delete(first, headers={"x-csrf-token": alice.csrf})).status_code == 204
    fields = {"csrf": (None, alice.csrf), "draft": (None, draft_id), "text": (None, "half a sentence")}
    answer = await alice.http.post(second, files=fields)
    assert answer.status_code == 200
    assert "half a sentence" in answer.text
    assert blobs(folder) == before
    assert await rows(world, grants, reader="handover") == []


async def test_a_reply_to_what_was_taken_back_is_refused(world: World) -> None:
    """After a revoke nothing more is written: no page, no file, no reply; what was typed before stays unsent."""
    alice, message, draft_id = await writing(world)
    [one] = await all_deliveries(world)
    assert await Lifecycle(world.house.db, world.house.source).revoke(one, By(Who.OPERATOR, "dora"), "wrong person")
    assert (await alice.get(f"{message}/reply")).status_code == 410
    await alice.get("/")
    assert (await put(alice, message, draft_id, "a.pdf", PDF)).status_code == 410
    assert (await send(alice, message, draft_id)).status_code == 410
    assert await rows(world, outbox, kind="reply") == []
    assert "ReplySubmitted" not in [event.kind for event in await world.events()]


async def test_a_hand_over_is_tried_again_and_given_up_at_last(world: World) -> None:
    """A host that says later is asked again under the same Message-ID; one that says no ends the matter, and the thread says so."""
    alice, message, draft_id = await writing(world)
    assert (await send(alice, message, draft_id)).status_code == 303
    world.sink.refuse_with = "451 4.7.1 later"
    await world.worker.send_due()
    assert "On its way" in (await alice.get(message)).text
    world.sink.refuse_with = None
    world.clock.forward(minutes=1)
    await world.worker.send_due()
    assert world.mail_for(CAROL)["Message-ID"].startswith(f"<{draft_id}@")
    assert len(await world.events("ReplyOpened")) == 2
    assert [row["reader"] for row in await rows(world, grants, container_id=draft_id)] == ["delivery"]
    again = await draft(alice, message)
    assert (await send(alice, message, again)).status_code == 303
    world.sink.refuse_with = "550 5.1.1 no such user"
    await world.worker.send_due()
    assert len(await world.events("ReplyFailed")) == 1
    assert "Not delivered yet" in (await alice.get(message)).text
    assert (await rows(world, replies, id=again))[0]["state"] == "failed"


async def test_a_class_without_replies_takes_none(world: World) -> None:
    """Where the policy takes no reply there is no button, no page, and no way around."""
    from portal.model.policy import Policy
    from portal.orgs.classes import Classes

    classes = Classes(world.house.db, world.house.source, By(Who.OPERATOR, "dora"))
    await classes.set(world.northside.id, Policy("", world.northside.id, "default", 0, reply_allowed=False))  # type: ignore[arg-type]
    token = await world.announce()
    alice = world.browser()
    message = await alice.sign_in(token)
    assert "/reply" not in (await alice.get(message)).text
    assert (await alice.get(f"{message}/reply")).status_code == 404
    await alice.get("/")
    assert (await put(alice, message, str(uuid4()), "a.pdf", PDF)).status_code == 404
    assert (await send(alice, message, str(uuid4()))).status_code == 404


async def test_what_is_no_form_is_refused(world: World) -> None:
    """Bodies that are no multipart form, or never end, make no reply and no error of ours."""
    alice, message, _ = await writing(world)
    path, csrf = f"{message}/reply", alice.csrf
    kinds = ["text/plain", "multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=x"]
    for kind in kinds:
        for body in (
            b"",
            b"--x",
            b"--x\r\n\r\n",
            b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n",
            b"\x00" * 9000,
        ):
            answer = await alice.http.post(path, content=body, headers={"content-type": kind, "x-csrf-token": csrf})
            assert answer.status_code in (403, 404, 422), (kind, body[:20])
    assert await rows(world, outbox, kind="reply") == []
