"""A day of each role in the console, in Chromium: by keyboard, small and dark, looked at by axe, and asking nobody else.

Who acts by keyboard walks with Tab to what she wants, as a person must; where she arrives, the focus has to be seen.
"""

import json
import re
import smtplib
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from sqlalchemy import text

from portal.demo import Login, send
from portal.model.events import By, Who
from portal.model.staff import Role
from portal.orgs.setup import Setup
from tests.browser.stage import CAROL, NARROW, OVERFLOW, Stage, Watch, find, inspect
from tests.browser.test_sign_in import NO_OFFER, Device, announced, message, newest_code, person, sign_in

ERIN, FRED, GRETA, HUGO = (f"{name}@patients.example" for name in ("erin", "fred", "greta", "hugo"))
INVITED = re.compile(r"http://localhost:\d+/staff/invite/[\w-]+")
MOST_TABS = 150
SEEN = """node => { const s = getComputedStyle(node), b = node.getBoundingClientRect();
  return (s.outlineStyle != "none" || s.boxShadow != "none") && b.width > 0 && b.bottom > 0 && b.top < innerHeight }"""
DARK = """node => { const [r, g, b, a = 1] = getComputedStyle(node).backgroundColor.match(/[\\d.]+/g).map(Number);
  return a == 0 || (r + g + b) / 3 < 80 }"""


def invitation(stage: Stage, address: str, role: str) -> str:
    """A link, made in the demo's own loop: a command for each desk would take most of the time."""
    made: list[str] = []

    async def act(stage: Stage) -> None:
        house, by = stage.demo.running.house, By(Who.OPERATOR, "demo")
        clinic = await Setup(house.db, house.source, by).organisation("northside")
        made.append(await house.staff_people().invite(clinic, address, Role(role), by))

    stage.run(act)
    return f"{stage.portal}/staff/invite/{made[0]}"


@dataclass
class Desk:
    """Somebody of the staff at her browser."""

    page: Page
    device: Device | None = None

    def reach(self, what: Locator) -> None:
        """Walks with Tab until it has the focus; then the focus is to be seen."""
        expect(what).to_have_count(1)
        node = what.element_handle()
        for _ in range(MOST_TABS):
            if node.evaluate("node => node === document.activeElement"):
                assert node.evaluate(SEEN), f"focus is not to be seen: {what}"
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"Tab does not lead to {what}")

    def press(self, name: str, role: Any = "button", key: str = "Enter") -> None:
        self.reach(self.page.get_by_role(role, name=name, exact=True))
        self.page.keyboard.press(key)

    def type(self, label: str, words: str) -> None:
        """Types into a field, over what is there."""
        self.reach(self.page.get_by_label(label, exact=True))
        self.page.keyboard.press("Control+a")
        self.page.keyboard.type(words)

    def arrived(self, heading: str | re.Pattern[str], done: str | None = None) -> None:
        """A page is there, says so, and is in order."""
        expect(self.page.locator("h1")).to_have_text(heading)
        expect(self.page.locator(".errors")).to_have_count(0)
        if done is not None:
            expect(self.page.locator(".note[role=status]")).to_have_text(done)
        look_at(self.page)

    def follow(self, name: str, heading: str | re.Pattern[str], *, within: str = "main") -> None:
        """Goes by a link."""
        self.reach(self.page.locator(within).get_by_role("link", name=name, exact=True))
        self.page.keyboard.press("Enter")
        self.arrived(heading)

    def told(self, field: str, says: str) -> None:
        """An error: its summary has the focus, and its link leads to the field, which says the same."""
        told(self.page, field, says)
        look_at(self.page)

    def see_menu(self, *wanted: str) -> None:
        """Every page of the menu, and only those of the role."""
        menu = self.page.get_by_role("navigation", name="Console").get_by_role("link")
        assert menu.all_inner_texts() == list(wanted)
        for name in wanted:
            self.follow(name, HEADINGS.get(name, name), within=".menu")
            assert menu.filter(has_text=name).get_attribute("aria-current") == "page"
        self.follow("Your account", "Your account", within=".top")


HEADINGS = {"Fallback": "The relay's fallback", "Classes": "Classes of messages", "Look": "How the organisation looks"}


_LOOKED_AT: set[str] = set()


def look_at(page: Page) -> None:
    """Once for each page, its errors and its tables: axe takes half a second."""
    kind = f"{_NAMED.sub('*', page.url)} {page.locator('.errors, tbody').count()}"
    if kind not in _LOOKED_AT:
        inspect(page)
        _LOOKED_AT.add(kind)


_NAMED = re.compile(r"(?<=/invite/)[^/]+|[0-9a-f]{8}-[0-9a-f-]{27}|\?.*")


def told(page: Page, field: str, says: str) -> None:
    summary = page.locator(".errors")
    expect(summary).to_contain_text(says)
    expect(summary).to_be_focused()
    assert page.title().startswith("Error: ")
    assert page.locator("h1").count() == 1
    if field == "main":
        expect(summary.get_by_role("link")).to_have_count(0)
        return
    page.keyboard.press("Tab")
    expect(summary.get_by_role("link")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(f"#{field}")).to_be_focused()
    expect(page.locator(f"#{field}-error")).to_contain_text(says)


@contextmanager
def at_desk(chromium: Browser, stage: Stage, role: str, link: str = "") -> Iterator[tuple[Desk, Watch]]:
    """Somebody who was invited in this role, has set up a passkey by keyboard, and is in."""
    with person(chromium, stage) as (page, watch):
        desk = Desk(page, Device(page))
        page.goto(link or invitation(stage, f"{role}-{next(_NUMBERS)}@clinic.example", role))
        set_up(desk)
        yield desk, watch


_NUMBERS = iter(range(1000))


def set_up(desk: Desk) -> None:
    desk.arrived("Set up your passkey")
    desk.type("Name of this device", "The key on my ring")
    desk.press("Set up a passkey")
    expect(desk.page.get_by_role("navigation", name="Console")).to_be_visible()


def sign_in_again(desk: Desk) -> None:
    """Signs out and in with the passkey, without a mouse."""
    desk.page.add_init_script(NO_OFFER)
    desk.press("Sign out")
    desk.arrived("You are signed out")
    desk.follow("Sign in again", "Sign in to the staff console")
    desk.press("Sign in with a passkey")


def newest(stage: Stage) -> str:
    """The id of the message that came last."""
    found: list[str] = []

    async def act(stage: Stage) -> None:
        async with stage.demo.running.house.db.read() as tx:
            rows = await tx.rows(text("SELECT id FROM messages ORDER BY id DESC LIMIT 1"))
            found.append(rows[0][0])

    stage.run(act)
    return found[0]


def message_for(stage: Stage, who: str) -> str:
    announced(stage, who)
    return newest(stage)


def test_an_admin_takes_a_message_back_and_gives_it_back(chromium: Browser, stage: Stage) -> None:
    """By keyboard: signing in with a passkey, finding a message, taking it back with a reason, and giving it back."""
    announced(stage, ERIN)
    link = find(
        INVITED, stage.command("staff", "invite", "dora@clinic.example", "--org", "northside", "--role", "admin")
    )
    with at_desk(chromium, stage, "admin", link) as (desk, _):
        desk.arrived("Messages")
        sign_in_again(desk)
        desk.arrived("Messages")
        desk.type("Recipient (whole address)", "erin")
        desk.page.keyboard.press("Enter")
        desk.told("recipient", "This is no mail address")
        expect(desk.page.get_by_label("Recipient (whole address)")).to_have_value("erin")
        desk.type("Recipient (whole address)", ERIN)
        desk.page.keyboard.press("Enter")
        expect(desk.page.locator("tbody tr")).to_have_count(1)
        desk.arrived("Messages")
        assert ERIN not in desk.page.url
        desk.reach(desk.page.locator("tbody a"))
        desk.page.keyboard.press("Enter")
        desk.arrived(re.compile("^Message of "))
        desk.press("Take back")
        desk.arrived("Take back")
        expect(desk.page.get_by_text("1 person will no longer be able to read this")).to_be_visible()
        desk.press("Take back")
        desk.told("reason", "Say why")
        desk.page.keyboard.type("It went out twice")
        desk.page.keyboard.press("Enter")
        desk.arrived(re.compile("^Message of "), "Taken back.")
        expect(desk.page.locator(".timeline")).to_contain_text("Taken back: It went out twice")
        desk.press("Give back")
        desk.arrived("Give back")
        desk.type("Why", "It was right after all")
        desk.press("Give back")
        desk.arrived(re.compile("^Message of "), "Given back.")
        expect(desk.page.locator(".state")).to_have_text("Announced")


def test_an_admin_places_a_hold_and_releases_it(chromium: Browser, stage: Stage) -> None:
    """By keyboard: from the message to the hold, which shows on the message; then away again, with a reason both times."""
    fred = message_for(stage, FRED)
    with at_desk(chromium, stage, "admin") as (desk, _):
        desk.page.goto(f"{stage.portal}/staff/messages/{fred}")
        desk.follow("Put a hold on it", "Place a hold")
        desk.press("Place the hold")
        desk.told("reason", "Say why")
        desk.page.keyboard.type("Letter of the court of 3 May")
        desk.press("Place the hold")
        desk.arrived("Hold: Letter of the court of 3 May", "The hold is in force.")
        desk.press("Release the hold")
        desk.told("reason", "Say why")
        desk.page.goto(f"{stage.portal}/staff/messages/{fred}")
        desk.follow("See the hold", re.compile("^Hold: "))
        desk.type("Why", "The case is closed")
        desk.press("Release the hold")
        desk.arrived("Holds", "The hold is released. Retention goes on.")


def test_an_admin_sees_what_a_change_of_a_class_would_do_before_it_is_made(chromium: Browser, stage: Stage) -> None:
    """By keyboard: a wrong number is refused, a right one is shown with its effect first, and then saved."""
    with at_desk(chromium, stage, "admin") as (desk, _):
        desk.follow("Classes", "Classes of messages", within=".menu")
        desk.follow("default", "Class default")
        desk.type("Readable for (days)", "soon")
        desk.press("Show what would change")
        desk.told("life_days", "Write a whole number of days")
        desk.type("Readable for (days)", "45")
        desk.reach(desk.page.get_by_label("Sign-in needs"))
        desk.page.keyboard.type("two")
        desk.press("Show what would change")
        expect(desk.page.get_by_role("heading", name="This is what would change")).to_be_visible()
        desk.arrived("Class default")
        expect(desk.page.get_by_role("region", name="Changes").locator("tbody tr")).to_have_count(2)
        expect(desk.page.get_by_text("could not open the next one by themselves")).to_be_visible()
        desk.press("Save this")
        desk.arrived("Classes of messages", "Saved.")
        expect(desk.page.locator("tr", has_text="default")).to_contain_text("45 days")
    stage.command("policy", "set", "--org", "northside", "--class", "default", "--assurance", "1")


def test_an_admin_adds_a_relay_and_sees_its_mail_get_through(chromium: Browser, stage: Stage) -> None:
    """By keyboard; then the page of the relay, never loaded again, tells of what it handed over, and of what was refused."""
    with at_desk(chromium, stage, "admin") as (desk, _):
        page = desk.page
        desk.follow("Fallback", "The relay's fallback", within=".menu")
        desk.press("Add the relay")
        desk.told("name", "Give the relay a name")
        page.keyboard.type("mx2")
        page.get_by_label("all of it is taken").press("Space")
        page.keyboard.press("Enter")
        desk.arrived("The relay is ready")
        username, password = page.locator("dd").all_inner_texts()
        desk.follow("See whether it gets through", "Relay: mx2")
        expect(page.locator(".timeline")).to_have_text(re.compile("Nothing yet"))
        page.evaluate("window.stayed = true")
        login, ca = Login(username, password), stage.data / "ca.pem"
        mail = message(GRETA)
        del mail["To"]
        mail["To"] = GRETA
        stage.next_letter(GRETA, lambda: send(mail, login, ca, stage.ports.smtp))
        top = page.locator(".timeline li").first
        expect(top).to_contain_text("Taken in for 1 recipient, class default", timeout=10_000)
        del mail["From"], mail["Message-ID"]
        mail["From"], mail["Message-ID"] = "somebody@elsewhere.example", "<1@elsewhere.example>"
        with pytest.raises(smtplib.SMTPRecipientsRefused, match="550"):
            send(mail, login, ca, stage.ports.smtp)
        expect(top).to_contain_text("Refused: the sender's domain is not one", timeout=10_000)
        expect(page.locator(".timeline li")).to_have_count(2)
        assert page.evaluate("window.stayed")
        look_at(page)


def test_an_admin_invites_somebody_who_sets_up_a_passkey(chromium: Browser, stage: Stage) -> None:
    """By keyboard at both desks: the link is made, followed once, and opens the console to an auditor."""
    with at_desk(chromium, stage, "admin") as (desk, _):
        desk.follow("Staff", "Staff", within=".menu")
        desk.type("Email address", "ida")
        desk.press("Make the invitation")
        desk.told("address", "This is no mail address")
        desk.type("Email address", "ida@clinic.example")
        desk.reach(desk.page.get_by_label("Role", exact=True))
        desk.page.keyboard.type("Aud")
        desk.press("Make the invitation")
        desk.arrived("The invitation is ready")
        link = find(INVITED, desk.page.locator("main").inner_text())
        with person(chromium, stage) as (page, _):
            ida = Desk(page, Device(page))
            page.goto(link)
            expect(page.get_by_text("as an auditor")).to_be_visible()
            set_up(ida)
            ida.arrived("Record")
            page.goto(link)
            ida.arrived("There is no such page")
        desk.follow("Go on", "Staff")
        expect(desk.page.locator("tr", has_text="ida@clinic.example")).to_contain_text("1 passkey")


def test_an_admin_has_ten_pages_and_destroys_what_is_past_its_time(chromium: Browser, stage: Stage) -> None:
    """Every page of her menu, then the dry run of disposition, and what it destroys, with a certificate."""
    hugo = message_for(stage, HUGO)
    with at_desk(chromium, stage, "admin") as (desk, _):
        desk.see_menu(
            "Messages", "Asked again", "Ended unread", "Recipients", "Holds", "Disposition", "Fallback", "Classes", "Look", "Staff",
        )  # fmt: skip
        stage.run(_past_its_time(hugo))
        desk.follow("Disposition", "Disposition", within=".menu")
        expect(desk.page.get_by_role("region", name="Due").locator("tbody tr")).to_have_count(1)
        desk.press("Destroy these now")
        desk.arrived("Disposition", "1 message was destroyed. Its certificate is below.")
        with desk.page.expect_download() as download:
            desk.reach(desk.page.get_by_role("link", name=re.compile("^Download the certificate")))
            desk.page.keyboard.press("Enter")
        assert hugo in download.value.path().read_text(encoding="utf-8")


def _past_its_time(message_id: str) -> Callable[[Stage], Coroutine[Any, Any, None]]:
    """As if a message had been kept for as long as its class says."""

    async def act(stage: Stage) -> None:
        async with stage.demo.running.house.db.bookkeeping() as tx:
            await tx.change(text("UPDATE messages SET retain_until = 0 WHERE id = :id").bindparams(id=message_id))

    return act


def test_the_help_desk_signs_somebody_out_and_begins_a_recovery(chromium: Browser, stage: Stage) -> None:
    """Greta lost her phone: found by her address, signed out everywhere, given a recovery code; her browser is out at once."""
    link = announced(stage, GRETA)
    with at_desk(chromium, stage, "help-desk") as (desk, _), person(chromium, stage) as (greta, _):
        sign_in(greta, stage, link, GRETA)
        expect(greta.locator(".subject")).to_be_visible()
        desk.see_menu("Messages", "Recipients")
        desk.follow("Recipients", "Recipients", within=".menu")
        desk.type("Recipient (whole address)", "nobody@patients.example")
        desk.page.keyboard.press("Enter")
        desk.told("recipient", "Nobody with this address")
        desk.type("Recipient (whole address)", GRETA)
        desk.page.keyboard.press("Enter")
        desk.arrived(GRETA)
        desk.press("Sign out everywhere")
        desk.arrived(GRETA, "Signed out everywhere.")
        greta.reload()
        expect(greta.locator("h1")).to_have_text("You have been signed out")
        desk.press("Begin a recovery")
        desk.told("how", "how you")
        desk.page.keyboard.type("Called")
        desk.press("Begin a recovery")
        desk.arrived("The recovery has begun")
        assert len(desk.page.locator(".big").inner_text()) > 8
        desk.follow("Go on", GRETA)
        desk.press("Stop the recovery")
        desk.arrived(GRETA, "The recovery is stopped.")


def test_an_auditor_filters_the_record_and_takes_it_along(chromium: Browser, stage: Stage) -> None:
    """The record, narrowed by keyboard to one kind of event and taken as CSV and as JSON lines: just those lines."""
    announced(stage, ERIN)
    with at_desk(chromium, stage, "auditor") as (desk, _):
        desk.see_menu("Ended unread", "Holds", "Disposition", "Record")
        desk.follow("Record", "Record", within=".menu")
        desk.reach(desk.page.get_by_label("What happened"))
        desk.page.keyboard.type("MessageAcc")
        desk.press("Show")
        expect(desk.page.get_by_role("link", name="Show all")).to_be_visible()
        desk.arrived("Record")
        count = desk.page.locator("tbody tr").count()
        assert count > 0
        expect(desk.page.locator("tbody strong")).to_have_text(["MessageAccepted"] * count)
        lines = {}
        for name in ("CSV", "JSON lines"):
            with desk.page.expect_download() as download:
                desk.press(name)
            lines[name] = download.value.path().read_text(encoding="utf-8").splitlines()
        assert len(lines["CSV"]) == count + 1
        assert [json.loads(line)["kind"] for line in lines["JSON lines"]] == ["MessageAccepted"] * count


def test_a_sender_without_scripts_gives_more_time(chromium: Browser, stage: Stage) -> None:
    """320 px and JavaScript off: Carol signs in by the code mailed to her, answers who asked again, and extends another."""
    link = announced(stage, GRETA)
    hers = newest(stage)
    with person(chromium, stage) as (greta, _):
        sign_in(greta, stage, link, GRETA)
        expect(greta.locator(".subject")).to_be_visible()
        stage.command("message", "expire", hers, "--org", "northside")
        greta.reload()
        greta.get_by_role("button", name="Ask the sender again").click()
    with person(chromium, stage, viewport=NARROW, java_script_enabled=False) as (page, _):
        page.goto(f"{stage.portal}/staff")
        page.get_by_label("Your email address").fill("carol")
        page.keyboard.press("Enter")
        told(page, "address", "Type your whole email address")
        page.get_by_label("Your email address").fill(CAROL)
        code = newest_code(stage, CAROL, page.get_by_role("button", name="Send me a code").click)
        expect(page.locator("h1")).to_have_text("Enter your code")
        page.get_by_label("Code").fill("1234")
        page.keyboard.press("Enter")
        told(page, "code", "A code has 8 digits")
        page.get_by_label("Code").fill(code)
        page.keyboard.press("Enter")
        plain = Desk(page)
        plain.reach(page.get_by_role("link", name="Asked again"))
        page.keyboard.press("Enter")
        plain.press(f"14 days more, {GRETA}")
        expect(page.locator(".note")).to_have_text("Answered. The recipient can read it again.")
        page.goto(f"{stage.portal}/staff/messages/{hers}")
        plain.press("Give more time")
        expect(page.locator("h1")).to_have_text("Give more time")
        plain.reach(page.get_by_role("radio", name=re.compile("^14 days")))
        page.keyboard.press("ArrowUp")
        plain.press("Give more time")
        told(page, "until", "Choose a day after the end it has now")
        plain.reach(page.get_by_role("radio", name=re.compile("^7 days")))
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        plain.press("Give more time")
        expect(page.locator(".note")).to_have_text("It has more time now.")
        assert page.evaluate(OVERFLOW) == 0
        signed_in = page.context.storage_state()
    with person(chromium, stage, storage_state=signed_in) as (page, _):  # axe is a script
        desk = Desk(page)
        page.goto(f"{stage.portal}/staff")
        desk.arrived("Messages")
        desk.see_menu("Messages", "Asked again", "Ended unread")
        page.goto(f"{stage.portal}/staff/messages/{hers}")
        desk.arrived(re.compile("^Message of "))
        desk.press("Give more time")
        desk.arrived("Give more time")


def test_every_error_leads_to_its_field(chromium: Browser, stage: Stage) -> None:
    """Page by page: the summary has the focus, its link reaches what is wrong, and what was typed is still there."""
    it = message_for(stage, HUGO)
    with at_desk(chromium, stage, "admin") as (desk, _):
        page, console = desk.page, f"{stage.portal}/staff"

        def refused(path: str, button: str, typed: dict[str, str], field: str, says: str) -> None:
            if path:
                page.goto(f"{console}{path}")
            for name, value in typed.items():
                page.locator(f"main [name={name}]").first.fill(value)
            page.get_by_role("button", name=button, exact=True).click()
            told(page, field, says)
            for name, value in typed.items():
                expect(page.locator(f"main [name={name}]").first).to_have_value(value)

        refused("/messages", "Search", {"recipient": ERIN, "sender": "carol"}, "sender", "no mail address")
        refused(f"/holds/new?message={it}", "Place the hold", {"message": "it"}, "message", "no id of a message")
        refused("", "Place the hold", {"message": "", "recipient": "x@y.example"}, "recipient", "Nobody with this")
        refused("", "Place the hold", {"recipient": ""}, "main", "A hold on everything is no hold")
        refused("", "Place the hold", {"recipient": HUGO, "reason": "Court", "owner": ""}, "owner", "who answers")
        refused("", "Place the hold", {"owner": "Office", "review": "2020-01-01"}, "review", "within a year")
        refused("/classes/new", "Show what would change", {"name": "lab results"}, "name", "lower-case letters")
        refused("", "Show what would change", {"name": "lab", "reminder_days": "99"}, "reminder_days", "reminder")
        refused("", "Show what would change", {"reminder_days": "", "retention_days": "3"}, "retention_days", "kept")
        refused("", "Show what would change", {"retention_days": "99", "warn_days": ""}, "warn_days", "nobody reads")
        refused("/classes/default", "Show what would change", {}, "main", "Nothing would change")
        refused("/classes", "Set the rule", {"value": "x" * 41}, "value", "A tag is a word")
        refused("/fallback", "Add it", {"domain": "no domain"}, "domain", "is not a domain name")
        refused("/fallback", "Add the relay", {"name": "mx", "certificate": "12:34"}, "fingerprint", "64 hexadecimal")
        page.goto(f"{console}/fallback")
        page.get_by_role("button", name="Remove clinic.example").click()
        told(page, "domains", "Notices come from an address in this domain")
        page.get_by_role("link", name="demo relay").click()
        page.get_by_text("Change over to another credential").click()
        refused("", "Make a second credential", {"certificate": "BEGIN nothing"}, "fingerprint", "no certificate")
        refused("/look", "Save", {"accent": "blue"}, "accent", "Write a colour as #")
        refused("", "Save", {"accent": "", "name": " "}, "name", "give the name")
        refused("/look", "Use this picture", {}, "logo", "Choose a picture first")
        page.goto(f"{console}/people-of-staff")
        page.get_by_role("button", name="Change the role of").first.click()
        told(page, "people", "has that role already")
        page.goto(f"{console}/messages/{it}")
        page.get_by_role("button", name="Set an access code").click()
        refused("", "Set the code", {"code": "1"}, "code", "6")
        page.goto(f"{console}/messages/{it}")
        page.get_by_role("button", name="It went to the wrong person").click()
        act = "Take back from everybody and keep as evidence"
        refused("", act, {}, "reason", "Say why")
        refused("", act, {"reason": "A typing error", "owner": ""}, "owner", "who answers")
        page.goto(f"{console}/messages/{it}")
        page.get_by_role("button", name="Give more time").click()
        page.get_by_label("Until the end of the day below").check()
        refused("", "Give more time", {}, "until", "Choose how long")


def test_dark_reaches_tables_fields_and_code(chromium: Browser, stage: Stage) -> None:
    """Who likes it dark gets no white rectangle: neither in the list of messages nor on a relay's page."""
    with at_desk(chromium, stage, "admin") as (desk, _):
        desk.page.emulate_media(color_scheme="dark")
        for path in ("/staff/messages", "/staff/fallback"):
            desk.page.goto(stage.portal + path)
            _all_dark(desk.page)
        desk.page.get_by_role("link", name="demo relay").click()
        expect(desk.page.locator("pre").first).to_be_visible()
        _all_dark(desk.page)


def _all_dark(page: Page) -> None:
    for what in page.locator("body, main, table, th, td, pre, .menu, .top, input, select, textarea").all():
        assert what.evaluate(DARK), what.evaluate("node => node.outerHTML.slice(0, 200)")
