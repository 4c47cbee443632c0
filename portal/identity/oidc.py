"""OpenID Connect: the authorization code flow with PKCE (S256), state and nonce; a confidential client with a secret.

The provider's configuration (Discovery 1.0) and its keys are kept for an hour; an ID token that names an unknown key has the keys
read once more. Claims come from the ID token alone: the provider must put email, name and roles there. The access token is not used.

Why not authlib's client, which would run on httpx2: it reads answers of any length, and writes the client's id and secret into the
Authorization header without the form encoding that RFC 6749 2.3.1 demands, so that a secret with a `+` or `%` fails. What it would
save is one URL and one POST. Signatures and times are joserfc's.
"""

import base64
import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import quote_plus

import httpx2

from portal.identity import Asked, Identity
from portal.identity.claims import identity_of
from portal.identity.fetch import Line, checked, is_local
from portal.model.errors import IdentityRefused, RefusesToStart

if TYPE_CHECKING:
    from joserfc.jwk import Key

_T = TypeVar("_T")
_KEPT = timedelta(hours=1)
_SCOPE = "openid email profile"
_MOST_CODE = 8192
_SAID = frozenset(  # RFC 6749 5.2: the errors of a token endpoint; its own words are not repeated
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    }
)


@dataclass(frozen=True)
class _Configuration:
    """What is used of a discovery document. `basic`: the secret goes into a header rather than the form."""

    authorization: httpx2.URL
    token: str
    keys: str
    basic: bool


@dataclass(frozen=True)
class _Kept(Generic[_T]):
    value: _T
    at: datetime

    def at_hand(self, now: datetime) -> bool:
        return self.at <= now < self.at + _KEPT  # a clock that was set back has it read again


class OpenIdConnect:
    """See the module. `now` and `random` as in portal.clock.Source. Raises RefusesToStart for what can't work."""

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str,
        redirect_uri: str,
        roles_claim: str,
        ca: Path | None = None,
        *,
        now: Callable[[], datetime],
        random: Callable[[int], bytes],
        seconds: float = 5.0,
    ) -> None:
        read, back = checked(issuer), checked(redirect_uri)
        if read is None or read.query:
            raise RefusesToStart(
                "identity provider: write its issuer as https://..., without a query, just as it names itself"
            )
        if back is None:
            raise RefusesToStart(
                "identity provider: write the redirect URI as https://..., just as the provider knows it"
            )
        if not client_id or not client_secret:
            raise RefusesToStart("identity provider: it needs the client's id and the client's secret")
        try:
            from portal.identity import idtoken
        except ImportError:
            raise RefusesToStart(
                'identity provider: its libraries are missing: pip install "recipient-portal[oidc]"'
            ) from None
        self.issuer, self._local = issuer, is_local(read)
        self._client_id, self._secret, self._redirect_uri = client_id, client_secret, redirect_uri
        self._roles_claim, self._now, self._random = roles_claim, now, random
        self._line, self._idtoken = Line(ca, seconds), idtoken
        self._configuration: _Kept[_Configuration] | None = None
        self._keys: _Kept[tuple[Key, ...]] | None = None

    async def begin(self) -> Asked:
        configuration = await self._configured()
        state, nonce, verifier = (_encoded(self._random(32)) for _ in range(3))
        asked = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._redirect_uri,
            "scope": _SCOPE,
            "state": state,
            "nonce": nonce,
            "code_challenge": _encoded(hashlib.sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        return Asked(str(configuration.authorization.copy_merge_params(asked)), state, nonce, verifier)

    async def finish(self, asked: Asked, code: str) -> Identity:
        if not (0 < len(code) <= _MOST_CODE and code.isascii() and code.isprintable()):
            raise IdentityRefused("code: what came back is none")
        configuration = await self._configured()
        token = await self._redeem(configuration, asked, code)
        return identity_of(await self._proved(configuration, token, asked.nonce), self._roles_claim)

    async def _configured(self) -> _Configuration:
        now, kept = self._now(), self._configuration
        if kept is None or not kept.at_hand(now):
            said = await self._line.get("configuration", self.issuer.rstrip("/") + "/.well-known/openid-configuration")
            kept = self._configuration = _Kept(self._read(said), now)
        return kept.value

    def _read(self, said: dict[str, Any]) -> _Configuration:
        if said.get("issuer") != self.issuer:  # Discovery 4.3: exactly; otherwise one provider could speak as another
            raise IdentityRefused("configuration: it is another issuer's")
        authorization, token, keys = (
            checked(said.get(name), local=self._local)
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")
        )
        if authorization is None or token is None or keys is None:
            raise IdentityRefused("configuration: an address in it is missing or not safe")
        ways = said.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        basic = isinstance(ways, list) and "client_secret_basic" in ways
        if not basic and not (isinstance(ways, list) and "client_secret_post" in ways):
            raise IdentityRefused("configuration: the provider takes no client secret")
        return _Configuration(authorization, str(token), str(keys), basic)

    async def _redeem(self, configuration: _Configuration, asked: Asked, code: str) -> str:
        """The code for an ID token, not yet proved (RFC 6749 4.1.3, RFC 7636 4.5)."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": asked.verifier,
        }
        headers = {}
        if configuration.basic:
            pair = f"{quote_plus(self._client_id)}:{quote_plus(self._secret)}"
            headers = {"authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
        else:
            form |= {"client_id": self._client_id, "client_secret": self._secret}
        answer = await self._line.post("code", configuration.token, form, headers)
        if answer.status != 200:
            error = answer.said.get("error")
            words = f" {error}" if isinstance(error, str) and error in _SAID else ""
            raise IdentityRefused(f"code: the provider answered {answer.status}{words}")
        token = answer.said.get("id_token")
        if not isinstance(token, str):
            raise IdentityRefused("code: the provider's answer has no ID token")
        return token

    async def _proved(self, configuration: _Configuration, token: str, nonce: str) -> dict[str, Any]:
        now, kept = self._now(), self._keys
        expected = self._idtoken.Expected(self.issuer, self._client_id, nonce, now)
        if kept is not None and kept.at_hand(now):
            with suppress(self._idtoken.KeyUnknown):
                return self._idtoken.claims_of(token, kept.value, expected)
        keys = self._idtoken.keys_of(await self._line.get("keys", configuration.keys))
        self._keys = _Kept(keys, now)
        return self._idtoken.claims_of(token, keys, expected)


def _encoded(raw: bytes) -> str:
    """Base64url without padding: of 32 bytes, a verifier of the least length that RFC 7636 4.1 allows."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
