"""The two WebAuthn ceremonies, pure: options for the browser, and what its answer proves (WebAuthn Level 3, 7.1 and 7.2).

The library's defaults are for second factors, and it leaves much open. Demanded here besides: user verification, no cross-origin
frame, the account's own user handle, backup eligibility that never changes. The challenge's life is the caller's to check; so is
the counter, which is a signal and no lock-out. Loaded by the first ceremony, not at start: it brings much with it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import (
    base64url_to_bytes,
    bytes_to_base64url,
    decode_credential_public_key,
    decoded_public_key_to_cryptography,
    options_to_json_dict,
    parse_authentication_credential_json,
)
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.decode_credential_public_key import DecodedRSAPublicKey
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    CredentialDeviceType,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from portal.model.errors import PasskeyRefused

ALGORITHMS = [
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
]
_RSA_BITS, _RSA_EXPONENT = 2048, 65537
_TRANSPORTS = {one.value for one in AuthenticatorTransport}
_NOBODYS_KEY = bytes.fromhex(  # P-256's own base point: its answer is checked against this where no credential is known
    "a5010203262001215820" + "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "225820" + "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)  # fmt: skip


@dataclass(frozen=True)
class Site:
    """Who asks: the relying party's id (a host), the origins it is reached at, and its name."""

    rp_id: str
    origins: tuple[str, ...]
    name: str


@dataclass(frozen=True)
class Known:
    """A credential as it was bound."""

    credential_id: bytes
    public_key: bytes
    backup_eligible: bool
    transports: str = ""


@dataclass(frozen=True)
class Bound:
    """What a registration gave."""

    credential_id: bytes
    public_key: bytes
    sign_count: int
    backup_eligible: bool
    backed_up: bool
    transports: str


@dataclass(frozen=True)
class Asserted:
    """What an authentication gave."""

    sign_count: int
    backed_up: bool


def creation_options(
    site: Site, challenge: bytes, handle: bytes, user: str, shown: str, have: Sequence[Known]
) -> dict[str, Any]:
    """PublicKeyCredentialCreationOptionsJSON: a discoverable credential that verifies its user."""
    options = generate_registration_options(
        rp_id=site.rp_id,
        rp_name=site.name,
        user_id=handle,
        user_name=user,
        user_display_name=shown,
        challenge=challenge,
        timeout=300_000,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            require_resident_key=True,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=[_descriptor(one) for one in have],
        supported_pub_key_algs=ALGORITHMS,
    )
    return dict(options_to_json_dict(options))


def request_options(site: Site, challenge: bytes, allowed: Sequence[Known]) -> dict[str, Any]:
    """PublicKeyCredentialRequestOptionsJSON; with none allowed by name, any discoverable one."""
    options = generate_authentication_options(
        rp_id=site.rp_id,
        challenge=challenge,
        timeout=300_000,
        allow_credentials=[_descriptor(one) for one in allowed],
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return dict(options_to_json_dict(options))


def _descriptor(one: Known) -> PublicKeyCredentialDescriptor:
    transports = [AuthenticatorTransport(name) for name in one.transports.split() if name in _TRANSPORTS]
    return PublicKeyCredentialDescriptor(id=one.credential_id, transports=transports or None)


def challenge_of(posted: object) -> bytes:
    """The challenge an answer claims to be for. Raises PasskeyRefused for what is no answer at all, or from a foreign frame."""
    try:
        assert isinstance(posted, dict)
        client = json.loads(base64url_to_bytes(str(posted["response"]["clientDataJSON"])))
        assert isinstance(client, dict)
        challenge = base64url_to_bytes(str(client["challenge"]))
    except Exception:
        raise PasskeyRefused("malformed") from None
    if client.get("crossOrigin") not in (None, False) or "topOrigin" in client:
        raise PasskeyRefused("in another site's frame")
    return challenge


def credential_of(posted: dict[str, Any]) -> bytes:
    """The id of the credential that answered. Raises PasskeyRefused."""
    try:
        return bytes(parse_authentication_credential_json(posted).raw_id)
    except Exception:
        raise PasskeyRefused("malformed") from None


def bound(site: Site, posted: dict[str, Any], challenge: bytes) -> Bound:
    """What a registration proves. Raises PasskeyRefused."""
    try:
        verified = verify_registration_response(
            credential=posted,
            expected_challenge=challenge,
            expected_rp_id=site.rp_id,
            expected_origin=list(site.origins),
            require_user_verification=True,
            supported_pub_key_algs=ALGORITHMS,
        )
        _check_key(verified.credential_public_key)
        said = posted["response"].get("transports") or []
        transports = [one for one in said if one in _TRANSPORTS]
    except Exception as error:  # whatever the library makes of hostile bytes, the answer is no
        raise PasskeyRefused(f"not verified: {type(error).__name__}") from error
    eligible = verified.credential_device_type is CredentialDeviceType.MULTI_DEVICE
    return Bound(
        verified.credential_id,
        verified.credential_public_key,
        verified.sign_count,
        eligible,
        verified.credential_backed_up,
        " ".join(transports)[:100],
    )


def _check_key(public_key: bytes) -> None:
    """A key that could never answer, or proves little, is not bound: on its curve, RSA of 2,048 bits. Raises ValueError."""
    decoded = decode_credential_public_key(public_key)
    decoded_public_key_to_cryptography(decoded)
    if isinstance(decoded, DecodedRSAPublicKey):
        modulus, exponent = int.from_bytes(decoded.n, "big"), int.from_bytes(decoded.e, "big")
        if modulus.bit_length() < _RSA_BITS or exponent < _RSA_EXPONENT:
            raise ValueError("a weak RSA key")


def asserted(
    site: Site, posted: dict[str, Any], challenge: bytes, known: Known | None, handle: bytes, *, by_name: bool
) -> Asserted:
    """What an authentication proves. `by_name`: the credential was asked for by its id, so the handle may be missing.

    Raises PasskeyRefused; as slowly for a credential that nobody knows.
    """
    try:
        verified = verify_authentication_response(
            credential=posted,
            expected_challenge=challenge,
            expected_rp_id=site.rp_id,
            expected_origin=list(site.origins),
            credential_public_key=known.public_key if known else _NOBODYS_KEY,
            credential_current_sign_count=0,  # the caller judges the counter
            require_user_verification=True,
        )
        said = posted["response"].get("userHandle")
    except Exception as error:
        raise PasskeyRefused("unknown" if known is None else f"not verified: {type(error).__name__}") from error
    if known is None:
        raise PasskeyRefused("unknown")
    if not (said is None and by_name) and said != bytes_to_base64url(handle):
        raise PasskeyRefused("another account's handle")
    if (verified.credential_device_type is CredentialDeviceType.MULTI_DEVICE) != known.backup_eligible:
        raise PasskeyRefused("its backup eligibility changed")
    return Asserted(verified.new_sign_count, verified.credential_backed_up)
