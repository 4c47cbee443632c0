"""The local keyring: a folder of small files, 0600 in folders of 0700.

    secrets/<name>.key              32 bytes: HMAC keys for codes, credentials, references and form tokens; the seed that signs
    orgs/<org>/index.key            32 bytes: HMAC key for look-up hashes
    orgs/<org>/current              the id of the KEK that new epochs are wrapped to
    orgs/<org>/<kek>.public         ML-KEM-768 encapsulation key (1,184 bytes) and X25519 public key (32)
    orgs/<org>/<kek>.secret         ML-KEM-768 seed (64 bytes) and X25519 private key (32)

A KEK's id is a hash of its public key, so a file can't pass for another. A process that only seals needs no `.secret` file.
Wrapping is HPKE (RFC 9180, base mode), suite MLKEM768-X25519 / HKDF-SHA256 / AES-256-GCM; the binding stands in `info`.
"""

import hashlib
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from portal.envelope import encode_fields
from portal.keys import WrappedKey
from portal.model.errors import ContentDamaged, KeysAway, RefusesToStart
from portal.model.ids import EpochId, KekId, OrgId

SUITE = "HPKE-MLKEM768-X25519-HKDF-SHA256-AES-256-GCM"
SECRETS = ("codes", "credentials", "references", "signing", "tokens")
_HPKE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
_SEED = 64


def _kek_id(public: bytes) -> KekId:
    return KekId("kek-" + hashlib.sha256(public).hexdigest()[:24])


def _info(org_id: OrgId, epoch_id: EpochId, kek_id: KekId) -> bytes:
    return encode_fields(b"portal epoch v1", org_id.encode(), epoch_id.encode(), kek_id.encode())


def _write(path: Path, content: bytes) -> None:
    """Durably and only for the owner: temp, fsync, rename, fsync of the folder."""
    temp = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    file = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, content)
        os.fsync(file)
    finally:
        os.close(file)
    temp.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Keyring:
    """The folder. Making keys is a deliberate act: `create` and `add_organisation`; all else refuses to guess."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    # -- made on purpose

    def create(self) -> None:
        """Makes an empty keyring with its secrets. Raises RefusesToStart when there is one already."""
        if (self.folder / "secrets").exists():
            raise RefusesToStart(f"there is a keyring at {self.folder} already")
        for folder in (self.folder, self.folder / "secrets", self.folder / "orgs"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in SECRETS:
            _write(self.folder / "secrets" / f"{name}.key", secrets.token_bytes(32))

    def add_missing(self) -> list[str]:
        """Makes the secrets that this version needs beyond an earlier one's; says which. A keyring that is not there stays so."""
        folder = self.folder / "secrets"
        made = [
            name for name in SECRETS if name == "signing" and folder.is_dir() and not (folder / f"{name}.key").exists()
        ]
        for name in made:
            _write(folder / f"{name}.key", secrets.token_bytes(32))
        return made

    def add_organisation(self, org_id: OrgId) -> KekId:
        """Makes an organisation's index key and first KEK."""
        folder = self._org(org_id)
        folder.mkdir(mode=0o700)
        _write(folder / "index.key", secrets.token_bytes(32))
        return self.rotate(org_id)

    def rotate(self, org_id: OrgId) -> KekId:
        """Makes a new KEK and turns new epochs to it. The old one stays, to open what it wrapped."""
        kem, curve = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
        public = kem.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
        kek_id = _kek_id(public)
        folder = self._org(org_id)
        _write(folder / f"{kek_id}.secret", kem.private_bytes_raw() + curve.private_bytes_raw())
        _write(folder / f"{kek_id}.public", public)
        _write(folder / "current", kek_id.encode())
        return kek_id

    # -- read

    def secret(self, name: str) -> bytes:
        return self._read(self.folder / "secrets" / f"{name}.key")

    def index_key(self, org_id: OrgId) -> bytes:
        return self._read(self._org(org_id) / "index.key")

    def current(self, org_id: OrgId) -> KekId:
        return KekId(self._read(self._org(org_id) / "current").decode())

    def check_there(self) -> None:
        """Raises RefusesToStart when there is no keyring, not a whole one, or the library can't work with its keys."""
        try:
            MLKEM768PrivateKey.from_seed_bytes(bytes(_SEED))
        except UnsupportedAlgorithm:
            raise RefusesToStart(
                "this build of the cryptography package has no ML-KEM (its OpenSSL is older than 3.5); install the wheel from PyPI"
            ) from None
        for name in SECRETS:
            if not (self.folder / "secrets" / f"{name}.key").is_file():
                raise RefusesToStart(
                    f"there is no keyring at {self.folder} (secrets/{name}.key is missing); restore it from its backup"
                    " (after an upgrade: run `portal migrate`)"
                )

    def check(self, org_id: OrgId, slug: str, kek_ids: set[KekId], *, secret: bool) -> None:
        """Raises RefusesToStart, saying what is missing, unless every KEK that the organisation's rows name is here."""
        if not self._org(org_id).is_dir():
            held = len(list((self.folder / "orgs").iterdir()))
            raise RefusesToStart(
                f"the keyring at {self.folder} has no keys of organisation {slug} ({org_id}); "
                f"it has those of {held} other(s): is it another portal's?"
            )
        for kek_id in sorted(kek_ids):
            path = self._org(org_id) / f"{kek_id}.{'secret' if secret else 'public'}"
            if not path.is_file():
                raise RefusesToStart(f"{kek_id} of organisation {slug} is not in the keyring; add {path.name}")
            if secret and _kek_id(_public_of(path.read_bytes())) != kek_id:
                raise RefusesToStart(f"{path} does not hold {kek_id} of organisation {slug}; restore it")

    def _org(self, org_id: OrgId) -> Path:
        return self.folder / "orgs" / org_id

    def _read(self, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise KeysAway(f"{path} can't be read: {error.strerror}") from error


def _private(secret: bytes) -> hpke.MLKEM768X25519PrivateKey:
    return hpke.MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(secret[:_SEED]), X25519PrivateKey.from_private_bytes(secret[_SEED:])
    )


def _public_of(secret: bytes) -> bytes:
    kem = MLKEM768PrivateKey.from_seed_bytes(secret[:_SEED]).public_key()
    curve = X25519PrivateKey.from_private_bytes(secret[_SEED:]).public_key()
    return kem.public_bytes_raw() + curve.public_bytes_raw()


class KeyringWrapper:
    """Wraps with public keys: who holds this can read nothing."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def wrap(self, org_id: OrgId, epoch_id: EpochId, key: bytes) -> WrappedKey:
        kek_id = self._keyring.current(org_id)
        public = self._keyring._read(self._keyring._org(org_id) / f"{kek_id}.public")
        if _kek_id(public) != kek_id:
            raise KeysAway(f"the file of {kek_id} holds another key")
        target = hpke.MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(public[:-32]), X25519PublicKey.from_public_bytes(public[-32:])
        )
        return WrappedKey(kek_id, SUITE, _HPKE.encrypt(key, target, info=_info(org_id, epoch_id, kek_id)))


class KeyringUnwrapper:
    """Unwraps with the secret keys. Handed to the Opener, the worker and `rewrap`, to nobody else."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def unwrap(self, org_id: OrgId, epoch_id: EpochId, key: WrappedKey) -> bytes:
        if key.suite != SUITE:
            raise KeysAway(f"epoch {epoch_id} is wrapped by {key.suite}, which this keyring does not know")
        private = _private(self._keyring._read(self._keyring._org(org_id) / f"{key.kek_id}.secret"))
        try:
            return _HPKE.decrypt(key.wrapped, private, info=_info(org_id, epoch_id, key.kek_id))
        except InvalidTag:
            raise ContentDamaged(f"epoch {epoch_id} does not open with {key.kek_id}") from None
