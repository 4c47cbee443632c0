"""s01: a real Postfix, set up as docs/RELAY.md says, sends by TLS or hands over to a portal that really serves.

Recipients' hosts are sinks on addresses of their own. Postfix finds them by its transport table instead of MX records; that
a host has no TLS it finds out by itself.
"""

import re
import smtplib
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage

import pytest

from tests.scenarios.authority import Authority
from tests.scenarios.mailhosts import MailHost, MailHosts, mail_hosts, read
from tests.scenarios.portals import Credential, Portal
from tests.scenarios.postfix import Postfix, postfix, recipe
from tests.scenarios.proxy import Proxy
from tests.servers import free_port
from tests.world import LINK

CLEAR, SECURE, CAROL = "alice@patients.example", "bob@secure.example", "carol@clinic.example"


@dataclass
class Relayed:
    """The relay and what is around it. `clear` is a mail host without TLS, `secure` one with it, `mailbox` the clinic's."""

    portal: Portal
    postfix: Postfix
    clear: MailHost
    secure: MailHost
    mailbox: MailHost
    authority: Authority
    credential: Credential
    intake_port: int
    submission_port: int

    def send(self, *to: str, subject: str = "Your results", text: str = "All is well.\n", sender: str = CAROL) -> str:
        """Hands in a mail as Carol's mail program does; gives its queue id."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = sender, ", ".join(to), subject
        mail["Message-ID"] = f"<{time.monotonic_ns()}@clinic.example>"
        mail.set_content(text)
        with smtplib.SMTP("127.0.0.1", self.postfix.port, timeout=30) as client:
            client.ehlo()
            client.mail(sender)
            for one in to:
                code, said = client.rcpt(one)
                assert code == 250, said
            code, said = client.data(mail.as_bytes())
        assert code == 250, said
        return said.decode().rpartition(" ")[2]

    def deferred(self, queue_id: str) -> str:
        return self.postfix.await_outcome(queue_id, "deferred")


@pytest.fixture(scope="module")
def hosts() -> Iterator[MailHosts]:
    """The loop in which the mail hosts live."""
    with mail_hosts() as made:
        yield made


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, hosts: MailHosts) -> Iterator[Relayed]:
    """Postfix, three mail hosts, and a portal that is set up but does not serve yet."""
    with postfix() as instance:
        authority = Authority(instance.folder / "certificates")
        own, relay = authority.server("portal.example"), authority.server("localhost")
        clear, secure = hosts.open("127.0.0.21"), hosts.open("127.0.0.22", relay)
        mailbox, submission, intake = hosts.open("127.0.0.1", relay), free_port(), free_port()
        portal = Portal(
            tmp_path_factory.mktemp("portal"),
            SMTP_LISTEN=f"127.0.0.1:{intake}",
            SMTP_CERTIFICATE=own.certificate,
            SMTP_KEY=own.key,
            SMTP_CLIENT_CA=authority.ca,
            SUBMISSION_URL=f"smtp://localhost:{submission}",
            SUBMISSION_CA=authority.ca,
        )
        credential = portal.set_up()
        etc = instance.folder / "etc"
        replacing = {
            "[portal.example]:2526": f"[localhost]:{intake}",
            "[mailbox.clinic.example] }": f"[localhost]:{mailbox.port} }}\n    {{ patients.example = :[127.0.0.21]:{clear.port} }}"
            f"\n    {{ .patients.example = :[127.0.0.21]:{clear.port} }}"
            f"\n    {{ secure.example = :[127.0.0.22]:{secure.port} }}",
            "/etc/ssl/certs/ca-certificates.crt": str(authority.ca),
            "/etc/postfix/relay.clinic.example.pem": str(relay.certificate),
            "/etc/postfix/relay.clinic.example.key": str(relay.key),
            "/etc/postfix/": f"{etc}/",
            "192.0.2.10/32": "127.0.0.1/32",
            "192.0.2.25:587": f"127.0.0.1:{submission}",
            "USERNAME:PASSWORD": f"{credential.username}:{credential.password}",
        }
        instance.configure(
            recipe("postfix main.cf", replacing),
            recipe("postfix master.cf", replacing),
            **{"portal-password": recipe("postfix portal-password", replacing)},
        )
        instance.start()
        yield Relayed(portal, instance, clear, secure, mailbox, authority, credential, intake, submission)


@pytest.fixture
def relayed(running: Relayed) -> Iterator[Relayed]:
    """The same, with nothing left of other tests in queue and mail hosts."""
    for host in (running.clear, running.secure, running.mailbox):
        host.forget()
    yield running
    running.postfix.drop_all()


def test_a_host_with_tls_gets_its_mail_direct(relayed: Relayed) -> None:
    """The portal never hears of a mail that can go over TLS."""
    before = relayed.portal.messages()
    with relayed.portal.serving():
        relayed.send(CLEAR, SECURE, subject="To both")
        direct = relayed.secure.await_mail(SECURE, "To both")
        assert direct.tls == "TLSv1.3"
        notice = relayed.clear.await_mail(CLEAR)
        relayed.postfix.await_empty()
    assert "To both" not in notice.raw.decode()
    [stored] = set(relayed.portal.messages()) - set(before)
    shown = relayed.portal.cli("message", "show", stored, "--org", "northside")
    assert shown.count("\ndelivery ") == 1


def test_a_host_without_tls_gets_a_notice_only(relayed: Relayed) -> None:
    """The mail is stored under the relay's queue id, and its notice comes out through the relay's own transport for notices."""
    with relayed.portal.serving():
        queue_id = relayed.send(CLEAR, text="The test was negative.\n")
        notice = relayed.clear.await_mail(CLEAR)
        assert f"relay=localhost[127.0.0.1]:{relayed.intake_port}" in relayed.postfix.await_outcome(queue_id, "sent")
        relayed.postfix.await_empty()
    assert notice.mail_from.startswith("bounce+")
    assert notice.tls is None
    assert LINK.search(read(notice).get_body(("plain",)).get_content())  # type: ignore[union-attr]
    assert b"negative" not in b"".join(one.raw for one in relayed.clear.messages)
    accepted = relayed.portal.events("MessageAccepted")[-1]
    assert accepted.detail["queue_id"] == queue_id
    assert accepted.actor == relayed.credential.id


def test_a_portal_that_is_down_loses_nothing(relayed: Relayed) -> None:
    """Mail waits in Postfix's queue, and is stored once when the portal is back."""
    before = relayed.portal.messages()
    queue_id = relayed.send(CLEAR)
    assert "Connection refused" in relayed.deferred(queue_id)
    with relayed.portal.serving():
        relayed.postfix.flush()
        relayed.postfix.await_outcome(queue_id, "sent")
        relayed.postfix.await_empty()
    assert len(set(relayed.portal.messages()) - set(before)) == 1


def test_a_mail_whose_answer_was_lost_is_stored_once(relayed: Relayed) -> None:
    """The portal is killed after its commit, before Postfix hears 250: Postfix sends again, the portal knows the mail."""
    before, behind = relayed.portal.messages(), free_port()
    with Proxy(relayed.intake_port, behind) as proxy:
        with relayed.portal.serving("intake", SMTP_LISTEN=f"127.0.0.1:{behind}"):
            proxy.withhold_answers_after(100_000)
            queue_id = relayed.send(CLEAR, text="A long line of text.\n" * 10_000)
            stored = _await_stored(relayed.portal, before)
        proxy.cut()
        assert "lost connection" in relayed.deferred(queue_id)
        with relayed.portal.serving(SMTP_LISTEN=f"127.0.0.1:{behind}"):
            relayed.postfix.flush()
            relayed.postfix.await_outcome(queue_id, "sent")
            relayed.postfix.await_empty()
    assert set(relayed.portal.messages()) - set(before) == {stored}
    accepted = [one for one in relayed.portal.events("MessageAccepted") if one.detail["queue_id"] == queue_id]
    assert len(accepted) == 1


def _await_stored(portal: Portal, before: list[str]) -> str:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        new = set(portal.messages()) - set(before)
        if new:
            return new.pop()
    raise AssertionError("nothing was stored")


def test_an_impostor_gets_nothing(relayed: Relayed) -> None:
    """With a certificate of another name, whoever listens where the portal should is not given the mail, nor the password."""
    other = relayed.authority.server("impostor.example")
    before = relayed.portal.messages()
    with relayed.portal.serving("intake", SMTP_CERTIFICATE=other.certificate, SMTP_KEY=other.key):
        queue_id = relayed.send(CLEAR)
        assert "Server certificate not verified" in relayed.deferred(queue_id)
    assert relayed.portal.messages() == before


def test_a_wrong_password_bounces_nothing(relayed: Relayed) -> None:
    """Postfix keeps mail that it can't hand over because the portal does not know it."""
    path = relayed.postfix.folder / "etc" / "portal-password"
    right = path.read_text()
    with relayed.portal.serving("intake"):
        try:
            path.write_text(right.replace(relayed.credential.password, "wrong"))
            relayed.postfix.set(f"smtp_sasl_password_maps = texthash:{path}")
            queue_id = relayed.send(CLEAR)
            assert "535" in relayed.deferred(queue_id)
        finally:
            path.write_text(right)
            relayed.postfix.set(f"smtp_sasl_password_maps = texthash:{path}")


def test_a_relay_is_known_by_its_certificate(relayed: Relayed) -> None:
    """With a client certificate instead of a password, the mail is taken from the relay of that certificate."""
    etc = relayed.postfix.folder / "etc"
    pair = relayed.authority.client("relay-client")
    known = relayed.portal.add_relay("by certificate", "--certificate", str(pair.certificate))
    replacing = {
        "/etc/postfix/relay-client.pem": str(pair.certificate),
        "/etc/postfix/relay-client.key": str(pair.key),
    }
    before = (etc / "main.cf").read_text()
    try:
        relayed.postfix.set(recipe("postfix main.cf certificate", replacing))
        with relayed.portal.serving("intake"):
            relayed.postfix.await_outcome(relayed.send(CLEAR), "sent")
    finally:
        (etc / "main.cf").write_text(before)
        relayed.postfix.reload()
    assert relayed.portal.events("MessageAccepted")[-1].actor == known.id


def test_an_undeliverable_notice_comes_back_to_the_sender_without_content(relayed: Relayed) -> None:
    """A notice to an unknown user bounces to the portal; the delivery is marked, and Carol gets a report about it."""
    relayed.clear.refuse_with("550 5.1.1 No such user")
    with relayed.portal.serving():
        relayed.send("nobody@patients.example", subject="Negative", text="The test was negative.\n")
        report = relayed.mailbox.await_mail(CAROL, "nobody@patients.example")
        relayed.postfix.await_empty()
    assert report.mail_from == ""
    assert report.tls == "TLSv1.3"
    mail = read(report)
    assert mail.get_content_type() == "multipart/report"
    assert "egative" not in str(mail)
    bounced = relayed.portal.events("NoticeBounced")[-1]
    assert (bounced.detail["action"], bounced.detail["status"]) == ("failed", "5.1.1")


def test_who_asks_for_a_report_gets_the_portals(relayed: Relayed) -> None:
    """Postfix passes NOTIFY, ORCPT and ENVID on, says nothing of its own, and Carol hears from the portal once the notice is out."""
    with relayed.portal.serving():
        with smtplib.SMTP("127.0.0.1", relayed.postfix.port, timeout=30) as client:
            client.ehlo()
            client.mail(CAROL, ["ENVID=env+2B1"])
            assert client.rcpt(CLEAR, ["NOTIFY=SUCCESS"])[0] == 250
            assert client.data(b"Subject: canary\r\nMessage-ID: <77@clinic.example>\r\n\r\nCanary\r\n")[0] == 250
        report = relayed.mailbox.await_mail(CAROL, "Action: delivered").raw.decode()
        relayed.postfix.await_empty()
    assert "Original-Envelope-Id: env+1\r\n" in report
    assert f"Original-Recipient: rfc822;{CLEAR}\r\n" in report
    assert "Message-ID: <77@clinic.example>" in report
    assert "anary" not in report
    assert [one.rcpt_to for one in relayed.mailbox.messages] == [(CAROL,)]


def test_an_answer_to_a_notice_is_led_to_the_portal(relayed: Relayed) -> None:
    """Alice answers by mail: her host has no TLS, and still she hears where answers are read. An absence note is heard and left."""
    with relayed.portal.serving():
        relayed.send(CLEAR)
        path = str(read(relayed.clear.await_mail(CLEAR))["Reply-To"])
        relayed.clear.forget()
        for note in (b"Auto-Submitted: auto-replied\r\n", b""):
            with smtplib.SMTP("127.0.0.1", relayed.postfix.port, timeout=30) as client:
                client.sendmail(CLEAR, [path], note + b"Subject: Re\r\n\r\nThank you\r\n")
        pointer = relayed.clear.await_mail(CLEAR)
        relayed.postfix.await_empty()
    assert b"Auto-Submitted: auto-replied" in pointer.raw
    assert len(relayed.clear.messages) == 1
    said = [one.detail["what"] for one in relayed.portal.events("NoticeAnswered")]
    assert sorted(said) == ["answer", "automatic"]


def test_who_always_comes_here_does_not_suffer_from_who_needs_a_mark(relayed: Relayed) -> None:
    """Of an unmarked mail to both, one hears 452: Postfix sends to that one again, alone, and a refusal is for one only."""
    portal, always, bob = relayed.portal, "always@patients.example", "bob@patients.example"
    before = portal.messages()
    portal.cli("relay", "mode", relayed.credential.id, "explicit", "--org", "northside")
    portal.cli("route", "set", always, "always", "--org", "northside")
    try:
        with portal.serving("intake"):
            queue_id = relayed.send(bob, always)
            # to whom it sends first is Postfix's choice
            relayed.postfix.await_log(rf"{queue_id}: to=.*status=deferred.*452 4.5.3")
            relayed.postfix.await_log(rf"{queue_id}: to=.*status=(sent|bounced)")
            time.sleep(0.5)  # what is still in the active queue is not flushed
            relayed.postfix.flush()
            relayed.postfix.await_log(rf"{queue_id}: to=<{always}>.*status=sent")
            relayed.postfix.await_log(rf"{queue_id}: to=<{bob}>.*status=bounced.*550 5.7.1")
    finally:
        portal.cli("relay", "mode", relayed.credential.id, "trust", "--org", "northside")
    assert len(set(portal.messages()) - set(before)) == 1
    assert portal.events("MessageAccepted")[-1].detail["came_by"] == ["always"]


@contextmanager
def marked_by_subject(relayed: Relayed) -> Iterator[Postfix]:
    """The page's second instance, to which the first sends whole mails that are marked."""
    known, port = relayed.portal.add_relay("marked", "--mode", "explicit"), free_port()
    with postfix() as second:
        etc = second.folder / "etc"
        replacing = {
            "[portal.example]:2526": f"[localhost]:{relayed.intake_port}",
            "[mailbox.clinic.example]": f"[localhost]:{relayed.mailbox.port}",
            "/etc/ssl/certs/ca-certificates.crt": str(relayed.authority.ca),
        }
        named = r"(?:smtp_sasl_\w+|smtp_send_xforward_command|message_size_limit) = .*"
        shared = "\n".join(re.findall(named, recipe("postfix main.cf", {"/etc/postfix/": f"{etc}/"})))
        second.configure(
            f"{recipe('postfix-secure second main.cf', replacing)}{shared}\nmyhostname = secure.clinic.example\n",
            recipe("postfix-secure second master.cf", {"127.0.0.1:10026": f"127.0.0.1:{port}"}),
            **{"portal-password": f"[localhost]:{relayed.intake_port} {known.username}:{known.password}\n"},
        )
        second.start()
        first = [relayed.postfix.folder / "etc" / name for name in ("main.cf", "master.cf")]
        before = [one.read_text() for one in first]
        lines = [
            recipe("postfix-secure main.cf", {"[127.0.0.1]:10026": f"[127.0.0.1]:{port}"}),
            recipe("postfix-secure master.cf", {}),
        ]
        try:
            for path, text, added in zip(first, before, lines, strict=True):
                path.write_text(text + added)
            relayed.postfix.reload()
            yield second
        finally:
            for path, text in zip(first, before, strict=True):
                path.write_text(text)
            relayed.postfix.reload()


def test_marked_mail_goes_by_a_second_instance(relayed: Relayed) -> None:
    """Marked, it goes to the portal although the host has TLS, and to a colleague's mailbox. Unmarked, or marked in a subject that is
    encoded, it goes as ever. While the portal is down it waits in the second queue, and only the portal's part of it."""
    colleague, marked = "dave@clinic.example", "Results [Secure]"
    with marked_by_subject(relayed) as second:
        relayed.send(SECURE, colleague, subject=marked, text="Canary\n")
        relayed.mailbox.await_mail(colleague, "Canary")
        second.await_log(rf"to=<{SECURE}>.*status=deferred.*Connection refused")
        assert second.waiting() == [SECURE]
        with relayed.portal.serving():
            second.flush()
            second.await_empty()
            relayed.send(SECURE, subject="Results", text="Unmarked\n")
            relayed.secure.await_mail(SECURE, "Unmarked")
            encoded = b"Subject: =?utf-8?B?W3NlY3VyZV0gUsOpc3VsdGF0cw==?=\r\n\r\nEncoded\r\n"
            with smtplib.SMTP("127.0.0.1", relayed.postfix.port, timeout=30) as client:
                client.sendmail(CAROL, [SECURE], encoded)
            relayed.secure.await_mail(SECURE, "Encoded")
            by_field = b"X-Portal-Class: default\r\n" + encoded.replace(b"Encoded", b"Canary")
            with smtplib.SMTP("127.0.0.1", relayed.postfix.port, timeout=30) as client:
                client.sendmail(CAROL, [SECURE], by_field)
            second.await_log(rf"(?s)(to=<{SECURE}>[^\n]*status=sent.*){{2}}")
            notice = relayed.secure.await_mail(SECURE, "/m/")
    assert notice.mail_from.startswith("bounce+")
    assert not [one for one in relayed.secure.messages if b"Canary" in one.raw]
    assert [one.rcpt_to for one in relayed.mailbox.messages if b"Canary" in one.raw] == [(colleague,)]
    assert [one.detail["came_by"] for one in relayed.portal.events("MessageAccepted")[-2:]] == [["marked"], ["marked"]]


def test_only_the_paths_of_mails_of_ours_are_taken_at_the_portals_domain(relayed: Relayed) -> None:
    """The relay asks the portal before it says yes: a made-up token is refused at RCPT, and no bounce goes to a forged sender."""
    with relayed.portal.serving(), smtplib.SMTP("127.0.0.1", relayed.postfix.port, timeout=30) as client:
        relayed.send(CLEAR)
        path = relayed.clear.await_mail(CLEAR).mail_from
        relayed.postfix.await_empty()
        client.ehlo()
        client.mail("mallory@patients.example")
        for made_up in ("postmaster@portal.example", "bounce+token@portal.example", "reply+token@portal.example"):
            assert client.rcpt(made_up)[0] == 550, made_up
        assert client.rcpt(path)[0] == 250
    assert relayed.postfix.queued() == []


@pytest.mark.parametrize(
    ("address", "sender", "code"),
    [
        ("127.0.0.1", "bounce+token@portal.example", 250),
        ("127.0.0.1", "portal@clinic.example", 250),
        ("127.0.0.1", CAROL, 554),
        ("127.0.0.9", "portal@clinic.example", 554),
    ],
)
def test_only_the_portal_submits_at_its_door(relayed: Relayed, address: str, sender: str, code: int) -> None:
    """The submission service is for the portal's address and the portal's senders, and speaks TLS only."""
    port, tls = relayed.submission_port, ssl.create_default_context(cafile=str(relayed.authority.ca))
    with smtplib.SMTP("localhost", port, timeout=30, source_address=(address, 0)) as client:
        client.ehlo()
        assert client.mail(sender)[0] == 530
        client.starttls(context=tls)
        client.ehlo()
        client.mail(sender)
        assert client.rcpt(CLEAR)[0] == code


def test_many_mails_at_once_are_all_taken_at_the_first_try(relayed: Relayed) -> None:
    """With the connections that docs/RELAY.md allows, Postfix's burst to many domains is taken as it comes."""
    before = set(relayed.portal.messages())
    lines = recipe("sh portal settings", {}).splitlines()
    connections = dict(line.removeprefix("PORTAL_").split("=", 1) for line in lines if "CONNECTIONS" in line)
    with relayed.portal.serving("intake", **connections):
        sent = _burst(relayed)
        relayed.postfix.await_empty(60)
    assert len(set(relayed.portal.messages()) - before) == len(sent)
    assert not [one for one in sent if f"{one}: to=" in _deferrals(relayed)]


def test_many_mails_over_the_default_limit_wait_and_are_not_lost(relayed: Relayed) -> None:
    """With five connections an address, what Postfix sends beyond them is deferred; it is stored on a later try, once."""
    before = set(relayed.portal.messages())
    with relayed.portal.serving("intake"):
        sent = _burst(relayed)
        deadline = time.monotonic() + 60
        while relayed.postfix.queued():
            assert time.monotonic() < deadline
            relayed.postfix.flush()
            time.sleep(1)
    assert len(set(relayed.portal.messages()) - before) == len(sent)
    assert "421" in _deferrals(relayed)


def _burst(relayed: Relayed) -> list[str]:
    """40 mails to hosts of 40 domains."""
    return [relayed.send(f"alice@d{number}.patients.example") for number in range(40)]


def _deferrals(relayed: Relayed) -> str:
    return "\n".join(line for line in relayed.postfix.log().splitlines() if "status=deferred" in line)
