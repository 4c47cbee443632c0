"""Texts and calls by a provider's webhook: one POST a message, signed as Standard Webhooks says.

`{"type": "code.sms" | "code.voice", "to", "text", "language", "id"}` under `webhook-id`, `webhook-timestamp` and
`webhook-signature`. The id stays the same when a message is sent again, so that the provider can tell. No redirect is followed, no
proxy asked, the certificate is checked. The status is the verdict, however the body ends; of that, one short line is kept, without
what it quotes of the message: it goes on record.
"""

import asyncio
import base64
import json
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx2
from standardwebhooks import Webhook

from portal.model.errors import RefusesToStart, SubmissionFailed
from portal.phone import Sent, Spoken

_MOST_BYTES = 64 * 1024
_MOST_SIGNS = 100
_LEAST_KEY_BYTES = 24  # Standard Webhooks, "Signature scheme": 24 to 64 bytes
_AGAIN = frozenset({408, 425, 429})
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_DIGITS = re.compile(r"\+?\d(?:\W{0,4}\d){3,}")


class WebhookTexter:
    """See the module. `seconds` is for all up to the status; a fifth more for the line. Raises RefusesToStart for what can't work."""

    def __init__(self, url: str, secret: str, ca: Path | None = None, *, seconds: float = 10.0) -> None:
        self._url, self._signer, self._seconds = _checked(url), Webhook(_key(secret)), seconds
        # TCP and TLS get 0.4 each, so that the client ends them: cancelled from outside, a handshake leaks its socket (httpcore2).
        self._timeout = httpx2.Timeout(seconds, connect=0.4 * seconds)
        try:
            self._tls = ssl.create_default_context(cafile=str(ca) if ca else None)
        except OSError as error:
            raise RefusesToStart(f"PORTAL_PHONE_CA: {ca} can't be read: {error}") from error

    async def send(self, message: Spoken) -> Sent:
        body = _Body(_as_json(message))
        try:
            status, said = await self._post(body, self._headers(message, body.raw))
        except (httpx2.HTTPError, TimeoutError):
            words = "did not answer" if body.gone else "can't be reached"
            raise SubmissionFailed(f"the provider of texts {words}", transient=True, unclear=body.gone) from None
        if 200 <= status < 300:
            return Sent(self._url.host, f"{status} {_line(said, message)}".strip())
        transient = status in _AGAIN or status >= 500
        raise SubmissionFailed(f"the provider of texts answered {status}", transient=transient)

    def _headers(self, message: Spoken, raw: bytes) -> dict[str, str]:
        now = datetime.now(UTC)
        return {
            "accept-encoding": "identity",
            "content-length": str(len(raw)),
            "content-type": "application/json",
            "webhook-id": message.reference,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(message.reference, now, raw.decode()),
        }

    async def _post(self, body: "_Body", headers: dict[str, str]) -> tuple[int, bytes]:
        """The status, and the beginning of what else was said. Raises httpx2.HTTPError and TimeoutError while there is no status."""
        async with httpx2.AsyncClient(
            verify=self._tls, follow_redirects=False, timeout=self._timeout, trust_env=False
        ) as client:
            request = client.build_request("POST", self._url, content=body, headers=headers)
            async with asyncio.timeout(self._seconds):
                answer = await client.send(request, stream=True)
            async with aclosing(answer):
                return answer.status_code, await _beginning(answer, self._seconds / 5)


@dataclass
class _Body:
    """The request's body. `gone` once it is being sent: from then on the provider may have it."""

    raw: bytes
    gone: bool = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.gone = True
        yield self.raw


def _checked(url: str) -> httpx2.URL:
    """The address as the client will read it. Raises RefusesToStart when it names no host, or another machine without TLS."""
    try:
        read = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError):
        read = httpx2.URL()
    safe = read.scheme == "https" or (read.scheme == "http" and read.host in _LOCAL)
    if not (read.host and safe and (read.port is None or 0 < read.port < 65536)):
        raise RefusesToStart("PORTAL_PHONE_URL: write the provider's webhook as https://..., or memory: for trials")
    return read


def _key(secret: str) -> bytes:
    """The key in a webhook secret, read strictly: the library skips what is no base64. Raises RefusesToStart, without a word of it."""
    written = secret.removeprefix("whsec_").rstrip("=")
    key = b""
    with suppress(ValueError):
        key = base64.b64decode(written + "=" * (-len(written) % 4), validate=True)
    if len(key) < _LEAST_KEY_BYTES:
        raise RefusesToStart("PORTAL_PHONE_SECRET: write it as whsec_ and base64 of 24 random bytes or more")
    return key


def _as_json(message: Spoken) -> bytes:
    said = {
        "type": f"code.{message.channel.value}",
        "to": message.number,
        "text": message.text,
        "language": message.language,
        "id": message.reference,
    }
    return json.dumps(said).encode()


async def _beginning(answer: httpx2.Response, seconds: float) -> bytes:
    """The body as far as its first line needs: bounded in bytes and time, and never unpacked."""
    said = b""
    if "content-encoding" in answer.headers:
        return said
    with suppress(httpx2.HTTPError, TimeoutError):
        async with asyncio.timeout(seconds), aclosing(answer.aiter_raw()) as pieces:
            async for piece in pieces:
                said += piece
                if len(said) >= _MOST_BYTES or b"\n" in said.lstrip():
                    break
    return said[:_MOST_BYTES]


def _line(said: bytes, message: Spoken) -> str:
    """The first line, printable and short, without the text and without any number: providers like to quote both."""
    line = "".join(said.decode("utf-8", "replace").strip().splitlines()[:1])
    for quoted in (message.text, json.dumps(message.text)[1:-1], json.dumps(message.text, ensure_ascii=False)[1:-1]):
        line = line.replace(quoted, "<text>")
    line = _DIGITS.sub("<number>", line)
    return "".join(sign for sign in line if sign.isprintable())[:_MOST_SIGNS]
