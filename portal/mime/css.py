"""Styles: what may stay of a `style` attribute, and of a `style` block on its way into such attributes.

The HTML sanitiser knows property names only, so values are judged here: a value must consist of plain words, numbers, colours and
quoted font names. Whatever has another shape (url, image, var, attr, expression, escapes, @) is dropped with its declaration.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import tinycss2  # type: ignore[import-untyped]


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_SIDES = ("top", "right", "bottom", "left")
_PROPERTIES = _words(
    "background background-color border border-collapse border-color border-radius border-spacing border-style border-width "
    "box-sizing caption-side clear color direction display empty-cells float font font-family font-size font-style font-variant "
    "font-weight height letter-spacing line-height list-style list-style-position list-style-type margin max-height max-width "
    "min-height min-width opacity overflow overflow-wrap padding table-layout text-align text-decoration text-decoration-color "
    "text-decoration-line text-decoration-style text-indent text-transform unicode-bidi vertical-align visibility white-space "
    "width word-break word-spacing word-wrap"
) | {f"{name}-{side}" for name in ("border", "margin", "padding") for side in _SIDES}
_PROPERTIES |= {f"border-{side}-{what}" for side in _SIDES for what in ("color", "style", "width")}

_ATOM = (
    r"[A-Za-z-][A-Za-z0-9-]{0,40}"  # a word
    r"|[+-]?(?:\d{1,4}(?:\.\d{0,10})?|\.\d{1,10})(?:%|[A-Za-z]{1,4})?"  # a number, with its unit
    r"|#[0-9A-Fa-f]{3,8}"
    r"|(?:rgb|hsl)a?\([0-9., %]{1,60}\)"
    r"|'[\w .-]{1,60}'|\"[\w .-]{1,60}\""  # a font's name
)
_SPACES = " \t\r\n\f"  # and no other: Python's \s knows more of them than CSS
_S = rf"[{_SPACES}]"
_VALUE = rf"(?:{_ATOM})(?:(?:{_S}*,{_S}*|{_S}+|{_S}*/{_S}*)(?:{_ATOM}))*"
_HARMLESS = re.compile(rf"{_VALUE}\Z", re.IGNORECASE)
_DECLARATION = re.compile(rf"{_S}*([A-Za-z-]+){_S}*:{_S}*({_VALUE})({_S}*!{_S}*important)?{_S}*(?:;|\Z)", re.IGNORECASE)
_MAX_CHARS = 4000


# Of a block's selectors: names, classes, ids, attributes, and who stands in, under or beside whom. What needs a pointer or a history
# (:hover, :visited) or looks at all siblings (:nth-child, ~) says nothing in an attribute, or costs too much.
_COMPOUND = (
    r"(?=[*.#:\[A-Za-z])(?:\*|[A-Za-z][\w-]{0,40})?"
    r"(?:[.#][A-Za-z_-][\w-]{0,80}|:first-child|\[[A-Za-z-]{1,40}(?:[~|^$*]?=(?:[\w-]{1,80}|\"[^\"\\]{0,80}\"|'[^'\\]{0,80}'))?\]){0,6}"
)
_SELECTOR = re.compile(rf"{_COMPOUND}(?:(?:{_S}*[>+]{_S}*|{_S}+){_COMPOUND}){{0,5}}\Z")

_Declared = tuple[str, str, bool]
"""Name, value, and whether it is `!important`."""


@dataclass(frozen=True)
class Rule:
    """A rule of a `style` block: what is left of its selectors and of its declarations, each at least one."""

    selectors: tuple[str, ...]
    declared: tuple[_Declared, ...]

    def __str__(self) -> str:
        said = (f"{name}:{value}{'!important' if important else ''}" for name, value, important in self.declared)
        return f"{','.join(self.selectors)}{{{';'.join(said)}}}"


def clean_style(style: str) -> str:
    """The declarations of `style` that are harmless, as `name:value;...`, or nothing. Total.

    None is `!important` any more: what was comes last, which is the same within one attribute, and no style of a sender's wins over
    the page it is shown in.
    """
    found = sorted(_declared(style), key=lambda one: one[2])
    return ";".join(f"{name}:{value}" for name, value, _ in found)


def clean_sheet(sheet: str) -> list[Rule]:
    """The rules of a `style` block that mean something in attributes, in order; at-rules (media, fonts, imports) do not. Total."""
    kept = []
    for node in tinycss2.parse_stylesheet(sheet, skip_comments=True, skip_whitespace=True):
        if node.type != "qualified-rule":
            continue
        names = _written(node.prelude).replace(":link", "").split(",")
        selectors = tuple(name for name in (one.strip(_SPACES) for one in names) if _SELECTOR.match(name))
        declared = tuple(_declared(_written(node.content))) if selectors else ()
        if declared:
            kept.append(Rule(selectors, declared))
    return kept


def _declared(style: str) -> list[_Declared]:
    """Ordinary styles are read by one strict expression; what it does not explain from end to end is cut by a real CSS parser, and its
    pieces are judged by the same expression."""
    if len(style) > _MAX_CHARS:
        return []
    kept: list[_Declared] = []
    at = 0
    while at < len(style):
        found = _DECLARATION.match(style, at)
        if found is None:
            return _parsed(style) if style[at:].strip(f"{_SPACES};") else kept
        if found[1].lower() in _PROPERTIES:
            kept.append((found[1].lower(), found[2], bool(found[3])))
        at = found.end()
    return kept


def _parsed(style: str) -> list[_Declared]:
    kept: list[_Declared] = []
    for node in tinycss2.parse_declaration_list(style, skip_comments=True, skip_whitespace=True):
        if node.type == "declaration" and node.lower_name in _PROPERTIES:
            value = _written(node.value)
            if _HARMLESS.match(value):
                kept.append((node.lower_name, value, node.important))
            elif node.lower_name == "background" and (colour := _colour(value)):
                kept.append(("background-color", colour, node.important))
    return kept


def _written(tokens: Iterable[Any]) -> str:
    """The tokens as text without comments; nothing when brackets nest deeper than the library's own writer can follow."""
    try:
        return str(tinycss2.serialize([token for token in tokens if token.type != "comment"])).strip(_SPACES)
    except RecursionError:
        return ""


def _colour(background: str) -> str:
    """The colour beside a picture that is left out: text may be unreadable without it."""
    found = re.match(r"(#[0-9A-Fa-f]{3,8}|[A-Za-z]{3,20}|rgba?\([0-9., %]{1,60}\))\s+url", background)
    return found[1] if found else ""
