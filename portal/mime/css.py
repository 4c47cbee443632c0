"""Inline styles: what may stay of a `style` attribute.

The HTML sanitiser knows property names only, so values are judged here: a value must consist of plain words, numbers, colours and
quoted font names. Whatever has another shape (url, image, var, attr, expression, escapes, @) is dropped with its declaration.
"""

import re

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
_VALUE = rf"(?:{_ATOM})(?:(?:\s*,\s*|\s+|\s*/\s*)(?:{_ATOM}))*"
_HARMLESS = re.compile(rf"({_VALUE})(\s*!\s*important)?\Z", re.IGNORECASE)
_DECLARATION = re.compile(rf"\s*([A-Za-z-]+)\s*:\s*({_VALUE})(\s*!\s*important)?\s*(?:;|\Z)", re.IGNORECASE)
_MAX_CHARS = 4000


def clean_style(style: str) -> str:
    """The declarations of `style` that are harmless, as `name:value;...`, or nothing. Total.

    Ordinary styles are read by one strict expression; what it does not explain from end to end is cut by a real CSS parser, and its
    pieces are judged by the same expression.
    """
    if len(style) > _MAX_CHARS:
        return ""
    kept: list[str] = []
    at = 0
    while at < len(style):
        found = _DECLARATION.match(style, at)
        if found is None:
            return _parsed(style) if style[at:].strip(" \t\r\n;") else ";".join(kept)
        if found[1].lower() in _PROPERTIES:
            kept.append(f"{found[1].lower()}:{found[2]}{'!important' if found[3] else ''}")
        at = found.end()
    return ";".join(kept)


def _parsed(style: str) -> str:
    kept: list[str] = []
    for node in tinycss2.parse_declaration_list(style, skip_comments=True, skip_whitespace=True):
        if node.type == "declaration" and node.lower_name in _PROPERTIES:
            value = tinycss2.serialize([token for token in node.value if token.type != "comment"]).strip()
            if _HARMLESS.match(value):
                kept.append(f"{node.lower_name}:{value}{'!important' if node.important else ''}")
            elif node.lower_name == "background" and (colour := _colour(value)):
                kept.append(f"background-color:{colour}")
    return ";".join(kept)


def _colour(background: str) -> str:
    """The colour beside a picture that is left out: text may be unreadable without it."""
    found = re.match(r"(#[0-9A-Fa-f]{3,8}|[A-Za-z]{3,20}|rgba?\([0-9., %]{1,60}\))\s+url", background)
    return found[1] if found else ""
