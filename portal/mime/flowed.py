"""Text that was wrapped for narrow screens gets its paragraphs back: format=flowed and DelSp (RFC 3676)."""

import re

_QUOTES = re.compile(r">*")


def unflowed(text: str, delsp: bool) -> str:
    """`text`, lines ended by LF, with the lines of each paragraph joined. Quoted paragraphs keep their `>` signs, a space after them.

    A line that ends in a space goes on in the next one of the same quote depth (4.2); with `delsp` that space is not part of the
    text. Stuffed spaces are taken away (4.4), and the signature separator stands by itself (4.3).
    """
    shown: list[str] = []
    flowing, depth = False, 0
    for line in text.split("\n"):
        quotes = _QUOTES.match(line)
        deep = len(quotes[0]) if quotes else 0
        words = line[deep:].removeprefix(" ")
        signature = words == "-- "
        if flowing and deep == depth and not signature:
            shown[-1] += words
        else:
            shown.append(f"{'>' * deep} {words}" if deep else words)
        depth, flowing = deep, words.endswith(" ") and not signature
        if flowing and delsp:
            shown[-1] = shown[-1][:-1]
    return "\n".join(shown)
