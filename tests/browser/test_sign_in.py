"""Every way in, as people use it in Chromium: passkeys on a virtual authenticator, codes, app, access code, recovery, sessions."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any

import pyotp
import pytest
from playwright.sync_api import Browser, BrowserContext, CDPSession, Page, expect

from portal.demo import first_message
from tests.browser.engine import leave
from tests.browser.stage import (
    AGENT,
    CODE,
    LINK,
    NARROW,
    WIDE,
    Stage,
    Watch,
    find,
    inspect,
    settled,
    until,
    words,
)

DEVICE = {
    "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
    "isUserVerified": True, "automaticPresenceSimulation": True, "defaultBackupEligibility": True, "defaultBackupState": True,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def classes(stage: Stage) -> None:
    """The clinic's classes of messages: results need two channels, secret ones a passkey."""
    for name, level in (("results", "2"), ("secret", "3")):
        stage.command("policy", "set", "--org", "northside", "--class", name, "--assurance", level)


@contextmanager
def person(chromium: Browser, stage: Stage, **more: Any) -> Iterator[tuple[Page, Watch]]:
    """A person's browser; it must have said nothing it should not, and asked nobody else."""
    context = chromium.new_context(
        **{"viewport": WIDE, "user_agent": AGENT, "locale": "en-GB", "reduced_motion": "reduce", **more}
    )
    watch = Watch(context, stage.portal, stage.mailbox)
    try:
        yield context.new_page(), watch
    finally:
        leave(context)
    assert watch.foreign == []
    assert [line for line in watch.said if not line.startswith(("422 for", "403 for"))] == []


class Device:
    """A virtual authenticator of one page."""

    def __init__(self, page: Page, **options: Any) -> None:
        self.cdp: CDPSession = page.context.new_cdp_session(page)
        self.cdp.send("WebAuthn.enable", {"enableUI": False})
        made = self.cdp.send("WebAuthn.addVirtualAuthenticator", {"options": {**DEVICE, **options}})
        self.id = made["authenticatorId"]

    def send(self, method: str, **values: Any) -> Any:
        return self.cdp.send(f"WebAuthn.{method}", {"authenticatorId": self.id, **values})

    def credentials(self) -> list[dict[str, Any]]:
        return list(self.send("getCredentials")["credentials"])


def message(to: str, **fields: str) -> EmailMessage:
    mail = first_message()
    for name, value in fields.items():
        mail[f"X-Portal-{name.replace('_', '-')}"] = value
    del mail["Message-ID"]
    mail["Message-ID"] = f"<{abs(hash((to, *fields.items())))}.{datetime.now(UTC).timestamp()}@clinic.example>"
    return mail


def announced(stage: Stage, who: str, **fields: str) -> str:
    """The link of a message for somebody; fields are those a sender asks with."""
    return _mailed(stage, who, LINK, lambda: stage.announce(message(who, **fields), who))


def newest_code(stage: Stage, who: str, act: Any) -> str:
    """The code in the mail that comes because of `act`."""
    return _mailed(stage, who, CODE, act)


def _mailed(stage: Stage, who: str, what: re.Pattern[str], act: Callable[[], object]) -> str:
    """What the mail says that comes because of `act`, whatever else comes."""
    before = len(stage.letters(who))
    act()

    def look() -> str | None:
        for mail in stage.letters(who)[before:]:
            found = what.search(words(mail))
            if found:
                return found[0]
        return None

    return until(look, f"{what.pattern} for {who}")


def sign_in(page: Page, stage: Stage, link: str, who: str) -> None:
    page.goto(link)
    code = newest_code(stage, who, page.get_by_role("button", name="Send me a code").click)
    page.get_by_label("Code", exact=True).fill(code)
    page.get_by_role("button", name="Continue").click()


def set_up_passkey(page: Page, stage: Stage, name: str = "My phone") -> None:
    page.goto(f"{stage.portal}/account/passkey")
    page.get_by_label("Name of the passkey").fill(name)
    page.get_by_role("button", name="Set up a passkey").click()
    expect(page.get_by_text("Your passkey is set up")).to_be_visible()


NO_OFFER = "PublicKeyCredential.isConditionalMediationAvailable = async () => false"
"""A browser that offers nothing at the field: else that is faster than the button."""


def test_a_passkey_is_offered_after_reading_and_opens_with_one_touch(chromium: Browser, stage: Stage) -> None:
    """Read with a code, take the offer at the foot, sign out, come back with a touch and not a letter typed."""
    who = "one-touch@patients.example"
    with person(chromium, stage) as (page, _):
        device = Device(page)
        sign_in(page, stage, announced(stage, who), who)
        expect(page.locator(".subject")).to_be_visible()
        settled(page)
        inspect(page)
        page.get_by_role("link", name="Set up a passkey").click()
        inspect(page)
        page.get_by_label("Name of the passkey").fill("My phone")
        page.get_by_role("button", name="Set up a passkey").click()
        expect(page.locator(".subject")).to_be_visible()
        [credential] = device.credentials()
        assert credential["isResidentCredential"]
        page.goto(f"{stage.portal}/account")
        expect(page.get_by_role("heading", name="My phone")).to_be_visible()
        inspect(page)
        page.get_by_role("button", name="Sign out", exact=True).click()
        page.add_init_script(NO_OFFER)
        page.goto(stage.portal)
        page.get_by_role("button", name="Sign in with a passkey").click()
        page.wait_for_url("**/inbox")
        expect(page.locator(".inbox li")).to_have_count(1)


def test_the_browser_offers_a_passkey_at_the_field(chromium: Browser, stage: Stage) -> None:
    """Conditional UI: on the front page nothing need be pressed at all."""
    who = "conditional@patients.example"
    with person(chromium, stage) as (page, _):
        device = Device(page)
        sign_in(page, stage, announced(stage, who), who)
        set_up_passkey(page, stage)
        device.send("setAutomaticPresenceSimulation", enabled=False)
        page.get_by_role("button", name="Sign out", exact=True).click()
        page.goto(stage.portal)
        field = page.get_by_label("Enter the reference from your notice")
        assert "webauthn" in str(field.get_attribute("autocomplete"))
        device.send("setAutomaticPresenceSimulation", enabled=True)
        page.reload()
        page.wait_for_url("**/inbox", timeout=10_000)


@pytest.mark.parametrize("bits", [{"isBogusSignature": True}, {"isBadUV": True}, {"isBadUP": True}])
def test_a_bad_answer_of_a_device_signs_nobody_in(chromium: Browser, stage: Stage, bits: dict[str, bool]) -> None:
    """Bogus signature, no user verification, no presence: a sentence, and the code as the way on."""
    who = f"{next(iter(bits)).lower()}@patients.example"
    link = announced(stage, who)
    with person(chromium, stage) as (page, watch):
        device = Device(page)
        sign_in(page, stage, link, who)
        set_up_passkey(page, stage)
        device.send("setAutomaticPresenceSimulation", enabled=False)
        page.get_by_role("button", name="Sign out", exact=True).click()
        page.goto(link)
        device.send("setResponseOverrideBits", **bits)
        device.send("setAutomaticPresenceSimulation", enabled=True)
        page.get_by_role("button", name="Sign in with a passkey").click()
        expect(page.get_by_text("This passkey could not be checked")).to_be_visible()
        assert not [one for one in page.context.cookies() if one.get("name") == "__Host-session"]
        assert [line for line in watch.said if line.startswith("422 for")]
        device.send("setResponseOverrideBits")
        page.get_by_role("button", name="Sign in with a passkey").click()
        expect(page.locator(".subject")).to_be_visible()


def test_a_device_that_does_not_verify_its_user_adds_nothing(chromium: Browser, stage: Stage) -> None:
    """Somebody who gives no finger: nothing happened, it is said calmly, and the page stays as it was."""
    who = "unverified@patients.example"
    with person(chromium, stage) as (page, _):
        device = Device(page, isUserVerified=False)
        sign_in(page, stage, announced(stage, who), who)
        page.goto(f"{stage.portal}/account/passkey")
        page.get_by_role("button", name="Set up a passkey").click()
        expect(page.get_by_text("Nothing happened: it was stopped, or took too long")).to_be_visible()
        assert device.credentials() == []


def test_a_second_device_and_a_removed_one(chromium: Browser, stage: Stage) -> None:
    """Two passkeys, one removed: the other still opens, the removed one says that it is not known any more."""
    who = "two@patients.example"
    with person(chromium, stage) as (page, _):
        phone = Device(page)
        sign_in(page, stage, announced(stage, who), who)
        set_up_passkey(page, stage, "Phone")
        [kept] = phone.credentials()
        phone.send("removeVirtualAuthenticator")
        tablet = Device(page)
        set_up_passkey(page, stage, "Tablet")
        page.goto(f"{stage.portal}/account")
        page.locator("article", has_text="Phone").locator("summary").click()
        page.locator("article", has_text="Phone").get_by_role("button", name="Remove this passkey").click()
        page.goto(announced(stage, who))
        page.get_by_role("button", name="Sign in with a passkey").click()
        expect(page.locator(".subject")).to_be_visible()
        tablet.send("removeVirtualAuthenticator")
        again = Device(page)
        again.send("addCredential", credential=kept)
        page.goto(announced(stage, who))
        page.get_by_role("button", name="Sign in with a passkey").click()
        expect(page.get_by_text("This passkey is not known here any more")).to_be_visible()


def test_an_access_code_then_a_passkey_open_what_needs_one(chromium: Browser, stage: Stage) -> None:
    """The class that needs most: link, emailed code, access code, passkey set up on the way, and the message stands open."""
    who = "secret@patients.example"
    link = announced(stage, who, Class="secret", Access_Code="blue tractor", Access_Hint="The toy in the yard")
    with person(chromium, stage) as (page, _):
        Device(page)
        sign_in(page, stage, link, who)
        expect(page.locator("h1")).to_have_text("One more step to read this")
        expect(page.get_by_text("The toy in the yard")).to_be_visible()
        inspect(page)
        page.get_by_label("Access code").fill("wrong one")
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_label("Access code")).to_have_value("wrong one")
        assert page.title().startswith("Error:")
        inspect(page)
        page.get_by_label("Access code").fill("Blue Tractor")
        page.get_by_role("button", name="Continue").click()
        expect(page.locator("h1")).to_have_text("This message opens with a passkey")
        inspect(page)
        page.get_by_role("link", name="Set up a passkey").click()
        page.get_by_role("button", name="Set up a passkey").click()
        expect(page.locator(".subject")).to_be_visible()


def test_without_javascript_an_access_code_is_enough(chromium: Browser, stage: Stage) -> None:
    """320 px, Spanish, JavaScript off: code and access code are typed into plain forms."""
    who = "plain@patients.example"
    link = announced(stage, who, Class="results", Access_Code="blue tractor")
    small: dict[str, Any] = {"viewport": NARROW, "java_script_enabled": False, "locale": "es-ES"}
    with person(chromium, stage, **small) as (page, _):
        page.goto(link)
        code = newest_code(stage, who, page.get_by_role("button", name="Envíenme un código").click)
        page.locator("#code").fill(code)
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("Un paso más para leerlo")
        page.locator("#access-code").fill("BLUE-TRACTOR")
        page.keyboard.press("Enter")
        expect(page.locator(".subject")).to_be_visible()
        page.goto(f"{stage.portal}/account")
        expect(page.locator("h1")).to_have_text("Formas de entrar")


def test_app_and_recovery_codes_by_keyboard(chromium: Browser, stage: Stage) -> None:
    """Set up, printed, used: the app raises a session, a recovery code another, each by its label and Enter."""
    who = "app@patients.example"
    link = announced(stage, who, Class="results", Access_Code="blue tractor")
    with person(chromium, stage) as (page, _):
        sign_in(page, stage, link, who)
        page.get_by_label("Access code").fill("blue tractor")
        page.keyboard.press("Enter")
        expect(page.locator(".subject")).to_be_visible()
        page.goto(f"{stage.portal}/account")
        page.get_by_role("button", name="Set up an app").press("Enter")
        inspect(page)
        box = page.locator("[role=img] svg").bounding_box()
        assert box is not None
        assert 200 <= box["width"] <= 320, "a camera can read it, and a phone can show it"
        secret = page.locator("code").inner_text().replace(" ", "")
        page.get_by_label("The code in the app").fill("000000")
        page.keyboard.press("Enter")
        expect(page.locator(".errors")).to_be_focused()
        page.get_by_label("The code in the app").fill(pyotp.TOTP(secret).now())
        page.keyboard.press("Enter")
        expect(page.get_by_text("Your authenticator app is set up")).to_be_visible()
        page.get_by_role("button", name="Make 10 new codes").press("Enter")
        inspect(page)
        codes = page.locator("li code").all_inner_texts()
        assert len(codes) == 10
        page.get_by_role("link", name="I have kept them").press("Enter")
        page.get_by_role("button", name="Sign out", exact=True).press("Enter")
    with person(chromium, stage) as (page, _):
        sign_in(page, stage, link, who)
        page.get_by_text("Another way").click()
        page.get_by_label("Recovery code").fill(codes[4].lower())
        page.keyboard.press("Enter")
        expect(page.locator(".subject")).to_be_visible()


def test_sessions_are_seen_and_ended_from_another_device(chromium: Browser, stage: Stage) -> None:
    """Two browsers; one signs the other out, which hears of it at its next step."""
    who = "sessions@patients.example"
    link = announced(stage, who)
    with person(chromium, stage) as (library, _), person(chromium, stage) as (home, _):
        sign_in(library, stage, link, who)
        sign_in(home, stage, link, who)
        home.goto(f"{stage.portal}/account")
        expect(home.get_by_text("Chrome, Linux")).to_have_count(2)
        home.get_by_role("button", name=re.compile("^Sign out Chrome")).click()
        expect(home.get_by_text("Signed out there.")).to_be_visible()
        library.reload()
        expect(library.locator("h1")).to_have_text("You have been signed out")


def test_a_phone_alone_and_a_library_computer_alone_read_within_a_minute(chromium: Browser, stage: Stage) -> None:
    """On the phone the link and the code; on the computer the reference typed and the code read elsewhere: well under a minute."""
    began = datetime.now(UTC)
    phone: dict[str, Any] = {"viewport": {"width": 390, "height": 800}, "has_touch": True, "is_mobile": True}
    with person(chromium, stage, **phone) as (page, _):
        sign_in(page, stage, announced(stage, "phone@patients.example"), "phone@patients.example")
        expect(page.locator(".subject")).to_be_visible()
    who = "library@patients.example"
    announced(stage, who)
    reference = find(re.compile(r"\b[2-9A-Z]{4}-[2-9A-Z]{4}-[2-9A-Z]{2}\b"), words(stage.letters(who)[-1]))
    with person(chromium, stage, java_script_enabled=False) as (page, _):
        page.goto(stage.portal)
        page.get_by_label("Enter the reference from your notice").fill(reference.lower().replace("-", " "))
        code = newest_code(stage, who, page.get_by_role("button", name="Continue").click)
        page.get_by_label("Code", exact=True).fill(code)
        page.get_by_role("button", name="Continue").click()
        expect(page.locator(".subject")).to_be_visible()
    assert (datetime.now(UTC) - began).total_seconds() < 60


def test_a_reply_survives_the_end_of_the_session_with_a_passkey(chromium: Browser, stage: Stage) -> None:
    """The session ran out while she wrote: her text comes back, one touch signs her in on that page, and it is sent."""
    who = "slow@patients.example"
    with person(chromium, stage) as (page, _):
        Device(page)
        sign_in(page, stage, announced(stage, who), who)
        set_up_passkey(page, stage)
        page.goto(f"{stage.portal}/inbox")
        page.locator(".inbox a").first.click()
        page.get_by_role("link", name="Reply").click()
        page.get_by_label("Your reply").fill("I still feel dizzy.")
        stage.run(_idle)
        page.get_by_role("button", name="Send reply").click()
        expect(page.locator("h1")).to_have_text("Sign in again to send your reply")
        inspect(page)
        page.get_by_role("button", name="Sign in with a passkey").click()
        expect(page.locator("h1")).to_have_text("Write a reply")
        expect(page.get_by_label("Your reply")).to_have_value("I still feel dizzy.")
        page.get_by_role("button", name="Send reply").click()
        expect(page.locator("h1")).to_have_text("Your reply is on its way")


async def _idle(stage: Stage) -> None:
    """As if everybody had done nothing for an hour."""
    from sqlalchemy import text

    async with stage.demo.running.house.db.bookkeeping() as tx:
        await tx.change(text("UPDATE sessions SET seen_at = seen_at - 3600000000"))


def test_the_end_of_a_session_is_told_in_time(chromium: Browser, stage: Stage) -> None:
    """Two minutes before, a line and a button that keeps one signed in; the page's own clock is moved, not the server's."""
    who = "warned@patients.example"
    context: BrowserContext
    with person(chromium, stage) as (page, _):
        context = page.context
        context.clock.install()
        sign_in(page, stage, announced(stage, who), who)
        expect(page.locator(".subject")).to_be_visible()
        expect(page.locator("#session")).to_be_hidden()
        page.wait_for_load_state()  # modules have run by then
        context.clock.fast_forward(14 * 60_000)
        expect(page.locator("#session")).to_be_visible()
        page.get_by_role("button", name="Stay signed in").click()
        expect(page.locator("#session")).to_be_hidden()


def test_enter_at_a_shared_mailbox_names_who_was_typed(chromium: Browser, stage: Stage) -> None:
    """The first name of the list is somebody else's: the record must not say that she read it."""
    who = "family@patients.example"
    link = announced(stage, who)
    with person(chromium, stage) as (page, _):
        sign_in(page, stage, link, who)
        page.goto(f"{stage.portal}/account")
        page.get_by_role("button", name="Several people read this mailbox").click()
        page.goto(f"{stage.portal}/inbox")
        page.get_by_label("Your name").fill("Alice")
        page.keyboard.press("Enter")
        page.wait_for_url("**/inbox")
    with person(chromium, stage) as (page, _):
        sign_in(page, stage, link, who)
        page.get_by_label("Somebody else: your name").fill("Grandma")
        page.keyboard.press("Enter")
        expect(page.locator(".subject")).to_be_visible()
        page.goto(f"{stage.portal}/account")
        expect(page.get_by_text("You are signed in as Grandma")).to_be_visible()
