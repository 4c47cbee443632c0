"""How mail hosts and domains behave, well and badly, and what must come of each: `behaviour.example` is its domain."""

from dataclasses import dataclass
from pathlib import Path

from portal.model.routes import Level, Outcome, Rule
from tests.scenarios.lab import (
    Lab,
    Talk,
    drip,
    endless_line,
    flood,
    garbage,
    hang,
    policy,
    saying,
    sts,
    tlsa,
    with_chain,
)

DIRECT, PORTAL, NOBODY, LATER = Outcome.DIRECT, Outcome.PORTAL, Outcome.NOBODY, Outcome.LATER
OPPORTUNISTIC, STS, DANE, DNS = Rule.OPPORTUNISTIC, Rule.MTA_STS, Rule.DANE, Rule.DNS


@dataclass(frozen=True)
class Expected:
    """What must come of a domain at each level, by which rule, and a word that the transcript must have."""

    encrypt: Outcome
    verify: Outcome
    rule: Rule
    word: str = ""

    def at(self, level: Level) -> Outcome:
        return self.encrypt if level is Level.ENCRYPT else self.verify


class Build:
    """Builds domains in a laboratory; `expected` has them by name."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder
        self.expected: dict[str, Expected] = {}

    def expect(
        self, name: str, encrypt: Outcome, verify: Outcome | None = None, rule: Rule = OPPORTUNISTIC, word: str = ""
    ) -> str:
        domain = f"{name}.example"
        self.expected[domain] = Expected(encrypt, encrypt if verify is None else verify, rule, word)
        return domain

    async def hosts(self, domain: str, *talks: Talk | None, secure: bool = False) -> None:
        """MX records, in this order, for hosts that behave so."""
        for number, talk in enumerate(talks):
            host = f"mx{number + 1}.{domain}"
            self.lab.zone.add(domain, "MX", f"{(number + 1) * 10} {host}.", secure=secure)
            await self.lab.host(host, talk, secure=secure)

    async def all(self) -> None:
        await self._certificates()
        await self._refusals()
        await self._without_tls()
        await self._slow_and_strange()
        await self._several()
        await self._names()
        await self._policies()
        await self._dane()

    def good(self, domain: str, host: str = "mx1") -> Talk:
        return self.lab.with_tls(self.lab.authority.server(f"{host}.{domain}"))

    async def _certificates(self) -> None:
        known, unknown = self.lab.authority, self.lab.stranger
        domain = self.expect("good", DIRECT, word="certificate trusted")
        await self.hosts(domain, self.good(domain))
        domain = self.expect("wildcard", DIRECT)
        await self.hosts(domain, self.lab.with_tls(known.server(f"*.{domain}", file="wildcard")))
        domain = self.expect("self-signed", DIRECT, PORTAL, word="not trusted")
        await self.hosts(domain, self.lab.with_tls(unknown.server(f"mx1.{domain}")))
        domain = self.expect("expired", DIRECT, PORTAL, word="expired")
        await self.hosts(domain, self.lab.with_tls(known.server(f"mx1.{domain}", lapsed=True)))
        domain = self.expect("wrong-name", DIRECT, PORTAL, word="ismatch")
        await self.hosts(domain, self.lab.with_tls(known.server("mx.other.example")))
        domain = self.expect("tls10-only", PORTAL, word="STARTTLS fails")
        await self.hosts(domain, self.lab.with_tls(known.server(f"mx1.{domain}"), only_old=True))

    async def _refusals(self) -> None:
        """TLS is right, so it is the relay's own business; a probe does not get as far as to hear these."""
        yes, taken = "250 2.1.5 yes", "250 2.0.0 taken"
        for name, rcpt, end in (
            ("rcpt-451", "451 4.7.1 greylisted, come back", taken),
            ("rcpt-452", "452 4.2.2 mailbox full", taken),
            ("rcpt-550", "550 5.1.1 no such user", taken),
            ("data-451", yes, "451 4.3.0 try again"),
            ("data-554", yes, "554 5.7.1 we do not like it"),
        ):
            domain = self.expect(name, DIRECT)
            pair = self.lab.authority.server(f"mx1.{domain}")
            await self.hosts(domain, self.lab.with_tls(pair, rcpt=rcpt, end=end))

    async def _without_tls(self) -> None:
        quiet = "250-mail.example\r\n250 SIZE 1000"
        offer = "250-mail.example\r\n250 STARTTLS"
        for name, talk, outcome, word in (
            ("no-starttls", self.lab.in_clear(quiet), PORTAL, "does not offer"),
            ("almost-starttls", self.lab.in_clear("250-mail.example\r\n250 X-STARTTLS"), PORTAL, "does not offer"),
            ("helo-only", self.lab.in_clear("502 5.5.1 no EHLO"), PORTAL, "knows no EHLO"),
            ("starttls-454", saying("220 hi", offer, "454 4.7.0 TLS not available"), PORTAL, "refuses it"),
            ("starttls-501", saying("220 hi", offer, "501 what"), PORTAL, "refuses it"),
            ("starttls-421", saying("220 hi", offer, "421 closing"), LATER, "turns us away"),
            ("starttls-closes", saying("220 hi", offer, "220 go"), PORTAL, "STARTTLS fails"),
            ("tls-garbage", saying("220 hi", offer, "220 go", then=garbage), PORTAL, "STARTTLS fails"),
            ("banner-421", saying("421 4.7.0 busy"), LATER, "turns us away"),
            ("banner-450", saying("450 4.7.1 greylisted, come back"), LATER, "turns us away"),
            ("banner-554", saying("554 5.7.1 you are listed"), LATER, "turns us away"),
            ("ehlo-421", saying("220 hi", "421 too many"), LATER, "turns us away"),
            ("ehlo-550", saying("220 hi", "550 5.7.1 who are you"), LATER, "turns us away"),
            ("down", None, LATER, "No connection"),
        ):
            await self.hosts(self.expect(name, outcome, word=word), talk)

    async def _slow_and_strange(self) -> None:
        offer = "250-mail.example\r\n250 STARTTLS"
        for name, talk, outcome, word in (
            ("hang-at-banner", hang, LATER, "greeting within"),
            ("hang-at-starttls", saying("220 hi", offer, then=hang), PORTAL, "STARTTLS within"),
            ("hang-at-handshake", saying("220 hi", offer, "220 go", then=hang), PORTAL, "STARTTLS fails"),
            ("drip-at-banner", drip, LATER, "greeting within"),
            ("drip-at-handshake", saying("220 hi", offer, "220 go", then=drip), PORTAL, "STARTTLS fails"),
            ("flood", flood, LATER, "not SMTP"),
            ("endless-line", endless_line, LATER, "not SMTP"),
            ("http", saying("HTTP/1.1 400 Bad Request"), LATER, "not SMTP"),
            ("closes", saying("220 hi", "250-cut off"), LATER, "ended"),
        ):
            await self.hosts(self.expect(name, outcome, word=word), talk)

    async def _several(self) -> None:
        bare = self.lab.in_clear()
        domain = self.expect("second-has-tls", DIRECT)
        await self.hosts(domain, bare, self.good(domain, "mx2"))
        domain = self.expect("first-down", DIRECT)
        await self.hosts(domain, None, self.good(domain, "mx2"))
        domain = self.expect("down-then-bare", PORTAL)
        await self.hosts(domain, None, bare)
        domain = self.expect("all-down", LATER)
        await self.hosts(domain, None, None, saying("421 busy"))
        domain = self.expect("endless-mx", LATER, word="5 addresses were tried")
        for number in range(300):
            self.lab.zone.add(domain, "MX", f"10 h{number:03}.{domain}.")
        for number in range(8):
            self.lab.zone.add(f"h{number:03}.{domain}", "A", self.lab.address())

    async def _names(self) -> None:
        zone = self.lab.zone
        zone.add(self.expect("null-mx", NOBODY, rule=DNS, word="Null MX"), "MX", "0 .")
        self.expect("nxdomain", NOBODY, rule=DNS, word="no domain")
        zone.add(self.expect("nothing-there", NOBODY, rule=DNS, word="no address"), "TXT", '"hello"')
        zone.broken.add((self.expect("servfail", LATER, rule=DNS, word="say that they failed"), "MX"))
        zone.silent.add(self.expect("dns-silent", LATER, rule=DNS, word="in time"))
        domain = self.expect("implicit-mx", DIRECT)
        zone.add(
            domain, "A", await self.lab.host(f"extra.{domain}", self.lab.with_tls(self.lab.authority.server(domain)))
        )
        domain = self.expect("alias", DIRECT)
        zone.add(domain, "CNAME", "good.example.")
        domain = self.expect("alias-loop", LATER, rule=DNS)
        zone.add(domain, "CNAME", f"x.{domain}.")
        zone.add(f"x.{domain}", "CNAME", f"{domain}.")
        domain = self.expect("mx-without-address", LATER, word="no such name")
        zone.add(domain, "MX", "10 mx1.gone.example.")
        domain = self.expect("mx-servfail", LATER, word="No address")
        zone.add(domain, "MX", f"10 mx1.{domain}.")
        zone.broken.add((f"mx1.{domain}", "ANY"))
        domain = self.expect("lying-address", LATER, word="no address of the internet")
        zone.add(domain, "MX", f"10 mx1.{domain}.")
        zone.add(f"mx1.{domain}", "A", "10.0.0.1", "169.254.169.254")
        domain = self.expect("ipv6-only", LATER, word="no address of the internet")
        zone.add(domain, "MX", f"10 mx1.{domain}.")
        zone.add(f"mx1.{domain}", "AAAA", "::1")
        domain = self.expect("xn--bcher-kva", DIRECT)
        await self.hosts(domain, self.good(domain))

    async def _policies(self) -> None:
        lab = self.lab

        async def one(name: str, encrypt: Outcome, site: object, rule: Rule = STS, word: str = "") -> str:
            """A domain whose host is trusted by nobody: only an enforced policy makes that matter at `encrypt`."""
            domain = self.expect(name, encrypt, PORTAL, rule, word)
            await self.hosts(domain, lab.with_tls(lab.stranger.server(f"mx1.{domain}")))
            await lab.site(domain, site(domain) if callable(site) else site)  # type: ignore[arg-type]
            return domain

        none = OPPORTUNISTIC
        await one("sts-enforce", PORTAL, lambda d: sts("enforce", f"mx1.{d}"), word="mode enforce")
        await one("sts-testing", DIRECT, lambda d: sts("testing", f"mx1.{d}"), none, "mode testing")
        await one("sts-none", DIRECT, lambda d: sts("none"), none, "mode none")
        await one("sts-64kb", DIRECT, lambda d: policy("version: STSv1", "x: " + "y" * 70_000), none, "longer than 64")
        await one(
            "sts-redirect", DIRECT, lambda d: policy("", status="301 Moved", head="location: /x\r\n"), none, "301"
        )
        await one("sts-html", DIRECT, lambda d: policy("version: STSv1", kind="text/html"), none, "text/plain")
        packed = "content-encoding: gzip\r\n"
        await one("sts-packed", DIRECT, lambda d: policy("version: STSv1", head=packed), none, "packed")
        await one("sts-no-mode", DIRECT, lambda d: policy("version: STSv1", "max_age: 1"), none, "version or mode")
        await one("sts-silent", DIRECT, lambda d: lambda: None, none, "no policy could be fetched")
        domain = self.expect("sts-good", DIRECT, rule=STS)
        await self.hosts(domain, self.good(domain))
        await lab.site(domain, sts("enforce", f"*.{domain}"))
        domain = self.expect("sts-mismatch", PORTAL, rule=STS, word="does not name this host")
        await self.hosts(domain, self.good(domain))
        await lab.site(domain, sts("enforce", f"*.mx.{domain}", "mx1.other.example"))
        domain = self.expect("sts-bad-site", DIRECT, PORTAL, word="could not be reached over trusted TLS")
        await self.hosts(domain, lab.with_tls(lab.stranger.server(f"mx1.{domain}")))
        await lab.site(domain, sts("enforce", f"mx1.{domain}"), pair=lab.stranger.server(f"mta-sts.{domain}"))

    async def _dane(self) -> None:
        lab, zone = self.lab, self.lab.zone
        port = lab.mail_port

        async def one(
            name: str, outcome: Outcome, *records: str, rule: Rule = DANE, verify: Outcome | None = None, word: str = ""
        ) -> str:
            domain = self.expect(name, outcome, verify, rule, word)
            pair = lab.stranger.server(f"mx1.{domain}")
            await self.hosts(domain, lab.with_tls(with_chain(pair, lab.stranger, self.folder)), secure=True)
            made = [one if one[:1].isdigit() else tlsa(pair.certificate, *map(int, one[1:].split())) for one in records]
            if made:
                zone.add(f"_{port}._tcp.mx1.{domain}", "TLSA", *made, secure=True)
            return domain

        wrong, authority = "ab" * 32, lab.stranger.ca
        await one("dane-ee-key", DIRECT, "=3 1 1", word="as its TLSA record says")
        await one("dane-ee-whole", DIRECT, "=3 0 0")
        await one("dane-ee-sha512", DIRECT, f"3 1 1 {wrong}", "=3 0 2")
        await one("dane-ta", DIRECT, tlsa(authority, 2, 0, 1), word="of the authority")
        await one("dane-mismatch", PORTAL, f"3 1 1 {wrong}", word="not the one")
        await one("dane-unusable", DIRECT, f"0 1 1 {wrong}", f"3 9 1 {wrong}", rule=OPPORTUNISTIC, verify=PORTAL,
                  word="none of its TLSA")  # fmt: skip
        await one("dane-absent", DIRECT, rule=OPPORTUNISTIC, verify=PORTAL)
        domain = await one("dane-bogus", LATER, word="TLSA records could not")
        zone.broken.add((f"_{port}._tcp.mx1.{domain}", "TLSA"))
        domain = await one("dane-insecure-mx", DIRECT, f"3 1 1 {wrong}", rule=OPPORTUNISTIC, verify=PORTAL)
        zone.secure.discard(domain)
        domain = await one("dane-insecure-host", DIRECT, f"3 1 1 {wrong}", rule=OPPORTUNISTIC, verify=PORTAL)
        zone.secure.discard(f"mx1.{domain}")
        domain = await one("dane-before-sts", DIRECT, "=3 1 1")
        await lab.site(domain, sts("enforce", "mx1.other.example", f"mx1.{domain}"))
        domain = self.expect("dane-expired", DIRECT, rule=DANE)
        pair = lab.authority.server(f"mx1.{domain}", lapsed=True)
        await self.hosts(domain, lab.with_tls(pair), secure=True)
        zone.add(f"_{port}._tcp.mx1.{domain}", "TLSA", tlsa(pair.certificate, 3, 1, 1), secure=True)
        domain = self.expect("dane-ta-wrong-name", PORTAL, rule=DANE, word="not for this name")
        pair = with_chain(lab.stranger.server("mx.nobody.example"), lab.stranger, self.folder)
        await self.hosts(domain, lab.with_tls(pair), secure=True)
        zone.add(f"_{port}._tcp.mx1.{domain}", "TLSA", tlsa(authority, 2, 1, 1), secure=True)
        domain = self.expect("dane-no-starttls", PORTAL, rule=DANE, word="does not offer")
        await self.hosts(domain, lab.in_clear(), secure=True)
        zone.add(f"_{port}._tcp.mx1.{domain}", "TLSA", f"3 1 1 {wrong}", secure=True)
