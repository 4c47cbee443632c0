"""What relays are told: the policy and the way, and what is said when nothing is known."""

from datetime import UTC, datetime, timedelta

import pytest

from portal.lookup.answers import NOT_FOUND, Answers, Reply
from portal.model.errors import InputRefused, StorageAway
from portal.model.parties import Address
from portal.model.routes import Level, Outcome, Rule
from portal.transport import Verdict

NOW = datetime(2026, 11, 28, tzinfo=UTC)
OLD = "protocols=!SSLv2:!SSLv3:!TLSv1:!TLSv1.1"
HERE = Reply("OK", "portal:[portal.example]:2526")
pytestmark = pytest.mark.anyio


class Told:
    """Verdicts that were made up for a test. What is not in it is not known now."""

    def __init__(self, **outcomes: tuple[Outcome, Rule, tuple[str, ...]]) -> None:
        self.outcomes = {f"{name}.example": one for name, one in outcomes.items()}
        self.asked: list[str] = []

    async def verdict(self, domain: str, level: Level, fresh: bool = False) -> Verdict:
        self.asked.append(domain)
        outcome, rule, match = self.outcomes.get(domain, (Outcome.LATER, Rule.DNS, ()))
        return Verdict(domain, level, outcome, rule, (), match, NOW, NOW + timedelta(hours=1), ())


TOLD = Told(
    clear=(Outcome.PORTAL, Rule.OPPORTUNISTIC, ()),
    good=(Outcome.DIRECT, Rule.OPPORTUNISTIC, ()),
    down=(Outcome.LATER, Rule.OPPORTUNISTIC, ()),
    dane=(Outcome.DIRECT, Rule.DANE, ()),
    broken=(Outcome.PORTAL, Rule.DANE, ()),
    sts=(Outcome.DIRECT, Rule.MTA_STS, ("mx.sts.example", "*.mx.example")),
    none=(Outcome.NOBODY, Rule.DNS, ()),
)


class Set:
    """What northside has set: a level, and addresses and domains that are always or never served here."""

    def __init__(self, level: Level, always: str, never: str) -> None:
        self.level, self.ways = level, dict.fromkeys(never.split(), False) | dict.fromkeys(always.split(), True)

    async def of(self, org: str, recipient: Address | None, domain: str | None) -> tuple[Level, bool | None]:
        if org == "away":
            raise StorageAway("for the operator")
        if org not in ("", "northside"):
            raise InputRefused("There is no such organisation.")
        return self.level, self.ways.get(str(recipient), self.ways.get(str(domain)))


def _answers(level: Level = Level.ENCRYPT, *, always: str = "", never: str = "") -> Answers:
    return Answers(TOLD, Set(level, always, never), "portal.example", 2526)


@pytest.mark.parametrize(
    ("key", "level", "answer"),
    [
        ("good.example", Level.ENCRYPT, f"encrypt {OLD}"),
        ("Good.Example:25", Level.ENCRYPT, f"encrypt {OLD}"),
        ("clear.example", Level.ENCRYPT, f"encrypt {OLD}"),
        ("down.example", Level.ENCRYPT, f"encrypt {OLD}"),
        ("good.example", Level.VERIFY, f"verify match=hostname servername=hostname {OLD}"),
        ("dane.example", Level.ENCRYPT, f"dane-only {OLD}"),
        ("broken.example", Level.VERIFY, f"dane-only {OLD}"),
        ("sts.example", Level.ENCRYPT, f"secure match=mx.sts.example:.mx.example servername=hostname {OLD}"),
        ("[portal.example]:2526", Level.ENCRYPT, f"secure match=portal.example {OLD}"),
    ],
)
async def test_the_policy_is_the_domains_own_or_the_level(key: str, level: Level, answer: str) -> None:
    """DANE and MTA-STS come before the organisation's level, whatever their outcome; the portal itself is pinned."""
    assert await _answers(level).answer("tlspolicy", key) == Reply("OK", answer)


@pytest.mark.parametrize("key", ["unknown.example", "unknown.example:25"])
async def test_a_policy_that_is_not_known_is_not_made_up(key: str) -> None:
    """TEMP: anything weaker than what the domain demands would be a downgrade."""
    assert (await _answers().answer("tlspolicy", key)).status == "TEMP"


@pytest.mark.parametrize(
    ("key", "answer"),
    [("clear.example", HERE), ("CLEAR.example", HERE), ("broken.example", HERE)]
    + [(f"{name}.example", NOT_FOUND) for name in ("good", "down", "dane", "sts", "none", "unknown")],
)
async def test_the_way_is_here_only_when_nothing_else_is_safe(key: str, answer: Reply) -> None:
    """What is direct, down, nobody's or unknown goes the relay's own way: its TLS policy holds there."""
    assert await _answers().answer("route", key) == answer


async def test_the_organisations_lists_come_first() -> None:
    """An address before its domain; never ends the search; neither needs a look."""
    answers, own = (
        _answers(always="good.example boss@clear.example", never="clear.example x@good.example"),
        Reply("OK", ":"),
    )
    TOLD.asked.clear()
    expected = {
        "good.example": HERE, "clear.example": own, "boss@clear.example": HERE, "x@good.example": own,
        "y@good.example": HERE, "alice@clear.example": own,
    }  # fmt: skip
    assert {key: await answers.answer("route", key) for key in expected} == expected
    assert not TOLD.asked
    assert await answers.answer("route", "Alice@CLEAR.example.") == own
    assert await _answers().answer("route", "alice@clear.example") == HERE
    assert await _answers().answer("route", "alice@good.example") == NOT_FOUND


@pytest.mark.parametrize("name", ["tlspolicy", "route"])
@pytest.mark.parametrize(
    "key",
    [
        "",
        ".",
        "*",
        ".example",
        "[192.0.2.1]",
        "[mx.example]:25",
        "localhost",
        "a b.example",
        "\x00",
        "x" * 900,
        "@",
        "a@",
        "ü@.é",
    ],
)
async def test_what_is_no_domain_is_not_found(name: str, key: str) -> None:
    """Parents, hosts, stars and rubbish, as Postfix and strangers ask for them."""
    assert await _answers().answer(name, key) == NOT_FOUND


async def test_names_that_are_none_are_said_to_be_so() -> None:
    """A wrong map or organisation is a mistake in main.cf: PERM. A database that is away is not: TEMP."""
    answers = _answers()
    assert (await answers.answer("northside/route", "clear.example")) == HERE
    for name in ("", "transport", "southside/route", "northside/", "a/b/route"):
        assert (await answers.answer(name, "clear.example")).status == "PERM", name
    for kind in ("route", "tlspolicy"):
        assert (await answers.answer(f"away/{kind}", "clear.example")).status == "TEMP"
