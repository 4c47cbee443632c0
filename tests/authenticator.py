"""A small software authenticator with discoverable credentials, for ceremonies that are really verified (tests only).

Every way in which an answer can be wrong is a twist, given by name. Without one, the answers are what a browser's
`PublicKeyCredential.toJSON()` gives (WebAuthn Level 3, 5.1). It refuses nothing that a browser would: a wrong origin is a twist too.
"""

import hashlib
import json
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ES256, EDDSA, RS256 = -7, -8, -257
_UP, _UV, _BE, _BS, _AT = 0x01, 0x04, 0x08, 0x10, 0x40
Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def b64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Credential:
    """A key pair of one account at one relying party."""

    id: bytes
    rp_id: str
    handle: bytes
    key: Key
    count: int = 0


class Authenticator:
    """See the module. With `counts` its counter rises with each use; others leave it at 0, as synced passkeys do.

    `verifies`: it asks for a finger or a PIN; one that doesn't can only tell that somebody was there.
    """

    def __init__(
        self,
        *,
        algorithm: int = ES256,
        verifies: bool = True,
        eligible: bool = True,
        backed_up: bool = True,
        counts: bool = False,
    ) -> None:
        self.algorithm, self.verifies, self.counts = algorithm, verifies, counts
        self.flags = (_BE if eligible else 0) | (_BS if eligible and backed_up else 0)
        self.credentials: list[Credential] = []

    def create(self, options: dict[str, Any], origin: str, **twist: Any) -> dict[str, Any]:
        """A registration, with attestation "none". Raises LookupError when the device holds one of those to be left out.

        Twists: challenge, type, cross_origin, top_origin (client data); rp_id, user_present, user_verified, flags (backup eligible
        0x08 and backed up 0x10, instead of its own), count (authenticator data); cose (what it says of its key); credential_id (what
        the answer calls itself).
        """
        excluded = {one["id"] for one in options.get("excludeCredentials", [])}
        if any(b64(one.id) in excluded for one in self.credentials):
            raise LookupError("InvalidStateError")
        rp_id = twist.get("rp_id", options["rp"]["id"])
        made = Credential(os.urandom(32), rp_id, unb64(options["user"]["id"]), _new_key(self.algorithm))
        self.credentials.append(made)
        attested = (
            bytes(16) + len(made.id).to_bytes(2, "big") + made.id + twist.get("cose", _cose(made.key, self.algorithm))
        )
        data = self._data(made, twist, _AT) + attested
        statement = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        client = _client("webauthn.create", options["challenge"], origin, twist)
        response = {
            "clientDataJSON": b64(client),
            "attestationObject": b64(statement),
            "authenticatorData": b64(data),
            "transports": ["internal", "hybrid"],
            "publicKey": b64(made.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
            "publicKeyAlgorithm": self.algorithm,
        }
        return _answer(twist.get("credential_id", made.id), response)

    def get(self, options: dict[str, Any], origin: str, **twist: Any) -> dict[str, Any]:
        """An assertion by the credential that is asked for, or the newest at this party. Raises LookupError when there is none.

        Twists: those of `create` but cose, and bad_signature, sign_with (another key), user_handle (None: left out).
        """
        allowed = {one["id"] for one in options.get("allowCredentials", [])}
        rp_id = options["rpId"]
        mine = [one for one in self.credentials if one.rp_id == rp_id and (not allowed or b64(one.id) in allowed)]
        if not mine:
            raise LookupError("NotAllowedError")
        used = mine[-1]
        used.count += self.counts
        data = self._data(used, twist, 0)
        client = _client("webauthn.get", options["challenge"], origin, twist)
        key = twist.get("sign_with", used.key)
        signature = _sign(key, data + hashlib.sha256(client).digest())
        if twist.get("bad_signature"):
            signature = signature[:-1] + bytes([signature[-1] ^ 1])
        handle = twist.get("user_handle", used.handle)
        response = {
            "clientDataJSON": b64(client),
            "authenticatorData": b64(data),
            "signature": b64(signature),
        }
        if handle is not None:
            response["userHandle"] = b64(handle)
        return _answer(twist.get("credential_id", used.id), response)

    def _data(self, used: Credential, twist: dict[str, Any], more: int) -> bytes:
        """Authenticator data (WebAuthn 6.1) without the attested credential."""
        flags = twist.get("flags", self.flags) | more
        flags |= _UP if twist.get("user_present", True) else 0
        flags |= _UV if twist.get("user_verified", self.verifies) else 0
        rp_id = twist.get("rp_id", used.rp_id)
        count = twist.get("count", used.count)
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + int(count).to_bytes(4, "big")


def _client(kind: str, challenge: str, origin: str, twist: dict[str, Any]) -> bytes:
    said = {
        "type": twist.get("type", kind),
        "challenge": b64(twist["challenge"]) if "challenge" in twist else challenge,
        "origin": origin,
        "crossOrigin": twist.get("cross_origin", False),
    }
    if "top_origin" in twist:
        said["topOrigin"] = twist["top_origin"]
    return json.dumps(said).encode()


def _answer(credential_id: bytes, response: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": b64(credential_id),
        "rawId": b64(credential_id),
        "type": "public-key",
        "authenticatorAttachment": "platform",
        "clientExtensionResults": {},
        "response": response,
    }


def _new_key(algorithm: int) -> Key:
    if algorithm == EDDSA:
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm == RS256:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def _cose(key: Key, algorithm: int) -> bytes:
    """The public key as COSE has it (RFC 9053)."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return cbor2.dumps({1: 1, 3: algorithm, -1: 6, -2: key.public_key().public_bytes_raw()})
    numbers = key.public_key().public_numbers()
    if isinstance(numbers, rsa.RSAPublicNumbers):
        return cbor2.dumps({1: 3, 3: algorithm, -1: numbers.n.to_bytes(256, "big"), -2: numbers.e.to_bytes(3, "big")})
    x, y = numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big")
    return cbor2.dumps({1: 2, 3: algorithm, -1: 1, -2: x, -3: y})


def _sign(key: Key, data: bytes) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    return key.sign(data, ec.ECDSA(hashes.SHA256()))
