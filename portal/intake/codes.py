"""Whether an access code that a sender or an operator chose will do, judged in the form that is hashed (`chosen.plain`).

What is judged otherwise than it is hashed lets in a code of one letter and five dashes.
"""

import unicodedata

from portal.model.errors import AskedMalformed
from portal.sealing import chosen

SHORTEST_CODE, LONGEST_HINT = 6, 120
_UNREADABLE = "\ufffd"


def check_code(code: str, hint: str | None) -> None:
    """Raises AskedMalformed for a code that is too easy or long, or a hint that gives it away."""
    bare = _plain(code)
    if len(bare) < SHORTEST_CODE or len(set(bare)) < 3 or _UNREADABLE in bare:
        raise AskedMalformed("an access code has 6 to 64 signs, and not all alike")
    if hint is None:
        return
    if len(hint) > LONGEST_HINT or not hint.isprintable():
        raise AskedMalformed("a hint is one line of at most 120 signs")
    if bare in "".join(
        map(_plain, unicodedata.normalize("NFKC", hint))
    ):  # sign by sign: a hint may be longer than a code
        raise AskedMalformed("the hint holds the code")


def _plain(text: str) -> str:
    """What counts of a text; nothing when it is no code."""
    try:
        return chosen.plain(text)
    except ValueError:
        return ""
