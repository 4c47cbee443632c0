"""The contract of `Renderer.paper`, held against real processes: words become a PDF that screen readers can read, or nothing does."""

from collections.abc import AsyncIterator
from io import BytesIO
from types import SimpleNamespace as Thing
from typing import Any

import pytest
from pypdf import PdfReader

from portal.mime.pool import ProcessRenderer
from portal.web.templating import Pages, direction
from tests.browser import gallery

pytestmark = pytest.mark.anyio
HOSTILE = '#read("/etc/passwd") #import "@preview/x:1.0.0": y \\ *b* $x$ <a> @b ]} #eval("1")'


@pytest.fixture
async def renderer() -> AsyncIterator[ProcessRenderer]:
    one = ProcessRenderer()
    yield one
    await one.close()


def sheet(lang: str = "en", text: str = gallery.TEXT, subject: str = "Your results") -> bytes:
    """What the route hands over."""
    heading = Thing(**{**vars(gallery.HEADING), "subject": subject})
    context = {
        "dir": direction(lang), "heading": heading, "text": text, "org": gallery.CLINIC, "parts": gallery.PARTS,
        "replies": [gallery.REPLY_SENT], "enclosed": [gallery.WITHIN], "sent_at": gallery.NOW, "printed_at": gallery.NOW,
    }  # fmt: skip
    return Pages("https://portal.clinic.example").render("recipient/paper.json", lang, context).encode()


@pytest.mark.parametrize("lang", ["en", "ar"])
async def test_a_pdf_is_tagged_and_says_its_language_and_title(renderer: ProcessRenderer, lang: str) -> None:
    """ISO 14289-1: structure, language, a title that is shown, the mark of PDF/UA-1; and every page says whose it is."""
    made = await renderer.paper(sheet(lang, "One\n\n" + "Line by line\n" * 120), "her")
    assert made
    pdf = PdfReader(BytesIO(made))
    root: Any = pdf.trailer["/Root"]
    assert root["/Lang"] == lang
    assert root["/MarkInfo"]["/Marked"]
    assert root["/ViewerPreferences"]["/DisplayDocTitle"]
    assert "/StructTreeRoot" in root
    assert b"pdfuaid:part>1" in root["/Metadata"].get_object().get_data()
    assert pdf.metadata
    assert pdf.metadata.title == "Your results"
    pages = [page.extract_text() for page in pdf.pages]
    assert len(pages) > 1
    for text in pages:
        assert "Northside Clinic" in text
        assert "carol@clinic.example" in text
        assert "portal.clinic.example" in text
    assert sum(text.count("Line by line") for text in pages) == 120
    assert "I will book for February." in pages[-1]
    assert "chart.png" in pages[-1] + pages[-2]


async def test_words_are_never_markup(renderer: ProcessRenderer) -> None:
    """What would read files or fetch packages as typst's markup stands there as it was written."""
    made = await renderer.paper(sheet(text=HOSTILE, subject=HOSTILE), "her")
    assert made
    text = " ".join(PdfReader(BytesIO(made)).pages[0].extract_text().split())
    assert text.count('#read("/etc/passwd") #import "@preview/x:1.0.0"') == 2
    assert "root:" not in text


async def test_what_cannot_be_drawn_is_nothing(renderer: ProcessRenderer) -> None:
    """No sheet, signs without a font, too many words: None, and the next one is made."""
    for wrong in (b"", b"{", b"[]", b"\xff", sheet(text="\U000f0000"), b" " * (1024 * 1024 + 1)):
        assert await renderer.paper(wrong, "her") is None
    short = ProcessRenderer(seconds=0.01)
    assert await short.paper(sheet(text="x\n\n" * 100_000), "her") is None
    await short.close()
    assert await renderer.paper(sheet(), "her")
