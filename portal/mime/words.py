"""Header text as people read it: encoded words decoded (RFC 2047), control and bidi override characters gone."""

import binascii
import re
import unicodedata
from html import unescape

from portal.mime.charsets import decode

# Every class excludes the question mark that ends it, and few of them may stand in the text, so the scan is linear whatever comes.
_ENCODED_WORD = re.compile(rb"=\?([!->@-~]{1,60})\?([bBqQ])\?([^?]*(?:\?(?!=)[^?]*){0,3})\?=")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")
# C0, C1 and the line and paragraph separators; bidi marks, embeddings, overrides and isolates; zero-width and tag characters.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]+"
)
_TAGS = re.compile(r"(<[/!A-Za-z][^<>]*>)")
_TAG_NAME = re.compile(r"<(/?)(!?\w*)[^<>]*>\Z")
_SILENT = frozenset({"script", "style", "title", "template", "textarea", "svg", "math"})
_BREAKING = frozenset({"br", "p", "div", "tr", "li", "table", "h1", "h2", "h3", "h4", "h5", "h6"})
_SPACES = re.compile(r"\s+")
_CONTROLS = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")


def plain(text: str, limit: int) -> str:
    """`text` in NFC on one line, without control, bidi and invisible characters, at most `limit` characters long."""
    if not (text.isascii() and text.isprintable()):
        text = unicodedata.normalize("NFC", _UNSEEN.sub(" ", text[: limit * 4]))
    return _SPACES.sub(" ", text[: limit * 4]).strip()[:limit].rstrip()


def spoken(text: str) -> str:
    """`text` of several lines, each ended by LF, without control characters."""
    return _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def untagged(markup: str) -> str:
    """The words of HTML that no parser is to see, roughly: for plain text, never to be shown as markup. Linear."""
    said: list[str] = []
    silent = ""
    for token in _TAGS.split(markup):
        tag = _TAG_NAME.match(token)
        if tag is None:
            said.append("" if silent else token)
        elif silent:
            silent = "" if tag[1] and tag[2].lower() == silent else silent
        elif tag[2].lower() in _SILENT and not tag[1]:
            silent = tag[2].lower()
        else:
            said.append("\n" if tag[2].lower() in _BREAKING else "")
    return unescape("".join(said))


def unencoded(value: bytes) -> str:
    """The header value with its encoded words decoded; raw 8-bit bytes are read as UTF-8 (RFC 6532), else windows-1252.

    Neighbouring words of one charset are joined before decoding: many mail programs cut in the middle of a character.
    """
    if b"=?" not in value:
        return decode(value, None)[0]
    texts: list[str] = []
    charset, pending, at = b"", b"", 0
    for word in _ENCODED_WORD.finditer(value):
        between = value[at : word.start()]
        named = word[1].lower().partition(b"*")[0]  # RFC 2231 5: a language may follow
        if between.strip() or named != charset or not at:
            texts.append(decode(pending, charset.decode("ascii"))[0] if pending else "")
            if between.strip() or not at:
                texts.append(decode(between, None)[0])
            pending, charset = b"", named
        pending += _word_bytes(word[2], word[3])
        at = word.end()
    texts.append(decode(pending, charset.decode("ascii"))[0] if pending else "")
    texts.append(decode(value[at:], None)[0])
    return "".join(texts)


def _word_bytes(encoding: bytes, text: bytes) -> bytes:
    """The bytes of an encoded word. Broken base64 gives what its signs still say; padding in the middle ends nothing."""
    if encoding in b"qQ":
        return binascii.a2b_qp(text, header=True)
    stretches = [_NOT_BASE64.sub(b"", stretch) for stretch in text.split(b"=")]
    whole = [stretch[:-1] if len(stretch) % 4 == 1 else stretch for stretch in stretches]
    return b"".join(binascii.a2b_base64(stretch + b"=" * (-len(stretch) % 4)) for stretch in whole)
