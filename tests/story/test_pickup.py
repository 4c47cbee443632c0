"""The whole way once: from the relay to the reader, and the answer back."""

import pytest

from tests.world import ALICE, CAROL, World, letter

pytestmark = pytest.mark.anyio


async def test_a_message_is_read_and_answered_and_every_step_is_on_record(world: World) -> None:
    """A message handed over is announced, opened with a code, answered, and the answer reaches its sender."""
    pdf = ("a.pdf", "application/pdf", b"%PDF-1.7\n%x")
    token = await world.announce(letter(html="<p>All is <b>well</b>.</p>", attachments=[pdf]))
    alice = world.browser()
    message = await alice.sign_in(token)
    page = await alice.get(message)
    assert page.status_code == 200
    assert "Your results" in page.text
    assert "a.pdf" in page.text
    body = await alice.get(f"{message}/body")
    assert "All is <b>well</b>" in body.text
    part = await alice.get(f"{message}/parts/1")
    assert part.content == b"%PDF-1.7\n%x"
    await alice.get(f"{message}/reply")
    form = {
        "csrf": (None, alice.csrf),
        "draft": (None, alice.page.split('name="draft" value="')[1][:36]),
        "text": (None, "Thank you!"),
    }
    sent = await alice.http.post(f"{message}/reply", files=form)
    assert sent.status_code == 303, sent.text
    await world.worker.send_due()
    answer = world.mail_for(CAROL)
    assert answer["In-Reply-To"] == "<1@clinic.example>"
    assert "Thank you!" in world.text_for(CAROL)
    kinds = [event.kind for event in await world.events() if event.delivery_id]
    assert kinds == [
        "NoticeSent", "LinkFollowed", "CodeRequested", "CodeSent", "SignedIn", "MessageOpened", "MessageOpened",
        "AttachmentOpened", "MessageOpened", "MessageOpened", "ReplySubmitted", "ReplyOpened", "ReplyHandedOver",
    ]  # fmt: skip
    assert ALICE not in str(await world.events())
