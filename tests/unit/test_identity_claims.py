"""From claims to an identity: what is not clearly said is empty, and nothing is guessed."""

import pytest

from portal.identity import Identity
from portal.identity.claims import identity_of
from portal.model.errors import IdentityRefused


def of(roles_claim: str = "roles", **claims: object) -> Identity:
    return identity_of({"sub": "carol"} | claims, roles_claim)


def test_a_subject_is_enough() -> None:
    """All else may be missing."""
    assert of() == Identity("carol", "", "", ())


@pytest.mark.parametrize("subject", [None, "", 7, ["carol"], "a" * 256, "a\nb", "a\u202eb", "\ud800"])
def test_without_a_usable_subject_there_is_nobody(subject: object) -> None:
    """It would be the key to a person."""
    with pytest.raises(IdentityRefused):
        of(sub=subject)


@pytest.mark.parametrize(
    ("path", "claims", "roles"),
    [
        ("roles", {"roles": "admin"}, ("admin",)),
        ("roles", {"roles": ["sender", "admin", "sender"]}, ("sender", "admin")),
        ("realm_access.roles", {"realm_access": {"roles": ["admin"]}}, ("admin",)),
        ("a.b.c", {"a": {"b": {"c": "deep"}}}, ("deep",)),
        ("https://x.example/roles", {"https://x.example/roles": ["admin"]}, ("admin",)),
        ("a.b", {"a.b": "whole", "a": {"b": "path"}}, ("whole",)),
        ("roles", {"roles": ["", "admin"]}, ("admin",)),
    ],
)
def test_roles_are_found(path: str, claims: dict[str, object], roles: tuple[str, ...]) -> None:
    """A string or a list, at the top or within, each once and in order."""
    assert of(path, **claims).roles == roles


@pytest.mark.parametrize("path", ["", ".", "roles.", ".roles", "roles.admin", "other", "sub.roles"])
def test_a_path_that_leads_nowhere_gives_no_roles(path: str) -> None:
    """No part of it is taken for the whole."""
    assert of(path, roles=["admin"]).roles == ()


@pytest.mark.parametrize("said", [None, True, 7, {}, {"admin": True}, ["admin", 7], [["admin"]], [None], "", "a\nb"])
def test_roles_of_another_shape_are_none(said: object) -> None:
    """A list that is half understood may be half of a `not`."""
    assert of(roles=said).roles == ()


@pytest.mark.parametrize("verified", [False, None, "true", "false", 1, [True]])
def test_an_email_counts_only_when_verified(verified: object) -> None:
    """By a plain true."""
    assert of(email="carol@clinic.example", email_verified=verified).email == ""
    assert of(email="carol@clinic.example", email_verified=True).email == "carol@clinic.example"


@pytest.mark.parametrize("email", [None, 7, ["carol@clinic.example"], "carol@clinic.example\r\nBcc: x", "a" * 256])
def test_an_email_that_is_none_is_left_out(email: object) -> None:
    """Verified or not."""
    assert of(email=email, email_verified=True).email == ""


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Carol Reyes", "Carol Reyes"),
        (" می\u200cرود ", "میرود"),
        ("a\x1b[31m\u202eb", "a[31mb"),
        ("a" * 300, "a" * 255),
        (7, ""),
        (None, ""),
    ],
)
def test_a_name_is_printable_and_short(said: object, name: str) -> None:
    """Signs that show nothing are left out, and the name stays."""
    assert of(name=said).name == name
