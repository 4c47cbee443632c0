"""One question, one answer, in Postfix's words.

What is not known is answered so that nothing is lost and nothing goes out weaker than it should:

- `tlspolicy`: not known is TEMP. A domain's own policy (DANE, MTA-STS) could be the thing that is not known, and anything less would
  be a downgrade (RFC 7672 2.1.1, RFC 8461 10.2). Postfix then offers the mail to its fallback, or waits.
- `route`: not known is NOTFOUND: the relay tries by itself, and its TLS policy still holds. Only the organisation's own lists are
  more than advice: when they can't be read it is TEMP.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Protocol

from portal.model.errors import InputRefused, PortalError
from portal.model.parties import Address, address, domain_name
from portal.model.routes import Level, Outcome, Rule
from portal.transport import Verdict, Verdicts

Status = Literal["OK", "NOTFOUND", "TEMP", "PERM"]
MAPS = ("tlspolicy", "route")

_OLD_TLS = "protocols=!SSLv2:!SSLv3:!TLSv1:!TLSv1.1"  # whatever smtp_tls_mandatory_protocols is; known to every Postfix
_AS_EVER = ":"  # transport(5): as if no entry stood here; the domain is not asked for any more


@dataclass(frozen=True)
class Reply:
    """A status of socketmap_table(5), and the value or the reason."""

    status: Status
    text: str = ""


NOT_FOUND = Reply("NOTFOUND")


class Wishes(Protocol):
    """What an organisation has set."""

    async def of(self, org: str, recipient: Address | None, domain: str | None) -> tuple[Level, bool | None]:
        """The level for a recipient or a domain; and True for always here, False for never, None for as the verdict says.

        Raises InputRefused when there is no such organisation, StorageAway when it can't be told.
        """


class Answers:
    """Answers for all organisations. `wishes` says what one asks ('' is the only one there is). `host` and `port` are the intake's."""

    def __init__(self, verdicts: Verdicts, wishes: Wishes, host: str, port: int) -> None:
        self._verdicts, self._wishes, self._host = verdicts, wishes, host
        self._portal = f"portal:[{host}]:{port}"
        self._here = f"[{host}]:{port}".lower()

    async def answer(self, name: str, key: str) -> Reply:
        """`name` is a map's, such as `route` or, where there are several organisations, `northside/route`; `key` what is looked up."""
        org, _, kind = name.rpartition("/")
        if kind not in MAPS:
            return Reply("PERM", f"there are the maps {' and '.join(MAPS)}")
        try:
            return await (self._policy(org, key) if kind == "tlspolicy" else self._route(org, key))
        except InputRefused as error:
            return Reply("PERM", error.say)
        except PortalError:
            return Reply("TEMP", "the portal can't tell now")

    async def _policy(self, org: str, key: str) -> Reply:
        """Postfix asks with the next hop: a domain, `domain:port`, `[host]:port`; then with `.parent`."""
        if key.lower() == self._here:
            return Reply("OK", f"secure match={self._host} {_OLD_TLS}")
        domain = _domain(key.partition(":")[0])
        level, _ = await self._wishes.of(org, None, domain)
        return NOT_FOUND if domain is None else policy_of(await self._verdicts.verdict(domain, level))

    async def _route(self, org: str, key: str) -> Reply:
        """Postfix asks with the address, then with its domain, then with `.parent` and `*`."""
        recipient, domain = None, _domain(key)
        if "@" in key:
            with suppress(ValueError):
                recipient = address(key)
                domain = _domain(recipient.domain)
        level, here = await self._wishes.of(org, recipient, domain)
        if domain is None:
            return NOT_FOUND
        if here is None:
            found = await self._verdicts.verdict(domain, level)
            if found.outcome is Outcome.PORTAL:
                return Reply("OK", self._portal)
            if recipient is not None and await self._wishes.of(org, None, domain) != (level, None):
                return Reply("OK", _AS_EVER)  # the domain, asked next, would be answered by another way than his
            return NOT_FOUND
        return Reply("OK", self._portal if here else _AS_EVER)


def policy_of(verdict: Verdict) -> Reply:
    """The TLS policy by which a relay must send (smtp_tls_policy_maps): by what the domain demands, else by the level."""
    if verdict.rule is Rule.DANE:
        return Reply("OK", f"dane-only {_OLD_TLS}")
    if verdict.rule is Rule.MTA_STS and verdict.match:
        # RFC 8461 4.1: `*.example` is one label; Postfix's `.example` is any number of them
        match = ":".join(one.removeprefix("*") for one in verdict.match)
        return Reply("OK", f"secure match={match} servername=hostname {_OLD_TLS}")
    if verdict.outcome is Outcome.NOBODY:
        return NOT_FOUND
    if verdict.rule is not Rule.OPPORTUNISTIC:
        return Reply("TEMP", "what this domain demands is not known now")
    if verdict.level is Level.VERIFY:
        return Reply("OK", f"verify match=hostname servername=hostname {_OLD_TLS}")
    return Reply("OK", f"encrypt {_OLD_TLS}")


def _domain(text: str) -> str | None:
    """A domain that mail can be for; None for `[host]`, `.parent`, `*` and what is none."""
    if not text or text[0] in ".[*" or "." not in text:
        return None
    try:
        return domain_name(text)
    except ValueError:
        return None
