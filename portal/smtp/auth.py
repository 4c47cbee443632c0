"""The AUTH exchange (RFC 4954): PLAIN (RFC 4616) and LOGIN, down to a name and a password. Checks neither."""

from base64 import b64decode, b64encode

from portal.smtp import replies
from portal.smtp.replies import Refused
from portal.smtp.wire import Wire

MECHANISMS = ("PLAIN", "LOGIN")


async def credentials(wire: Wire, argument: str) -> tuple[str, str]:
    """Name and password, as told in the argument of AUTH and in answers to challenges. Raises Refused."""
    mechanism, _, initial = argument.partition(" ")
    if mechanism.upper() == "PLAIN":
        return _plain(_decoded(initial) if initial else await _challenge(wire, ""))
    if mechanism.upper() == "LOGIN":
        name = _decoded(initial) if initial else await _challenge(wire, "Username:")
        return name, await _challenge(wire, "Password:")
    raise Refused(replies.UNKNOWN_MECHANISM)


async def _challenge(wire: Wire, question: str) -> str:
    await wire.say(f"334 {b64encode(question.encode()).decode()}")
    line = (await wire.read_line()).strip()
    if line == b"*":
        raise Refused(replies.AUTH_ABORTED)
    return _decoded(line.decode("ascii", "replace"))


def _plain(told: str) -> tuple[str, str]:
    parts = told.split("\0")
    if len(parts) != 3 or parts[0] not in ("", parts[1]):  # nobody here acts for somebody else
        raise Refused(replies.BAD_BASE64)
    return parts[1], parts[2]


def _decoded(text: str) -> str:
    try:
        return b64decode(text, validate=True).decode()
    except ValueError:
        raise Refused(replies.BAD_BASE64) from None
