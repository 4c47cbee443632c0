"""The demo's mailbox: a page that shows what the portal has sent out. No part of the portal's own site."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from html import escape
from re import compile as pattern

from markupsafe import Markup
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from portal import paths
from portal.web.headers import SecurityHeaders
from portal.web.templating import Pages

_ADDRESS = pattern(r"https?://[^\s<>\"']+")


@dataclass(frozen=True)
class Letter:
    """A mail in the mailbox, as its page shows it. `text` has its web addresses made links."""

    number: int
    to: str
    sender: str
    subject: str
    date: str
    text: Markup
    attachments: tuple[str, ...]
    tls: str


@dataclass(frozen=True)
class Kept:
    """A mail as it came. `tls` is the protocol it came over."""

    raw: bytes
    rcpt_to: tuple[str, ...]
    tls: str


def build(mails: Callable[[], Sequence[Kept]], pages: Pages) -> Starlette:
    """The application; newest mails first."""

    async def show(request: Request) -> Response:
        kept = mails()
        letters = [_letter(number, kept[number]) for number in reversed(range(len(kept)))]
        nonce = request.scope["nonce"]
        return HTMLResponse(pages.render("demo/mailbox.html", "en", {"letters": letters, "nonce": nonce, "dir": "ltr"}))

    async def raw(request: Request) -> Response:
        kept, number = mails(), request.path_params["number"]
        if number >= len(kept):
            return Response("There is no such mail.", 404, media_type="text/plain")
        return Response(kept[number].raw, media_type="text/plain; charset=utf-8")

    routes = [
        Route("/", show),
        Route("/mails/{number:int}", raw),
        Mount("/static", StaticFiles(directory=paths.static())),
    ]
    return Starlette(routes=routes, middleware=[Middleware(SecurityHeaders)])


def _letter(number: int, kept: Kept) -> Letter:
    mail = message_from_bytes(kept.raw, policy=policy.default)
    assert isinstance(mail, EmailMessage)
    body = mail.get_body(("plain",))
    text = body.get_content() if body else ""
    names = tuple(part.get_filename() or part.get_content_type() for part in mail.iter_attachments())
    head = (str(mail.get(name, "")) for name in ("From", "Subject", "Date"))
    sender, subject, date = head
    return Letter(number, ", ".join(kept.rcpt_to), sender, subject, date, _linked(str(text)), names, kept.tls)


def _linked(text: str) -> Markup:
    parts, at = [], 0
    for found in _ADDRESS.finditer(text):
        parts += [escape(text[at : found.start()]), f'<a href="{escape(found[0])}">{escape(found[0])}</a>']
        at = found.end()
    return Markup("".join([*parts, escape(text[at:])]))  # noqa: S704 - every piece is escaped above
