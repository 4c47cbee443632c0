"""Light formatting of what a recipient types: bold, slanted, lists, line breaks (CommonMark), and nothing else of it.

No links, pictures, headings, entities or raw HTML: an address stays the words it is, so that no words can hide where they lead. Each
point of a list keeps the number that was typed. A second library's allow-list stands behind the first. Runs in a process of its own
(portal/mime/worker.py), since what is typed is a stranger's.
"""

from collections.abc import MutableMapping, Sequence
from html import unescape
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

from portal.mime.formatted import ANY_TAG

_TAGS = {"p", "br", "strong", "em", "ul", "ol", "li"}
_ATTRIBUTES = {"li": {"value"}}
_MARKS = frozenset("*_-+.)")


class _Points(RendererHTML):
    """A numbered point says its number."""

    def list_item_open(
        self, tokens: Sequence[Token], at: int, options: OptionsDict, env: MutableMapping[str, Any]
    ) -> str:
        return f'<li value="{tokens[at].info}">' if tokens[at].info else "<li>"


_LIBRARY = MarkdownIt("zero", {"html": False, "breaks": True}, renderer_cls=_Points).enable(
    ["emphasis", "list", "newline"]
)


def formatted(text: str) -> str | None:
    """The text as HTML; None where anything but marks of formatting would be lost (lists more than 20 deep)."""
    html = str(nh3.clean(_LIBRARY.render(text), tags=_TAGS, attributes=_ATTRIBUTES, link_rel=None)).strip()
    words = unescape(ANY_TAG.sub(lambda tag: tag[1] or " ", html))
    return html if _said(words) == _said(text) else None


def _said(text: str) -> list[str]:
    return [sign for sign in text if sign not in _MARKS and not sign.isspace()]
