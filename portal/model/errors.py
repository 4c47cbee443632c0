"""What can go wrong, said once.

Each error knows whether trying again can help (`transient`) and what may be said aloud (`say`); the rest of its text is
for operators. Only portal/web/errors.py and portal/smtp/replies.py turn errors into codes.
"""

from datetime import timedelta


class PortalError(Exception):
    """Root of every error the portal raises on purpose."""

    transient = False
    say = "That could not be done."


# -- finding and reading


class NotFound(PortalError):
    """No such thing, or not yours: the two look the same from outside."""

    say = "We can't find that."


class SignInNeeded(PortalError):
    """The session is missing, over or idle too long."""

    say = "Sign in to go on."


class NoLongerReadable(PortalError):
    """The delivery is expired, revoked or disposed; the page explains and offers to ask the sender again."""

    say = "This message can no longer be read."


class AssuranceNeeded(PortalError):
    """The class of the message needs a stronger sign-in than this session's; the page leads to it."""

    say = "This message needs a stronger sign-in."


class ContentDamaged(PortalError):
    """Sealed bytes do not open: changed, cut short, or put in another's place."""

    say = "This message is damaged and can't be shown. The clinic has been told."


# -- signing in


class CodeRefused(PortalError):
    """The typed code is wrong, lapsed, used, or belongs to another link or browser: alike from outside."""

    say = "That code does not match."


class PasskeyRefused(PortalError):
    """A passkey's answer proves nothing; why is for the record. `unknown`: nobody here has such a passkey (any more)."""

    say = "This passkey could not be checked."

    @property
    def unknown(self) -> bool:
        return str(self) == "unknown"


class IdentityRefused(PortalError):
    """What an identity provider answered proves nothing; why is for the record, without a word of any token."""

    say = "Your organisation's sign-in could not be checked. Sign in again."


class IdentityAway(PortalError):
    """An identity provider did not answer, or can't now."""

    transient = True
    say = "Your organisation's sign-in does not answer. Try again in a few minutes."


class MemberNeeded(PortalError):
    """Several people read this mailbox, and this session has not said which of them it is."""

    say = "Say who you are."


class ProofNeeded(PortalError):
    """What is asked for needs a sign-in of the last minutes, as strong as the person's strongest way in."""

    say = "Show once more that it is you."


class TooManyTries(PortalError):
    """A throttle closed; it opens again after `wait`, or never when `wait` is None."""

    transient = True
    say = "Too many tries."

    def __init__(self, text: str, wait: timedelta | None = None) -> None:
        super().__init__(text)
        self.wait = wait


class RequestForged(PortalError):
    """A change was asked for from another site, or with a missing or stale form token."""

    say = "This page was open too long. Load it again and repeat what you did."


class InputRefused(PortalError):
    """What was typed or sent can't be taken; `say` tells what to do. `field` names the form field."""

    def __init__(self, say: str, field: str | None = None) -> None:
        super().__init__(say)
        self.say = say
        self.field = field


class WayRefused(InputRefused):
    """A way in can't be added, changed or removed so. `why` is a word for the page, which has the sentence."""

    def __init__(self, why: str, say: str, field: str | None = None) -> None:
        super().__init__(say, field)
        self.why = why


class ReplyEmpty(InputRefused):
    """A reply without a word and without a file."""


class DraftChanged(InputRefused):
    """A reply was saved from another window since this one last saw it: what is typed here must not replace that."""


class UploadOffset(InputRefused):
    """A piece of an upload does not begin where the upload stands, or an older request still sends; ask where, then go on."""

    def __init__(self, offset: int) -> None:
        super().__init__("The upload stands elsewhere.", "files")
        self.offset = offset


class FilesChanged(InputRefused):
    """A file was added to a reply, or taken away, at the moment it was sent."""


class TooManyFiles(InputRefused):
    """A reply has as many attachments as it can carry."""


class TooManyDrafts(InputRefused):
    """A message has as many unsent replies with files as it can have."""


class FileInfected(InputRefused):
    """The virus scanner found something in an uploaded file; nothing of it is kept."""


class FileUnscanned(InputRefused):
    """An uploaded file could not be scanned, and its class takes none unscanned; nothing of it is kept."""

    transient = True


class FilesUnscanned(FileUnscanned):
    """A file of a draft was never scanned, and the class of its message takes none unscanned by now; all of it is kept."""


class BodyTooLarge(InputRefused):
    """What was sent is over the limit that was said before the upload."""


# -- intake


class SubmissionRefused(PortalError):
    """Root of the reasons for which intake does not take a message."""


class SenderNotYours(SubmissionRefused):
    say = "The sender's address is not in a domain of this organisation."


class RecipientRefused(SubmissionRefused):
    say = "This recipient can't be served here."


class LeftToRelay(SubmissionRefused):
    """TLS to the recipient's host works, or nothing is proved: the mail stays in the relay's queue and is sent from there."""

    transient = True
    say = "This recipient's mail host takes mail over TLS, or is only away: keep the mail and send it there."


class NobodyThere(SubmissionRefused):
    """The recipient's domain does not exist, or takes no mail (RFC 7505)."""

    say = "There is no such domain, or it takes no mail."


class NeverHere(SubmissionRefused):
    """The organisation has set that this recipient gets no portal messages."""

    say = "This recipient gets no portal messages: the organisation has set so. Send the mail another way."


class NotMarked(SubmissionRefused):
    """The relay brings marked messages only, and nothing in this one marks it."""

    say = "This message is not marked for the portal: write [secure] into its subject, or set X-Portal-Class."


class RecipientIsYours(SubmissionRefused):
    """The recipient is in a sender domain of the portal: a loop, or mail that should have stayed inside."""

    say = "The recipient is in a domain that sends through this portal."


class TooManyRecipients(SubmissionRefused):
    transient = True
    say = "Too many recipients in one transaction."


class RecipientApart(SubmissionRefused):
    """One recipient is served whatever the message says, another only if it is marked: one answer can't be right for both."""

    transient = True
    say = "This recipient goes by another rule than the first: send the mail to this one in a transaction of its own."


class MessageTooLarge(SubmissionRefused):
    say = "The message is larger than this portal takes."


class MessageMalformed(SubmissionRefused):
    """Bare CR, bare LF or NUL in the message (RFC 5321 2.3.8), or over the limits on headers: never repaired."""

    say = "The message has bytes or headers that mail may not have."


class MailLoop(SubmissionRefused):
    say = "The message has been passed on too many times."


class AskedMalformed(SubmissionRefused):
    """What the mail's X-Portal fields ask for can't be what they say; the class of error and no value goes on record."""

    say = (
        "An X-Portal header is not understood: check class, access code (6 to 64 signs), hint (no code in it) "
        "and phone (+..., one recipient)."
    )


class ClassUnknown(SubmissionRefused):
    say = "There is no message class of that name. Leave X-Portal-Class out, or ask your mail admin."


class NoTexts(SubmissionRefused):
    say = "This portal sends no text messages. Give an access code (X-Portal-Access-Code) instead of a phone number."


class RecipientOutOfReach(SubmissionRefused):
    """A recipient has no way to sign in as strongly as the class needs, and the message gives none."""

    say = (
        "A recipient can't sign in strongly enough for this class of message: give an access code (X-Portal-Access-Code) "
        "or a phone number (X-Portal-Phone), or use another class."
    )


class RelayUnknown(PortalError):
    """The relay's name, password or certificate is not known here."""

    say = "Authentication failed."


# -- the house itself


class StorageFull(PortalError):
    transient = True
    say = "Storage is full. Try again later."


class StorageAway(PortalError):
    """The database or the blob store did not answer."""

    transient = True
    say = "The portal can't reach its storage. Try again in a few minutes."


class KeysAway(PortalError):
    """A key that is needed is not in the keyring, or the key service did not answer."""

    transient = True
    say = "The portal can't reach its keys. Try again in a few minutes."


class SubmissionFailed(PortalError):
    """The submission host did not take a mail. `transient` is per instance: it is the host's own verdict.

    `unclear` is set when it had the whole mail and its answer was lost: it may have taken it.
    """

    say = "The mail could not be sent."

    def __init__(self, text: str, *, transient: bool, unclear: bool = False) -> None:
        super().__init__(text)
        self.transient, self.unclear = transient, unclear


class RefusesToStart(PortalError):
    """Something is missing or doubtful that must not be guessed."""

    say = "The portal does not start."
