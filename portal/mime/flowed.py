"""Text that was wrapped for narrow screens gets its paragraphs back: format=flowed and DelSp (RFC 3676)."""

import re

_QUOTES = re.compile(r">*")


def unflowed(text: str, delsp: bool) -> str:
    """`text`, lines ended by LF, with the lines of each paragraph joined. Quoted paragraphs keep their `>` signs, a space after them.

    A line that ends in a space goes on in the next one of the same quote depth (4.2); with `delsp` that space is not part of the
    text. Stuffed spaces are taken away (4.4), and the signature separator stands by itself (4.3).
    """
    shown: list[list[str]] = []
    flowing, depth = False, 0
    for line in text.split("\n"):
        quotes = _QUOTES.match(line)
        deep = len(quotes[0]) if quotes else 0
        words = line[deep:].removeprefix(" ")
        signature = words == "-- "
        joins = flowing and deep == depth and not signature
        depth, flowing = deep, words.endswith(" ") and not signature
        said = words[:-1] if flowing and delsp else words
        if joins:
            shown[-1].append(said)
        else:
            shown.append([f"{'>' * deep} " if deep else "", said])
    return "\n".join(map("".join, shown))
