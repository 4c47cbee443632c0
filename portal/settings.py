"""Settings: defaults, then portal.toml, then secret files, then the environment. Only portal/assembly.py and the commands read them.

`PORTAL_CONFIG` names the TOML file (portal.toml where it is not set). `PORTAL_SECRETS_DIR` names a folder with one file a
setting, called `portal_submission_url` and so on, as container and service managers lay them out.
"""

import os
import re
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from portal.model.errors import RefusesToStart
from portal.model.parties import name_server
from portal.model.staff import Role as StaffRole

Role = Literal["web", "intake", "worker", "lookup"]
ROLES: tuple[Role, ...] = ("web", "intake", "worker", "lookup")
_LISTEN = re.compile(r"(unix:/.+|\[[0-9a-fA-F:.]+\]:\d{1,5}|[^:\[\]]+:\d{1,5})\Z")


class Settings(BaseSettings):
    """Every setting with its default. What stands below a field is its line in docs/CONFIGURATION.md."""

    model_config = SettingsConfigDict(env_prefix="PORTAL_", extra="forbid", frozen=True, use_attribute_docstrings=True)

    base_url: str = "http://localhost:8480"
    """Where people reach the portal; links are built from it, never from a request."""
    database_url: str = Field("sqlite:///portal.db", repr=False)
    """`sqlite:////path/portal.db` or `postgresql://user:password@host/name`."""
    blobs_url: str = "file:blobs"
    """Where sealed content lies: `file:///path/blobs`."""
    keys_url: str = "keyring:keys"
    """Where the keys are: `keyring:///path/keys`."""
    submission_url: str = Field("smtp://localhost:587", repr=False)
    """The relay that takes outgoing mail: `smtp://user:password@host:587` (STARTTLS, required) or `smtps://...:465`."""
    submission_ca: Path | None = None
    """A PEM file of authorities to check the submission host by; the system's when unset."""
    submission_pin: str = ""
    """SHA-256 of the submission host's public key in hex, a space between several; counts alone, or with `submission_ca` both do."""
    graduation_url: str = Field("", repr=False)
    """Where the relay takes messages that waited here until their recipient's domain became safe; written as `submission_url`. From
    there it must send over enforced TLS, as it sends its own mail. `submission_ca` and `submission_pin` count too. Empty: all stay."""
    graduation_hours: int = Field(6, ge=1, le=72)
    """How far apart the two looks are by which a domain must be found safe."""
    mail_domain: str = ""
    """Domain of the return path of notices (`bounce+...@`); the host of `base_url` when unset."""
    http_listen: str = "127.0.0.1:8480"
    """`host:port`, or `unix:/path/portal.sock` in a folder of mode 0750 for a proxy beside it."""
    staff_url: str = ""
    """Where staff reach their console; `base_url` when unset. With another host the recipients' site has no console."""
    staff_listen: str = ""
    """`host:port` or `unix:/path` for the console alone, beside `staff_url`. Empty: it is served by `http_listen`."""
    oidc_issuer: str = ""
    """The identity provider (OpenID Connect) by which staff sign in: its issuer, `https://...`. Empty: passkeys only."""
    oidc_client_id: str = ""
    """The client id that the provider knows this portal by; its redirect URI is `<staff_url>/staff/oidc/back`."""
    oidc_client_secret: SecretStr | None = None
    """The client's secret."""
    oidc_ca: Path | None = None
    """A PEM file of authorities to check the provider by; the system's when unset."""
    oidc_org: str = ""
    """Short name of the organisation whose staff the provider knows."""
    oidc_roles_claim: str = "roles"
    """The claim of the ID token that names roles; dots lead into it."""
    oidc_roles: str = ""
    """Which value of that claim gives which role: `portal-admins=admin portal-audit=auditor`. First match counts."""
    name_servers: str = ""
    """Name servers to ask: `address`, `address:port` or `[IPv6 address]:port`, a space between. Empty: the system's."""
    name_servers_validate: bool = False
    """Whether these name servers validate DNSSEC and nobody else can write on the path to them (loopback): then DANE counts."""
    probing: bool = True
    """Whether the portal tries recipients' mail hosts itself (port 25 out). Off, it takes in all that an arbiter's relay brings for
    domains that exist: greylisted mail too, and mail to hosts that are merely down. MTA-STS and DANE are not looked at then, and
    look-ups for relays (`lookup_listen`) can't be served."""
    probe_private: str = ""
    """Private networks whose addresses are tried like the internet's, a space between: those of a laboratory, or of partners behind a
    tunnel. Whoever writes a domain's DNS records can have the portal knock there at port 25 (and 443, for MTA-STS)."""
    http_proxy: str = ""
    """Address of the proxy whose `X-Forwarded-For` counts; with a unix socket it always does."""
    related_origins: str = ""
    """Other origins (`https://...`, a space between) at which the same passkeys work; told at /.well-known/webauthn."""
    place_header: str = ""
    """Name of a header in which the proxy says where a client is, shown in the list of sessions. Empty: no place is kept."""
    phone_url: str = Field("", repr=False)
    """Provider of text messages and calls: a webhook `https://...`; `memory:` for trials. Empty: none are sent."""
    phone_secret: SecretStr | None = None
    """Secret by which requests to the provider are signed (Standard Webhooks): `whsec_...`."""
    phone_ca: Path | None = None
    """A PEM file of authorities to check the provider by; the system's when unset."""
    recovery_delay_hours: int = Field(24, ge=1, le=336)
    """How long a recovery by the help desk waits, while every known address can stop it."""
    smtp_listen: str = "127.0.0.1:2526"
    """`host:port` for relays, STARTTLS required. Empty: not served."""
    smtps_listen: str = ""
    """`host:port` for relays with TLS from the first byte. Empty: not served."""
    smtp_connections: int = Field(50, ge=1, le=10_000)
    """Most connections to the intake at once."""
    smtp_connections_per_address: int = Field(5, ge=1, le=10_000)
    """Most of them from one address; a relay that opens more hears 421 and comes again."""
    smtp_hostname: str = ""
    """The name the intake greets with; the host of `base_url` when unset."""
    smtp_certificate: Path | None = None
    """PEM file with the intake's certificate chain."""
    smtp_key: Path | None = None
    """PEM file with its private key."""
    smtp_client_ca: Path | None = None
    """PEM file of the client certificates, or their authorities, that relays may come with."""
    lookup_listen: str = ""
    """`host:port` or `unix:/path` where relays ask for policy and way by socketmap. Empty: not served."""
    lookup_http_listen: str = ""
    """The same by HTTP, for relays that know no socketmap. Empty: not served."""
    lookup_from: str = "127.0.0.0/8 ::1"
    """Networks whose hosts may ask, a space between. The answers travel in clear: other hosts by a tunnel only."""
    max_message_bytes: int = Field(25 * 1024 * 1024, ge=1024, le=150 * 1024 * 1024)
    """Largest message taken in, announced as SIZE."""
    max_recipients: int = Field(50, ge=1, le=1000)
    """Most recipients in one transaction."""
    max_reply_bytes: int = Field(25 * 1024 * 1024, ge=1024, le=150 * 1024 * 1024)
    """Largest reply with its attachments."""
    max_reply_files: int = Field(20, ge=0, le=100)
    """Most attachments of a reply."""
    epoch_cache_seconds: int = Field(300, ge=0, le=300)
    """How long an unwrapped epoch key is kept in memory; 0 asks the key service each time."""
    drain_seconds: int = Field(20, ge=0, le=300)
    """How long a stop waits for what is in flight."""
    clamd: str = ""
    """The virus scanner: a clamd's `host:port`, or its socket's path `/run/clamav/clamd.ctl`. Empty: nothing is scanned."""
    clamd_seconds: int = Field(60, ge=1, le=300)
    """How long one message or file may wait for it, in all; then it counts as one that could not be scanned."""
    renderers: int = Field(2, ge=1, le=32)
    """Processes that parse mail. One more makes what people wait for: logos, PDFs, light formatting."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is logged."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        path = Path(os.environ.get("PORTAL_CONFIG", "portal.toml"))
        return init_settings, env_settings, file_secret_settings, TomlConfigSettingsSource(settings_cls, path)

    @field_validator("base_url", "staff_url")
    @classmethod
    def _base_url(cls, value: str, info: ValidationInfo) -> str:
        if info.field_name == "staff_url" and not value:
            return value
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError("write it as https://portal.example, without a path")
        if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError("outside this machine people reach the portal by https only")
        return value.rstrip("/")

    @field_validator("related_origins")
    @classmethod
    def _origins(cls, value: str) -> str:
        for one in value.split():
            parts = urlsplit(one)
            if parts.scheme != "https" or not parts.hostname or parts.path or parts.query or parts.fragment:
                raise ValueError("write each as https://messages.example, without a path")
        return value

    @field_validator("lookup_from", "probe_private")
    @classmethod
    def _networks(cls, value: str) -> str:
        for one in value.split():
            try:
                ip_network(one)
            except ValueError:
                raise ValueError("write networks as 192.0.2.0/24 or addresses, a space between") from None
        return value

    @field_validator("name_servers")
    @classmethod
    def _name_servers(cls, value: str) -> str:
        for one in value.split():
            try:
                name_server(one)
            except ValueError:
                raise ValueError(
                    "write each as 192.0.2.53, 192.0.2.53:5353, 2001:db8::53 or [2001:db8::53]:5353, a space between"
                ) from None
        return value

    @field_validator("submission_pin")
    @classmethod
    def _pins(cls, value: str) -> str:
        if not all(re.fullmatch(r"[0-9A-Fa-f]{64}", one) for one in value.split()):
            raise ValueError("write each as the 64 hex digits of SHA-256 of the public key (SubjectPublicKeyInfo)")
        return value

    @field_validator(
        "http_listen", "staff_listen", "smtp_listen", "smtps_listen", "lookup_listen", "lookup_http_listen"
    )
    @classmethod
    def _listen(cls, value: str) -> str:
        if value and not _LISTEN.match(value):
            raise ValueError("write it as host:port, [address]:port or unix:/path")
        return value

    @field_validator("clamd")
    @classmethod
    def _clamd(cls, value: str) -> str:
        if value and not value.startswith("/") and (value.startswith("unix:") or not _LISTEN.match(value)):
            raise ValueError("write it as host:port, [address]:port or /path/to/clamd.ctl")
        return value

    @model_validator(mode="after")
    def _both_or_none(self) -> "Settings":
        if (self.smtp_certificate is None) != (self.smtp_key is None):
            raise ValueError("smtp_certificate and smtp_key go together")
        return self

    @model_validator(mode="after")
    def _look_ups(self) -> "Settings":
        if not self.probing and (self.lookup_listen or self.lookup_http_listen):
            raise ValueError(
                "probing = false leaves look-ups nothing to answer by (tlspolicy would be TEMP for ever, route would bring all mail"
                " here): let the portal out on port 25, or unset lookup_listen and lookup_http_listen and take these maps out of the"
                " relay"
            )
        return self

    @model_validator(mode="after")
    def _provider(self) -> "Settings":
        if self.oidc_issuer and not (
            self.oidc_client_id and self.oidc_client_secret and self.oidc_org and self.oidc_roles
        ):
            raise ValueError("oidc_issuer needs oidc_client_id, oidc_client_secret, oidc_org and oidc_roles")
        if bool(self.staff_listen) and not self.staff_url:
            raise ValueError("staff_listen needs staff_url, where staff reach it")
        if self.own_console and not self.staff_listen:
            raise ValueError("staff_url has a host of its own: set staff_listen too")
        self.provider_roles  # noqa: B018 - raises for what is no role
        return self

    @property
    def console_base(self) -> str:
        """Scheme and host of the console."""
        return self.staff_url or self.base_url

    @property
    def console_host(self) -> str:
        return urlsplit(self.console_base).hostname or ""

    @property
    def own_console(self) -> bool:
        """Whether the console has a host of its own."""
        return urlsplit(self.console_base).netloc != urlsplit(self.base_url).netloc

    @property
    def provider_roles(self) -> dict[str, StaffRole]:
        """Value of the provider's claim -> role."""
        pairs = [one.partition("=") for one in self.oidc_roles.split()]
        known = {role.value for role in StaffRole}
        if any(not value or role not in known for value, _, role in pairs):
            raise ValueError(f"oidc_roles: write value=role; roles are {', '.join(sorted(known))}")
        return {value: StaffRole(role) for value, _, role in pairs}

    @property
    def lookup_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return tuple(ip_network(one) for one in self.lookup_from.split())

    @property
    def base_host(self) -> str:
        return urlsplit(self.base_url).hostname or ""

    @property
    def return_domain(self) -> str:
        return self.mail_domain or self.base_host

    @property
    def epoch_cache(self) -> timedelta:
        return timedelta(seconds=self.epoch_cache_seconds)


def load() -> Settings:
    """The settings in force. Raises RefusesToStart with a line for each that is wrong; values are not repeated."""
    path = os.environ.get("PORTAL_CONFIG")
    if path and not Path(path).is_file():
        raise RefusesToStart(f"PORTAL_CONFIG names {path}, which is not there")
    folder = os.environ.get("PORTAL_SECRETS_DIR")
    if folder and not Path(folder).is_dir():
        raise RefusesToStart(f"PORTAL_SECRETS_DIR names {folder}, which is not there")
    known = {f"PORTAL_{name.upper()}" for name in Settings.model_fields} | {"PORTAL_CONFIG", "PORTAL_SECRETS_DIR"}
    unknown = sorted(name for name in os.environ if name.startswith("PORTAL_") and name not in known)
    if unknown:
        raise RefusesToStart(f"no such setting: {', '.join(unknown)}; docs/CONFIGURATION.md lists them")
    try:
        return Settings(_secrets_dir=folder)
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False, include_context=False)
        lines = [
            f"{'.'.join(map(str, p['loc'])) or 'settings'}: {p['msg'].removeprefix('Value error, ')}" for p in problems
        ]
        raise RefusesToStart("; ".join(lines)) from None


def split_listen(value: str) -> tuple[str, int]:
    """Host and port of a `host:port` setting."""
    host, _, port = value.rpartition(":")
    return host.strip("[]"), int(port)
