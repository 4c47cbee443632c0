"""The audit vocabulary: everything that somebody may have to answer for, in the past tense.

An event names ids and keyed hashes, never a subject, a name or an address: it outlives the content. The fields that all
share become columns of the audit table; a class's own fields become its `detail`. docs/AUDIT.md lists each one.
"""

from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, TypedDict

from portal.model.ids import DeliveryId, MessageId, OrgId, ReplyId


class Who(StrEnum):
    """The kind of actor; `actor` holds its id (a recipient's, a relay's) or, for an operator, the system's user name."""

    RECIPIENT = "recipient"
    RELAY = "relay"
    OPERATOR = "operator"
    STAFF = "staff"
    WORKER = "worker"
    STRANGER = "stranger"
    """Nobody has signed in yet: a person with a link, or a machine that fetches one."""


class Facts(TypedDict):
    """The shared fields, for making an event about the same act as another, or about an access."""

    at: datetime
    who: Who
    actor: str
    org_id: OrgId | None
    message_id: MessageId | None
    delivery_id: DeliveryId | None
    session: str | None
    origin: str | None


@dataclass(frozen=True)
class By:
    """Who acts, for the record."""

    who: Who
    actor: str = ""
    session: str | None = None
    origin: str | None = None

    def facts(
        self,
        at: datetime,
        org_id: OrgId | None,
        message_id: MessageId | None = None,
        delivery_id: DeliveryId | None = None,
    ) -> Facts:
        return Facts(
            at=at,
            who=self.who,
            actor=self.actor,
            org_id=org_id,
            message_id=message_id,
            delivery_id=delivery_id,
            session=self.session,
            origin=self.origin,
        )


@dataclass(frozen=True, kw_only=True)
class Event:
    """What every event says. `session` is the hex of the session's hash; `origin` the client's network address."""

    at: datetime
    who: Who
    actor: str = ""
    org_id: OrgId | None = None
    message_id: MessageId | None = None
    delivery_id: DeliveryId | None = None
    session: str | None = None
    origin: str | None = None

    kinds: ClassVar[dict[str, type["Event"]]] = {}

    def __init_subclass__(cls) -> None:
        Event.kinds[cls.__name__] = cls

    @property
    def kind(self) -> str:
        return type(self).__name__

    def facts(self) -> Facts:
        return Facts(
            at=self.at,
            who=self.who,
            actor=self.actor,
            org_id=self.org_id,
            message_id=self.message_id,
            delivery_id=self.delivery_id,
            session=self.session,
            origin=self.origin,
        )

    def detail(self) -> dict[str, object]:
        """The class's own fields, as JSON values; fields that are None are left out."""
        shared = {f.name for f in fields(Event)}
        own = ((f.name, getattr(self, f.name)) for f in fields(self) if f.name not in shared)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in own if value is not None}


# -- set up by an operator or an admin


@dataclass(frozen=True, kw_only=True)
class OrganisationAdded(Event):
    """`portal org add` made an organisation and its first KEK."""

    slug: str
    kek_id: str


@dataclass(frozen=True, kw_only=True)
class OrganisationChanged(Event):
    """`portal org set` changed how an organisation presents itself. `changed` names the fields."""

    changed: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DomainAdded(Event):
    """Senders of a domain may use the portal from now on. `proof` is `operator`, or `dns` for a TXT record that was found."""

    domain: str
    proof: str = "operator"


@dataclass(frozen=True, kw_only=True)
class DomainClaimed(Event):
    """An admin said that a domain is the organisation's; a TXT record is to prove it."""

    domain: str


@dataclass(frozen=True, kw_only=True)
class DomainNotProved(Event):
    """The TXT record of a claimed domain was looked for and not found. `reason` says what was."""

    domain: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class DomainRemoved(Event):
    """Senders of a domain can't use the portal any more; what they sent stays."""

    domain: str


@dataclass(frozen=True, kw_only=True)
class PolicySet(Event):
    """A new version of a policy class came into force."""

    name: str
    version: int
    life_days: int
    retention_days: int
    reply_allowed: bool
    assurance: int
    reminder_days: int | None
    warn_days: int | None = None
    notice_language: str | None = None
    unverified_notice: bool = True
    scan: str = "off"
    previews: bool = True
    receipts: bool = False
    reply_all: bool = False
    graduate: bool = False


@dataclass(frozen=True, kw_only=True)
class PolicyRuleSet(Event):
    """Mail of a sender, a sender's domain or with a tag in its subject comes under a class from now on. `rule` is a keyed hash."""

    kind_of_rule: str
    rule: str
    name: str


@dataclass(frozen=True, kw_only=True)
class PolicyRuleRemoved(Event):
    """Such a rule was taken away."""

    rule: str


@dataclass(frozen=True, kw_only=True)
class RelayAdded(Event):
    """A relay was made, with its first credential. `relay` is its id."""

    relay: str
    by_certificate: bool
    mode: str = "trust"


@dataclass(frozen=True, kw_only=True)
class RelayModeSet(Event):
    """How a relay is listened to from now on: `arbiter`, `trust` or `explicit`."""

    relay: str
    mode: str


@dataclass(frozen=True, kw_only=True)
class TransportSet(Event):
    """What an organisation asks of TLS to recipients' mail hosts, and after how many hours it takes what its relay keeps bringing."""

    level: str
    portal_after_hours: int | None = None


@dataclass(frozen=True, kw_only=True)
class RecipientRouteSet(Event):
    """A recipient or a domain always or never gets portal messages from now on, or has a level of its own. `value` is a keyed hash."""

    kind_of_value: str
    value: str
    route: str


@dataclass(frozen=True, kw_only=True)
class RecipientRouteRemoved(Event):
    """Such a setting was taken away."""

    value: str


@dataclass(frozen=True, kw_only=True)
class RelayCredentialAdded(Event):
    """A relay got a second credential, so that it can change over; both are valid until the older one is disabled."""

    relay: str
    credential: str
    by_certificate: bool


@dataclass(frozen=True, kw_only=True)
class RelayCredentialDisabled(Event):
    """One credential of a relay was taken out of use."""

    relay: str
    credential: str


@dataclass(frozen=True, kw_only=True)
class RelayDomainsSet(Event):
    """Which sender domains a relay may hand over mail of; none named means every one of the organisation."""

    relay: str
    domains: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RelayDisabled(Event):
    """A relay was taken out of use, with all its credentials."""

    relay: str


@dataclass(frozen=True, kw_only=True)
class KekRotated(Event):
    """`portal keys rotate` made a new KEK; new epochs are wrapped to it."""

    old: str
    new: str


@dataclass(frozen=True, kw_only=True)
class EpochsRewrapped(Event):
    """`portal keys rewrap` wrapped a batch of epoch keys to the current KEK."""

    kek_id: str
    count: int


# -- intake


@dataclass(frozen=True, kw_only=True)
class MessageAccepted(Event):
    """A message was stored and is the portal's to deliver. Committed before the relay hears 250."""

    deliveries: tuple[str, ...]
    policy: str
    size: int
    came_by: tuple[str, ...] = ()
    """Why each delivery came here, in their order: the rule, and the verdict where there was one, such as `mta-sts portal`."""
    queue_id: str | None = None
    needs: int = 1
    """What opening it needs: the class's level, or the floor of the thread it belongs to."""
    access_code: bool = False
    phone: bool = False
    scan: str | None = None
    """What the virus scanner made of it, where it was asked: `clean`, `infected` or `unscanned`; `scan_said` in its words."""
    scan_said: str | None = None
    stopped: str | None = None
    """Why it is shown to nobody, `infected` or `unscanned`; then no notice goes out."""


@dataclass(frozen=True, kw_only=True)
class SubmissionRefused(Event):
    """A relay's message, or its sender or a recipient, was refused. `reason` is the error's name.

    A recipient who is left to the relay is refused at each of its tries, for days, and an hour has one row: `unsaid` is how many
    tries of that relay for that recipient went before it without one. So has what a relay asks of the portal's own paths that no
    mail has, whichever they are: anybody can make them up.
    """

    reason: str
    unsaid: int | None = None


@dataclass(frozen=True, kw_only=True)
class RelayRefused(Event):
    """A relay failed to authenticate. `name` is a keyed hash of the user name it gave."""

    name: str


# -- notices and other mail


@dataclass(frozen=True, kw_only=True)
class NoticeSent(Event):
    """The submission host took the notice. `host` and `tls` are of the hop to it; `reply` is what it answered."""

    host: str
    tls: str
    reply: str
    reminder: bool = False


@dataclass(frozen=True, kw_only=True)
class NoticeFailed(Event):
    """The notice was refused for good, or tried until the limit; the sender is told."""

    reason: str
    reminder: bool = False


@dataclass(frozen=True, kw_only=True)
class NoticeBounced(Event):
    """A delivery report (RFC 3464) came back for the notice. `action` and `status` are its fields."""

    action: str
    status: str


@dataclass(frozen=True, kw_only=True)
class NoticeAnswered(Event):
    """Mail came to the return or reply path of a mail of ours, and is no failure; nothing of it was kept.

    `what` is `answer` (a person's), `automatic`, `loop`, or `report:` with its action. `pointed` says that its writer is told where
    answers are read.
    """

    what: str
    pointed: bool


@dataclass(frozen=True, kw_only=True)
class CodeSent(Event):
    """The submission host took an emailed code. `code_id` names the code, never its digits."""

    code_id: str
    host: str
    tls: str
    reply: str


@dataclass(frozen=True, kw_only=True)
class CodeFailed(Event):
    """An emailed code could not be sent."""

    code_id: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class SenderTold(Event):
    """A status mail without content went to the sender. `about` names its occasion."""

    about: str
    host: str
    tls: str
    reply: str


@dataclass(frozen=True, kw_only=True)
class SenderNotTold(Event):
    """A status mail to the sender could not be sent."""

    about: str
    reason: str


# -- link, code, session


@dataclass(frozen=True, kw_only=True)
class LinkFollowed(Event):
    """A link was fetched. It proves nothing: `machine` is set when the fetch shows that no person made it."""

    machine: bool
    by_reference: bool = False


@dataclass(frozen=True, kw_only=True)
class CodeRequested(Event):
    """Somebody with the link asked for a code. `channel` is `mail`, `sms` or `voice`.

    With `sent` False enough were sent already, and the newest counts for this browser too: `code_id` is of that one.
    """

    code_id: str
    channel: str = "mail"
    sent: bool = True


@dataclass(frozen=True, kw_only=True)
class SignedIn(Event):
    """A ceremony succeeded and a session began. `method` is `emailed-code` or `passkey`; `passkey` is that one's id."""

    method: str
    assurance: int
    passkey: str | None = None


@dataclass(frozen=True, kw_only=True)
class SteppedUp(Event):
    """A signed-in person proved more, or the same anew. `session` is the new session's hash, `before` the one it replaced.

    `vouched` says that the passkey or app used in this session counts from now on with what was proved beside it.
    """

    method: str
    assurance: int
    before: str
    vouched: bool = False
    passkey: str | None = None


@dataclass(frozen=True, kw_only=True)
class SignInFailed(Event):
    """A ceremony failed. `reason` is for auditors; the person sees one sentence for all of them."""

    method: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class SignedOut(Event):
    """The owner ended the session."""


@dataclass(frozen=True, kw_only=True)
class SessionEnded(Event):
    """Sessions of a person were ended from elsewhere. `ended` has their hashes; `why` is `owner`, `operator` or the change that
    ends them."""

    ended: tuple[str, ...]
    why: str


@dataclass(frozen=True, kw_only=True)
class MemberNamed(Event):
    """Who of several people at one mailbox this session is. `member` is an id; the name is sealed."""

    member: str
    added: bool


@dataclass(frozen=True, kw_only=True)
class MailboxShared(Event):
    """A mailbox was declared to be read by several people, or by one again."""

    shared: bool


# -- ways in


@dataclass(frozen=True, kw_only=True)
class PasskeyAdded(Event):
    """A passkey was bound. `vouched` is the level of the session that bound it."""

    passkey: str
    vouched: int
    backed_up: bool


@dataclass(frozen=True, kw_only=True)
class PasskeyRenamed(Event):
    """A passkey got another name."""

    passkey: str


@dataclass(frozen=True, kw_only=True)
class PasskeyRemoved(Event):
    """A passkey was removed, and the sessions that it began ended."""

    passkey: str


@dataclass(frozen=True, kw_only=True)
class PasskeySuspected(Event):
    """A passkey's counter did not rise: it may have been copied. It earns the mailbox's level only until it is replaced."""

    passkey: str
    counter: int
    known: int


@dataclass(frozen=True, kw_only=True)
class AppAdded(Event):
    """An authenticator app was bound."""

    vouched: int


@dataclass(frozen=True, kw_only=True)
class AppRemoved(Event):
    """The authenticator app was removed."""


@dataclass(frozen=True, kw_only=True)
class RecoveryCodesMade(Event):
    """Ten new recovery codes took the place of all earlier ones."""

    vouched: int


@dataclass(frozen=True, kw_only=True)
class AccessCodeSet(Event):
    """The sender's side gave a delivery an access code, or another one."""

    hint: bool


@dataclass(frozen=True, kw_only=True)
class PhoneSet(Event):
    """The sender's side gave a recipient's phone number."""

    recipient: str


@dataclass(frozen=True, kw_only=True)
class AddressChangeAsked(Event):
    """A signed-in person asked that her messages go to another address; a code went there."""

    change: str


@dataclass(frozen=True, kw_only=True)
class AddressChanged(Event):
    """A person proved both addresses; her history stays, and new mail to the old one is for whoever reads it."""

    change: str


@dataclass(frozen=True, kw_only=True)
class RecoveryBegun(Event):
    """Help desk proofed a person anew, in the way that `how` says; takes effect at `effective` unless it is stopped."""

    recovery: str
    recipient: str
    how: str
    effective: str


@dataclass(frozen=True, kw_only=True)
class RecoveryStopped(Event):
    """Somebody at a known address, or an operator, stopped a recovery."""

    recovery: str


@dataclass(frozen=True, kw_only=True)
class RecoveryApplied(Event):
    """A recovery took effect: all ways in but the mailbox were removed and all sessions ended."""

    recovery: str
    recipient: str


@dataclass(frozen=True, kw_only=True)
class PersonTold(Event):
    """A mail about a person's own ways in, or one that says where answers are read, went to her.

    `staff` is her id where it was about the console.
    """

    about: str
    host: str
    tls: str
    reply: str
    staff: str | None = None


@dataclass(frozen=True, kw_only=True)
class PersonNotTold(Event):
    """Such a mail could not be sent, or came back."""

    about: str
    reason: str
    staff: str | None = None


@dataclass(frozen=True, kw_only=True)
class PersonLookedUp(Event):
    """An operator looked at a person's ways in and sessions."""

    recipient: str


# -- reading


@dataclass(frozen=True, kw_only=True)
class InboxListed(Event):
    """Subjects and senders of these deliveries were shown."""

    deliveries: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class InboxSearched(Event):
    """Subjects, senders and texts of these deliveries were opened to look for words in them. Not a view: of what was found, subject
    and sender were shown. Which words, and what was found, is not on record."""

    deliveries: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MessageOpened(Event):
    """Content of a message was released. `part` is `summary` (who, when, subject, text), `body` (the framed HTML), `print`,
    `pdf` (taken as a file) or `quote` (the heading above a reply being written). `replies` are those in the thread, or the draft,
    that were shown with it."""

    part: str
    assurance: int
    replies: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class AttachmentOpened(Event):
    """An attachment was released. `part` is its id in the message or reply; `way` is `download`, or `preview` when it was shown in
    the browser."""

    part: str
    assurance: int
    reply_id: ReplyId | None = None
    way: str = "download"


@dataclass(frozen=True, kw_only=True)
class OriginalDownloaded(Event):
    """The message as received (.eml) was released."""

    assurance: int


@dataclass(frozen=True, kw_only=True)
class ReadDenied(Event):
    """A read was asked for and not given. `reason` is `foreign`, `expired`, `revoked`, `disposed`, `stopped` (by the virus scanner)
    or `assurance`."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class OpenFailed(Event):
    """The view was granted and recorded, and the content did not open."""

    reason: str


# -- replying


@dataclass(frozen=True, kw_only=True)
class ReplySubmitted(Event):
    """The recipient sent a reply; it is sealed and queued. `also_to` has keyed hashes: those it goes to besides the sender.

    With `fresh` it is no reply but a message of its own to the organisation, kept beside the delivery.
    """

    reply_id: ReplyId
    attachments: int
    size: int
    also_to: tuple[str, ...] = ()
    fresh: bool = False


@dataclass(frozen=True, kw_only=True)
class ReplyOpened(Event):
    """The worker opened a reply to hand it to the sender. Committed before it unwraps."""

    reply_id: ReplyId


@dataclass(frozen=True, kw_only=True)
class ReplyHandedOver(Event):
    """The submission host took the reply. `left_out` counts those besides the sender whose address it refused."""

    reply_id: ReplyId
    host: str
    tls: str
    reply: str
    left_out: int = 0


@dataclass(frozen=True, kw_only=True)
class ReplyFailed(Event):
    """The reply was refused for good, or tried until the limit. It stays in the thread; the recipient sees it was not taken."""

    reply_id: ReplyId
    reason: str


@dataclass(frozen=True, kw_only=True)
class ReceiptGiven(Event):
    """The recipient sent the read receipt that the sender had asked for (RFC 8098)."""


@dataclass(frozen=True, kw_only=True)
class AskedAgain(Event):
    """The recipient asked the sender to send the message again."""


@dataclass(frozen=True, kw_only=True)
class FileRefused(Event):
    """A file for a reply was not taken, because the virus scanner found something in it (`infected`) or could not look at it, and the
    class requires that (`unscanned`). `said` is the scanner's word."""

    reason: str
    said: str


# -- scanning


@dataclass(frozen=True, kw_only=True)
class GraduationBegun(Event):
    """A delivery that waited unread was closed here, for the relay to send: its domain was found safe twice. `rule` decided the later
    verdict, of which the transcript is kept; `safe_since` is the moment of the earlier one."""

    rule: str
    safe_since: str


@dataclass(frozen=True, kw_only=True)
class GraduationOpened(Event):
    """The worker opened the original of such a delivery, to hand it to the relay."""


@dataclass(frozen=True, kw_only=True)
class MessageGraduated(Event):
    """The relay took the original, under its sender's address. `host` and `tls` are of the hop to it; `reply` is what it answered."""

    host: str
    tls: str
    reply: str


@dataclass(frozen=True, kw_only=True)
class GraduationFailed(Event):
    """The relay did not take it, or nobody knows whether it did (`unclear`). `reopened` says that it waits here as before."""

    reason: str
    reopened: bool
    unclear: bool = False


@dataclass(frozen=True, kw_only=True)
class GraduationReturned(Event):
    """A relay brought back a message that had graduated. It is not stored again: it waits here as before, and stays."""

    queue_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class ScanOpened(Event):
    """A message was opened to have it scanned, for it could not be when it came in; or a file for a reply (`file`), which its class
    took unscanned then and takes no more. Committed before it unwraps."""

    file: str | None = None


@dataclass(frozen=True, kw_only=True)
class DeliveryQuarantined(Event):
    """A later scan found something harmful in a message that waited for one. `said` is the signature's name."""

    said: str


@dataclass(frozen=True, kw_only=True)
class DeliveryReleased(Event):
    """A delivery that waited for a scan goes on, and its notice out: it was found clean, or an admin let it through unscanned.
    `reason` is the admin's."""

    scan: str
    reason: str = ""


# -- lifecycle


@dataclass(frozen=True, kw_only=True)
class DeliveryExpired(Event):
    """A delivery reached its end, or an operator ended it. `unread` says that nobody had opened it."""

    unread: bool


@dataclass(frozen=True, kw_only=True)
class DeliveryRevoked(Event):
    """A delivery was taken back."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class DeliveryRestored(Event):
    """A revoked delivery was given back."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class DeliveryExtended(Event):
    """A delivery can be read until `until` (ISO 8601, UTC)."""

    until: str


@dataclass(frozen=True, kw_only=True)
class NoticeRequested(Event):
    """Somebody asked that the notice be sent once more, with a new link."""


@dataclass(frozen=True, kw_only=True)
class ClassRaised(Event):
    """A message was put under another class, which asks for no less. `before` and `name` are classes with their versions."""

    before: str
    name: str
    needs: int


@dataclass(frozen=True, kw_only=True)
class MessageMisdirected(Event):
    """A message went to the wrong person: all deliveries are taken back and the message is held. `opened` names those that had
    been opened by then."""

    reason: str
    hold: str
    opened: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class HoldPlaced(Event):
    """Nothing that meets the criteria is destroyed until the hold is released. `criteria` names them, without their values."""

    hold: str
    criteria: tuple[str, ...]
    owner: str
    review: str


@dataclass(frozen=True, kw_only=True)
class HoldReleased(Event):
    """A hold was released; retention goes on from where it stands."""

    hold: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class CertificateIssued(Event):
    """A signed certificate says what was destroyed, when, and by which rule. `messages` counts them; `digest` is of its text."""

    certificate: str
    messages: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class DeliveryDisposed(Event):
    """A delivery's grant was destroyed: nobody can open it again."""

    rule: str


@dataclass(frozen=True, kw_only=True)
class MessageDisposed(Event):
    """The last grant of a message was gone and its sealed content was deleted."""

    blobs: int


# -- staff


@dataclass(frozen=True, kw_only=True)
class StaffInvited(Event):
    """A link was made by which a member of the staff sets up a passkey: once, within a day."""

    staff: str
    role: str


@dataclass(frozen=True, kw_only=True)
class StaffJoined(Event):
    """Somebody has an account now: a sender who proved the address that messages went out from, or whom the identity provider sent."""

    staff: str
    role: str


@dataclass(frozen=True, kw_only=True)
class StaffPasskeyAdded(Event):
    """A member of the staff bound a passkey. `invited` is set when the invitation's link did it."""

    staff: str
    passkey: str
    backed_up: bool
    invited: bool


@dataclass(frozen=True, kw_only=True)
class StaffPasskeyRemoved(Event):
    """A member of the staff removed a passkey; the sessions it began ended."""

    passkey: str


@dataclass(frozen=True, kw_only=True)
class StaffCodeRequested(Event):
    """Somebody asked that a code for signing in be sent to a sender's address. `code_id` names the code, never its digits."""

    code_id: str


@dataclass(frozen=True, kw_only=True)
class StaffSignedIn(Event):
    """A member of the staff signed in. `method` is `passkey`, `emailed-code` or `identity-provider`."""

    method: str


@dataclass(frozen=True, kw_only=True)
class StaffProved(Event):
    """A signed-in member of the staff showed once more that it is her. `before` is the session it replaced."""

    method: str
    before: str


@dataclass(frozen=True, kw_only=True)
class StaffSignInFailed(Event):
    """A sign-in of staff failed. `reason` is for auditors."""

    method: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class StaffSignedOut(Event):
    """A member of the staff ended her session."""


@dataclass(frozen=True, kw_only=True)
class StaffSessionsEnded(Event):
    """Sessions of a member of the staff were ended from elsewhere."""

    staff: str
    count: int


@dataclass(frozen=True, kw_only=True)
class StaffRoleChanged(Event):
    """A member of the staff got another role; her sessions ended."""

    staff: str
    before: str
    role: str


@dataclass(frozen=True, kw_only=True)
class StaffDisabled(Event):
    """A member of the staff was shut out, with all sessions and passkeys."""

    staff: str


@dataclass(frozen=True, kw_only=True)
class StaffDenied(Event):
    """A member of the staff asked for what her role does not allow, or for what is not her organisation's or not her own."""

    verb: str


@dataclass(frozen=True, kw_only=True)
class NewsChosen(Event):
    """A sender chose when to be told of her messages: `off`, `each` or `daily`."""

    news: str


# -- looked at by staff and operators


@dataclass(frozen=True, kw_only=True)
class MessagesListed(Event):
    """Somebody listed, searched or looked at deliveries: who, when, how far, never what. `query` names the filters used;
    `recipient` is the person searched for."""

    query: tuple[str, ...]
    found: int
    recipient: str | None = None


@dataclass(frozen=True, kw_only=True)
class ReportRead(Event):
    """Staff read a report, such as `unread`, `requests`, `disposition` or a certificate."""

    report: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class AuditExported(Event):
    """Somebody listed or exported the log."""

    rows: int
    format: str
