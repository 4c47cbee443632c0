"""Searching one's own messages: what is found, what never is, and what stays on record."""

import asyncio
import io
import re
from pathlib import Path

import pytest

from portal.db.tables import deliveries, renditions
from portal.lifecycle.end import Lifecycle
from portal.model.access import Reader
from portal.model.events import By, Who
from portal.model.ids import DeliveryId
from portal.reading import search
from portal.reading.search import folded
from tests.story.seams import all_deliveries, delivery, holding, prepared, put, rows
from tests.world import ALICE, BOB, Browser, World, letter

pytestmark = pytest.mark.anyio

LETTERS = [
    ("Blood results", "Your ferritin is fine.\n", None),
    ("Đơn thuốc mới", "Uống thuốc mỗi ngày một lần.\n", None),
    ("Résumé of your visit", "Nothing new.\n", "<p>Come back in <b>March</b>: the naïve caf\u00e9 is closed.</p>"),
    ("نتائج الفحص", "الأطباء بخير مُحَمَّد\n", None),
    ("体检结果", "您的血糖正常。\n", None),
    ("검사 결과", "혈압은 정상입니다.\n", None),
    ("Ёлка и приём", "Приём в понедельник.\n", None),
]


async def searching(world: World, to: tuple[str, ...] = (ALICE,)) -> Browser:
    """Alice, signed in, on her inbox with a message of each language."""
    token = await world.announce(letter("Welcome", message_id="<w@clinic.example>"), to)
    for number, (subject, text, html) in enumerate(LETTERS):
        mail = letter(subject, text, html, [("plan März.pdf", "application/pdf", b"%PDF-1.7\n%x")] if html else ())
        await world.deliver(mail.replace(b"<1@", b"<%d@" % (number + 10)), to)
        world.clock.forward(minutes=1)
    await prepared(world)
    alice = world.browser()
    await alice.sign_in(token)
    await alice.get("/inbox")
    return alice


async def found(browser: Browser, words: str, **more: str) -> list[str]:
    """The subjects that a search for `words` shows, in order."""
    answer = await browser.post("/inbox/search", {"words": words, **more})
    assert answer.status_code == 200, answer.text
    return re.findall(r"<h2><a [^>]*><bdi>([^<]*)</bdi>", answer.text)


async def test_words_are_found_whatever_their_capitals_and_accents(world: World) -> None:
    """In subject, sender, text and the names of attachments; every word must be there; the newest message comes first."""
    alice = await searching(world)
    for words, numbers in (
        ("FERRITIN", [0]), ("ferritin BLOOD", [0]), ("ferritin March", []), ("resume", [2]), ("RÉSUMÉ naive", [2]),
        ("don thuoc", [1]), ("UONG", [1]), ("plan marz.pdf", [2]), ("الاطباء", [3]), ("محمد", [3]), ("血糖", [4]), ("혈압", [5]),
        ("елка", [6]), ("ПРИЕМ", [6]), ("nothing-of-the-kind", []), ("carol reyes", [6, 5, 4, 3, 2, 1, 0, None]),
    ):  # fmt: skip
        assert await found(alice, words) == ["Welcome" if n is None else LETTERS[n][0] for n in numbers], words
    assert "No message has these words." in (await alice.post("/inbox/search", {"words": "unicorn"})).text


async def test_what_is_not_hers_to_read_is_never_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others' messages, ended ones and what asks for a stronger sign-in stay shut; only of the last is anything said."""
    alice = await searching(world)
    await world.deliver(letter("For Bob: unicorn", message_id="<b@clinic.example>"), (BOB,))
    await world.deliver(
        letter("unicorn", message_id="<s@practice.example>"), (ALICE,), "erin@practice.example", world.foreign_relay
    )
    await prepared(world)
    assert await found(alice, "unicorn") == []
    hers = [one for one in await all_deliveries(world) if one.org_id == world.northside.id][1:8]
    life, by = Lifecycle(world.house.db, world.house.source), By(Who.OPERATOR, "dora")
    assert await life.revoke(await delivery(world, hers[0].id), by, "wrong person")
    await put(world, deliveries, {"expires_at": world.clock.at}, id=hers[4].id)
    assert await found(alice, "ferritin") == await found(alice, "血糖") == []
    assert "could not be searched" not in alice.page
    await put(world, deliveries, {"needs": 3}, id=hers[1].id)
    assert await found(alice, "thuoc") == []
    assert "1 message could not be searched" in alice.page
    named = (await world.events("InboxSearched"))[-1].detail["deliveries"]
    assert not {hers[0].id, hers[1].id, hers[4].id} & set(named)
    assert len(named) == 5


async def test_a_search_is_on_record_and_is_no_view(world: World, log: io.StringIO, folder: Path) -> None:
    """The record names the deliveries; the words are in no row, no log, no file and no address; nothing becomes "opened"."""
    alice = await searching(world)
    before = await rows(world, deliveries)
    answer = await alice.post("/inbox/search", {"words": "ferritin zyzzyva-canary"})
    assert "canary" in answer.text  # in the field, to be changed
    assert "canary" not in str(answer.url) + str(answer.headers)
    assert await rows(world, deliveries) == before
    [event] = await world.events("InboxSearched")
    assert set(event.detail) == {"deliveries"}
    assert set(event.detail["deliveries"]) == {one.id for one in await all_deliveries(world)}
    assert "canary" not in repr(await world.events()) + log.getvalue()
    assert holding(folder, b"zyzzyva-canary") == []
    assert "MessageOpened" not in {one.kind for one in await world.events()}


async def test_odd_searches_get_a_sentence(world: World) -> None:
    """Nothing typed, far too much, controls, markup and forged forms: each is answered, and only real words open messages."""
    token = await world.announce(letter("Blood results", "Your ferritin is fine."))
    await prepared(world)
    alice = world.browser()
    await alice.sign_in(token)
    await alice.get("/inbox")
    for words, say in (
        ("", "Type a word"), ("  \u00a0\t ", "Type a word"), ("\x00\x1f\u202e", "Type a word"), ("x" * 500, "at most 200 letters"),
        ("é" * 201, "at most 200 letters"),
    ):  # fmt: skip
        answer = await alice.post("/inbox/search", {"words": words})
        assert (answer.status_code, say in answer.text) == (422, True), words
        assert answer.text.count("<title>Error: ") == 1
        assert 'href="#words"' in answer.text
    assert await world.events("InboxSearched") == []
    hostile = '"><script>alert(1)</script>'
    answer = await alice.post("/inbox/search", {"words": hostile})
    assert answer.status_code == 200
    assert "<script>alert" not in answer.text
    assert await found(alice, "fer\x00\x01 ri\u200btin") == ["Blood results"]
    assert await found(alice, "z " * 100) == []
    assert await found(alice, "ferritin", before="' OR 1=1") == ["Blood results"]
    for fields, status in (
        ({"words": "ferritin", "csrf": "x"}, 403),
        ({"csrf": alice.csrf, "words": "x" * 70_000}, 413),
    ):
        assert (await alice.http.post("/inbox/search", data=fields)).status_code == status
    assert (await alice.get("/inbox/search?words=ferritin")).status_code == 404
    assert (await world.browser().post("/inbox/search", {"words": "x"})).status_code in (401, 403)


async def test_a_long_search_stops_and_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many messages and so much time at once; the next press looks at older ones, each opened once."""
    alice = await searching(world)
    monkeypatch.setattr(search, "_BATCH", 2)
    monkeypatch.setattr(search, "MOST_MESSAGES", 4)
    assert await found(alice, "carol") == [subject for subject, _, _ in LETTERS[:2:-1]]
    [more] = re.findall(r'name="before" value="([\w-]+)"', alice.page)
    assert await found(alice, "carol", before=more) == [*[subject for subject, _, _ in LETTERS[2::-1]], "Welcome"]
    assert 'name="before"' not in alice.page
    named = [one for event in await world.events("InboxSearched") for one in event.detail["deliveries"]]
    assert len(named) == len(set(named)) == 8
    monkeypatch.setattr(search, "SECONDS", -1.0)
    for subject in ("Ёлка и приём", "검사 결과"):  # one at least, so that pressing again gets on
        assert await found(alice, "carol", **({"before": more} if subject != "Ёлка и приём" else {})) == [subject]
        [more] = re.findall(r'name="before" value="([\w-]+)"', alice.page)


async def test_what_cannot_be_looked_through_is_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message too large, not prepared or damaged: its subject is still found where it can be, and the rest is counted."""
    alice = await searching(world)
    hers = await all_deliveries(world)
    await put(world, renditions, {"sealed": b"damaged"}, message_id=hers[1].message_id)
    await put(world, renditions, {"version": 0}, message_id=hers[2].message_id)
    monkeypatch.setattr(search, "_MOST_BYTES", 1)
    assert await found(alice, "ferritin") == []
    assert "8 messages could not be searched" in alice.page
    assert await found(alice, "blood") == ["Blood results"]
    monkeypatch.setattr(search, "_MOST_BYTES", 1024 * 1024)
    assert await found(alice, "ferritin") == []
    assert "2 messages could not be searched" in alice.page
    assert await found(alice, "thuoc moi") == ["Đơn thuốc mới"]
    assert {one.detail["reason"] for one in await world.events("OpenFailed")} == {"ContentDamaged"}


async def test_who_searches_many_times_at_once_holds_up_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of a person's searches runs at a time, whatever she sends; another's goes by them, and who waits too long is told so."""
    alice = await searching(world)
    bob = world.browser()
    await bob.sign_in(await world.announce(letter("For Bob", message_id="<b@clinic.example>"), (BOB,)), BOB)
    await bob.get("/inbox")
    await found(alice, "carol")  # so that both pages have their form
    go_on, running = asyncio.Event(), list[str]()
    whole = search.Search._find

    async def slow(self: search.Search, reader: Reader, words: list[str], before: DeliveryId | None) -> search.Found:
        running.append(words[0])
        if words[0].startswith("slow"):
            await go_on.wait()
        return await whole(self, reader, words, before)

    monkeypatch.setattr(search.Search, "_find", slow)
    monkeypatch.setattr(search, "WAIT_SECONDS", 0.5)
    many = [
        asyncio.create_task(alice.http.post("/inbox/search", data={"csrf": alice.csrf, "words": f"slow{n}"}))
        for n in range(8)
    ]
    await asyncio.sleep(0.1)
    (first,) = running  # whichever reached the database before the others
    one = many.pop(int(first.removeprefix("slow")))
    assert await found(bob, "bob") == ["For Bob"]
    busy = await asyncio.gather(*many)
    assert {answer.status_code for answer in busy} == {429}
    assert "Another search is still running" in busy[0].text
    assert f'value="slow{int(first == "slow0")}"' in busy[0].text
    assert busy[0].headers["retry-after"]
    go_on.set()
    assert (await one).status_code == 200
    assert await found(alice, "ferritin") == ["Blood results"]


def test_folding_is_stable() -> None:
    """What is folded stays as it is, so that both sides of a comparison meet."""
    for text in ("Straße ŁÓDŹ İstanbul Ångström ﬁne", "\u1e9b\u0323 ½ ㍿", "مـــحمد\u064e", "한글 ガギグ"):
        assert folded(folded(text)) == folded(text)
