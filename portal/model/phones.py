"""Telephone numbers in one normal form: E.164, such as `+15550100000`."""

import re

_E164 = re.compile(r"\+[1-9][0-9]{7,14}\Z")
_FORGIVEN = str.maketrans("", "", " -./()\t\u00a0\u2010\u2011\u2012\u2013")


def number(text: str) -> str:
    """The number as people write it, in normal form; it begins with + and the country's code (ITU-T E.164).

    Raises ValueError when it is none; also for "(0)": it is dialled in some countries, in most it would make it another number.
    """
    if len(text) > 40 or "(0)" in text:
        raise ValueError("not a telephone number")
    found = text.translate(_FORGIVEN)
    if not _E164.match(found):
        raise ValueError("not a telephone number")
    return found


def partly_hidden(number: str) -> str:
    """For showing where a code went without giving the number away: `+1… 00`."""
    return f"{number[:2]}… {number[-2:]}"
