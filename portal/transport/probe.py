"""One mail host at one address: greeting, EHLO, STARTTLS, handshake, and what its certificate is worth. No mail is ever begun.

OpenSSL's verification decides, as it does in the relay. A host whose certificate it does not trust is asked again without, for
the facts and, where nobody asks for trust, for the proof that TLS works. Whatever the host does, it is cut after `seconds` a step
and `host_seconds` in all; a byte a second counts as silence.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from portal.transport import Answer, Certificate, HostTried, Level, Rule
from portal.transport.dane import END_ENTITY, TRUST_ANCHOR, Records, fitting
from portal.transport.sts import matches

_MOST_LINES, _MOST_LINE_BYTES = 100, 2048
_MOST_NAMES = 10  # that are kept to be shown
_NOT_KNOWN = (500, 501, 502, 504)


@dataclass(frozen=True)
class Wanted:
    """What is asked of a host: the level, or its own TLSA records; `names` are those its certificate may have under DANE-TA."""

    level: Level
    rule: Rule = Rule.OPPORTUNISTIC
    dane: Records | None = None
    names: tuple[str, ...] = ()


class _Ended(Exception):
    """The talk ended: with what answer, and what is said of it."""

    def __init__(self, answer: Answer, said: str) -> None:
        super().__init__(said)
        self.answer, self.said = answer, said.partition("\n")[0]


@dataclass(frozen=True)
class _Shown:
    """What a handshake showed: the version, and the certificates as sent (DER, the host's own first)."""

    version: str
    chain: tuple[bytes, ...]


class _Untrusted(Exception):
    """TLS came about but for the certificate."""


class Probe:
    """See the module. `authorities` is a PEM file in the place of the system's."""

    def __init__(
        self,
        greeting_name: str,
        *,
        port: int = 25,
        authorities: Path | None = None,
        connect_seconds: float = 4.0,
        seconds: float = 6.0,
        host_seconds: float = 12.0,
    ) -> None:
        self._name, self._port, self._authorities = greeting_name, port, authorities
        self._connect_seconds, self._seconds, self._host_seconds = connect_seconds, seconds, host_seconds
        self._trusting: ssl.SSLContext | None = None
        self._any = _context()

    @property
    def port(self) -> int:
        return self._port

    async def host(self, host: str, address: str, preference: int, wanted: Wanted) -> HostTried:
        """What came of it. Raises nothing for what the host or the network does."""
        tried = HostTried(host, address, preference, Answer.AWAY, "", rule=wanted.rule)
        if wanted.dane is not None:
            tried = replace(tried, tlsa=tuple(str(one) for one in wanted.dane.usable))
        try:
            async with asyncio.timeout(self._host_seconds):
                if wanted.dane is not None and wanted.dane.usable:
                    return await self._by_dane(tried, wanted.dane, wanted.names)
                return await self._by_level(tried, wanted)
        except _Ended as ended:
            return _ended(tried, ended)
        except TimeoutError:
            return replace(tried, said=f"It took longer than {self._host_seconds:g} seconds and was cut.")

    async def _by_level(self, tried: HostTried, wanted: Wanted) -> HostTried:
        if self._trusting is None:
            self._trusting = await asyncio.to_thread(_context, self._authorities, trusting=True)
        try:
            shown = await self._handshake(tried, self._trusting, tried.host)
        except _Untrusted as untrusted:
            fault = str(untrusted)
        else:
            tried = _with(tried, shown, "")
            return replace(tried, answer=Answer.SAFE, said=f"{shown.version}, certificate trusted.")
        need = wanted.level is Level.VERIFY
        try:
            shown = await self._handshake(tried, self._any, tried.host)
        except _Ended as ended:  # it is known already that it has TLS, and that nobody vouches for it
            if need:
                return replace(tried, answer=Answer.UNSAFE, starttls=True, said=f"Certificate not trusted: {fault}.")
            raise ended from None
        tried = _with(tried, shown, fault)
        if need:
            return replace(tried, answer=Answer.UNSAFE, said=f"{shown.version}, certificate not trusted: {fault}.")
        said = f"{shown.version}; the certificate is not trusted ({fault}), and need not be."
        return replace(tried, answer=Answer.SAFE, said=said)

    async def _by_dane(self, tried: HostTried, records: Records, names: Sequence[str]) -> HostTried:
        shown = await self._handshake(tried, self._any, records.base)
        tried = _with(tried, shown, "DANE decides instead of authorities")
        if not shown.chain:
            return replace(tried, answer=Answer.UNSAFE, said="It showed no certificate.")
        own = fitting(records.usable, END_ENTITY, shown.chain[0])
        if own is not None:  # RFC 7672 3.1.1: neither name nor time count
            return replace(tried, answer=Answer.SAFE, said=f"{shown.version}, certificate as its TLSA record says.")
        for anchor in shown.chain:
            if fitting(records.usable, TRUST_ANCHOR, anchor) is None:
                continue
            try:
                again = await self._handshake(tried, _context(anchor=anchor), records.base)
            except _Untrusted as untrusted:
                return replace(tried, answer=Answer.UNSAFE, said=f"TLSA names its authority, but: {untrusted}.")
            allowed = [records.base, tried.host, *names]
            if again.chain and any(matches(one, name) for one in _names(again.chain[0]) for name in allowed):
                said = f"{again.version}, certificate of the authority that its TLSA record names."
                return replace(tried, answer=Answer.SAFE, said=said)
            return replace(tried, answer=Answer.UNSAFE, said="TLSA names its authority, but not for this name.")
        return replace(tried, answer=Answer.UNSAFE, said="Its certificate is not the one that its TLSA records name.")

    async def _handshake(self, tried: HostTried, tls: ssl.SSLContext, name: str) -> _Shown:
        """Raises _Ended for a host that does not get as far, and _Untrusted for a certificate that `tls` does not take."""
        try:
            async with asyncio.timeout(self._connect_seconds):
                reader, writer = await asyncio.open_connection(tried.address, self._port, limit=_MOST_LINE_BYTES)
        except TimeoutError:
            raise _Ended(Answer.AWAY, f"No connection within {self._connect_seconds:g} seconds.") from None
        except OSError as error:
            raise _Ended(Answer.AWAY, f"No connection: {error.strerror or type(error).__name__}.") from None
        try:
            await self._ask_for_tls(reader, writer)
            return await self._start_tls(writer, tls, name)
        finally:
            writer.transport.abort()

    async def _ask_for_tls(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        code, text = await self._reply(reader, "the greeting", Answer.AWAY)
        if code != 220:
            raise _Ended(Answer.AWAY, f"It turns us away: {text}")
        code, text = await self._say(reader, writer, f"EHLO {self._name}", Answer.AWAY)
        first, *offers = text.split("\n")
        if code in _NOT_KNOWN:
            raise _Ended(Answer.UNSAFE, f"It knows no EHLO, so no STARTTLS: {first}")
        if code != 250:
            raise _Ended(Answer.AWAY, f"It turns us away: {first}")
        if "STARTTLS" not in {line.strip().upper() for line in offers}:
            raise _Ended(Answer.UNSAFE, "It does not offer STARTTLS.")
        code, text = await self._say(reader, writer, "STARTTLS", Answer.UNSAFE)
        if code == 421:
            raise _Ended(Answer.AWAY, f"It turns us away: {text}")
        if code != 220:
            raise _Ended(Answer.UNSAFE, f"It offers STARTTLS and refuses it: {text}")

    async def _say(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: str, silence: Answer
    ) -> tuple[int, str]:
        with contextlib.suppress(OSError):
            writer.write(f"{line}\r\n".encode("ascii"))
            await writer.drain()
        return await self._reply(reader, line.partition(" ")[0], silence)

    async def _reply(self, reader: asyncio.StreamReader, to: str, silence: Answer) -> tuple[int, str]:
        """Code and text of a reply (RFC 5321 4.2). What is no reply, or comes too slowly, ends the talk with `silence`."""
        lines: list[str] = []
        try:
            async with asyncio.timeout(self._seconds):
                while len(lines) < _MOST_LINES:
                    line = await reader.readuntil(b"\n")
                    text = line.decode("ascii", "replace").rstrip("\r\n")
                    if not text[:3].isdigit() or text[3:4] not in ("", " ", "-"):
                        break
                    lines.append(_printable(text[4:]))
                    if text[3:4] != "-":
                        return int(text[:3]), "\n".join([f"{text[:3]} {lines[0]}", *lines[1:]])
        except TimeoutError:
            raise _Ended(silence, f"No whole answer to {to} within {self._seconds:g} seconds.") from None
        except (OSError, asyncio.IncompleteReadError):
            raise _Ended(silence, f"The connection ended before the answer to {to}.") from None
        except asyncio.LimitOverrunError:
            pass
        raise _Ended(silence, f"What it answers to {to} is not SMTP.")

    async def _start_tls(self, writer: asyncio.StreamWriter, tls: ssl.SSLContext, name: str) -> _Shown:
        try:
            async with asyncio.timeout(self._seconds):
                await writer.start_tls(tls, server_hostname=name, ssl_handshake_timeout=self._seconds)
        except ssl.SSLCertVerificationError as error:
            raise _Untrusted(_printable(error.verify_message).rstrip(".") or "not trusted") from None
        except (TimeoutError, OSError) as error:  # ssl.SSLError is an OSError
            reason = getattr(error, "reason", None) or type(error).__name__
            raise _Ended(Answer.UNSAFE, f"STARTTLS fails: {_printable(str(reason)).replace('_', ' ')}.") from None
        except ValueError:  # a name that can't be one in a certificate
            raise _Ended(Answer.UNSAFE, "STARTTLS fails: the host's name is none.") from None
        made = writer.get_extra_info("ssl_object")
        with contextlib.suppress(OSError):
            writer.write(b"QUIT\r\n")
        return _Shown(str(made.version()), _chain(made))


def _ended(tried: HostTried, ended: _Ended) -> HostTried:
    offered = tried.starttls
    if ended.answer is Answer.UNSAFE:
        offered = "STARTTLS fails" in ended.said or "offers STARTTLS" in ended.said
    return replace(tried, answer=ended.answer, said=ended.said, starttls=offered)


def _with(tried: HostTried, shown: _Shown, fault: str) -> HostTried:
    certificate = _certificate(shown.chain[0], fault) if shown.chain else None
    return replace(tried, starttls=True, version=shown.version, certificate=certificate)


def _context(authorities: Path | None = None, *, trusting: bool = False, anchor: bytes | None = None) -> ssl.SSLContext:
    """A client's context: TLS 1.2 or newer. `anchor` (DER) is the one certificate that is trusted; names are not looked at then."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.hostname_checks_common_name = False  # RFC 9525 2: names stand in subjectAltName
    if anchor is not None:
        made.check_hostname = False
        made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        with contextlib.suppress(ssl.SSLError):  # nothing is trusted then, and the handshake says so
            made.load_verify_locations(cadata=anchor)
    elif not trusting:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    elif authorities is not None:
        made.load_verify_locations(str(authorities))
    else:
        made.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return made


def _chain(made: Any) -> tuple[bytes, ...]:
    """The certificates as the host sent them. Python has a public name for it from 3.13 on."""
    public = getattr(made, "get_unverified_chain", None)
    if public is not None:
        return tuple(public())
    found = made._sslobj.get_unverified_chain() or ()
    return tuple(one.public_bytes(2) for one in found)  # 2: DER


def _certificate(der: bytes, fault: str) -> Certificate | None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    try:
        read = x509.load_der_x509_certificate(der)
        shown = tuple(_printable(one) for one in _names(der)[:_MOST_NAMES])
        issuer = _printable(read.issuer.rfc4514_string())
        digest = read.fingerprint(hashes.SHA256()).hex()
        return Certificate(shown, issuer, read.not_valid_before_utc, read.not_valid_after_utc, digest, fault)
    except Exception:  # a stranger's bytes: the library raises ValueError, UnsupportedAlgorithm and more
        return None


def _names(der: bytes) -> list[str]:
    """The DNS names in a certificate's subjectAltName; none of one that can't be read."""
    from cryptography import x509

    try:
        found = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return found.value.get_values_for_type(x509.DNSName)
    except Exception:  # a stranger's bytes: the library raises ValueError, ExtensionNotFound and more
        return []


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text[:200])
