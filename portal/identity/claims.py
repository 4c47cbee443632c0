"""From proved claims to an identity. What a claim does not clearly say is not guessed: it is empty.

`roles_claim` names the claim that lists roles: by its whole name, dots and all (`https://clinic.example/roles`), or else as a path
into objects (`realm_access.roles`). A string is one role, a list of strings is several; any other shape gives none.
"""

from typing import Any

from portal.identity import Identity
from portal.model.errors import IdentityRefused

_MOST_SIGNS = 255  # OpenID Connect Core 2, of `sub`


def identity_of(claims: dict[str, Any], roles_claim: str) -> Identity:
    """Raises IdentityRefused when there is no usable subject."""
    subject = _text(claims.get("sub"))
    if not subject:
        raise IdentityRefused("ID token: its sub can't name a person")
    email = _text(claims.get("email")) if claims.get("email_verified") is True else ""
    return Identity(subject, email, _name(claims.get("name")), _roles(claims, roles_claim))


def _text(value: object) -> str:
    """The value as it is, when it is short and printable text."""
    return value if isinstance(value, str) and value.isprintable() and len(value) <= _MOST_SIGNS else ""


def _name(value: object) -> str:
    """People's names may hold joiners, which are no printable signs: these are left out rather than the whole name."""
    printable = "".join(sign for sign in value if sign.isprintable()) if isinstance(value, str) else ""
    return printable.strip()[:_MOST_SIGNS]


def _roles(claims: dict[str, Any], path: str) -> tuple[str, ...]:
    found: object = claims.get(path)
    if found is None:
        found = claims
        for step in path.split("."):
            found = found.get(step) if isinstance(found, dict) else None
    if isinstance(found, str):
        found = [found]
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        return ()
    return tuple(dict.fromkeys(one for one in map(_text, found) if one))
