"""A look at a domain that is cut, or whose look-ups fail, never ends with less than the domain may demand."""

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace as N
from typing import Any

import dns.name
import pytest

from portal.lookup.answers import policy_of
from portal.model.routes import Level
from portal.transport import Answer, HostTried
from portal.transport.resolver import Found, LookupFailed
from portal.transport.sts import Policies
from portal.transport.verdicts import Prober

pytestmark = pytest.mark.anyio


class Names:
    """A signed domain with TLSA records."""

    def __init__(self, *, fail_address: bool = False, slow_tlsa: bool = False) -> None:
        self.fail, self.slow = fail_address, slow_tlsa

    async def find(self, name: str, kind: str) -> Found:
        if kind == "MX":
            return Found((N(exchange=dns.name.from_text("mx.dane.example."), preference=10),), True, name)
        if kind in ("A", "AAAA") and self.fail:
            raise LookupFailed("SERVFAIL")
        if kind == "A":
            return Found(tuple(N(address=f"198.51.100.{last}") for last in (1, 2, 3)), True, name)
        if kind == "AAAA":
            return Found((), True, name)
        assert kind == "TLSA"
        if self.slow:
            await asyncio.sleep(9)
        return Found((N(usage=3, selector=1, mtype=1, cert=b"x" * 32),), True, name)


class NoPolicies:
    """No domain has MTA-STS."""

    async def of(self, domain: str) -> tuple[None, list[str]]:
        return None, []


class Drip:
    """Mail hosts that are cut for being slow."""

    port = 25

    async def host(self, host: str, address: str, preference: int, wanted: Any) -> HostTried:
        await asyncio.sleep(0.2)
        return HostTried(host, address, preference, Answer.AWAY, "cut", rule=wanted.rule)


@pytest.mark.parametrize(
    ("names", "seconds"),
    [(Names(), 10), (Names(), 0.5), (Names(slow_tlsa=True), 0.5), (Names(fail_address=True), 10)],
    ids=["whole", "cut-while-probing", "cut-at-tlsa", "no-address"],
)
async def test_dane_is_not_forgotten(names: Any, seconds: float) -> None:
    """The relay hears `dane-only`, or to ask again; never a weaker policy."""
    policies: Any = NoPolicies()
    probe: Any = Drip()
    prober = Prober(names, policies, probe, lambda: datetime.now(UTC), lambda _: True, seconds=seconds)
    found = await prober.verdict("dane.example", Level.ENCRYPT)
    said = policy_of(found)
    assert said.status == "TEMP" or said.text.startswith("dane-only"), (found.outcome, found.rule, said)


class Fetched(Policies):
    """Policies of a site that may be cut off."""

    away = False

    async def _id(self, domain: str) -> tuple[str | None, str]:
        return "1", ""

    async def _fetch(self, domain: str) -> str:
        if self.away:
            raise OSError("cut off")
        return "version: STSv1\r\nmode: enforce\r\nmx: mx.sts.example\r\nmax_age: 259200\r\n"


async def test_a_policy_is_fetched_again_before_it_ends() -> None:
    """With the same id, once a day: whoever cuts its site off at its end comes too late; a failure leaves what stands."""
    now = datetime(2026, 11, 28, tzinfo=UTC)
    nobody: Any = None
    policies = Fetched(nobody, lambda: now, lambda _: True)
    for days, away, stands in ((0, False, True), (2, False, True), (4, True, True), (6, True, False)):
        now, policies.away = datetime(2026, 11, 28, tzinfo=UTC) + timedelta(days=days), away
        assert ((await policies.of("sts.example"))[0] is not None) is stands, days
