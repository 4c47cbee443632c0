"""MTA-STS (RFC 8461): a domain says in the DNS that it has a policy, and on HTTPS which hosts take its mail over verified TLS.

No library fits: those there are run as daemons of their own, or fetch without limits. A policy is remembered as long as it says,
and fetched again when the id in the DNS changes; while one is remembered, an attacker who hides the record or the site changes
nothing (5.1, 10.2). Memory is of this process: after a start the first look counts anew.
"""

import asyncio
import re
import ssl
from collections import OrderedDict
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from portal.transport.resolver import LookupFailed, NoSuchName, Resolver, texts

_ID = re.compile(r"id[ \t]*=[ \t]*([A-Za-z0-9]{1,32})\Z")
_SECONDS = 10.0
_MOST_BYTES = 64 * 1024
_MOST_PATTERNS = 50
_MOST_AGE = 31_557_600  # RFC 8461 3.2: a year
_MOST_DOMAINS = 2_000

Mode = Literal["enforce", "testing", "none"]


@dataclass(frozen=True)
class Policy:
    """A policy as it was fetched. `mx` are patterns: a host name, or `*.` and the rest of one."""

    id: str
    mode: Mode
    mx: tuple[str, ...]
    expires_at: datetime

    def allows(self, host: str) -> bool:
        """Whether mail may go to this host (RFC 8461 4.1)."""
        return any(matches(pattern, host) for pattern in self.mx)


class PolicyRefused(Exception):
    """What was fetched is no policy. Its text is for people."""


def matches(pattern: str, host: str) -> bool:
    """Whether a host name fits a pattern whose first label may be `*`, for exactly one label (RFC 6125 6.4.3)."""
    pattern, host = pattern.lower().rstrip("."), host.lower().rstrip(".")
    if pattern.startswith("*."):
        return bool(host.partition(".")[0]) and host.partition(".")[2] == pattern[2:]
    return pattern == host


def parse(text: str, policy_id: str, now: datetime) -> Policy:
    """The policy in a file (RFC 8461 3.2). Of a field that stands twice the first counts, unless it is `mx`. Raises PolicyRefused."""
    said: dict[str, str] = {}
    patterns: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        name, colon, value = line.partition(":")
        name, value = name.strip(" \t"), value.strip(" \t")
        if not colon:
            if line.strip():
                raise PolicyRefused("a line of it is no field")
        elif name == "mx":
            patterns.append(value.lower())
        else:
            said.setdefault(name, value)
    mode, age = said.get("mode"), said.get("max_age", "")
    if said.get("version") != "STSv1" or mode not in ("enforce", "testing", "none"):
        raise PolicyRefused("version or mode is missing or unknown")
    if not re.fullmatch(r"[0-9]{1,10}", age) or int(age) > _MOST_AGE:
        raise PolicyRefused("max_age is not a number of seconds up to a year")
    if not patterns and mode != "none":
        raise PolicyRefused("it names no mail host")
    if len(patterns) > _MOST_PATTERNS or not all(_PATTERN.match(one) for one in patterns):
        raise PolicyRefused("a mail host in it is none, or there are more than 50")
    return Policy(policy_id, mode, tuple(patterns), now + timedelta(seconds=int(age)))  # type: ignore[arg-type]


_PATTERN = re.compile(r"(?:\*\.)?[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?\Z")


_AGAIN = timedelta(days=1)
"""After so long a policy is fetched again although its id is the same, so that nobody need only wait for its end (RFC 8461 3.3)."""


class Policies:
    """The policies of domains. `allowed` says to which addresses a connection may be opened; `port` is HTTPS's."""

    def __init__(
        self,
        resolver: Resolver,
        now: Callable[[], datetime],
        allowed: Callable[[str], bool],
        *,
        port: int = 443,
        authorities: Path | None = None,
        seconds: float = _SECONDS,
    ) -> None:
        self._resolver, self._now, self._allowed = resolver, now, allowed
        self._port, self._authorities, self._seconds = port, authorities, seconds
        self._known: OrderedDict[str, Policy] = OrderedDict()
        self._again: dict[str, datetime] = {}
        self._tls: ssl.SSLContext | None = None

    async def of(self, domain: str) -> tuple[Policy | None, list[str]]:
        """The policy that applies now, if any, and what was found, for people. Never raises for what the network does."""
        known = self._known.get(domain)
        if known is not None and known.expires_at <= self._now():
            del self._known[domain], self._again[domain]
            known = None
        policy_id, said = await self._id(domain)
        if policy_id is None:
            return (known, [said, "The policy that was fetched before still stands."]) if known else (None, [said])
        if known is not None and known.id == policy_id and self._now() < self._again[domain]:
            self._known.move_to_end(domain)
            return known, [f"MTA-STS: the policy {known.id} is known, mode {known.mode}."]
        try:
            async with asyncio.timeout(self._seconds):
                policy = parse(await self._fetch(domain), policy_id, self._now())
        except (PolicyRefused, LookupFailed, NoSuchName, TimeoutError, OSError) as error:
            why = str(error) or "no answer in time"
            said = f"MTA-STS: there is a record, but no policy could be fetched: {why}."
            return (known, [said, "The policy that was fetched before still stands."]) if known else (None, [said])
        self._known[domain], self._again[domain] = policy, self._now() + _AGAIN
        self._known.move_to_end(domain)
        while len(self._known) > _MOST_DOMAINS:
            del self._again[self._known.popitem(last=False)[0]]
        return policy, [f"MTA-STS: policy {policy.id}, mode {policy.mode}, hosts {' '.join(policy.mx[:10]) or 'none'}."]

    async def _id(self, domain: str) -> tuple[str | None, str]:
        """The id in the TXT record (RFC 8461 3.1); records of other makes do not count, two of ours do not either."""
        try:
            found = await self._resolver.find(f"_mta-sts.{domain}", "TXT")
        except NoSuchName:
            return None, "MTA-STS: no record."
        except LookupFailed as error:
            return None, f"MTA-STS: the record could not be looked up: {error}."
        ours = [one for one in texts(found.records) if re.match(r"v=STSv1[ \t]*;", one)]
        if len(ours) != 1:
            return None, "MTA-STS: no record." if not ours else "MTA-STS: several records, so none counts."
        read = next(filter(None, (_ID.match(field.strip(" \t")) for field in ours[0].split(";"))), None)
        return (read[1], "") if read else (None, "MTA-STS: the record has no id, so it does not count.")

    async def _fetch(self, domain: str) -> str:
        """The policy file. Certificate and name are checked, no redirect is followed (RFC 8461 3.3)."""
        import httpx2  # few processes ever need it

        if self._tls is None:
            self._tls = ssl.create_default_context(cafile=str(self._authorities) if self._authorities else None)
        host = f"mta-sts.{domain}"
        address = await self._address(host)
        shown = f"[{address}]" if ":" in address else address
        try:
            async with httpx2.AsyncClient(
                verify=self._tls,
                follow_redirects=False,
                # TCP and TLS get 0.4 each, so that the client ends them: cancelled from outside, a handshake leaks its socket
                timeout=httpx2.Timeout(self._seconds, connect=0.4 * self._seconds),
                trust_env=False,
            ) as client:
                request = client.build_request(
                    "GET",
                    f"https://{shown}:{self._port}/.well-known/mta-sts.txt",
                    headers={"host": host, "accept-encoding": "identity", "accept": "text/plain"},
                    extensions={"sni_hostname": host},  # which is what the certificate is checked for, too
                )
                async with aclosing(await client.send(request, stream=True)) as answer:
                    if answer.status_code != 200:
                        raise PolicyRefused(f"the site answers {answer.status_code}")
                    if answer.headers.get("content-encoding", "identity") != "identity":
                        raise PolicyRefused("it is packed, though nobody asked for that")
                    if answer.headers.get("content-type", "").partition(";")[0].strip().lower() != "text/plain":
                        raise PolicyRefused("it is not text/plain")
                    return await _bounded(answer)
        except (httpx2.HTTPError, UnicodeError) as error:
            raise PolicyRefused(f"the site could not be reached over trusted TLS ({type(error).__name__})") from error

    async def _address(self, host: str) -> str:
        for kind in ("A", "AAAA"):
            found = await self._resolver.find(host, kind)
            for record in found.records:
                if self._allowed(record.address):
                    return str(record.address)
        raise PolicyRefused(f"{host} has no public address")


async def _bounded(answer: "httpx2.Response") -> str:  # type: ignore[name-defined]  # noqa: F821
    body = b""
    async with aclosing(answer.aiter_raw()) as pieces:
        async for piece in pieces:
            body += piece
            if len(body) > _MOST_BYTES:
                raise PolicyRefused("it is longer than 64 KB")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        raise PolicyRefused("it is not text") from None
