"""Names and types of attachments that are safe on any file system and in any header."""

import re
from contextlib import suppress
from typing import Final
from urllib.parse import unquote

from filetype import match  # type: ignore[import-untyped]
from filetype.types.archive import Pdf  # type: ignore[import-untyped]
from filetype.types.image import Gif, Jpeg, Png, Webp  # type: ignore[import-untyped]

from portal.mime.limits import MAX_NAME_CHARS
from portal.mime.words import plain, unencoded

PICTURES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
OPAQUE: Final = "application/octet-stream"

_NOT_IN_NAMES = re.compile(r'[/\\:*?"<>|%\s]+')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|\Z)", re.IGNORECASE)
_PERCENT = re.compile(r"%[0-9A-Fa-f]{2}")
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,10}\Z")
_EXTENSIONS = {
    "message/rfc822": "eml",
    "message/global": "eml",
    "message/news": "eml",
    "message/delivery-status": "txt",
    "message/global-delivery-status": "txt",
    "message/disposition-notification": "txt",
    "text/rfc822-headers": "txt",
    "text/plain": "txt",
    "text/html": "html",
    "text/calendar": "ics",
    "text/csv": "csv",
    "text/vcard": "vcf",
    "text/x-vcard": "vcf",
    "text/directory": "vcf",
    "application/ics": "ics",
    "text/x-vcalendar": "vcs",
    "application/pdf": "pdf",
    "application/pkcs7-signature": "p7s",
    "application/x-pkcs7-signature": "p7s",
    "application/pkcs7-mime": "p7m",
    "application/x-pkcs7-mime": "p7m",
    "application/pgp-encrypted": "asc",
    "application/pgp-keys": "asc",
    "application/ms-tnef": "dat",
    "application/pgp-signature": "asc",
    "application/zip": "zip",
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/gif": "gif",
    "image/webp": "webp",
}


def sniffed(content: bytes) -> str:
    """What the bytes are by their signature, of png, jpeg, gif, webp and pdf; anything else is octets."""
    try:
        kind = match(content[:8192], matchers=(Png(), Jpeg(), Gif(), Webp(), Pdf()))
    except Exception:
        return OPAQUE
    return str(kind.mime) if kind is not None else OPAQUE


def safe_name(claimed: str, number: str, declared: str) -> str:
    """`claimed` as one path component: NFC, no control, bidi, path or wildcard characters, no reserved device name.

    At most 120 characters and 240 bytes, with the extension kept. Without a usable name: `attachment-2.pdf` by the declared type.
    """
    if "=?" in claimed:
        claimed = unencoded(claimed.encode("utf-8", "replace"))
    elif _PERCENT.search(claimed):  # as in a URL, though a name is none; web mails do it
        with suppress(UnicodeDecodeError):
            claimed = unquote(claimed, errors="strict")
    if len(claimed) > 1000:  # what it ends in says what it is
        claimed = claimed[:500] + claimed[-500:]
    name = _NOT_IN_NAMES.sub(" ", plain(claimed, 1000)).strip(" .~")
    name = _shortened(name)
    if not name.strip("-_. "):
        return f"attachment-{number}.{_EXTENSIONS.get(declared, 'bin')}"
    return f"_{name}" if _RESERVED.match(name) else name


def _shortened(name: str) -> str:
    found = _EXTENSION.search(name)
    extension = found[0] if found else ""
    stem = name.removesuffix(extension)[: MAX_NAME_CHARS - len(extension)]
    while len(stem.encode()) + len(extension) > 240:
        stem = stem[:-1]
    return stem.rstrip(" .") + extension
