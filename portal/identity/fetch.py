"""One request to an identity provider, bounded: in time, in bytes, in where it goes.

No redirect is followed, no proxy of the environment asked, no compression undone, and the certificate is checked. Without TLS only
this machine is spoken to.
"""

import asyncio
import json
import re
import ssl
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from portal.model.errors import IdentityAway, IdentityRefused, RefusesToStart

_MOST_BYTES = 256 * 1024
_AGAIN = frozenset({408, 425, 429})
_HOST = re.compile(r"[\w.-]+|[0-9a-f:.]+")
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Answer:
    """What was answered: a status below 500, and a JSON object. Empty when a status other than 200 came with something else."""

    status: int
    said: dict[str, Any] = field(repr=False)


class Line:
    """The way to one provider. `seconds` is for a whole request. Raises RefusesToStart when `ca` can't be read."""

    def __init__(self, ca: Path | None, seconds: float) -> None:
        self._seconds = seconds
        # TCP and TLS get 0.4 each, so that the client ends them: cancelled from outside, a handshake leaks its socket (httpcore2).
        self._timeout = httpx2.Timeout(seconds, connect=0.4 * seconds)
        try:
            self._tls = ssl.create_default_context(cafile=str(ca) if ca else None)
        except OSError as error:
            raise RefusesToStart(f"the identity provider's authorities: {ca} can't be read: {error}") from error

    async def get(self, what: str, url: str) -> dict[str, Any]:
        """A document of the provider; `what` names it in errors. Raises IdentityAway and IdentityRefused."""
        answer = await self._ask(what, "GET", url, None, {})
        if answer.status != 200:
            raise IdentityRefused(f"{what}: the provider answered {answer.status}")
        return answer.said

    async def post(self, what: str, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        """The answer to a form. Raises IdentityAway and IdentityRefused."""
        return await self._ask(what, "POST", url, form, headers)

    async def _ask(
        self, what: str, method: str, url: str, form: Mapping[str, str] | None, headers: Mapping[str, str]
    ) -> Answer:
        try:
            async with asyncio.timeout(self._seconds):
                status, body = await self._exchange(what, method, url, form, headers)
        except (httpx2.HTTPError, TimeoutError, UnicodeError):  # UnicodeError: a host that is no name
            raise IdentityAway(f"{what}: the provider did not answer") from None
        if status in _AGAIN or status >= 500:
            raise IdentityAway(f"{what}: the provider answered {status}")
        said = as_object(body)
        if said is None and status == 200:
            raise IdentityRefused(f"{what}: the provider's answer is no JSON object")
        return Answer(status, said or {})

    async def _exchange(
        self, what: str, method: str, url: str, form: Mapping[str, str] | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        plain = {"accept": "application/json", "accept-encoding": "identity", **headers}
        async with httpx2.AsyncClient(
            verify=self._tls, follow_redirects=False, timeout=self._timeout, trust_env=False
        ) as client:
            request = client.build_request(method, url, data=form, headers=plain)
            async with aclosing(await client.send(request, stream=True)) as answer:
                if answer.headers.get("content-encoding", "identity") != "identity":
                    raise IdentityRefused(f"{what}: the provider's answer is packed, though nobody asked for it")
                body = b""
                async with aclosing(answer.aiter_raw()) as pieces:
                    async for piece in pieces:
                        body += piece
                        if len(body) > _MOST_BYTES:
                            raise IdentityRefused(f"{what}: the provider's answer is longer than {_MOST_BYTES} bytes")
                return answer.status_code, body


def checked(url: object, *, local: bool = True) -> httpx2.URL | None:
    """An address as the client will read it: https, or http to this machine when `local`. None for anything else."""
    try:
        read = httpx2.URL(url) if isinstance(url, str) else httpx2.URL()
    except (httpx2.InvalidURL, ValueError):
        return None
    safe = read.scheme == "https" or (local and is_local(read))
    reachable = _HOST.fullmatch(read.host) and (read.port is None or 0 < read.port < 65536)
    return read if safe and reachable and not read.fragment and not read.userinfo else None


def is_local(url: httpx2.URL) -> bool:
    """Without TLS, and on this machine."""
    return url.scheme == "http" and url.host in _LOCAL


def as_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object in these bytes, if that is what they are."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None
