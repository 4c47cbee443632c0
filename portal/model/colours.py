"""An organisation's one accent colour: read as people write it, and corrected until everybody can read what is set in it.

Contrast is WCAG 2.2's. A colour that is too faint for a page is not refused: its lightness moves, in Oklab (CSS Color 4), where hue
stays what the eye takes it for, and only as far as the floor asks. The pages' own colours are those of static/css/portal.css.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

TEXT = 7.0
"""Contrast of text with what it stands on: WCAG 2.2, 1.4.6 (AAA)."""
SIGN = 4.5
"""Contrast of a button, a border or a sign with the page: more than the 3 of WCAG 2.2, 1.4.11."""

_WRITTEN = re.compile(r"#?([0-9a-f]{6}|[0-9a-f]{3})")
_STEPS = 12  # halvings of lightness and of chroma: finer than eight bits a channel can show


@dataclass(frozen=True)
class Colour:
    """A colour of sRGB, channels 0 to 255; `str` writes it as CSS reads it: `#0b505c`."""

    red: int
    green: int
    blue: int

    def __post_init__(self) -> None:
        if not all(0 <= channel <= 255 for channel in (self.red, self.green, self.blue)):
            raise ValueError("a channel goes from 0 to 255")

    def __str__(self) -> str:
        return f"#{self.red:02x}{self.green:02x}{self.blue:02x}"


@dataclass(frozen=True)
class Accent:
    """The accent on the pages of one mode.

    Text in `on` reads at `TEXT` on `button`, and `button` stands out at `SIGN` from every background; `link` is for text and links
    and reads at `TEXT` on each of them. `corrected`: one of the two is not the colour that was asked for.
    """

    button: Colour
    on: Colour
    link: Colour
    corrected: bool


@dataclass(frozen=True)
class Accents:
    light: Accent
    dark: Accent

    @property
    def corrected(self) -> bool:
        return self.light.corrected or self.dark.corrected


@dataclass(frozen=True)
class Page:
    """The backgrounds of one mode in static/css/portal.css, `on` for text in buttons, and the end of lightness that is far from it."""

    sheet: Colour
    paper: Colour
    mist: Colour
    on: Colour
    far: float

    @property
    def backgrounds(self) -> tuple[Colour, ...]:
        return self.sheet, self.paper, self.mist


WHITE, BLACK = Colour(255, 255, 255), Colour(0, 0, 0)
LIGHT = Page(sheet=WHITE, paper=Colour(0xF4, 0xF1, 0xEA), mist=Colour(0xE6, 0xEF, 0xEE), on=WHITE, far=0.0)
DARK = Page(Colour(0x17, 0x24, 0x27), Colour(0x0F, 0x19, 0x1B), Colour(0x1E, 0x32, 0x36), on=BLACK, far=1.0)


def read_colour(text: str) -> Colour | None:
    """`#0B505C`, with or without the sign, in any case, or in three digits; None for anything else."""
    found = _WRITTEN.fullmatch(text.strip().lower())
    if not found:
        return None
    digits = found[1] if len(found[1]) == 6 else "".join(2 * digit for digit in found[1])
    return Colour(*bytes.fromhex(digits))


def luminance(colour: Colour) -> float:
    """Relative luminance, 0 for black to 1 for white (WCAG 2.2, "relative luminance")."""
    red, green, blue = _linear(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(a: Colour, b: Colour) -> float:
    """From 1 to 21, in whichever order (WCAG 2.2, "contrast ratio")."""
    darker, lighter = sorted((luminance(a), luminance(b)))
    return (lighter + 0.05) / (darker + 0.05)


def accents(colour: Colour) -> Accents:
    """What the accent becomes on light and on dark pages: the colour itself where it reads, else the nearest that does."""
    return Accents(_accent(colour, LIGHT), _accent(colour, DARK))


def _accent(colour: Colour, page: Page) -> Accent:
    def link_reads(one: Colour) -> bool:
        return all(contrast(one, background) >= TEXT for background in page.backgrounds)

    def button_reads(one: Colour) -> bool:
        stands_out = all(contrast(one, background) >= SIGN for background in page.backgrounds)
        return stands_out and contrast(page.on, one) >= TEXT

    link, button = _moved(colour, link_reads, page.far), _moved(colour, button_reads, page.far)
    return Accent(button, page.on, link, corrected=(link, button) != (colour, colour))


def _moved(colour: Colour, reads: Callable[[Colour], bool], far: float) -> Colour:
    """The colour, or the nearest one towards lightness `far` (black or white, which read for certain) that reads."""
    if reads(colour):
        return colour
    near, green_red, blue_yellow = _oklab(colour)
    best = WHITE if far else BLACK
    for _ in range(_STEPS):
        middle = (near + far) / 2
        found = _in_gamut(middle, green_red, blue_yellow)
        if reads(found):
            best, far = found, middle
        else:
            near = middle
    return best


# -- sRGB, linear light, Oklab: CSS Color 4, section 18; the figures are Ottosson's (https://bottosson.github.io/posts/oklab/)


def _linear(colour: Colour) -> list[float]:
    channels = [channel / 255 for channel in (colour.red, colour.green, colour.blue)]
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]


def _oklab(colour: Colour) -> tuple[float, float, float]:
    red, green, blue = _linear(colour)
    long = math.cbrt(0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue)
    medium = math.cbrt(0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue)
    short = math.cbrt(0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


def _in_gamut(lightness: float, green_red: float, blue_yellow: float) -> Colour:
    """The colour of this lightness and hue, with as much of its chroma as sRGB can show."""
    low, high = 0.0, 1.0
    channels = _channels(lightness, green_red, blue_yellow)
    if not _shown(channels):
        for _ in range(_STEPS):
            share = (low + high) / 2
            if _shown(_channels(lightness, share * green_red, share * blue_yellow)):
                low = share
            else:
                high = share
        channels = _channels(lightness, low * green_red, low * blue_yellow)
    red, green, blue = (round(255 * min(max(channel, 0.0), 1.0)) for channel in channels)
    return Colour(red, green, blue)


def _shown(channels: list[float]) -> bool:
    return all(-0.001 <= channel <= 1.001 for channel in channels)


def _channels(lightness: float, green_red: float, blue_yellow: float) -> list[float]:
    long = (lightness + 0.3963377774 * green_red + 0.2158037573 * blue_yellow) ** 3
    medium = (lightness - 0.1055613458 * green_red - 0.0638541728 * blue_yellow) ** 3
    short = (lightness - 0.0894841775 * green_red - 1.2914855480 * blue_yellow) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
    return [12.92 * c if c <= 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055 for c in linear]
