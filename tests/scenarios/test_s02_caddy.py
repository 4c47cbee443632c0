"""s02: the Caddyfile of this tree in front of a portal that really serves, on each Caddy that it claims to run on."""

import re
import secrets
import smtplib
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

import httpx2
import pytest

from tests.scenarios.authority import Authority, Pair
from tests.scenarios.caddy import Caddy, Kind, caddy, two_ports
from tests.scenarios.mailhosts import MailHost, mail_hosts, read
from tests.scenarios.portals import Credential, Portal
from tests.world import ALICE, CAROL, CODE

_LINK = re.compile(r"https://localhost:\d+/m/([\w-]+)")
_ALICES_ADDRESS, _FORGED = "127.0.0.9", "203.0.113.9"


@dataclass
class Served:
    """A portal that serves on a unix socket, for whichever Caddy listens at `ports`."""

    portal: Portal
    socket: Path
    ports: tuple[int, int]
    mails: MailHost
    authority: Authority
    pair: Pair
    credential: Credential
    intake_port: int


@dataclass
class Site:
    """A portal behind a Caddy of this kind."""

    served: Served
    caddy: Caddy
    kind: Kind

    @property
    def portal(self) -> Portal:
        return self.served.portal

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.served.authority.ca))

    def hand_over(self, attachment: bytes = b"") -> str:
        """A message for Alice, as a relay brings it; gives the token of its link."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = CAROL, ALICE, "Your results"
        mail["Message-ID"] = f"<{time.monotonic_ns()}@clinic.example>"
        mail.set_content("All is well.\n")
        if attachment:
            mail.add_attachment(attachment, maintype="application", subtype="octet-stream", filename="scan.bin")
        self.served.mails.forget()
        with smtplib.SMTP("localhost", self.served.intake_port, timeout=30) as relay:
            relay.starttls(context=self.context())
            relay.login(self.served.credential.username, self.served.credential.password)
            relay.send_message(mail)
        return self._found(_LINK)

    def _found(self, what: re.Pattern[str]) -> str:
        """What the next mail to Alice says."""
        body = read(self.served.mails.await_mail(ALICE)).get_body(("plain",))
        assert body is not None
        found = what.search(body.get_content())
        assert found
        return found[found.lastindex or 0]

    def browser(self) -> httpx2.Client:
        """Alice's, at an address of her own, who would like to be somebody else.

        It buffers little: a kernel may else take a whole download ahead of who reads it.
        """
        small = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)]
        transport = httpx2.HTTPTransport(verify=self.context(), local_address=_ALICES_ADDRESS, socket_options=small)
        headers = {
            "user-agent": "Mozilla/5.0 Firefox/153.0",
            "sec-fetch-site": "same-origin",
            "x-forwarded-for": _FORGED,
            "forwarded": f"for={_FORGED}",
        }
        return httpx2.Client(
            transport=transport, base_url=f"https://localhost:{self.caddy.https}", headers=headers, timeout=30
        )

    def sign_in(self, alice: httpx2.Client, token: str) -> tuple[str, list[str]]:
        """Signs in by link and code; gives the address of the message, and every secret that stood in an address."""
        page = alice.get(f"/m/{token}?lang=en")
        action = next(one for one in re.findall(r'action="([^"]+)"', page.text) if one.endswith("/send"))
        self.served.mails.forget()
        sent = alice.post(action, data={"csrf": _csrf(page)})
        assert sent.status_code == 303, sent.text
        door = sent.headers["location"]
        code = self._found(CODE)
        entered = alice.post(door, data={"csrf": _csrf(alice.get(door)), "code": code})
        assert entered.status_code == 303, entered.text
        return entered.headers["location"], [token, door.split("/")[2], code, code.replace(" ", "")]


def _csrf(page: httpx2.Response) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found, page.text
    return found[1]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The portal, and the mail host that takes its mails."""
    folder, ports = tmp_path_factory.mktemp("served"), two_ports()
    authority = Authority(folder / "certificates")
    pair = authority.server("localhost")
    (folder / "run").mkdir(mode=0o750)
    path = folder / "run" / "portal.sock"
    with mail_hosts() as hosts:
        mails = hosts.open("127.0.0.1", pair)
        portal = Portal(
            folder,
            BASE_URL=f"https://localhost:{ports[0]}",
            HTTP_LISTEN=f"unix:{path}",
            SMTP_CERTIFICATE=pair.certificate,
            SMTP_KEY=pair.key,
            SUBMISSION_URL=f"smtp://localhost:{mails.port}",
            SUBMISSION_CA=authority.ca,
        )
        credential = portal.set_up()
        with portal.serving() as serving:
            yield Served(portal, path, ports, mails, authority, pair, credential, serving.ports["starttls"])


@pytest.fixture(scope="module", params=["debian", "pypi"])
def site(request: pytest.FixtureRequest, served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The portal behind each Caddy."""
    kind: Kind = request.param
    with caddy(kind, tmp_path_factory.mktemp(kind), served.socket, served.pair, served.ports) as proxy:
        yield Site(served, proxy, kind)


def test_a_message_is_read_over_https(site: Site) -> None:
    """Alice signs in and reads; the record has her own address, not the one she made up; and Caddy's log has no secret."""
    token = site.hand_over(b"%PDF-1.7")
    with site.browser() as alice:
        message, secret = site.sign_in(alice, token)
        page = alice.get(message, headers={"referer": f"https://localhost/m/{token}"})
        assert "Your results" in page.text
        assert alice.get(f"{message}/parts/1").content == b"%PDF-1.7"
        alice.get(f"/%6d/{token}")
        alice.get(f"//m/{token}")
        alice.get(f"/{token}")
        cookies = [str(cookie.value) for cookie in alice.cookies.jar if len(str(cookie.value)) > 10]
        assert cookies
    assert page.headers["strict-transport-security"].startswith("max-age=63072000")
    assert "server" not in page.headers
    assert "via" not in page.headers
    origins = {one.origin for one in site.portal.events() if one.kind in ("LinkFollowed", "SignedIn", "MessageOpened")}
    assert origins == {_ALICES_ADDRESS}
    log = site.caddy.log()
    assert '"uri":"/messages/"' in log
    assert '"uri":"/m/"' in log
    for one in [*secret, *cookies, "lang=en", message]:
        assert one not in log


def test_it_speaks_http_2(site: Site) -> None:
    """A client that offers HTTP/2 gets its answer in it."""
    context = site.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    authority = f"localhost:{site.caddy.https}".encode()
    fields = b"\x82\x87\x84\x41" + bytes([len(authority)]) + authority  # RFC 7541: GET, https, /, :authority
    with (
        socket.create_connection(("127.0.0.1", site.caddy.https), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as stream,
    ):
        assert stream.selected_alpn_protocol() == "h2"
        stream.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b"") + _frame(1, 0x5, 1, fields))
        with stream.makefile("rb") as answers:
            kind, payload = 0, b""
            while kind != 1:
                head = answers.read(9)
                kind, payload = head[3], answers.read(int.from_bytes(head[:3], "big"))
    assert payload[0] == 0x88  # RFC 7541 appendix A: ":status: 200"


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """RFC 9113 4.1."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def test_plain_http_only_leads_to_https(site: Site) -> None:
    """What comes without TLS is sent to the same address with it, and gets nothing else."""
    answer = httpx2.get(f"http://localhost:{site.caddy.http}/inbox", follow_redirects=False)
    assert answer.status_code == 308
    assert answer.headers["location"] == "https://localhost/inbox"
    assert "server" not in answer.headers
    assert not answer.content


def test_an_upload_beyond_the_limit_is_cut(site: Site) -> None:
    """26 MiB in a reply are refused whether or not their size is told; a form is cut long before that."""
    with site.browser() as alice:
        message, _ = site.sign_in(alice, site.hand_over())
        page = alice.get(f"{message}/reply")
        draft = page.text.split('name="draft" value="')[1][:36]
        where = f"{message}/reply/{draft}/files"
        headers = {"x-csrf-token": _csrf(page), "content-type": "application/octet-stream"}
        assert alice.put(where, content=b"x" * 1000, headers=headers).status_code == 201
        # A server that says no in the middle of a body may close before the client has read it (RFC 9112 9.6): once more, then.
        said = (_answer(alice, where, headers) for _ in range(3))
        assert next((status for status in said if status is not None), None) == 413
        assert _status(alice, "PUT", where, headers) == 413
        assert _status(alice, "POST", "/", {"content-type": "application/x-www-form-urlencoded"}) == 413
    files = site.portal.folder / "blobs" / "incoming"
    assert not [path for path in files.iterdir() if path.is_file()]


def test_a_logo_of_two_megabytes_comes_through(site: Site) -> None:
    """The portal itself answers, here that nobody is signed in: the proxy does not cut a picture as it cuts a form."""
    with site.browser() as admin:
        answer = admin.post("/staff/look/logo", files={"logo": ("logo.png", bytes(2 << 20), "image/png")})
        assert (answer.status_code, answer.headers["location"].split("?")[0]) == (303, "/staff/sign-in")


def _answer(alice: httpx2.Client, where: str, headers: dict[str, str]) -> int | None:
    """How 26 MiB are answered whose size is told; None when the connection is cut before the answer was read."""
    try:
        return alice.put(where, content=bytes(26 << 20), headers=headers).status_code
    except httpx2.TransportError:
        return None


def _status(alice: httpx2.Client, method: str, where: str, headers: dict[str, str]) -> int | None:
    """How a body of 28 MiB is answered whose size is not told; None when the connection is cut."""
    try:
        return alice.request(method, where, content=(bytes(1 << 20) for _ in range(28)), headers=headers).status_code
    except httpx2.TransportError:
        return None


def test_a_download_ends_when_its_message_is_revoked(site: Site) -> None:
    """A second after the message is taken back nothing more of it leaves; what is on its way does not arrive whole."""
    token = site.hand_over(secrets.token_bytes(15 << 20))
    with site.browser() as alice:
        message, _ = site.sign_in(alice, token)
        with alice.stream("GET", f"{message}/original.eml") as download:
            size, pieces = int(download.headers["content-length"]), download.iter_raw()
            received = len(next(pieces))
            newest = site.portal.messages()[0]
            site.portal.cli("message", "revoke", newest, "--org", "northside", "--reason", "wrong person")
            time.sleep(1)
            with suppress(httpx2.TransportError):
                for piece in pieces:
                    received += len(piece)
        assert size > 20_000_000
        assert received < size
        assert alice.get(message).status_code == 410


def test_a_portal_that_is_away_is_said_so_without_a_secret(site: Site, tmp_path: Path) -> None:
    """Caddy answers 502 in plain words; its error log, which names the request, holds no token."""
    nobody = tmp_path / "nobody.sock"
    with (
        caddy(site.kind, tmp_path, nobody, site.served.pair, two_ports()) as alone,
        httpx2.Client(verify=site.context()) as alice,
    ):
        answer = alice.get(f"https://localhost:{alone.https}/m/a-token-that-nobody-may-log?reference=K7QF-3MPD-9T")
        assert answer.status_code == 502
        assert "try again" in answer.text
        assert "server" not in answer.headers
        assert '"status":502' in alone.log()
        assert "may-log" not in alone.log()
        assert "K7QF" not in alone.log()
