"""`portal relay doctor`: sends mail without content through the customer's own relay to mail hosts of its own making, sees which came
there and which came here, and says what to change. Settings are not read: a leak is found by what it does.

The mail hosts listen where the relay reaches them: on one address each at port 25, found by MX records, or on one address at ports
in a row, found by lines in the relay's transport map. `plan` prints either. Where that can't be, addresses of real mailboxes are
given; then only what came here is seen. What was stored here is revoked afterwards.
"""

import asyncio
import smtplib
import ssl
import tempfile
import warnings
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from portal.model.errors import InputRefused
from portal.model.parties import domain_name
from portal.model.routes import Level
from portal.operator import Operator
from portal.smtp.sink import Sink, open_sink

Way = Literal["direct", "portal", "neither"]

_PAUSE_SECONDS = 0.25  # all at once would be more connections than the intake takes from one address
_BUSY = "451 4.7.1 Greylisted, try again later"
_FALLBACK = (
    "it waits in the queue or came back: the relay has no fallback to the portal (smtp_fallback_relay, the map or the agent), or the"
    " portal did not take it; the relay's queue says why (postqueue -p)"
)
_UNSEEN = (
    "of an arbiter's relay the portal takes nothing for mail hosts that it does not look at: give it PORTAL_PROBE_PRIVATE={networks}"
    " (in the network of the trial, for its time), or listen at addresses of the internet"
)
_BY_MX = "an arbiter looks the domains up itself: give six --address, and set the MX records of --plan"
_TRUST = "mail that only has to wait came here: portal relay mode RELAY arbiter --org ORG"


@dataclass(frozen=True)
class Case:
    """One mail host and one mail to it: what must come of it at each level, and what to change when it goes another way."""

    name: str
    about: str
    encrypt: Way
    verify: Way
    change: Mapping[Way, str]
    header: tuple[str, str] | None = None

    def right(self, level: Level) -> Way:
        return self.verify if level is Level.VERIFY else self.encrypt


CASES = (
    Case(
        "tls",
        "TLS 1.2 or later",
        "direct",
        "direct",
        {
            "portal": "mail that TLS would protect came here: at level verify give the doctor a --certificate that the relay trusts",
            "neither": "the relay does not reach the doctor's mail hosts: portal relay doctor --plan shows what it needs",
        },
    ),
    Case(
        "clear",
        "no STARTTLS",
        "portal",
        "portal",
        {
            "direct": "LEAK, in the clear: smtp_tls_security_level = encrypt or verify (may, dane and none send so)",
            "neither": _FALLBACK,
        },
    ),
    Case(
        "asked",
        "no STARTTLS, and the sender's header TLS-Required: no",
        "portal",
        "portal",
        {"direct": "LEAK, in the clear, at the sender's wish: tls_required_enable = no", "neither": _FALLBACK},
        ("TLS-Required", "no"),
    ),
    Case(
        "old",
        "TLS 1.0 and 1.1 only",
        "portal",
        "portal",
        {"direct": "LEAK, by an old TLS: smtp_tls_mandatory_protocols = >=TLSv1.2", "neither": _FALLBACK},
    ),
    Case(
        "stranger",
        "a certificate that nobody vouches for",
        "direct",
        "portal",
        {
            "direct": "the certificate is not checked: smtp_tls_security_level = verify",
            "portal": "certificates are checked, the level says encrypt: portal route level verify --org ORG",
            "neither": _FALLBACK,
        },
    ),
    Case(
        "later",
        "greylisting",
        "neither",
        "neither",
        {"portal": _TRUST, "direct": "it was refused and came all the same"},
    ),
    Case("down", "nothing listens", "neither", "neither", {"portal": _TRUST}),
    Case("nobody", "no such domain", "neither", "neither", {"portal": _TRUST}),
)
_LISTENING = ("tls", "clear", "old", "stranger", "later")


@dataclass(frozen=True)
class Found:
    """A line of the table. `seen` says where the mail came, `change` what to do about it; nothing when it is right."""

    case: str
    about: str
    expected: str
    seen: str
    ok: bool
    change: str = ""


@dataclass(frozen=True)
class Trial:
    """What is asked for. `addresses` and `port` are where mail hosts listen; `given` has real mailboxes by case, in their place."""

    org: str
    sender: str
    relay: tuple[str, int]
    level: Level
    domain: str = "doctor.invalid"
    addresses: tuple[str, ...] = ("127.0.0.1",)
    port: int = 2025
    given: Mapping[str, str] = field(default_factory=dict)
    certificate: tuple[Path, Path] | None = None
    seconds: float = 30.0

    def where(self, case: str) -> tuple[str, int]:
        """Where a case's mail host listens, or would."""
        number = ("down", *_LISTENING).index("clear" if case == "asked" else case)
        if len(self.addresses) > 1:
            return self.addresses[number], self.port
        return self.addresses[0], self.port + number


def check(trial: Trial) -> None:
    """Raises InputRefused for what can't be meant."""
    try:
        domain_name(trial.domain)
    except ValueError:
        raise InputRefused("--domain is not a domain name.") from None
    if len(trial.addresses) not in (1, 1 + len(_LISTENING)):
        raise InputRefused(
            f"Give one --address, or {1 + len(_LISTENING)}: one for each mail host and one where nothing listens."
        )
    try:
        [ip_address(one) for one in trial.addresses]
    except ValueError:
        raise InputRefused("Write each --address in numbers, such as 192.0.2.31.") from None
    unknown = sorted(set(trial.given) - {one.name for one in CASES})
    if unknown:
        raise InputRefused(f"There is no case {unknown[0]}; cases are {', '.join(one.name for one in CASES)}.")


def plan(trial: Trial) -> list[str]:
    """What the relay needs for the time of the trial: MX records, or lines of its transport map."""
    check(trial)
    names = ("down", *_LISTENING)
    if len(trial.addresses) > 1:
        lines = ["Records, for the time of the trial:"]
        for name in names:
            lines.append(f"{name}.{trial.domain}.  60  IN  MX  10 mx.{name}.{trial.domain}.")
            lines.append(f"mx.{name}.{trial.domain}.  60  IN  A  {trial.where(name)[0]}")
        return lines
    arbiter = "an arbiter looks the domains up itself: give six --address and set MX records"
    lines = [f"Lines of the relay's transport map, for the time of the trial ({arbiter}):"]
    return lines + [f"{name}.{trial.domain}  :[{trial.where(name)[0]}]:{trial.where(name)[1]}" for name in names]


async def examine(operator: Operator, trial: Trial, nonce: str) -> list[Found]:
    """The table. `nonce` makes this trial's recipients its own. Raises InputRefused when nothing can be sent."""
    check(trial)
    await operator.organisation(trial.org)
    given = trial.given
    blind = "" if given else await _blind(operator, trial)
    cases = [one for one in CASES if not given or one.name in given]
    to = {one.name: given.get(one.name, f"doctor-{nonce}-{one.name}@{_host(one.name)}.{trial.domain}") for one in cases}
    async with AsyncExitStack() as stack:
        sinks = {} if given else await stack.enter_async_context(_sinks(trial))
        for one in cases:
            await asyncio.to_thread(_send, trial, to[one.name], one.header)
            await asyncio.sleep(_PAUSE_SECONDS)
        deadline = asyncio.get_running_loop().time() + trial.seconds
        seen = await _seen(operator, trial, to, sinks)
        while asyncio.get_running_loop().time() < deadline and not _settled(seen, bool(given)):
            await asyncio.sleep(0.5)
            seen = await _seen(operator, trial, to, sinks)
        found = [_judged(one, seen[one.name], trial, bool(given), blind) for one in cases]
        if sinks and len(trial.addresses) > 1:  # a notice goes by MX, whatever the transport map says
            found.append(_notice(seen, to, sinks))
    await _tidy(operator, trial, to)
    return [replace(one, change=one.change.replace("ORG", trial.org)) for one in found]


def _host(case: str) -> str:
    return "clear" if case == "asked" else case


@dataclass(frozen=True)
class _Seen:
    stored: bool
    arrived: bool
    tls: str | None = None


async def _seen(operator: Operator, trial: Trial, to: Mapping[str, str], sinks: Mapping[str, Sink]) -> dict[str, _Seen]:
    seen = {}
    for case, recipient in to.items():
        stored = bool(await operator.list_messages(trial.org, None, recipient, None, None, 1))
        sink = sinks.get(_host(case))
        mine = (
            [one for one in sink.messages if recipient in one.rcpt_to and one.mail_from == trial.sender] if sink else []
        )
        seen[case] = _Seen(stored, bool(mine), mine[0].tls if mine else None)
    return seen


def _settled(seen: Mapping[str, _Seen], given: bool) -> bool:
    """Whether everything is somewhere. What must wait is waited for to the end: it may come yet."""
    return given and all(one.stored for one in seen.values())


async def _blind(operator: Operator, trial: Trial) -> str:
    """Why an arbiter takes nothing of this trial, and what to do; empty when it can see the mail hosts."""
    if not await operator.has_arbiter(trial.org):
        return ""
    if len(trial.addresses) == 1:
        return _BY_MX
    unseen = [one for one in trial.addresses if not operator.looks_at(one)]
    networks = " ".join(f"{one}/{ip_address(one).max_prefixlen}" for one in unseen)
    return _UNSEEN.format(networks=f'"{networks}"') if unseen else ""


def _judged(case: Case, seen: _Seen, trial: Trial, given: bool, blind: str) -> Found:
    right = case.right(trial.level)
    way: Way = "direct" if seen.arrived else "portal" if seen.stored else "neither"
    expected = {"direct": "direct, by TLS", "portal": "the portal", "neither": "waits or comes back"}[right]
    if given and way != "portal":
        ok, words = right != "portal", "not here: see the mailbox, and the relay's log"
        return Found(case.name, case.about, expected, words, ok, "" if ok else case.change.get("neither", ""))
    words = {"portal": "the portal", "neither": "neither here nor there"}.get(
        way, f"direct, {seen.tls or 'in the clear'}"
    )
    both = seen.arrived and seen.stored
    ok = way == right and not both
    words += "; the portal too" if both else ""
    change = blind if blind and right == "portal" and way == "neither" else case.change.get(way, _TRUST)
    return Found(case.name, case.about, expected, words, ok, "" if ok else change)


def _notice(seen: Mapping[str, _Seen], to: Mapping[str, str], sinks: Mapping[str, Sink]) -> Found:
    """The notice of what came here reaches a host without TLS, through the relay."""
    came = any(to["clear"] in one.rcpt_to and one.mail_from.startswith("bounce+") for one in sinks["clear"].messages)
    if not seen["clear"].stored:
        return Found(
            "notice", "the notice of `clear`", "direct", "none: there was nothing to tell", False, "mend `clear` first"
        )
    what = "no notice came to the mail host: is the worker running, has the relay a transport for notices (portal_notices)?"
    return Found(
        "notice", "the notice of `clear`", "direct", "direct" if came else "did not come", came, "" if came else what
    )


def _send(trial: Trial, to: str, header: tuple[str, str] | None) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = trial.sender, to, "A trial of the relay"
    mail["Date"], mail["Message-ID"] = (
        format_datetime(datetime.now(UTC)),
        make_msgid(domain=trial.sender.rpartition("@")[2]),
    )
    if header:
        mail[header[0]] = header[1]
    mail.set_content("Sent by `portal relay doctor` to see which way the relay sends. It says nothing.\n")
    try:
        with smtplib.SMTP(*trial.relay, timeout=30) as client:
            client.send_message(mail, trial.sender, [to])
    except (OSError, smtplib.SMTPException) as error:
        raise InputRefused(
            f"The relay at {trial.relay[0]}:{trial.relay[1]} did not take a mail from {trial.sender} to {to}: {_said(error)}."
            " It must relay for this machine while the trial lasts (Postfix: mynetworks), and --domain be in none of its own domains."
        ) from None


def _said(error: Exception) -> str:
    """A relay's own answer, as one printable line, or what went wrong without one."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        error = smtplib.SMTPResponseException(*next(iter(error.recipients.values())))
    if isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        answer = "".join(sign if sign.isprintable() else " " for sign in text)
        return f"{error.smtp_code} {answer[:200].rstrip('.')}"
    return type(error).__name__


async def _tidy(operator: Operator, trial: Trial, to: Mapping[str, str]) -> None:
    for recipient in to.values():
        for one in await operator.list_messages(trial.org, None, recipient, None, None, 5):
            with suppress(InputRefused):
                await operator.lifecycle.revoke(one.delivery, operator.by, "a trial by portal relay doctor")


# -- mail hosts


@asynccontextmanager
async def _sinks(trial: Trial) -> AsyncIterator[dict[str, Sink]]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portal-doctor-")))
        made = {}
        for name in _LISTENING:
            host, port = trial.where(name)
            tls = None if name == "clear" else _tls(folder, f"mx.{name}.{trial.domain}", trial, name)
            try:
                made[name] = await open_sink(host, port, tls=tls, hostname=f"mx.{name}.{trial.domain}")
            except OSError as error:
                raise InputRefused(f"The doctor can't listen on {host}:{port}: {error.strerror}.") from None
            stack.push_async_callback(made[name].close)
        made["later"].refuse_with = _BUSY
        yield made


def _tls(folder: Path, name: str, trial: Trial, case: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate, key = trial.certificate if trial.certificate and case != "stranger" else _self_signed(folder, name)
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise InputRefused(f"The certificate or its key can't be used: {error}") from None
    if case == "old":
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        with warnings.catch_warnings():  # that it is deprecated is the point
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    return context


def _self_signed(folder: Path, name: str) -> tuple[Path, Path]:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "doctor")])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
    builder = builder.not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files
