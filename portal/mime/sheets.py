"""`style` blocks become `style` attributes, before the sanitiser judges the result as it judges every mail.

Mail programs write a letter's looks into such blocks. The library that moves them (css-inline, which has the cascade of browsers)
never sees a sender's sheet: it gets the rules that portal/mime/css.py found harmless, and no leave to load anything.
"""

import re
from collections.abc import Iterator

from portal.mime.css import Rule, clean_sheet

_BEGIN = re.compile(r"<!--|<style\b([^>]{0,500})>", re.IGNORECASE)
_END = re.compile(r"</style", re.IGNORECASE)
_FOR_SCREENS = re.compile(r"media\s*=\s*[\"']?\s*(?:all|screen)\s*(?:[\"'\s]|\Z)", re.IGNORECASE)
_CSS = re.compile(r"type\s*=\s*[\"']?\s*text/css\s*(?:;|[\"'\s]|\Z)", re.IGNORECASE)
_MAX_CSS_CHARS = 128 * 1024
# Each selector is held against each element: 5 million of these pairs take a third of a second.
_MAX_PAIRS = 5_000_000
# An element gets each property once: what all of them could be given together.
_MAX_GROWTH_CHARS = 16 * 1024 * 1024


def inlined(html: str) -> str:
    """`html` with its blocks' rules in its attributes; as it was where it has none, or where they would cost too much. Total."""
    sheet = "\n".join(blocks(html))
    rules = clean_sheet(sheet) if 0 < len(sheet) <= _MAX_CSS_CHARS else []
    if not rules or _too_much(rules, html.count("<")):
        return html
    from css_inline import CSSInliner  # here: most mails, and the server, do without

    try:
        return CSSInliner(
            inline_style_tags=False, load_remote_stylesheets=False, extra_css="".join(map(str, rules))
        ).inline(html)
    except ValueError:
        return html


def blocks(html: str) -> Iterator[str]:
    """The blocks' texts, those for screens. What stands in a comment (Outlook's conditions) is not one."""
    at = 0
    while begin := _BEGIN.search(html, at):
        if begin[1] is None:
            # "<!-->" and "<!--->" are comments already (HTML 13.2.5.43).
            at = html.find("-->", begin.end() - 2) + 3
            if at < 3:
                return
            continue
        end = _END.search(html, begin.end())
        at = end.end() if end else len(html)
        attributes = begin[1].lower()
        if ("media" not in attributes or _FOR_SCREENS.search(attributes)) and (
            "type" not in attributes or _CSS.search(attributes)
        ):
            yield html[begin.end() : end.start() if end else at]


def _too_much(rules: list[Rule], elements: int) -> bool:
    longest: dict[str, int] = {}
    for rule in rules:
        for name, value, _ in rule.declared:
            longest[name] = max(longest.get(name, 0), len(name) + len(value) + 14)
    pairs = sum(len(rule.selectors) for rule in rules) * elements
    return pairs > _MAX_PAIRS or sum(longest.values()) * elements > _MAX_GROWTH_CHARS
