"""The fallback and the classes, configured by admins: domains proved by DNS, credentials changed over, rules, previews, look."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import dns.message
import dns.rcode
import dns.rrset
import pytest
from PIL import Image

from portal.assembly import open_house
from portal.clock import Source
from portal.db import orgs
from portal.db.tables import deliveries, org_domains, policies, policy_rules, relay_credentials
from portal.intake import Relay
from portal.model.colours import contrast, read_colour
from portal.model.errors import InputRefused, RelayUnknown, SenderNotYours
from portal.model.ids import PolicyId
from portal.model.policy import Policy
from portal.model.staff import Role
from portal.orgs.classes import Classes
from portal.orgs.recipe import Names, postfix
from portal.orgs.setup import Setup
from portal.transport.resolver import Resolver
from portal.web.app import build
from tests.authenticator import Authenticator
from tests.servers import free_port
from tests.story.seams import rows
from tests.story.staff import OPERATOR, Desk, desk
from tests.story.test_returned import bounce
from tests.story.ways import add_passkey, use_passkey
from tests.world import ALICE, BOB, CAROL, World, letter

pytestmark = pytest.mark.anyio


async def dora(world: World) -> Desk:
    return await desk(world, Role.ADMIN, "dora@clinic.example")


class Nameserver(asyncio.DatagramProtocol):
    """A name server with TXT records. With `rcode` it answers that to everything; `mute` never answers."""

    def __init__(self) -> None:
        self.records: dict[str, list[str]] = {}
        self.rcode, self.mute = dns.rcode.NOERROR, False
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self.mute:
            return
        query = dns.message.from_wire(data)
        answer = dns.message.make_response(query)
        name = query.question[0].name
        found = self.records.get(name.to_text().rstrip(".").lower())
        answer.set_rcode(self.rcode if found or self.rcode else dns.rcode.NXDOMAIN)
        if found:
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", *[f'"{one}"' for one in found]))
        self.transport.sendto(answer.to_wire(), addr)


@asynccontextmanager
async def nameserver(port: int, host: str = "127.0.0.1") -> AsyncIterator[Nameserver]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(Nameserver, local_addr=(host, port))
    try:
        yield server
    finally:
        transport.close()


async def test_a_domain_is_proved_by_its_txt_record(world: World) -> None:
    """Claimed, looked for in vain, then found: its senders can use the portal, and not a moment before."""
    port = free_port()
    settings = world.house.settings.model_copy(update={"name_servers": f"127.0.0.1:{port}"})
    async with nameserver(port) as server, open_house(settings, Source(now=world.clock.now)) as house:
        world.app = build(house.site(), house.not_ready, house.staff_site())
        who = await dora(world)
        await who.get("/staff/fallback")
        assert (await who.post("/staff/fallback/domains", {"domain": "New.Example"})).status_code == 303
        await who.get("/staff/fallback")
        found = re.search(r'_portal-domain\.new\.example\. IN TXT "([^"]+)"', who.page)
        assert found
        prove = "/staff/fallback/domains/new.example/prove"
        for records, said in (
            ({}, "there is no such record"),
            ({"_portal-domain.new.example": ["v=spf1 -all"]}, "1 other TXT records are there"),
            ({"_portal-domain.new.example": [found[1] + "x"]}, "other TXT records"),
        ):
            server.records = records
            answer = await who.post(prove)
            assert (answer.status_code, said in answer.text) == (422, True), answer.text[-600:]
        with pytest.raises(SenderNotYours):
            await world.intake.check_sender(world.relay, "x@new.example", "192.0.2.1")
        server.records = {"_portal-domain.new.example": ["v=spf1 -all", found[1]]}
        assert (await who.post(prove)).status_code == 303
        await world.intake.check_sender(world.relay, "x@new.example", "192.0.2.1")
        assert (await rows(world, org_domains, domain="new.example"))[0]["proof"] == "dns"
        assert [one.detail["domain"] for one in await world.events("DomainNotProved")] == ["new.example"] * 3
        server.rcode = dns.rcode.SERVFAIL
        await who.get("/staff/fallback")
        await who.post("/staff/fallback/domains", {"domain": "other.example"})
        await who.get("/staff/fallback")
        answer = await who.post("/staff/fallback/domains/other.example/prove")
        assert (answer.status_code, "did not answer" in answer.text) == (422, True)


async def test_name_servers_have_an_address_and_a_port_each() -> None:
    """IPv6 stands in brackets before a port, and each name server is asked at its own."""
    first, second = free_port(), free_port()
    async with nameserver(first, "::1") as server:
        server.records = {"x.example": ["found"]}
        assert await Resolver(f"[::1]:{first}").txt("x.example") == ("found",)
        assert await Resolver(f"127.0.0.1:{second} [::1]:{first}").txt("x.example") == ("found",)


async def test_domains_of_others_and_nonsense_are_refused(world: World) -> None:
    """What is no domain, one's own already, another organisation's, or the one that notices come from."""
    who = await dora(world)
    await who.get("/staff/fallback")
    for domain, said in (("no domain", "not a domain name"), ("clinic.example", "already"), ("", "not a domain name")):
        answer = await who.post("/staff/fallback/domains", {"domain": domain})
        assert (answer.status_code, said in answer.text) == (422, True), domain
    answer = await who.post("/staff/fallback/domains/clinic.example/remove")
    assert (answer.status_code, "Notices come from" in answer.text) == (422, True)
    answer = await who.post("/staff/fallback/domains/practice.example/remove")
    assert answer.status_code == 422
    assert len(await rows(world, org_domains)) == 2


async def login(page: str) -> tuple[str, str]:
    found = re.findall(r'<dd class="mono">([^<]+)</dd>', page)
    return found[0], found[1]


async def test_a_relay_changes_over_with_two_credentials_valid_at_once(world: World) -> None:
    """The second is made while the first is in use; a third is refused; the disabled one is out at once, also on an open line."""
    who = await dora(world)
    await who.get("/staff/fallback")
    made = await who.post("/staff/fallback/relays", {"name": "edge"})
    first = await login(made.text)
    relay_id = (await rows(world, relay_credentials))[-1]["relay_id"]
    page = f"/staff/fallback/relays/{relay_id}"
    await who.get(page)
    second = await login((await who.post(f"{page}/rotate")).text)
    lines = [await world.intake.relay_by_password(*one, "192.0.2.1") for one in (first, second)]
    assert {line.id for line in lines} == {relay_id}
    await who.get(page)
    assert "Make a second credential" not in who.page
    refused = await who.post(f"{page}/rotate")
    assert (refused.status_code, "Two credentials" in refused.text) == (422, True)
    old = next(row["id"] for row in await rows(world, relay_credentials) if row["username"] == first[0])
    assert (await who.post(f"{page}/credentials/{old}/disable")).status_code == 303
    with pytest.raises(RelayUnknown):
        await world.intake.relay_by_password(*first, "192.0.2.1")
    with pytest.raises(RelayUnknown):
        await world.intake.check_sender(lines[0], CAROL, "192.0.2.1")
    await world.intake.check_sender(lines[1], CAROL, "192.0.2.1")
    used = {row["username"]: row["used_from"] for row in await rows(world, relay_credentials)}
    assert used[second[0]] == "192.0.2.1"
    assert second[1] not in str(await rows(world, relay_credentials))


async def test_sent_twice_over_both_credentials_it_is_stored_once(world: World) -> None:
    """The retry after the change-over comes with the new credential: it is the same relay, and the same message."""
    await world.deliver(queue_id="4abc")
    second = await world.house.fallback(OPERATOR).rotate(world.northside, world.relay.id, None)
    again = await world.deliver(
        relay=Relay(world.relay.id, world.northside.id, "relay", second.row.id), queue_id="4abc"
    )
    assert again.again
    assert len(await rows(world, deliveries)) == 1


async def test_a_relay_is_bound_to_its_senders(world: World) -> None:
    """Bound to one domain it may not hand over another's, and the page says what was refused and why."""
    fallback = world.house.fallback(OPERATOR)
    await fallback.add_domain(world.northside, "labs.example")
    who = await dora(world)
    page = f"/staff/fallback/relays/{world.relay.id}"
    await who.get(page)
    assert (await who.post(f"{page}/domains", {"domain": "labs.example"})).status_code == 303
    await world.intake.check_sender(world.relay, "x@labs.example", "192.0.2.1")
    with pytest.raises(SenderNotYours):
        await world.intake.check_sender(world.relay, CAROL, "192.0.2.9")
    await who.get(page)
    assert "not one that this relay may hand over" in who.page
    assert "192.0.2.9" in who.page
    live = (await who.get(f"{page}/live")).json()["lately"]
    assert live[0]["good"] is False
    assert (await who.post(f"{page}/domains", {})).status_code == 303
    await world.deliver()
    live = (await who.get(f"{page}/live")).json()["lately"]
    assert (live[0]["good"], live[0]["text"]) == (True, "Taken in for 1 recipient, class default 1")
    await world.worker.send_due()
    await bounce(world, world.sink.messages[-1].mail_from)
    live = (await who.get(f"{page}/live")).json()["lately"]
    assert (live[0]["good"], live[0]["text"]) == (True, "Brought back what became of a mail of the portal's")
    foreign = f"/staff/fallback/relays/{world.foreign_relay.id}"
    assert (await who.get(foreign)).status_code == 404


def test_the_configuration_to_copy_is_the_tested_recipe() -> None:
    """With the page's own names it is the page's own text, line by line; with others, theirs."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "RELAY.md").read_text()
    blocks = postfix(Names("portal.example", "2526", "portal.example", "portal@clinic.example", ("clinic.example",)))
    assert len(blocks) == 3
    for block in blocks:
        assert block.text in page
    names = Names("mx.p.example", "25", "p.example", "n@a.example", ("a.example", "b.example"), "user", "pass")
    text = "".join(block.text for block in postfix(names))
    assert "[mx.p.example]:25 user:pass" in text
    assert "relay_domains = a.example, b.example, p.example" in text
    assert text.count("internal:[") == 2
    assert "portal.example" not in text
    assert " clinic.example" not in text


async def test_which_class_a_mail_comes_under(world: World) -> None:
    """The header first, then a tag in the subject, then the sender, then the sender's domain, else the default."""
    classes = Classes(world.house.db, world.house.source, OPERATOR)
    for name in ("header", "tag", "sender", "domain"):
        await classes.set(world.northside.id, Policy(PolicyId(""), world.northside.id, name, 0))
    who = await dora(world)
    await world.house.fallback(OPERATOR).add_domain(world.northside, "labs.example")
    await who.get("/staff/classes")
    for kind, value, name in (
        ("tag", "[ Secure ]", "tag"),
        ("sender", "Carol@clinic.example", "sender"),
        ("domain", "LABS.example", "domain"),
    ):
        answer = await who.post("/staff/rules", {"kind": kind, "value": value, "policy_name": name})
        assert answer.status_code == 303, answer.text[-500:]

    async def under(mail: bytes, sender: str = CAROL) -> str:
        await world.deliver(mail, sender=sender)
        return str((await rows(world, deliveries))[-1]["policy_name"])

    assert await under(b"X-Portal-Class: header\r\n" + letter(subject="[secure] x", message_id="<1@x>")) == "header"
    assert await under(letter(subject="Re: [SECURE] results", message_id="<2@x>")) == "tag"
    assert await under(letter(message_id="<3@x>")) == "sender"
    assert await under(letter(message_id="<4@x>"), "x@labs.example") == "domain"
    assert await under(letter(subject="[other] x", message_id="<5@x>"), "erin@clinic.example") == "default"
    stored = await rows(world, policy_rules)
    assert b"carol" not in b"".join(row["value_sealed"] + row["value_hash"] for row in stored)
    await who.get("/staff/classes")
    for value in ("[secure]", "carol@clinic.example", "labs.example"):
        assert value in who.page
    for fields, said in (
        ({"kind": "tag", "value": "[]", "policy_name": "tag"}, "A tag is a word"),
        ({"kind": "sender", "value": "x@elsewhere.example", "policy_name": "tag"}, "not in a sender domain"),
        ({"kind": "domain", "value": "?", "policy_name": "tag"}, "no domain name"),
        ({"kind": "tag", "value": "x", "policy_name": "nope"}, "no class of that name"),
        ({"kind": "moon", "value": "x", "policy_name": "tag"}, "A tag is a word"),
    ):
        answer = await who.post("/staff/rules", fields)
        assert (answer.status_code, said in answer.text) == (422, True), fields
    ref = re.search(r"/staff/rules/([0-9a-f]{64})/remove", who.page)
    assert ref
    assert (await who.post(f"/staff/rules/{ref[1]}/remove")).status_code == 303
    assert (await who.post(f"/staff/rules/{ref[1]}/remove")).status_code == 422


GOOD = {
    "life_days": "60",
    "retention_days": "700",
    "reminder_days": "5",
    "warn_days": "3",
    "assurance": "2",
    "reply": "no",
    "notice_language": "es",
    "unverified": "yes",
    "scan": "tried",
    "previews": "yes",
}


async def test_a_change_of_a_class_shows_what_it_would_do_before_it_is_saved(world: World) -> None:
    """Before and after, who is under way, who could not open the next one; saved on a second press; messages keep theirs."""
    await world.announce()
    who = await dora(world)
    await who.get("/staff/classes/default")
    shown = await who.post("/staff/classes/default", {**GOOD, "base": "1"})
    assert shown.status_code == 200
    for words in (
        "Readable for (days)",
        "1 of them could not open the next one by themselves",
        "keep what they came under",
    ):
        assert words in shown.text, words
    assert len(await rows(world, policies, org_id=world.northside.id)) == 1
    base = re.search(r'name="base" value="(\d+)"', shown.text)
    assert base
    saved = await who.post("/staff/classes/default", {**GOOD, "base": base[1], "sure": "yes"})
    assert saved.status_code == 303
    async with world.house.db.read() as tx:
        newest = (await orgs.versions(tx, world.northside.id, "default"))[0][0]
    assert (newest.version, newest.life_days, newest.assurance, newest.reply_allowed) == (2, 60, 2, False)
    stale = await who.post("/staff/classes/default", {**GOOD, "base": "1", "sure": "yes"})
    assert (stale.status_code, "changed this class meanwhile" in stale.text) == (422, True)
    mail = b"X-Portal-Access-Code: green hill 77\r\n" + letter(message_id="<2@clinic.example>")
    await world.announce(mail, (BOB,))
    assert "Tiene un mensaje" in str(world.mail_for(BOB)["Subject"]) or "mensaje" in world.text_for(BOB)
    assert [row["needs"] for row in await rows(world, deliveries)] == [1, 2]
    (event,) = [one for one in await world.events("PolicySet") if one.who == "staff"]
    assert event.detail["notice_language"] == "es"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"life_days": "0"}, "from 1 to"),
        ({"life_days": "x"}, "whole number"),
        ({"life_days": "99999"}, "from 1 to"),
        ({"retention_days": "30"}, "at least as long as they can be read"),
        ({"reminder_days": "60"}, "A reminder comes"),
        ({"warn_days": ""}, "must hear of a message that nobody reads"),
        ({"warn_days": "61"}, "must hear of a message that nobody reads"),
        ({"assurance": "9"}, "what a sign-in must prove"),
        ({"notice_language": "xx"}, "one of the languages"),
        ({"name": "Bad Name"}, "lower-case letters"),
        ({"name": "default"}, "There is a class of that name"),
    ],
)
async def test_a_policy_that_would_strand_messages_is_refused(world: World, wrong: dict[str, str], said: str) -> None:
    """Each wrong value is refused with what to do, and what was typed stays."""
    who = await dora(world)
    await who.get("/staff/classes/new")
    answer = await who.post("/staff/classes/new", {**GOOD, "name": "results", "base": "0", "sure": "yes", **wrong})
    assert (answer.status_code, said in answer.text) == (422, True), answer.text[-800:]
    assert 'value="700"' in answer.text or "retention_days" in wrong
    assert len(await rows(world, policies, org_id=world.northside.id)) == 1


async def test_a_notice_over_unverified_hops_is_not_sent_where_the_class_forbids(world: World) -> None:
    """The submission host offers no REQUIRETLS: nothing is sent to the recipient, and the sender is told at once."""
    classes = Classes(world.house.db, world.house.source, OPERATOR)
    policy = Policy(PolicyId(""), world.northside.id, "default", 0, unverified_notice=False)
    await classes.set(world.northside.id, policy)
    await world.deliver()
    while await world.worker.send_due():
        pass
    assert not [mail for mail in world.sink.messages if ALICE in mail.rcpt_to]
    assert [mail for mail in world.sink.messages if CAROL in mail.rcpt_to]
    assert "REQUIRETLS" in (await world.events("NoticeFailed"))[0].detail["reason"]


async def test_the_look_is_checked_and_a_logo_drawn_anew(world: World) -> None:
    """A colour is corrected until it reads; an SVG, a bomb and nothing at all are refused; a picture loses all but its pixels."""
    who = await dora(world)
    await who.get("/staff/look")
    good = {"name": "Northside", "address": "1 Lane", "phone": "+1 555", "language": "es", "accent": "#ffee00"}
    assert (await who.post("/staff/look", good)).status_code == 303
    page = (await who.get("/staff/look")).text
    assert "was corrected" in page
    for wrong, said in (
        ({"name": ""}, "give the name"),
        ({"accent": "red"}, "hexadecimal"),
        ({"language": "xx"}, "languages"),
    ):
        answer = await who.post("/staff/look", {**good, **wrong})
        assert (answer.status_code, said in answer.text) == (422, True)
    picture = Path(world.house.settings.keys_url.removeprefix("keyring://")).parent / "p.png"
    Image.new("RGB", (2000, 1000), "navy").save(picture)
    token = who.csrf

    async def send(raw: bytes, name: str = "x.png") -> int:
        answer = await who.http.post(
            "/staff/look/logo", files=[("csrf", (None, token)), ("logo", (name, raw, "image/png"))]
        )
        return answer.status_code

    assert await send(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "x.svg") == 422
    assert await send(b"") == 422
    assert await send(b"\x89PNG\r\n\x1a\n" + b"x" * 100) == 422
    assert await send(b"x" * (2 * 1024 * 1024 + 1)) in (413, 422)
    assert await send(picture.read_bytes()) == 303
    logo = await who.get("/staff/look/logo.png")
    assert logo.headers["content-type"] == "image/png"
    assert len(logo.content) < 100_000
    changed = [one.detail["changed"] for one in await world.events("OrganisationChanged")]
    assert ["logo"] in changed


async def test_a_name_server_that_never_answers_is_not_waited_for(world: World) -> None:
    """A look-up ends within seconds, as one that could not be made."""
    port = free_port()
    async with nameserver(port) as server:
        server.mute = True
        resolver = Resolver(f"127.0.0.1:{port}")
        began = asyncio.get_running_loop().time()
        from portal.model.errors import StorageAway

        with pytest.raises(StorageAway):
            await resolver.txt("_portal-domain.slow.example")
        assert asyncio.get_running_loop().time() - began < 8
    assert world


async def test_patients_see_the_look_corrected_and_anew_after_each_change(world: World) -> None:
    """Colour and logo stand on the recipients' pages under names that change with them; text on them reads at 7:1."""
    setup = Setup(world.house.db, world.house.source, OPERATOR)
    picture = Path(world.house.settings.keys_url.removeprefix("keyring://")).parent / "p.png"
    Image.new("RGB", (200, 100), "navy").save(picture)
    await setup.present(world.northside, {"accent": "#ffee00", "logo": picture.read_bytes()})
    token = await world.announce()
    alice = world.browser()
    await alice.get(f"/m/{token}")
    css, png = re.findall(r"/look/\w+\.(?:css|png)", alice.page)
    sheet = await alice.http.get(css)
    assert sheet.headers["content-type"].startswith("text/css")
    assert "immutable" in sheet.headers["cache-control"]
    values = {}
    for found in re.finditer(r"--(pine|on|link):(#[0-9a-f]{6})", sheet.text.splitlines()[0]):
        colour = read_colour(found[2])
        assert colour
        values[found[1]] = colour
    white = read_colour("#ffffff")
    assert white
    assert contrast(values["pine"], values["on"]) >= 7
    assert contrast(values["link"], white) >= 7
    assert (await alice.http.get(png)).content == picture.read_bytes()
    await alice.get(await alice.sign_in(token))
    assert css in alice.page
    organisation = await setup.organisation("northside")
    await setup.present(organisation, {"accent": None})
    await alice.get("/inbox")
    assert css not in alice.page
    assert (await alice.http.get(css)).status_code == 404
    assert len(re.findall(r"/look/l\w+\.png", alice.page)) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("Dear {name}", "no others"),
        ("{organisation.id}", "no others"),
        ("{phone!r}", "no others"),
        ("{", "Braces"),
        ("See https://evil.example/x", "No links"),
        ("See evil.example", "No links"),
        ("Write to a@b", "No links"),
        ("x" * 501, "at most 500"),
    ],
)
async def test_own_words_in_notices_are_linted(world: World, words: str, said: str) -> None:
    """Only the organisation's own fields, no link, one paragraph: the rest is refused with what may stand there."""
    who = await dora(world)
    await who.get("/staff/look")
    good = {"name": "Northside", "address": "1 Lane", "phone": "+1 555", "language": "en", "notice_words": words}
    answer = await who.post("/staff/look", good)
    assert (answer.status_code, said in answer.text) == (422, True)


async def test_own_words_stand_in_the_organisations_language_only(world: World) -> None:
    """The paragraph is in the English notice, filled in, and in no Spanish one."""
    setup = Setup(world.house.db, world.house.source, OPERATOR)
    await setup.present(
        world.northside, {"notice_words": "Questions? {organisation} answers on {phone}, weekdays 8 to 5."}
    )
    await world.announce()
    assert "Questions? Northside Clinic answers on +1 555 0100" in " ".join(world.text_for(ALICE).split())
    classes = Classes(world.house.db, world.house.source, OPERATOR)
    await classes.set(world.northside.id, Policy(PolicyId(""), world.northside.id, "default", 0, notice_language="es"))
    await world.announce(letter(message_id="<2@clinic.example>"), (BOB,))
    assert "Questions?" not in world.text_for(BOB)


async def test_an_organisations_own_host_is_where_its_notices_lead(world: World) -> None:
    """Links, the front page's address and the words of trust name it; sign-in, forms and passkeys work there; others keep theirs."""
    setup = Setup(world.house.db, world.house.source, OPERATOR)
    await setup.present(world.northside, {"host": "Messages.Clinic.example"})
    await world.deliver()
    while await world.worker.send_due():
        pass
    text = world.text_for(ALICE)
    found = re.search(r"https://messages\.clinic\.example/m/([\w-]+)", text)
    assert found
    assert "portal.example/m/" not in text
    alice = world.browser()
    alice.http.base_url = "https://messages.clinic.example"
    del alice.http.headers["sec-fetch-site"]
    alice.http.headers["origin"] = "https://messages.clinic.example"
    await alice.get(f"/m/{found[1]}")
    assert "https://messages.clinic.example/" in alice.page
    message = await alice.sign_in(found[1])
    assert (await alice.get(message)).status_code == 200
    device = Authenticator()
    assert (await add_passkey(alice, device, origin="https://messages.clinic.example")).status_code == 200
    assert (await use_passkey(alice, device, origin="https://messages.clinic.example")).status_code == 200
    assert (await use_passkey(alice, device, origin="https://evil.example")).status_code == 422
    alice.http.headers["origin"] = "https://evil.example"
    assert (await alice.post("/sign-out")).status_code == 403
    listed = (await world.browser().get("/.well-known/webauthn")).json()["origins"]
    assert listed == ["https://portal.example", "https://messages.clinic.example"]
    await world.announce(letter(), (BOB,), sender="erin@practice.example", relay=world.foreign_relay)
    for wrong, said in (("no host", "not a host name"), ("localhost", "not a host name")):
        with pytest.raises(InputRefused, match=said):
            await setup.present(world.northside, {"host": wrong})
    with pytest.raises(InputRefused, match="another organisation"):
        await setup.present(world.southside, {"host": "messages.clinic.example"})
