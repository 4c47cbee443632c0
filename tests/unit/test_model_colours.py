"""An organisation's accent: how it is read, WCAG's figures, and that no colour whatever makes a page hard to read."""

import math
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portal.model import colours
from portal.model.colours import (
    BLACK,
    DARK,
    LIGHT,
    SIGN,
    TEXT,
    WHITE,
    Accent,
    Colour,
    Page,
    accents,
    contrast,
    luminance,
    read_colour,
)

CSS = Path(__file__).resolve().parents[2] / "static" / "css" / "portal.css"
CHANNEL = st.integers(0, 255)
COLOURS = st.builds(Colour, CHANNEL, CHANNEL, CHANNEL)
PINE = Colour(0x0B, 0x50, 0x5C)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("#0b505c", "#0b505c"),
        ("#0B505C", "#0b505c"),
        ("0b505C", "#0b505c"),
        ("  #0b505c\n", "#0b505c"),
        ("#fc0", "#ffcc00"),
        ("FC0", "#ffcc00"),
        ("000000", "#000000"),
    ],
)
def test_one_colour_has_one_form(written: str, read: str) -> None:
    """Case, the sign, spaces around it and the short form make no other colour."""
    assert str(read_colour(written)) == read


@pytest.mark.parametrize(
    "written",
    [
        "",
        "#",
        "##0b505c",
        "#0b505",
        "#0b50",
        "#0b505c80",
        "#0b505g",
        "#0b 50 5c",
        "0x0b505c",
        "rgb(11, 80, 92)",
        "teal",
        "#0b505c; background: url(//evil.example)",
        "#0b505c}</style>",
        "#\u0660\u0660\u0660",
        "\uff03fc0",
        "#\uff46\uff43\uff10",
        "#0b505c\x00",
    ],
)
def test_what_is_no_colour_is_refused(written: str) -> None:
    """Names, functions, opacity, other scripts' digits and anything after the colour are not read."""
    assert read_colour(written) is None


@given(COLOURS)
def test_written_colour_is_read_back(colour: Colour) -> None:
    """What is kept is six digits, and reads as the same colour."""
    assert re.fullmatch("#[0-9a-f]{6}", str(colour))
    assert read_colour(str(colour)) == colour


@pytest.mark.parametrize("channels", [(256, 0, 0), (0, -1, 0), (0, 0, 1000)])
def test_channel_beyond_eight_bits_is_no_colour(channels: tuple[int, int, int]) -> None:
    """A colour that CSS could not read back can't be made."""
    with pytest.raises(ValueError, match="0 to 255"):
        Colour(*channels)


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [
        ("#000", "#fff", 21.0),
        ("#fff", "#fff", 1.0),
        ("#777", "#fff", 4.48),
        ("#767676", "#fff", 4.54),
        ("#595959", "#fff", 7.0),
        ("#f00", "#fff", 4.0),
        ("#0f0", "#fff", 1.37),
        ("#00f", "#fff", 8.59),
        ("#00f", "#000", 2.44),
    ],
)
def test_contrast_is_that_of_wcag(one: str, other: str, ratio: float) -> None:
    """The ratios that every checker knows, in both orders."""
    first, second = read_colour(one), read_colour(other)
    assert first
    assert second
    assert contrast(first, second) == contrast(second, first) == pytest.approx(ratio, abs=0.005)


@pytest.mark.parametrize(
    ("colour", "light"), [(WHITE, 1.0), (BLACK, 0.0), (Colour(255, 0, 0), 0.2126), (Colour(128, 128, 128), 0.21586)]
)
def test_luminance_is_that_of_wcag(colour: Colour, light: float) -> None:
    """From black's 0 to white's 1, each primary with its own weight."""
    assert luminance(colour) == pytest.approx(light, abs=1e-5)


@given(COLOURS)
@example(BLACK)
@example(WHITE)
@example(Colour(255, 255, 0))
@example(Colour(0, 0, 255))
def test_every_pair_meets_its_floor(colour: Colour) -> None:
    """Whatever the colour: text on the button and links on each background read, and the button is seen."""
    made = accents(colour)
    for accent, page in ((made.light, LIGHT), (made.dark, DARK)):
        assert contrast(accent.on, accent.button) >= TEXT
        for background in page.backgrounds:
            assert contrast(accent.link, background) >= TEXT
            assert contrast(accent.button, background) >= SIGN


@given(COLOURS)
def test_corrected_says_so(colour: Colour) -> None:
    """What reads stays as it is; what changed is said to have changed; what was corrected needs no more correction."""
    made = accents(colour)
    assert made.corrected == (made.light.corrected or made.dark.corrected)
    for mode in ("light", "dark"):
        accent: Accent = getattr(made, mode)
        assert accent.corrected == ((accent.link, accent.button) != (colour, colour))
        assert getattr(accents(accent.link), mode).link == accent.link
        assert getattr(accents(accent.button), mode).button == accent.button


@given(COLOURS)
def test_hue_stays(colour: Colour) -> None:
    """A corrected colour differs in lightness and may be paler; where both show a hue, it is the same."""
    made = accents(colour)
    _, green_red, blue_yellow = colours._oklab(colour)
    for found in (made.light.link, made.light.button, made.dark.link, made.dark.button):
        _, a, b = colours._oklab(found)
        if min(math.hypot(a, b), math.hypot(green_red, blue_yellow)) > 0.03:
            turn = abs(math.atan2(b, a) - math.atan2(blue_yellow, green_red))
            assert min(turn, 2 * math.pi - turn) < math.radians(8)


@given(COLOURS)
def test_correction_goes_no_further_than_it_must(colour: Colour) -> None:
    """A corrected link is just above its floor, not black or white."""
    made = accents(colour)
    for accent, page in ((made.light, LIGHT), (made.dark, DARK)):
        if accent.link != colour:
            assert min(contrast(accent.link, background) for background in page.backgrounds) < TEXT + 0.3


def test_known_accents() -> None:
    """The house's own pine needs no help on light pages; yellow becomes a dark one there and stays itself on dark ones."""
    assert accents(PINE).light == Accent(PINE, WHITE, PINE, corrected=False)
    assert accents(PINE).dark.corrected
    yellow = Colour(255, 204, 0)
    assert accents(yellow).light.corrected
    assert accents(yellow).dark == Accent(yellow, BLACK, yellow, corrected=False)


@pytest.mark.parametrize(("page", "scheme"), [(LIGHT, "light"), (DARK, "dark")])
def test_backgrounds_are_those_of_the_pages(page: Page, scheme: str) -> None:
    """The colours that are measured against are the ones in the style sheet, wherever it says them."""
    blocks = [block for block in CSS.read_text().split("{") if f"color-scheme: {scheme};" in block]
    assert blocks
    for block in blocks:
        found = {name: read_colour(value) for name, value in re.findall(r"--(sheet|paper|mist): ?(#\w+);", block)}
        assert found == {"sheet": page.sheet, "paper": page.paper, "mist": page.mist}
