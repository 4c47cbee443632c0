"""Every table, once. Statements stand in the modules beside this one; migrations/ carries the schema from version to version.

Ids are UUIDv7 text, times are whole microseconds since 1970 (UTC), hashes are 32 raw bytes. Each table that holds a
party's rows carries `org_id`. What says who or what a message is about is sealed: columns named `sealed` or `*_sealed`.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy.types import TypeDecorator

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(at: datetime) -> int:
    """Whole microseconds since 1970 of an aware datetime."""
    return (at - _EPOCH) // _MICROSECOND


def instant(value: int) -> datetime:
    return _EPOCH + value * _MICROSECOND


class Instant(TypeDecorator[datetime]):
    """An aware datetime, kept as an integer: SQLite would drop the zone, and integers compare alike on both engines."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> int | None:
        return None if value is None else micros(value)

    def process_result_value(self, value: int | None, dialect: Any) -> datetime | None:
        return None if value is None else instant(value)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_ID = String(36)


def _id() -> Column[str]:
    return Column("id", _ID, primary_key=True)


def _org() -> Column[str]:
    return Column("org_id", _ID, ForeignKey("organisations.id"), nullable=False)


def _recipient(*, primary_key: bool = False, index: bool = False) -> Column[str]:
    return Column(
        "recipient_id", _ID, ForeignKey("recipients.id"), nullable=False, primary_key=primary_key, index=index or None
    )


def _at(name: str, *, nullable: bool = False) -> Column[datetime]:
    return Column(name, Instant, nullable=nullable)


def _few(name: str, which: str, *columns: str) -> Index:
    """An index of the rows that meet a condition. SQLite wants it written as it is asked: see apart.py."""
    return Index(name, *columns, sqlite_where=text(which.replace("state =", "+state =")), postgresql_where=text(which))


organisations = Table(
    "organisations",
    metadata,
    _id(),
    Column("slug", String(63), nullable=False, unique=True),
    Column("name", String(200), nullable=False),
    Column("address", String(400), nullable=False, default=""),
    Column("phone", String(60), nullable=False, default=""),
    Column("mail_from", String(320), nullable=False),
    Column("language", String(12), nullable=False),
    Column("kek_id", String(64), nullable=False),
    Column("host", String(253), unique=True),
    Column("look", String(24), unique=True),
    Column("accent", String(7)),
    Column("logo", LargeBinary),
    Column("notice_words", Text),
    Column("device_bound", Boolean, nullable=False, server_default="0"),
    Column("tls_level", String(8), nullable=False, server_default="encrypt"),
    Column("portal_after_hours", Integer),
    Column("contact", String(320)),
    _at("added_at"),
)

org_domains = Table(
    "org_domains",
    metadata,
    Column("domain", String(253), primary_key=True),
    _org(),
    Column("proof", String(12), nullable=False, server_default="operator"),
    _at("added_at"),
)

domain_claims = Table(
    "domain_claims",
    metadata,
    Column("org_id", _ID, ForeignKey("organisations.id"), primary_key=True),
    Column("domain", String(253), primary_key=True),
    Column("token", String(64), nullable=False),
    _at("made_at"),
)

policies = Table(
    "policies",
    metadata,
    _id(),
    _org(),
    Column("name", String(63), nullable=False),
    Column("version", Integer, nullable=False),
    Column("life_days", Integer, nullable=False),
    Column("reminder_days", Integer),
    Column("retention_days", Integer, nullable=False),
    Column("reply_allowed", Boolean, nullable=False),
    Column("assurance", Integer, nullable=False),
    Column("warn_days", Integer),
    Column("notice_language", String(12)),
    Column("unverified_notice", Boolean, nullable=False, server_default="1"),
    Column("scan", String(12), nullable=False, server_default="tried"),
    Column("previews", Boolean, nullable=False, server_default="1"),
    Column("receipts", Boolean, nullable=False, server_default="0"),
    Column("reply_all", Boolean, nullable=False, server_default="0"),
    Column("graduate", Boolean, nullable=False, server_default="0"),
    _at("set_at"),
    Index("uq_policies_version", "org_id", "name", "version", unique=True),
)

policy_rules = Table(
    "policy_rules",
    metadata,
    Column("org_id", _ID, ForeignKey("organisations.id"), primary_key=True),
    Column("value_hash", LargeBinary(32), primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("value_sealed", LargeBinary, nullable=False),
    Column("epoch_id", _ID, ForeignKey("epochs.id"), nullable=False),
    Column("policy_name", String(63), nullable=False),
    _at("set_at"),
)

recipient_routes = Table(
    "recipient_routes",
    metadata,
    Column("org_id", _ID, ForeignKey("organisations.id"), primary_key=True),
    Column("value_hash", LargeBinary(32), primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("route", String(8), nullable=False),
    Column("value_sealed", LargeBinary, nullable=False),
    Column("epoch_id", _ID, ForeignKey("epochs.id"), nullable=False),
    _at("set_at"),
)

relays = Table(
    "relays",
    metadata,
    _id(),
    _org(),
    Column("name", String(100), nullable=False),
    Column("mode", String(8), nullable=False, server_default="trust"),
    _at("added_at"),
    _at("disabled_at", nullable=True),
)

relay_credentials = Table(
    "relay_credentials",
    metadata,
    _id(),
    _org(),
    Column("relay_id", _ID, ForeignKey("relays.id"), nullable=False, index=True),
    Column("username", String(64), unique=True),
    Column("secret_hash", LargeBinary(32)),
    Column("fingerprint", String(64), unique=True),
    _at("added_at"),
    _at("used_at", nullable=True),
    Column("used_from", String(64)),
    _at("disabled_at", nullable=True),
)

relay_domains = Table(
    "relay_domains",
    metadata,
    Column("relay_id", _ID, ForeignKey("relays.id"), primary_key=True),
    Column("domain", String(253), primary_key=True),
    _org(),
)

recipients = Table(
    "recipients",
    metadata,
    _id(),
    _org(),
    Column("address_hash", LargeBinary(32), nullable=False),
    Column("address_sealed", LargeBinary, nullable=False),
    Column("epoch_id", _ID, ForeignKey("epochs.id"), nullable=False),
    _at("added_at"),
    _at("shared_at", nullable=True),
    Index("uq_recipients_address", "org_id", "address_hash", unique=True),
)

epochs = Table(
    "epochs",
    metadata,
    _id(),
    _org(),
    Column("kek_id", String(64), nullable=False, index=True),
    Column("suite", String(64), nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    _at("made_at"),
)

messages = Table(
    "messages",
    metadata,
    _id(),
    _org(),
    Column("relay_id", _ID, ForeignKey("relays.id"), nullable=False),
    Column("policy_id", _ID, ForeignKey("policies.id"), nullable=False),
    Column("blob_key", String(64)),
    Column("size", BigInteger, nullable=False),
    Column("heading_sealed", LargeBinary),
    Column("sender_hash", LargeBinary(32), nullable=False),
    Column("sender_sealed", LargeBinary, nullable=False),
    Column("epoch_id", _ID, ForeignKey("epochs.id"), nullable=False),
    Column("thread_hash", LargeBinary(32)),  # under which `threads` has its floor; NULL without a Message-ID
    Column("attachments", Integer),
    # What the scanner found when last asked (clean, infected, unscanned; NULL: never asked), in its words, and when it is asked again.
    Column("scan", String(12)),
    Column("scan_said", String(200)),
    _at("rescan_at", nullable=True),
    _at("accepted_at"),
    _at("retain_until"),
    _at("disposed_at", nullable=True),
    _at("uncertified_at", nullable=True),
    Index("ix_messages_uncertified", "uncertified_at"),
    _few("ix_messages_rescan", "rescan_at IS NOT NULL", "rescan_at"),
    Index("ix_messages_list", "org_id", "id"),
    Index("ix_messages_sender", "org_id", "sender_hash"),
    _few("ix_messages_retention", "disposed_at IS NULL", "retain_until"),
)

# What the sender of a message wants to hear of it (RFC 3461, RFC 8098), and by which id it was sent.
reports = Table(
    "reports",
    metadata,
    Column("message_id", _ID, ForeignKey("messages.id"), primary_key=True),
    _org(),
    Column("success", Boolean, nullable=False),
    Column("receipt", Boolean, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("epoch_id", _ID, ForeignKey("epochs.id"), nullable=False),
)

received = Table(
    "received",
    metadata,
    Column("key", LargeBinary(32), primary_key=True),
    Column("recipient_id", _ID, ForeignKey("recipients.id"), primary_key=True),
    _org(),
    Column("delivery_id", _ID, ForeignKey("deliveries.id"), nullable=False),
)

_SEARCHED = ("sender_hash", "policy_name", "state")
_UNREAD = "state = 'expired' AND opened_at IS NULL"


deliveries = Table(
    "deliveries",
    metadata,
    _id(),
    _org(),
    Column("message_id", _ID, ForeignKey("messages.id"), nullable=False, index=True),
    Column("recipient_id", _ID, ForeignKey("recipients.id"), nullable=False),
    Column("state", String(12), nullable=False),
    Column("needs", Integer, nullable=False),
    Column("reply_allowed", Boolean, nullable=False),
    Column("previews", Boolean, nullable=False, server_default="1"),
    Column("stopped", String(12)),
    Column("sender_hash", LargeBinary(32), nullable=False),
    Column("policy_name", String(63), nullable=False),
    _at("accepted_at"),
    _at("expires_at"),
    _at("remind_at", nullable=True),
    _at("warn_at", nullable=True),
    _at("noticed_at", nullable=True),
    _at("opened_at", nullable=True),
    _at("replied_at", nullable=True),
    _at("ended_at", nullable=True),
    Column("end_reason", String(200)),
    _at("notice_failed_at", nullable=True),
    _at("bounced_at", nullable=True),
    _at("asked_at", nullable=True),
    Column("tries", Integer),
    Column("window_tries", Integer),
    _at("window_from", nullable=True),
    _at("closed_until", nullable=True),
    _at("disabled_at", nullable=True),
    Index("ix_deliveries_inbox", "recipient_id", "id"),
    Index("ix_deliveries_expiry", "state", "expires_at"),
    Index("ix_deliveries_reminder", "remind_at"),
    Index("ix_deliveries_warning", "warn_at"),
    # What staff list and search by, newest first; each is a page however many there are (overview.py says how).
    Index("ix_deliveries_org", "org_id", "id"),
    Index("ix_deliveries_sender", "org_id", "sender_hash", "id"),
    Index("ix_deliveries_class", "org_id", "policy_name", "state", "id"),
    Index("ix_deliveries_sender_class", "org_id", "sender_hash", "policy_name", "state", "id"),
    # What few are: intake adds no row to these.
    _few("ix_deliveries_bounced", "bounced_at IS NOT NULL", "org_id", "id", *_SEARCHED, "bounced_at"),
    _few("ix_deliveries_not_noticed", "notice_failed_at IS NOT NULL", "org_id", "id", *_SEARCHED, "notice_failed_at"),
    _few("ix_deliveries_asked", "asked_at IS NOT NULL", "org_id", "id", *_SEARCHED, "asked_at"),
    _few("ix_deliveries_unread", _UNREAD, "org_id", "id"),
    _few("ix_deliveries_unread_sender", _UNREAD, "org_id", "sender_hash", "id"),
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("delivery_id", _ID, ForeignKey("deliveries.id"), primary_key=True),
    _org(),
    Column("rule", String(16), nullable=False),
    Column("outcome", String(8)),
    Column("transcript_sealed", LargeBinary),
    Column("epoch_id", _ID, ForeignKey("epochs.id")),
    _at("found_at"),
)

# Deliveries that may go out by the relay once their domain is safe: what is known again should it come back, and when it is looked at.
graduations = Table(
    "graduations",
    metadata,
    Column("delivery_id", _ID, ForeignKey("deliveries.id"), primary_key=True),
    _org(),
    Column("mark", LargeBinary(32), nullable=False, index=True),
    Column("body_hash", LargeBinary(32), nullable=False),
    Column("address_hash", LargeBinary(32), nullable=False),
    Column("came_by", String(16), nullable=False),
    _at("look_at", nullable=True),
    _at("safe_at", nullable=True),
    Column("safe_by", String(16)),
    Column("tries", Integer, nullable=False),
    _at("gone_at", nullable=True),
    Column("transcript_sealed", LargeBinary),
    Column("epoch_id", _ID, ForeignKey("epochs.id")),
    _few("ix_graduations_look", "look_at IS NOT NULL", "look_at"),
)

grants = Table(
    "grants",
    metadata,
    Column("container_id", _ID, primary_key=True),
    Column("reader", String(12), primary_key=True),
    Column("reader_id", _ID, primary_key=True),
    _org(),
    Column("epoch_id", _ID, ForeignKey("epochs.id"), nullable=False, index=True),
    Column("wrapped", LargeBinary, nullable=False),
)

renditions = Table(
    "renditions",
    metadata,
    Column("message_id", _ID, ForeignKey("messages.id"), primary_key=True),
    _org(),
    Column("version", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    _at("made_at"),
)

parts = Table(
    "parts",
    metadata,
    Column("message_id", _ID, ForeignKey("messages.id"), primary_key=True),
    Column("part_id", String(12), primary_key=True),
    _org(),
    Column("blob_key", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
)

links = Table(
    "links",
    metadata,
    Column("token_hash", LargeBinary(32), primary_key=True),
    Column("reference_hash", LargeBinary(32), nullable=False, unique=True),
    _org(),
    Column("delivery_id", _ID, ForeignKey("deliveries.id"), nullable=False, index=True),
    _at("made_at"),
)

codes = Table(
    "codes",
    metadata,
    _id(),
    _org(),
    Column("delivery_id", _ID, ForeignKey("deliveries.id"), nullable=False),
    Column("channel", String(8), nullable=False, server_default="mail"),
    Column("copy_of", _ID),
    Column("browser_hash", LargeBinary(32), nullable=False),
    Column("code_hash", LargeBinary(32), nullable=False),
    Column("reference", String(8), nullable=False),
    _at("made_at"),
    _at("expires_at"),
    Column("tries", Integer, nullable=False),
    _at("used_at", nullable=True),
    Index("ix_codes_delivery", "delivery_id", "made_at"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("token_hash", LargeBinary(32), primary_key=True),
    _org(),
    Column("recipient_id", _ID, ForeignKey("recipients.id"), nullable=False, index=True),
    Column("assurance", Integer, nullable=False),
    Column("method", String(24), nullable=False),
    Column("proofs", String(200), nullable=False, server_default="emailed-code:1"),
    Column("passkey_id", _ID),
    Column("member_id", _ID),
    Column("agent", String(80)),
    Column("place", String(80)),
    _at("started_at"),
    _at("proved_at", nullable=True),
    _at("seen_at"),
    _at("ends_at"),
    _at("ended_at", nullable=True),
)

# -- ways in

passkeys = Table(
    "passkeys",
    metadata,
    _id(),
    _org(),
    _recipient(index=True),
    Column("member_id", _ID),
    Column("credential_id", LargeBinary(1023), nullable=False, unique=True),
    Column("public_key", LargeBinary, nullable=False),
    Column("sign_count", BigInteger, nullable=False),
    Column("backup_eligible", Boolean, nullable=False),
    Column("backed_up", Boolean, nullable=False),
    Column("transports", String(100), nullable=False),
    Column("name_sealed", LargeBinary, nullable=False),
    Column("epoch_id", _ID, ForeignKey("epochs.id"), nullable=False),
    Column("vouched", Integer, nullable=False),
    _at("made_at"),
    _at("used_at", nullable=True),
    _at("suspect_at", nullable=True),
)

ceremonies = Table(
    "ceremonies",
    metadata,
    Column("challenge", LargeBinary(32), primary_key=True),
    Column("purpose", String(16), nullable=False),
    Column("bound_hash", LargeBinary(32), nullable=False),
    Column("org_id", _ID),
    Column("recipient_id", _ID),
    Column("made_at", Instant, nullable=False, index=True),
)

access_codes = Table(
    "access_codes",
    metadata,
    Column("delivery_id", _ID, ForeignKey("deliveries.id"), primary_key=True),
    _org(),
    Column("code_hash", String(200), nullable=False),
    Column("hint_sealed", LargeBinary),
    Column("epoch_id", _ID, ForeignKey("epochs.id")),
    _at("set_at"),
)

phones = Table(
    "phones",
    metadata,
    _recipient(primary_key=True),
    _org(),
    Column("number_sealed", LargeBinary, nullable=False),
    Column("epoch_id", _ID, ForeignKey("epochs.id"), nullable=False),
    _at("set_at"),
)

authenticators = Table(
    "authenticators",
    metadata,
    _recipient(primary_key=True),
    _org(),
    Column("secret_sealed", LargeBinary, nullable=False),
    Column("epoch_id", _ID, ForeignKey("epochs.id"), nullable=False),
    Column("vouched", Integer, nullable=False),
    Column("last_step", BigInteger),
    _at("made_at"),
    _at("confirmed_at", nullable=True),
)

recovery_codes = Table(
    "recovery_codes",
    metadata,
    _recipient(primary_key=True),
    Column("slot", Integer, primary_key=True),
    _org(),
    Column("code_hash", String(200), nullable=False),
    Column("vouched", Integer, nullable=False),
    _at("made_at"),
    _at("used_at", nullable=True),
)

recoveries = Table(
    "recoveries",
    metadata,
    _id(),
    _org(),
    _recipient(index=True),
    Column("staff", String(64), nullable=False),
    Column("how", String(200), nullable=False),
    Column("code_hash", String(200), nullable=False),
    Column("stop_hash", LargeBinary(32), nullable=False, unique=True),
    _at("begun_at"),
    _at("effective_at"),
    _at("applied_at", nullable=True),
    _at("stopped_at", nullable=True),
)

members = Table(
    "members",
    metadata,
    _id(),
    _org(),
    _recipient(index=True),
    Column("name_sealed", LargeBinary, nullable=False),
    Column("epoch_id", _ID, ForeignKey("epochs.id"), nullable=False),
    _at("added_at"),
)

former_addresses = Table(
    "former_addresses",
    metadata,
    Column("org_id", _ID, ForeignKey("organisations.id"), primary_key=True),
    Column("address_hash", LargeBinary(32), primary_key=True),
    _recipient(index=True),
    Column("address_sealed", LargeBinary, nullable=False),
    Column("epoch_id", _ID, ForeignKey("epochs.id"), nullable=False),
    _at("until_at"),
)

address_changes = Table(
    "address_changes",
    metadata,
    _id(),
    _org(),
    _recipient(index=True),
    Column("session_hash", LargeBinary(32), nullable=False),
    Column("address_hash", LargeBinary(32), nullable=False),
    Column("address_sealed", LargeBinary, nullable=False),
    Column("epoch_id", _ID, ForeignKey("epochs.id"), nullable=False),
    Column("code_hash", LargeBinary(32), nullable=False),
    Column("tries", Integer, nullable=False),
    _at("made_at"),
    _at("expires_at"),
    _at("used_at", nullable=True),
)

tries = Table(
    "tries",
    metadata,
    Column("key", LargeBinary(32), primary_key=True),
    Column("in_all", Integer, nullable=False),
    Column("in_window", Integer, nullable=False),
    _at("window_from"),
    _at("closed_until", nullable=True),
    _at("disabled_at", nullable=True),
)

threads = Table(
    "threads",
    metadata,
    Column("org_id", _ID, ForeignKey("organisations.id"), primary_key=True),
    Column("id_hash", LargeBinary(32), primary_key=True),
    Column("floor", Integer, nullable=False),
    _at("made_at"),
)

replies = Table(
    "replies",
    metadata,
    _id(),
    _org(),
    Column("message_id", _ID, ForeignKey("messages.id"), nullable=False),
    Column("delivery_id", _ID, ForeignKey("deliveries.id"), nullable=False, index=True),
    Column("state", String(12), nullable=False),
    Column("text_sealed", LargeBinary),
    Column("size", BigInteger, nullable=False),
    Column("version", String(36)),
    Column("left_out", Integer, nullable=False, server_default="0"),
    # A message of its own to the organisation: it answers nothing, and is kept beside the delivery.
    Column("fresh", Boolean, nullable=False, server_default="0"),
    _at("begun_at"),
    Column("changed_at", Instant, nullable=False, server_default="0"),
    _at("submitted_at", nullable=True),
    _at("settled_at", nullable=True),
    Index("ix_replies_drafts", "state", "changed_at"),
)

reply_files = Table(
    "reply_files",
    metadata,
    _id(),
    _org(),
    Column("reply_id", _ID, ForeignKey("replies.id"), nullable=False, index=True),
    Column("blob_key", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("label_sealed", LargeBinary, nullable=False),
    Column("epoch_id", _ID, ForeignKey("epochs.id"), nullable=False),
    _at("made_at"),
)

outbox = Table(
    "outbox",
    metadata,
    _id(),
    _org(),
    Column("kind", String(16), nullable=False),
    Column("delivery_id", _ID, ForeignKey("deliveries.id"), index=True),
    Column("subject_id", _ID),
    Column("epoch_id", _ID, ForeignKey("epochs.id")),
    Column("payload_sealed", LargeBinary),
    Column("return_hash", LargeBinary(32), unique=True),
    Column("state", String(8), nullable=False),
    Column("attempts", Integer, nullable=False),
    _at("made_at"),
    _at("due_at"),
    _at("give_up_at"),
    Column("lease_holder", _ID),
    _at("lease_until", nullable=True),
    _at("settled_at", nullable=True),
    Column("host", String(255)),
    Column("tls", String(80)),
    Column("answer", String(500)),
    Index("ix_outbox_due", "state", "due_at"),
)

throttles = Table(
    "throttles",
    metadata,
    Column("key", LargeBinary(32), primary_key=True),
    _at("window_from"),
    Column("count", Integer, nullable=False),
)

# -- staff

staff = Table(
    "staff",
    metadata,
    _id(),
    _org(),
    Column("role", String(12), nullable=False),
    Column("address_hash", LargeBinary(32), nullable=False),
    Column("address_sealed", LargeBinary, nullable=False),
    Column("epoch_id", _ID, ForeignKey("epochs.id"), nullable=False),
    Column("subject_hash", LargeBinary(32)),
    Column("news", String(8), nullable=False, server_default="off"),
    _at("news_at", nullable=True),
    _at("added_at"),
    _at("disabled_at", nullable=True),
    Index("uq_staff_address", "org_id", "address_hash", unique=True),
    Index("uq_staff_subject", "org_id", "subject_hash", unique=True),
)


def _staff_id(*, index: bool = True) -> Column[str]:
    return Column("staff_id", _ID, ForeignKey("staff.id"), nullable=False, index=index or None)


staff_invites = Table(
    "staff_invites",
    metadata,
    Column("token_hash", LargeBinary(32), primary_key=True),
    _org(),
    _staff_id(),
    _at("made_at"),
    _at("expires_at"),
    _at("used_at", nullable=True),
)

staff_passkeys = Table(
    "staff_passkeys",
    metadata,
    _id(),
    _org(),
    _staff_id(),
    Column("credential_id", LargeBinary(1023), nullable=False, unique=True),
    Column("public_key", LargeBinary, nullable=False),
    Column("sign_count", BigInteger, nullable=False),
    Column("backup_eligible", Boolean, nullable=False),
    Column("backed_up", Boolean, nullable=False),
    Column("transports", String(100), nullable=False),
    Column("name", String(60), nullable=False),
    _at("made_at"),
    _at("used_at", nullable=True),
)

staff_sessions = Table(
    "staff_sessions",
    metadata,
    Column("token_hash", LargeBinary(32), primary_key=True),
    _org(),
    _staff_id(),
    Column("method", String(24), nullable=False),
    Column("agent", String(80)),
    _at("started_at"),
    _at("proved_at"),
    _at("seen_at"),
    _at("ends_at"),
    _at("ended_at", nullable=True),
)

staff_codes = Table(
    "staff_codes",
    metadata,
    _id(),
    _org(),
    Column("address_hash", LargeBinary(32), nullable=False),
    Column("browser_hash", LargeBinary(32), nullable=False),
    Column("code_hash", LargeBinary(32), nullable=False),
    Column("reference", String(8), nullable=False),
    _at("made_at"),
    _at("expires_at"),
    Column("tries", Integer, nullable=False),
    _at("used_at", nullable=True),
    Index("ix_staff_codes_address", "org_id", "address_hash", "made_at"),
    Index("ix_staff_codes_browser", "browser_hash"),
)

# -- holds, and what was destroyed

holds = Table(
    "holds",
    metadata,
    _id(),
    _org(),
    Column("reason", String(400), nullable=False),
    Column("owner", String(64), nullable=False),
    _at("review_at"),
    _at("placed_at"),
    # What is held: all that meets every criterion that is not empty.
    Column("message_id", _ID, ForeignKey("messages.id")),
    Column("recipient_id", _ID, ForeignKey("recipients.id")),
    Column("sender_hash", LargeBinary(32)),
    Column("policy_name", String(63)),
    _at("accepted_from", nullable=True),
    _at("accepted_until", nullable=True),
    _at("released_at", nullable=True),
    Column("released_by", String(64)),
    Column("release_reason", String(400)),
    Index("ix_holds_org", "org_id", "released_at", "message_id", "recipient_id", "sender_hash"),
)

certificates = Table(
    "certificates",
    metadata,
    _id(),
    _org(),
    Column("messages", Integer, nullable=False),
    Column("note", Text, nullable=False),
    _at("made_at"),
)

audit_events = Table(
    "audit_events",
    metadata,
    _id(),
    _at("at"),
    Column("kind", String(40), nullable=False),
    Column("who", String(12), nullable=False),
    Column("actor", String(64), nullable=False),
    Column("org_id", _ID),
    Column("message_id", _ID),
    Column("delivery_id", _ID),
    Column("session", String(64)),
    Column("origin", String(64)),
    Column("detail", Text, nullable=False),
    Index("ix_audit_events_org", "org_id", "id"),
    Index("ix_audit_events_delivery", "delivery_id", "id"),
    Index("ix_audit_events_message", "message_id", "id"),
    Index("ix_audit_events_actor", "actor", "id"),
)
