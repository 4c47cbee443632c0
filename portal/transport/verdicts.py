"""Verdicts: the look-ups, the hosts in order, the judgement; remembered, and never twice at once for one domain.

Nobody waits for somebody else's slow domain. A look begins in one of `lanes` slots; one that takes longer than a second goes on
beside, in one of `slow_lanes`, and its domain starts there the next time. When these are full a slow look ends with `later`. Every
look ends within `seconds`, and whoever asks waits `patience` at most: the look goes on, and its verdict is there when the relay
comes back.
"""

import asyncio
import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from portal.model.parties import domain_name
from portal.transport import Answer, HostTried, Level, Outcome, Rule, Verdict
from portal.transport.dane import records
from portal.transport.probe import Probe, Wanted
from portal.transport.resolver import Found, LookupFailed, NoSuchName, Resolver
from portal.transport.sts import Policies, Policy

STANDS = {
    Outcome.DIRECT: timedelta(hours=1),
    Outcome.PORTAL: timedelta(minutes=15),
    Outcome.NOBODY: timedelta(minutes=10),
    Outcome.LATER: timedelta(minutes=2),
}
"""How long a verdict stands. What keeps mail waiting, or brings it here, is looked at again soon."""
_FRESH = timedelta(minutes=1)
_MOST_ADDRESSES = 5  # Postfix tries as many (smtp_mx_address_limit)
_MOST_HOSTS = 10
_MOST_REMEMBERED = 2_000
_MOST_WAITING = 1_000
_SLOW_SECONDS = 1.0

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_UNICAST = ipaddress.IPv6Network("2000::/3")  # all that IANA has given out

Key = tuple[str, Level]


def public_only(address: str) -> bool:
    """Whether an address is one of the internet's. A domain could name ours, or our neighbours', and have us knock there."""
    read = ipaddress.ip_address(address)
    inner: ipaddress.IPv4Address | None = None
    if isinstance(read, ipaddress.IPv6Address):
        inner = read.ipv4_mapped or read.sixtofour
        if read in _NAT64:
            inner = ipaddress.IPv4Address(int(read) & 0xFFFFFFFF)
    real = inner or read
    if isinstance(real, ipaddress.IPv6Address) and real not in _UNICAST:
        return False
    return real.is_global and not real.is_multicast


def public_or(networks: str) -> Callable[[str], bool]:
    """The same, and the addresses of these networks (a space between) too: those of a laboratory, or of partners behind a tunnel."""
    known = [ipaddress.ip_network(one) for one in networks.split()]
    return lambda address: public_only(address) or any(ipaddress.ip_address(address) in one for one in known)


@dataclass(frozen=True)
class _Host:
    name: str
    preference: int


class Prober:
    """See `Verdicts`. `allowed` says to which addresses a connection may be opened. Without a `probe` only the MX is looked up, and
    what has one is a case for the portal, by rule `unprobed`: nothing else can be proved.
    """

    def __init__(
        self,
        resolver: Resolver,
        policies: Policies,
        probe: Probe | None,
        now: Callable[[], datetime],
        allowed: Callable[[str], bool] = public_only,
        *,
        seconds: float = 30.0,
        patience: float = 10.0,
        lanes: int = 64,
        slow_lanes: int = 256,
    ) -> None:
        self._resolver, self._policies, self._probe, self._now = resolver, policies, probe, now
        self._allowed, self._seconds, self._patience = allowed, seconds, patience
        self._lanes, self._slow_left, self._waiting = asyncio.Semaphore(lanes), slow_lanes, 0
        self._known: OrderedDict[Key, Verdict] = OrderedDict()
        self._slow: OrderedDict[str, None] = OrderedDict()
        self._looking: dict[Key, asyncio.Task[Verdict]] = {}

    async def verdict(self, domain: str, level: Level, fresh: bool = False) -> Verdict:
        key = (domain_name(domain), level)
        known, now = self._known.get(key), self._now()
        if known is not None and now < known.until and not (fresh and now - known.at > _FRESH):
            self._known.move_to_end(key)
            return known
        looking = self._looking.get(key)
        if looking is None:
            if self._waiting >= _MOST_WAITING:
                return self._later(key, "Too many domains are being looked at. Ask again.")
            looking = asyncio.create_task(self._look(key))
            self._looking[key] = looking
            looking.add_done_callback(lambda _: self._looking.pop(key, None))
        await asyncio.wait({looking}, timeout=self._patience)
        if not looking.done():
            return self._later(key, f"Nothing is known after {self._patience:g} seconds; the look goes on.")
        return looking.result() if not looking.cancelled() else self._later(key, "The portal is stopping.")

    async def close(self) -> None:
        """Ends what is being looked at."""
        tasks = list(self._looking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- lanes

    async def _look(self, key: Key) -> Verdict:
        slow = key[0] in self._slow
        if not slow:
            self._waiting += 1
            try:
                await self._lanes.acquire()
            finally:
                self._waiting -= 1
        work = asyncio.create_task(self._found_in_time(key))
        try:
            if not slow:
                try:
                    await asyncio.wait({work}, timeout=_SLOW_SECONDS)
                finally:
                    self._lanes.release()
            found = work.result() if work.done() else await self._beside(key, work)
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
        self._known[key] = found
        self._known.move_to_end(key)
        while len(self._known) > _MOST_REMEMBERED:
            self._known.popitem(last=False)
        return found

    async def _beside(self, key: Key, work: "asyncio.Task[Verdict]") -> Verdict:
        self._slow[key[0]] = None
        while len(self._slow) > _MOST_REMEMBERED:
            self._slow.popitem(last=False)
        if self._slow_left <= 0:
            return self._later(key, "Too many slow domains are being looked at.")
        self._slow_left -= 1
        started = asyncio.get_running_loop().time()
        try:
            found = await work
        finally:
            self._slow_left += 1
        if asyncio.get_running_loop().time() - started < _SLOW_SECONDS / 2:
            self._slow.pop(key[0], None)
        return found

    async def _found_in_time(self, key: Key) -> Verdict:
        look = _Look(key, self._resolver, self._policies, self._probe, self._allowed)
        try:
            async with asyncio.timeout(self._seconds):
                outcome, rule = await look.run()
        except TimeoutError:
            look.say(f"After {self._seconds:g} seconds the look was cut.")
            outcome, rule = Outcome.LATER, look.so_far
        return self._verdict(key, outcome, rule, look.hosts, look.policy, look.lines)

    def _later(self, key: Key, why: str) -> Verdict:
        return self._verdict(key, Outcome.LATER, Rule.DNS, [], None, [why])

    def _verdict(
        self,
        key: Key,
        outcome: Outcome,
        rule: Rule,
        hosts: Sequence[HostTried],
        policy: Policy | None,
        lines: Sequence[str],
    ) -> Verdict:
        now = self._now()
        match = policy.mx if policy is not None and policy.mode == "enforce" else ()
        return Verdict(*key, outcome, rule, tuple(hosts), match, now, now + STANDS[outcome], tuple(lines))


class _Look:
    """One look at one domain. What it found stays readable when it is cut."""

    def __init__(
        self, key: Key, resolver: Resolver, policies: Policies, probe: Probe | None, allowed: Callable[[str], bool]
    ) -> None:
        self._domain, self._level = key
        self._resolver, self._policies, self._probe, self._allowed = resolver, policies, probe, allowed
        self.hosts: list[HostTried] = []
        self.policy: Policy | None = None
        self.lines: list[str] = []
        self.rule = Rule.OPPORTUNISTIC
        self._asks_nothing = False  # known: no policy of its own, and no DANE without a secure MX
        self._names: tuple[str, ...] = (self._domain,)

    def say(self, line: str) -> None:
        self.lines.append(line[:400])

    async def run(self) -> tuple[Outcome, Rule]:
        try:
            hosts, secure = await self._mail_hosts()
        except NoSuchName:
            self.say(f"There is no domain {self._domain}.")
            return Outcome.NOBODY, Rule.DNS
        except LookupFailed as error:
            self.say(f"MX could not be looked up: {error}.")
            return Outcome.LATER, Rule.DNS
        if not hosts:
            return Outcome.NOBODY, Rule.DNS
        if self._probe is None:
            self.say("Probing is switched off here, so no host is tried.")
            return Outcome.PORTAL, Rule.UNPROBED
        self.policy, said = await self._policies.of(self._domain)
        for line in said:
            self.say(line)
        if self._enforced:
            self.rule = Rule.MTA_STS
        self._asks_nothing = not secure
        for host in hosts:
            if len(self.hosts) >= _MOST_ADDRESSES:
                self.say(f"More hosts are named; as relays do, {_MOST_ADDRESSES} addresses were tried.")
                break
            await self._host(self._probe, host, secure)
            if self.hosts and self.hosts[-1].answer is Answer.SAFE:
                return Outcome.DIRECT, self.hosts[-1].rule
        unsafe = [one for one in self.hosts if one.answer is Answer.UNSAFE]
        if not unsafe:
            unknown = any(one.rule is Rule.DNS for one in self.hosts)
            return Outcome.LATER, self.so_far if unknown or self._by_dane(self.hosts) else self.rule
        return Outcome.PORTAL, Rule.DANE if self._by_dane(unsafe) else self.rule

    @staticmethod
    def _by_dane(hosts: Sequence[HostTried]) -> bool:
        return any(one.rule is Rule.DANE for one in hosts)

    @property
    def so_far(self) -> Rule:
        """What decides where the look has not come to its end: nothing weaker than what the domain may yet turn out to demand."""
        if self._by_dane(self.hosts):
            return Rule.DANE
        return self.rule if self._asks_nothing or self._enforced else Rule.DNS

    @property
    def _enforced(self) -> bool:
        return self.policy is not None and self.policy.mode == "enforce"

    async def _mail_hosts(self) -> tuple[list[_Host], bool]:
        """The hosts in the order in which they are tried (RFC 5321 5.1), and whether that is secure; none when there is nobody.

        Raises NoSuchName and LookupFailed.
        """
        found = await self._resolver.find(self._domain, "MX")
        authentic = " (DNSSEC)" if found.secure else ""
        self._names = tuple(dict.fromkeys((self._domain, found.name)))
        named = [_Host(one.exchange.to_text(omit_final_dot=True).lower(), one.preference) for one in found.records]
        if not named:
            self.say(f"No MX{authentic}: the domain itself is its mail host.")
            if not await self._has_address():
                return [], found.secure
            return [_Host(found.name, 0)], found.secure
        real = sorted(
            {one for one in named if one.name not in ("", "@", ".")}, key=lambda one: (one.preference, one.name)
        )
        if not real:
            self.say(f"Null MX{authentic}: the domain takes no mail (RFC 7505).")
            return [], found.secure
        shown = ", ".join(f"{one.preference} {one.name}" for one in real[:_MOST_HOSTS])
        more = f" and {len(real) - _MOST_HOSTS} more" if len(real) > _MOST_HOSTS else ""
        self.say(f"MX{authentic}: {shown}{more}.")
        return real[:_MOST_HOSTS], found.secure

    async def _has_address(self) -> bool:
        for kind in ("A", "AAAA"):
            if (await self._resolver.find(self._domain, kind)).records:
                return True
        self.say("It has no address either, so nobody takes its mail.")
        return False

    async def _host(self, probe: Probe, host: _Host, secure: bool) -> None:
        if self._enforced and self.policy is not None and not self.policy.allows(host.name):
            said = "The domain's MTA-STS policy does not name this host, so no mail may go there."
            return self._tried(HostTried(host.name, "", host.preference, Answer.UNSAFE, said, rule=Rule.MTA_STS))
        try:
            found = await self._addresses(host.name)
        except (NoSuchName, LookupFailed) as error:
            said = "It has no address: no such name." if isinstance(error, NoSuchName) else f"No address: {error}."
            rule = Rule.DNS if secure and isinstance(error, LookupFailed) and not self._enforced else self.rule
            return self._tried(HostTried(host.name, "", host.preference, Answer.AWAY, said, rule=rule))
        wanted = await self._wanted(host, found, secure, probe.port)
        if wanted is None:
            return None
        addresses = [str(record.address) for one in found for record in one.records]
        if not addresses:
            said = "It has no address."
            return self._tried(HostTried(host.name, "", host.preference, Answer.AWAY, said, rule=wanted.rule))
        for address in addresses[: _MOST_ADDRESSES - len(self.hosts)]:
            if self._allowed(address):
                tried = await probe.host(host.name, address, host.preference, wanted)
            else:
                said = "This is no address of the internet; it is not tried."
                tried = HostTried(host.name, address, host.preference, Answer.AWAY, said, rule=wanted.rule)
            self._tried(tried)
            if tried.answer is Answer.SAFE:
                return None
        return None

    async def _addresses(self, host: str) -> list[Found]:
        """IPv4 first: more portals have a way out by it. One of the two may fail. Raises NoSuchName and LookupFailed."""
        results = await asyncio.gather(
            self._resolver.find(host, "A"), self._resolver.find(host, "AAAA"), return_exceptions=True
        )
        found = [one for one in results if isinstance(one, Found)]
        if not found:
            raise next(one for one in results if isinstance(one, BaseException))
        return found

    async def _wanted(self, host: _Host, addresses: list[Found], secure: bool, port: int) -> Wanted | None:
        """What is asked of a host; None when its TLSA records can't be had, which makes it a host to try later (RFC 7672 2.1.2)."""
        level = Level.VERIFY if self._enforced else self._level
        if not secure:
            return Wanted(level, self.rule)
        try:
            found = await records(self._resolver, host.name, addresses, port)
        except LookupFailed as error:
            said = f"It is left alone: {error}."
            self._tried(HostTried(host.name, "", host.preference, Answer.AWAY, said, rule=Rule.DANE))
            return None
        if found is None:
            return Wanted(level, self.rule)
        if not found.usable:
            self.say(f"{host.name}: none of its TLSA records can be used; TLS it must be (RFC 7672 2.2).")
            return Wanted(level, self.rule)
        return Wanted(level, Rule.DANE, found, self._names)

    def _tried(self, tried: HostTried) -> None:
        self.hosts.append(tried)
        where = f"{tried.host} [{tried.address}]" if tried.address else tried.host
        self.say(f"{where}: {tried.said}")
