"""Load on a portal that is being killed: relays that send until they hear 250, people who sign in, read and answer, an operator.

Each client writes down what it was told, for tests/fault/oracle.py to hold against what the portal kept. A connection
that breaks is no answer: a relay sends the same message again, and a browser the same reply.
"""

import asyncio
import hashlib
import random
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.message import EmailMessage

import aiosmtplib
import httpx2

from portal.smtp.sink import Caught
from tests.fault.live import Place, hand_over, portal, relay
from tests.world import BASE, CAROL, CODE, LINK, World, letter

READERS = tuple(f"{name}@patients.example" for name in ("alice", "bob", "erin", "frank"))
_SUBJECT = re.compile(r"load-[0-9a-f]{16}")
_MESSAGE = re.compile(r'href="(/messages/[0-9a-f-]{36})"')
_DRAFT = re.compile(r'name="draft" value="([0-9a-f-]{36})"')
_CODE_SECONDS = 4.0


@dataclass(frozen=True)
class Letter:
    """A message that a relay is to hand over, and the queue id it keeps however often it is sent."""

    tag: str
    raw: bytes
    to: tuple[str, ...]
    queue_id: str


@dataclass
class Told:
    """What the clients were told."""

    letters: dict[str, Letter] = field(default_factory=dict)
    stored: set[str] = field(default_factory=set)
    """Tags of the letters that were answered 250."""
    sent_again: int = 0
    opened: Counter[str] = field(default_factory=Counter)
    """Views that were answered 200 with content, by delivery."""
    downloaded: Counter[str] = field(default_factory=Counter)
    replied: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Replies that were answered 303: the text's marker and the attachment's SHA-256, by draft."""
    revoked: dict[str, float] = field(default_factory=dict)
    """When the CLI had said that a delivery is revoked."""
    seen_after: list[str] = field(default_factory=list)
    """Deliveries whose content was released to a request that began after that."""
    odd: Counter[str] = field(default_factory=Counter)
    """Answers that no client should hear, killed portal or not."""
    signed_in: int = 0


class Load:
    """See the module. `pace` is the longest pause between two acts of a client, in seconds."""

    def __init__(self, where: Place, chance: random.Random, pace: float) -> None:
        self.where, self.chance, self.pace = where, chance, pace
        self.told = Told()
        self._waiting: list[Letter] = []
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._people: list[Person] = []

    def start(self, relays: int = 3) -> None:
        acts: list[Callable[[], Awaitable[None]]] = [self._relay_session] * relays
        self._people = [Person(self, who) for who in READERS]
        acts += [one.act for one in self._people]
        acts.append(self._revoke)
        self._tasks = [asyncio.create_task(self._keep(act)) for act in acts]

    async def stop(self) -> None:
        """Ends the load; what was not answered yet is sent until it is. The portal must be serving."""
        self._stopping = True
        await asyncio.gather(*self._tasks)
        for one in self._people:
            await one.leave()
        async with asyncio.timeout(60):
            while self._waiting:
                await self._relay_session()

    async def _keep(self, act: Callable[[], Awaitable[None]]) -> None:
        while not self._stopping:
            try:
                await act()
            except (OSError, aiosmtplib.SMTPException, httpx2.TransportError):
                await asyncio.sleep(0.05)
            await asyncio.sleep(self.chance.uniform(0, self.pace))

    # -- relays

    async def _relay_session(self) -> None:
        async with relay(self.where.login) as client:
            for _ in range(self.chance.randint(1, 4)):
                one = self._next()
                try:
                    answer = await hand_over(client, CAROL, one.to, one.raw, one.queue_id)
                except BaseException:
                    self._waiting.append(one)
                    raise
                if answer.startswith("250"):
                    self.told.stored.add(one.tag)
                else:
                    self.told.odd[f"SMTP {answer}"] += 1
                    self._waiting.append(one)

    def _next(self) -> Letter:
        if self._waiting:
            self.told.sent_again += 1
            return self._waiting.pop(0)
        made = self._letter()
        self.told.letters[made.tag] = made
        return made

    def _letter(self) -> Letter:
        tag = f"load-{self.chance.getrandbits(64):016x}"
        size = self.chance.choice((100, 2_000, 20_000, 20_000, 600_000))
        words = f"{tag}\n" + "All is well. Nothing more. 0123456789\n" * (size // 38)
        part = ("scan.pdf", "application/pdf", b"%PDF-1.7\n" + self.chance.randbytes(3_000))
        to = tuple(self.chance.sample(READERS, self.chance.choice((1, 1, 2, 3))))
        raw = letter(
            tag, words, to=", ".join(to), message_id=f"<{tag}@clinic.example>",
            attachments=[part] if self.chance.random() < 0.3 else (),
        )  # fmt: skip
        return Letter(tag, raw, to, f"{self.chance.getrandbits(40):010X}")

    # -- the operator

    async def _revoke(self) -> None:
        """Takes back one of the newest messages; now and then the command is killed as well, and said nothing."""
        listed = await portal(self.where, "message", "list", "--org", "northside", "--limit", "20")
        ids = [line.split()[0] for line in listed.text.splitlines() if listed.status == 0]
        if ids:
            killed = self.chance.uniform(0.1, 1.5) if self.chance.random() < 0.3 else None
            words = ("message", "revoke", self.chance.choice(ids), "--org", "northside", "--reason", "sent in error")
            done = await portal(self.where, *words, kill_after=killed)
            if done.status == 0:
                at = time.monotonic()
                found = re.findall(r"^([0-9a-f-]{36}): revoked$", done.text, re.MULTILINE)
                self.told.revoked |= dict.fromkeys(found, at)
        await asyncio.sleep(self.chance.uniform(0, 30 * self.pace))


class Person:
    """A recipient with a browser: signs in now and then, looks at the inbox, reads, downloads, answers."""

    def __init__(self, load: Load, who: str) -> None:
        self._load, self._who = load, who
        self._chance, self._told = load.chance, load.told
        self._http = browser(load.where)
        self._signed_in = False

    async def leave(self) -> None:
        """Closes the browser."""
        await self._http.aclose()

    async def act(self) -> None:
        if not self._signed_in or self._chance.random() < 0.03:
            self._signed_in = await self._sign_in()
        if not self._signed_in:
            return
        inbox = await self._get("/inbox")
        messages = sorted(set(_MESSAGE.findall(inbox.text)))
        if inbox.status_code == 401:
            self._signed_in = False
        if messages:
            await self._look(self._chance.choice(messages))

    async def _look(self, href: str) -> None:
        delivery, began = href.rsplit("/", 1)[1], time.monotonic()
        page = await self._get(href)
        if page.status_code != 200:
            return
        assert _SUBJECT.search(page.text), "a page without its message"
        self._opened(delivery, began)
        act = self._chance.random()
        if act < 0.25:
            await self._answer(href)
        elif act < 0.5:
            began = time.monotonic()
            whole = await self._get(f"{href}/original.eml")
            if whole.status_code == 200:
                self._told.downloaded[delivery] += 1
                self._known(whole.content)

    def _opened(self, delivery: str, began: float) -> None:
        self._told.opened[delivery] += 1
        if began > self._told.revoked.get(delivery, float("inf")):
            self._told.seen_after.append(delivery)

    def _known(self, raw: bytes) -> None:
        found = _SUBJECT.search(raw[:4000].decode("latin-1"))
        assert found, "a download without its header"
        if self._told.letters[found[0]].raw != raw:
            self._told.odd["a download that is not what was sent"] += 1

    async def _answer(self, href: str) -> None:
        page = await self._get(f"{href}/reply")
        draft, csrf = _DRAFT.search(page.text), re.search(r'name="csrf" value="([^"]+)"', page.text)
        if page.status_code != 200 or not draft or not csrf:
            return
        marker, content = f"answer-{self._chance.getrandbits(64):016x}", self._chance.randbytes(5_000)
        form: list[tuple[str, tuple[str | None, str | bytes]]] = [
            ("csrf", (None, csrf[1])),
            ("draft", (None, draft[1])),
            ("text", (None, marker)),
            ("files", ("photo.bin", content)),
        ]
        for _ in range(3):
            try:
                sent = await self._http.post(f"{href}/reply", files=form)
            except httpx2.TransportError:  # no answer: the same is sent again when the portal is back
                await asyncio.sleep(1)
                continue
            if sent.status_code == 303:
                self._told.replied[draft[1]] = (marker, hashlib.sha256(content).hexdigest())
            elif sent.status_code not in (404, 410):  # sent before, or revoked meanwhile
                self._told.odd[f"a reply was answered {sent.status_code}"] += 1
            return

    async def _sign_in(self) -> bool:
        link = self._some_link()
        if link is None:
            return False
        await self.leave()
        self._http = browser(self._load.where)
        page = await self._get(f"/m/{link}")
        action, csrf = re.search(r'action="(/sign-in/[^"]+/send)"', page.text), _csrf(page.text)
        if page.status_code != 200 or action is None:
            return False
        asked, at = await self._http.post(action[1], data={"csrf": csrf}), time.time()
        if asked.status_code != 303:
            self._not_wanted(asked, 429)
            return False
        door = asked.headers["location"]
        page = await self._get(door)
        code = await self._code(page.text, at - 5)
        if code is None:
            return False
        answer = await self._http.post(door, data={"csrf": _csrf(page.text), "code": code})
        self._not_wanted(answer, 303, 422, 429)
        self._told.signed_in += answer.status_code == 303
        return answer.status_code == 303

    def _some_link(self) -> str | None:
        texts = (World.read(one).get_body(("plain",)) for _, one in self._load.where.mails[-80:] if self._is_mine(one))
        found = [match[1] for text in texts if text and (match := LINK.search(text.get_content()))]
        return self._chance.choice(found) if found else None

    def _is_mine(self, caught: Caught) -> bool:
        return self._who in caught.rcpt_to

    async def _code(self, page: str, since: float) -> str | None:
        """The code whose reference the page names, once its mail is there; a mail of a killed worker comes too late."""
        until = time.monotonic() + _CODE_SECONDS
        while time.monotonic() < until:
            for at, caught in reversed(self._load.where.mails):
                if at < since:
                    break
                if self._who in caught.rcpt_to and (code := _code_in(World.read(caught), page)):
                    return code
            await asyncio.sleep(0.05)
        return None

    async def _get(self, path: str) -> httpx2.Response:
        answer = await self._http.get(path)
        self._not_wanted(answer, 200, 401, 404, 410)
        return answer

    def _not_wanted(self, answer: httpx2.Response, *wanted: int) -> None:
        if answer.status_code not in wanted:
            self._told.odd[f"HTTP {answer.status_code} {answer.request.method} {_shape(answer.request.url.path)}"] += 1


def _shape(path: str) -> str:
    return re.sub(r"[\w.-]{20,}", "*", path)


def _csrf(page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    return found[1] if found else ""


def _code_in(mail: EmailMessage, page: str) -> str | None:
    body = mail.get_body(("plain",))
    text = str(body.get_content()) if body else ""
    code = CODE.search(text)
    references = set(re.findall(r"\b[A-Z0-9]{3}\b", text)) & set(re.findall(r"\b[A-Z0-9]{3}\b", page))
    return code[0] if code and references else None


class _Proxied(httpx2.AsyncHTTPTransport):
    """Stands for the proxy in front: what is asked of the public name goes to the portal's port."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        inner = httpx2.Request(
            request.method,
            request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port),
            headers=request.headers,
            stream=request.stream,
            extensions=request.extensions,
        )
        return await super().handle_async_request(inner)


def browser(where: Place) -> httpx2.AsyncClient:
    headers = {"user-agent": "Mozilla/5.0 Firefox/153.0", "sec-fetch-site": "same-origin", "accept-language": "en"}
    return httpx2.AsyncClient(transport=_Proxied(where.http_port), base_url=BASE, headers=headers, timeout=60)
