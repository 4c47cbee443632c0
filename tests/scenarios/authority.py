"""A certificate authority for one test run: server certificates by name, client certificates by a common name."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


class Pair(NamedTuple):
    """PEM files of a certificate and of its key."""

    certificate: Path
    key: Path


class Authority:
    """`ca` is its own certificate. All files lie in one folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("Test authority")
        self.ca = folder / "ca.pem"
        made = _builder(self._name, self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self.ca.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def server(self, *names: str, file: str = "", lapsed: bool = False) -> Pair:
        """For these host names; 127.0.0.1 is always among them. `file` names the files; a `lapsed` one ran out an hour ago."""
        all_names = [x509.DNSName(name) for name in names]
        addresses = x509.SubjectAlternativeName([*all_names, x509.IPAddress(ip_address("127.0.0.1"))])
        return self._issue(file or names[0], addresses, ExtendedKeyUsageOID.SERVER_AUTH, lapsed=lapsed)

    def client(self, name: str) -> Pair:
        return self._issue(name, x509.SubjectAlternativeName([x509.DNSName(name)]), ExtendedKeyUsageOID.CLIENT_AUTH)

    def _issue(
        self, name: str, names: x509.SubjectAlternativeName, use: x509.ObjectIdentifier, *, lapsed: bool = False
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(name), self._name, key, lapsed=lapsed).add_extension(names, critical=False)
        made = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False).sign(self._key, hashes.SHA256())
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        pair.certificate.write_bytes(made.public_bytes(Encoding.PEM))
        pair.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        pair.key.chmod(0o600)
        return pair


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, lapsed: bool = False
) -> x509.CertificateBuilder:
    now = datetime.now(UTC) - timedelta(days=2, hours=1) * lapsed
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=2))
