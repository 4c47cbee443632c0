"""Every sentence a recipient may read exists in every language, with the same placeholders.

locale/portal.pot is refreshed with the command at the top of locale/babel.cfg.
"""

import gettext
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po

from portal import paths
from portal.web.languages import DEFAULT, LANGUAGES

_PLACEHOLDERS = re.compile(r"%\(\w+\)s|\{\w+\}|</?\w+>")
_KEYWORDS = {"gettext": None, "ngettext": (1, 2), "_": None, "mark": None}
TRANSLATED = [lang for lang in LANGUAGES if lang != DEFAULT]


def extracted() -> Catalog:
    """The sentences of the templates and of portal/web, found as locale/babel.cfg says."""
    found = Catalog()
    with (paths.locale() / "babel.cfg").open(encoding="utf-8") as file:
        methods, options = parse_mapping_cfg(file)  # type: ignore[no-untyped-call]
    root = paths.locale().parent
    rows = extract_from_dir(root, methods, options, _KEYWORDS, directory_filter=_may_hold_sentences)
    for _file, _line, sentence, _comments, context in rows:
        found.add(sentence, context=context)
    return found


def _may_hold_sentences(folder: str | os.PathLike[str]) -> bool:
    parts = Path(folder).relative_to(paths.locale().parent).parts
    return parts[0] in ("portal", "templates") and "__pycache__" not in parts


def sentences(catalogue: Catalog) -> Iterator[Message]:
    return (message for message in catalogue if message.id)


def read(lang: str) -> Catalog:
    with (paths.locale() / lang / "LC_MESSAGES" / "portal.po").open("rb") as file:
        return read_po(file, locale=lang, abort_invalid=True)


def ids(catalogue: Catalog) -> set[str]:
    return {str(message.id) for message in sentences(catalogue)}


def forms(text: object) -> list[str]:
    return [str(form) for form in text] if isinstance(text, list | tuple) else [str(text)]


def test_template_catalogue_holds_every_sentence() -> None:
    """locale/portal.pot is what the templates and the code say now."""
    with (paths.locale() / "portal.pot").open("rb") as file:
        assert ids(read_po(file)) == ids(extracted())


@pytest.mark.parametrize("lang", TRANSLATED)
def test_language_has_every_sentence_and_no_other(lang: str) -> None:
    """A language is complete, and keeps nothing that nobody says any more."""
    assert ids(read(lang)) == ids(extracted())


@pytest.mark.parametrize("lang", TRANSLATED)
def test_translation_is_finished(lang: str) -> None:
    """No sentence is empty or marked as a guess."""
    unfinished = [m.id for m in sentences(read(lang)) if m.fuzzy or not all(forms(m.string))]
    assert unfinished == []


@pytest.mark.parametrize("lang", TRANSLATED)
def test_translation_keeps_placeholders_and_tags(lang: str) -> None:
    """A name left out or misspelt would break the page: each form carries what the source carries.

    A form for one number only ("two attachments" is one word in Arabic) may say the number in words.
    """
    catalogue = read(lang)
    in_words = _forms_of_one_number(catalogue)
    for message in sentences(catalogue):
        wanted = sorted(_PLACEHOLDERS.findall(forms(message.id)[-1]))
        for place, form in enumerate(forms(message.string)):
            carried = sorted(_PLACEHOLDERS.findall(form))
            assert carried == wanted or (message.pluralizable and place in in_words and not carried), message.id


def _forms_of_one_number(catalogue: Catalog) -> set[int]:
    form_of = gettext.c2py(catalogue.plural_expr)
    used = Counter(form_of(number) for number in range(1000))
    return {form for form, times in used.items() if times == 1}
