"""Header text as people read it: encoded words decoded (RFC 2047), control and bidi override characters gone."""

import base64
import binascii
import re
import unicodedata

from portal.mime.charsets import decode

# Every class excludes the question mark that ends it, so the scan is linear whatever comes.
_ENCODED_WORD = re.compile(rb"=\?([!->@-~]{1,60})\?([bBqQ])\?([^?]*)\?=")
# C0, C1 and the line and paragraph separators; bidi marks, embeddings, overrides and isolates; zero-width and tag characters.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]+"
)
_SPACES = re.compile(r"\s+")


def plain(text: str, limit: int) -> str:
    """`text` in NFC on one line, without control, bidi and invisible characters, at most `limit` characters long."""
    if not (text.isascii() and text.isprintable()):
        text = unicodedata.normalize("NFC", _UNSEEN.sub(" ", text[: limit * 4]))
    return _SPACES.sub(" ", text[: limit * 4]).strip()[:limit].rstrip()


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
        if between.strip() or word[1].lower() != charset or not at:
            texts.append(decode(pending, charset.decode("ascii"))[0] if pending else "")
            if between.strip() or not at:
                texts.append(decode(between, None)[0])
            pending, charset = b"", word[1].lower().partition(b"*")[0]
        pending += _word_bytes(word[2], word[3])
        at = word.end()
    texts.append(decode(pending, charset.decode("ascii"))[0] if pending else "")
    texts.append(decode(value[at:], None)[0])
    return "".join(texts)


def _word_bytes(encoding: bytes, text: bytes) -> bytes:
    if encoding in b"qQ":
        return binascii.a2b_qp(text, header=True)
    try:
        return base64.b64decode(text + b"=" * (-len(text.strip()) % 4))
    except ValueError:
        return text
