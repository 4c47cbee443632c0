"""Which way a mail goes to a recipient: straight to its mail host over TLS, or here. The words for it, used from rows to pages."""

from enum import StrEnum


class Level(StrEnum):
    """What an organisation asks of TLS to a recipient's mail hosts (Postfix's words for the same)."""

    ENCRYPT = "encrypt"
    """TLS 1.2 or newer; whose certificate it is does not matter (RFC 7435)."""
    VERIFY = "verify"
    """And a certificate that a known authority issued for the host's name, within its time."""


class Outcome(StrEnum):
    """What is known of a domain's mail hosts, at a level."""

    DIRECT = "direct"
    """TLS as demanded works: the relay can send there itself."""
    PORTAL = "portal"
    """A host that can be reached can't do TLS as demanded, and no other host can: mail would go in the clear, or not at all."""
    NOBODY = "nobody"
    """No mail is taken there, ever: no such domain, or a null MX (RFC 7505)."""
    LATER = "later"
    """Nothing is proved either way: hosts down or turning away, look-ups without an answer, or no time."""


class Rule(StrEnum):
    """What decided."""

    DANE = "dane"
    """RFC 7672: the domain's own TLSA records, DNSSEC-validated."""
    MTA_STS = "mta-sts"
    """RFC 8461: the domain's own policy, in mode enforce."""
    OPPORTUNISTIC = "opportunistic"
    """The domain asks for nothing: the organisation's level."""
    DNS = "dns"
    """The name servers' answer alone: there is nobody, or no answer."""
    ALWAYS = "always"
    """The organisation's list of recipients who always get a portal message."""
    NEVER = "never"
    """The organisation's list of recipients who never do."""
    TRUST = "trust"
    """The relay is trusted to bring only what belongs here."""
    MARKED = "marked"
    """The sender marked the message for the portal."""
    WAITED = "waited"
    """The relay brought it for so long that it can't get through, whatever the portal sees."""
    UNPROBED = "unprobed"
    """The operator has switched probing off."""


class Route(StrEnum):
    """What an organisation has set for one recipient, or for one domain of recipients."""

    ALWAYS = "always"
    """A portal message, whatever the mail hosts can do."""
    NEVER = "never"
    """Never one."""
    ENCRYPT = "encrypt"
    VERIFY = "verify"
    """A level of its own."""


class Mode(StrEnum):
    """How a relay is listened to."""

    ARBITER = "arbiter"
    """It brings whatever it could not send; the portal takes what belongs here and leaves it the rest."""
    TRUST = "trust"
    """It brings only what belongs here."""
    EXPLICIT = "explicit"
    """It brings what senders have marked for the portal."""
