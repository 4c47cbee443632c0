"""Texts and calls by a provider's webhook: one POST a message, signed as Standard Webhooks says.

`{"type": "code.sms" | "code.voice", "to", "text", "language", "id"}` under `webhook-id`, `webhook-timestamp` and
`webhook-signature`. The id stays the same when a message is sent again, so that the provider can tell. No redirect is followed, the
certificate is checked, and of the answer one short line is kept.
"""

import asyncio
import json
import ssl
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
from standardwebhooks import Webhook

from portal.model.errors import RefusesToStart, SubmissionFailed
from portal.phone import Sent, Spoken

_SECONDS = 10.0
_MOST_BYTES = 64 * 1024
_AGAIN = frozenset({408, 425, 429})


class WebhookTexter:
    """See the module. Raises RefusesToStart for a URL or secret that can't work."""

    def __init__(self, url: str, secret: str, ca: Path | None = None) -> None:
        parts = urlsplit(url)
        local = parts.hostname in ("localhost", "127.0.0.1", "::1")
        if parts.scheme != "https" and not (parts.scheme == "http" and local):
            raise RefusesToStart("PORTAL_PHONE_URL: write the provider's webhook as https://..., or memory: for trials")
        try:
            self._signer = Webhook(secret)
        except Exception:  # the library's own says the secret
            raise RefusesToStart("PORTAL_PHONE_SECRET is no webhook secret; write it as whsec_ and base64") from None
        self._url, self._host = url, parts.hostname or ""
        self._tls = ssl.create_default_context(cafile=str(ca) if ca else None)

    async def send(self, message: Spoken) -> Sent:
        body = json.dumps(
            {
                "type": f"code.{message.channel.value}",
                "to": message.number,
                "text": message.text,
                "language": message.language,
                "id": message.reference,
            }
        )
        now = datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "webhook-id": message.reference,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(message.reference, now, body),
        }
        try:
            async with asyncio.timeout(_SECONDS):
                status, said = await self._post(body.encode(), headers)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            raise SubmissionFailed("the provider of texts can't be reached", transient=True) from None
        except (httpx2.HTTPError, TimeoutError):
            raise SubmissionFailed("the provider of texts did not answer", transient=True, unclear=True) from None
        if 200 <= status < 300:
            return Sent(self._host, f"{status} {said}".strip())
        transient = status in _AGAIN or status >= 500
        raise SubmissionFailed(f"the provider of texts answered {status}", transient=transient)

    async def _post(self, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        """The status, and the first line of the answer as far as it can be shown."""
        async with (
            httpx2.AsyncClient(verify=self._tls, follow_redirects=False, timeout=_SECONDS, trust_env=False) as client,
            client.stream("POST", self._url, content=body, headers=headers) as answer,
        ):
            said = b""
            async for piece in answer.aiter_bytes():
                said += piece
                if len(said) > _MOST_BYTES:
                    break
            line = said.decode("utf-8", "replace").strip().splitlines()[:1]
            return answer.status_code, "".join(sign for sign in "".join(line) if sign.isprintable())[:100]
