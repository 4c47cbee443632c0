"""Imitated mail scanners against a running portal: none signs in, uses up a code, or counts as a view.

Each is let loose on the link of a message of its own, after the person has asked for a code and before she types it.
"""

import json
import re
from pathlib import Path

import pytest

from portal import scanner
from portal.model.errors import InputRefused
from portal.scanner import NAMES, Client, _Page, run
from tests.browser.stage import CODE, LINK, Stage, find, words

DOCS = Path(__file__).resolve().parents[2] / "docs" / "SCANNERS.md"


class Person(Client):
    """Somebody with a browser and a mailbox."""

    def __init__(self, link: str) -> None:
        super().__init__(link, "Mozilla/5.0 Firefox/153.0")

    def ask(self) -> str:
        """Follows the link and has a code sent; gives the page where it is typed."""
        return self.press(self.fetch(self.url), "/send")

    def press(self, html: str, ending: str, **typed: str) -> str:
        form = next(one for one in _Page(html).forms if one.action.endswith(ending))
        return self.fetch(re.sub(r"(/m/|/sign-in/).*", form.action, self.url), "POST", {**form.fields, **typed})


def record(stage: Stage, folder: Path) -> list[tuple[str, dict[str, object]]]:
    """Kind and detail of what is on record of the newest message."""
    target, message = folder / "record.jsonl", stage.newest_message()
    stage.command("audit", "export", str(target), "--message", message, "--format", "jsonl")
    lines = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    return [(one["kind"], one["detail"]) for one in lines]


@pytest.mark.parametrize("name", NAMES)
def test_a_scanner_gets_nowhere_and_leaves_the_person_her_code(stage: Stage, tmp_path: Path, name: str) -> None:
    """It gets no session, no view is on record, and the code that she had asked for opens the message afterwards."""
    who = f"{name}@patients.example"
    link = find(LINK, stage.announce(to=who))
    person = Person(link)
    page = ""

    def ask() -> None:
        nonlocal page
        page = person.ask()

    code = find(CODE, words(stage.next_letter(who, ask)))
    [outcome] = run(link, (name,))
    assert outcome.note == ""
    assert outcome.requests > 0
    assert not outcome.signed_in
    kinds = [kind for kind, _ in record(stage, tmp_path)]
    assert "SignedIn" not in kinds
    assert "MessageOpened" not in kinds
    assert kinds.count("LinkFollowed") >= 2
    form = next(one for one in _Page(page).forms if "code" in one.fields)
    person.fetch(re.sub(r"/m/.*", form.action, link), "POST", {**form.fields, "code": code})
    assert person.is_in()


def test_who_has_the_mailbox_gets_in(stage: Stage) -> None:
    """The check can fail: the same client with the right code is found to be signed in."""
    link = find(LINK, stage.announce())
    person = Person(link)
    pages: list[str] = []
    code = find(CODE, words(stage.next_letter("alice@patients.example", lambda: pages.append(person.ask()))))
    assert not person.is_in()
    form = next(one for one in _Page(pages[0]).forms if "code" in one.fields)
    person.fetch(re.sub(r"/m/.*", form.action, link), "POST", {**form.fields, "code": code})
    assert person.is_in()


@pytest.mark.parametrize("name", ["get", "head", "rewrite", "crawl", "prefetch"])
def test_machine_fetches_are_told_apart(stage: Stage, tmp_path: Path, name: str) -> None:
    """What shows that no person made it stands on record as a machine's."""
    list(run(find(LINK, stage.announce(to=f"machine-{name}@patients.example")), (name,)))
    followed = [detail for kind, detail in record(stage, tmp_path) if kind == "LinkFollowed"]
    assert followed
    assert all(detail["machine"] is True for detail in followed)


def test_a_scanner_that_sends_codes_leaves_one_that_works(stage: Stage) -> None:
    """Those that press buttons first: she comes later, from a new browser, and gets in without waiting."""
    who = "late@patients.example"
    link = find(LINK, stage.announce(to=who))
    for _ in range(2):
        list(run(link, ("submit", "guess")))
    person = Person(link)
    page = person.ask()
    shown = re.search(r"reference <strong>([2-9A-Z]{3})</strong>", page)
    assert shown, page
    mails = [words(one) for one in stage.letters(who)]
    mail = next(one for one in reversed(mails) if f": {shown[1]}." in one)
    form = next(one for one in _Page(page).forms if "code" in one.fields)
    person.fetch(re.sub(r"/m/.*", form.action, link), "POST", {**form.fields, "code": find(CODE, mail)})
    assert person.is_in()


@pytest.mark.parametrize(
    ("url", "words"),
    [("", "Give a whole link"), ("ftp://portal.example/m/x", "Give a whole link"), ("/m/x", "Give a whole link"),
     ("http://localhost:1/m/x", "does not answer"), ("https://nowhere.invalid/m/x", "does not answer")],
)  # fmt: skip
def test_what_is_no_link_is_said_in_a_sentence(url: str, words: str) -> None:
    """Not a URL, nobody there: refused, with what to do."""
    with pytest.raises(InputRefused, match=words):
        list(run(url, ("get",)))


def test_a_scanner_stays_where_it_was_let_loose(stage: Stage) -> None:
    """Links to elsewhere are not followed, and the number of requests is bounded."""
    client = Client(stage.portal, "x")
    assert client.fetch("http://localhost:1/elsewhere") == ""
    assert client.requests == 0
    client.requests = scanner.MOST_REQUESTS
    assert client.fetch(stage.portal) == ""


def test_the_document_names_every_scanner() -> None:
    """docs/SCANNERS.md has a row for each, and none that is not there."""
    rows = re.findall(r"^\| `([a-z-]+)` \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert tuple(rows) == NAMES
