"""Mail that comes back to a return path: what it says of a notice, and of a code."""

import re

import pytest

from portal.intake import Envelope
from portal.model.errors import RecipientRefused
from tests.story.staff import OPERATOR
from tests.world import ALICE, CAROL, World

pytestmark = pytest.mark.anyio


def report(to: str, action: str = "failed", status: str = "5.1.1") -> bytes:
    """A delivery report (RFC 3464) as Postfix writes it."""
    return (
        f"From: MAILER-DAEMON@relay.clinic.example\r\nTo: {to}\r\nSubject: Undelivered\r\nAuto-Submitted: auto-replied\r\n"
        "MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
        "--b\r\nContent-Type: text/plain\r\n\r\nIt could not be delivered.\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; relay.clinic.example\r\n\r\n"
        f"Final-Recipient: rfc822; {ALICE}\r\nAction: {action}\r\nStatus: {status}\r\n\r\n--b--\r\n"
    ).encode()


async def bounce(world: World, path: str, action: str = "failed") -> None:
    await world.deliver(report(path, action), to=(path,), sender="")


async def test_a_bounced_notice_marks_the_delivery_and_tells_the_sender_once(world: World) -> None:
    """`failed` is on record and the sender gets a report without content; a second one adds nothing."""
    await world.announce()
    path = world.sink.messages[-1].mail_from
    await bounce(world, path, "delayed")
    assert await world.events("NoticeBounced") == []
    for _ in range(2):
        await bounce(world, path)
        await world.worker.send_due()
    told = [one for one in world.sink.messages if CAROL in one.rcpt_to]
    assert len(told) == 1
    assert told[0].mail_from == ""
    assert b"Your results" not in told[0].raw
    assert world.read(told[0]).get_content_type() == "multipart/report"


async def test_a_bounced_code_is_said_on_its_page(world: World) -> None:
    """Whoever waits for a code learns that the mail host returned it."""
    alice = world.browser()
    door = await alice.ask_code(await world.announce())
    await world.code_for(ALICE)
    await bounce(world, world.sink.messages[-1].mail_from)
    page = await alice.get(f"{door}/help")
    assert "refused" in page.text
    assert "5.1.1" in page.text
    assert [event.detail["reason"] for event in await world.events("CodeFailed")] == ["bounced 5.1.1"]
    assert await world.events("NoticeBounced") == []


async def test_only_a_return_path_of_ours_is_taken(world: World) -> None:
    """A made-up token is refused at RCPT."""
    await world.announce()
    path = world.sink.messages[-1].mail_from
    with pytest.raises(RecipientRefused):
        await bounce(world, re.sub(r"\+.*@", "+aaaaaaaaaaaaaaaaaaaaaaaaaa@", path))
    assert await world.events("NoticeBounced") == []


async def test_a_report_counts_whichever_relay_brings_it(world: World) -> None:
    """The return path's domain is the portal's, so another organisation's relay may be the one: the token says whose mail it was."""
    await world.announce()
    path = world.sink.messages[-1].mail_from
    await world.deliver(report(path), to=(path,), sender="", relay=world.foreign_relay)
    assert await world.house.fallback(OPERATOR).lately(world.southside, world.foreign_relay.id) == []
    [event] = await world.events("NoticeBounced")
    assert (event.org_id, event.actor) == (world.northside.id, world.foreign_relay.id)


async def test_what_is_taken_for_a_path_that_has_gone_is_refused_on_record(world: World) -> None:
    """Between RCPT and the last dot the mail's row may go: 550, never a 250 for what nobody looked at."""
    await world.announce()
    path = world.sink.messages[-1].mail_from
    gone = re.sub(r"\+.*@", "+aaaaaaaaaaaaaaaaaaaaaaaaaa@", path)
    submission = await world.intake.begin(world.relay, Envelope("", (gone,), "192.0.2.1"))
    await submission.write(report(gone))
    with pytest.raises(RecipientRefused):
        await submission.commit()
    assert [one.detail["reason"] for one in await world.events("SubmissionRefused")] == ["RecipientRefused"]
