"""Where the earlier messages begin that an answer quotes below its own words, so that a page can fold them away.

Runs in the render process, over text and cleaned HTML as they are shown, and gives places in them: nothing is cut or changed. Quoting
has no standard, so this errs on the side of showing: only a mail that says it answers one (RFC 5322 3.6.4) is looked at, what is
forwarded is the message itself, what is answered word by word stays open, and so does a mail without words of its own.

Text is read by mail-parser-reply, which knows how mail programs introduce a quote in several languages, and by the marks of RFC 3676
4.5 (`>`), which need none. The library's expressions take cubic time in a line, so it sees short lines and few of them.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from html import unescape

_MAX_CHARS = 20_000
_MAX_LINE = 250
_MAX_TAGS = 20_000
_MAX_RULES = 40
_HEADER_CHARS = 3000
_LANGUAGES = ("en", "es", "zh", "ko")
_FORWARDED = re.compile(
    r"\s*(?:fwd?|wg|tr|rv|i|enc|转发|轉寄|전달|chuyển tiếp|إعادة توجيه|пересл\w*)\s*[:：]", re.IGNORECASE
)
_PASSED_ON = re.compile(r"[>\s]*-{3,}(?!.{0,40}riginal).{3,60}-{3,}\s*\Z")
"""The line above what was forwarded, in any language: ---------- Forwarded message ---------"""
_RULE = re.compile(r"\s*_{10,}\s*\Z")
_FIELD = re.compile(r"[>* ]*[^\W\d][\w ]{1,30}[:：]\*?\s*\S|\s*-{5,}")
"""A line of a header that stands above a quote, or what cuts it off: not the words "On ..., Carol wrote:"."""
_INTRODUCES = re.compile(r"[^\n]{0,300}[@\d][^\n]{0,300}[:：]\s*\Z")

# The cleaned fragment is the sanitiser's own writing: an angle bracket is a tag's, and every element but these is closed.
_TAG = re.compile(r"<(/?)([a-z0-9]+)([^<>]*)>")
_VOID = frozenset({"br", "hr", "img", "wbr", "col"})
_LINE_END = re.compile(r"<br>|<hr[^<>]*>|</(?:div|p|blockquote|tr|li)>")
_CLOSED = frozenset(
    {"table", "tbody", "thead", "tfoot", "tr", "ul", "ol", "dl", "p", "a", "h1", "h2", "h3", "h4", "h5", "h6"}
)
"""Elements that could not hold a fold."""
_RULED = re.compile(r'style="(?:[^"]*;)?border-top:[^";]*solid')
"""Outlook draws a line above the header of what it quotes: `border-top:solid #E1E1E1 1.0pt`."""


def answers(references: tuple[str, ...], subject: str) -> bool:
    """Whether a mail says that it answers another, and does not hand one on."""
    return bool(references) and not _FORWARDED.match(subject)


def quoted_text(text: str) -> int | None:
    """The offset in `text` from which on all is quoted, or None."""
    lines = text.split("\n")
    marked, introduced = _marked(lines), _introduced(lines)
    at = marked
    if introduced is not None and (marked is None or introduced < marked):
        between = lines[introduced + 1 : marked]
        # Words between or below marked lines are answers to what stands above them: then only the last quote is folded.
        one_by_one = any(line.startswith(">") for line in between)
        broken = marked is None or sum(1 for line in between if line.strip()) <= 1
        if not one_by_one and (broken or _FIELD.match(lines[introduced])):
            at = introduced
    if at is None or not any(line.strip() for line in lines[:at]):
        return None
    return sum(len(line) + 1 for line in lines[:at])


def _marked(lines: list[str]) -> int | None:
    """The line where the marked lines begin that end the text, or where they are introduced."""
    at = len(lines)
    while at and (lines[at - 1].startswith(">") or not lines[at - 1].strip()):
        at -= 1
    while at < len(lines) and not lines[at].strip():
        at += 1
    if at == len(lines):
        return None
    above = at
    while above and not lines[above - 1].strip():
        above -= 1
    for first in (above - 1, above - 2):  # the introduction may be broken in two
        if first >= 0 and _INTRODUCES.match(" ".join(lines[first:above])):
            return first - 1 if first and lines[first].startswith("<") else first
    return at


def _introduced(lines: list[str]) -> int | None:
    """The line with which a mail program introduces what it quotes, by its words."""
    short, chars = [], 0
    for line in lines:
        short.append(line[:_MAX_LINE])
        chars += len(short[-1]) + 1
        if chars > _MAX_CHARS:
            break
    joined = "\n".join(short)
    found = _introductions().search(joined)
    if found is None:
        return None
    begin = found.start() + len(found[0]) - len(found[0].lstrip())  # the library may begin at the end of a line above
    at = joined.count("\n", 0, begin)
    above = next((number for number in range(at - 1, -1, -1) if lines[number].strip()), None)
    if above is not None and _PASSED_ON.match(lines[above]):
        return None
    return above if above is not None and _RULE.match(lines[above]) else at


@lru_cache
def _introductions() -> re.Pattern[str]:
    # Here, since few mails are answers and the expressions take time and memory to compile.
    from mailparser_reply.parser import EmailMessage

    found: re.Pattern[str] = EmailMessage(text="", languages=list(_LANGUAGES)).HEADER_REGEX
    return found


# -- HTML


@dataclass
class _Element:
    """An element of the fragment: its tag is `begin` to `inner`, its end tag `close` to `end`."""

    name: str
    begin: int
    inner: int
    around: "_Element | None"
    close: int = 0
    end: int = 0


def quoted_html(fragment: str) -> tuple[int, int] | None:
    """From where to where `fragment` is quoted, or None. All of it lies in one element, so that a fold can be put around it."""
    top = _Element("", 0, 0, None, len(fragment), len(fragment))
    quotes, rules = _found(fragment, top)
    for rule in rules[:_MAX_RULES]:
        if _headed(fragment[rule.begin : rule.begin + _HEADER_CHARS]):
            return _fold(fragment, rule, rule.begin, None)
    if not quotes or not _blank(fragment[quotes[-1].end :]):
        return None
    quote = quotes[-1]
    assert quote.around is not None
    above = _last_line(fragment, quote.around.inner, quote.begin)
    if above and _cites(above[1]):
        return _fold(fragment, quote, above[0], quote.end)
    first = _words(fragment[quote.inner : quote.inner + _HEADER_CHARS]).strip().split("\n")[0]
    return _fold(fragment, quote, quote.begin, quote.end) if _cites(first) else None


def _found(fragment: str, top: _Element) -> tuple[list[_Element], list[_Element]]:
    """The outermost block quotes, and whatever draws a line; none where the fragment is not as the sanitiser writes it, or is long."""
    open_, quotes, rules = [top], [], []
    for count, tag in enumerate(_TAG.finditer(fragment)):
        closes, name, rest = tag.groups()
        if count >= _MAX_TAGS or (closes and open_[-1].name != name):
            return [], []
        if closes:
            done = open_.pop()
            done.close, done.end = tag.start(), tag.end()
            continue
        element = _Element(name, tag.start(), tag.end(), open_[-1], tag.end(), tag.end())
        if name == "hr" or _RULED.search(rest):
            rules.append(element)
        if name == "blockquote" and all(one.name != "blockquote" for one in open_):
            quotes.append(element)
        if name not in _VOID:
            open_.append(element)
    return (quotes, rules) if len(open_) == 1 else ([], [])


def _headed(markup: str) -> bool:
    """Whether a header stands here as Outlook writes it: three fields in bold, a line each, that the library knows or the first with
    an address. Results of a test may look much the same."""
    lines = [line.strip() for line in _words(markup).split("\n") if line.strip()][:3]
    if len(lines) < 3 or len(re.findall(r"<(?:b|strong)\b", markup)) < 3 or not all(map(_FIELD.match, lines)):
        return False
    return "@" in lines[0] or _introduced(lines) == 0


def _cites(line: str) -> bool:
    """Whether a line says whose words follow: by an address, or in words that the library knows."""
    line = line.strip()
    return bool(_INTRODUCES.match(line)) and ("@" in line or _introduced([line]) == 0)


def _fold(fragment: str, inside: _Element, begin: int, end: int | None) -> tuple[int, int] | None:
    """Widened while nothing else stands in the element around it; without an `end`, to the end of the element that it does not begin.

    None when all is quoted, or a fold could not stand there.
    """
    around = inside.around
    while around and around.around and _blank(fragment[around.inner : begin]):
        if end is not None and not _blank(fragment[end : around.close]):
            break
        begin, end, around = around.begin, end and around.end, around.around
    if around is None or around.name in _CLOSED or _blank(fragment[:begin]):
        return None
    fold = begin, around.close if end is None else end
    while around:
        if around.name in ("p", "a"):
            return None
        around = around.around
    return fold


def _last_line(fragment: str, begin: int, end: int) -> tuple[int, str] | None:
    """The last line of words between two places in one element, and where it begins. None when it does not stand alone."""
    at, depth = None, 0
    for tag in reversed(list(_TAG.finditer(fragment, max(begin, end - _HEADER_CHARS), end))):
        closes, name, _ = tag.groups()
        if depth == 0 and (name in _VOID or closes) and not _blank(fragment[tag.end() : end]):
            at = tag.end()  # words without an element of their own
            break
        depth += 0 if name in _VOID else 1 if closes else -1
        if depth == 0 and not _blank(fragment[tag.start() : end]):
            at = tag.start()
            break
    if at is None:
        at = begin if end - begin < _HEADER_CHARS else end
    words = _words(fragment[at:end]).strip()
    return (at, words) if words and "\n" not in words else None


def _words(markup: str) -> str:
    return unescape(_TAG.sub("", _LINE_END.sub("\n", markup)))


def _blank(markup: str) -> bool:
    return "<img" not in markup and not _words(markup).strip()
