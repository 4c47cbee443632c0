"""Where a link of a mail may lead, where it really leads, and whether its words say something else."""

import re
import unicodedata
from urllib.parse import quote, unquote

from portal.mime.words import plain

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
# What people take for an address: with its scheme whatever follows, without it names with a dot before the last one.
_CLAIM = re.compile(
    r"(?:https?|ftp)://?([^\s/?#]{1,300})|((?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24})(?![\w@])", re.IGNORECASE
)
# Letters of Latin-1 and Latin Extended-A: those that are a plain letter with a mark, and nothing else, are read as what they are.
_MARKED_LETTERS = re.compile("[ß\u00e0-\u017f]")


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
        return f"mailto:{href[7:]}", _addresses(href[7:])
    found = _WEB.match(href)
    host = _ascii_host(found[2]) if found else None
    if found is None or host is None:
        return None
    rest = _TO_ESCAPE.sub(lambda sign: quote(sign[0]), found[3] or "")
    return f"{found[1].lower()}://{host}{rest}", host


def _addresses(rest: str) -> str:
    """To whom a mailto link writes: before its fields, and in those named `to` (RFC 6068 2). One that names nobody opens a program."""
    before, _, fields = rest.partition("?")
    named = (one.partition("=") for one in fields.split("&"))
    found = [before, *(value for name, _, value in named if unquote(name).lower() == "to")]
    return ",".join(unquote(one) for one in found if one)[:200] or "mailto:"


def disguised(words: str, host: str) -> bool:
    """Whether the words of a link name another host than the one it leads to; `host` is what `target` gave."""
    names = [one.rpartition("@")[2].partition(":")[0] for one in re.split("[,;]", host)]
    claims = {(claim[1] or claim[2]).lower() for claim in _CLAIM.finditer(_seen(words))}
    return any(not _is_same(claim, name) for claim in claims for name in names)


def shown(host: str) -> str:
    """A host as people read it. One with letters that may be taken for others (any but a-z with an accent) stays an A-label."""
    if "xn--" not in host:
        return host
    import idna  # here: few mails have such a link

    try:
        name = idna.decode(host)
    except UnicodeError:
        return host
    rest = _MARKED_LETTERS.sub(lambda sign: unicodedata.normalize("NFD", sign[0].replace("ß", "ss"))[0], name)
    return name if rest.isascii() else host


def _seen(words: str) -> str:
    """The words as they look: without what is invisible, and signs of other widths as the usual ones."""
    return plain(unicodedata.normalize("NFKC", words.replace("\u00ad", "")), len(words)).replace("\u3002", ".")


def _is_same(claim: str, name: str) -> bool:
    claimed = _ascii_host(claim.rpartition("@")[2].rstrip(".,;:!)]>"))
    if claimed is None:
        return False
    claimed = claimed.partition(":")[0].removeprefix("www.")
    return name == claimed or name.endswith(f".{claimed}")


def _ascii_host(text: str) -> str | None:
    if len(text) > 300:
        return None
    try:
        name = text.lower() if text.isascii() else _a_labels(text)
    except UnicodeError:
        return None
    found = _HOST.match(name)
    return name if found and len(found[1]) <= 253 else None


def _a_labels(text: str) -> str:
    """As browsers write it (UTS 46, non-transitional): `straße.example` is not `strasse.example`."""
    import idna  # here: few mails have such a link

    host, colon, port = text.partition(":")
    return idna.encode(host, uts46=True).decode("ascii").lower() + colon + port
