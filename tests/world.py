"""The house in one process, for tests: real rows, blobs, keys, render process and mail over TLS; only the clock is ours.

The cast: Alice reads, Bob is another recipient, Carol sends, Dora administers, Mallory attacks. Two organisations, so that
"not yours" has somebody to belong to.
"""

import re
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import format_datetime
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from urllib.parse import quote

import httpx2

from portal.assembly import House, blob_store, keyring, open_house
from portal.audit.export import Export
from portal.clock import Source
from portal.db.audit import Filter, Recorded
from portal.db.orgs import Organisation
from portal.demo import make_certificates
from portal.intake import Accepted, Envelope, Intake, Relay
from portal.model.events import By, Who
from portal.model.ids import OrgId
from portal.operator import Operator
from portal.orgs.setup import Setup, new_organisation
from portal.settings import Settings
from portal.smtp.sink import Caught, Sink, open_sink
from portal.web.app import build
from portal.worker import Worker

ALICE, BOB, CAROL = "alice@patients.example", "bob@patients.example", "carol@clinic.example"
BASE = "https://portal.example"
CODE = re.compile(r"\b\d{4} \d{4}\b")
LINK = re.compile(r"https://portal\.example/m/([\w-]+)")
REFERENCE = re.compile(r"\b[2-9A-Z]{4}-[2-9A-Z]{4}-[2-9A-Z]{2}\b")


class Clock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 21, 10, 42, tzinfo=UTC)

    def now(self) -> datetime:
        self.at += timedelta(microseconds=1)  # no two moments are the same
        return self.at

    def forward(self, **by: float) -> None:
        self.at += timedelta(**by)

    def forward_from_the_disk(self, **by: float) -> None:
        """Blobs bear the time of the real disk, so what looks at their age starts from there."""
        self.at = max(self.at, datetime.now(UTC)) + timedelta(**by)


@lru_cache
def certificates() -> Path:
    """A folder with ca.pem, server.pem and server.key for localhost, made once a run."""
    folder = Path(mkdtemp(prefix="portal-tests-"))
    make_certificates(folder)
    return folder


def letter(
    subject: str = "Your results",
    text: str = "All is well.\n",
    html: str | None = None,
    attachments: Sequence[tuple[str, str, bytes]] = (),
    to: str = ALICE,
    message_id: str = "<1@clinic.example>",
) -> bytes:
    """A mail from Carol. Attachments are (name, media type, content)."""
    mail = EmailMessage(policy=policy.SMTP)
    mail["From"], mail["To"], mail["Subject"] = f"Carol Reyes <{CAROL}>", to, subject
    mail["Date"], mail["Message-ID"] = format_datetime(datetime(2026, 11, 21, 9, 0, tzinfo=UTC)), message_id
    mail.set_content(text)
    if html is not None:
        mail.add_alternative(html, subtype="html")
    for name, media_type, content in attachments:
        kind, _, sub = media_type.partition("/")
        mail.add_attachment(content, maintype=kind, subtype=sub, filename=name)
    return mail.as_bytes()


class Browser:
    """A person's browser: keeps cookies, says where its requests come from, follows nothing by itself."""

    def __init__(self, world: "World", language: str = "en") -> None:
        headers = {
            "user-agent": "Mozilla/5.0 Firefox/153.0",
            "sec-fetch-site": "same-origin",
            "accept-language": language,
        }
        transport = httpx2.ASGITransport(app=world.app, client=("192.0.2.7", 4711))
        self.world = world
        self.http = httpx2.AsyncClient(transport=transport, base_url=BASE, headers=headers)
        self.page = ""

    async def get(self, path: str, **more: Any) -> httpx2.Response:
        answer = await self.http.get(path, **more)
        if "text/html" in answer.headers.get("content-type", ""):
            self.page = answer.text
        return answer

    async def post(self, path: str, fields: dict[str, str] | None = None, **more: Any) -> httpx2.Response:
        """Sends a form of the page last seen, with its token."""
        answer = await self.http.post(path, data={"csrf": self.csrf, **(fields or {})}, **more)
        if "text/html" in answer.headers.get("content-type", ""):
            self.page = answer.text
        return answer

    @property
    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.page)
        return found[1] if found else ""

    def form(self, ending: str = "") -> str:
        """Where the page's form goes, whose address ends so."""
        return next(str(action) for action in re.findall(r'action="([^"]+)"', self.page) if action.endswith(ending))

    async def ask_code(self, token: str) -> str:
        """Follows a link and has a code sent; gives the address where it is typed."""
        await self.get(f"/m/{token}")
        answer = await self.post(self.form("/send"))
        assert answer.status_code == 303, answer.text
        return str(answer.headers["location"])

    async def sign_in(self, token: str, who: str = ALICE) -> str:
        """Signs in by link and emailed code; gives the address of the message."""
        door = await self.ask_code(token)
        code = await self.world.code_for(who)
        await self.get(door)
        answer = await self.post(door, {"code": code})
        assert answer.status_code == 303, answer.text
        return str(answer.headers["location"])


def named(name: str) -> dict[str, str]:
    """The header in which an upload says how its file is called."""
    return {"content-disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}


@dataclass
class World:
    """The house with two clinics, their relays and the mail host that takes outgoing mail."""

    house: House
    clock: Clock
    intake: Intake
    app: Any
    worker: Worker
    sink: Sink
    northside: Organisation
    southside: Organisation
    relay: Relay
    foreign_relay: Relay

    async def deliver(
        self,
        mail: bytes | None = None,
        to: Sequence[str] = (ALICE,),
        sender: str = CAROL,
        relay: Relay | None = None,
        **envelope: Any,
    ) -> Accepted:
        """Hands a mail to the intake, as its edge does."""
        relay = relay or self.relay
        came = []
        for one in to:
            await self.intake.check_sender(relay, "" if self.intake.is_own_path(one) else sender, "192.0.2.1")
            came.append(await self.intake.check_recipient(relay, sender, one, "192.0.2.1"))
        heard = Envelope(sender, tuple(to), "192.0.2.1", came=tuple(came), **envelope)
        submission = await self.intake.begin(relay, heard)
        await submission.write(mail if mail is not None else letter())
        return await submission.commit()

    async def announce(self, mail: bytes | None = None, to: Sequence[str] = (ALICE,), **more: Any) -> str:
        """Delivers a mail, sends its notices, and gives the link's token for the first recipient."""
        await self.deliver(mail, to, **more)
        await self.worker.send_due()
        return self.token_for(to[0])

    def mail_for(self, who: str) -> EmailMessage:
        """The newest mail that went out to somebody."""
        caught = next(one for one in reversed(self.sink.messages) if who in one.rcpt_to)
        return self.read(caught)

    @staticmethod
    def read(caught: Caught) -> EmailMessage:
        mail = message_from_bytes(caught.raw, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        return mail

    def text_for(self, who: str) -> str:
        body = self.mail_for(who).get_body(("plain",))
        assert body is not None
        return str(body.get_content())

    def newest(self, pattern: re.Pattern[str], who: str) -> re.Match[str]:
        """What the newest mail to somebody says that says such a thing."""
        for caught in reversed(self.sink.messages):
            body = self.read(caught).get_body(("plain",)) if who in caught.rcpt_to else None
            found = pattern.search(str(body.get_content())) if body else None
            if found:
                return found
        raise AssertionError(f"no mail to {who} has {pattern.pattern}")

    def token_for(self, who: str) -> str:
        return self.newest(LINK, who)[1]

    async def code_for(self, who: str) -> str:
        """Sends what is due, and reads the code in the newest mail that has one."""
        await self.worker.send_due()
        return self.newest(CODE, who)[0]

    def browser(self, language: str = "en") -> Browser:
        return Browser(self, language)

    async def events(self, kind: str | None = None) -> list[Recorded]:
        """The record, oldest first."""
        export = Export(self.house.db, self.house.source, By(Who.OPERATOR, "test"))
        return [line async for line in export.lines(Filter(kind=kind))]

    def operator(self) -> Operator:
        return Operator(self.house, "dora")


def settings_for(folder: Path, database_url: str, submission_port: int, **more: Any) -> Settings:
    made = certificates()
    return Settings(
        base_url=BASE,
        database_url=database_url,
        blobs_url=f"file://{folder}/blobs",
        keys_url=f"keyring://{folder}/keys",
        submission_url=f"smtp://localhost:{submission_port}",
        submission_ca=made / "ca.pem",
        smtp_certificate=made / "server.pem",
        smtp_key=made / "server.key",
        **more,
    )


async def clinic(house: House, slug: str, name: str, domain: str) -> tuple[Organisation, Relay]:
    """An organisation with its domain and a relay."""
    setup = Setup(house.db, house.source, By(Who.OPERATOR, "dora"))
    fallback = house.fallback(By(Who.OPERATOR, "dora"))
    org_id = OrgId(house.source.new_id())
    made = new_organisation(
        house.source, org_id, slug, name, house.keyring.add_organisation(org_id),
        mail_from=f"portal@{domain}", address="14 Harbour Lane", phone="+1 555 0100", language="en",
    )  # fmt: skip
    await setup.add(made)
    await fallback.add_domain(made, domain)
    credential = await fallback.add_relay(made, "relay", None)
    return made, Relay(credential.relay.id, org_id, "relay", credential.row.id)


@asynccontextmanager
async def world(folder: Path, database_url: str, **settings: Any) -> AsyncIterator[World]:
    """A world on an empty, migrated database."""
    made, clock = certificates(), Clock()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(made / "server.pem", made / "server.key")
    sink = await open_sink("127.0.0.1", tls=tls)
    try:
        chosen = settings_for(folder, database_url, sink.port, **settings)
        keyring(chosen).create()
        blob_store(chosen).make()
        async with open_house(chosen, Source(now=clock.now)) as house:
            northside, relay = await clinic(house, "northside", "Northside Clinic", "clinic.example")
            southside, foreign = await clinic(house, "southside", "Southside Practice", "practice.example")
            app = build(house.site(), house.not_ready, house.staff_site())
            yield World(house, clock, house.intake(), app, house.worker(), sink, northside, southside, relay, foreign)
    finally:
        await sink.close()
