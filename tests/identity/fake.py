"""An identity provider that does whatever a test wants: its documents, its tokens and its manners can each be wrong."""

import asyncio
import base64
import hmac
import json
import ssl
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from joserfc import jws
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

CLIENT_ID, SECRET = "portal", "s3cr3t-of-the-client"
DISCOVERY, TOKEN, KEYS = "/.well-known/openid-configuration", "/token", "/keys"
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Clock:
    """A clock that moves when told to."""

    time: datetime = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def wait(self, **units: float) -> None:
        self.time += timedelta(**units)


@lru_cache
def key(kid: str, kind: str = "RSA", size: int | str = 2048) -> Key:
    """A key pair, made once a run."""
    use: Any = {"kid": kid, "use": "sig"}
    if kind == "EC":
        return ECKey.generate_key(str(size), use)
    if kind == "OKP":
        return OKPKey.generate_key("Ed25519", use)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of short keys, which a test wants
        return RSAKey.generate_key(int(size), use)


def says(status: int, said: object, more: str = "") -> Answer:
    """An answer in JSON, or of the bytes that are given."""
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    return writes(f"HTTP/1.1 {status} Said\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body)


def writes(raw: bytes, then_waits: bool = False) -> Answer:
    """Whatever bytes it is; then the connection is closed, or held."""

    async def answer(out: asyncio.StreamWriter) -> None:
        out.write(raw)
        if then_waits:
            await out.drain()
            await asyncio.Event().wait()

    return answer


def drips(out_of: bytes) -> Answer:
    """A drop at a time: never silent for long, never done."""

    async def answer(out: asyncio.StreamWriter) -> None:
        out.write(b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n" + out_of)
        while True:
            out.write(b" ")
            await out.drain()
            await asyncio.sleep(0.02)

    return answer


@dataclass
class Fake:
    """See the module. `requests` are (method, path, headers, form), in order."""

    scheme: str = "http"
    port: int = 0
    clock: Clock = field(default_factory=Clock)
    keys: list[Key] = field(default_factory=lambda: [key("first")])
    discovery: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    token: object = ""
    requests: list[tuple[str, str, dict[str, str], dict[str, str]]] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    written: int = 0

    @property
    def issuer(self) -> str:
        return f"{self.scheme}://{'localhost' if self.scheme == 'https' else '127.0.0.1'}:{self.port}"

    def asked_for(self, path: str) -> int:
        return sum(one[1] == path for one in self.requests)

    def claims(self, own: str, /, **changed: object) -> dict[str, Any]:
        """Claims as they should be, but for the changes; a claim that is changed to `...` is left out."""
        now = int(self.clock.now().timestamp())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "sub": "carol",
            "aud": CLIENT_ID,
            "exp": now + 300,
            "iat": now,
            "nonce": own,
            "name": "Carol Reyes",
            "email": "carol@clinic.example",
            "email_verified": True,
            "roles": ["sender"],
        }
        return {name: value for name, value in (claims | changed).items() if value is not ...}

    def sign(self, claims: object, by: Key | None = None, /, **header: object) -> str:
        """An ID token, well signed; a header field that is changed to `...` is left out."""
        by = by or self.keys[0]
        algorithms = {"EC": "ES256", "OKP": "EdDSA"}
        fields = {"alg": algorithms.get(by.key_type, "RS256"), "kid": by.kid, "typ": "JWT"} | header
        head = {name: value for name, value in fields.items() if value is not ...}
        signing = f"{_part(head)}.{_part(claims)}"
        algorithm = jws.JWSRegistry.algorithms[str(head["alg"])]
        return f"{signing}.{text(algorithm.sign(signing.encode(), by))}"

    async def serve(self, read: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        try:
            head = (await read.readuntil(b"\r\n\r\n")).decode("ascii")
            line, *fields = head.rstrip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in fields)}
            body = await read.readexactly(int(headers.get("content-length", 0)))
            method, path, _ = line.split()
            self.requests.append((method, path, headers, dict(parse_qsl(body.decode()))))
            self.asked.set()
            await (self.answers.get(path) or self._usual(path))(out)
            await out.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # it went away: some tests want that
        finally:
            out.close()

    def _usual(self, path: str) -> Answer:
        match path:
            case "/.well-known/openid-configuration":
                return says(200, self._configuration())
            case "/keys":
                return says(200, {"keys": [one.as_dict(private=False) for one in self.keys]})
            case "/token":
                return says(200, {"access_token": "unused", "token_type": "Bearer", "id_token": self.token})
        return says(404, {})

    def _configuration(self) -> dict[str, Any]:
        usual = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}{TOKEN}",
            "jwks_uri": f"{self.issuer}{KEYS}",
        }
        return {name: value for name, value in (usual | self.discovery).items() if value is not ...}

    async def endless(self, out: asyncio.StreamWriter) -> None:
        """Never stops."""
        out.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            out.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
            await out.drain()
            self.written += 0x10000


@asynccontextmanager
async def opened(fake: Fake, tls: ssl.SSLContext | None = None) -> AsyncIterator[Fake]:
    running: set[asyncio.Task[None]] = set()

    def connected(read: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        running.add(asyncio.ensure_future(fake.serve(read, out)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    fake.port = server.sockets[0].getsockname()[1]
    yield fake
    server.close()
    for task in running:
        task.cancel()
    ended = await asyncio.gather(*running, return_exceptions=True)
    await server.wait_closed()
    assert [one for one in ended if isinstance(one, Exception)] == [], "the provider met what it did not expect"


def unsigned(claims: object, algorithm: str) -> str:
    """A token without a signature."""
    return f"{_part({'alg': algorithm, 'typ': 'JWT'})}.{_part(claims)}."


def shared(claims: object, secret: bytes, kid: str) -> str:
    """A token by HS256, with any bytes for a key: the library would not sign with a public one."""
    signing = f"{_part({'alg': 'HS256', 'kid': kid, 'typ': 'JWT'})}.{_part(claims)}"
    return f"{signing}.{text(hmac.digest(secret, signing.encode(), 'sha256'))}"


def _part(said: object) -> str:
    return text(said if isinstance(said, bytes) else json.dumps(said).encode())


def text(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
