"""The SMTP edge on real sockets and real TLS, before an intake in memory: what a relay says, and what it hears."""

import asyncio
import datetime
import ipaddress
import logging
import resource
import smtplib
import socket
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path

import pytest
from anyio import to_thread
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from portal.intake import Limits
from portal.model.errors import (
    AskedMalformed,
    ClassUnknown,
    KeysAway,
    MailLoop,
    MessageTooLarge,
    NoTexts,
    RecipientOutOfReach,
    RecipientRefused,
    SenderNotYours,
    StorageAway,
    StorageFull,
)
from portal.model.reports import AskedOfOne
from portal.model.routes import Rule
from portal.smtp.server import Listeners, listen, server_context
from portal.smtp.sink import open_sink
from tests.fakes_intake import CLINIC_RELAY, NAME, PASSWORD, FakeIntake

pytestmark = pytest.mark.anyio

PLAIN = "AUTH PLAIN AGNsaW5pYy1yZWxheQBjb3JyZWN0IGhvcnNl"
WRONG = "AUTH PLAIN AGNsaW5pYy1yZWxheQBNYWxsb3J5"
MAIL, RCPT = "MAIL FROM:<carol@clinic.example>", "RCPT TO:<alice@patients.example>"


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both event loops: their transports differ, and private members of streams are touched."""
    return ("asyncio", {"use_uvloop": request.param})


class Certificates:
    """A certificate for `name` in PEM files, self-signed or by an issuer that is kept nowhere, and its fingerprint."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        self_signed: bool = True,
        days: int = 2,
        only_for: x509.ObjectIdentifier | None = None,
    ) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = subject if self_signed else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Some CA")])
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=9))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
                critical=False,
            )
        )
        if only_for is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([only_for]), critical=False)
        signer = key if self_signed else ec.generate_private_key(ec.SECP256R1())
        certificate = builder.sign(signer, hashes.SHA256())
        der = certificate.public_bytes(serialization.Encoding.DER)
        self.fingerprint = sha256(der).hexdigest()
        self.cert = folder / f"{name}.pem"
        self.key = folder / f"{name}.key"
        self.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for certificates."""
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def ours(folder: Path) -> Certificates:
    """The portal's own certificate."""
    return Certificates(folder, "portal.example")


@pytest.fixture(scope="module", params=[True, False], ids=["self-signed", "by-a-ca"])
def theirs(request: pytest.FixtureRequest, folder: Path) -> Certificates:
    """The clinic's relay's client certificate; if a CA signed it, the portal has never heard of that CA."""
    return Certificates(folder, f"mx{request.param:d}.clinic.example", self_signed=request.param)


class Client:
    """A client that says what it is told to, and hears what it is answered."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tls: ssl.SSLContext) -> None:
        self.reader = reader
        self.writer = writer
        self.tls = tls

    async def hear(self) -> str:
        """One reply, its lines joined by a bar; empty when the server has hung up."""
        lines = []
        async with asyncio.timeout(5):
            while line := await self.reader.readline():
                lines.append(line.decode().rstrip())
                if line[3:4] == b" ":
                    break
        return "|".join(lines)

    def send(self, what: str | bytes) -> None:
        """Sends bytes as they are, text with a CRLF."""
        self.writer.write(what if isinstance(what, bytes) else what.encode() + b"\r\n")

    async def say(self, what: str | bytes) -> str:
        """Sends, and hears one reply."""
        self.send(what)
        return await self.hear()

    async def say_all(self, *lines: str) -> list[str]:
        """Sends one by one, and hears the reply to each."""
        return [await self.say(line) for line in lines]

    async def start_tls(self) -> None:
        """EHLO, STARTTLS, the handshake, EHLO."""
        await self.say_all("EHLO mx.clinic.example", "STARTTLS")
        await self.writer.start_tls(self.tls, server_hostname="portal.example")
        await self.say("EHLO mx.clinic.example")

    async def sign_in(self) -> None:
        """TLS and the right password."""
        await self.start_tls()
        assert (await self.say(PLAIN)).startswith("235 2.7.0")

    async def offer(self) -> str:
        """All up to DATA's answer."""
        await self.sign_in()
        return (await self.say_all(MAIL, RCPT, "DATA"))[-1]

    async def hung_up(self) -> bool:
        """Whether the server ends the connection."""
        async with asyncio.timeout(5):
            try:
                return await self.reader.read() == b""
            except (ConnectionError, ssl.SSLError):
                return True


class Edge:
    """Listeners before a fake intake, and clients to them."""

    def __init__(self, intake: FakeIntake, listeners: Listeners, ours: Certificates) -> None:
        self.intake = intake
        self.listeners = listeners
        self.ours = ours
        self.newest_tls = ssl.TLSVersion.TLSv1_3

    def client_context(self, certificate: Certificates | None = None) -> ssl.SSLContext:
        """Trusts the portal's certificate alone, and presents `certificate`."""
        context = ssl.create_default_context(cafile=str(self.ours.cert))
        context.maximum_version = self.newest_tls
        if certificate is not None:
            context.load_cert_chain(certificate.cert, certificate.key)
        return context

    @asynccontextmanager
    async def client(
        self, *, implicit: bool = False, certificate: Certificates | None = None, greeted: bool = True
    ) -> AsyncIterator[Client]:
        """A connection, its greeting heard."""
        tls = self.client_context(certificate)
        if implicit:
            opened = asyncio.open_connection(
                "127.0.0.1", self.listeners.ports["implicit"], ssl=tls, server_hostname="portal.example"
            )
        else:
            opened = asyncio.open_connection("127.0.0.1", self.listeners.ports["starttls"])
        client = Client(*await opened, tls)
        try:
            if greeted:
                assert await client.hear() == "220 portal.example ESMTP"
            yield client
        finally:
            client.writer.transport.abort()


@asynccontextmanager
async def an_edge(
    ours: Certificates, intake: FakeIntake | None = None, client_ca: Path | None = None, **settings: float
) -> AsyncIterator[Edge]:
    """An edge with both listeners, closed at the end."""
    intake = intake or FakeIntake()
    any_port = ("127.0.0.1", 0)
    listeners = await listen(
        intake,
        starttls=any_port,
        implicit=any_port,
        tls=server_context(ours.cert, ours.key, client_ca),
        hostname="portal.example",
        **{"auth_delay": 0.0, **settings},  # type: ignore[arg-type]
    )
    try:
        yield Edge(intake, listeners, ours)
    finally:
        await listeners.close(0)
        await asyncio.sleep(0.01)  # the loop closes what was cut


@pytest.fixture
async def edge(ours: Certificates) -> AsyncIterator[Edge]:
    """An edge as it is by default."""
    async with an_edge(ours) as opened:
        yield opened


# -- greeting, TLS, AUTH


async def test_ehlo_offers_what_a_relay_needs_and_no_more(edge: Edge) -> None:
    """In the clear STARTTLS is offered and no AUTH; inside TLS AUTH and XFORWARD and no STARTTLS."""
    async with edge.client() as client:
        clear = set((await client.say("EHLO mx.clinic.example")).replace("250-", "").replace("250 ", "").split("|"))
        common = {"portal.example", "SIZE 26214400", "8BITMIME", "SMTPUTF8", "PIPELINING", "DSN", "ENHANCEDSTATUSCODES"}
        assert clear == common | {"STARTTLS"}
        await client.start_tls()
        inside = set((await client.say("EHLO mx.clinic.example")).replace("250-", "").replace("250 ", "").split("|"))
        assert inside == common | {"AUTH PLAIN LOGIN", "XFORWARD IDENT"}


async def test_a_message_goes_in_by_starttls(edge: Edge) -> None:
    """With TLS, a password and an envelope the message reaches the intake byte for byte, and 250 follows the commit."""
    async with edge.client() as client:
        await client.sign_in()
        answers = await client.say_all("XFORWARD NAME=mx IDENT=4Xb+2B1", f"{MAIL} SIZE=20 BODY=8BITMIME", RCPT, "DATA")
        assert [answer[:9] for answer in answers] == ["250 2.0.0", "250 2.1.0", "250 2.1.5", "354 End d"]
        assert (await client.say(b"Subject: x\r\n\r\n..dot\r\n\xff\r\n.\r\n")).startswith("250 2.6.0")
        assert (await client.say("QUIT")).startswith("221 2.0.0")
        assert await client.hung_up()
    submission = edge.intake.submissions[0]
    assert (bytes(submission.content), submission.state) == (b"Subject: x\r\n\r\n.dot\r\n\xff\r\n", "committed")
    envelope = submission.envelope
    assert (envelope.mail_from, envelope.rcpt_to) == ("carol@clinic.example", ("alice@patients.example",))
    assert (envelope.origin, envelope.queue_id, envelope.smtp_utf8) == ("127.0.0.1", "4Xb+1", False)


async def test_a_message_goes_in_by_implicit_tls(edge: Edge) -> None:
    """The other listener speaks TLS from the first byte."""
    async with edge.client(implicit=True) as client:
        await client.say("EHLO mx.clinic.example")
        assert (await client.say(PLAIN)).startswith("235")
        await client.say_all(MAIL, RCPT, "DATA")
        assert (await client.say(b"hello\r\n.\r\n")).startswith("250 2.6.0")


async def test_auth_login_and_challenges(edge: Edge) -> None:
    """LOGIN and PLAIN without initial response ask; an asterisk ends the exchange."""
    async with edge.client() as client:
        await client.start_tls()
        assert (await client.say_all("AUTH PLAIN", "*"))[-1].startswith("501 5.7.0")
        assert (await client.say_all("AUTH PLAIN", "!"))[-1].startswith("501 5.5.2")
        assert (await client.say("AUTH CRAM-MD5")).startswith("504 5.5.4")
        answers = await client.say_all("AUTH LOGIN", "Y2xpbmljLXJlbGF5", "Y29ycmVjdCBob3JzZQ==")
        assert [answer[:3] for answer in answers] == ["334", "334", "235"]
        assert (await client.say(PLAIN)).startswith("503 5.5.1")


async def test_nothing_but_tls_and_auth_opens_the_way(edge: Edge) -> None:
    """Before TLS AUTH is 538 and MAIL 530; inside it MAIL without authentication is temporary, so no mail bounces."""
    async with edge.client() as client:
        assert (await client.say(MAIL)).startswith("530 5.7.0")
        await client.say("EHLO mx.clinic.example")
        assert (await client.say(PLAIN)).startswith("538 5.7.11")
        assert (await client.say(MAIL)).startswith("530 5.7.0")
        await client.start_tls()
        assert (await client.say(MAIL)).startswith("450 4.7.0")
        assert (await client.say("XFORWARD IDENT=1")).startswith("550 5.7.1")
        assert (await client.say("STARTTLS")).startswith("503 5.5.1")
    assert edge.intake.senders == []


async def test_the_third_wrong_password_ends_the_session(edge: Edge) -> None:
    """A wrong password is 535; after the third the connection is closed."""
    async with edge.client() as client:
        await client.start_tls()
        assert [answer[:9] for answer in await client.say_all(WRONG, WRONG, WRONG)] == ["535 5.7.8"] * 3
        assert (await client.hear()).startswith("421 4.7.0")
        assert await client.hung_up()


async def test_what_is_sent_in_the_clear_after_starttls_is_dropped(edge: Edge) -> None:
    """A command injected behind STARTTLS is never obeyed, and EHLO before TLS counts for nothing after it."""
    async with edge.client() as client:
        await client.say("EHLO mx.clinic.example")
        assert (await client.say(b"STARTTLS\r\nNOOP\r\nEHLO mallory.example\r\n")).startswith("220 2.0.0")
        await client.writer.start_tls(client.tls, server_hostname="portal.example")
        assert (await client.say(PLAIN)).startswith("503 5.5.1")  # the only answer: nobody has said EHLO
        assert (await client.say("EHLO mx.clinic.example")).startswith("250")


async def test_a_failed_handshake_frees_its_place(ours: Certificates) -> None:
    """Clients that give up in the handshake do not use up the connections of their address."""
    async with an_edge(ours, max_per_address=2) as edge:
        for _ in range(4):
            async with edge.client() as client:
                await client.say_all("EHLO mallory.example", "STARTTLS")
                client.send(b"this is not TLS at all\r\n" * 3)
                await client.hung_up()
        async with edge.client() as client:
            assert (await client.offer()).startswith("354")


async def test_a_client_certificate_is_a_name(ours: Certificates, theirs: Certificates) -> None:
    """A pinned client certificate opens MAIL without a password; without one the password still works."""
    intake = FakeIntake()
    intake.certificates[theirs.fingerprint] = CLINIC_RELAY
    async with an_edge(ours, intake, client_ca=theirs.cert) as edge:
        for implicit in (False, True):
            edge.newest_tls = ssl.TLSVersion.TLSv1_2 if implicit else ssl.TLSVersion.TLSv1_3
            async with edge.client(certificate=theirs, implicit=implicit) as client:
                await (client.say("EHLO mx.clinic.example") if implicit else client.start_tls())
                answers = await client.say_all("XFORWARD IDENT=4Xb1", MAIL, RCPT, "DATA")
                assert answers[-1].startswith("354")
                assert (await client.say(b"hello\r\n.\r\n")).startswith("250")
        async with edge.client() as client:
            assert (await client.offer()).startswith("354")
    assert [submission.envelope.queue_id for submission in intake.submissions] == ["4Xb1", "4Xb1", None]


async def test_a_certificate_is_known_again_when_its_tls_session_is_resumed(
    ours: Certificates, theirs: Certificates
) -> None:
    """A relay that resumes a TLS session is still the one whose certificate began it."""
    intake = FakeIntake()
    intake.certificates[theirs.fingerprint] = CLINIC_RELAY
    async with an_edge(ours, intake, client_ca=theirs.cert) as edge:
        resumed, sender = await to_thread.run_sync(
            resume, edge.client_context(theirs), edge.listeners.ports["implicit"]
        )
    assert resumed
    assert sender.startswith(b"250 2.1.0")


def resume(context: ssl.SSLContext, port: int) -> tuple[bool | None, bytes]:
    """Two connections, the second with the session of the first: whether it was resumed, and the answer to MAIL."""
    session, resumed, answer = None, None, b""
    for _ in range(2):
        plain = socket.create_connection(("127.0.0.1", port), timeout=5)
        with context.wrap_socket(plain, server_hostname="portal.example", session=session) as tls:
            tls.recv(1000)
            tls.sendall(b"EHLO mx.clinic.example\r\n")
            tls.recv(1000)
            tls.sendall(MAIL.encode() + b"\r\n")
            answer, session, resumed = tls.recv(1000), tls.session, tls.session_reused
    return resumed, answer


async def test_tls_1_1_gets_no_session(edge: Edge) -> None:
    """Nothing older than TLS 1.2 is spoken."""
    async with edge.client() as client:
        await client.say_all("EHLO mx.clinic.example", "STARTTLS")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            client.tls.minimum_version = ssl.TLSVersion.TLSv1
            client.tls.maximum_version = ssl.TLSVersion.TLSv1_1
        client.tls.set_ciphers("DEFAULT:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await client.writer.start_tls(client.tls, server_hostname="portal.example")


async def test_an_ordinary_client_library_gets_its_mail_in(edge: Edge) -> None:
    """smtplib signs in, sends, and is understood."""

    def send() -> dict[str, tuple[int, bytes]]:
        with smtplib.SMTP("127.0.0.1", edge.listeners.ports["starttls"], timeout=5) as client:
            client.starttls(context=edge.client_context())
            client.login(NAME, PASSWORD)
            return client.sendmail("carol@clinic.example", ["alice@patients.example"], b"Subject: x\r\n\r\n.\r\n")

    assert await to_thread.run_sync(send) == {}
    assert edge.intake.submissions[0].content == b"Subject: x\r\n\r\n.\r\n"


async def test_a_pinned_certificate_that_no_relay_has_is_no_name(ours: Certificates, theirs: Certificates) -> None:
    """A certificate that TLS takes but the intake does not know is answered like none."""
    async with an_edge(ours, client_ca=theirs.cert) as edge, edge.client(certificate=theirs) as client:
        await client.start_tls()
        assert (await client.say(MAIL)).startswith("450 4.7.0")


async def test_a_certificate_that_is_not_pinned_fails_in_the_handshake(
    ours: Certificates, theirs: Certificates, folder: Path
) -> None:
    """Mallory's certificate gets no session."""
    await assert_no_session(ours, Certificates(folder, "mallory.example"), pinned=theirs)


async def test_a_pinned_certificate_must_be_in_date_and_for_clients(ours: Certificates, folder: Path) -> None:
    """One that is expired, or that names server authentication only, fails in the handshake although it is pinned."""
    expired = Certificates(folder, "expired.clinic.example", days=-1)
    servers_only = Certificates(folder, "server.clinic.example", only_for=ExtendedKeyUsageOID.SERVER_AUTH)
    for unfit in (expired, servers_only):
        await assert_no_session(ours, unfit, pinned=unfit)


async def assert_no_session(ours: Certificates, presented: Certificates, *, pinned: Certificates) -> None:
    """With this certificate the handshake fails, and nothing is obeyed."""
    async with an_edge(ours, client_ca=pinned.cert) as edge, edge.client(certificate=presented) as client:
        await client.say_all("EHLO mx.clinic.example", "STARTTLS")
        with suppress(ssl.SSLError, ConnectionError):
            # TLS 1.3 tells a client only after its own side of the handshake is done
            await client.writer.start_tls(client.tls, server_hostname="portal.example")
        assert await client.hung_up()
    assert edge.intake.senders == []


# -- the envelope


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("MAIL FROM:carol@clinic.example", "553 5.1.3"),
        ("MAIL FROM:<carol@clinic.example", "553 5.1.3"),
        ("MAIL FROM:<carol>", "553 5.1.3"),
        ("MAIL FROM:<carol@clinic.example> NOTIFY=NEVER", "555 5.5.4"),
        ("MAIL FROM:<carol@clinic.example> RET=HDRS ENVID=4Xb+2B1", "250 2.1.0"),
        ("MAIL FROM:<carol@clinic.example> RET=ALL", "501 5.5.4"),
        ("MAIL FROM:<carol@clinic.example> ENVID=a+0D+0Ab", "501 5.5.4"),
        ("MAIL FROM:<carol@clinic.example> ENVID=a+zz", "501 5.5.4"),
        (f"MAIL FROM:<carol@clinic.example> ENVID={'x' * 101}", "501 5.5.4"),
        ("MAIL FROM:<carol@clinic.example> BODY=BINARYMIME", "501 5.5.4"),
        ("MAIL FROM:<carol@clinic.example> SIZE=many", "501 5.5.4"),
        ("MAIL FROM:<carol@clinic.example> SIZE=26214401", "552 5.3.4"),
        ("MAIL FROM:<k\u00e4the@clinic.example>", "553 5.6.7"),
        ("MAIL FROM:<k\u00e4the@clinic.example> SMTPUTF8", "250 2.1.0"),
        ("MAIL FROM:<> AUTH=<>", "250 2.1.0"),
        ('MAIL FROM:<"carol c."@clinic.example> SIZE=26214400', "250 2.1.0"),
        ("mail from: <carol@clinic.example>", "250 2.1.0"),
        ("MAIL", "501 5.5.4"),
        (RCPT, "503 5.5.1"),
        ("DATA", "554 5.5.1"),
        ("DATA now", "501 5.5.4"),
        ("RSET", "250 2.0.0"),
        ("NOOP", "250 2.0.0"),
        ("VRFY alice", "500 5.5.2"),
        ("EXPN staff", "500 5.5.2"),
        ("HELP", "500 5.5.2"),
        ("ETRN clinic.example", "500 5.5.2"),
        ("BDAT 5 LAST", "500 5.5.2"),
        ("XFORWARD COLOUR=blue", "501 5.5.4"),
        ("XFORWARD IDENT=[UNAVAILABLE]", "250 2.0.0"),
        ("EHLO", "501 5.5.4"),
        ("NOOP " + "x" * 5000, "500 5.5.2"),
    ],
)
async def test_each_command_has_its_answer(edge: Edge, line: str, answer: str) -> None:
    """An authenticated relay hears the code that the line deserves."""
    async with edge.client() as client:
        await client.sign_in()
        assert (await client.say(line)).startswith(answer)


async def test_a_size_over_the_limit_is_put_on_record(edge: Edge) -> None:
    """What the edge itself refuses, the intake is told."""
    async with edge.client() as client:
        await client.sign_in()
        await client.say(f"{MAIL} SIZE=99999999999")
    assert edge.intake.refusals == ["MessageTooLarge"]


@pytest.mark.parametrize("line", [b"NOOP\n", b"NO\rOP\r\n", b"NOOP \0\r\n"])
async def test_command_lines_end_in_crlf(edge: Edge, line: bytes) -> None:
    """A bare LF, a bare CR or a NUL in a command is refused at once."""
    async with edge.client() as client:
        assert (await client.say(line)).startswith("500 5.5.2")


async def test_many_misunderstandings_end_the_session(edge: Edge) -> None:
    """Who only talks nonsense is sent away."""
    async with edge.client() as client:
        answers = await client.say_all(*["GET / HTTP/1.1"] * 10)
        assert all(answer.startswith("500 5.5.2") for answer in answers)
        assert (await client.hear()).startswith("421 4.7.0")
        assert await client.hung_up()


async def test_refusals_of_the_intake_keep_their_codes(edge: Edge) -> None:
    """Sender and recipients are judged by the intake; one refused recipient leaves the others."""
    edge.intake.refused_recipients["bob@patients.example"] = RecipientRefused("no such delivery")
    async with edge.client() as client:
        await client.sign_in()
        edge.intake.errors["check_sender"] = SenderNotYours("not a domain of theirs")
        assert (await client.say_all(MAIL, RCPT))[1].startswith("550 5.7.1")
        edge.intake.errors.clear()
        answers = await client.say_all("RSET", MAIL, "RCPT TO:<bob@patients.example>", RCPT, "DATA")
        assert [answer[:9] for answer in answers] == ["250 2.0.0", "250 2.1.0", "550 5.1.1", "250 2.1.5", "354 End d"]
        await client.say(b"hello\r\n.\r\n")
    assert edge.intake.submissions[0].envelope.rcpt_to == ("alice@patients.example",)


async def test_recipients_over_the_limit_wait_for_the_next_transaction(ours: Certificates) -> None:
    """The third of two recipients is 452, the first two go in; one record stands for all that were too many."""
    async with an_edge(ours, FakeIntake(Limits(max_recipients=2))) as edge, edge.client() as client:
        await client.sign_in()
        answers = await client.say_all(MAIL, RCPT, RCPT, RCPT, RCPT, "DATA")
        assert [answer[:9] for answer in answers[1:]] == ["250 2.1.5"] * 2 + ["452 4.5.3"] * 2 + ["354 End d"]
        assert edge.intake.refusals == ["TooManyRecipients"]


@pytest.mark.parametrize("first", [Rule.ALWAYS, Rule.MARKED])
async def test_who_needs_a_mark_and_who_does_not_come_in_transactions_of_their_own(edge: Edge, first: Rule) -> None:
    """One answer after DATA can't be right for both, so another rule than the first is 452: the relay comes again."""
    other = Rule.MARKED if first is Rule.ALWAYS else Rule.ALWAYS
    edge.intake.rules = {f"{number}@x.example": rule for number, rule in enumerate([first, other, first, other])}
    async with edge.client() as client:
        await client.sign_in()
        answers = await client.say_all(MAIL, *(f"RCPT TO:<{number}@x.example>" for number in range(4)), "DATA")
        assert [answer[:9] for answer in answers[1:5]] == ["250 2.1.5", "452 4.5.3"] * 2
        await client.say(b"hello\r\n.\r\n")
        assert edge.intake.submissions[0].envelope.rcpt_to == ("0@x.example", "2@x.example")
        assert edge.intake.refusals == ["RecipientApart"]
        assert (await client.say_all(MAIL, "RCPT TO:<1@x.example>", "RCPT TO:<3@x.example>"))[2].startswith("250")


async def test_a_recipient_is_asked_about_with_what_names_his_mail(edge: Edge) -> None:
    """The relay's queue id (XFORWARD) and the envelope's id (RFC 3461 4.4); of a mail without either, nothing."""
    async with edge.client() as client:
        await client.sign_in()
        await client.say_all("XFORWARD IDENT=4Xb1", f"{MAIL} ENVID=a+2Bb", RCPT, "RSET", MAIL, RCPT)
    assert edge.intake.mails == ["4Xb1 a+b", ""]


async def test_pipelined_data_without_recipients_is_never_354(edge: Edge) -> None:
    """A relay that pipelined DATA behind refused recipients hears 554 and goes on in the same session."""
    edge.intake.refused_recipients["alice@patients.example"] = RecipientRefused("no")
    async with edge.client() as client:
        await client.sign_in()
        client.send(f"{MAIL}\r\n{RCPT}\r\nDATA\r\nRSET".encode() + b"\r\n")
        answers = [await client.hear() for _ in range(4)]
        assert [answer[:9] for answer in answers] == ["250 2.1.0", "550 5.1.1", "554 5.5.1", "250 2.0.0"]
        assert edge.intake.submissions == []


async def test_two_messages_in_one_pipeline(edge: Edge) -> None:
    """What follows the end of a message in the same packet is the next command, not lost and not message."""
    async with edge.client() as client:
        assert (await client.offer()).startswith("354")
        client.send(f"one\r\n.\r\n{MAIL}\r\n{RCPT}\r\nDATA\r\n".encode())
        assert [(await client.hear())[:3] for _ in range(4)] == ["250", "250", "250", "354"]
        client.send(b"two\r\n.\r\nQUIT\r\n")
        assert [(await client.hear())[:3] for _ in range(2)] == ["250", "221"]
    assert [bytes(submission.content) for submission in edge.intake.submissions] == [b"one\r\n", b"two\r\n"]


@pytest.mark.parametrize(
    "recipient", ["", "alice", "alice@[10.0.0.1]", '"a b"@patients.example', "a..b@patients.example"]
)
async def test_recipients_that_have_no_normal_form_are_refused(edge: Edge, recipient: str) -> None:
    """What the model can't name never reaches the intake, so it is no internal error that would be tried for ever."""
    async with edge.client() as client:
        await client.sign_in()
        assert (await client.say_all(MAIL, f"RCPT TO:<{recipient}>"))[-1].startswith("553 5.1.3")
    assert edge.intake.recipients == []


async def test_a_long_pipeline_is_answered_in_full(edge: Edge) -> None:
    """Five thousand commands in one go have five thousand answers, in order."""
    async with edge.client() as client:
        client.send(b"NOOP\r\n" * 4999 + b"QUIT\r\n")
        answers = [await client.hear() for _ in range(5000)]
    assert answers == ["250 2.0.0 OK"] * 4999 + ["221 2.0.0 Goodbye"]


# -- the message


@pytest.mark.parametrize("message", [b"", b"\r\n", b".\r\n", b"x" * 200_000 + b"\r\n", b".dots\r\n" * 30_000])
async def test_messages_arrive_as_they_are(edge: Edge, message: bytes) -> None:
    """Empty ones, dots and lines of any length, in packets of any size."""
    stuffed = message.replace(b"\r\n.", b"\r\n..")
    stuffed = b"." + stuffed if message.startswith(b".") else stuffed
    async with edge.client() as client:
        await client.offer()
        for at in range(0, len(stuffed), 33_333):
            client.send(stuffed[at : at + 33_333])
            await client.writer.drain()
        assert (await client.say(b".\r\n")).startswith("250 2.6.0")
    assert edge.intake.submissions[0].content == message


@pytest.mark.parametrize(
    "bad", [b"\n.\nMAIL FROM:<mallory@clinic.example>\r\n", b"a\rb\r\n", b"a\0b\r\n", b"\r\n.\n.\r\n"]
)
async def test_bare_cr_lf_and_nul_are_refused_and_end_the_session(edge: Edge, bad: bytes) -> None:
    """The message is refused, not repaired; nothing after it is taken for a command; it is on record."""
    async with edge.client() as client:
        await client.offer()
        assert (await client.say(b"Subject: x\r\n\r\nhello" + bad + b"\r\n.\r\nNOOP\r\n")).startswith("550 5.6.11")
        assert await client.hung_up()
    assert edge.intake.refusals == ["MessageMalformed"]
    assert edge.intake.submissions[0].state == "aborted"
    assert edge.intake.senders == ["carol@clinic.example"]


async def test_a_message_over_the_limit_is_read_and_refused(edge: Edge) -> None:
    """26 MiB without SIZE are read to the end, then 552; the session goes on."""
    edge.intake.keep_content = False
    async with edge.client() as client:
        await client.offer()
        for _ in range(26):
            client.send((b"x" * 62 + b"\r\n") * 16384)
            await client.writer.drain()
        assert (await client.say(b".\r\n")).startswith("552 5.3.4")
        assert (await client.say("NOOP")).startswith("250")
    assert edge.intake.refusals == ["MessageTooLarge"]
    assert edge.intake.submissions[0].state == "aborted"


@pytest.mark.parametrize(
    ("step", "error", "answer"),
    [
        ("begin", StorageAway("database locked"), "451 4.3.0"),
        ("write", StorageFull("no space"), "452 4.3.1"),
        ("write", MessageTooLarge("counted there too"), "552 5.3.4"),
        ("write", ConnectionResetError("the blob store left"), "451 4.3.0"),
        ("commit", KeysAway("KEK 3 is not in the keyring"), "451 4.3.0"),
        ("commit", MailLoop("51 Received"), "554 5.4.6"),
        (
            "commit",
            AskedMalformed("canary"),
            "550 5.7.1 An X-Portal header is not understood: check class, access code",
        ),
        ("commit", ClassUnknown("canary"), "550 5.7.1 There is no message class of that name."),
        (
            "commit",
            NoTexts("canary"),
            "550 5.7.1 This portal sends no text messages. Give an access code (X-Portal-Access",
        ),
        ("commit", RecipientOutOfReach("canary"), "550 5.7.1 A recipient can't sign in strongly enough for this class"),
        ("commit", RuntimeError("Alice's diagnosis"), "451 4.3.0"),
        ("check_sender", TimeoutError(), "451 4.3.0"),
    ],
)
async def test_failures_of_the_intake_never_bounce_by_accident(
    edge: Edge, step: str, error: Exception, answer: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each failing step is answered by its code, is followed by abort, leaves the session alive and tells nothing."""
    edge.intake.errors[step] = error
    async with edge.client() as client:
        await client.sign_in()
        answers = await client.say_all(MAIL, RCPT, "DATA")
        if answers[-1].startswith("354"):
            answers.append(await client.say(b"hello\r\n" * 20_000 + b".\r\n"))
        assert any(heard.startswith(answer) for heard in answers)
        assert (await client.say("NOOP")).startswith("250")
    assert all(submission.state == "aborted" for submission in edge.intake.submissions)
    assert edge.intake.refusals == []  # the intake puts its own on record
    for secret in ("diagnosis", "canary"):
        assert secret not in caplog.text + "".join(answers)
    assert max(map(len, answers)) <= 510, "RFC 5321 4.5.3.1.5: a reply line has 512 octets at most"


async def test_a_refusal_that_cannot_be_recorded_is_temporary(edge: Edge) -> None:
    """When the record fails the relay is asked to try again."""
    edge.intake.errors["refuse"] = StorageAway("no database")
    async with edge.client() as client:
        await client.sign_in()
        assert (await client.say(f"{MAIL} SIZE=99999999999")).startswith("451 4.3.0")


@pytest.mark.parametrize("sent", [b"", b"Subject: x\r\n\r\nhel", b"hello\r\n", b"hello\r\n.", b"hello\r\n.\r"])
@pytest.mark.parametrize("implicit", [False, True])
async def test_a_lost_connection_aborts(edge: Edge, sent: bytes, implicit: bool) -> None:
    """A relay that is cut off before the end of the message has left nothing behind."""
    async with edge.client(implicit=implicit) as client:
        if implicit:
            await client.say_all("EHLO mx.clinic.example", PLAIN, MAIL, RCPT, "DATA")
        else:
            await client.offer()
        client.send(sent)
        await client.writer.drain()
        await asyncio.sleep(0.02)
    assert (await edge.intake.settled()).state == "aborted"


async def test_a_relay_that_leaves_during_the_commit_does_not_stop_it(edge: Edge) -> None:
    """Once the end was seen the commit is finished: the relay will send again and hear that it is stored."""
    gate = asyncio.Event()
    edge.intake.pauses["commit"] = gate.wait
    async with edge.client() as client:
        await client.offer()
        client.send(b"hello\r\n.\r\n")
        await client.writer.drain()
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.05)
    assert edge.intake.submissions[0].state == "open"
    gate.set()
    assert (await edge.intake.settled()).state == "committed"


async def test_250_waits_for_the_commit(edge: Edge) -> None:
    """Nothing is said while the commit runs."""
    gate = asyncio.Event()
    edge.intake.pauses["commit"] = gate.wait
    async with edge.client() as client:
        await client.offer()
        client.send(b"hello\r\n.\r\n")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.reader.read(1)
        gate.set()
        assert (await client.hear()).startswith("250 2.6.0")


# -- limits, silence, the end


async def test_limits_of_connections(ours: Certificates) -> None:
    """The third connection of an address is 421 on both listeners; a place that is left is free."""
    async with an_edge(ours, max_per_address=2) as edge, edge.client(), edge.client() as second:
        async with edge.client(greeted=False) as third:
            assert (await third.hear()).startswith("421 4.7.0")
            assert await third.hung_up()
        async with edge.client(greeted=False, implicit=True) as third:
            assert (await third.hear()).startswith("421 4.7.0")
        await second.say("QUIT")
        await second.hung_up()
        async with edge.client() as fourth:
            assert (await fourth.say("NOOP")).startswith("250")


async def test_all_connections_have_a_limit_too(ours: Certificates) -> None:
    """The limit over all addresses holds where that of one address would not."""
    async with an_edge(ours, max_connections=1) as edge, edge.client(), edge.client(greeted=False) as second:
        assert (await second.hear()).startswith("421 4.7.0")


@pytest.mark.parametrize("halfway", [False, True])
async def test_silence_ends_the_session(ours: Certificates, halfway: bool) -> None:
    """Who says nothing for the read timeout hears 421; in the middle of a message that aborts it."""
    async with an_edge(ours, read_timeout=0.2) as edge, edge.client() as client:
        if halfway:
            await client.offer()
            client.send(b"Subject: x\r\n")
        assert (await client.hear()).startswith("421 4.4.2")
        assert await client.hung_up()
        if halfway:
            assert (await edge.intake.settled()).state == "aborted"


async def test_slow_work_of_ours_is_not_their_silence(ours: Certificates) -> None:
    """The timeout does not run while the intake works."""
    intake = FakeIntake()
    intake.pauses["commit"] = lambda: asyncio.sleep(0.4)
    async with an_edge(ours, intake, read_timeout=0.2) as edge, edge.client() as client:
        await client.offer()
        assert (await client.say(b"hello\r\n.\r\n")).startswith("250")


async def test_closing_drains(ours: Certificates) -> None:
    """On closing the idle hear 421, a transaction may end and be committed, then it too hears 421."""
    async with an_edge(ours) as edge, edge.client() as idle, edge.client() as busy:
        await busy.offer()
        busy.send(b"hello\r\n")
        closing = asyncio.create_task(edge.listeners.close(5))
        assert (await idle.hear()).startswith("421 4.3.2")
        assert (await busy.say(b".\r\n")).startswith("250 2.6.0")
        assert (await busy.hear()).startswith("421 4.3.2")
        async with asyncio.timeout(2):
            await closing
        assert edge.intake.submissions[0].state == "committed"


async def test_closing_waits_for_the_commit_of_a_relay_that_left(ours: Certificates) -> None:
    """A commit in flight is finished before close returns, though nobody is there to hear of it."""
    intake = FakeIntake()
    intake.pauses["commit"] = lambda: asyncio.sleep(0.2)
    async with an_edge(ours, intake) as edge:
        async with edge.client() as client:
            await client.offer()
            client.send(b"hello\r\n.\r\n")
            await client.writer.drain()
            await asyncio.sleep(0.05)
        await edge.listeners.close(5)
        assert intake.submissions[0].state == "committed"


async def test_closing_has_an_end(ours: Certificates) -> None:
    """A transaction that does not end is cut after the time given, and nothing of it is left."""
    async with an_edge(ours) as edge, edge.client() as busy:
        await busy.offer()
        async with asyncio.timeout(2):
            await edge.listeners.close(0.1)
        assert await busy.hung_up()
        assert (await edge.intake.settled()).state == "aborted"


async def test_memory_stays_flat_under_a_large_message(ours: Certificates) -> None:
    """60 MB through TLS into a slow sink take no more than a few MiB."""
    intake = FakeIntake(Limits(max_bytes=100_000_000))
    intake.keep_content = False
    intake.pauses["write"] = lambda: asyncio.sleep(0.001)
    block = (b"x" * 62 + b"\r\n") * 8192
    async with an_edge(ours, intake) as edge, edge.client() as client:
        await client.offer()
        client.send(block)
        await client.writer.drain()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(119):
            client.send(block)
            await client.writer.drain()
        assert (await client.say(b".\r\n")).startswith("250")
        assert (
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 12 * 1024
        )  # KiB, the client's share included


async def test_nothing_said_is_logged(edge: Edge, caplog: pytest.LogCaptureFixture) -> None:
    """Passwords, addresses, content and unknown commands are in no log, whatever its level."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("mail.log").setLevel(logging.WARNING)
    async with edge.client() as client:
        await client.offer()
        await client.say(b"Subject: canary\r\n.\r\n")
        await client.say("CANARY canary")
    assert all(word not in caplog.text.lower() for word in ("canary", "carol", "alice", "agnsaw"))


# -- the sink


async def test_a_sink_without_tls_takes_mail_in_the_clear() -> None:
    """A host that offers no STARTTLS, for what must go wrong there."""
    sink = await open_sink()
    client = Client(*await asyncio.open_connection("127.0.0.1", sink.port), ssl.create_default_context())
    try:
        await client.hear()
        assert "STARTTLS" not in await client.say("EHLO portal.example")
        assert (await client.say_all("STARTTLS", MAIL, RCPT, "DATA"))[0].startswith("503")
        assert (await client.say(b"hello\r\n.\r\n")).startswith("250")
        assert [(caught.raw, caught.tls) for caught in sink.messages] == [(b"hello\r\n", None)]
    finally:
        client.writer.transport.abort()
        await sink.close()


async def test_the_sink_keeps_what_it_is_sent(ours: Certificates) -> None:
    """The sink takes mail over STARTTLS with a password, tells how it came, and can be told to refuse."""
    sink = await open_sink(tls=server_context(ours.cert, ours.key), login=(NAME, PASSWORD))
    tls = ssl.create_default_context(cafile=str(ours.cert))
    client = Client(*await asyncio.open_connection("127.0.0.1", sink.port), tls)
    try:
        assert (await client.hear()).startswith("220")
        assert (await client.say_all("EHLO portal.example", MAIL))[-1].startswith("530")
        await client.start_tls()
        assert (await client.say_all(MAIL, WRONG, PLAIN))[-1].startswith("235")
        await client.say_all(MAIL, RCPT, "DATA")
        assert (await client.say(b"Subject: x\r\n.\r\n")).startswith("250")
        caught = await sink.wait_for(lambda message: "alice@patients.example" in message.rcpt_to)
        assert (caught.mail_from, caught.raw, caught.user) == ("carol@clinic.example", b"Subject: x\r\n", NAME)
        assert caught.tls == "TLSv1.3"
        sink.refuse_with = "451 4.7.1 later"
        assert (await client.say_all(MAIL, RCPT))[-1] == "451 4.7.1 later"
        sink.refuse_at = "DATA"
        await client.say_all(RCPT, "DATA")
        assert await client.say(b"hello\r\n.\r\n") == "451 4.7.1 later"
        with pytest.raises(TimeoutError):
            await sink.wait_for(lambda message: message.raw == b"hello\r\n", timeout=0.05)
    finally:
        client.writer.transport.abort()
        await sink.close()


# -- what is wanted of reports (RFC 3461)


@pytest.mark.parametrize(
    ("parameters", "answer", "asked"),
    [
        ("", "250 2.1.5", AskedOfOne()),
        ("NOTIFY=success,DELAY", "250 2.1.5", AskedOfOne(frozenset({"SUCCESS", "DELAY"}))),
        (
            "NOTIFY=NEVER ORCPT=rfc822;a+2Bb@x.example",
            "250 2.1.5",
            AskedOfOne(frozenset({"NEVER"}), "rfc822;a+b@x.example"),
        ),
        ("NOTIFY=NEVER,SUCCESS", "501 5.5.4", None),
        ("NOTIFY=", "501 5.5.4", None),
        ("NOTIFY", "501 5.5.4", None),
        ("NOTIFY=SUCCESS NOTIFY=DELAY", "501 5.5.4", None),
        ("NOTIFY=SOMETIMES", "501 5.5.4", None),
        ("ORCPT=rfc822;a+0D+0AAction:failed", "250 2.1.5", AskedOfOne(frozenset(), "")),
        ("ORCPT=alice", "250 2.1.5", AskedOfOne(frozenset(), "")),
        (f"ORCPT=rfc822;{'a' * 500}", "250 2.1.5", AskedOfOne(frozenset(), "")),
        ("RET=FULL", "555 5.5.4", None),
    ],
)
async def test_what_is_wanted_of_reports_is_read_strictly(
    edge: Edge, parameters: str, answer: str, asked: AskedOfOne | None
) -> None:
    """NOTIFY and ORCPT reach the intake decoded. What is no NOTIFY is refused; an ORCPT that can't stand in a report is dropped."""
    async with edge.client() as client:
        await client.sign_in()
        assert (await client.say_all(f"{MAIL} ENVID=a+2Bb", f"{RCPT} {parameters}"))[1].startswith(answer)
        if asked is not None:
            await client.say("DATA")
            await client.say(b"hello\r\n.\r\n")
            envelope = edge.intake.submissions[0].envelope
            assert (dict(envelope.asked), envelope.envid) == ({"alice@patients.example": asked}, "a+b")


async def test_a_stranger_writes_to_the_portals_own_paths_and_nowhere_else(edge: Edge) -> None:
    """Whether a sender is one is asked for people alone; a path of the portal's takes answers from anybody."""
    edge.intake.senders.clear()
    async with edge.client() as client:
        await client.sign_in()
        await client.say_all("MAIL FROM:<alice@patients.example>", "RCPT TO:<reply+x@portal.example>", RCPT, RCPT)
    assert edge.intake.senders == ["", "alice@patients.example"]
