"""Staff sign in at their organisation's identity provider: the protocol, and its contract.

`oidc.py` speaks OpenID Connect: by `fetch.py` (one bounded request), `idtoken.py` (what proves) and `claims.py` (what it says).
A provider says who somebody is. Whether that person may in here, and as what, is not decided on this floor.
"""

import hmac
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Asked:
    """A sign-in that has begun. `url` is where the browser goes; the rest stays with whoever began, bound to that browser, used
    once and forgotten within minutes. `verifier` is a secret even from the browser: keep it sealed or in the database.
    """

    url: str = field(repr=False)
    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)

    def answered_by(self, state: str) -> bool:
        """Whether a callback bears this sign-in's state: asked before `finish`, for a code without it may be anybody's."""
        return hmac.compare_digest(self.state.encode(), state.encode("utf-8", "replace"))


@dataclass(frozen=True)
class Identity:
    """Whom the provider vouches for. `subject` never changes and is unique at its issuer: the two together are the key to a person.

    `email` is "" unless the provider says that it verified it; `name` and `roles` may be empty. `roles` are the provider's words,
    in its order, each once.
    """

    subject: str
    email: str = field(repr=False)
    name: str = field(repr=False)
    roles: tuple[str, ...]


class IdentityProvider(Protocol):
    """Raises IdentityAway when the provider does not answer, or says that it can't now; IdentityRefused when what it answers proves
    nothing, with the reason as str(). Neither holds a token, a code or a secret, and nothing here logs one. A request ends within 5
    seconds; `begin` makes one at most, `finish` three.
    """

    @property
    def issuer(self) -> str:
        """The provider's name for itself. Give each issuer its own redirect URI: an answer then tells whose it is (RFC 9700 4.4)."""

    async def begin(self) -> Asked:
        """A new sign-in, with fresh state, nonce and verifier. Nothing is kept here."""

    async def finish(self, asked: Asked, code: str) -> Identity:
        """Redeems the code that came to the redirect URI. The caller has held the callback's state against `asked` before. A code
        works once: after any error the person begins anew.
        """
