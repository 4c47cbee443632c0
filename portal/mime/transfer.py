"""Content-Transfer-Encoding undone (RFC 2045 6). Total: what is broken is decoded as well as it goes, and that is told."""

import binascii
import re

from portal.mime.fields import Raw

AS_IT_IS = ("", "7bit", "8bit", "binary")
"""The encodings that change nothing."""

_SIGNS = bytes(range(65, 91)) + bytes(range(97, 123)) + b"0123456789+/="
_BASE64 = _SIGNS + b" \t\r\n"
_NOT_BASE64 = bytes(set(range(256)) - set(_SIGNS))
_PIECE_BYTES = 1024 * 1024
_PADDING = re.compile(rb"=+")
_PADDED_BREAK = re.compile(rb"=[ \t]+\r?\n")  # RFC 2045 6.7 (3): transports add spaces, which are no text
_BAD_ESCAPE = re.compile(rb"=(?![0-9A-Fa-f]{2}|[ \t]*\r?\n|[ \t]*\Z)")


def decoded(raw: Raw, start: int, end: int, encoding: str) -> tuple[bytes, bool]:
    """The bytes of a body, and whether they came out whole. An unknown encoding leaves them as they are (RFC 2045 6.4)."""
    if encoding == "base64":
        return _base64(memoryview(raw)[start:end])
    body = bytes(memoryview(raw)[start:end])
    if encoding == "quoted-printable":
        return binascii.a2b_qp(_PADDED_BREAK.sub(b"=\n", body)), _BAD_ESCAPE.search(body) is None
    return body, encoding in AS_IT_IS


def _base64(body: memoryview) -> tuple[bytes, bool]:
    if _is_clean(body):
        try:
            return binascii.a2b_base64(body), True
        except binascii.Error:
            pass  # it ends in the middle of a group
    # The decoder stops at the first padding, so that a footer glued on would hide what follows: each stretch by itself.
    stretches = _PADDING.split(bytes(body).translate(None, _NOT_BASE64))
    return b"".join(_stretch(stretch) for stretch in stretches), False


def _is_clean(body: memoryview) -> bool:
    """Whether there are only signs of the alphabet, and padding only at the end. Looks piece by piece: bodies are large."""
    padded = False
    for at in range(0, len(body), _PIECE_BYTES):
        piece = bytes(body[at : at + _PIECE_BYTES])
        padding = piece.find(b"=")
        if piece.translate(None, _BASE64) or (padded and piece.strip(b"= \t\r\n")):
            return False
        if padding >= 0 and piece[padding:].strip(b"= \t\r\n"):
            return False
        padded = padded or padding >= 0
    return True


def _stretch(signs: bytes) -> bytes:
    if len(signs) % 4 == 1:
        signs = signs[:-1]  # six bits are no byte
    return binascii.a2b_base64(signs + b"=" * (-len(signs) % 4))
