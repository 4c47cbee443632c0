"""Changes come from our own pages only: the browser says so, and a token does.

Unsafe methods need `Sec-Fetch-Site: same-origin` (or `none`), or where a browser sends no such header, our own Origin; and a
form token bound to the browser's cookie, which no other site can set (`__Host-`) or read.
"""

import hashlib

from itsdangerous import BadSignature, TimestampSigner
from starlette.requests import Request

from portal.model.errors import RequestForged

SAFE = ("GET", "HEAD", "OPTIONS")
_LIFE_SECONDS = 12 * 3600


class Csrf:
    """See the module. With `own_hosts` a site has more names than its own: those of organisations (`portal org set --host`)."""

    def __init__(self, tokens_key: bytes, base_url: str, salt: str = "csrf", *, own_hosts: bool = False) -> None:
        self._own_hosts = own_hosts
        self._signer = TimestampSigner(tokens_key, salt=salt, key_derivation="hmac", digest_method=hashlib.sha256)
        self.origin = base_url

    def token(self, bound_to: str) -> str:
        return self._signer.sign(_short(bound_to)).decode()

    def check(self, token: str, bound_to: str) -> None:
        """Raises RequestForged."""
        try:
            said = self._signer.unsign(token, max_age=_LIFE_SECONDS).decode()
        except BadSignature:
            raise RequestForged("the form's token is missing, forged or old") from None
        if said != _short(bound_to):
            raise RequestForged("the form's token is another session's")

    def check_site(self, request: Request) -> None:
        """Raises RequestForged when the request was made by another site."""
        site = request.headers.get("sec-fetch-site")
        if request.method in SAFE:
            top_level = (
                request.headers.get("sec-fetch-mode") == "navigate"
                and request.headers.get("sec-fetch-dest") == "document"
            )
            if site in ("cross-site", "same-site") and not top_level and not request.url.path.startswith("/static/"):
                raise RequestForged("another site embeds this page")
            return
        if site in ("same-origin", "none"):
            return
        if site is None and request.headers.get("origin") in self._origins(request):
            return
        raise RequestForged("another site sent this form")

    def _origins(self, request: Request) -> tuple[str, ...]:
        """Ours, and where organisations have hosts of their own the one that was asked: no other site can make it ours."""
        return (self.origin, f"https://{request.headers.get('host')}") if self._own_hosts else (self.origin,)


def _short(bound_to: str) -> str:
    return hashlib.sha256(bound_to.encode()).hexdigest()[:24]
