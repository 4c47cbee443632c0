"""`Mailer` by submission: over checked TLS or not at all, and the host's verdict is passed on."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiosmtplib
import pytest

from portal.mail.submission import Submission, key_pin
from portal.model.errors import RefusesToStart, SubmissionFailed
from portal.smtp.sink import Sink, open_sink
from tests.world import certificates

pytestmark = pytest.mark.anyio
MAIL = b"From: portal@clinic.example\r\nTo: alice@patients.example\r\nSubject: x\r\n\r\n.dot\r\n..two\r\n"


def our_pin() -> str:
    first = (certificates() / "server.pem").read_text().partition("-----END")[0]
    return key_pin(ssl.PEM_cert_to_DER_cert(f"{first}-----END CERTIFICATE-----\n"))


def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates() / "server.pem", certificates() / "server.key")
    return context


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    made = await open_sink(tls=server_tls(), login=("portal", "s3cret @/"))
    yield made
    await made.close()


def to(
    sink: Sink, login: str = "portal:s3cret%20%40%2F@", host: str = "localhost", ca: Path | None = None
) -> Submission:
    return Submission(f"smtp://{login}{host}:{sink.port}", ca or certificates() / "ca.pem", "portal.example")


async def test_a_mail_arrives_as_it_is_with_its_hop_told(sink: Sink) -> None:
    """Bytes are kept, dots included; host, TLS and answer are told."""
    said = await to(sink).submit("bounce+x@portal.example", "alice@patients.example", MAIL)
    caught = sink.messages[-1]
    assert (caught.raw, caught.mail_from, caught.rcpt_to) == (
        MAIL,
        "bounce+x@portal.example",
        ("alice@patients.example",),
    )
    assert said.host == "localhost"
    assert said.tls.startswith("TLSv1.")
    assert said.reply.startswith("250 ")


async def test_an_original_arrives_as_it_is_or_not_at_all(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's own mail is changed by nobody: not its line ends, nor its eight bits where the host takes seven."""
    eight = MAIL.replace(b"two", b"Gr\xc3\xbc\xc3\x9fe")
    envelope = ("carol@clinic.example", "alice@patients.example")
    await to(sink).submit(*envelope, eight, original=True)
    assert sink.messages[-1].raw == eight
    for changed in (MAIL + b"bare\nline\r\n", MAIL + b"bare\rline\r\n", MAIL + b"no end"):
        with pytest.raises(SubmissionFailed) as caught:
            await to(sink).submit(*envelope, changed, original=True)
        assert not caught.value.transient
    offers = aiosmtplib.SMTP.supports_extension
    monkeypatch.setattr(aiosmtplib.SMTP, "supports_extension", lambda me, name: name != "8bitmime" and offers(me, name))
    with pytest.raises(SubmissionFailed, match="8BITMIME"):
        await to(sink).submit(*envelope, eight, original=True)
    await to(sink).submit(*envelope, MAIL, original=True)
    assert [one.raw for one in sink.messages] == [eight, MAIL]


async def test_what_a_host_offers_is_read_inside_tls() -> None:
    """Also where nobody logs in, which would ask it: 8-bit mail goes to a host that takes it."""
    open_to_all = await open_sink(tls=server_tls())
    eight = MAIL.replace(b"two", b"Gr\xc3\xbc\xc3\x9fe")
    await to(open_to_all, login="").submit("carol@clinic.example", "alice@patients.example", eight, original=True)
    assert open_to_all.messages[-1].raw == eight
    await open_to_all.close()


async def test_a_host_without_tls_gets_nothing() -> None:
    """No STARTTLS, no mail: what fails may pass later."""
    plain = await open_sink()
    with pytest.raises(SubmissionFailed) as caught:
        await to(plain, login="").submit("a@clinic.example", "alice@patients.example", MAIL)
    assert caught.value.transient
    assert not plain.messages
    await plain.close()


async def test_a_certificate_of_another_authority_or_name_is_refused(sink: Sink) -> None:
    """A certificate that the given authority did not sign, or for another name, ends it before the login."""
    with pytest.raises(SubmissionFailed):
        await Submission(f"smtp://x:y@localhost:{sink.port}", None, "portal.example").check()
    with pytest.raises(SubmissionFailed):
        await to(sink, host="127.0.0.2").check()
    assert not sink.messages


async def test_a_pinned_key_is_what_counts(sink: Sink) -> None:
    """With a pin alone neither name nor authority is asked; with an authority too, both must hold; another key gets no password."""
    ours, url = our_pin(), f"smtp://portal:s3cret%20%40%2F@127.0.0.1:{sink.port}"
    for pins in ([ours], ["0" * 64, ours.upper()]):
        assert (await Submission(url, None, "portal.example", pins).check()).tls.startswith("TLSv1.")
    with pytest.raises(SubmissionFailed) as caught:
        await Submission(url, None, "portal.example", ["0" * 64]).check()
    assert (caught.value.transient, ours in str(caught.value)) == (True, True)
    by_name = url.replace("127.0.0.1", "localhost")
    assert await Submission(by_name, certificates() / "ca.pem", "portal.example", [ours]).check()
    with pytest.raises(SubmissionFailed):
        await Submission(by_name, certificates() / "ca.pem", "portal.example", ["0" * 64]).check()
    with pytest.raises(SubmissionFailed):
        await Submission(
            url.replace("127.0.0.1", "127.0.0.2"), certificates() / "ca.pem", "portal.example", [ours]
        ).check()
    plain = await open_sink()  # a pin is no way round TLS
    with pytest.raises(SubmissionFailed):
        await Submission(f"smtp://localhost:{plain.port}", None, "portal.example", [ours]).check()
    await plain.close()


async def test_a_certificate_that_cannot_be_read_is_another_key(tmp_path: Path) -> None:
    """OpenSSL lets a certificate by that is of no version there is: the mail waits, the reason is plain, and no password is said."""
    whole = ssl.PEM_cert_to_DER_cert(
        (certificates() / "server.pem").read_text().partition("-----END")[0] + "-----END CERTIFICATE-----\n"
    )
    odd = whole.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07", 1)
    assert odd != whole
    (tmp_path / "odd.pem").write_text(ssl.DER_cert_to_PEM_cert(odd))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "odd.pem", certificates() / "server.key")
    host = await open_sink(tls=context, login=("portal", "s3cret"))
    with pytest.raises(SubmissionFailed, match="certificate can't be read") as caught:
        await Submission(f"smtp://portal:s3cret@127.0.0.1:{host.port}", None, "portal.example", [our_pin()]).check()
    assert caught.value.transient
    await host.close()


async def test_a_host_with_another_key_hears_no_password() -> None:
    """The key is checked before the login: a host that anybody's certificate speaks for learns nothing but our name."""
    heard: list[bytes] = []

    async def host(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 relay ESMTP\r\n")
        while line := await reader.readline():
            heard.append(line)
            writer.write(b"250-relay\r\n250 AUTH PLAIN LOGIN\r\n")
        writer.close()

    server = await asyncio.start_server(host, "127.0.0.1", 0, ssl=server_tls())
    url = f"smtps://portal:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(SubmissionFailed):
        await Submission(url, None, "portal.example", ["0" * 64]).submit("a@clinic.example", "b@x.example", MAIL)
    server.close()
    assert all(line.startswith((b"EHLO", b"QUIT")) for line in heard)


async def test_a_refused_login_says_so_without_the_password(sink: Sink) -> None:
    """The password is in no error; the mail waits, for somebody will mend the setting."""
    with pytest.raises(SubmissionFailed) as caught:
        await to(sink, login="portal:wr0ng@").check()
    assert caught.value.transient
    assert "wr0ng" not in str(caught.value)


@pytest.mark.parametrize("at", ["RCPT", "DATA"])
@pytest.mark.parametrize(("answer", "transient"), [("451 4.7.1 later", True), ("550 5.1.1 nobody", False)])
async def test_the_hosts_verdict_is_passed_on(sink: Sink, at: str, answer: str, transient: bool) -> None:
    """4xx may pass, 5xx will not, and its words are told."""
    sink.refuse_with, sink.refuse_at = answer, at  # type: ignore[assignment]
    with pytest.raises(SubmissionFailed) as caught:
        await to(sink).submit("a@clinic.example", "alice@patients.example", MAIL)
    assert caught.value.transient is transient
    assert answer[4:] in str(caught.value)


async def test_a_host_that_is_away_may_come_back() -> None:
    """Nobody listens: try again."""
    with pytest.raises(SubmissionFailed) as caught:
        await Submission("smtp://localhost:1", certificates() / "ca.pem", "portal.example").check()
    assert caught.value.transient


@pytest.mark.parametrize("url", ["http://localhost", "smtp:///x", "localhost:25"])
async def test_what_is_no_submission_url_is_refused(url: str) -> None:
    """The setting's form is told, its value is not."""
    with pytest.raises(RefusesToStart, match="write it as smtp://") as caught:
        Submission(url, None, "portal.example")
    assert url not in str(caught.value)
