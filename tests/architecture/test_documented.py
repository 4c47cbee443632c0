"""What the code knows is written down: every setting, every event; every error has its answer at each edge that meets it."""

from typing import Any

import pytest

from docs import generate
from portal.model import errors
from portal.model.errors import PortalError, SubmissionRefused
from portal.model.events import Event
from portal.settings import Settings
from portal.smtp.replies import reply_to
from portal.web.errors import STATUS

_OVER_SMTP = {errors.RelayUnknown, errors.StorageFull, errors.StorageAway, errors.KeysAway}
_NOT_OVER_SMTP = {
    errors.IdentityAway,
    errors.IdentityRefused,
    errors.MemberNeeded,
    errors.PasskeyRefused,
    errors.ProofNeeded,
    errors.TooManyDrafts,
    errors.WayRefused,
    errors.NotFound,
    errors.SignInNeeded,
    errors.NoLongerReadable,
    errors.AssuranceNeeded,
    errors.ContentDamaged,
    errors.CodeRefused,
    errors.TooManyTries,
    errors.RequestForged,
    errors.InputRefused,
    errors.FilesChanged,
    errors.FileInfected,
    errors.FileUnscanned,
    errors.FilesUnscanned,
    errors.DraftChanged,
    errors.UploadOffset,
    errors.ReplyEmpty,
    errors.TooManyFiles,
    errors.BodyTooLarge,
    errors.SubmissionFailed,
    errors.RefusesToStart,
}
_NEVER_ON_A_PAGE = {errors.SubmissionFailed, errors.RefusesToStart, errors.RelayUnknown}
"""The worker's, the start's, the relay's; and every SubmissionRefused."""
_ERRORS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, PortalError) and kind not in (PortalError, SubmissionRefused)
]


def test_the_configuration_is_the_settings() -> None:
    """docs/CONFIGURATION.md is what docs/generate.py makes of portal/settings.py."""
    assert generate.CONFIGURATION.read_text() == generate.configuration()


def test_the_audit_page_is_the_vocabulary() -> None:
    """The events in docs/AUDIT.md are what docs/generate.py makes of portal/model/events.py."""
    written = generate.AUDIT.read_text()
    assert written == generate.audit(written)
    assert all(f"### {name}\n" in written for name, kind in Event.kinds.items() if kind.__module__ == Event.__module__)


@pytest.mark.parametrize(("name", "field"), Settings.model_fields.items())
def test_a_setting_says_what_it_does(name: str, field: Any) -> None:
    """A setting without a sentence below it does not pass."""
    assert field.description, f"{name} has no description"


@pytest.mark.parametrize(("name", "kind"), Event.kinds.items())
def test_an_event_says_what_happened(name: str, kind: type[Event]) -> None:
    """An event without a docstring of its own does not pass."""
    assert kind.__doc__
    assert not kind.__doc__.startswith(f"{name}("), "a dataclass makes up a docstring when there is none"


def test_every_error_has_its_place() -> None:
    """A new error class is either one that a relay can meet, or is listed here as one that it can't."""
    placed = {kind for kind in _ERRORS if issubclass(kind, SubmissionRefused)} | _OVER_SMTP | _NOT_OVER_SMTP
    assert set(_ERRORS) == placed


@pytest.mark.parametrize(
    "kind", [kind for kind in _ERRORS if issubclass(kind, SubmissionRefused) or kind in _OVER_SMTP]
)
def test_an_error_over_smtp_has_its_own_answer(kind: type[PortalError]) -> None:
    """A relay hears the error's own words, under a code that says rightly whether to try again."""
    reply = reply_to(kind("for the operator"))
    assert reply.text == kind.say
    assert reply.code // 100 == (4 if kind.transient else 5) == int(reply.status[0])


def test_an_error_on_a_page_has_its_own_status() -> None:
    """What a person can meet is in the map of the web by its own name, with 503 or 429 when trying again can help."""
    on_a_page = {kind for kind in _ERRORS if not issubclass(kind, SubmissionRefused)} - _NEVER_ON_A_PAGE
    assert on_a_page == set(STATUS) - {PortalError}
    assert {kind for kind in on_a_page if kind.transient} == {kind for kind in on_a_page if STATUS[kind] in (429, 503)}
