"""A real OpenID Connect provider (npm's oidc-provider) on loopback, and a browser that signs in there.

It is installed as its lock says into a folder of the run's own, and ended with the tests.
"""

import html
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2
import pytest

from tests.servers import free_port

REDIRECT_URI = "http://127.0.0.1:9/staff/back"  # nobody listens there: the browser here stops before it
CONSOLE_URI = "https://portal.example/staff/oidc/back"
ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
SECRET = "a+b/c: %41&=?"
_START_SECONDS = 30
_HERE = Path(__file__).resolve().parent


def install(folder: Path) -> Path:
    """`npm ci`: what the lock names, by its hashes, and no script of a package is run."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.fail("Node is not installed: apt-get install nodejs npm", pytrace=False)
    for name in ("package.json", "package-lock.json", "provider.mjs"):
        shutil.copy(_HERE / name, folder)
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
    done = subprocess.run([npm, "ci", *quiet], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@dataclass
class Running:
    """A provider with a client for each algorithm: `portal RS256` and so on."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """The same provider with new keys; it has forgotten everybody."""
        self.stop()
        self.process = _start(self.folder, self.port)


@contextmanager
def running(folder: Path) -> Iterator[Running]:
    port = free_port()
    made = Running(folder, port, _start(folder, port))
    try:
        yield made
    finally:
        made.stop()


def client_id(algorithm: str) -> str:
    return f"portal {algorithm}"


def _start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    clients = [
        {
            "client_id": client_id(algorithm),
            "client_secret": SECRET,
            "redirect_uris": [REDIRECT_URI, CONSOLE_URI],
            "id_token_signed_response_alg": algorithm,
        }
        for algorithm in ALGORITHMS
    ]
    command = ["node", "provider.mjs", str(port), *map(json.dumps, clients)]
    path = folder / f"log-{port}"
    with path.open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    deadline = time.monotonic() + _START_SECONDS
    while b"ready" not in path.read_bytes().splitlines():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise AssertionError(f"the provider did not start: {path.read_text()}")
        time.sleep(0.05)
    return process


async def sign_in(url: str, login: str, back: str = REDIRECT_URI) -> dict[str, str]:
    """What the browser of somebody who signs in and consents brings back to the redirect URI."""
    async with httpx2.AsyncClient(trust_env=False) as browser:
        answer = await browser.get(url)
        for _ in range(12):
            if answer.is_redirect:
                url = urljoin(str(answer.url), answer.headers["location"])
                if url.startswith(back):
                    return {name: value[0] for name, value in parse_qs(urlsplit(url).query).items()}
                answer = await browser.get(url)
            else:
                assert answer.status_code == 200, answer.text
                answer = await browser.post(_action(answer), data=_typed(answer, login))
    raise AssertionError("the sign-in did not come to its end")


def _action(page: httpx2.Response) -> str:
    found = re.search(r'<form[^>]*action="([^"]+)"', page.text)
    assert found is not None, page.text
    return urljoin(str(page.url), html.unescape(found[1]))


def _typed(page: httpx2.Response, login: str) -> dict[str, str]:
    found = re.search(r'name="prompt" value="(\w+)"', page.text)
    assert found is not None, page.text
    return {"prompt": found[1]} | ({"login": login, "password": "any"} if found[1] == "login" else {})
