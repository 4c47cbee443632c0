"""s03: the portal as its operator has it: roles in processes of their own, stops, refusals to start, full disks, commands.

What depends on the database is run on SQLite and on PostgreSQL.
"""

import ctypes
import json
import os
import re
import shutil
import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from pathlib import Path

import httpx2
import pytest

from portal.keys.keyring import Keyring
from portal.model.ids import OrgId
from tests.scenarios.authority import Authority
from tests.scenarios.mailhosts import MailHost, MailHosts, mail_hosts, read
from tests.scenarios.portals import Credential, Portal
from tests.servers import Postgres, free_port
from tests.world import ALICE, BOB, CAROL, LINK


@dataclass
class Clinic:
    """A portal that is set up but does not serve, its relay, and the mail host that takes its mails."""

    portal: Portal
    mails: MailHost
    hosts: MailHosts
    authority: Authority
    relay: Credential

    def connect(self) -> smtplib.SMTP:
        """A relay's connection that is ready for MAIL."""
        port = int(self.portal.settings["SMTP_LISTEN"].rpartition(":")[2])
        relay = smtplib.SMTP("localhost", port, timeout=30)
        relay.starttls(context=ssl.create_default_context(cafile=str(self.authority.ca)))
        relay.login(self.relay.username, self.relay.password)
        return relay

    def hand_over(self, *to: str, size: int = 100) -> tuple[int, str]:
        """A message as a relay brings it; how it was answered."""
        mail = EmailMessage(policy=policy.SMTP)
        mail["From"], mail["To"], mail["Subject"] = CAROL, ", ".join(to), "Your results"
        mail["Message-ID"] = f"<{time.monotonic_ns()}@clinic.example>"
        mail.set_content(("x" * 70 + "\n") * (size // 71 + 1))
        with self.connect() as relay:
            relay.mail(CAROL)
            for one in to:
                relay.rcpt(one)
            try:
                code, said = relay.data(mail.as_bytes())
            except smtplib.SMTPDataError as error:
                code, said = error.smtp_code, error.smtp_error if isinstance(error.smtp_error, bytes) else b""
            return code, said.decode()

    def store(self, *to: str) -> str:
        """A message that was taken; gives its id."""
        code, said = self.hand_over(*(to or (ALICE,)))
        assert code == 250, said
        return self.portal.messages()[0]

    def get(self, path: str) -> httpx2.Response:
        return httpx2.get(f"http://{self.portal.settings['HTTP_LISTEN']}{path}", timeout=30)

    def show(self, message: str) -> str:
        return self.portal.cli("message", "show", message, "--org", "northside")


@pytest.fixture(scope="module")
def hosts() -> Iterator[MailHosts]:
    """The loop in which the mail hosts live."""
    with mail_hosts() as made:
        yield made


def _clinic(folder: Path, hosts: MailHosts, **settings: object) -> Clinic:
    authority = Authority(folder / "certificates")
    pair = authority.server("localhost")
    mails = hosts.open("127.0.0.1", pair)
    portal = Portal(
        folder / "portal",
        SMTP_CERTIFICATE=pair.certificate,
        SMTP_KEY=pair.key,
        SUBMISSION_URL=f"smtp://localhost:{mails.port}",
        SUBMISSION_CA=authority.ca,
        **settings,
    )
    return Clinic(portal, mails, hosts, authority, portal.set_up())


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory, hosts: MailHosts) -> Clinic:
    """A clinic on SQLite."""
    return _clinic(tmp_path_factory.mktemp("sqlite"), hosts)


@pytest.fixture(scope="module")
def on_postgresql(
    tmp_path_factory: pytest.TempPathFactory, hosts: MailHosts, postgres_server: Postgres
) -> Iterator[Clinic]:
    """A clinic on PostgreSQL, made by `portal init` on a database without tables."""
    name = postgres_server.fresh()
    yield _clinic(tmp_path_factory.mktemp("postgresql"), hosts, DATABASE_URL=postgres_server.url(name))
    postgres_server.drop(name)


@pytest.fixture(scope="module", params=["on_sqlite", "on_postgresql"])
def anywhere(request: pytest.FixtureRequest) -> Clinic:
    """A clinic on each engine."""
    found: Clinic = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def clinic(anywhere: Clinic) -> Clinic:
    """The same, with nothing of other tests in its mail host."""
    anywhere.mails.forget()
    return anywhere


# -- serving


def test_three_processes_are_one_portal(clinic: Clinic) -> None:
    """Web, intake and worker each in a process of its own do what one process does; the intake has no key that opens."""
    sealing_only = clinic.portal.folder / "keys-of-the-intake"
    shutil.copytree(clinic.portal.folder / "keys", sealing_only, ignore=shutil.ignore_patterns("*.secret"))
    try:
        with (
            clinic.portal.serving("web") as web,
            clinic.portal.serving("intake", KEYS_URL=f"keyring://{sealing_only}") as intake,
            clinic.portal.serving("worker") as worker,
        ):
            assert (set(web.ports), set(intake.ports), set(worker.ports)) == ({"http"}, {"starttls"}, set())
            clinic.store()
            notice = read(clinic.mails.await_mail(ALICE)).get_body(("plain",))
            assert notice is not None
            link = LINK.search(notice.get_content())
            assert link
            assert clinic.get(f"/m/{link[1]}").status_code == 200
            for one in (intake, worker, web):
                one.stop()
    finally:
        shutil.rmtree(sealing_only)


def test_a_stop_lets_a_mail_be_taken_to_its_end(clinic: Clinic) -> None:
    """After SIGTERM a message that is being sent is still stored and answered 250; then the process ends well."""
    before = clinic.portal.messages()
    with (
        clinic.portal.serving("intake") as serving,
        suppress(smtplib.SMTPException),
        clinic.connect() as relay,
    ):
        relay.mail(CAROL)
        relay.rcpt(ALICE)
        assert relay.docmd("DATA")[0] == 354
        relay.send(b"From: carol@clinic.example\r\nSubject: x\r\n\r\n")
        serving.terminate()
        _await(lambda: "stopping" in serving.log())
        relay.send(b"The end.\r\n.\r\n")
        assert relay.getreply()[0] == 250
        assert relay.getreply()[0] == 421
        assert serving.wait() == 0, serving.log()
    assert len(clinic.portal.messages()) == len(before) + 1


def test_a_stop_lets_a_request_be_answered(clinic: Clinic) -> None:
    """After SIGTERM a request of which half has come is still read and answered."""
    host, port = clinic.portal.settings["HTTP_LISTEN"].split(":")
    with clinic.portal.serving("web") as serving, socket.create_connection((host, int(port)), timeout=30) as browser:
        browser.sendall(
            b"POST / HTTP/1.1\r\nHost: portal.example\r\nSec-Fetch-Site: same-origin\r\nContent-Length: 11\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n\r\nrefer"
        )
        time.sleep(0.5)
        serving.terminate()
        _await(lambda: "stopping" in serving.log())
        browser.sendall(b"ence=x")
        assert browser.makefile("rb").readline().startswith(b"HTTP/1.1 403 ")  # no form token: but it was read
        assert serving.wait() == 0, serving.log()


def test_a_stop_lets_a_notice_be_settled(clinic: Clinic) -> None:
    """After SIGTERM a notice that is with the submission host is waited for and settled: a restart sends no second one."""
    slow = clinic.hosts.open("127.0.0.1", clinic.authority.server("localhost"), delay_seconds=2)
    with clinic.portal.serving("intake"):
        message = clinic.store()
    with clinic.portal.serving("worker", SUBMISSION_URL=f"smtp://localhost:{slow.port}") as serving:
        assert slow.arriving.wait(20)
        serving.stop()
    assert "notice mail done" in clinic.show(message)
    with clinic.portal.serving("worker") as serving:
        time.sleep(1)
        serving.stop()
    assert [one for one in clinic.mails.messages if ALICE in one.rcpt_to] == []


def test_health_and_readiness(clinic: Clinic) -> None:
    """Alive is whoever answers; ready is who has a database and a blob store, and says which is missing."""
    incoming = clinic.portal.folder / "blobs" / "incoming"
    with clinic.portal.serving("web"):
        assert (clinic.get("/healthz").status_code, clinic.get("/readyz").text) == (200, "ready")
        with _moved(incoming):
            answer = clinic.get("/readyz")
            assert clinic.get("/healthz").status_code == 200
        assert (answer.status_code, answer.text) == (503, "blobs: StorageAway")
        assert clinic.get("/readyz").status_code == 200


# -- what does not fit, or is not there


def test_a_full_disk_is_temporary_and_leaves_nothing_behind(clinic: Clinic) -> None:
    """Without room for its content a message is answered 452, and neither a row nor a blob of it is kept; later it is taken."""
    before = clinic.portal.messages()
    blobs = clinic.portal.folder / "blobs"
    with _small_disk(blobs), clinic.portal.serving("intake") as serving:
        assert clinic.hand_over(ALICE, size=3_000_000)[0] == 452
        assert [path for path in blobs.rglob("*") if path.is_file()] == []
        assert clinic.hand_over(ALICE, size=1_000)[0] == 250
        serving.stop()
        shutil.copytree(blobs, blobs.with_name("kept"))
    shutil.copytree(blobs.with_name("kept"), blobs, dirs_exist_ok=True)
    shutil.rmtree(blobs.with_name("kept"))
    assert len(clinic.portal.messages()) == len(before) + 1
    assert "BAD" not in clinic.portal.cli("doctor")


def test_a_blob_store_that_is_away_is_temporary(clinic: Clinic) -> None:
    """A store that is not mounted is never taken for an empty one: 451, and nothing is made in its place."""
    blobs = clinic.portal.folder / "blobs"
    with clinic.portal.serving("intake"):
        with _moved(blobs):
            assert clinic.hand_over(ALICE)[0] == 451
            assert not blobs.exists()
        assert clinic.hand_over(ALICE)[0] == 250


def test_doctor_says_what_is_wrong(clinic: Clinic) -> None:
    """All is well; then a blob is missing and the submission host away, and each is said in one line."""
    with clinic.portal.serving("intake"):
        clinic.store()
    well = clinic.portal.cli("doctor").splitlines()
    assert [line for line in well if not line.startswith("ok  ")] == []
    assert len(well) == 12
    blob = max((path for path in (clinic.portal.folder / "blobs").glob("??/*")), key=lambda path: path.stat().st_mtime)
    with _moved(blob):
        done = clinic.portal.run("doctor", SUBMISSION_URL=f"smtp://localhost:{free_port()}")
    assert done.returncode == 1
    bad = [line for line in done.stdout.splitlines() if line.startswith("BAD ")]
    assert [line.split(":")[0] for line in bad] == ["BAD  submission", "BAD  content"]
    assert blob.name in bad[1]


# -- commands


def test_an_operator_ends_and_gives_back_messages(clinic: Clinic) -> None:
    """Revoke, restore, expire and extend do what they say, for one recipient or all, and say so when there is nothing to do."""
    org = ("--org", "northside")
    with clinic.portal.serving("intake"):
        message = clinic.store(ALICE, BOB)
    rows = [line.split("\t") for line in clinic.portal.cli("message", "list", *org, "--recipient", BOB).splitlines()]
    assert rows[0][0] == message
    assert rows[0][3:] == ["held", BOB, CAROL]
    first = re.findall(r"delivery (\S+): held", clinic.show(message))[0]
    clinic.portal.cli("message", "revoke", message, *org, "--reason", "wrong person", "--delivery", first)
    assert _states(clinic.show(message)) == ["revoked", "held"]
    clinic.portal.cli("message", "restore", message, *org, "--reason", "right after all")
    clinic.portal.cli("message", "expire", message, *org)
    assert _states(clinic.show(message)) == ["expired", "expired"]
    clinic.portal.cli("message", "extend", message, *org, "--days", "3")
    assert set(_states(clinic.show(message))) == {"held"}
    assert "Nothing was changed" in clinic.portal.refuses("message", "restore", message, *org, "--reason", "again")
    assert "no such message" in clinic.portal.refuses("message", "show", first, *org)
    kinds = [one.kind for one in clinic.portal.events() if one.message_id == message]
    assert [kind for kind in kinds if kind != "MessagesListed"] == [
        "MessageAccepted", "DeliveryRevoked", "DeliveryRestored", "DeliveryExpired", "DeliveryExpired",
        "DeliveryExtended", "DeliveryExtended",
    ]  # fmt: skip


def test_an_operator_makes_a_class_and_gives_ways_in(clinic: Clinic) -> None:
    """Classes are made and listed; a code is shown once and stands in no event; a number is read as people write it."""
    org = ("--org", "northside")
    clinic.portal.cli(
        "policy", "set", *org, "--class", "results", "--assurance", "2", "--reminder-days", "0", "--no-reply"
    )
    listed = [line.split("\t") for line in clinic.portal.cli("policy", "list", *org).splitlines()]
    assert [row[0] for row in listed] == ["default", "results"]
    assert listed[1] == ["results", "1", "2", "30", "0", "3", "365", "no"]
    assert "1, 2 or 3" in clinic.portal.refuses("policy", "set", *org, "--class", "results", "--assurance", "4")
    assert "has a name of" in clinic.portal.refuses("policy", "set", *org, "--class", "Results")
    with clinic.portal.serving("intake"):
        message = clinic.store(ALICE, BOB)
    code, said = clinic.portal.cli(
        "message", "access-code", message, *org, "--generate", "--hint", "By phone"
    ).splitlines()
    assert re.fullmatch(r"[2-9a-z]{5} [2-9a-z]{5}", code)
    assert said == "2 deliveries have the access code."
    assert "+15550100042" in clinic.portal.cli("person", "phone", ALICE, "+1 (555) 010-0042", *org)
    assert "begins with +" in clinic.portal.refuses("person", "phone", ALICE, "555 0100", *org)
    assert [one.detail for one in clinic.portal.events("AccessCodeSet")] == [{"hint": True}] * 2
    assert not [one for one in clinic.portal.events() if code in repr(one) or "5550100042" in repr(one)]


def test_dispose_destroys_only_what_retention_released(clinic: Clinic) -> None:
    """A message whose retention is over is listed first and then destroyed; one that is still kept stays."""
    clinic.portal.cli("policy", "set", "--org", "northside", "--life-days", "1", "--retention-days", "1")
    with clinic.portal.serving("intake"):
        message = clinic.store()
    assert message not in clinic.portal.cli("dispose", "--dry-run")
    assert clinic.portal.cli("dispose").startswith("0 ")
    assert "kept until" in clinic.show(message)


def test_keys_turn_without_losing_a_message(clinic: Clinic) -> None:
    """After a rotation and a rewrap the old KEK is no longer needed: the portal serves and is well without it."""
    old = clinic.portal.cli("org", "list").split()[-1]
    clinic.portal.cli("keys", "rotate", "--org", "northside")
    new = clinic.portal.cli("org", "list").split()[-1]
    assert new != old
    said = clinic.portal.cli("keys", "rewrap", "--org", "northside")
    assert re.fullmatch(rf"[1-9]\d* epoch keys were wrapped to {new}\.", said.strip())
    [secret] = (clinic.portal.folder / "keys").glob(f"orgs/*/{old}.secret")
    with _moved(secret):
        assert "BAD" not in clinic.portal.cli("doctor")
        with clinic.portal.serving("web"):
            assert clinic.get("/readyz").status_code == 200


def test_the_record_is_listed_and_exported(clinic: Clinic) -> None:
    """The list is one event a line with tabs between its columns; the export has the same, is private, and replaces no file."""
    listed = clinic.portal.cli("audit", "list", "--kind", "MessageAccepted", "--limit", "1").splitlines()
    assert [len(line.split("\t")) for line in listed] == [5]
    to = clinic.portal.folder / "record.csv"
    clinic.portal.cli("audit", "export", str(to), "--format", "csv")
    assert to.stat().st_mode & 0o777 == 0o600
    assert to.read_text().count("MessageAccepted") == len(clinic.portal.events("MessageAccepted"))
    assert CAROL not in to.read_text()
    assert "can't be written" in clinic.portal.refuses("audit", "export", str(to))
    assert clinic.portal.events("AuditExported")


# -- what the portal refuses; none of it depends on the engine


@pytest.fixture
def alone(tmp_path: Path) -> Portal:
    """A portal of which there are only settings."""
    return Portal(tmp_path / "empty")


def test_nothing_is_made_by_serving(alone: Portal) -> None:
    """In an empty folder `serve` refuses, in one line that says what to run, and the folder stays empty."""
    assert "portal init" in alone.refuses("serve")
    assert list(alone.folder.iterdir()) == []


def test_init_is_not_done_twice(alone: Portal) -> None:
    """A second `init` leaves the keyring that is there alone."""
    alone.cli("init")
    secret = (alone.folder / "keys" / "secrets" / "codes.key").read_bytes()
    assert "there is a keyring" in alone.refuses("init")
    assert (alone.folder / "keys" / "secrets" / "codes.key").read_bytes() == secret


def test_config_check_says_what_is_wrong(alone: Portal) -> None:
    """Good settings are called sound; wrong ones are named, and their values are not repeated."""
    assert "sound" in alone.cli("config", "check")
    bad: dict[str, object] = {"BASE_URL": "http://portal.example", "SMTP_CONNECTIONS": "many-secret"}
    said = alone.refuses("config", "check", **bad)
    assert "base_url" in said
    assert "smtp_connections" in said
    assert "many-secret" not in said
    assert "PORTAL_NO_SUCH" in alone.refuses("config", "check", NO_SUCH=1)
    for url in ("mysql://portal@localhost/portal", "portal.db"):
        assert "PORTAL_DATABASE_URL" in alone.refuses("config", "check", DATABASE_URL=url)
    assert list(alone.folder.iterdir()) == []


def test_a_lost_keyring_is_never_made_anew(on_sqlite: Clinic) -> None:
    """Without its keyring, with another portal's, or without a KEK that is needed, the portal refuses and says which."""
    portal, keys = on_sqlite.portal, on_sqlite.portal.folder / "keys"
    with _moved(keys):
        assert f"there is no keyring at {keys}" in portal.refuses("serve")
        assert not keys.exists()
        foreign = Keyring(keys)
        foreign.create()
        foreign.add_organisation(OrgId("01a20000-0000-7000-8000-000000000000"))
        assert "no keys of organisation northside" in portal.refuses("serve")
        shutil.rmtree(keys)
    [current] = keys.glob("orgs/*/current")
    kek = current.with_name(f"{current.read_text()}.secret")
    with _moved(kek):
        said = portal.refuses("serve")
        assert f"{kek.stem} of organisation northside" in said
        assert kek.name in said


def test_a_second_host_is_refused(on_sqlite: Clinic) -> None:
    """A database that another host has served within the last minute is left alone; after that it is free."""
    claim = on_sqlite.portal.folder / "portal.db.host"
    claim.write_text(json.dumps({"host": "another", "name": "db2.clinic.example", "at": time.time()}))
    assert "db2.clinic.example" in on_sqlite.portal.refuses("serve")
    claim.write_text(json.dumps({"host": "another", "name": "db2.clinic.example", "at": time.time() - 61}))
    with on_sqlite.portal.serving("web") as serving:
        assert "another" not in claim.read_text()
        serving.stop()
    assert not claim.exists()


def test_serve_refuses_what_it_can_t_listen_on(on_sqlite: Clinic) -> None:
    """A port that is taken, an unknown role, an intake without a certificate: each is one line."""
    portal = on_sqlite.portal
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        assert f"can't listen on {where}" in portal.refuses("serve", "--role", "web", HTTP_LISTEN=where)
    assert "no such role: webb" in portal.refuses("serve", "--role", "webb")
    open_folder = portal.folder / "open"
    open_folder.mkdir(mode=0o755)
    assert "0750" in portal.refuses("serve", "--role", "web", HTTP_LISTEN=f"unix:{open_folder}/portal.sock")


# -- the operator's hands


def _states(shown: str) -> list[str]:
    return re.findall(r"^delivery \S+: (\w+)", shown, re.MULTILINE)


def _await(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def _moved(path: Path) -> Iterator[None]:
    """A file or folder that is away for a while."""
    aside = path.parent.parent / f"aside-{path.name}"
    path.rename(aside)
    try:
        yield
    finally:
        aside.rename(path)


@contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    """A file system of 2 MiB in place of a folder, with the blob store's folder in it. Needs root, as Postfix does."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, b"size=2m") != 0:
        pytest.fail(
            f"a small disk can't be mounted ({os.strerror(ctypes.get_errno())}): run this shelf as root", pytrace=False
        )
    try:
        (folder / "incoming").mkdir(mode=0o700)
        yield
    finally:
        assert libc.umount2(str(folder).encode(), 2) == 0  # MNT_DETACH
