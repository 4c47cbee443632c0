"""Settings: where they come from, and what is said when one is wrong."""

from pathlib import Path

import pytest

from portal.model.errors import RefusesToStart
from portal.settings import load


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_environment_beats_secret_files_and_these_the_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each source is read, the nearer one wins."""
    (tmp_path / "portal.toml").write_text(
        'mail_domain = "toml.example"\nhttp_proxy = "192.0.2.1"\nsmtp_hostname = "toml.example"'
    )
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "portal_submission_url").write_text("smtp://x:hidden@localhost:587")
    (secrets / "portal_smtp_hostname").write_text("file.example")
    monkeypatch.setenv("PORTAL_SECRETS_DIR", str(secrets))
    monkeypatch.setenv("PORTAL_MAIL_DOMAIN", "env.example")
    settings = load()
    assert (settings.mail_domain, settings.http_proxy, settings.smtp_hostname) == (
        "env.example",
        "192.0.2.1",
        "file.example",
    )
    assert settings.submission_url == "smtp://x:hidden@localhost:587"
    assert "hidden" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PORTAL_BASE_URL", "http://portal.example", "https only"),
        ("PORTAL_BASE_URL", "https://portal.example/path", "without a path"),
        ("PORTAL_HTTP_LISTEN", "8480", "host:port"),
        ("PORTAL_NAME_SERVERS", "192.0.2.53 [::1", "[2001:db8::53]:5353"),
        ("PORTAL_MAX_RECIPIENTS", "0", "greater than or equal to 1"),
        ("PORTAL_SMTP_KEY", "key.pem", "go together"),
        ("PORTAL_SUBMISION_URL", "smtp://x:hidden@localhost", "no such setting: PORTAL_SUBMISION_URL"),
        ("PORTAL_CONFIG", "nowhere.toml", "not there"),
        ("PORTAL_SECRETS_DIR", "nowhere", "not there"),
    ],
)
def test_a_wrong_setting_is_named_and_its_value_not_repeated(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    """What is wrong and how to write it is said in one line, without secrets."""
    monkeypatch.setenv(name, value)
    with pytest.raises(RefusesToStart, match=said) as caught:
        load()
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("asked", ["PORTAL_LOOKUP_LISTEN", "PORTAL_LOOKUP_HTTP_LISTEN"])
def test_look_ups_need_probing(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    """Without it `tlspolicy` would be TEMP for ever and `route` bring all mail here: that is said at once, with what to do."""
    monkeypatch.setenv("PORTAL_PROBING", "false")
    load()
    monkeypatch.setenv(asked, "127.0.0.1:8462")
    with pytest.raises(RefusesToStart, match=r"probing = false leaves look-ups .* port 25"):
        load()


def test_a_wrong_line_in_the_file_is_named(tmp_path: Path) -> None:
    """A setting that does not exist is an error, not ignored."""
    (tmp_path / "portal.toml").write_text('base_ulr = "https://portal.example"')
    with pytest.raises(RefusesToStart, match="base_ulr"):
        load()
