"""Signs and checks C2SP signed notes (https://c2sp.org/signed-note) by Ed25519: certificates of disposition."""

import base64
import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_ED25519 = b"\x01"
_DASH = "\u2014 "


def _key_id(name: str, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]


class NoteSigner:
    """Holds the signing key; `name` is the key's name, the portal's host."""

    def __init__(self, name: str, seed: bytes) -> None:
        """`seed` is 32 bytes."""
        self.name, self._key = name, Ed25519PrivateKey.from_private_bytes(seed)

    @property
    def verifier(self) -> str:
        """The key that others check by, as the specification writes it: name+id+key."""
        public = self._key.public_key().public_bytes_raw()
        return f"{self.name}+{_key_id(self.name, public).hex()}+{base64.b64encode(_ED25519 + public).decode()}"

    def sign(self, text: str) -> str:
        """The note: the text, an empty line, and the signature. Raises ValueError for what can't be one."""
        if not text.endswith("\n") or any(sign < " " and sign != "\n" for sign in text):
            raise ValueError("a note is lines of text")
        public = self._key.public_key().public_bytes_raw()
        signature = _key_id(self.name, public) + self._key.sign(text.encode())
        return f"{text}\n{_DASH}{self.name} {base64.b64encode(signature).decode()}\n"


def verified(note: str, verifier: str) -> str:
    """The text of a note that the holder of this key signed. Raises ValueError, saying why, for any other."""
    try:
        name, key_id, encoded = verifier.strip().split("+", 2)
        raw = base64.b64decode(encoded, validate=True)
        public = Ed25519PublicKey.from_public_bytes(raw[1:])
    except ValueError:
        raise ValueError("the key is not written as name+id+key") from None
    if raw[:1] != _ED25519 or _key_id(name, raw[1:]).hex() != key_id:
        raise ValueError("the key's id is not that of its bytes")
    text, separator, signatures = note.rpartition("\n\n")
    for line in signatures.splitlines() if separator else ():
        if not line.startswith(f"{_DASH}{name} "):
            continue
        try:
            signature = base64.b64decode(line.rpartition(" ")[2], validate=True)
            if signature[:4].hex() == key_id:
                public.verify(signature[4:], (text + "\n").encode())
                return text + "\n"
        except (ValueError, InvalidSignature):
            raise ValueError("the signature is not of this text: it was changed") from None
    raise ValueError(f"nobody signed it by the name {name} and this key")
