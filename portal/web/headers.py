"""Headers of every response, errors and static files too; and one nonce a request."""

import secrets

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PERMISSIONS = (
    "accelerometer", "autoplay", "camera", "display-capture", "fullscreen", "geolocation", "gyroscope", "hid",
    "idle-detection", "local-fonts", "magnetometer", "microphone", "midi", "payment", "serial", "usb", "xr-spatial-tracking",
)  # fmt: skip
_FIXED = {
    "strict-transport-security": "max-age=63072000; includeSubDomains",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": ", ".join([f"{name}=()" for name in _PERMISSIONS])
    + ", publickey-credentials-get=(self), publickey-credentials-create=(self)",
    "x-robots-tag": "noindex, nofollow",
    "cache-control": "no-store",
}
_ENCODED = [(name.encode(), value.encode()) for name, value in _FIXED.items()]
_PAGE = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_MAIL = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'; "
    "sandbox allow-popups allow-popups-to-escape-sandbox"
)
INERT = "default-src 'none'; sandbox"
"""For what is downloaded: if a browser shows it after all, it can do nothing."""

SHOWN = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
"""For an attachment that the browser shows in a document that it makes itself, with styles of its own. Chromium's PDF viewer works in
a sandbox too: it is a page of the browser's, and only the document around it is bound."""


def framed_mail(script_hash: str) -> str:
    """For the document with the mail: a second wall that holds without the sanitiser. Scripts run only to tell the height."""
    return f"{_MAIL} allow-scripts; script-src '{script_hash}'"


def printed_mail() -> str:
    """For the same document on its own page: no script at all."""
    return f"{_MAIL} allow-modals"


class SecurityHeaders:
    """Sets each header that the response does not set itself (a mail's document has its own policy)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        nonce = scope["nonce"] = secrets.token_urlsafe(16)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"] = list(message.get("headers", ()))
                own = {name.lower() for name, _ in headers}
                headers += [header for header in _ENCODED if header[0] not in own]
                if b"content-security-policy" not in own:
                    headers.append((b"content-security-policy", _PAGE.format(nonce=nonce).encode()))
            await send(message)

        await self._app(scope, receive, send_with_headers)
