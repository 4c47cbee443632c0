"""Scanners that speak HTTP and run no JavaScript: fetching, fetching ahead, rewriting, crawling, submitting, guessing."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode, urlsplit

from portal.scanner.client import Answer, Client
from portal.scanner.findings import Findings
from portal.scanner.pages import Form, Page
from portal.scanner.target import Target

BROWSER = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"
)
_SCANNER = "mail-link-scanner/1.0"
_NAVIGATES = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document", "sec-fetch-site": "none"}
_SAME_FORM = 2
"""How often the same form is submitted: its answer may hold it once more."""
_MOST_GUESSES = 2


@dataclass(frozen=True)
class Plain:
    """An emulator: how it calls itself, and what it does with the link."""

    name: str
    does: str
    act: Callable[[Client], None]
    agent: str = _SCANNER
    headers: Mapping[str, str] = field(default_factory=dict)

    def visit(self, target: Target) -> Findings:
        """Raises InputRefused when the host does not answer."""
        client = Client(target, self.agent, self.headers)
        self.act(client)
        requests = client.bounds.requests
        return Findings(self.name, self.does, requests, client.forms, client.look())


def _gets(client: Client) -> None:
    client.fetch(client.target.url)


def _heads(client: Client) -> None:
    client.fetch(client.target.url, "HEAD")
    client.fetch(client.target.url, "HEAD")


def _rewrites(client: Client) -> None:
    for url in rewritten(client.target):
        client.fetch(url)


def rewritten(target: Target) -> list[str]:
    """A link as it comes back from those who wrap it: marked, cut out of a sentence badly, escaped, in other case, and again later."""
    url, origin = target.url, str(target.origin)
    path, query = urlsplit(url).path or "/", urlsplit(url).query
    asked = f"?{query}" if query else ""
    more = f"{url}{'&' if query else '?'}"
    escaped = "".join(f"%{ord(one):02X}" if one in "-_" else one for one in path)
    return [
        f"{more}utm_source=mail&utm_medium=notice",
        f"{more}url={quote(url, safe='')}",
        *(f"{url}{sign}" for sign in (".", ")", ">", "/", "%20", "%0D%0A", "=")),
        f"{origin}{escaped}{asked}",
        f"{origin}{quote(escaped, safe='/')}{asked}",
        f"{origin}{path.lower()}{asked}",
        f"{origin}{path.swapcase()}{asked}",
        f"{origin}/{path}{asked}",
        url,
        url,
    ]


def _crawls(client: Client) -> None:
    seen, waiting = set[str](), [client.target.url]
    while waiting and client.bounds.left():
        at = waiting.pop(0)
        if at in seen:
            continue
        seen.add(at)
        answer = client.fetch(at)
        links = Page(answer.html).links if answer else []
        waiting += [joined for link in links if answer and (joined := client.target.join(answer.url, link))]


def _submits(client: Client) -> None:
    _forms(client, lambda form, page: [{}])


def _guesses(client: Client) -> None:
    def filled(form: Form, page: Page) -> list[dict[str, str]]:
        return [dict.fromkeys(form.typed, guess) for guess in page.guesses()[:_MOST_GUESSES]] if form.typed else [{}]

    _forms(client, filled)


def _forms(client: Client, filled: Callable[[Form, Page], list[dict[str, str]]]) -> None:
    """Submits every form of the page, and of those that come of it, once for each way of filling it in."""
    sent, waiting = Counter[tuple[str, str]](), [client.fetch(client.target.url)]
    while waiting:
        answer = waiting.pop(0)
        page = Page(answer.html if answer else "")
        for form in page.forms:
            for typed in filled(form, page):
                for action, fields in form.submissions():
                    key = (action, " ".join(typed.values()))
                    sent[key] += 1
                    if answer and sent[key] <= _SAME_FORM:
                        waiting.append(_submit(client, answer, form.method, action, fields | typed))


def _submit(client: Client, at: Answer, method: str, action: str, fields: dict[str, str]) -> Answer | None:
    where = client.target.join(at.url, action)
    if where is None:
        return None
    if method == "post":
        return client.fetch(where, "POST", fields)
    return client.fetch(f"{where.split('?')[0]}?{urlencode(fields)}")


PLAIN: tuple[Plain, ...] = (
    Plain("get", "fetches the link", _gets),
    Plain("head", "asks for its headers, twice", _heads),
    Plain("get-as-browser", "fetches it under a browser's name", _gets, BROWSER, _NAVIGATES),
    Plain("prefetch", "fetches it ahead, as mail programs do", _gets, BROWSER, {"sec-purpose": "prefetch"}),
    Plain("rewrite", "fetches it marked, cut, escaped, twice escaped, in other case, and again", _rewrites),
    Plain("crawl", "follows every link it finds", _crawls),
    Plain("submit", "submits every form as it is prefilled", _submits, BROWSER),
    Plain("guess", "fills in every form with digits, found or made up", _guesses, BROWSER),
)
