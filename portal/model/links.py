"""Links, references and codes as people see them, and the hashes under which they are kept."""

import base64
import hashlib
import hmac

_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
"""32 signs that are not mistaken for one another: no 0 and O, no 1 and I."""
TOKEN_BYTES = 32
REFERENCE_LETTERS = 10
CODE_DIGITS = 8


def link_token(random: bytes) -> str:
    """The token of a link or of a session, from 32 random bytes: 43 signs that a URL takes as they are."""
    return base64.urlsafe_b64encode(random).rstrip(b"=").decode()


def return_token(random: bytes) -> str:
    """The token of a return path, from 16 random bytes: lower case, since local parts are compared without case."""
    return base64.b32encode(random).rstrip(b"=").decode().lower()


def reply_token(back: str) -> str:
    """The token of a mail's Reply-To, from that of its return path. There is no way from it to that one, which says what bounced."""
    return return_token(hashlib.sha256(b"reply " + back.encode("utf-8", "surrogatepass")).digest()[:16])


def path_hash(back: str) -> bytes:
    """What the row of a mail is found by, from the token of its return path; `token_hash` of its reply token is the same."""
    return token_hash(reply_token(back))


def token_hash(token: str) -> bytes:
    """Machine-made secrets of 256 bits are found by their plain hash."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def keyed_hash(key: bytes, *fields: str) -> bytes:
    """Short secrets are kept as HMAC-SHA-256 under a key that is not in the database."""
    return hmac.digest(key, "\0".join(fields).encode("utf-8", "surrogatepass"), hashlib.sha256)


def letters(random: bytes, count: int) -> str:
    """`count` signs of 5 bits each, from 16 random bytes (8 do for three)."""
    number = int.from_bytes(random, "big")
    signs = []
    for _ in range(count):
        number, index = divmod(number, len(_ALPHABET))
        signs.append(_ALPHABET[index])
    return "".join(signs)


def reference(random: bytes) -> str:
    """The reference of a notice, such as `K7QF-3MPD-9T`: 10 signs, 50 bits, from 16 random bytes."""
    signs = letters(random, REFERENCE_LETTERS)
    return f"{signs[:4]}-{signs[4:8]}-{signs[8:]}"


def read_reference(typed: str) -> str | None:
    """The reference in what somebody typed, spaces, dashes and case forgiven; None when it is none."""
    signs = "".join(sign for sign in typed.upper() if sign not in " -\t\u2010\u2011\u2012\u2013\u2014")
    if len(signs) != REFERENCE_LETTERS or any(sign not in _ALPHABET for sign in signs):
        return None
    return f"{signs[:4]}-{signs[4:8]}-{signs[8:]}"


def code_reference(random: bytes) -> str:
    """The three letters that tell one emailed code from another, on the mail and on the page; from 8 random bytes."""
    return letters(random, 3)


def code(random: bytes) -> str:
    """An emailed code: 8 digits, from 16 random bytes (the bias is below 2^-100)."""
    return str(int.from_bytes(random, "big") % 10**CODE_DIGITS).zfill(CODE_DIGITS)


def read_code(typed: str) -> str | None:
    """The code in what somebody typed or pasted, spaces and dashes forgiven; None when it is none."""
    digits = "".join(sign for sign in typed if sign not in " -\t\u00a0\u2010\u2011\u2012\u2013\u2014")
    return digits if len(digits) == CODE_DIGITS and digits.isascii() and digits.isdigit() else None
