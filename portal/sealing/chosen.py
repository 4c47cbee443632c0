"""Secrets that people choose or keep, as hashes: access codes and recovery codes (argon2id, RFC 9106).

A hash takes 64 MiB and a tenth of a second: it is made in a thread, at most two at once, so that nobody else waits.
"""

import asyncio
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from portal.model.errors import AskedMalformed

MOST_SIGNS = 64
SHORTEST_CODE, LONGEST_HINT = 6, 120
_UNREADABLE = "\ufffd"
_AT_ONCE = 2
_HASHER = PasswordHasher()
_IGNORED = frozenset(" -\t\u00a0\u2010\u2011\u2012\u2013\u2014")


def plain(typed: str) -> str:
    """What was chosen or typed, in the form that is hashed: NFKC, no spaces or dashes, case forgiven.

    Raises ValueError when nothing is left, or more than 64 signs are.
    """
    if len(typed) > 4 * MOST_SIGNS:
        raise ValueError("too long for a code")
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", typed).casefold())
    # Once more: an accent typed apart stands as a space and a combining sign, which meets its letter only now.
    signs = unicodedata.normalize("NFKC", "".join(sign for sign in folded if sign not in _IGNORED))
    if not signs or len(signs) > MOST_SIGNS or not signs.isprintable():
        raise ValueError("not a code")
    return signs


async def hashed(chosen: str) -> str:
    """The hash to keep. Raises ValueError for what is no code."""
    signs = plain(chosen)
    return await asyncio.get_running_loop().run_in_executor(_threads(), _HASHER.hash, signs)


async def matches(typed: str, kept: str | None) -> bool:
    """Whether what was typed is what was hashed. Takes as long where nothing is kept (`kept` is None)."""
    try:
        signs = plain(typed)
    except ValueError:
        signs = ""
    same = await asyncio.get_running_loop().run_in_executor(_threads(), _verify, kept, signs)
    return same and kept is not None and signs != ""


@lru_cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="argon2")


@lru_cache
def _nobodys() -> str:
    return _HASHER.hash("nobody's")


def _verify(kept: str | None, signs: str) -> bool:
    try:
        return _HASHER.verify(kept or _nobodys(), signs)
    except (VerificationError, InvalidHashError):
        return False


def check_code(code: str, hint: str | None) -> None:
    """Whether an access code will do, judged in the form that is hashed: otherwise one letter and five dashes would.

    Raises AskedMalformed for a code that is too easy or long, or a hint that gives it away.
    """
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
        return plain(text)
    except ValueError:
        return ""
