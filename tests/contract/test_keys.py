"""`Wrapper` and `Unwrapper` by the local keyring."""

from pathlib import Path

import pytest

from portal.keys import WrappedKey
from portal.keys.keyring import Keyring, KeyringUnwrapper, KeyringWrapper
from portal.model.errors import ContentDamaged, KeysAway, RefusesToStart
from portal.model.ids import EpochId, KekId, OrgId

pytestmark = pytest.mark.anyio
NORTH, SOUTH = OrgId("01a20036-878c-71bf-a5d0-000000000001"), OrgId("01a20036-878c-71bf-a5d0-000000000002")
EPOCH, OTHER = EpochId("01a20036-878c-71bf-a5d0-00000000000a"), EpochId("01a20036-878c-71bf-a5d0-00000000000b")
KEY = bytes(range(32))


@pytest.fixture
def ring(tmp_path: Path) -> Keyring:
    made = Keyring(tmp_path / "keys")
    made.create()
    made.add_organisation(NORTH)
    made.add_organisation(SOUTH)
    return made


async def test_a_wrapped_key_comes_back(ring: Keyring) -> None:
    """What was wrapped for an organisation and epoch is unwrapped for them."""
    wrapped = await KeyringWrapper(ring).wrap(NORTH, EPOCH, KEY)
    assert len(wrapped.wrapped) == 1168
    assert await KeyringUnwrapper(ring).unwrap(NORTH, EPOCH, wrapped) == KEY


@pytest.mark.parametrize(("org", "epoch"), [(SOUTH, EPOCH), (NORTH, OTHER)])
async def test_a_wrapped_key_opens_nowhere_else(ring: Keyring, org: OrgId, epoch: EpochId) -> None:
    """Moved to another organisation or epoch it does not open."""
    wrapped = await KeyringWrapper(ring).wrap(NORTH, EPOCH, KEY)
    with pytest.raises((ContentDamaged, KeysAway)):
        await KeyringUnwrapper(ring).unwrap(org, epoch, wrapped)


async def test_a_flipped_bit_does_not_open(ring: Keyring) -> None:
    """Changed bytes are damage, said as such."""
    wrapped = await KeyringWrapper(ring).wrap(NORTH, EPOCH, KEY)
    changed = WrappedKey(wrapped.kek_id, wrapped.suite, wrapped.wrapped[:-1] + bytes([wrapped.wrapped[-1] ^ 1]))
    with pytest.raises(ContentDamaged):
        await KeyringUnwrapper(ring).unwrap(NORTH, EPOCH, changed)


async def test_an_unknown_suite_or_kek_is_refused_by_name(ring: Keyring) -> None:
    """The error names what is missing."""
    wrapped = await KeyringWrapper(ring).wrap(NORTH, EPOCH, KEY)
    with pytest.raises(KeysAway, match="ROT13"):
        await KeyringUnwrapper(ring).unwrap(NORTH, EPOCH, WrappedKey(wrapped.kek_id, "ROT13", wrapped.wrapped))
    with pytest.raises(KeysAway, match="kek-lost"):
        await KeyringUnwrapper(ring).unwrap(NORTH, EPOCH, WrappedKey(KekId("kek-lost"), wrapped.suite, wrapped.wrapped))


async def test_after_a_rotation_old_and_new_open(ring: Keyring) -> None:
    """New epochs go to the new KEK; what the old one wrapped still opens."""
    before = await KeyringWrapper(ring).wrap(NORTH, EPOCH, KEY)
    new = ring.rotate(NORTH)
    after = await KeyringWrapper(ring).wrap(NORTH, EPOCH, KEY)
    assert after.kek_id == new != before.kek_id
    for wrapped in (before, after):
        assert await KeyringUnwrapper(ring).unwrap(NORTH, EPOCH, wrapped) == KEY


async def test_sealing_needs_no_secret_file(ring: Keyring) -> None:
    """An intake can be given the public files alone, and then reads nothing."""
    for file in ring.folder.rglob("*.secret"):
        file.unlink()
    wrapped = await KeyringWrapper(ring).wrap(NORTH, EPOCH, KEY)
    with pytest.raises(KeysAway):
        await KeyringUnwrapper(ring).unwrap(NORTH, EPOCH, wrapped)
    ring.check(NORTH, "northside", {wrapped.kek_id}, secret=False)


def test_keys_are_made_on_purpose_only(ring: Keyring, tmp_path: Path) -> None:
    """A second `create` is refused, and a missing keyring is an error that says so."""
    with pytest.raises(RefusesToStart, match="already"):
        ring.create()
    with pytest.raises(RefusesToStart, match="no keyring"):
        Keyring(tmp_path / "nowhere").check_there()
    assert not (tmp_path / "nowhere").exists()


def test_what_is_missing_is_named(ring: Keyring) -> None:
    """Another portal's keyring, a lost KEK, a KEK's file with another key in it: each is said."""
    kek = ring.current(NORTH)
    with pytest.raises(RefusesToStart, match=r"no keys of organisation eastside.*another portal"):
        ring.check(OrgId("01a20036-878c-71bf-a5d0-000000000003"), "eastside", {kek}, secret=True)
    with pytest.raises(RefusesToStart, match="kek-lost of organisation northside"):
        ring.check(NORTH, "northside", {KekId("kek-lost")}, secret=True)
    folder = ring.folder / "orgs"
    (folder / NORTH / f"{kek}.secret").write_bytes((folder / SOUTH / f"{ring.current(SOUTH)}.secret").read_bytes())
    with pytest.raises(RefusesToStart, match="does not hold"):
        ring.check(NORTH, "northside", {kek}, secret=True)


def test_key_files_are_for_their_owner_only(ring: Keyring) -> None:
    """Files are 0600 in folders of 0700."""
    paths = list(ring.folder.rglob("*"))
    assert {oct(path.stat().st_mode & 0o777) for path in paths if path.is_file()} == {"0o600"}
    assert {oct(path.stat().st_mode & 0o777) for path in [*paths, ring.folder] if path.is_dir()} == {"0o700"}
