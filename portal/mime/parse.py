"""A raw mail becomes what is shown of it: heading, text, clean HTML, attachments. Runs in the render process only.

One part is one document: bodies are never glued together (EFAIL), what is not shown is an attachment. Nothing raises out of `parse`;
a mail that can't be read is `unparsable`, with whatever heading there is.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from html import escape, unescape
from urllib.parse import urljoin

from portal.mime import VERSION, Enclosed, Part, Rendition, Told
from portal.mime.charsets import decode
from portal.mime.clean import Cleaner, content_id, text_of
from portal.mime.fields import Raw
from portal.mime.flowed import unflowed
from portal.mime.heading import heading_from, unparsable
from portal.mime.ical import Unreadable, cards, events
from portal.mime.kinds import CALENDARS, LOCKED, PGP_MESSAGE, kind_of
from portal.mime.limits import (
    MAX_DOCUMENTS_CHARS,
    MAX_ENCLOSED,
    MAX_HEADER_BYTES,
    MAX_RAW_BYTES,
    MAX_SHOWN_CHARS,
    MAX_TEXT_CHARS,
    MAX_TOLD,
    Unparsable,
)
from portal.mime.names import safe_name, sniffed
from portal.mime.quoted import answers, quoted_html, quoted_text
from portal.mime.report import reports
from portal.mime.structure import PKCS7, Entity, Tree, tree
from portal.mime.transfer import AS_IT_IS
from portal.mime.words import plain, spoken, untagged

_META_CHARSET = re.compile(rb"<meta[^>]{1,200}charset\s*=\s*[\"']?([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
_SRC = re.compile(r"(\bsrc\s*=\s*)(?:\"([^\"<>]{1,2000})\"|'([^'<>]{1,2000})'|([^\s\"'<>]{1,2000}))", re.IGNORECASE)
_SPACE = r"\s\u00ad\u034f\u200b-\u200f\u2060\ufeff"
# In a clean fragment: a picture, or a sign outside of all tags that is no kind of space.
_ANYTHING = re.compile(rf"<img\b|(?:\A|>)(?:[{_SPACE}]|&nbsp;)*(?!&nbsp;)[^<{_SPACE}]")
_EXCERPT_CHARS = 256 * 1024
_BLANK_BYTES = 1024
# What a mail program makes of the same text for machines; nobody misses it among the attachments.
_UNSHOWN = frozenset({"text/x-amp-html", "text/watch-html"})
# RFC 2046 4.1.4: an unknown kind of text is text. These people can read as it stands; other kinds are files.
_TEXTS = frozenset({"text/plain", "text/enriched", "text/richtext", "text/markdown", "text/x-markdown"})


@dataclass(frozen=True)
class Parsed:
    """`contents` are the decoded bytes of `rendition.parts`, in their order."""

    rendition: Rendition
    contents: tuple[bytes | memoryview, ...]


def parse(raw: Raw, cleaner: Cleaner) -> Parsed:
    """Never raises for what the mail contains."""
    try:
        if len(raw) > MAX_RAW_BYTES:
            raise Unparsable
        if b"\n" not in memoryview(raw)[:MAX_HEADER_BYTES].tobytes():
            raw = raw.replace(b"\r", b"\n")
        return _Reading(cleaner).parsed(tree(raw))
    except Exception:
        return Parsed(unparsable(raw), ())


# -- which part is what


@dataclass(frozen=True)
class _Words:
    """A document in its two forms, of which one at least is there."""

    text: Entity | None
    html: Entity | None

    @property
    def forms(self) -> list[Entity]:
        return [one for one in (self.text, self.html) if one is not None]


@dataclass
class _Bodies:
    """The documents of one mail, the first of which is its body, and all other parts; each in order."""

    words: list[_Words] = field(default_factory=list)
    rest: list[Entity] = field(default_factory=list)


def _bodies(entity: Entity) -> _Bodies:
    if entity.media_type.startswith("multipart/"):
        found = [_bodies(part) for part in entity.parts]
        match entity.media_type:
            case "multipart/alternative":
                return _best(found)
            case "multipart/related":
                return _rooted(entity, found)
            case _:
                return _one_after_the_other(found)
    if entity.attached or not (entity.media_type == "text/html" or entity.media_type in _TEXTS):
        return _Bodies(rest=[entity])
    if entity.end - entity.start < _BLANK_BYTES and not bytes(entity.source[entity.start : entity.end]).strip():
        return _Bodies()
    return _Bodies([_Words(None, entity) if entity.media_type == "text/html" else _Words(entity, None)])


def _best(found: list[_Bodies]) -> _Bodies:
    """The last form that can be shown is the sender's best (RFC 2046 5.1.4); HTML is shown, text kept beside it.

    The best form may be several documents (Apple Mail: HTML between pictures). What is left over is attached.
    """
    shown = [one for one in found if one.words]
    best = next((one for one in reversed(shown) if one.words[0].html), shown[-1] if shown else None)
    if best is None:
        return _Bodies(rest=[part for one in found for part in one.rest if part.media_type not in _UNSHOWN])
    first = best.words[0]
    texts = [one.words[0].text for one in shown if one.words[0].text]
    spoken_text = first.text or next(
        (text for text in reversed(texts) if text and text.media_type == "text/plain"), None
    )
    first = _Words(spoken_text or (texts[-1] if texts else None), first.html)
    chosen = _Bodies([first, *best.words[1:]])
    kept = {id(form) for words in chosen.words for form in words.forms}
    for one in found:
        chosen.rest += [form for words in one.words for form in words.forms if id(form) not in kept]
        chosen.rest += [part for part in one.rest if part.media_type not in _UNSHOWN]
    return chosen


def _rooted(entity: Entity, found: list[_Bodies]) -> _Bodies:
    """The root says where its other parts belong (RFC 2387): of these, what has a name by which to be asked for is a file."""
    start = content_id(entity.parameter("start").strip(" <>"))
    named = [content_id(str(part.content.get("content-id", "")).strip(" <>")) for part in entity.parts]
    root = named.index(start) if start and start in named else 0
    chosen = _Bodies()
    for at, (part, one) in enumerate(zip(entity.parts, found, strict=True)):
        if at != root and chosen.words and ("content-id" in part.content or "content-location" in part.content):
            chosen.rest += [form for words in one.words for form in words.forms] + one.rest
        else:
            chosen.words = one.words + chosen.words if at == root else chosen.words + one.words
            chosen.rest += one.rest
    return chosen


def _one_after_the_other(found: list[_Bodies]) -> _Bodies:
    """The first document is the mail's; a further one is shown below unless it is a file by its name."""
    chosen = _Bodies()
    for one in found:
        for words in one.words:
            if chosen.words and any(form.file_name for form in words.forms):
                chosen.rest += words.forms
            else:
                chosen.words.append(words)
        chosen.rest += one.rest
    return chosen


# -- the reading


@dataclass(frozen=True)
class _Document:
    """What is shown of a document: text, and HTML unless there is none or it was left out."""

    text: str
    html: str | None

    @property
    def blank(self) -> bool:
        return self.html is None and not self.text.strip()


class _Reading:
    """One mail on its way from tree to rendition, with the messages in it."""

    def __init__(self, cleaner: Cleaner) -> None:
        self._cleaner = cleaner
        self._parts: list[Part] = []
        self._contents: list[bytes | memoryview] = []
        self._told: list[Told] = []
        self._enclosed: list[Enclosed] = []
        self._problems: set[str] = set()
        self._html_left = MAX_DOCUMENTS_CHARS
        self._text_left = MAX_DOCUMENTS_CHARS
        self._shown_left = MAX_SHOWN_CHARS

    def parsed(self, mail: Tree) -> Parsed:
        body = self._read(mail, "", "")
        heading, _, references, _ = heading_from(mail.fields)
        answer = answers(references, heading.subject)
        rendition = Rendition(
            version=VERSION,
            heading=heading,
            text=body.text,
            html=body.html,
            parts=tuple(self._parts),
            problems=tuple(sorted(self._problems | mail.problems)),
            quoted_text=quoted_text(body.text) if answer else None,
            quoted_html=quoted_html(body.html) if answer and body.html else None,
            told=tuple(self._told),
            enclosed=tuple(self._enclosed),
        )
        return Parsed(rendition, tuple(self._contents))

    def _read(self, mail: Tree, part: str, within: str, *, signed: bool = False) -> _Document:
        """Takes in a mail, or the message in attachment `part` (or what was `signed` there), and gives back its first document."""
        bodies = _bodies(mail.root)
        if len(bodies.words) + len(self._enclosed) > MAX_ENCLOSED:
            room = max(MAX_ENCLOSED - len(self._enclosed), 1)
            bodies.rest[:0] = [form for words in bodies.words[room:] for form in words.forms]
            del bodies.words[room:]
            self._problems.add("too-many-parts")
        documents = [one for one in self._documents(bodies) if not one.blank]
        body = documents[0] if documents else _Document("", None)
        if part:
            heading = None if signed else heading_from(mail.fields)[0]
            self._enclosed.append(Enclosed(part, within, heading, body.text, body.html))
        self._enclosed += [Enclosed("", part, None, one.text, one.html) for one in documents[1:]]
        for entity in _each_calendar_once(bodies.rest):
            number = self._attach(entity, part)
            if entity.message is not None:
                self._read(entity.message, number, part, signed=entity.media_type in PKCS7)
        return body

    def _documents(self, bodies: _Bodies) -> list[_Document]:
        """Also moves what can't be shown to the attachments, and takes the pictures that are shown from there."""
        pictures = _Pictures(bodies.rest)
        over: list[Entity] = []
        documents = [self._document(words, pictures, over) for words in bodies.words]
        bodies.rest = over + [part for part in bodies.rest if part.attached or id(part) not in pictures.shown]
        return documents

    def _document(self, words: _Words, pictures: "_Pictures", over: list[Entity]) -> _Document:
        html, excerpt = self._html(words.html, pictures, over) if words.html else (None, "")
        text = self._text(words.text, over) if words.text else ""
        if html is not None and not _ANYTHING.search(html):
            html = None  # an empty form hides no words of the other
        return _Document(text if text.strip() else text_of(excerpt)[:MAX_TEXT_CHARS], html)

    def _html(self, entity: Entity, pictures: "_Pictures", over: list[Entity]) -> tuple[str | None, str]:
        """The fragment to show, or None if it was left out, and a fragment to take words from."""
        source = self._string(entity)
        if len(source) <= self._html_left:
            self._html_left -= len(source)
            located = pictures.located(source, entity)
            cleaned = self._cleaner.clean(located, lambda name: self._picture(pictures, name))
            self._problems |= cleaned.problems
            if cleaned.html is not None and len(cleaned.html) <= self._shown_left:
                self._shown_left -= len(cleaned.html)
                pictures.took(cleaned.shown)
                return cleaned.html, cleaned.html
        self._problems.add("html-left-out")
        over.append(entity)
        begins = source[:_EXCERPT_CHARS]
        excerpt = self._cleaner.clean(begins, lambda _: None).html
        return None, escape(untagged(begins)).replace("\n", "<br>") if excerpt is None else excerpt

    def _picture(self, pictures: "_Pictures", name: str) -> bytes | None:
        entity = pictures.named.get(name)
        return self._bytes(entity) if entity is not None else None

    def _text(self, entity: Entity, over: list[Entity]) -> str:
        text = spoken(self._string(entity))
        if entity.parameter("format").lower() == "flowed":
            text = unflowed(text, entity.parameter("delsp").lower() == "yes")
        most = min(MAX_TEXT_CHARS, self._text_left)
        self._text_left -= min(len(text), most)
        if len(text) > most:
            self._problems.add("text-cut")
            over.append(entity)
        elif text.lstrip().startswith(PGP_MESSAGE):
            over.append(entity)  # for the program that can open it
        return text[:most]

    def _string(self, entity: Entity) -> str:
        content = self._bytes(entity)
        charset = entity.parameter("charset")
        if not charset and entity.media_type == "text/html" and (meta := _META_CHARSET.search(content[:2048])):
            charset = meta[1].decode("ascii")
        text, whole = decode(content, charset or None)
        if not whole:
            self._problems.add("bad-encoding")
        return text.removeprefix("\ufeff")

    def _bytes(self, entity: Entity) -> bytes:
        content, whole = entity.decoded()
        if not whole:
            self._problems.add("bad-encoding")
        return content

    def _attach(self, entity: Entity, within: str) -> str:
        """Adds an attachment and what it says, and gives back its id."""
        content: bytes | memoryview
        if entity.message is not None and entity.value("content-transfer-encoding") in AS_IT_IS:
            content = memoryview(entity.source)[entity.start : entity.end]  # its own parts are copies enough
        else:
            content = self._bytes(entity)
        number, declared = str(len(self._parts) + 1), plain(entity.media_type, 120)
        beginning = bytes(content[:8192])
        kind = kind_of(entity, beginning)
        name = safe_name(entity.file_name, number, "application/pgp-encrypted" if kind == "pgp-encrypted" else declared)
        self._parts.append(Part(number, name, sniffed(beginning), declared, len(content), kind=kind, within=within))
        self._contents.append(content)
        if kind in LOCKED and entity.message is None:
            self._problems.add("other-program")
        if kind in _SAYS:
            self._tell(kind, bytes(content), entity.parameter("charset"), number)
        return number

    def _tell(self, kind: str, content: bytes, charset: str, part: str) -> None:
        try:
            told = _SAYS[kind](content, charset, part)
        except Unreadable:
            told = []
        if not told or len(told) + len(self._told) > MAX_TOLD:
            self._problems.add("part-unread")
        known = {_without_part(one) for one in self._told}
        self._told += [one for one in told if _without_part(one) not in known][: MAX_TOLD - len(self._told)]


_SAYS: dict[str, Callable[[bytes, str, str], Sequence[Told]]] = {
    "calendar": events,
    "contact": cards,
    "report": lambda content, _, part: reports(content, part),
}


def _without_part(one: Told) -> Told:
    return replace(one, part="")


def _each_calendar_once(rest: list[Entity]) -> list[Entity]:
    """Without those that a file beside them repeats byte for byte (Gmail, Outlook: once for programs, once for people)."""
    calendars = [part for part in rest if part.media_type in CALENDARS]
    files = {part.decoded()[0].strip() for part in calendars if part.file_name} if len(calendars) > 1 else set()
    return [
        part
        for part in rest
        if part.media_type not in CALENDARS or part.file_name or part.decoded()[0].strip() not in files
    ]


class _Pictures:
    """The pictures of one mail by what its HTML asks for them with: Content-ID (RFC 2392) or Content-Location (RFC 2557)."""

    def __init__(self, rest: list[Entity]) -> None:
        self.named: dict[str, Entity] = {}
        self.shown: set[int] = set()
        self._names: dict[str, str] = {}
        for number, part in enumerate(rest):
            if not part.media_type.startswith(("image/", "application/octet-stream")):
                continue
            if "content-id" in part.content:
                self.named.setdefault(content_id(str(part.content["content-id"]).strip(" <>")), part)
            if location := _location(part):
                name = self._names.setdefault(location, f"location:{number}")
                self.named.setdefault(name, part)

    def located(self, html: str, entity: Entity) -> str:
        """`html` with those sources turned into `cid:` that are in the mail under that address; relative ones count from its own."""
        if not self._names:
            return html
        base = _location(entity)

        def source(found: re.Match[str]) -> str:
            asked = unescape(found[2] or found[3] or found[4]).strip()
            name = self._names.get(asked)
            if name is None and base:
                try:
                    name = self._names.get(urljoin(base, asked))
                except ValueError:
                    name = None
            return f'{found[1]}"cid:{name}"' if name else found[0]

        return _SRC.sub(source, html)

    def took(self, names: Iterable[str]) -> None:
        self.shown |= {id(self.named[name]) for name in names if name in self.named}


def _location(part: Entity) -> str:
    """Its Content-Location, or the older Content-Base; folded where it was long (RFC 2557 4.4.2)."""
    return "".join(str(part.content.get("content-location") or part.content.get("content-base") or "").split())
