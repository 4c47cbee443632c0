"""Which languages the portal speaks, and how one is chosen for a browser.

Catalogues are read from their .po files at start: no compiled file to forget. English is the language of the source and
needs none. A language is listed only when its catalogue is complete (tests/unit/test_catalogues.py).
"""

import gettext
import io
import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from babel import Locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from portal import paths

LANGUAGES: Mapping[str, str] = MappingProxyType(
    {
        "en": "English",
        "es": "Español",
        "zh": "中文",
        "vi": "Tiếng Việt",
        "ko": "한국어",
        "tl": "Tagalog",
        "ru": "Русский",
        "ar": "العربية",
    }
)
"""Code -> the language's own name, in the order shown."""

DEFAULT = "en"
_DATES = {"en": "en_GB", "tl": "fil"}
_ALSO = {"fil": "tl"}  # what browsers call a language that has another code here
_RANGE = re.compile(r"^([a-z]{1,8})(?:-[a-z0-9]{1,8})*(?:;q=([01](?:\.\d{0,3})?))?$", re.ASCII)


def choose(accept_language: str | None, chosen: str | None) -> str:
    """The language for a page: the person's own choice, else the browser's first that we speak, else English.

    RFC 9110 12.5.4: a quality of 0 means "not this one". Only the first 20 ranges are looked at.
    """
    if chosen is not None and chosen in LANGUAGES:
        return chosen
    best, best_quality = DEFAULT, 0.0
    for asked in (accept_language or "").lower().split(",", 20)[:20]:
        found = _RANGE.match("".join(asked.split()))
        if not found:
            continue
        code, quality = _ALSO.get(found[1], found[1]), float(found[2] or 1)
        if code in LANGUAGES and quality > best_quality:
            best, best_quality = code, quality
    return best


def direction(lang: str) -> str:
    """ "ltr" or "rtl", for the page's dir attribute."""
    return "rtl" if _locale(lang).text_direction == "rtl" else "ltr"


def mark(sentence: str) -> str:
    """Mark a sentence in Python source for the catalogue; it is translated where it is shown."""
    return sentence


@lru_cache
def catalogue(lang: str) -> gettext.NullTranslations:
    """The sentences of a language, read from its .po file."""
    source = paths.locale() / lang / "LC_MESSAGES" / "portal.po"
    if lang == DEFAULT:
        return gettext.NullTranslations()
    compiled = io.BytesIO()
    with source.open("rb") as file:
        write_mo(compiled, read_po(file, locale=lang))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def dates(lang: str) -> Locale:
    """The conventions for dates and numbers; English pages write the day before the month."""
    return _locale(_DATES.get(lang, lang))


@lru_cache
def _locale(name: str) -> Locale:
    return Locale.parse(name)
