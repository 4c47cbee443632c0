"""What becomes of mail that comes back, and what a sender hears of a message: reports, receipts, and a person's answer by mail."""

from email import message_from_bytes
from email.message import EmailMessage, Message
from typing import cast

import pytest

from portal.db.tables import deliveries, outbox, reports
from portal.lifecycle.end import WORKER, Lifecycle
from portal.model.errors import RecipientRefused, SenderNotYours
from portal.model.events import By, Who
from portal.model.ids import PolicyId
from portal.model.policy import Policy
from portal.model.reports import AskedOfOne
from portal.model.staff import Role
from portal.orgs.classes import Classes
from tests.authenticator import Authenticator
from tests.story.seams import all_deliveries, dump, rows
from tests.story.staff import desk
from tests.story.test_returned import bounce
from tests.story.ways import add_passkey
from tests.world import ALICE, BOB, CAROL, World, letter

pytestmark = pytest.mark.anyio

ANSWER = f"From: {ALICE}\r\nTo: x\r\nSubject: Re: canary\r\nMessage-ID: <9@patients.example>\r\n\r\nCanary\r\n"


async def drain(world: World) -> None:
    while await world.worker.send_due():
        pass


def reply_path(world: World, who: str = ALICE) -> str:
    return str(world.mail_for(who)["Reply-To"])


def to_carol(world: World) -> list[EmailMessage]:
    return [world.read(one) for one in world.sink.messages if CAROL in one.rcpt_to]


def fields_of(mail: EmailMessage) -> dict[str, str]:
    """The machine-readable fields of a report, of all its blocks."""
    part = next(one for one in mail.walk() if one.get_content_type().startswith("message/"))
    blocks = cast(list[Message], part.get_payload())
    return {name: str(value) for block in blocks for name, value in block.items()} or dict(
        message_from_bytes(cast(str, part.get_payload()).encode()).items()
    )


# -- a person's answer, and a machine's


async def test_a_person_who_answers_a_notice_is_told_where_answers_are_read(world: World) -> None:
    """Once a day, at the address of the notice and in its thread: nothing of what she wrote is kept. Back again, it ends."""
    await world.announce()
    notice, path = world.mail_for(ALICE), reply_path(world)
    for _ in range(2):
        await world.deliver(ANSWER.encode(), to=(path,), sender=ALICE)
        await drain(world)
    pointer = world.mail_for(ALICE)
    assert len(world.sink.messages) == 2
    assert world.sink.messages[-1].mail_from.startswith("bounce+")
    assert pointer["Auto-Submitted"] == "auto-replied"
    assert pointer["In-Reply-To"] == notice["Message-ID"]
    assert "https://portal.example/" in pointer.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert [one.detail for one in await world.events("NoticeAnswered")] == [
        {"what": "answer", "pointed": True},
        {"what": "answer", "pointed": False},
    ]
    world.clock.forward(days=1, minutes=1)
    await world.deliver(ANSWER.encode(), to=(str(notice["Reply-To"]),), sender=ALICE)
    await drain(world)
    assert len(world.sink.messages) == 3
    await bounce(world, world.sink.messages[-1].mail_from)
    await drain(world)
    assert len(world.sink.messages) == 3
    assert (await world.events("PersonNotTold"))[-1].detail == {"about": "pointer", "reason": "bounced 5.1.1"}
    assert "anary" not in repr(await dump(world, without=()))


async def test_nobody_but_the_notices_own_recipient_is_written_to(world: World) -> None:
    """A stranger with the token, a machine, the null sender, mail of ours that comes round: taken, on record, never answered."""
    await world.announce()
    path = reply_path(world)
    others = {
        "mallory@evil.example": ANSWER,
        BOB: ANSWER,
        "": ANSWER,
        "mailer-daemon@patients.example": ANSWER,
        "list-request@patients.example": ANSWER,
        ALICE: "Auto-Submitted: auto-replied\r\n" + ANSWER,
        "alice@PATIENTS.example": ANSWER.replace("<9@patients.example>", "<9@portal.example>"),
    }
    for sender, mail in others.items():
        await world.deliver(mail.encode(), to=(path,), sender=sender)
    await world.deliver(b"Received: x\r\n" * 51 + ANSWER.encode(), to=(path,), sender=ALICE)
    await drain(world)
    assert len(world.sink.messages) == 1
    said = [one.detail["what"] for one in await world.events("NoticeAnswered")]
    assert said == ["answer", "answer", "automatic", "automatic", "automatic", "automatic", "loop", "loop"]
    assert await world.events("NoticeBounced") == []


async def test_who_may_answer_a_notice_can_forge_no_bounce_of_it(world: World) -> None:
    """The token of the Reply-To is none of a return path, and a report to it marks nothing. Nor is a return path answered."""
    await world.announce()
    path, back = reply_path(world), world.sink.messages[-1].mail_from
    reply, bounced = (one.partition("@")[0].partition("+")[2] for one in (path, back))
    assert reply != bounced
    for forged in (f"bounce+{reply}@portal.example", f"reply+{bounced}@portal.example"):
        with pytest.raises(RecipientRefused):
            await bounce(world, forged)
    await bounce(world, path)
    await world.deliver(ANSWER.encode(), to=(back,), sender=ALICE)
    await drain(world)
    assert await world.events("NoticeBounced") == []
    assert [one.detail["what"] for one in await world.events("NoticeAnswered")] == ["report: failed", "answer"]
    assert len(world.sink.messages) == 1


async def test_at_the_portals_own_domain_there_are_its_paths_alone(world: World) -> None:
    """Another local part, a made-up token, and a stranger's mail to a person are refused at RCPT."""
    await world.announce()
    for to in ("portal@portal.example", "reply+@portal.example", "reply+" + "a" * 26 + "@portal.example"):
        with pytest.raises(RecipientRefused):
            await world.deliver(to=(to,))
    with pytest.raises(SenderNotYours):
        await world.deliver(to=(BOB,), sender=ALICE)
    await world.deliver(to=(reply_path(world), BOB))  # a sender means the person
    assert len(await all_deliveries(world)) == 2


# -- which mail came back


async def test_a_bounced_mail_about_ways_in_marks_no_delivery(world: World) -> None:
    """The token knows that it was no notice: the person was not told, and her message's sender hears nothing of it."""
    alice = world.browser()
    await alice.sign_in(await world.announce())
    await add_passkey(alice, Authenticator())
    await drain(world)
    assert "passkey was added" in world.mail_for(ALICE).as_string()
    before = len(world.sink.messages)
    await bounce(world, world.sink.messages[-1].mail_from)
    await drain(world)
    assert len(world.sink.messages) == before
    assert [row["bounced_at"] for row in await rows(world, deliveries)] == [None]
    assert [one.detail for one in await world.events("PersonNotTold")] == [
        {"about": "changed", "reason": "bounced 5.1.1"}
    ]
    assert (await rows(world, outbox, kind="changed"))[0]["state"] == "failed"


async def test_staff_are_told_of_a_new_passkey_and_hang_on_no_delivery(world: World) -> None:
    """Where nothing was ever sent, too: the mail leads to the console, and its bounce is on record."""
    await desk(world, Role.AUDITOR, "erin@clinic.example")
    await drain(world)
    mail = world.mail_for("erin@clinic.example")
    assert "A passkey for the staff console of Northside Clinic was added" in mail.as_string()
    assert "https://portal.example/staff" in mail.as_string()
    assert "/m/" not in mail.as_string()
    [job] = await rows(world, outbox)
    assert (job["kind"], job["delivery_id"]) == ("changed", None)
    [told] = await world.events("PersonTold")
    assert (told.detail["staff"], told.delivery_id) == (job["subject_id"], None)
    await bounce(world, world.sink.messages[-1].mail_from)
    assert (await world.events("PersonNotTold"))[0].detail["staff"] == job["subject_id"]


# -- what the sender hears


async def test_a_bounce_reports_what_the_recipients_host_said(world: World) -> None:
    """The report names the recipient as the sender wrote her, the envelope by its id, the code of the host; and no subject."""
    asked = {ALICE: AskedOfOne(frozenset({"FAILURE"}), "rfc822;Alice@patients.example")}
    await world.announce(asked=asked, envid="4Xb+1")
    await bounce(world, world.sink.messages[-1].mail_from)
    await drain(world)
    [mail] = to_carol(world)
    said = fields_of(mail)
    assert said["Original-Envelope-Id"] == "4Xb+1"
    assert (said["Original-Recipient"], said["Final-Recipient"]) == (
        "rfc822;Alice@patients.example",
        f"rfc822; {ALICE}",
    )
    assert (said["Action"], said["Status"]) == ("failed", "5.1.1")
    assert mail["References"] == "<1@clinic.example>"
    assert "results" not in mail.as_string()


async def test_an_unread_end_is_a_report_unless_none_is_wanted(world: World) -> None:
    """Delivery time expired (5.4.7), as a mail program knows it. Who wants no reports gets the words alone: a human must know."""
    await world.announce(to=(ALICE, BOB), asked={BOB: AskedOfOne(frozenset({"NEVER"}))})
    for one in await all_deliveries(world):
        await Lifecycle(world.house.db, world.house.source).expire(one, WORKER)
    await drain(world)
    kinds = {mail.get_content_type(): mail for mail in to_carol(world)}
    assert set(kinds) == {"multipart/report", "multipart/alternative"}
    said = fields_of(kinds["multipart/report"])
    assert (said["Final-Recipient"], said["Action"], said["Status"]) == (f"rfc822; {ALICE}", "failed", "5.4.7")


async def test_success_is_told_to_who_asked_and_once(world: World) -> None:
    """NOTIFY=SUCCESS is answered when the notice has gone out, for that recipient alone, and not again with a reminder."""
    await world.announce(to=(ALICE, BOB), asked={ALICE: AskedOfOne(frozenset({"SUCCESS"}))})
    await drain(world)
    [mail] = to_carol(world)
    assert fields_of(mail)["Action"] == "delivered"
    assert fields_of(mail)["Final-Recipient"] == f"rfc822; {ALICE}"
    world.clock.forward(days=25, minutes=1)
    assert await world.worker._reminders.queue_due() == 2
    await drain(world)
    assert len(to_carol(world)) == 1
    assert {one.detail["about"] for one in await world.events("SenderTold")} == {"delivered"}


async def allow_receipts(world: World) -> None:
    wanted = Policy(PolicyId(""), world.northside.id, "default", 0, receipts=True)
    await Classes(world.house.db, world.house.source, By(Who.OPERATOR, "dora")).set(world.northside.id, wanted)


def asking(to: str = CAROL, more: bytes = b"") -> bytes:
    return f"Disposition-Notification-To: Carol <{to}>\r\n".encode() + more + letter()


async def test_a_read_receipt_is_sent_when_the_recipient_says_so(world: World) -> None:
    """Asked for, allowed by the class, pressed by Alice: one receipt (RFC 8098) to the sender, in the thread, with no content."""
    await allow_receipts(world)
    alice = world.browser()
    message = await alice.sign_in(await world.announce(asking()))
    await alice.get(message)
    assert "Send the receipt" in alice.page
    await drain(world)
    assert to_carol(world) == []
    for _ in range(2):
        assert (await alice.post(f"{message}/receipt")).status_code == 303
    assert "You sent the sender a receipt" in (await alice.get(message)).text
    await drain(world)
    [mail] = to_carol(world)
    assert (mail.get_content_type(), mail.get_param("report-type")) == ("multipart/report", "disposition-notification")
    said = fields_of(mail)
    assert said["Disposition"] == "manual-action/MDN-sent-manually; displayed"
    assert (said["Original-Message-ID"], said["Final-Recipient"]) == ("<1@clinic.example>", f"rfc822; {ALICE}")
    assert (world.sink.messages[-1].mail_from, "results" in mail.as_string()) == ("", False)
    assert len(await world.events("ReceiptGiven")) == 1


async def test_no_receipt_where_none_is_asked_or_allowed(world: World) -> None:
    """The class says no; the field names another than the sender, or two; an unknown option is required: nobody is asked."""
    assert await asked_for(world, asking()) is False
    await allow_receipts(world)
    for mail in (
        letter(),
        asking("mallory@evil.example"),
        asking(f"x@evil.example>, <{CAROL}"),
        asking(more=b"Disposition-Notification-To: x@evil.example\r\n"),
        asking(more=b"Disposition-Notification-Options: alpha=required,x\r\n"),
    ):
        assert await asked_for(world, mail) is False
    alice = world.browser()
    message = await alice.sign_in(await world.announce(asking(), queue_id="last"))
    assert (await alice.post(f"{message}/receipt")).status_code == 303
    assert await world.events("ReceiptGiven") == []  # she has not opened it


async def asked_for(world: World, mail: bytes) -> bool:
    await world.deliver(mail, queue_id=str(len(await rows(world, reports))))
    return bool((await rows(world, reports))[-1]["receipt"])
