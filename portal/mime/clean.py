"""Mail HTML made harmless: an allow-list of elements, attributes, link targets and style values, and nothing remote.

The first of two walls; the other is the sandboxed frame that shows the result. Pictures come from the mail itself or not at all:
`cid:` becomes a `data:` URL of a raster that was recognised by its bytes; a remote one leaves its words, and where it would have come
from, in brackets. The real host of a link is its title, and stands beside it where its words say otherwise.
"""

import base64
import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from html import escape, unescape
from urllib.parse import unquote

import nh3

from portal.mime.css import clean_style
from portal.mime.limits import MAX_HTML_CHARS, MAX_HTML_DEPTH, MAX_PICTURE_BYTES
from portal.mime.links import disguised, shown, target
from portal.mime.names import PICTURES, sniffed
from portal.mime.nesting import is_deep
from portal.mime.sheets import blocks, inlined
from portal.mime.words import plain


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_TAGS = _words(
    "a abbr address article aside b bdo big blockquote br caption center cite code col colgroup dd del dfn div dl dt em figcaption "
    "figure font footer h1 h2 h3 h4 h5 h6 header hr i img ins kbd li main mark nav ol p pre q s samp section small span strike "
    "strong sub sup table tbody td tfoot th thead tr tt u ul var wbr"
)
_WITH_CONTENT = _words(
    "applet audio canvas datalist embed frameset head iframe math noembed noframes noscript object plaintext script select style "
    "svg template textarea title video xml xmp"
)
_LAYOUT = frozenset({"align", "valign", "bgcolor", "width", "height"})
_ATTRIBUTES = {
    "*": frozenset({"style", "dir", "lang", "background"}),  # the last one only to be told of
    "a": frozenset({"href"}),
    "img": frozenset({"src", "alt", "width", "height", "border", "align", "hspace", "vspace"}),
    "table": _LAYOUT | {"border", "cellpadding", "cellspacing", "bordercolor", "rules", "frame", "summary"},
    "td": _LAYOUT | {"colspan", "rowspan", "nowrap", "bordercolor"},
    "th": _LAYOUT | {"colspan", "rowspan", "nowrap", "bordercolor", "scope"},
    "font": frozenset({"color", "face", "size"}),
    "hr": frozenset({"align", "color", "noshade", "size", "width"}),
    "ol": frozenset({"start", "type"}),
    "ul": frozenset({"type"}),
    "li": frozenset({"type", "value"}),
    "col": _LAYOUT | {"span"},
    "colgroup": _LAYOUT | {"span"},
} | dict.fromkeys(("tr", "tbody", "thead", "tfoot"), _LAYOUT)
_ATTRIBUTES |= dict.fromkeys(_words("caption center div h1 h2 h3 h4 h5 h6 p"), frozenset({"align"}))

_REL = "noopener noreferrer nofollow"
_TOKEN_VALUE = re.compile(r"[\w#.,%+ '-]{0,200}\Z")
_BODY = re.compile(r"<body((?:\s[^<>]{0,4000})?)>", re.IGNORECASE)
_BODY_COLOUR = re.compile(r"\s(bgcolor|text)\s*=\s*[\"']?(#?[A-Za-z0-9]{3,20})", re.IGNORECASE)
_BODY_BACKGROUND = re.compile(r"\sbackground\s*=\s*[\"']?([^\"'\s>]{1,200})", re.IGNORECASE)
_BODY_STYLE = re.compile(r"\sstyle\s*=\s*(\"[^\"]*\"|'[^']*')", re.IGNORECASE)
# In the sanitiser's output no attribute value holds an angle bracket, so a tag ends at the first one.
_MARKED = re.compile(r"<(a|img)\b([^>]*)>|</a>")
_HREF = re.compile(r'\shref="([^"]*)"')
_SRC = re.compile(r'\ssrc="(cid|https?):([^"]*)"')
_DATA = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,([A-Za-z0-9+/=\s]+)\Z", re.IGNORECASE)
# Spacers and counting pixels: nothing to see, so nothing to tell beyond that something was left out.
_UNSEEN = re.compile(
    r"\s(?:width|height)=\"[0-3](?:px)?\"|[\";](?:(?:max-)?(?:width|height):[0-3](?:px)?|display:none|visibility:hidden)[\";]"
)
# Our own words in a sender's letter stand in our own colours, or hers could hide them.
_OURS = (
    '<span dir="ltr" style="display:inline;visibility:visible;color:#222;background-color:#fff;font:15px/1.4 sans-serif;'
    'letter-spacing:normal;word-spacing:normal;text-transform:none">'
)
# A sender's own bracket behind a link would pass for ours.
_BRACKET = re.compile(r"\s*(?:<[^>]*>\s*){0,20}\[")
# So many different links have their hosts put into letters, which costs; what follows keeps its A-labels.
_MAX_NAMED = 1000
_MAX_LINK_CHARS = 8 * MAX_HTML_CHARS
_ALT = re.compile(r'\salt="([^"]*)"')
_NO_ANGLES = str.maketrans("<>", "‹›")
_PICTURE = re.compile(r"<img\b([^>]*)>")
_ANY_TAG = re.compile(r"<[^>]*>")
_CELL_END = re.compile(r"</t[dh]>\s*(?=<t)")
_LINE_END = re.compile(
    r"<br>|<hr[^>]*>|</(?:p|div|h\d|li|tr|table|blockquote|pre|dd|dt|caption|address|article|section)>"
)
_IN_LINE_SPACE = re.compile(r"[ \t\r\n]+")
_LINE_SPACE = re.compile(r"[ \t\xa0]*\n[ \t\xa0]*")
_BLANK_LINES = re.compile(r"\n{3,}")
_REMOTE_BEHIND = re.compile(
    r"(?:background|list-style)(?:-image)?\s{0,9}:[^;{}]{0,200}?\burl\(\s{0,9}[\"']?((?:https?:)?[/\\]{2})",
    re.IGNORECASE,
)
_REMOTE = re.compile(r"\s*(https?:)?[/\\]{2}", re.IGNORECASE)


@dataclass(frozen=True)
class Cleaned:
    """`html` is None when it was too large or too deep; `shown` are the content ids of the pictures in it."""

    html: str | None
    shown: frozenset[str]
    problems: frozenset[str]


class Cleaner:
    """Cleans one document after the other. Keeps nothing of one for the next. Not for several threads at once."""

    def __init__(self) -> None:
        self._library = nh3.Cleaner(
            tags=_TAGS,
            clean_content_tags=_WITH_CONTENT,
            attributes=_ATTRIBUTES,
            attribute_filter=lambda _tag, name, value: self._judged[name, value],
            link_rel=None,  # set with the title, below
            # Looser than what is let through below, which needs to see a remote picture to name it.
            url_schemes={"http", "https", "mailto", "cid", "data"},
            url_relative="pass_through",  # to the filter, which lets none through
        )
        self._begin(lambda _: None)

    def clean(self, html: str, picture: Callable[[str], bytes | None]) -> Cleaned:
        """The body fragment of `html`; `picture` gives the bytes for a content id, None if the mail has no such part."""
        if len(html) > MAX_HTML_CHARS:
            return Cleaned(None, frozenset(), frozenset({"html-left-out"}))
        if is_deep(html, MAX_HTML_DEPTH):
            return Cleaned(None, frozenset(), frozenset({"html-left-out", "too-deep"}))
        self._begin(picture)
        try:
            fragment = self._fragment(html)
            if fragment is None:
                return Cleaned(None, frozenset(), frozenset({"html-left-out"}))
            finished = self._finished(fragment).strip()
            if len(finished) - self._picture_bytes * 4 // 3 > 4 * MAX_HTML_CHARS:  # more of our words than of hers
                return Cleaned(None, frozenset(), frozenset({"html-left-out"}))
            return Cleaned(finished, frozenset(self._shown), frozenset(self._problems))
        finally:
            self._begin(lambda _: None)

    def _fragment(self, html: str) -> str | None:
        """What the library leaves of `html`, in its blocks' styles if they fit; None if it is too much even without."""
        for block in blocks(html):
            self._look_behind(block)
        if (body := _BODY.search(html)) and (behind := _BODY_BACKGROUND.search(body[1])):
            self._tell_of(behind[1])
        styled = inlined(html)
        for tried in (styled, html) if styled is not html else (html,):
            if len(tried) > 2 * MAX_HTML_CHARS:
                continue
            fragment: str = self._library.clean(_BODY.sub(_body, tried, count=1))
            if len(fragment) <= 2 * MAX_HTML_CHARS:  # few elements left open repeat in every paragraph after them
                return fragment
        return None

    def _begin(self, picture: Callable[[str], bytes | None]) -> None:
        self._picture = picture
        self._judged = _Judged(self._judge)
        self._hosts: dict[str, tuple[str, str]] = {}
        self._pictures: dict[str, tuple[str, bytes] | None] = {}
        self._shown: set[str] = set()
        self._picture_bytes = 0
        self._problems: set[str] = set()

    def _judge(self, name: str, value: str) -> str | None:
        """The value to keep of an attribute on the allow-list, or None."""
        if name == "style":
            self._look_behind(value)
            return clean_style(value) or None
        if name == "background":
            self._tell_of(value)
            return None
        if name == "href":
            return self._target(value)
        if name == "src":
            return self._source(value)
        if name in ("alt", "summary"):
            return plain(value, 400).translate(_NO_ANGLES)
        return value if _TOKEN_VALUE.match(value) else None

    def _tell_of(self, address: str) -> None:
        if _REMOTE.match(address):
            self._problems.add("remote-left-out")

    def _look_behind(self, style: str) -> None:
        """Pictures behind the words, which `css.py` drops."""
        if found := _REMOTE_BEHIND.search(style):
            self._tell_of(found[1])

    def _source(self, value: str) -> str | None:
        """`cid:` and the name of a picture of the mail's, or the host of a remote one, or None."""
        if value[:4].lower() == "cid:":
            return f"cid:{content_id(value[4:])}"
        if _REMOTE.match(value):
            self._problems.add("remote-left-out")
            leads = target("https:" + value.strip().partition(":")[2]) or target("https:" + value.strip())
            return f"https://{leads[1]}/" if leads else None
        if within := _DATA.match(value):
            name = "data:" + hashlib.sha256(within[1].encode()).hexdigest()
            with suppress(ValueError):
                self._keep(name, base64.b64decode(within[1]))
            return f"cid:{name}"
        return None

    def _target(self, value: str) -> str | None:
        found = target(value)
        if found is None:
            return None
        host = found[1]
        name = shown(host) if len(self._hosts) < _MAX_NAMED else host
        self._hosts[found[0].replace("&", "&amp;")] = host, name  # the key is the target as the library will write it
        return found[0]

    def _finished(self, fragment: str) -> str:
        """Last touches on the library's own output: a link says its host, a picture is set in or gives way to its words."""
        done: list[str] = []
        links: list[tuple[int, str, str]] = []
        at, looked_at = 0, 0
        for tag in _MARKED.finditer(fragment):
            done.append(fragment[at : tag.start()])
            at = tag.end()
            if tag[1] == "img":
                done.append(self._shown_picture(tag[2]))
            elif tag[1] == "a":
                href = _HREF.search(tag[2])
                host, name = self._hosts.get(href[1], ("", "")) if href else ("", "")
                links.append((at, host, name))
                done.append(f'<a{tag[2]} title="{escape(name)}" rel="{_REL}">' if host else "<a>")
            else:
                done.append("</a>")
                begin, host, name = links.pop() if links else (at, "", "")
                looked_at += tag.start() - begin
                if host and (
                    "xn--" in name
                    or looked_at > _MAX_LINK_CHARS
                    or _BRACKET.match(fragment, at)
                    or disguised(_words_of(fragment[begin : tag.start()]), host)
                ):
                    beside = f" {_OURS}[{escape(name)}]</span>"
                    done.append("" if fragment.startswith(beside, at) else beside)
        done.append(fragment[at:])
        return "".join(done)

    def _shown_picture(self, rest: str) -> str:
        src, alt = _SRC.search(rest), _ALT.search(rest)
        words = alt[1] if alt else ""
        if src and src[1] != "cid":
            host = escape(shown(src[2].strip("/")))
            return f"{_OURS}[{words} ({host})]</span>" if words and not _UNSEEN.search(rest) else ""
        if src:
            if url := self._data_url(unescape(src[2])):
                return f'<img{rest[: src.start()]} src="{url}"{rest[src.end() :]}>'
            self._problems.add("picture-left-out")
        return f"[{words}]" if words else ""

    def _data_url(self, name: str) -> str | None:
        """The picture as a URL, or None where there is none or all pictures together, each as often as it is shown, are too much."""
        if name not in self._pictures:
            self._keep(name, self._picture(name) or b"")
        found = self._pictures[name]
        if found is None or self._picture_bytes + len(found[1]) * 3 // 4 > MAX_PICTURE_BYTES:
            return None
        self._picture_bytes += len(found[1]) * 3 // 4
        if not name.startswith("data:"):
            self._shown.add(name)
        return f"data:{found[0]};base64,{found[1].decode('ascii')}"

    def _keep(self, name: str, content: bytes) -> None:
        media_type = sniffed(content)
        fits = media_type in PICTURES and len(content) <= MAX_PICTURE_BYTES
        self._pictures[name] = (media_type, base64.b64encode(content)) if fits else None


class _Judged(dict[tuple[str, str], str | None]):
    """What was decided for an attribute and its value, decided when first asked: mails repeat theirs a lot."""

    def __init__(self, judge: Callable[[str, str], str | None]) -> None:
        super().__init__()
        self._judge = judge

    def __missing__(self, key: tuple[str, str]) -> str | None:
        kept = self[key] = self._judge(*key)
        return kept


def text_of(fragment: str) -> str:
    """The words of a cleaned fragment, a line a block, for a mail that has no text of its own."""
    lines = _LINE_END.sub("\n", _IN_LINE_SPACE.sub(" ", fragment))
    text = unescape(_ANY_TAG.sub("", _CELL_END.sub("\t", lines)))
    return _BLANK_LINES.sub("\n\n", _LINE_SPACE.sub("\n", text)).strip()


def _words_of(markup: str) -> str:
    """What of a link's content people will read, with what is written for its pictures."""
    return unescape(_ANY_TAG.sub("", _PICTURE.sub(_words_for, markup)))


def _words_for(tag: re.Match[str]) -> str:
    src, alt = _SRC.search(tag[1]), _ALT.search(tag[1])
    host = shown(src[2].strip("/")) if src and src[1] != "cid" else ""
    return f"{alt[1] if alt else ''} {host} "


def content_id(text: str) -> str:
    """A Content-ID, or what follows `cid:`, in the form both are compared in (RFC 2392)."""
    return plain(unquote(text), 500).translate(_NO_ANGLES)


def _body(tag: re.Match[str]) -> str:
    """A body's colours on a div: fragments have no body, and white text on a lost black one could not be read."""
    found = _BODY_STYLE.search(tag[1])
    style = found[1][1:-1] if found else ""
    for name, colour in _BODY_COLOUR.findall(tag[1]):
        style = f"{'background-color' if name.lower() == 'bgcolor' else 'color'}:{colour};{style}"
    return f'<div style="{style.replace(chr(34), "&quot;")}">' if style else "<div>"
