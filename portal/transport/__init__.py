"""What the DNS and the mail hosts of a recipient's domain say: can mail go there over TLS that can be trusted?

`verdicts.Prober` is the one implementation of `Verdicts`: it looks up MX, DANE and MTA-STS (mx.py, dane.py, sts.py), tries the
hosts in order (probe.py), judges (judge.py) and remembers. The types here are what the intake, the look-ups for relays and the
console speak of.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from portal.model.routes import Level, Outcome, Rule

__all__ = ["Answer", "Certificate", "HostTried", "Level", "Names", "Outcome", "Rule", "Verdict", "Verdicts"]


class Names(Protocol):
    """Looks names up. An answer may be some minutes old; each look-up ends within seconds."""

    async def txt(self, name: str) -> tuple[str, ...]:
        """The TXT records at a name, strings of one record joined (RFC 7208 3.3); none when there is no such name or record.

        Raises StorageAway when the name servers do not answer.
        """


class Answer(StrEnum):
    """What came of one host at one address."""

    SAFE = "safe"
    """TLS as demanded."""
    UNSAFE = "unsafe"
    """It answers, and can't do TLS as demanded; or the domain's policy forbids to send there."""
    AWAY = "away"
    """It could not be reached, turned us away, was cut for being slow before STARTTLS, or its look-ups failed."""


@dataclass(frozen=True)
class Certificate:
    """What a host showed. `fault` says why it is not trusted for the host's name, in OpenSSL's words; empty when it is."""

    names: tuple[str, ...]
    """The first ten of its DNS names."""
    issuer: str
    not_before: datetime
    not_after: datetime
    sha256: str
    """Of the DER, in lower-case hex."""
    fault: str


@dataclass(frozen=True)
class HostTried:
    """One host at one address. `said` is one sentence for people; what was not reached is None or empty."""

    host: str
    address: str
    preference: int
    answer: Answer
    said: str
    starttls: bool | None = None
    version: str = ""
    """`TLSv1.2` or `TLSv1.3`."""
    certificate: Certificate | None = None
    rule: Rule = Rule.OPPORTUNISTIC
    """By which the host was judged: DANE is a matter of each host, the others of the whole domain."""
    tlsa: tuple[str, ...] = ()
    """Its TLSA records that count, in presentation form."""


@dataclass(frozen=True)
class Verdict:
    """What the mail hosts of a domain can do, who was asked, and how long that stands."""

    domain: str
    """In normal form: lower case, A-labels."""
    level: Level
    outcome: Outcome
    rule: Rule
    hosts: tuple[HostTried, ...]
    """In the order in which they were tried; the trial ends with the first that is safe."""
    match: tuple[str, ...]
    """The `mx` patterns of an MTA-STS policy in mode enforce (`mx.example`, `*.example`: RFC 8461 3.2); else none."""
    at: datetime
    until: datetime
    transcript: tuple[str, ...]
    """What was asked and answered, a sentence a line, in order; for staff."""

    @property
    def dane(self) -> bool:
        """Whether the relay must send by DANE alone: the host that is safe is so by its TLSA records."""
        return self.rule is Rule.DANE


class Verdicts(Protocol):
    """Says what a domain's mail hosts can do. Never raises for what the network does: that is an outcome."""

    async def verdict(self, domain: str, level: Level, fresh: bool = False) -> Verdict:
        """A verdict that stands now; at most half a minute old work if it has to be found out.

        `fresh` is for a delivery attempt that contradicts the verdict: what is older than a minute is found out again.
        Raises ValueError when `domain` is none.
        """
