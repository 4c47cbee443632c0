"""`Texter`, by webhook and in memory: what is handed over arrives as it is, and neither number nor text turns up anywhere else."""

import asyncio
import base64
import gzip
import json
import logging
import os
import ssl
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from portal.model.errors import RefusesToStart, SubmissionFailed
from portal.phone import Channel, Spoken, Texter
from portal.phone.memory import MemoryTexter
from portal.phone.webhook import WebhookTexter
from tests.world import certificates

pytestmark = pytest.mark.anyio
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
NUMBER, CODE = "+15550100042", "4821 9375"
TEXT = f"Clínica Norte: your code is {CODE} (reference QK7)."
SMS = Spoken(Channel.SMS, NUMBER, TEXT, "es", "0190a5d1-7c3e-7000-8000-000000000001")
CALL = Spoken(Channel.VOICE, NUMBER, "Your code is 4, 8, 2, 1.", "en", "0190a5d1-7c3e-7000-8000-000000000002")
TELLTALE = ("5550100042", "555 010", "4821", "9375", "4, 8, 2, 1", "your code", "nica Norte", SECRET[6:])
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def says(status: int, body: bytes = b"queued", more: str = "") -> Answer:
    """An answer as it should be."""

    async def answer(out: asyncio.StreamWriter) -> None:
        out.write(f"HTTP/1.1 {status} Said\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    return answer


def writes(raw: bytes, then_waits: bool = False) -> Answer:
    """An answer that is whatever bytes it is; then the connection is closed, or held."""

    async def answer(out: asyncio.StreamWriter) -> None:
        out.write(raw)
        if then_waits:
            await out.drain()
            await asyncio.Event().wait()

    return answer


@dataclass
class Provider:
    """A provider on loopback: reads requests, checks their signature, answers as `answer` does."""

    answer: Answer = field(default_factory=lambda: says(202))
    requests: list[dict[str, Any]] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    connections: int = 0
    refused: int = 0
    written: int = 0
    port: int = 0

    async def serve(self, read: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = (await read.readuntil(b"\r\n\r\n")).decode("ascii")
            line, *fields = head.rstrip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in fields)}
            body = await read.readexactly(int(headers["content-length"]))
            said = Webhook(SECRET).verify(body, headers)
            self.requests.append({"line": line, "headers": headers, "body": said})
            self.asked.set()
            await self.answer(out)
            await out.drain()
        except WebhookVerificationError:
            self.refused += 1  # and no answer
        except (OSError, asyncio.IncompleteReadError):
            pass  # it went away: some tests want that
        finally:
            out.close()

    async def endless(self, out: asyncio.StreamWriter) -> None:
        """Promises little and never stops."""
        out.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nqueued\r\n")
        while True:
            out.write(b"10000\r\n" + b"A" * 0x10000 + b"\r\n")
            await out.drain()
            self.written += 0x10000


async def _open(provider: Provider, tls: ssl.SSLContext | None = None) -> AsyncIterator[Provider]:
    running: set[asyncio.Task[None]] = set()

    def connected(read: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(provider.serve(read, out))
        running.add(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    provider.port = server.sockets[0].getsockname()[1]
    yield provider
    server.close()
    for task in running:
        task.cancel()
    ended = await asyncio.gather(*running, return_exceptions=True)
    await server.wait_closed()
    assert [one for one in ended if isinstance(one, Exception)] == [], "the provider met what it did not expect"


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """Without TLS, as allowed on this machine only."""
    async for made in _open(Provider()):
        yield made


@pytest.fixture
async def secure() -> AsyncIterator[Provider]:
    """With TLS, its certificate for localhost by the tests' authority."""
    async for made in _open(Provider(), _server_tls()):
        yield made


def _server_tls() -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates() / "server.pem", certificates() / "server.key")
    return tls


def to(provider: Provider, seconds: float = 5) -> WebhookTexter:
    return WebhookTexter(f"http://127.0.0.1:{provider.port}/texts", SECRET, seconds=seconds)


async def refusal(texter: Texter, message: Spoken = SMS) -> SubmissionFailed:
    """How sending failed; nothing of the message is in it, nor in anything that is shown with it."""
    with pytest.raises(SubmissionFailed) as caught:
        await texter.send(message)
    shown = "".join(traceback.format_exception(caught.value))
    assert not [one for one in TELLTALE if one in shown]
    assert str(caught.value).isprintable()
    return caught.value


# -- every provider


@dataclass
class Under:
    """A texter under test, and what it handed over."""

    texter: Texter
    arrived: Callable[[], list[Spoken]]


@pytest.fixture(params=["memory", "webhook"])
async def under(request: pytest.FixtureRequest, provider: Provider) -> Under:
    if request.param == "memory":
        memory = MemoryTexter()
        return Under(memory, lambda: list(memory.sent))
    return Under(to(provider), lambda: [_spoken(one["body"]) for one in provider.requests])


def _spoken(said: dict[str, str]) -> Spoken:
    channel = Channel(said["type"].removeprefix("code."))
    return Spoken(channel, said["to"], said["text"], said["language"], said["id"])


@pytest.mark.parametrize("message", [SMS, CALL], ids=["sms", "voice"])
async def test_a_message_arrives_as_it_is(under: Under, message: Spoken) -> None:
    """Channel, number, text, language and reference; and who took it is told."""
    sent = await under.texter.send(message)
    assert under.arrived() == [message]
    assert sent.provider
    assert sent.answer.isprintable()


async def test_a_message_sent_again_bears_the_same_reference(under: Under) -> None:
    """The provider can tell that it has it already; the texter itself holds nothing back."""
    await under.texter.send(SMS)
    await under.texter.send(SMS)
    assert [one.reference for one in under.arrived()] == [SMS.reference] * 2


async def test_messages_at_the_same_moment_do_not_mix(under: Under) -> None:
    """Each arrives once, whole."""
    many = [Spoken(Channel.SMS, f"+155501000{at:02}", f"Code {at}", "en", f"id-{at}") for at in range(20)]
    await asyncio.gather(*(under.texter.send(one) for one in many))
    assert sorted(under.arrived(), key=lambda one: one.number) == many


async def test_nothing_of_a_message_is_logged_or_printed(
    under: Under, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Not at the most talkative level of any library, nor in a repr, nor in a file of the working folder."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.DEBUG)
    sent = await under.texter.send(SMS)
    printed = capfd.readouterr()
    shown = [caplog.text, printed.out, printed.err, repr(SMS), repr(sent), repr(under.texter), repr(vars(under.texter))]
    assert not [one for one in TELLTALE if any(one in text for text in shown)]
    assert os.listdir(tmp_path) == []


# -- memory


async def test_memory_keeps_the_newest_hundred() -> None:
    """It is bounded, and says that nothing went out."""
    memory = MemoryTexter()
    for at in range(149):
        await memory.send(Spoken(Channel.SMS, NUMBER, TEXT, "en", str(at)))
    sent = await memory.send(Spoken(Channel.SMS, NUMBER, TEXT, "en", "149"))
    assert [one.reference for one in memory.sent] == [str(at) for at in range(50, 150)]
    assert (sent.provider, sent.answer) == ("memory", "kept")


# -- the webhook's request


async def test_the_request_is_signed_json(provider: Provider) -> None:
    """One POST, of these fields and no others, signed as Standard Webhooks says; the id is the message's reference."""
    await to(provider).send(SMS)
    [seen] = provider.requests
    assert seen["line"] == "POST /texts HTTP/1.1"
    assert seen["body"] == {"type": "code.sms", "to": NUMBER, "text": TEXT, "language": "es", "id": SMS.reference}
    assert seen["headers"]["content-type"] == "application/json"
    assert seen["headers"]["webhook-id"] == SMS.reference
    assert seen["headers"]["webhook-signature"].startswith("v1,")


async def test_another_secret_signs_nothing_of_ours(provider: Provider) -> None:
    """The positive control of the provider here: it takes nothing that another secret signed."""
    other = "whsec_" + base64.b64encode(bytes(32)).decode()
    error = await refusal(WebhookTexter(f"http://127.0.0.1:{provider.port}/texts", other))
    assert error.unclear
    assert (provider.refused, provider.requests) == (1, [])


async def test_a_proxy_of_the_environment_is_not_asked(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number goes to the provider and to nobody between."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    await to(provider).send(SMS)
    assert len(provider.requests) == 1


# -- TLS


async def test_a_checked_certificate_is_enough(secure: Provider) -> None:
    """By the authority that was named, for the name that was asked."""
    texter = WebhookTexter(f"https://localhost:{secure.port}/texts", SECRET, certificates() / "ca.pem")
    sent = await texter.send(SMS)
    assert (sent.provider, sent.answer) == ("localhost", "202 queued")
    assert len(secure.requests) == 1


@pytest.mark.parametrize(("host", "known"), [("localhost", False), ("127.0.0.2", True)])
async def test_a_certificate_of_another_authority_or_name_gets_nothing(
    secure: Provider, host: str, known: bool
) -> None:
    """It ends before a word of the message is sent, so it is no unclear end; somebody may mend it."""
    server = await asyncio.start_server(secure.serve, "127.0.0.2", 0, ssl=_server_tls())
    port = server.sockets[0].getsockname()[1] if host == "127.0.0.2" else secure.port
    texter = WebhookTexter(f"https://{host}:{port}/texts", SECRET, certificates() / "ca.pem" if known else None)
    error = await refusal(texter)
    assert (error.transient, error.unclear) == (True, False)
    assert secure.requests == []
    server.close()
    await server.wait_closed()


# -- the provider's verdict


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_2xx_is_sent(provider: Provider, status: int) -> None:
    """With the first line of what it said, if it said anything."""
    provider.answer = says(status, b"" if status == 204 else b"queued as SM3f9a\r\nand more")
    sent = await to(provider).send(SMS)
    assert sent.provider == "127.0.0.1"
    assert sent.answer == ("204" if status == 204 else f"{status} queued as SM3f9a")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
async def test_what_may_pass_is_transient(provider: Provider, status: int) -> None:
    """It said so itself, so nothing is unclear."""
    provider.answer = says(status, TEXT.encode())
    error = await refusal(to(provider))
    assert (error.transient, error.unclear) == (True, False)
    assert str(status) in str(error)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 422, 451])
async def test_what_will_not_pass_is_permanent(provider: Provider, status: int) -> None:
    """Nor is it tried again."""
    provider.answer = says(status, NUMBER.encode())
    error = await refusal(to(provider))
    assert (error.transient, error.unclear) == (False, False)
    assert str(status) in str(error)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(provider: Provider, status: int) -> None:
    """The number goes where it was to go, once, and nowhere else."""
    provider.answer = says(status, more=f"Location: http://127.0.0.1:{provider.port}/elsewhere\r\n")
    error = await refusal(to(provider))
    assert (error.transient, error.unclear) == (False, False)
    assert provider.connections == 1


# -- when no verdict comes


async def test_a_provider_that_is_away_may_come_back() -> None:
    """Nobody listens: nothing went out, so nothing is unclear."""
    error = await refusal(WebhookTexter("http://127.0.0.1:9/texts", SECRET))
    assert (error.transient, error.unclear) == (True, False)


async def test_a_slow_provider_may_have_taken_it(provider: Provider) -> None:
    """The request went out and no answer came in time."""
    provider.answer = writes(b"", then_waits=True)
    error = await refusal(to(provider, seconds=0.3))
    assert (error.transient, error.unclear) == (True, True)
    assert len(provider.requests) == 1


async def test_a_connection_that_never_gets_ready_took_nothing() -> None:
    """The listener accepts and says nothing: TLS is never there, so no word was sent, and nothing is unclear."""
    silent: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, out: silent.append(out), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    error = await refusal(WebhookTexter(f"https://localhost:{port}/", SECRET, seconds=0.3))
    assert (error.transient, error.unclear) == (True, False)
    server.close()
    for out in silent:
        out.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 2",
        b"220 mail.example ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000 + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
    ids=["closed", "cut short", "no HTTP", "endless header", "only Continue"],
)
async def test_an_answer_that_is_none_leaves_it_unclear(provider: Provider, raw: bytes) -> None:
    """It had the request; whether it took the message it did not say."""
    provider.answer = writes(raw)
    error = await refusal(to(provider))
    assert (error.transient, error.unclear) == (True, True)


# -- the answer's body, which nobody need believe


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nqueued\n", "200 queued"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nqueued\r\nzz", "200 queued"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 6\r\n\r\nqueued", "200"),
    ],
    ids=["cut short", "broken", "not what it says"],
)
async def test_the_status_counts_however_the_body_ends(provider: Provider, raw: bytes, said: str) -> None:
    """A 200 is a 200: were it sent again for a torn body, the person would get two codes."""
    provider.answer = writes(raw)
    assert (await to(provider).send(SMS)).answer == said


@pytest.mark.parametrize("status", [200, 400])
async def test_the_status_counts_though_the_body_never_ends(provider: Provider, status: int) -> None:
    """A body that comes drop by drop does not turn a verdict into a doubt, nor hold the worker up."""

    async def drips(out: asyncio.StreamWriter) -> None:
        out.write(f"HTTP/1.1 {status} Said\r\nContent-Length: 50000\r\n\r\n".encode())
        while True:
            out.write(b"q")
            await out.drain()
            await asyncio.sleep(0.02)

    provider.answer = drips
    async with asyncio.timeout(20):
        if status == 200:
            assert (await to(provider, seconds=1).send(SMS)).answer.startswith("200 q")
        else:
            error = await refusal(to(provider, seconds=1))
            assert (error.transient, error.unclear) == (False, False)


async def test_what_follows_the_first_line_is_not_waited_for(provider: Provider) -> None:
    """Once there is a line, it is enough."""
    provider.answer = writes(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nqueued\n", then_waits=True)
    async with asyncio.timeout(20):
        assert (await to(provider, seconds=500).send(SMS)).answer == "200 queued"


async def test_a_huge_body_is_left_unread(provider: Provider) -> None:
    """It is read up to a bound and no further, and kept as one short line."""
    provider.answer = provider.endless
    sent = await to(provider).send(SMS)
    assert sent.answer.startswith("200 queued")
    assert len(sent.answer) <= 110
    assert provider.written < 16 * 1024 * 1024, "what fits into the buffers of both ends, and no more"


async def test_a_small_body_that_unpacks_to_a_huge_one_is_not_unpacked(provider: Provider) -> None:
    """We ask for no compression, and undo none."""
    provider.answer = says(200, gzip.compress(bytes(50_000_000)), "Content-Encoding: gzip\r\n")
    assert (await to(provider).send(SMS)).answer == "200"
    assert provider.requests[0]["headers"]["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "body",
    [
        f"queued for {NUMBER}",
        "queued for +1 (555) 010-0042",
        "queued for 1.555.010.0042",
        f"to=%2B{NUMBER[1:]}&ok=1",
        f"sent: {TEXT}",
        f"code {CODE}",
        f"code {CODE.replace(' ', '')}",
        "code 4, 8, 2, 1, 9, 3, 7, 5",
        json.dumps({"to": NUMBER, "text": TEXT}),
        json.dumps({"to": NUMBER, "text": TEXT}, ensure_ascii=False),
        "x" * 95 + NUMBER,
    ],
    ids=str,
)
async def test_what_the_provider_quotes_is_not_kept(provider: Provider, body: str) -> None:
    """Providers like to repeat what they were given; the answer goes on record, so number and text are taken out."""
    provider.answer = says(200, body.encode())
    sent = await to(provider).send(SMS)
    assert sent.answer.startswith("200 ")
    assert not [one for one in (*TELLTALE, "010", "937") if one in sent.answer]


async def test_the_answer_is_one_printable_line(provider: Provider) -> None:
    """No control, no bidi sign, no broken UTF-8 gets to the record through it."""
    provider.answer = says(200, b"\r\n ok\x1b[31m\x00\xff\xe2\x80\xae done\r\nX-Evil: 1")
    sent = await to(provider).send(SMS)
    assert sent.answer.isprintable()
    assert sent.answer.startswith("200 ok[31m")
    assert "Evil" not in sent.answer


async def test_a_stopped_worker_is_not_held_up(provider: Provider) -> None:
    """Cancelling is passed on as such, and the connection is closed."""
    provider.answer = writes(b"", then_waits=True)
    sending = asyncio.create_task(to(provider).send(SMS))
    await provider.asked.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


# -- settings that can't work


@pytest.mark.parametrize(
    "url",
    [
        "",
        "texts.example",
        "http://texts.example/",
        "http://localhost.evil.example/",
        "http://127.0.0.1.evil.example/",
        "http://localhost@evil.example/",
        "ftp://localhost/",
        "https://",
        "https:///texts",
        "https://texts.example:port/",
        "https://texts.example:70000/",
        "https://[::1/",
        "https://texts.example/\x00",
    ],
)
def test_an_address_that_is_not_safe_does_not_start(url: str) -> None:
    """TLS, or this machine; and an address at all."""
    with pytest.raises(RefusesToStart, match="PORTAL_PHONE_URL"):
        WebhookTexter(url, SECRET)


@pytest.mark.parametrize(
    "url", ["https://texts.example/a", "http://localhost:8000/", "http://127.0.0.1/", "http://[::1]/"]
)
def test_tls_or_this_machine_starts(url: str) -> None:
    """https anywhere, http on loopback."""
    WebhookTexter(url, SECRET)


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "whsec_!!!", "hunter2 hunter2 hunter2 hunter2 hunter2", "whsec_aHVudGVyMg==", "whsec_" + "é" * 40],
)
def test_a_secret_that_is_none_does_not_start_and_is_not_said(secret: str) -> None:
    """Base64 of 24 bytes at the least, as Standard Webhooks asks."""
    with pytest.raises(RefusesToStart, match="PORTAL_PHONE_SECRET") as caught:
        WebhookTexter("https://texts.example/", secret)
    shown = "".join(traceback.format_exception(caught.value))
    assert not secret.removeprefix("whsec_") or secret.removeprefix("whsec_") not in shown


@pytest.mark.parametrize("secret", [SECRET, SECRET[6:], SECRET.rstrip("=")], ids=["whole", "no prefix", "no padding"])
async def test_a_secret_is_taken_as_it_is_usually_written(provider: Provider, secret: str) -> None:
    """With or without its prefix and padding, as the library takes it."""
    await WebhookTexter(f"http://127.0.0.1:{provider.port}/texts", secret).send(SMS)
    assert len(provider.requests) == 1


def test_authorities_that_can_not_be_read_do_not_start(tmp_path: Path) -> None:
    """A missing file, or one that holds no certificate."""
    (tmp_path / "empty.pem").write_text("nothing")
    for name in ("missing.pem", "empty.pem"):
        with pytest.raises(RefusesToStart, match="PORTAL_PHONE_CA"):
            WebhookTexter("https://texts.example/", SECRET, tmp_path / name)
