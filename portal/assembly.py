"""Puts the house together: the only place that names concrete backends, and that hands out what each role may hold.

capability          web       intake    worker
seal                replies   yes       -
open content        yes       no        replies, to hand them over; messages that wait for a scan, or go out by the relay
open small fields   yes       no        yes
submit mail         no        no        yes
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from portal.audit.export import Export
from portal.audit.reading import Reading as AuditReading
from portal.blobs import BlobStore
from portal.blobs.files import FileBlobs
from portal.clock import Source
from portal.console.messages import Messages
from portal.db import grants, orgs
from portal.db.engine import Database
from portal.db.revision import head
from portal.identity import IdentityProvider
from portal.intake import Intake, Limits
from portal.intake.accept import House as IntakeHouse
from portal.intake.door import IntakeDoor
from portal.intake.preparing import Preparing
from portal.intake.way import Ways
from portal.keys.keyring import Keyring, KeyringUnwrapper, KeyringWrapper
from portal.lifecycle.ask import Asking
from portal.lifecycle.certify import Certificates
from portal.lifecycle.dispose import Disposition
from portal.lifecycle.end import Lifecycle
from portal.lifecycle.graduate import Graduation
from portal.lifecycle.hold import Holds
from portal.lifecycle.misdirected import Misdirected
from portal.lifecycle.reclass import Reclass
from portal.lifecycle.release import Release
from portal.lifecycle.rescan import Rescan
from portal.lookup.answers import Answers
from portal.mail.submission import Submission
from portal.mime import Renderer, paper
from portal.mime.pool import ProcessRenderer
from portal.model.errors import PortalError, RefusesToStart
from portal.model.events import By, Who
from portal.notify.dispatch import Dispatch
from portal.notify.news import News
from portal.notify.reminders import Reminders
from portal.notify.resend import Resend
from portal.orgs.classes import Classes, Rules
from portal.orgs.fallback import Fallback
from portal.orgs.routes import Routes
from portal.orgs.setup import Setup
from portal.orgs.wishes import Wishes
from portal.phone import Texter
from portal.phone.memory import MemoryTexter
from portal.reading.read import Reading
from portal.reading.receipt import Receipts
from portal.reading.search import Search
from portal.reply.compose import Compose, ReplyLimits
from portal.reply.handover import Handover
from portal.scan import Scanner
from portal.scan.clamd import Clamd
from portal.sealing.announce import Announcer
from portal.sealing.open import EpochKeys, Fields, Opener
from portal.sealing.seal import Sealer
from portal.sealing.sign import NoteSigner
from portal.settings import Settings
from portal.signin.access import AccessCodes
from portal.signin.codes import Codes
from portal.signin.desk import PersonDesk
from portal.signin.guard import Guard
from portal.signin.links import Links
from portal.signin.passkeys import Passkeys
from portal.signin.people import People
from portal.signin.recovery import HelpDesk, RecoveryCodes
from portal.signin.sessions import Sessions
from portal.signin.staff.codes import StaffCodes
from portal.signin.staff.passkeys import StaffPasskeys
from portal.signin.staff.people import StaffPeople
from portal.signin.staff.provider import ProviderSignIn
from portal.signin.staff.sessions import StaffSessions
from portal.signin.stepup import StepUp
from portal.signin.tell import Tell
from portal.signin.throttle import Throttle
from portal.signin.totp import AppCodes
from portal.transport import Verdicts
from portal.transport.probe import Probe
from portal.transport.resolver import Resolver
from portal.transport.sts import Policies
from portal.transport.verdicts import Prober, public_or
from portal.web.csrf import Csrf
from portal.web.site import Site
from portal.web.staff.site import StaffSite
from portal.web.templating import Letters, Pages
from portal.worker import Worker


def blob_store(settings: Settings) -> FileBlobs:
    parts = urlsplit(settings.blobs_url)
    if parts.scheme != "file" or parts.netloc:
        raise RefusesToStart("PORTAL_BLOBS_URL: this version keeps blobs in files: file:///path/blobs")
    return FileBlobs(Path(parts.path))


def keyring(settings: Settings) -> Keyring:
    parts = urlsplit(settings.keys_url)
    if parts.scheme != "keyring" or parts.netloc:
        raise RefusesToStart("PORTAL_KEYS_URL: this version keeps keys in a local keyring: keyring:///path/keys")
    return Keyring(Path(parts.path))


def submission(settings: Settings) -> Submission:
    pins = settings.submission_pin.split()
    return Submission(settings.submission_url, settings.submission_ca, settings.base_host, pins)


def onward(settings: Settings) -> Submission | None:
    """The relay's way for messages that graduate; None when there is none."""
    if not settings.graduation_url:
        return None
    return Submission(
        settings.graduation_url,
        settings.submission_ca,
        settings.base_host,
        settings.submission_pin.split(),
        "PORTAL_GRADUATION_URL",
    )


def resolver(settings: Settings) -> Resolver:
    return Resolver(settings.name_servers, validating=settings.name_servers_validate)


def may_try(settings: Settings) -> Callable[[str], bool]:
    """At which addresses mail hosts, and the hosts of policies, are tried."""
    return public_or(settings.probe_private)


def prober(settings: Settings, source: Source) -> Prober:
    """What looks at recipients' mail hosts."""
    names, greeting_name = resolver(settings), settings.smtp_hostname or settings.base_host
    allowed = may_try(settings)
    probe = Probe(greeting_name) if settings.probing else None
    return Prober(names, Policies(names, source.now, allowed), probe, source.now, allowed)


def texter(settings: Settings) -> Texter | None:
    """The provider of texts and calls; None when there is none."""
    if not settings.phone_url:
        return None
    if settings.phone_url == "memory:":
        return MemoryTexter()
    from portal.phone.webhook import WebhookTexter  # brings an HTTP client, which few portals need

    secret = settings.phone_secret.get_secret_value() if settings.phone_secret else ""
    return WebhookTexter(settings.phone_url, secret, settings.phone_ca)


def scanner(settings: Settings) -> Scanner | None:
    """The virus scanner; None when there is none."""
    return Clamd(settings.clamd, settings.clamd_seconds) if settings.clamd else None


def identity_provider(settings: Settings, source: Source) -> IdentityProvider | None:
    """Where staff sign in beside passkeys; None when there is none."""
    if not settings.oidc_issuer:
        return None
    try:
        from portal.identity.oidc import OpenIdConnect  # an extra: few portals need it
    except ImportError:
        raise RefusesToStart("oidc_issuer needs the extra: pip install 'recipient-portal[oidc]'") from None
    assert settings.oidc_client_secret is not None
    return OpenIdConnect(
        settings.oidc_issuer,
        settings.oidc_client_id,
        settings.oidc_client_secret.get_secret_value(),
        f"{settings.console_base}/staff/oidc/back",
        settings.oidc_roles_claim,
        settings.oidc_ca,
        now=source.now,
        random=source.random,
    )


@dataclass
class House:
    """The parts, made once a process. Roles are built from them by the methods below."""

    settings: Settings
    source: Source
    db: Database
    blobs: BlobStore
    keyring: Keyring
    sealer: Sealer
    announcer: Announcer
    renderer: Renderer
    wakes: asyncio.Event
    preparing: Preparing
    verdicts: Verdicts
    texter: Texter | None = None
    scanner: Scanner | None = None

    def wake(self) -> None:
        self.wakes.set()

    def epochs(self) -> EpochKeys:
        """Whoever is handed this can read: called for web and worker only."""
        return EpochKeys(self.db, KeyringUnwrapper(self.keyring), self.source, self.settings.epoch_cache)

    def intake(self) -> Intake:
        """Holds nothing that reads, nor this house, which could make what does."""
        settings = self.settings
        house = IntakeHouse(
            self.db,
            self.sealer,
            self.announcer,
            self.preparing,
            self.wakes.set,
            scanner=self.scanner,
            texts=bool(settings.phone_url),
            return_domain=settings.return_domain,
        )
        return IntakeDoor(
            self.db,
            house,
            self.source,
            Limits(settings.max_message_bytes, settings.max_recipients),
            Ways(self.db, self.sealer, self.source, self.verdicts),
            credentials_key=self.keyring.secret("credentials"),
            return_domain=settings.return_domain,
        )

    def site(self) -> Site:
        db, source, settings = self.db, self.source, self.settings
        epochs = self.epochs()
        opener, fields = Opener(db, self.blobs, epochs, source), Fields(epochs)
        tokens_key, codes_key = self.keyring.secret("tokens"), self.keyring.secret("codes")
        references_key = self.keyring.secret("references")
        limits = ReplyLimits(settings.max_reply_bytes, settings.max_reply_files)
        sessions, guard = Sessions(db, source), Guard(db, source, codes_key)
        tell, desk = Tell(db, self.sealer, fields, source, self.wake), self.desk(fields)
        origins = (settings.base_url, *settings.related_origins.split())
        return Site(
            pages=Pages(settings.base_url, source.now),
            links=Links(db, source, references_key=references_key, tokens_key=tokens_key),
            codes=Codes(db, self.sealer, fields, source, self.wake, codes_key=codes_key),
            sessions=sessions,
            passkeys=Passkeys(
                db,
                self.sealer,
                fields,
                sessions,
                tell,
                source,
                handles_key=references_key,
                rp_id=settings.base_host,
                origins=origins,
            ),
            apps=AppCodes(db, self.sealer, fields, sessions, guard, tell, source),
            recovery=RecoveryCodes(db, sessions, guard, tell, source),
            desk=desk,
            people=People(db, self.sealer, fields, tell, source, codes_key=codes_key),
            step_up=StepUp(db, fields, sessions, guard, desk, source, texts=bool(settings.phone_url)),
            throttle=Throttle(db, source, references_key),
            reading=Reading(db, opener, fields, self.sealer, self.renderer, source),
            search=Search(db, opener, source),
            compose=Compose(
                db, opener, fields, self.sealer, limits, self.renderer, self.wake, self.scanner, settings.return_domain
            ),
            asking=Asking(db, source, self.wake),
            receipts=Receipts(db, self.sealer, source, self.wake),
            setup=Setup(db, source, By(Who.STRANGER)),
            csrf=Csrf(tokens_key, settings.base_url, own_hosts=True),
            source=source,
            exports=paper.available(),
            place_header=settings.place_header,
        )

    def staff_site(self) -> StaffSite:
        """The console: opens small fields, and no content. Acts for whoever is signed in, by her name."""
        db, source, settings = self.db, self.source, self.settings
        fields, sessions = Fields(self.epochs()), StaffSessions(self.db, self.source)
        people = self.staff_people(fields)
        codes_key, references_key = self.keyring.secret("codes"), self.keyring.secret("references")
        provided = settings.oidc_org if settings.oidc_issuer else ""
        lifecycle, holds = Lifecycle(db, source), Holds(db, source)
        return StaffSite(
            pages=Pages(settings.console_base, source.now),
            sessions=sessions,
            passkeys=StaffPasskeys(
                db,
                self.sealer,
                fields,
                sessions,
                source,
                self.wake,
                handles_key=references_key,
                rp_id=settings.console_host,
                origins=(settings.console_base,),
                provided=provided,
            ),
            codes=StaffCodes(
                db, self.sealer, fields, sessions, source, self.wake, codes_key=codes_key, provided=provided
            ),
            people=people,
            provider=identity_provider(settings, source),
            provider_sign_in=ProviderSignIn(
                db,
                self.sealer,
                fields,
                sessions,
                source,
                issuer=settings.oidc_issuer,
                org_slug=settings.oidc_org,
                roles=settings.provider_roles,
            ),
            throttle=Throttle(db, source, references_key),
            messages=self.messages(fields),
            lifecycle=lifecycle,
            resend=Resend(db, self.announcer, source, self.wake),
            access_codes=AccessCodes(db, self.sealer, source),
            reclass=Reclass(db, source),
            release=self.release(),
            misdirected=Misdirected(db, source, holds),
            holds=holds,
            disposition=self.disposition(),
            certificates=Certificates(db, self.note_signer(), source),
            person_desk=self.person_desk(fields),
            rules=Rules(db, self.sealer, fields, source),
            fallback=self.fallback,
            routes=self.routes(fields),
            probing=settings.probing,
            classes=self.classes,
            setup=partial(Setup, db, source),
            export=partial(Export, db, source),
            record=AuditReading(db, source),
            renderer=self.renderer,
            csrf=Csrf(self.keyring.secret("tokens"), settings.console_base, "staff csrf"),
            source=source,
            smtp_host=settings.smtp_hostname or settings.base_host,
            smtp_port=settings.smtp_listen.rpartition(":")[2],
            return_domain=settings.return_domain,
            wake=self.wake,
        )

    def staff_people(self, fields: Fields | None = None) -> StaffPeople:
        return StaffPeople(self.db, self.sealer, fields or Fields(self.epochs()), self.source)

    def desk(self, fields: Fields | None = None) -> HelpDesk:
        """Recovery by people. Opens small fields: addresses, to tell them."""
        tell = Tell(self.db, self.sealer, fields or Fields(self.epochs()), self.source, self.wake)
        return HelpDesk(self.db, tell, self.source, timedelta(hours=self.settings.recovery_delay_hours))

    def person_desk(self, fields: Fields | None = None) -> PersonDesk:
        return PersonDesk(self.db, self.sealer, self.source, self.desk(fields))

    def worker(self) -> Worker:
        db, source, settings = self.db, self.source, self.settings
        epochs, mailer = self.epochs(), submission(settings)
        opener = Opener(db, self.blobs, epochs, source)
        return Worker(
            db,
            Dispatch(
                db,
                Fields(epochs),
                Letters(),
                mailer,
                source,
                base_url=settings.base_url,
                console_url=f"{settings.console_base}/staff",
                return_domain=settings.return_domain,
                texter=self.texter,
            ),
            Handover(db, opener, mailer, source, settings.return_domain),
            Reminders(db, self.announcer, source),
            Lifecycle(db, source),
            self.disposition(),
            self.desk(Fields(epochs)),
            News(db, self.sealer, Fields(epochs), source),
            Rescan(db, opener, self.scanner, self.release(), source),
            Graduation(
                db,
                opener,
                Fields(epochs),
                self.sealer,
                self.verdicts,
                onward(settings),
                source,
                timedelta(hours=settings.graduation_hours),
            ),
            source,
            self.wakes,
        )

    def disposition(self) -> Disposition:
        return Disposition(self.db, self.blobs, self.source, Certificates(self.db, self.note_signer(), self.source))

    def release(self) -> Release:
        return Release(self.db, self.announcer, self.source, self.wake)

    def classes(self, by: By) -> Classes:
        return Classes(self.db, self.source, by, scans=self.scanner is not None)

    def note_signer(self) -> NoteSigner:
        """Signs certificates; handed to disposition only, and to whoever prints the key they are checked by."""
        return NoteSigner(self.settings.base_host, self.keyring.secret("signing"))

    def fallback(self, by: By) -> Fallback:
        return Fallback(self.db, self.source, by, self.keyring.secret("credentials"), resolver(self.settings))

    def routes(self, fields: Fields | None = None) -> Routes:
        """Opens small fields: the recipients and domains that the organisation has set a way for."""
        return Routes(self.db, self.sealer, fields or Fields(self.epochs()), self.source)

    def answers(self) -> Answers:
        """What relays are told. Opens nothing: an organisation's lists are found by keyed hash."""
        host = self.settings.smtp_hostname or self.settings.base_host
        port = int(self.settings.smtp_listen.rpartition(":")[2] or 0)
        return Answers(self.verdicts, Wishes(self.db, self.sealer), host, port)

    def messages(self, fields: Fields | None = None) -> Messages:
        """Opens small fields: the addresses that staff and operators are shown."""
        return Messages(self.db, self.sealer, fields or Fields(self.epochs()), self.source)

    async def check_keys(self, *, secret: bool) -> None:
        """Raises RefusesToStart unless the keyring holds what the rows of every organisation need."""
        async with self.db.read() as tx:
            for organisation in await orgs.every(tx):
                needed = {organisation.kek_id} | (await grants.kek_ids(tx, organisation.id) if secret else set())
                self.keyring.check(organisation.id, organisation.slug, needed, secret=secret)

    async def not_ready(self) -> list[str]:
        """What keeps the house from working, a line each."""
        found = []
        for name, check in (("database", self._database), ("blobs", self.blobs.check)):
            try:
                async with asyncio.timeout(5):
                    await check()
            except (PortalError, TimeoutError) as error:
                found.append(f"{name}: {type(error).__name__}")
        return found

    async def _database(self) -> None:
        async with self.db.read() as tx:
            await orgs.every(tx)


@asynccontextmanager
async def open_house(settings: Settings, source: Source | None = None, *, secret: bool = True) -> AsyncIterator[House]:
    """The house on these settings, closed in order afterwards.

    Raises RefusesToStart when the database is missing, at another revision than this program, or names keys that the
    keyring lacks; nothing is made to make up for it. With `secret` False the keyring need hold public keys only (intake).
    """
    source = source or Source()
    async with AsyncExitStack() as stack:
        db = Database(settings.database_url, source)
        stack.push_async_callback(db.close)
        await _check_revision(db)
        ring, blobs = keyring(settings), blob_store(settings)
        sealer = Sealer(db, blobs, KeyringWrapper(ring), ring.index_key, source)
        renderer = ProcessRenderer(size=settings.renderers)
        stack.push_async_callback(renderer.close)
        preparing = Preparing(db, renderer, source)
        stack.push_async_callback(preparing.drain, float(settings.drain_seconds))
        ring.check_there()
        announcer = Announcer(sealer, ring.secret("references"))
        looking = prober(settings, source)
        stack.push_async_callback(looking.close)
        house = House(
            settings, source, db, blobs, ring, sealer, announcer, renderer, asyncio.Event(), preparing, looking
        )
        house.texter, house.scanner = texter(settings), scanner(settings)
        await house.check_keys(secret=secret)
        yield house


async def _check_revision(db: Database) -> None:
    at, wanted = await db.revision(), head()
    if at is None:
        raise RefusesToStart("the database has no tables yet; run `portal migrate` (or `portal init` for a new portal)")
    if at != wanted:
        raise RefusesToStart(f"the database is at revision {at}, this program at {wanted}; run `portal migrate`")
