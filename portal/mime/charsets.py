"""Bytes to text under a charset that may be missing, unknown or a lie.

Names are looked up in our own table, never handed to `codecs.lookup`: it tries to import a module a name and remembers
every failure, and among Python's codecs are some (punycode, idna) that need quadratic time.
"""

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
_CODECS = {alias: codec for codec, aliases in (_WINDOWS, *_OTHERS) for alias in aliases.split()}
_CODECS |= {f"iso-8859-{n}": f"iso8859-{n}" for n in (2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 16)}
_CODECS |= {f"{prefix}125{n}": f"cp125{n}" for n in (0, 1, 3, 4, 5, 6, 7, 8) for prefix in ("windows-", "cp")}


def decode(raw: bytes, charset: str | None) -> tuple[str, bool]:
    """The text, and whether it came out whole. Never raises.

    UTF-8 is taken before a claim of ASCII or Latin-1, which are what mail programs say when they do not know; those two mean
    windows-1252, as in browsers (WHATWG Encoding 4.2). What no charset explains is windows-1252 with replacement signs.
    """
    codec = _CODECS.get(charset.strip().strip("\"'").lower()) if charset else None
    for attempt in ("utf-8", codec) if codec in (None, "cp1252") else (codec, "utf-8"):
        if attempt is not None:
            try:
                text = raw.decode(attempt)
                if attempt == "utf-7":  # the only one here that lets half characters through
                    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
                return text, codec is not None or charset is None or attempt == "utf-8"
            except ValueError:
                continue
    return raw.decode("cp1252", "replace"), False
