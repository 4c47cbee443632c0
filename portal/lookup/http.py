"""The same answers by HTTP, for relays that know no socketmap: GET /MAP?key=KEY or /ORG/MAP?key=KEY.

200 with the value, 404 where there is none, 503 when it is not known now, 400 for a question that can't be meant; plain text. An
ASGI application of one page: no framework for it.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from portal.lookup.answers import Answers, Reply
from portal.lookup.socketmap import MOST_BYTES, Network, may_ask

_STATUS = {"OK": 200, "NOTFOUND": 404, "TEMP": 503, "PERM": 400}
_SECONDS = 30.0

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class HttpLookup:
    """See the module."""

    def __init__(self, answers: Answers, allowed: Sequence[Network]) -> None:
        self._answers, self._allowed = answers, allowed

    async def __call__(self, scope: Scope, receive: Callable[[], Awaitable[Any]], send: Send) -> None:
        if scope["type"] != "http":
            return
        reply = await self._reply(scope)
        status = 403 if reply is None else _STATUS[reply.status]
        body = b"" if reply is None else f"{reply.text}\n".encode()
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _reply(self, scope: Scope) -> Reply | None:
        """None for a stranger."""
        client = scope.get("client")
        if not may_ask(tuple(client) if client else None, self._allowed):
            return None
        query = scope["query_string"]
        if scope["method"] not in ("GET", "HEAD") or len(query) > MOST_BYTES * 3:
            return Reply("PERM", "GET /MAP?key=KEY")
        try:
            [key] = parse_qs(query.decode(), errors="strict", max_num_fields=4)["key"]
        except (KeyError, ValueError):  # UnicodeError is one
            return Reply("PERM", "GET /MAP?key=KEY")
        try:
            async with asyncio.timeout(_SECONDS):
                return await self._answers.answer(scope["path"].strip("/"), key[:MOST_BYTES])
        except TimeoutError:
            return Reply("TEMP", "no answer in time")
