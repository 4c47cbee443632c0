"""What stands after MAIL, RCPT and XFORWARD, read strictly. Refuses what it can't read; knows no rules of the portal."""

import re
from dataclasses import dataclass

from portal.model import parties
from portal.smtp import replies
from portal.smtp.replies import Refused

# RFC 5321 4.1.2, less source routes (which it deprecates): <> or <local@domain>, then parameters
_PATH = re.compile(r'<((?:(?:"(?:[^"\\]|\\.)*"|[^\s"<>@,:;\\]+)@[^\s"<>@]+)?)>(?: +(.*))?\Z')
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([^\x00-\x20=\x7f]+))?\Z")
_XTEXT = re.compile(r"\+([0-9A-F]{2})")
_MAX_ADDRESS_BYTES = 320  # 64 + @ + 255: RFC 5321 4.5.3.1
_XFORWARD_NAMES = frozenset({"NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE"})


_NOTIFY = frozenset({"NEVER", "SUCCESS", "FAILURE", "DELAY"})
_MAX_ENVID = 100  # RFC 3461 4.4
_MAX_ORCPT = 500  # RFC 3461 4.2
_ORCPT = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,40};[^;].*\Z")


@dataclass(frozen=True)
class Mail:
    """MAIL FROM. `size` is what the client says the message will have (RFC 1870), 0 when it says nothing.

    `envid` is what reports name the envelope by (RFC 3461 4.4), decoded.
    """

    address: str
    size: int
    smtp_utf8: bool
    envid: str = ""


@dataclass(frozen=True)
class Rcpt:
    """RCPT TO. `notify` has the words of NOTIFY, `orcpt` is the address as the sender wrote it, with its type (RFC 3461 4.1, 4.2)."""

    address: str
    notify: frozenset[str] = frozenset()
    orcpt: str = ""


def parse_mail(text: str) -> Mail:
    """The argument of MAIL. Raises Refused."""
    address, parameters = _path(text, "FROM:")
    size = parameters.pop("SIZE", "0")
    body = parameters.pop("BODY", "7BIT")
    smtp_utf8 = "SMTPUTF8" in parameters
    flagged = parameters.pop("SMTPUTF8", None)
    parameters.pop("AUTH", None)  # RFC 4954 5: must be taken; nobody here asks for it
    envid = _xtext(parameters.pop("ENVID", "") or "", _MAX_ENVID)
    ret = parameters.pop("RET", "HDRS")
    if parameters:
        raise Refused(replies.UNKNOWN_PARAMETER)
    if flagged is not None or size is None or not re.fullmatch(r"[0-9]{1,20}", size):
        raise Refused(replies.BAD_ARGUMENT)
    if body is None or body.upper() not in {"7BIT", "8BITMIME"} or (ret or "").upper() not in {"FULL", "HDRS"}:
        raise Refused(replies.BAD_ARGUMENT)
    _check_address(address, smtp_utf8=smtp_utf8)
    return Mail(address, int(size), smtp_utf8, envid)


def parse_recipient(text: str, *, smtp_utf8: bool) -> Rcpt:
    """The argument of RCPT, its address one that the portal's rules can name. Raises Refused."""
    address, parameters = _path(text, "TO:")
    given = "NOTIFY" in parameters
    notify = frozenset((parameters.pop("NOTIFY", "") or "").upper().split(",")) if given else frozenset()
    orcpt = _orcpt(parameters.pop("ORCPT", "") or "")
    if parameters:
        raise Refused(replies.UNKNOWN_PARAMETER)
    if not notify <= _NOTIFY or ("NEVER" in notify and len(notify) > 1):
        raise Refused(replies.BAD_ARGUMENT)
    _check_address(address, smtp_utf8=smtp_utf8)
    try:
        parties.address(address)
    except ValueError:
        raise Refused(replies.BAD_ADDRESS) from None
    return Rcpt(address, notify, orcpt)


def _orcpt(text: str) -> str:
    """The address that reports name, or nothing where it can't stand in one (RFC 6533 allows more): no mail is refused for it."""
    try:
        told = _xtext(text, _MAX_ORCPT)
    except Refused:
        return ""
    return told if _ORCPT.match(told) else ""


def _xtext(text: str, most: int) -> str:
    """RFC 3461 4: what xtext stands for; printable ASCII only, since it goes into a report's fields. Raises Refused."""
    if len(text) > most or re.search(r"\+(?![0-9A-F]{2})", text):
        raise Refused(replies.BAD_ARGUMENT)
    told = _XTEXT.sub(lambda found: chr(int(found[1], 16)), text)
    if not re.fullmatch(r"[\x20-\x7e]*", told):
        raise Refused(replies.BAD_ARGUMENT)
    return told


def parse_ident(text: str) -> str | None:
    """The relay's queue id in an XFORWARD command (Postfix's XFORWARD_README), if it is told. Raises Refused."""
    ident = None
    for word in text.split():
        name, equals, value = word.partition("=")
        if not equals or name.upper() not in _XFORWARD_NAMES:
            raise Refused(replies.BAD_ARGUMENT)
        if name.upper() == "IDENT" and value != "[UNAVAILABLE]":
            ident = _XTEXT.sub(lambda found: chr(int(found[1], 16)), value)
    if ident is not None and not re.fullmatch(r"[\x21-\x7e]{1,255}", ident):
        raise Refused(replies.BAD_ARGUMENT)
    return ident


def _path(text: str, keyword: str) -> tuple[str, dict[str, str | None]]:
    if text[: len(keyword)].upper() != keyword:
        raise Refused(replies.BAD_ARGUMENT)
    found = _PATH.match(text[len(keyword) :].strip(" "))
    if not found:
        raise Refused(replies.BAD_ADDRESS)
    parameters: dict[str, str | None] = {}
    for word in (found[2] or "").split():
        parameter = _PARAMETER.match(word)
        if not parameter or parameter[1].upper() in parameters:
            raise Refused(replies.BAD_ARGUMENT)
        parameters[parameter[1].upper()] = parameter[2]
    return found[1], parameters


def _check_address(address: str, *, smtp_utf8: bool) -> None:
    if any(character < " " or character == "\x7f" or "\ud800" <= character <= "\udfff" for character in address):
        raise Refused(replies.BAD_ADDRESS)
    if len(address.encode()) > _MAX_ADDRESS_BYTES:
        raise Refused(replies.BAD_ADDRESS)
    if not smtp_utf8 and not address.isascii():
        raise Refused(replies.NOT_ASCII)
