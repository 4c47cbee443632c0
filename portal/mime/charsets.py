"""Bytes to text under a charset that may be missing, unknown or a lie.

Names are looked up in our own table, never handed to `codecs.lookup`: it tries to import a module a name and remembers
every failure, and among Python's codecs are some (punycode, idna) that need quadratic time.
"""

import re

from webencodings.labels import LABELS

_WINDOWS = ("cp1252", "us-ascii ascii ansi_x3.4-1968 iso-8859-1 iso8859-1 latin1 latin-1 windows-1252 cp1252")
_OTHERS = (
    ("utf-8", "utf-8 utf8 unicode-1-1-utf-8"),
    ("utf-7", "utf-7"),
    ("utf-16", "utf-16"),
    ("utf-16-le", "utf-16le"),
    ("utf-16-be", "utf-16be"),
    ("iso8859-15", "iso-8859-15 latin9 latin-9"),
    ("iso8859-8", "iso-8859-8-i iso-8859-8-e"),
    ("cp932", "shift_jis shift-jis sjis ms_kanji windows-31j cp932"),
    ("euc_jp", "euc-jp"),
    ("iso2022_jp", "iso-2022-jp"),
    ("gb18030", "gb2312 gbk gb18030 cp936 hz-gb-2312"),
    ("cp950", "big5 cp950"),
    ("big5hkscs", "big5-hkscs"),
    ("cp949", "ks_c_5601-1987 euc-kr cp949 ks_c_5601"),
    ("iso2022_kr", "iso-2022-kr"),
    ("koi8-r", "koi8-r"),
    ("koi8-u", "koi8-u"),
    ("cp874", "tis-620 windows-874 iso-8859-11"),
    ("mac-roman", "macintosh mac"),
    ("cp437", "cp437 ibm437"),
    ("cp850", "cp850 ibm850"),
    ("cp866", "cp866 ibm866"),
)
# The labels that browsers know (WHATWG Encoding 4.2), with what Python calls them; ours above go first.
_BROWSERS = {"gbk": "gb18030", "big5": "cp950", "euc-kr": "cp949", "shift_jis": "cp932", "iso-8859-8-i": "iso8859-8"} | {
    "macintosh": "mac-roman", "x-mac-cyrillic": "mac-cyrillic", "windows-874": "cp874", "utf-16be": "utf-16-be",
    "utf-16le": "utf-16-le",
}  # fmt: skip
_CODECS = {
    label: _BROWSERS.get(name, name) for label, name in LABELS.items() if name not in ("replacement", "x-user-defined")
}
_CODECS |= {alias: codec for codec, aliases in (_WINDOWS, *_OTHERS) for alias in aliases.split()}
_CODECS |= {f"iso-8859-{n}": f"iso8859-{n}" for n in (2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 16)}
_CODECS |= {f"{prefix}125{n}": f"cp125{n}" for n in (0, 1, 3, 4, 5, 6, 7, 8) for prefix in ("windows-", "cp")}
_SEPARATORS = re.compile(r"[\s_]+")
_BYTE_ORDER = (b"\xff\xfe", b"\xfe\xff")
_JAPANESE = re.compile(rb"\x1b\$[@B(]")


def decode(raw: bytes, charset: str | None) -> tuple[str, bool]:
    """The text, and whether it came out whole. Never raises.

    UTF-8 is taken before a claim of ASCII or Latin-1, which are what mail programs say when they do not know; those two mean
    windows-1252, as in browsers. A charset that does not explain all bytes is kept if it explains most; what
    none explains is windows-1252 with replacement signs.
    """
    codec = _codec(raw, charset)
    for attempt in ("utf-8", codec) if codec in (None, "cp1252") else (codec, "utf-8"):
        if attempt is not None:
            try:
                text = raw.decode(attempt)
                if attempt == "utf-7":  # the only one here that lets half characters through
                    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
                return text, codec is not None or charset is None or attempt == "utf-8"
            except ValueError:
                continue
    for attempt in ("utf-8", codec):
        text = raw.decode(attempt, "replace") if attempt not in (None, "cp1252") else ""
        broken = text.count("\ufffd")
        if text and 2 * broken < sum(sign > "\x7f" for sign in text[:100_000]) and 10 * broken < len(text) + 10:
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), False
    return raw.decode("cp1252", "replace"), False


def _codec(raw: bytes, charset: str | None) -> str | None:
    """Python's name for what the bytes claim to be, unless the bytes themselves say otherwise; None for an unknown claim or none."""
    claimed = charset.strip().strip("\"'").lower() if charset else ""
    codec = _CODECS.get(claimed) or _CODECS.get(_SEPARATORS.sub("-", claimed))
    if raw[:2] in _BYTE_ORDER and codec in (None, "cp1252", "utf-8"):
        return "utf-16"
    if codec in (None, "cp1252", "utf-8") and _JAPANESE.search(raw):
        return "iso2022_jp"
    if codec is not None and codec.startswith("utf-16") and raw.isascii() and b"\0" not in raw:
        return "utf-8"
    return codec
