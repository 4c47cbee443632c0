"""A raw mail becomes what is shown of it: heading, text, clean HTML, attachments. Runs in the render process only.

One part is one document: bodies are never glued together (EFAIL), what is not shown is an attachment. Nothing raises out of `parse`;
a mail that can't be read is `unparsable`, with whatever heading there is.
"""

import re
from dataclasses import dataclass, field

from portal.mime import VERSION, Part, Rendition
from portal.mime.charsets import decode
from portal.mime.clean import Cleaner, content_id, text_of
from portal.mime.fields import Raw
from portal.mime.heading import heading_from, unparsable
from portal.mime.limits import MAX_HTML_CHARS, MAX_RAW_BYTES, MAX_TEXT_CHARS, Unparsable
from portal.mime.names import safe_name, sniffed
from portal.mime.quoted import answers, quoted_html, quoted_text
from portal.mime.structure import Entity, Tree, tree
from portal.mime.transfer import decoded
from portal.mime.words import plain

_META_CHARSET = re.compile(rb"<meta[^>]{1,200}charset\s*=\s*[\"']?([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
_CONTROLS = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")
_EXCERPT_CHARS = 256 * 1024
# What a mail program makes of the same text for machines; nobody misses it among the attachments.
_UNSHOWN = frozenset({"text/x-amp-html", "text/watch-html"})


@dataclass(frozen=True)
class Parsed:
    """`contents` are the decoded bytes of `rendition.parts`, in their order."""

    rendition: Rendition
    contents: tuple[bytes, ...]


def parse(raw: Raw, cleaner: Cleaner) -> Parsed:
    """Never raises for what the mail contains."""
    try:
        if len(raw) > MAX_RAW_BYTES:
            raise Unparsable
        return _Reading(raw, tree(raw)).parsed(cleaner)
    except Exception:
        return Parsed(unparsable(raw), ())


@dataclass
class _Bodies:
    """The body in its two forms, each at most once, and all other parts in order."""

    text: Entity | None = None
    html: Entity | None = None
    rest: list[Entity] = field(default_factory=list)


def _bodies(entity: Entity) -> _Bodies:
    if entity.media_type.startswith("multipart/"):
        found = [_bodies(part) for part in entity.parts]
        return _best(found) if entity.media_type == "multipart/alternative" else _first(found)
    if entity.attached or entity.media_type not in ("text/plain", "text/html"):
        return _Bodies(rest=[entity])
    return _Bodies(html=entity) if entity.media_type == "text/html" else _Bodies(text=entity)


def _best(found: list[_Bodies]) -> _Bodies:
    """The last form that can be shown is the sender's best (RFC 2046 5.1.4); HTML is shown, text kept beside it."""
    chosen = _Bodies()
    for one in found:
        chosen.text, chosen.html = one.text or chosen.text, one.html or chosen.html
    for one in found:
        spare = [part for part in (one.text, one.html) if part and part not in (chosen.text, chosen.html)]
        chosen.rest += [*spare, *(part for part in one.rest if part.media_type not in _UNSHOWN)]
    return chosen


def _first(found: list[_Bodies]) -> _Bodies:
    """The first body is the mail's; any other is an attachment of it."""
    chosen = _Bodies()
    for one in found:
        if chosen.text is None and chosen.html is None:
            chosen.text, chosen.html = one.text, one.html
            chosen.rest += one.rest
        else:
            chosen.rest += [part for part in (one.text, one.html) if part] + one.rest
    return chosen


class _Reading:
    """One mail on its way from tree to rendition."""

    def __init__(self, raw: Raw, mail: Tree) -> None:
        self._raw = raw
        self._mail = mail
        self._problems = set(mail.problems)
        self._bodies = _bodies(mail.root)
        self._pictures = {
            content_id(str(part.content["content-id"]).strip(" <>")): part
            for part in reversed(self._bodies.rest)
            if "content-id" in part.content and part.media_type.startswith(("image/", "application/octet-stream"))
        }

    def parsed(self, cleaner: Cleaner) -> Parsed:
        html, text = self._html(cleaner), self._text()
        if html is not None and not text.strip():
            text = text_of(html.words)
        parts: list[Part] = []
        contents: list[bytes] = []
        for entity in self._bodies.rest:
            content = self._content(entity)
            parts.append(_part(str(len(parts) + 1), entity, content))
            contents.append(content)
        heading, _, references, _ = heading_from(self._mail.fields)
        fragment = html.fragment if html is not None else None
        answer = answers(references, heading.subject)
        rendition = Rendition(
            version=VERSION,
            heading=heading,
            text=text[:MAX_TEXT_CHARS],
            html=fragment,
            parts=tuple(parts),
            problems=tuple(sorted(self._problems)),
            quoted_text=quoted_text(text[:MAX_TEXT_CHARS]) if answer else None,
            quoted_html=quoted_html(fragment) if answer and fragment else None,
        )
        return Parsed(rendition, tuple(contents))

    def _content(self, entity: Entity) -> bytes:
        content, whole = decoded(self._raw, entity.start, entity.end, entity.value("content-transfer-encoding"))
        if not whole:
            self._problems.add("bad-encoding")
        return content

    def _string(self, entity: Entity) -> str:
        content = self._content(entity)
        charset = entity.parameter("charset")
        if not charset and entity.media_type == "text/html" and (meta := _META_CHARSET.search(content[:2048])):
            charset = meta[1].decode("ascii")
        text, whole = decode(content, charset or None)
        if not whole:
            self._problems.add("bad-encoding")
        return text

    def _text(self) -> str:
        entity = self._bodies.text
        if entity is None:
            return ""
        text = _CONTROLS.sub("", self._string(entity).replace("\r\n", "\n").replace("\r", "\n"))
        if len(text) > MAX_TEXT_CHARS:
            self._problems.add("text-cut")
            self._bodies.rest.insert(0, entity)
        return text

    def _html(self, cleaner: Cleaner) -> "_Html | None":
        entity = self._bodies.html
        if entity is None:
            return None
        source = self._string(entity)
        cleaned = cleaner.clean(source, self._picture)
        self._problems |= cleaned.problems
        if cleaned.html is None:
            self._bodies.rest.insert(0, entity)
            excerpt = cleaner.clean(source[: min(_EXCERPT_CHARS, MAX_HTML_CHARS)], lambda _: None)
            return _Html(None, excerpt.html or "")
        shown = [self._pictures[name] for name in cleaned.shown]
        self._bodies.rest = [part for part in self._bodies.rest if part.attached or part not in shown]
        return _Html(cleaned.html, cleaned.html)

    def _picture(self, name: str) -> bytes | None:
        entity = self._pictures.get(name)
        return self._content(entity) if entity is not None else None


@dataclass(frozen=True)
class _Html:
    """The fragment to show, or None if it was left out, and a fragment to take words from."""

    fragment: str | None
    words: str


def _part(number: str, entity: Entity, content: bytes) -> Part:
    declared = plain(entity.media_type, 120)
    claimed = entity.parameter("filename", "content-disposition") or entity.parameter("name")
    return Part(number, safe_name(claimed, number, declared), sniffed(content), declared, len(content))
