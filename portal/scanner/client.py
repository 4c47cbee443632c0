"""A plain HTTP client with a memory for cookies, bound to one origin, that notices when it is signed in."""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import urlencode

from portal.model.errors import InputRefused
from portal.scanner.findings import BY_COOKIE, BY_INBOX, BY_PAGE, INBOX, SESSION, Bounds
from portal.scanner.pages import Page
from portal.scanner.target import Target, path_of

MOST_REQUESTS = 50
_MOST_BYTES = 1024 * 1024
_MOST_REDIRECTS = 5
_TIMEOUT_SECONDS = 10
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class Answer:
    url: str
    status: int
    html: str


class Client:
    """See the module. Raises InputRefused, in one sentence, when the host does not answer."""

    def __init__(self, target: Target, agent: str, headers: Mapping[str, str] | None = None) -> None:
        self.target, self.forms, self.got_in = target, 0, ""
        self.bounds = Bounds(MOST_REQUESTS)
        self._headers = {"user-agent": agent, "accept": "text/html,*/*", **(headers or {})}
        self._cookies: dict[str, str] = {}

    def fetch(self, url: str, method: str = "GET", form: Mapping[str, str] | None = None) -> Answer | None:
        """What a URL of this origin answers, redirects followed; None for any other, and once enough was asked."""
        for _ in range(_MOST_REDIRECTS):
            if not self.target.holds(url) or not self.bounds.left():
                return None
            answer, html = self._once(url, method, form)
            onward = answer.headers.get("location") if answer.status in _REDIRECTS else None
            if onward is None:
                return Answer(url, answer.status, html)
            joined = self.target.join(url, onward)
            if joined is None:
                return None
            url, method, form = joined, "HEAD" if method == "HEAD" else "GET", None
        return None

    def look(self) -> str:
        """By what it is seen to be signed in, the inbox asked as well; empty when it is not."""
        if not self.got_in:
            answer, _ = self._once(f"{self.target.origin}{INBOX}", "GET", None)
            if 200 <= answer.status < 300:
                self.got_in = BY_INBOX
        return self.got_in

    def _once(self, url: str, method: str, form: Mapping[str, str] | None) -> tuple[HTTPResponse, str]:
        self.bounds.requests += 1
        headers, body = dict(self._headers), None
        if self._cookies:
            headers["cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        if form is not None:
            self.forms += 1
            body = urlencode(form).encode()
            headers |= {"content-type": "application/x-www-form-urlencoded", "origin": str(self.target.origin)}
        with _connected(self.target) as connection:
            connection.request(method, path_of(url), body, headers)
            answer = connection.getresponse()
            html = answer.read(_MOST_BYTES).decode("utf-8", "replace")
        self._remember(answer.headers.get_all("set-cookie") or [])
        if Page(html).signed_in():
            self.got_in = self.got_in or BY_PAGE
        return answer, html

    def _remember(self, cookies: list[str]) -> None:
        for line in cookies:
            name, _, value = line.split(";")[0].partition("=")
            self._cookies[name.strip()] = value.strip()
            if name.strip() == SESSION and value.strip('" '):
                self.got_in = BY_COOKIE


@contextmanager
def _connected(target: Target) -> Iterator[HTTPConnection]:
    host, port = target.origin.host, target.origin.port
    connection = (
        HTTPSConnection(host, port, timeout=_TIMEOUT_SECONDS, context=target.context())
        if target.origin.scheme == "https"
        else HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
    )
    try:
        yield connection
    except ssl.SSLCertVerificationError as error:
        raise InputRefused(f"{host} has no certificate that can be trusted: {error.verify_message}.") from None
    except ssl.SSLError:
        raise InputRefused(f"{host} does not speak TLS on port {port}.") from None
    except (OSError, HTTPException, UnicodeError) as error:
        raise InputRefused(f"{host} does not answer on port {port}: {type(error).__name__}.") from None
    finally:
        connection.close()
