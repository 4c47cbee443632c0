"""What an organisation's logo must be, how a refusal is said, and the answer of the process that read it.

Nothing here decodes a picture or needs Pillow: portal/mime/picture.py does, in a process of its own. `load` believes that process as
little as the picture it read: whatever took it over can hand on a small PNG or one of these sentences, and nothing else.
"""

import struct

from portal.mime import Logo
from portal.model.errors import InputRefused

MAX_BYTES = 2 * 1024 * 1024
"""Of the file that is sent in."""
MAX_SIDE = 4_000
"""Pixels; looked at before a pixel is decoded."""
WIDTH, HEIGHT = 480, 160
"""The box a logo is scaled down to fit; a smaller one stays as it is."""
MAX_PNG_BYTES = 100_000

EMPTY = "This file is empty: choose the logo again."
TOO_LARGE = "This file is larger than 2 MB: save the logo smaller and choose it again."
TOO_WIDE = "This picture is more than 4,000 pixels wide or high: make it smaller and choose it again."
NO_PICTURE = "This is no PNG, JPEG, GIF or WebP picture: save the logo as PNG and choose it again."
DAMAGED = "This picture is damaged or cut short: save it once more as PNG and choose it again."
TOO_HEAVY = "This picture could not be read: save it once more as PNG, smaller, and choose it again."
"""It takes more time or memory than there is for it, or the process that read it was lost."""
SENTENCES = frozenset({EMPTY, TOO_LARGE, TOO_WIDE, NO_PICTURE, DAMAGED, TOO_HEAVY})

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_CHUNK = struct.Struct(">I4s")
_HEADER = struct.Struct(">II")


def refused(say: str) -> InputRefused:
    return InputRefused(say, "logo")


def dump(outcome: Logo | InputRefused) -> bytes:
    """The PNG itself, or the sentence of the refusal."""
    return outcome.png if isinstance(outcome, Logo) else outcome.say.encode()


def load(answer: bytes) -> Logo:
    """The logo, or InputRefused as the process said it; ValueError when the answer is neither."""
    if not answer.startswith(_SIGNATURE):
        say = answer.decode()
        if say not in SENTENCES:
            raise ValueError("not an answer")
        raise refused(say)
    return measured(answer)


def measured(png: bytes) -> Logo:
    """A PNG with its size; ValueError when it is larger than a logo may be or has any chunk that shows nothing (PNG 3, 5 and 11)."""
    names, at = [], len(_SIGNATURE)
    while at < len(png) and png.startswith(_SIGNATURE):
        if at + _CHUNK.size > len(png):
            raise ValueError("not a PNG")
        length, name = _CHUNK.unpack_from(png, at)
        names.append(name)
        at += _CHUNK.size + length + 4
    if at != len(png) or len(names) < 3 or (names[0], names[-1]) != (b"IHDR", b"IEND"):
        raise ValueError("not a PNG")
    width, height = _HEADER.unpack_from(png, len(_SIGNATURE) + _CHUNK.size)
    if not set(names) <= _CHUNKS or not (0 < width <= WIDTH and 0 < height <= HEIGHT and len(png) <= MAX_PNG_BYTES):
        raise ValueError("not a logo")
    return Logo(png, width, height)
