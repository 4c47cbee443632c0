"""Where a link of a mail may lead, and where it really leads."""

import re
from urllib.parse import quote, unquote

# What nearly all links look like, and nothing that needs a second look.
_ORDINARY = re.compile(
    r"https?://([a-z0-9]+(?:[.-][a-z0-9]+){1,20})"
    r"(?:[/?#][!#-;=?-\[\]_a-z~]{0,4000})?\Z"
)
_WEB = re.compile(r"(https?)://([^/?#\s\\@<>\"'`{}|^%]+)([/?#].*)?\Z", re.IGNORECASE)
_HOST = re.compile(r"((?:[a-z0-9_](?:[a-z0-9_-]{0,62})?\.)*[a-z0-9_](?:[a-z0-9_-]{0,62}))\.?(:\d{1,5})?\Z")
_MAIL = re.compile(r"mailto:[A-Za-z0-9.!#$%&'*+/=?^_`{|}~@,; -]{1,1000}\Z", re.IGNORECASE)
_IGNORED = re.compile(r"[\t\r\n]+")
_TO_ESCAPE = re.compile(r"[\x00-\x20\x7f\xa0\"<>\\^`{|}]")
_MAX_CHARS = 8000


def target(href: str) -> tuple[str, str] | None:
    """The link target in a form that no two programs read differently and the host (or mail address) it leads to; or None.

    http, https and mailto only; no user name before the host, no backslash in it; a host with other letters in its A-label form.
    """
    if ordinary := _ORDINARY.match(href):
        return href, ordinary[1]
    href = _IGNORED.sub("", href).strip("\x00\x01 \u00a0")
    if len(href) > _MAX_CHARS:
        return None
    if _MAIL.match(href):
        return href, unquote(href[7:].partition("?")[0])[:200]
    found = _WEB.match(href)
    host = _ascii_host(found[2]) if found else None
    if found is None or host is None:
        return None
    rest = _TO_ESCAPE.sub(lambda sign: quote(sign[0]), found[3] or "")
    return f"{found[1].lower()}://{host}{rest}", host


def _ascii_host(text: str) -> str | None:
    if len(text) > 300:
        return None
    try:
        name = text.lower() if text.isascii() else text.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return None
    found = _HOST.match(name)
    return name if found and len(found[1]) <= 253 else None
