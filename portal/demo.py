"""`portal demo`: the whole house on this machine, with a clinic, a relay and a mailbox, and one message sent through it.

What serves is what always serves; only the settings, the certificates and the mailbox are made here. All of it lies in one
folder, and a second start finds it again.
"""

import asyncio
import json
import os
import signal
import smtplib
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from ipaddress import ip_address
from pathlib import Path

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from portal import paths
from portal.assembly import blob_store, keyring, open_house
from portal.db import messages
from portal.db.migrate import migrate
from portal.model.errors import RefusesToStart
from portal.model.events import By, Who
from portal.model.ids import OrgId
from portal.model.staff import Role
from portal.orgs.setup import Setup, new_organisation
from portal.serve import Running, listening_socket, log_to_stderr, running, serve_http
from portal.settings import ROLES, Settings
from portal.smtp.sink import Caught, open_sink
from portal.web.mailbox import Kept, build
from portal.web.templating import Pages

_WELCOME = """
  The portal runs.  Everything it keeps is in {data}

  1. Mailbox       {mailbox}
                   A notice for {recipient} is there: follow its link.
  2. Portal        {portal}
                   Have a code sent, find it in the mailbox, type it, read, and answer.
  3. The answer    arrives in the mailbox too, for {sender}.
  4. Console       {invitation}
                   Set up a passkey and you are the clinic's admin (a link for once; each start makes a new one).
                   Or sign in as {sender}, who sent: {portal}staff

  To hand over more mail: localhost:{smtp}, STARTTLS, user {username}, password {password}
  (the certificate's authority is {ca}).

  Ctrl-C stops it; nothing is lost.
"""


@dataclass(frozen=True)
class Ports:
    """Where the demo listens on this machine: the portal, the mailbox's page, the intake, and the mailbox's mail host."""

    portal: int = 8480
    mailbox: int = 8481
    smtp: int = 2526
    submission: int = 2587

    @classmethod
    def in_a_row(cls, first: int) -> "Ports":
        """Four ports from `first` on."""
        return cls(first, first + 1, first + 2, first + 3)

    @property
    def portal_url(self) -> str:
        return f"http://localhost:{self.portal}"

    @property
    def mailbox_url(self) -> str:
        return f"http://localhost:{self.mailbox}"


@dataclass(frozen=True)
class Login:
    """The demo relay's credential, kept beside the data so that it can be shown again."""

    username: str
    password: str


async def run(data: Path, ports: Ports) -> None:
    """Serves until Ctrl-C; `data` is absolute and there. Raises RefusesToStart when a port is taken."""
    log_to_stderr("warning")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with started(data, ports) as demo:
        print(demo.welcome, flush=True)  # noqa: T201 - this is a command's output
        await stop.wait()
    print("  Stopped.", flush=True)  # noqa: T201


@dataclass(frozen=True)
class Demo:
    """A demo that runs."""

    running: Running
    login: Login
    mails: list[Kept]
    welcome: str


@asynccontextmanager
async def started(data: Path, ports: Ports) -> AsyncIterator[Demo]:
    """Sets up what is not there yet, serves, and sends the first message."""
    settings = settings_of(data, ports)
    make_certificates(data)
    login = _read_login(data) if (data / "demo.json").exists() else await _set_up(data, settings)
    async with AsyncExitStack() as stack:
        mails = await _mailbox(stack, data, ports)
        now_running = await stack.enter_async_context(running(settings, ROLES))
        if await _is_empty(now_running):
            await asyncio.to_thread(send, first_message(), login, data / "ca.pem", ports.smtp)
        welcome = _WELCOME.format(
            data=data,
            mailbox=f"{ports.mailbox_url}/",
            portal=f"{ports.portal_url}/",
            recipient="alice@patients.example",
            sender="carol@clinic.example",
            smtp=ports.smtp,
            username=login.username,
            password=login.password,
            ca=data / "ca.pem",
            invitation=await _invitation(now_running),
        )
        yield Demo(now_running, login, mails, welcome)


def settings_of(data: Path, ports: Ports) -> Settings:
    """What the demo in this folder runs on; with the same settings every other command works on it."""
    return Settings(
        base_url=ports.portal_url,
        database_url=f"sqlite:///{data}/portal.db",
        blobs_url=f"file://{data}/blobs",
        keys_url=f"keyring://{data}/keys",
        submission_url=f"smtp://localhost:{ports.submission}",
        submission_ca=data / "ca.pem",
        mail_domain="portal.example",
        http_listen=f"127.0.0.1:{ports.portal}",
        smtp_listen=f"127.0.0.1:{ports.smtp}",
        smtp_certificate=data / "server.pem",
        smtp_key=data / "server.key",
    )


async def _set_up(data: Path, settings: Settings) -> Login:
    """The clinic, its domain and its relay."""
    if (data / "keys").exists():
        raise RefusesToStart(f"setting up the demo in {data} was cut short; delete that folder and start again")
    keyring(settings).create()
    blob_store(settings).make()
    await migrate(settings.database_url, create=True)
    async with open_house(settings) as house:
        setup = Setup(house.db, house.source, By(Who.OPERATOR, "demo"))
        fallback = house.fallback(By(Who.OPERATOR, "demo"))
        org_id = OrgId(house.source.new_id())
        clinic = new_organisation(
            house.source,
            org_id,
            "northside",
            "Northside Clinic",
            house.keyring.add_organisation(org_id),
            mail_from="portal@clinic.example",
            address="14 Harbour Lane, Northside 04101",
            phone="+1 555 0100",
            language="en",
        )
        await setup.add(clinic)
        await fallback.add_domain(clinic, "clinic.example")
        made = await fallback.add_relay(clinic, "demo relay", None)
    login = Login(made.row.username or "", made.password or "")
    file = os.open(data / "demo.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as target:
        json.dump(asdict(login), target)
    return login


async def _invitation(now_running: Running) -> str:
    """A link for an admin of the clinic."""
    house, by = now_running.house, By(Who.OPERATOR, "demo")
    clinic = await Setup(house.db, house.source, by).organisation("northside")
    token = await house.staff_people().invite(clinic, "dora@clinic.example", Role.ADMIN, by)
    return f"{house.settings.console_base}/staff/invite/{token}"


async def _is_empty(now_running: Running) -> bool:
    async with now_running.house.db.read() as tx:
        return await messages.newest(tx) is None


def _read_login(data: Path) -> Login:
    return Login(**json.loads((data / "demo.json").read_text(encoding="utf-8")))


async def _mailbox(stack: AsyncExitStack, data: Path, ports: Ports) -> list[Kept]:
    """The mail host that takes the portal's mail, and its page. Mails are kept as files, for the next start."""
    folder = data / "mailbox"
    folder.mkdir(mode=0o700, exist_ok=True)
    mails = [_loaded(path) for path in sorted(folder.glob("*.json"))]

    def keep(caught: Caught) -> None:
        kept = Kept(caught.raw, caught.rcpt_to, caught.tls or "")
        values = {"raw": kept.raw.decode("latin-1"), "rcpt_to": kept.rcpt_to, "tls": kept.tls}
        (folder / f"{len(mails):06}.json").write_text(json.dumps(values), encoding="utf-8")
        mails.append(kept)

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(data / "server.pem", data / "server.key")
    try:
        sink = await open_sink("127.0.0.1", ports.submission, tls=tls, taken=keep)
    except OSError as error:
        raise RefusesToStart(f"port {ports.submission} is taken: {error.strerror}; is another demo running?") from error
    stack.push_async_callback(sink.close)
    app = build(lambda: mails, Pages(ports.mailbox_url))
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=2)
    listening = listening_socket(f"127.0.0.1:{ports.mailbox}")
    stack.callback(listening.close)
    await serve_http(stack, config, listening)
    return mails


def _loaded(path: Path) -> Kept:
    values = json.loads(path.read_text(encoding="utf-8"))
    return Kept(values["raw"].encode("latin-1"), tuple(values["rcpt_to"]), values["tls"])


# -- the first message, as a clinic's mail program writes it


def first_message() -> EmailMessage:
    """HTML with a picture in it, a text alternative, and a PDF."""
    folder = paths.templates() / "demo"
    mail = EmailMessage()
    mail["From"] = "Dr Carol Reyes <carol@clinic.example>"
    mail["To"] = "Alice Alvarez <alice@patients.example>"
    mail["Subject"] = "Your blood results from Tuesday"
    mail["Date"] = format_datetime(datetime.now(UTC))
    mail["Message-ID"] = make_msgid(domain="clinic.example")
    mail.set_content((folder / "message.txt").read_text(encoding="utf-8"))
    mail.add_alternative((folder / "message.html").read_text(encoding="utf-8"), subtype="html")
    html = mail.get_payload(1)
    assert isinstance(html, EmailMessage)
    html.add_related(
        (folder / "chart.png").read_bytes(), "image", "png", cid="<chart@clinic.example>", filename="chart.png"
    )
    pdf = (folder / "results.pdf").read_bytes()
    mail.add_attachment(pdf, maintype="application", subtype="pdf", filename="Blood results 17 November.pdf")
    return mail


def send(mail: EmailMessage, login: Login, ca: Path, port: int) -> None:
    """Hands a mail to the intake as a relay does: STARTTLS, certificate checked, AUTH."""
    with smtplib.SMTP("localhost", port, timeout=30) as relay:
        relay.starttls(context=ssl.create_default_context(cafile=str(ca)))
        relay.login(login.username, login.password)
        relay.send_message(mail)


# -- certificates for this machine only


def make_certificates(data: Path) -> None:
    """An authority and a server certificate for localhost, for a year; made anew when they are about to end."""
    file = data / "server.pem"
    if file.exists():
        ends = x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc
        if ends - datetime.now(UTC) > timedelta(days=7):
            return
    authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Portal demo authority")])
    authority = (
        _builder(name, name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    server = (
        _builder(subject, name, server_key.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    _keep(data / "server.key", server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    _keep(data / "ca.pem", authority.public_bytes(Encoding.PEM))
    _keep(file, server.public_bytes(Encoding.PEM))


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=365))


def _keep(path: Path, content: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "wb") as target:
        target.write(content)
