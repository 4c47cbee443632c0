"""PortalError -> SMTP code, RFC 3463 enhanced code and text: the one SMTP map.

What is not in the map is answered 451: the relay keeps the mail and tries again, so a fault here never bounces a mail.
No reply holds anything of an exception but its class's `say`.
"""

from dataclasses import dataclass

from portal.model.errors import (
    AskedMalformed,
    ClassUnknown,
    KeysAway,
    LeftToRelay,
    MailLoop,
    MessageMalformed,
    MessageTooLarge,
    NeverHere,
    NobodyThere,
    NoTexts,
    NotMarked,
    PortalError,
    RecipientApart,
    RecipientIsYours,
    RecipientOutOfReach,
    RecipientRefused,
    RelayUnknown,
    SenderNotYours,
    StorageAway,
    StorageFull,
    TooManyRecipients,
)


@dataclass(frozen=True)
class Reply:
    """One answer. `status` is the enhanced code (RFC 2034); `close`: the session ends after it."""

    code: int
    status: str
    text: str
    close: bool = False

    def __str__(self) -> str:
        return f"{self.code} {self.status} {self.text}"


class Refused(Exception):
    """Ends a command: it is answered by `reply` and did nothing."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


_CODES: dict[type[PortalError], tuple[int, str]] = {
    StorageFull: (452, "4.3.1"),
    StorageAway: (451, "4.3.0"),
    KeysAway: (451, "4.3.0"),
    MessageTooLarge: (552, "5.3.4"),
    MessageMalformed: (550, "5.6.11"),  # bare CR, bare LF, NUL
    TooManyRecipients: (452, "4.5.3"),
    RecipientApart: (452, "4.5.3"),  # as over a limit: the relay sends to them next (RFC 5321 4.5.3.1.10)
    SenderNotYours: (550, "5.7.1"),
    RecipientRefused: (550, "5.1.1"),
    RecipientIsYours: (550, "5.7.1"),
    LeftToRelay: (450, "4.7.1"),
    NobodyThere: (550, "5.1.2"),
    NeverHere: (550, "5.7.1"),
    NotMarked: (550, "5.7.1"),
    MailLoop: (554, "5.4.6"),
    AskedMalformed: (550, "5.7.1"),
    ClassUnknown: (550, "5.7.1"),
    NoTexts: (550, "5.7.1"),
    RecipientOutOfReach: (550, "5.7.1"),
    RelayUnknown: (535, "5.7.8"),
}
_CLOSING = frozenset({MessageMalformed})


def reply_to(error: BaseException) -> Reply:
    """The answer to a failed step. A class is answered like its nearest known ancestor, anything unknown by 451."""
    for kind in type(error).__mro__:
        if kind in _CODES:
            code, status = _CODES[kind]
            return Reply(code, status, kind.say, close=kind in _CLOSING)
    return Reply(451, "4.3.0", "Something went wrong here. Try again later.")


# -- answers of the session itself

OK = Reply(250, "2.0.0", "OK")
SENDER_OK = Reply(250, "2.1.0", "Sender OK")
RECIPIENT_OK = Reply(250, "2.1.5", "Recipient OK")
STORED = Reply(250, "2.6.0", "Message stored")
READY_FOR_TLS = Reply(220, "2.0.0", "Ready to start TLS")
AUTHENTICATED = Reply(235, "2.7.0", "Authenticated")
GOODBYE = Reply(221, "2.0.0", "Goodbye", close=True)

TOO_SLOW = Reply(421, "4.4.2", "Nothing was heard for too long", close=True)
STOPPING = Reply(421, "4.3.2", "The portal is stopping; try again", close=True)
TOO_MANY_CONNECTIONS = Reply(421, "4.7.0", "Too many connections", close=True)
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many errors", close=True)
# A relay that could not authenticate keeps its mail: Postfix bounces on RFC 4954's 530.
AUTHENTICATE_FIRST = Reply(450, "4.7.0", "Authenticate first")

UNKNOWN_COMMAND = Reply(500, "5.5.2", "Command not recognized")
BAD_LINE = Reply(500, "5.5.2", "Command lines are text that ends in CRLF")
LINE_TOO_LONG = Reply(500, "5.5.2", "Command line too long", close=True)
BAD_ARGUMENT = Reply(501, "5.5.4", "Syntax error in arguments")
BAD_BASE64 = Reply(501, "5.5.2", "Cannot decode that")
AUTH_ABORTED = Reply(501, "5.7.0", "Authentication aborted")
OUT_OF_ORDER = Reply(503, "5.5.1", "Bad sequence of commands")
UNKNOWN_MECHANISM = Reply(504, "5.5.4", "Authentication mechanism not supported")
TLS_FIRST = Reply(530, "5.7.0", "Issue STARTTLS first")
TLS_FIRST_TO_AUTHENTICATE = Reply(538, "5.7.11", "Encryption required")
NOT_FOR_YOU = Reply(550, "5.7.1", "Only for authenticated relays")
BAD_ADDRESS = Reply(553, "5.1.3", "Malformed address")
NOT_ASCII = Reply(553, "5.6.7", "An address like this needs SMTPUTF8")
NO_RECIPIENTS = Reply(554, "5.5.1", "No valid recipients")
UNKNOWN_PARAMETER = Reply(555, "5.5.4", "Parameter not recognized")
