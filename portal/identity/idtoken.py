"""What proves: an ID token, held against the provider's keys and against what was asked (OpenID Connect Core 3.1.3.7).

joserfc does the cryptography and the times. Ours is what it leaves to its caller: the allow-list of algorithms, which of several
keys counts, the authorised party, and the nonce. No reason that is given holds a word of the token.
"""

import base64
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from joserfc import jws
from joserfc.errors import ClaimError, JoseError, UnsupportedAlgorithmError
from joserfc.jwk import JWKRegistry, Key
from joserfc.jws import CompactSignature, JWSRegistry
from joserfc.jwt import JWTClaimsRegistry

from portal.identity.fetch import as_object
from portal.model.errors import IdentityRefused

_ALGORITHMS = {"RS256": "RSA", "PS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}
_LEEWAY_SECONDS = 60
_LEAST_RSA_BYTES = 256  # RFC 7518 3.3
_TRIPS = (JoseError, ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What the library may raise on hostile input besides its own errors."""


class KeyUnknown(IdentityRefused):
    """The token names a key that is not in the set: the provider may have new ones."""


@dataclass(frozen=True)
class Expected:
    """What a token must say. `nonce` is this sign-in's."""

    issuer: str
    client_id: str
    nonce: str
    now: datetime


def keys_of(said: dict[str, Any]) -> tuple[Key, ...]:
    """The usable keys of a key set. Those of other kinds or uses are passed over (RFC 7517 5). Raises IdentityRefused for none."""
    listed = said.get("keys")
    found = [_key(one) for one in listed] if isinstance(listed, list) else []
    keys = tuple(one for one in found if one is not None)
    if not keys:
        raise IdentityRefused("keys: the provider has none that can be used")
    return keys


def claims_of(token: str, keys: tuple[Key, ...], expected: Expected) -> dict[str, Any]:
    """The token's claims, proved. Raises KeyUnknown, and IdentityRefused for all else that is wrong."""
    try:
        read = jws.extract_compact(token.encode())
        header = read.headers()
        algorithm, kid = header.get("alg"), header.get("kid")
    except _TRIPS:
        raise IdentityRefused("ID token: it is no signed token") from None
    if not isinstance(algorithm, str) or algorithm not in _ALGORITHMS:
        raise IdentityRefused("ID token: it is not signed by an algorithm that is trusted here")
    key = _pick((one for one in keys if _fits(one, algorithm)), kid)
    if not _holds(read, key):
        raise IdentityRefused("ID token: its signature does not hold")
    claims = as_object(read.payload or b"")
    if claims is None:
        raise IdentityRefused("ID token: its payload is no JSON object")
    _check(claims, expected)
    return claims


class _Trusted(JWSRegistry):
    """The allow-list is the whole of what is known. (The library's own list warns of EdDSA, which RFC 9864 renames.)"""

    def get_alg(self, name: str) -> Any:
        if name not in _ALGORITHMS:
            raise UnsupportedAlgorithmError("not trusted here")
        return self.algorithms[name]


_TRUSTED = _Trusted(
    strict_check_header=False
)  # RFC 7515 4: headers that are not understood are ignored, unless `crit` names them


def _key(said: object) -> Key | None:
    try:
        if not isinstance(said, dict) or said.get("kty") not in _ALGORITHMS.values():
            return None
        if said.get("use", "sig") != "sig" or "verify" not in said.get("key_ops", ["verify"]):
            return None
        if said["kty"] == "RSA" and len(base64.urlsafe_b64decode(said["n"] + "==").lstrip(b"\0")) < _LEAST_RSA_BYTES:
            return None
        return JWKRegistry.import_key(said)
    except _TRIPS:
        return None


def _fits(key: Key, algorithm: str) -> bool:
    return key.key_type == _ALGORITHMS[algorithm] and (key.get("alg") or algorithm) == algorithm


def _pick(keys: Iterable[Key], kid: object) -> Key:
    """The one key that is meant. OpenID Connect Core 10.1: where there are several, the token must name it."""
    found = [one for one in keys if kid is None or one.kid == kid]
    if not found:
        raise KeyUnknown("ID token: it is signed by a key that the provider does not show")
    if len(found) > 1:
        raise IdentityRefused("ID token: it does not say which of several keys signed it")
    return found[0]


def _holds(read: CompactSignature, key: Key) -> bool:
    try:
        return jws.validate_compact(read, key, registry=_TRUSTED)
    except _TRIPS:
        return False


def _check(claims: dict[str, Any], expected: Expected) -> None:
    registry = JWTClaimsRegistry(
        now=int(expected.now.timestamp()),
        leeway=_LEEWAY_SECONDS,
        iss={"essential": True, "value": expected.issuer},
        sub={"essential": True},
        aud={"essential": True, "value": expected.client_id},
        exp={"essential": True},
        iat={"essential": True},
        nonce={"essential": True},
    )
    try:
        registry.validate(
            {name: claims[name] for name in ("iss", "sub", "aud", "exp", "nbf", "iat", "nonce") if name in claims}
        )
    except ClaimError as error:
        raise IdentityRefused(f"ID token: {error.claim} is missing, or not as it must be") from None
    several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if claims.get("azp", None if several else expected.client_id) != expected.client_id:
        raise IdentityRefused("ID token: azp says that it was issued to somebody else")
    nonce = claims["nonce"]
    if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode("utf-8", "replace"), expected.nonce.encode()):
        raise IdentityRefused("ID token: nonce is not this sign-in's")
