"""The tests' own authenticator against the real library: what py_webauthn 3.0.1 verifies, refuses, and lets pass.

What it lets pass is the portal's to check (portal/signin/ceremony.py). Should a newer library refuse one of those, the test fails,
and the table below is to be read again.
"""

from typing import Any

import cbor2
import pytest
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.authentication.verify_authentication_response import VerifiedAuthentication
from webauthn.helpers import options_to_json_dict
from webauthn.helpers.exceptions import (
    InvalidAuthenticationResponse,
    InvalidBackupFlags,
    InvalidRegistrationResponse,
    WebAuthnException,
)
from webauthn.helpers.structs import CredentialDeviceType, PublicKeyCredentialDescriptor
from webauthn.registration.verify_registration_response import VerifiedRegistration

from tests.authenticator import EDDSA, ES256, RS256, Authenticator, Credential, b64, unb64

RP_ID, ORIGIN = "portal.example", "https://portal.example"
ALICE, BOB = b"alice's handle", b"bob's handle"
CHALLENGE = bytes(range(32))
ELIGIBLE, BACKED_UP = 0x08, 0x10
OFF_THE_CURVE = cbor2.dumps({1: 2, 3: ES256, -1: 1, -2: bytes(31) + b"\1", -3: bytes(31) + b"\1"})
NOT_OFFERED = cbor2.dumps({1: 2, 3: -35, -1: 2, -2: bytes(48), -3: bytes(48)})
FOR_BOTH: list[tuple[dict[str, Any], str]] = [
    ({"user_verified": False}, "User verification is required"),
    ({"user_present": False}, "not present"),
    ({"origin": "https://portal.example.evil.example"}, "Unexpected client data origin"),
    ({"origin": "http://portal.example"}, "Unexpected client data origin"),
    ({"origin": "https://portal.example:8443"}, "Unexpected client data origin"),
    ({"challenge": bytes(32)}, "challenge was not expected"),
    ({"rp_id": "evil.example"}, "Unexpected RP ID hash"),
]


def creation(handle: bytes = ALICE, have: tuple[bytes, ...] = ()) -> dict[str, Any]:
    options = generate_registration_options(
        rp_id=RP_ID,
        rp_name="Portal",
        user_name="alice@patients.example",
        user_id=handle,
        challenge=CHALLENGE,
        exclude_credentials=[PublicKeyCredentialDescriptor(id=one) for one in have],
    )
    return options_to_json_dict(options)


def request(*allowed: bytes) -> dict[str, Any]:
    options = generate_authentication_options(
        rp_id=RP_ID,
        challenge=CHALLENGE,
        allow_credentials=[PublicKeyCredentialDescriptor(id=one) for one in allowed],
    )
    return options_to_json_dict(options)


def register(device: Authenticator, handle: bytes = ALICE, **twist: Any) -> VerifiedRegistration:
    return verify_registration_response(
        credential=device.create(creation(handle), twist.pop("origin", ORIGIN), **twist),
        expected_challenge=CHALLENGE,
        expected_rp_id=RP_ID,
        expected_origin=[ORIGIN],
        require_user_verification=True,
    )


def sign_in(
    device: Authenticator, known: VerifiedRegistration, count: int = 0, named: bool = False, **twist: Any
) -> VerifiedAuthentication:
    """`count` is the counter on record; the twist of that name is given as `said_count`."""
    if "said_count" in twist:
        twist["count"] = twist.pop("said_count")
    options = request(known.credential_id) if named else request()
    return verify_authentication_response(
        credential=device.get(options, twist.pop("origin", ORIGIN), **twist),
        expected_challenge=CHALLENGE,
        expected_rp_id=RP_ID,
        expected_origin=[ORIGIN],
        credential_public_key=known.credential_public_key,
        credential_current_sign_count=count,
        require_user_verification=True,
    )


def two_accounts() -> tuple[Authenticator, VerifiedRegistration, Credential]:
    """A device of Alice's and, apart from it, a credential of Bob's."""
    device, bobs = Authenticator(), Authenticator()
    known = register(device)
    register(bobs, BOB)
    return device, known, bobs.credentials[0]


# -- plain ceremonies


@pytest.mark.parametrize("algorithm", [ES256, EDDSA, RS256])
@pytest.mark.parametrize("named", [False, True], ids=["discovered", "named"])
def test_plain_ceremonies_are_verified(algorithm: int, named: bool) -> None:
    """Both ceremonies pass with user verification required, for each algorithm we offer."""
    device = Authenticator(algorithm=algorithm)
    made = register(device)
    assert made.credential_id == device.credentials[0].id
    assert (made.user_verified, made.sign_count, made.fmt, made.credential_type) == (True, 0, "none", "public-key")
    shown = sign_in(device, made, named=named)
    assert (shown.credential_id, shown.user_verified, shown.new_sign_count) == (made.credential_id, True, 0)


@pytest.mark.parametrize(
    ("eligible", "backed_up", "kind", "told"),
    [
        (False, False, CredentialDeviceType.SINGLE_DEVICE, False),
        (True, False, CredentialDeviceType.MULTI_DEVICE, False),
        (True, True, CredentialDeviceType.MULTI_DEVICE, True),
    ],
)
def test_backup_flags_are_told_as_they_are(
    eligible: bool, backed_up: bool, kind: CredentialDeviceType, told: bool
) -> None:
    """Eligibility reads as the device type, and both ceremonies tell the same."""
    device = Authenticator(eligible=eligible, backed_up=backed_up)
    made = register(device)
    shown = sign_in(device, made)
    assert (made.credential_device_type, made.credential_backed_up) == (kind, told)
    assert (shown.credential_device_type, shown.credential_backed_up) == (kind, told)


def test_a_counting_device_counts_each_use() -> None:
    """Its counter rises by one with each assertion."""
    device = Authenticator(counts=True)
    made = register(device)
    first = sign_in(device, made)
    assert (first.new_sign_count, sign_in(device, made, count=1).new_sign_count) == (1, 2)


def test_a_device_that_verifies_nobody_is_refused() -> None:
    """Presence alone is not enough, in either ceremony."""
    with pytest.raises(InvalidRegistrationResponse, match="User verification"):
        register(Authenticator(verifies=False))
    device = Authenticator()
    made = register(device)
    device.verifies = False
    with pytest.raises(InvalidAuthenticationResponse, match="User verification"):
        sign_in(device, made)


# -- the answers' shape


def test_a_registration_has_the_browsers_shape() -> None:
    """The members of RegistrationResponseJSON (WebAuthn Level 3, 5.1.8), without padding, with the same data in each place."""
    device = Authenticator()
    made = device.create(creation(), ORIGIN)
    response = made.pop("response")
    assert made == {
        "id": b64(device.credentials[0].id),
        "rawId": b64(device.credentials[0].id),
        "type": "public-key",
        "authenticatorAttachment": "platform",
        "clientExtensionResults": {},
    }
    assert sorted(response) == [
        "attestationObject",
        "authenticatorData",
        "clientDataJSON",
        "publicKey",
        "publicKeyAlgorithm",
        "transports",
    ]
    assert response["transports"] == ["internal", "hybrid"]
    assert response["publicKeyAlgorithm"] == ES256
    attested = cbor2.loads(unb64(response["attestationObject"]))
    assert (attested["fmt"], attested["attStmt"]) == ("none", {})
    assert b64(attested["authData"]) == response["authenticatorData"]
    assert not any("=" in str(one) for one in response.values())


def test_an_assertion_has_the_browsers_shape() -> None:
    """The members of AuthenticationResponseJSON; a user handle that isn't told is left out, not null."""
    device = Authenticator()
    register(device)
    shown = device.get(request(), ORIGIN)["response"]
    assert sorted(shown) == ["authenticatorData", "clientDataJSON", "signature", "userHandle"]
    assert unb64(shown["userHandle"]) == ALICE
    assert "userHandle" not in device.get(request(), ORIGIN, user_handle=None)["response"]


def test_the_credential_that_is_asked_for_answers() -> None:
    """By name that one; without a name the newest; and none where there is none."""
    device = Authenticator()
    with pytest.raises(LookupError):
        device.get(request(), ORIGIN)
    first, second = register(device), register(device, BOB)
    assert device.get(request(first.credential_id), ORIGIN)["id"] == b64(first.credential_id)
    assert device.get(request(), ORIGIN)["id"] == b64(second.credential_id)
    for options in (request(b"somebody else's"), {**request(), "rpId": "evil.example"}):
        with pytest.raises(LookupError):
            device.get(options, ORIGIN)


def test_a_device_that_has_one_makes_no_second() -> None:
    """A credential to be left out stops the registration, as in a browser."""
    device = Authenticator()
    made = register(device)
    with pytest.raises(LookupError):
        device.create(creation(have=(made.credential_id,)), ORIGIN)


# -- what the library refuses


@pytest.mark.parametrize(
    ("twist", "words"),
    [
        *FOR_BOTH,
        ({"type": "webauthn.get"}, "Unexpected client data type"),
        ({"cose": NOT_OFFERED}, "Unsupported credential public key alg"),
    ],
    ids=str,
)
def test_the_library_refuses_a_wrong_registration(twist: dict[str, Any], words: str) -> None:
    """Each is an InvalidRegistrationResponse that says what is wrong."""
    with pytest.raises(InvalidRegistrationResponse, match=words):
        register(Authenticator(), **twist)


@pytest.mark.parametrize(
    ("twist", "words"),
    [
        *FOR_BOTH,
        ({"type": "webauthn.create"}, "Unexpected client data type"),
        ({"bad_signature": True}, "Could not verify authentication signature"),
    ],
    ids=str,
)
def test_the_library_refuses_a_wrong_assertion(twist: dict[str, Any], words: str) -> None:
    """Each is an InvalidAuthenticationResponse that says what is wrong."""
    device = Authenticator()
    made = register(device)
    with pytest.raises(InvalidAuthenticationResponse, match=words):
        sign_in(device, made, **twist)


@pytest.mark.parametrize("algorithm", [ES256, EDDSA, RS256])
def test_the_library_refuses_a_flipped_signature_of_each_kind(algorithm: int) -> None:
    """One wrong bit in it is one too many."""
    device = Authenticator(algorithm=algorithm)
    made = register(device)
    with pytest.raises(InvalidAuthenticationResponse, match="signature"):
        sign_in(device, made, bad_signature=True)


def test_the_library_refuses_another_credentials_key() -> None:
    """Bob's key signs nothing for Alice's credential."""
    device, made, bobs = two_accounts()
    with pytest.raises(InvalidAuthenticationResponse, match="signature"):
        sign_in(device, made, sign_with=bobs.key)


@pytest.mark.parametrize("said", [0, 4, 5])
def test_the_library_refuses_a_counter_that_does_not_rise(said: int) -> None:
    """Falling, equal or gone: with 5 on record each is refused, before the signature is looked at."""
    device = Authenticator(counts=True)
    made = register(device)
    for wrong in ({}, {"bad_signature": True}):
        with pytest.raises(InvalidAuthenticationResponse, match="sign count"):
            sign_in(device, made, count=5, said_count=said, **wrong)


def test_backed_up_without_being_eligible_is_an_error_of_another_class() -> None:
    """InvalidBackupFlags is no Invalid*Response: what catches only those lets it through as a crash."""
    with pytest.raises(InvalidBackupFlags):
        register(Authenticator(), flags=BACKED_UP)
    device = Authenticator()
    made = register(device)
    with pytest.raises(InvalidBackupFlags):
        sign_in(device, made, flags=BACKED_UP)
    assert not issubclass(InvalidBackupFlags, (InvalidRegistrationResponse, InvalidAuthenticationResponse))
    assert issubclass(InvalidBackupFlags, WebAuthnException)


def test_a_key_off_the_curve_is_noticed_at_its_first_use_and_not_as_a_refusal() -> None:
    """It is bound without a look; the first assertion is a bare ValueError, outside the library's own classes."""
    device = Authenticator()
    made = register(device, cose=OFF_THE_CURVE)
    with pytest.raises(ValueError, match=r".") as caught:
        sign_in(device, made)
    assert not isinstance(caught.value, WebAuthnException)


# -- what the library lets pass, and the portal must check


@pytest.mark.parametrize(
    "twist",
    [
        {"cross_origin": True},
        {"top_origin": "https://evil.example"},
        {"cross_origin": True, "top_origin": "https://evil.example"},
        {"credential_id": b"another name"},
        {"count": 7},
        {"flags": 0},
        {"flags": ELIGIBLE},
    ],
    ids=str,
)
def test_the_library_lets_a_registration_pass(twist: dict[str, Any]) -> None:
    """Frames of other sites, and an answer under another name than its credential's; what is told is the attested one."""
    device = Authenticator()
    assert register(device, **twist).credential_id == device.credentials[0].id


@pytest.mark.parametrize(
    "twist",
    [
        {"cross_origin": True},
        {"top_origin": "https://evil.example"},
        {"user_handle": BOB},
        {"user_handle": None},
        {"credential_id": b"another name"},
        {"flags": 0},
        {"flags": ELIGIBLE},
        {"said_count": 7},
    ],
    ids=str,
)
def test_the_library_lets_an_assertion_pass(twist: dict[str, Any]) -> None:
    """Frames, whose handle it is, which credential it says it is, and a change of the backup flags: all ours to check."""
    device = Authenticator()
    made = register(device)
    shown = sign_in(device, made, **twist)
    assert shown.credential_id == twist.get("credential_id", made.credential_id)


def test_the_library_knows_no_owner_and_no_list() -> None:
    """An assertion by a credential that was not asked for passes with its own key: ownership and allow-list are ours."""
    device = Authenticator()
    alices = register(device)
    bobs = register(device, BOB)
    shown = sign_in(device, bobs)  # the newest answers
    assert shown.credential_id == bobs.credential_id != alices.credential_id


def test_user_verification_is_not_required_by_default() -> None:
    """The library's default is for second factors."""
    device = Authenticator(verifies=False)
    made = verify_registration_response(
        credential=device.create(creation(), ORIGIN),
        expected_challenge=CHALLENGE,
        expected_rp_id=RP_ID,
        expected_origin=ORIGIN,
    )
    assert made.user_verified is False
