"""What is inside a message is shown in its own place: messages, further documents, appointments; never one's HTML in another's."""

import pytest

from tests.story.seams import prepared
from tests.vectors.making import PDF, calendar, enclosed, file, html, message, multi, opaque
from tests.world import World

pytestmark = pytest.mark.anyio

INNER = multi("mixed", html("<p>the <b>inner</b> words</p>"), calendar(), file("inner.pdf", PDF))
MAIL = message(
    multi("mixed", html("<p>the outer words</p>"), enclosed(INNER, "The inner subject"), html("<p>the last words</p>"))
)


async def test_each_document_is_a_page_of_its_own(world: World) -> None:
    """The message's page says what is in it; each HTML is at its own address, alone; on paper inner ones are text."""
    token = await world.announce(MAIL)
    await prepared(world)
    alice = world.browser()
    here = await alice.sign_in(token)
    page = (await alice.get(here)).text
    assert "A message inside this message" in page
    assert "The inner subject" in page
    assert "4 December 2026, 10:30 - 11:00 (Europe/Berlin)" in page
    for part in (1, 2, 3):
        assert f"{here}/parts/{part}" in page
    frames = {f"{here}/body": "outer", f"{here}/body?document=1": "last", f"{here}/body?document=2": "inner"}
    for address, word in frames.items():
        assert f'src="{address}"' in page
        body = await alice.get(address)
        assert [one for one in frames.values() if one in body.text] == [word]
        assert "sandbox" in body.headers["content-security-policy"]
    paper = (await alice.get(f"{here}/print")).text
    assert "the inner words" in paper
    assert "<b>inner</b>" not in paper
    assert (await alice.get(f"{here}/parts/3")).content == PDF


async def test_no_other_document_is_there(world: World) -> None:
    """A number that no document has is not found, and breaks nothing."""
    alice = world.browser()
    here = await alice.sign_in(await world.announce(MAIL))
    for number in ("0", "3", "9" * 30, "-1", "x", "²"):
        assert (await alice.get(f"{here}/body?document={number}")).status_code == 404


async def test_signed_words_are_shown_as_not_checked(world: World) -> None:
    """What stands in an opaque signature is read on the page, on paper and by a search; the attachment holds it as it was signed."""
    signed = opaque(b"Content-Type: text/html\r\n\r\n<p>the <b>signed</b> words</p>")
    mail = message(file("smime.p7m", signed, "application/pkcs7-mime; smime-type=signed-data"))
    alice = world.browser()
    token = await world.announce(mail)
    await prepared(world)
    here = await alice.sign_in(token)
    page = (await alice.get(here)).text
    assert "<h3>Signed email (S/MIME), signature not checked</h3>" in page
    assert "packed for another program" not in page
    assert "the <b>signed</b> words" in (await alice.get(f"{here}/body?document=1")).text
    assert "the signed words" in (await alice.get(f"{here}/print")).text
    assert (await alice.get(f"{here}/parts/1")).content == signed
    await alice.get("/inbox")
    assert f'href="{here}"' in (await alice.post("/inbox/search", {"words": "signed words"})).text
