"""One question, one answer, in Postfix's words.

What is not known is answered so that nothing is lost and nothing goes out weaker than it should:

- `tlspolicy`: not known is TEMP. A domain's own policy (DANE, MTA-STS) could be the thing that is not known, and anything less would
  be a downgrade (RFC 7672 2.1.1, RFC 8461 10.2). Postfix then offers the mail to its fallback, or waits.
- `route`: not known is NOTFOUND: the relay tries by itself, and its TLS policy still holds. Only the organisation's own lists are
  more than advice: when they can't be read it is TEMP.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from portal.model.errors import InputRefused, PortalError
from portal.model.parties import address, domain_name
from portal.model.routes import Level, Outcome, Rule
from portal.transport import Verdict, Verdicts

Status = Literal["OK", "NOTFOUND", "TEMP", "PERM"]
MAPS = ("tlspolicy", "route")

_OLD_TLS = "protocols=!SSLv2:!SSLv3:!TLSv1:!TLSv1.1"  # whatever smtp_tls_mandatory_protocols is; known to every Postfix
_REMEMBER_SECONDS = 10.0
_MOST_REMEMBERED = 1_000


@dataclass(frozen=True)
class Reply:
    """A status of socketmap_table(5), and the value or the reason."""

    status: Status
    text: str = ""


NOT_FOUND = Reply("NOTFOUND")


@dataclass(frozen=True)
class Wishes:
    """What an organisation asks. `always` and `never` have addresses and domains in normal form; an address counts before its
    domain, and `always` before `never`.
    """

    level: Level = Level.ENCRYPT
    always: frozenset[str] = field(default=frozenset())
    never: frozenset[str] = field(default=frozenset())

    def listed(self, name: str) -> bool | None:
        """True: always to the portal. False: never. None: the verdict decides."""
        return True if name in self.always else False if name in self.never else None


class Answers:
    """Answers for all organisations. `wishes` gives one's by its short name ('' is the only one there is), or raises InputRefused.

    `host` and `port` are the intake's.
    """

    def __init__(self, verdicts: Verdicts, wishes: Callable[[str], Awaitable[Wishes]], host: str, port: int) -> None:
        self._verdicts, self._read, self._host = verdicts, wishes, host
        self._portal = f"portal:[{host}]:{port}"
        self._here = f"[{host}]:{port}"
        self._known: dict[str, tuple[float, Wishes]] = {}

    async def answer(self, name: str, key: str) -> Reply:
        """`name` is a map's, such as `route` or, where there are several organisations, `northside/route`; `key` what is looked up."""
        org, _, kind = name.rpartition("/")
        if kind not in MAPS:
            return Reply("PERM", f"there are the maps {' and '.join(MAPS)}")
        try:
            wishes = await self._wishes(org)
        except InputRefused as error:
            return Reply("PERM", error.say)
        except PortalError:
            return Reply("TEMP", "the portal's database is away")
        return await (self._policy(key, wishes) if kind == "tlspolicy" else self._route(key, wishes))

    async def _wishes(self, org: str) -> Wishes:
        known = self._known.get(org)
        if known and time.monotonic() - known[0] < _REMEMBER_SECONDS:
            return known[1]
        found = await self._read(org)
        if len(self._known) >= _MOST_REMEMBERED:
            self._known.clear()
        self._known[org] = time.monotonic(), found
        return found

    async def _policy(self, key: str, wishes: Wishes) -> Reply:
        """Postfix asks with the next hop: a domain, `domain:port`, `[host]:port`; then with `.parent`."""
        if key.lower() == self._here:
            return Reply("OK", f"secure match={self._host} {_OLD_TLS}")
        domain = _domain(key.partition(":")[0])
        if domain is None:
            return NOT_FOUND
        try:
            verdict = await self._verdicts.verdict(domain, wishes.level)
        except ValueError:
            return NOT_FOUND
        except PortalError:
            return Reply("TEMP", "the portal can't tell now")
        return policy_of(verdict)

    async def _route(self, key: str, wishes: Wishes) -> Reply:
        """Postfix asks with the address, then with its domain, then with `.parent` and `*`."""
        if "@" in key:
            try:
                listed = wishes.listed(str(address(key)))
            except ValueError:
                return NOT_FOUND
            # `never` at an address must end the search, or its domain would be asked for next: the transport that is the default
            return NOT_FOUND if listed is None else self._way(listed)
        domain = _domain(key)
        if domain is None:
            return NOT_FOUND
        listed = wishes.listed(domain)
        if listed is None:
            try:
                listed = (await self._verdicts.verdict(domain, wishes.level)).outcome is Outcome.PORTAL
            except (ValueError, PortalError):
                return NOT_FOUND
            return self._way(listed) if listed else NOT_FOUND
        return self._way(listed)

    def _way(self, here: bool) -> Reply:
        return Reply("OK", self._portal if here else ":")  # ":" is transport(5) for "as if nothing stood here"


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
