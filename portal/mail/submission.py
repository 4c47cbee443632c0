"""Submission to the relay (RFC 6409) over TLS: certificate or key checked, no way to go on without."""

import asyncio
import hashlib
import re
import ssl
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import aiosmtplib

from portal.mail import Submitted
from portal.model.errors import RefusesToStart, SubmissionFailed

_TIMEOUT_SECONDS = 60
_ORIGINAL_SECONDS = 240
"""For the answer to a whole original: a host that scans it first takes minutes (RFC 5321 4.5.3.2.6), and who gives up sends twice."""
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_ADDRESS = re.compile(r"<?[^\s<>]*@[^\s<>]*>?")


class Submission:
    """See the module. `url` as in PORTAL_SUBMISSION_URL, or in the `setting` it is of; raises RefusesToStart when it is none.

    `pins` are SHA-256 of public keys (SubjectPublicKeyInfo), 64 hex digits each: the host must have one of them. Then nothing else is
    asked of its certificate (as by DANE-EE with selector SPKI, RFC 7671 5.1), unless `ca` is given too: then both must hold.
    """

    def __init__(
        self,
        url: str,
        ca: Path | None,
        hostname: str,
        pins: Collection[str] = (),
        setting: str = "PORTAL_SUBMISSION_URL",
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise RefusesToStart(f"{setting}: write it as smtp://user:password@host:587 or smtps://host:465")
        self.host = parts.hostname
        self._implicit = parts.scheme == "smtps"
        self._port = parts.port or (465 if self._implicit else 587)
        self._login = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
        self._hostname = hostname
        try:
            self._context = ssl.create_default_context(cafile=str(ca) if ca else None)
        except OSError as error:
            raise RefusesToStart(f"PORTAL_SUBMISSION_CA: {ca} can't be read: {error}") from error
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._pins = frozenset(one.lower() for one in pins)
        if self._pins and ca is None:
            self._context.check_hostname = False
            self._context.verify_mode = ssl.CERT_NONE  # the key is checked, before anything is said: _Session

    async def submit(
        self,
        mail_from: str,
        rcpt_to: str,
        raw: bytes,
        *,
        tls_all_the_way: bool = False,
        also: Sequence[str] = (),
        whole: bool = False,
        original: bool = False,
    ) -> Submitted:
        if original and (_BARE.search(raw) or not raw.endswith(b"\r\n")):
            raise SubmissionFailed("the original has lines that SMTP would change", transient=False)
        utf8 = not (mail_from + rcpt_to + "".join(also)).isascii()
        async with _Translating(), self._session() as client:
            options = ["SMTPUTF8"] if utf8 else []
            if client.supports_extension("8bitmime"):
                options.append("BODY=8BITMIME")
            elif original and not raw.isascii():  # RFC 6152 3: it would have to be written anew, and signatures broken
                raise SubmissionFailed("the submission host takes no 8-bit mail (8BITMIME)", transient=False)
            if tls_all_the_way:
                if not client.supports_extension("requiretls"):
                    raise SubmissionFailed(
                        "the class allows no unverified hop, and the submission host offers no REQUIRETLS",
                        transient=False,
                    )
                options.append("REQUIRETLS")
            await client.mail(mail_from, options=options, encoding="utf-8" if utf8 else "ascii")
            encoding = "utf-8" if utf8 else "ascii"
            await client.rcpt(rcpt_to, encoding=encoding)
            left_out = [one for one in also if not await _taken(client, one, encoding, whole=whole)]
            reply = await _answer(client, raw, _ORIGINAL_SECONDS if original else _TIMEOUT_SECONDS)
            return replace(self._submitted(client, f"{reply.code} {reply.message}"), left_out=tuple(left_out))

    async def check(self) -> Submitted:
        async with _Translating(), self._session() as client:
            reply = await client.noop()
            return self._submitted(client, f"{reply.code} {reply.message}")

    def _session(self) -> "_Session":
        client = aiosmtplib.SMTP(
            hostname=self.host,
            port=self._port,
            use_tls=self._implicit,
            start_tls=not self._implicit,
            tls_context=self._context,
            local_hostname=self._hostname,
            timeout=_TIMEOUT_SECONDS,
        )
        return _Session(client, self._login, self._pins)

    def _submitted(self, client: aiosmtplib.SMTP, reply: str) -> Submitted:
        tls = client.transport.get_extra_info("ssl_object") if client.transport else None
        said = f"{tls.version()} {tls.cipher()[0]}" if tls else ""
        return Submitted(self.host, said, one_line(reply))


async def _taken(client: aiosmtplib.SMTP, rcpt_to: str, encoding: str, *, whole: bool) -> bool:
    """Whether the host takes the mail for one more."""
    try:
        await client.rcpt(rcpt_to, encoding=encoding)
    except aiosmtplib.SMTPResponseException as refused:
        if (whole and refused.code < 500) or refused.code == 421:  # RFC 5321 3.8: the host hangs up, nothing was sent
            raise
        return False
    return True


async def _answer(client: aiosmtplib.SMTP, raw: bytes, seconds: float) -> aiosmtplib.SMTPResponse:
    """Sends the mail itself. Raises SubmissionFailed, unclear, when no answer came that says yes or no."""
    try:
        return await client.data(raw, timeout=seconds)
    except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
        if isinstance(error, aiosmtplib.SMTPResponseException) and 400 <= error.code < 600:
            raise
        raise SubmissionFailed(
            "the submission host did not say whether it took the mail", transient=True, unclear=True
        ) from error


class _Session:
    def __init__(self, client: aiosmtplib.SMTP, login: tuple[str, str] | None, pins: frozenset[str]) -> None:
        self._client, self._login, self._pins = client, login, pins

    async def __aenter__(self) -> aiosmtplib.SMTP:
        await self._client.connect()
        if self._pins:
            self._check_key()
        if self._login:
            await self._client.login(*self._login)
        if self._client.is_ehlo_or_helo_needed:  # what it offers inside TLS: no login has asked
            await self._client.ehlo()
        return self._client

    def _check_key(self) -> None:
        """Raises SubmissionFailed unless the host's key is a pinned one. So far it has heard our name and no more."""
        tls = self._client.transport.get_extra_info("ssl_object") if self._client.transport else None
        try:
            found = key_pin(tls.getpeercert(binary_form=True) or b"") if tls else ""
        except ValueError as error:
            self._client.close()
            raise SubmissionFailed(
                f"the submission host's certificate can't be read ({one_line(str(error))}), so its key is no pinned one",
                transient=True,
            ) from error
        if found not in self._pins:
            self._client.close()
            raise SubmissionFailed(
                f"the submission host has the key {found}, and PORTAL_SUBMISSION_PIN names another", transient=True
            )

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            try:
                await self._client.quit()
            except (aiosmtplib.SMTPException, OSError):
                self._client.close()  # it has the mail; how it says goodbye does not matter
        else:
            self._client.close()


def key_pin(certificate: bytes) -> str:
    """SHA-256, in hex, of the public key in a certificate (DER). Raises ValueError when there is none that can be read."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except (
        x509.InvalidVersion,
        UnsupportedAlgorithm,
    ) as error:  # no ValueErrors in the library, and no less a certificate's fault
        raise ValueError(str(error)) from error
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


class _Translating:
    """What the library raises, as the host's verdict: 5xx is permanent, all else may pass."""

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, aiosmtplib.SMTPAuthenticationError):
            raise SubmissionFailed(f"the submission host refused the login: {error.code}", transient=True) from error
        if isinstance(error, aiosmtplib.SMTPResponseException):
            raise SubmissionFailed(one_line(f"{error.code} {error.message}"), transient=error.code < 500) from error
        if isinstance(error, (aiosmtplib.SMTPException, OSError, asyncio.TimeoutError, ssl.SSLError)):
            said = one_line(str(error)) or type(error).__name__
            raise SubmissionFailed(f"the submission host could not be used: {said}", transient=True) from error


def one_line(text: str) -> str:
    """What a host said, for the record: one line, without addresses (hosts like to quote them)."""
    return _ADDRESS.sub("<address>", _CONTROLS.sub(" ", text))[:500]
