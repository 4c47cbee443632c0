"""Who the client is, behind a proxy: the last address in X-Forwarded-For, which is the one the proxy itself saw.

Those before it come from the client and prove nothing. Only a unix socket or the configured proxy is believed.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

_NAME = b"x-forwarded-for"


class BehindProxy:
    """`proxy` is the address whose word counts; None believes whoever connects (a unix socket: only the proxy can)."""

    def __init__(self, app: ASGIApp, proxy: str | None) -> None:
        self._app, self._proxy = app, proxy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._believed(scope):
            said = b",".join(value for name, value in scope["headers"] if name == _NAME)
            last = said.rpartition(b",")[2].strip().decode("latin-1")
            if last:
                scope["client"] = (last, 0)
        await self._app(scope, receive, send)

    def _believed(self, scope: Scope) -> bool:
        client = scope.get("client")
        return self._proxy is None or (client is not None and client[0] == self._proxy)
