"""Telling people that something waits: at least once, not twice in ten minutes, and nothing of what it is."""

import asyncio
import re
from email import message_from_bytes, policy
from email.message import Message
from typing import Any, cast

import pytest

from portal.db.tables import deliveries, organisations, outbox
from portal.intake import Envelope
from portal.lifecycle.end import Lifecycle
from portal.model.errors import RecipientRefused, StorageAway, SubmissionFailed
from portal.model.events import By, Who
from portal.model.mails import LEASE
from portal.notify.dispatch import Dispatch
from tests.story.seams import all_deliveries, dump, prepared, put, rows, run
from tests.world import ALICE, BASE, BOB, CAROL, World, letter

pytestmark = pytest.mark.anyio


async def events(world: World, kind: str) -> int:
    return len(await world.events(kind))


def report(action: str = "failed", status: str = "5.1.1", final: str = f"rfc822; {ALICE}") -> bytes:
    """A delivery report as a mail host writes one, with the notice it returns."""
    return (
        b"From: MAILER-DAEMON@patients.example\r\nSubject: Undelivered\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/report; report-type=delivery-status; boundary="x"\r\n\r\n'
        b"--x\r\n\r\nWe could not deliver it.\r\n"
        b"--x\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.patients.example\r\n\r\n"
        + f"Final-Recipient: {final}\r\nAction: {action}\r\nStatus: {status}\r\n\r\n".encode()
        + b"--x\r\nContent-Type: text/rfc822-headers\r\n\r\nSubject: Canary\r\n\r\n--x--\r\n"
    )


async def come_back(world: World, mail: bytes, to: str) -> None:
    """A mail with the null sender comes in at an address."""
    await world.intake.check_sender(world.relay, "", "192.0.2.1")
    await world.intake.check_recipient(world.relay, "", to, "192.0.2.1")
    submission = await world.intake.begin(world.relay, Envelope("", (to,), "192.0.2.1"))
    await submission.write(mail)
    await submission.commit()


def return_path(world: World, who: str = ALICE) -> str:
    return next(one.mail_from for one in reversed(world.sink.messages) if who in one.rcpt_to)


# -- what a notice says


async def test_a_notice_says_who_wrote_and_where_to_read_and_nothing_more(world: World) -> None:
    """From the clinic's own address, with one link to the configured portal; no word of the message, no picture, nothing to run."""
    await world.announce(
        letter("Canary subject", "Canary text", "<p>Canary</p>", [("Canary.pdf", "application/pdf", b"x")])
    )
    caught, mail = world.sink.messages[-1], world.mail_for(ALICE)
    assert b"canary" not in caught.raw.lower()
    assert b"carol" not in caught.raw.lower()
    assert mail["From"].addresses[0].addr_spec == "portal@clinic.example"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert re.fullmatch(r"bounce\+[a-z2-7]{26}@portal\.example", caught.mail_from)
    assert caught.tls
    html = mail.get_body(("html",))
    assert html is not None
    for body in (world.text_for(ALICE), html.get_content()):
        assert {found.rstrip("/").split("/m/")[0] for found in re.findall(r"https?://[^\s\"<]+", body)} == {BASE}
    assert not re.search(r"<(img|script|iframe|link|form|object)\b", html.get_content(), re.IGNORECASE)
    assert list(mail.iter_attachments()) == []


async def test_a_notice_is_in_the_organisations_language(world: World) -> None:
    """A Spanish-speaking clinic tells its patients in Spanish, and a code comes in the language of the page that asked for it."""
    await put(world, organisations, {"language": "es"}, slug="northside")
    token = await world.announce()
    assert "tiene un mensaje para usted" in world.text_for(ALICE)
    alice = world.browser("es-MX,es;q=0.9")
    await alice.ask_code(token)
    await world.worker.send_due()
    assert "digo" in world.text_for(ALICE)
    assert 'lang="es"' in alice.page


# -- leases and tries


async def test_two_workers_send_each_notice_once(world: World) -> None:
    """Side by side on one outbox, each job is one worker's."""
    for number in range(12):
        await world.deliver(letter(message_id=f"<{number}@clinic.example>"))
    workers = [world.house.worker() for _ in range(3)]
    while sum(await asyncio.gather(*(one.send_due() for one in workers))):
        pass
    assert len(world.sink.messages) == 12
    assert await events(world, "NoticeSent") == 12


async def test_a_worker_that_dies_leaves_its_jobs_to_the_lease(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs taken and never settled are taken up again after ten minutes, and not before."""

    async def dies(*_: object) -> None:
        raise asyncio.CancelledError

    await world.deliver()
    with monkeypatch.context() as patch:
        patch.setattr(Dispatch, "send", dies)
        with pytest.raises(asyncio.CancelledError):
            await world.worker.send_due()
    other = world.house.worker()
    world.clock.forward(seconds=LEASE.total_seconds() - 1)
    assert await other.send_due() == 0
    world.clock.forward(seconds=2)
    assert await other.send_due() == 1
    assert len(world.sink.messages) == 1


async def test_a_notice_that_went_out_and_was_not_settled_waits_for_its_lease(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failed, but done: whether the host's answer was lost or the database's, nobody is notified twice within ten minutes."""

    async def away(*_: object) -> None:
        raise StorageAway("not now")

    async def lost(self: Any, *given: Any, **more: Any) -> Any:
        await submit(self, *given, **more)
        raise SubmissionFailed("no answer", transient=True, unclear=True)

    mailer = type(world.worker._dispatch._mailer)
    submit = mailer.submit
    for owner, name, failing in ((Dispatch, "sent", away), (mailer, "submit", lost)):
        world.sink.messages.clear()
        await world.deliver(letter(message_id=f"<{name}@clinic.example>"))
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, failing)
            await asyncio.gather(world.worker.send_due(), return_exceptions=True)
        assert len(world.sink.messages) == 1
        for _ in range(9):
            world.clock.forward(minutes=1)
            assert await world.worker.send_due() == 0
        world.clock.forward(minutes=2)
        assert await world.worker.send_due() == 1
        assert len(world.sink.messages) == 2
    assert {row["state"] for row in await rows(world, outbox)} == {"done"}


async def test_a_notice_refused_for_now_is_tried_again_ever_more_rarely(world: World) -> None:
    """The wait doubles from about 15 seconds to about an hour, and is never the same for all."""
    await world.deliver()
    world.sink.refuse_with = "451 4.7.1 greylisted"
    waits = []
    for _ in range(12):
        assert await world.worker.send_due() == 1
        [job] = await rows(world, outbox)
        wait = (job["due_at"] - world.clock.at).total_seconds()
        waits.append(wait)
        world.clock.forward(seconds=wait + 1)
    for wait, doubled in zip(waits, [15 * 2**n for n in range(8)] + [3600] * 4, strict=True):
        assert 0.74 * doubled <= wait <= 1.26 * doubled
    assert len({round(wait, 1) for wait in waits[8:]}) > 1
    world.sink.refuse_with = None
    await world.worker.send_due()
    assert await events(world, "NoticeSent") == 1


async def test_a_notice_given_up_is_on_record_and_its_sender_told(world: World) -> None:
    """Refused for good, or tried for two days: the sender gets a report (RFC 3464) that holds nothing of the message."""
    for answer, days in (("550 5.1.1 no such user", 0), ("451 4.7.1 later", 2)):
        world.sink.refuse_with = answer
        await world.deliver(letter("Canary subject", message_id=f"<{days}@clinic.example>"))
        await world.worker.send_due()
        if days:
            world.clock.forward(days=days, hours=1)
            await world.worker.send_due()
        world.sink.refuse_with = None
        world.clock.forward(hours=1)
        while await world.worker.send_due():
            pass
        assert world.sink.messages[-1].rcpt_to == (CAROL,)
        assert world.sink.messages[-1].mail_from == ""
    assert await events(world, "NoticeFailed") == 2
    assert [one.detail["about"] for one in await world.events("SenderTold")] == ["undelivered"] * 2
    mail = message_from_bytes(world.sink.messages[-1].raw, policy=policy.default)
    assert mail.get_content_type() == "multipart/report"
    assert mail.get_param("report-type") == "delivery-status"
    words, status, returned = mail.iter_parts()
    assert (returned.get_content_type(), returned.get_content()) == (
        "text/rfc822-headers",
        "Message-ID: <2@clinic.example>\r\n",
    )
    assert mail["In-Reply-To"] == "<2@clinic.example>"
    assert status.get_content_type() == "message/delivery-status"
    about, recipient = cast(list[Message], status.get_payload())
    assert about["Reporting-MTA"] == "dns; portal.example"
    assert (recipient["Action"], recipient["Status"]) == ("failed", "5.0.0")
    assert recipient["Final-Recipient"] == f"rfc822; {ALICE}"
    assert ALICE not in words.get_content()
    assert b"Canary" not in world.sink.messages[-1].raw
    assert all(row["notice_failed_at"] for row in await rows(world, deliveries))


async def test_nobody_is_told_of_what_ended_meanwhile(world: World) -> None:
    """A notice whose delivery was revoked or ran out before it was sent is dropped, without a word to anybody."""
    await world.deliver(to=(ALICE, BOB))
    one, other = await all_deliveries(world)
    life = Lifecycle(world.house.db, world.house.source)
    assert await life.revoke(one, By(Who.OPERATOR, "dora"), "wrong person")
    assert await life.expire(other, By(Who.OPERATOR, "dora"))
    await world.worker.send_due()
    assert list(world.sink.messages) == []
    assert {row["state"] for row in await rows(world, outbox)} == {"dropped"}
    assert {row["payload_sealed"] for row in await rows(world, outbox)} == {None}
    assert "NoticeSent" not in [event.kind for event in await world.events()]


async def test_what_a_mail_said_is_forgotten_once_it_is_settled(world: World) -> None:
    """A settled job keeps no payload: the link's token is in the mail, and nowhere else."""
    token = await world.announce()
    [job] = await rows(world, outbox)
    assert (job["state"], job["payload_sealed"], job["epoch_id"]) == ("done", None, None)
    assert token not in repr(await dump(world, without=()))


# -- what comes back


async def test_a_bounce_marks_the_delivery_and_tells_its_sender_once(world: World) -> None:
    """A failed report to the notice's return path is on record each time it comes, and the sender is told the first time."""
    await world.announce()
    back = return_path(world)
    await come_back(world, report(), back)
    await come_back(world, report(), back.upper())
    while await world.worker.send_due():
        pass
    assert [one.detail for one in await world.events("NoticeBounced")] == [{"action": "failed", "status": "5.1.1"}] * 2
    assert [one.rcpt_to for one in world.sink.messages] == [(ALICE,), (CAROL,)]
    assert (await rows(world, deliveries))[0]["bounced_at"] is not None
    assert "Canary" not in repr(await dump(world, without=()))


async def test_what_is_no_failure_marks_nothing(world: World) -> None:
    """Delayed, relayed and delivered are news; an automatic answer, a forged or broken report is on record; nothing is kept of any."""
    await world.announce()
    await prepared(world)
    back = return_path(world)
    others = [report(action) for action in ("delayed", "relayed", "delivered", "expanded", "", "failed!")]
    others += [
        b"Subject: I am away\r\nAuto-Submitted: auto-replied\r\n\r\nCanary\r\n",
        b"Content-Type: multipart/report; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\nAction: failed\r\n--x--\r\n",
        b"",
        b"\xff" * 1000,
        b'Content-Type: multipart/report; a="' + b";" * 60_000 + b"\r\n\r\n",
    ]
    before = await dump(world)
    for mail in others:
        await come_back(world, mail, back)
    assert await dump(world) == before
    said = [one.detail for one in await world.events("NoticeAnswered")]
    news = [f"report: {action}" for action in ("delayed", "relayed", "delivered", "expanded")]
    assert [one["what"] for one in said] == [*news, "automatic", "report: failed!", *["automatic"] * 5]
    assert not any(one["pointed"] for one in said)
    assert "Canary" not in repr(await dump(world, without=()))


async def test_a_bounce_with_a_made_up_token_or_without_one_marks_nothing(world: World) -> None:
    """A guessed token names nothing, and no report reaches a person; whose relay brings it does not matter (test_returned.py)."""
    await world.announce()
    back = return_path(world)
    made_up = "bounce+" + "a" * 26 + "@portal.example"
    for to in (made_up, ALICE):
        with pytest.raises(RecipientRefused):
            await come_back(world, report(), to)
    assert await events(world, "NoticeBounced") == 0
    assert (await rows(world, deliveries))[0]["bounced_at"] is None
    await world.deliver(to=(back,))  # whoever sends there himself has sent no report
    assert [one.detail["what"] for one in await world.events("NoticeAnswered")] == ["answer"]
    assert len(await rows(world, deliveries)) == 1


# -- reminders


async def test_a_reminder_goes_out_once_to_who_has_not_read(world: World) -> None:
    """Five days before its end Alice, who has not read, is reminded, once; Bob, who has, is not."""
    await world.deliver(to=(ALICE, BOB))
    await world.worker.send_due()
    bobs = world.browser()
    message = await bobs.sign_in(world.token_for(BOB), BOB)
    await bobs.get(message)
    world.sink.messages.clear()
    reminders = world.worker._reminders
    world.clock.forward(days=24)
    assert await reminders.queue_due() == 0
    world.clock.forward(days=1, minutes=1)
    for _ in range(3):
        await asyncio.gather(reminders.queue_due(), world.house.worker()._reminders.queue_due())
        await world.worker.send_due()
    assert [one.rcpt_to for one in world.sink.messages] == [(ALICE,)]
    assert "Northside Clinic" in str(world.mail_for(ALICE)["Subject"])
    assert [one.detail["reminder"] for one in await world.events("NoticeSent")] == [False, False, True]
    alice = world.browser()
    assert (await alice.get(await alice.sign_in(world.token_for(ALICE)))).status_code == 200


async def test_a_reminder_that_was_overtaken_is_not_sent(world: World) -> None:
    """Who opens the message between the queueing and the sending of the reminder gets none."""
    token = await world.announce()
    world.clock.forward(days=25, minutes=1)
    assert await world.worker._reminders.queue_due() == 1
    alice = world.browser()
    await run(world, f"UPDATE outbox SET due_at = due_at + {60 * 10**6} WHERE kind = 'reminder'")
    await alice.get(await alice.sign_in(token))
    world.sink.messages.clear()
    world.clock.forward(minutes=2)
    await world.worker.send_due()
    assert list(world.sink.messages) == []
    assert [row["state"] for row in await rows(world, outbox, kind="reminder")] == ["dropped"]
