"""`IdentityProvider` against a real OpenID Connect provider: who signs in there is known here, and nobody else."""

import dataclasses
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from portal.clock import Source
from portal.identity import Identity, IdentityProvider
from portal.identity.oidc import OpenIdConnect
from portal.model.errors import IdentityAway, IdentityRefused
from tests.identity.real import ALGORITHMS, REDIRECT_URI, SECRET, Running, client_id, running, sign_in

pytestmark = pytest.mark.anyio
SOURCE = Source()


@pytest.fixture(scope="module")
def real(installed: Path) -> Iterator[Running]:
    """A provider that keeps running."""
    with running(installed) as provider:
        yield provider


@pytest.fixture
def mortal(installed: Path) -> Iterator[Running]:
    """A provider of the test's own, to be stopped and restarted."""
    with running(installed) as provider:
        yield provider


def at(
    provider: Running, algorithm: str = "RS256", roles: str = "role", secret: str = SECRET, back: str = REDIRECT_URI
) -> OpenIdConnect:
    return OpenIdConnect(
        provider.issuer, client_id(algorithm), secret, back, roles, now=SOURCE.now, random=SOURCE.random
    )


async def identity(provider: IdentityProvider, login: str = "carol") -> Identity:
    """Begins, signs in with a browser, and finishes."""
    asked = await provider.begin()
    back = await sign_in(asked.url, login)
    assert asked.answered_by(back["state"])
    assert back["iss"] == provider.issuer
    return await provider.finish(asked, back["code"])


def why(caught: pytest.ExceptionInfo[IdentityRefused]) -> str:
    return str(caught.value)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_who_signs_in_is_known(real: Running, algorithm: str) -> None:
    """Subject, email, name and role, whatever the provider signs with; the secret has signs that must be encoded."""
    assert await identity(at(real, algorithm)) == Identity("carol", "carol@clinic.example", "Carol Reyes", ("sender",))


@pytest.mark.parametrize(
    ("claim", "roles"),
    [
        ("role", ("sender",)),
        ("realm_access.roles", ("sender", "admin")),
        ("https://clinic.example/roles", ("auditor",)),
        ("groups", ()),
    ],
)
async def test_roles_come_from_the_named_claim(real: Running, claim: str, roles: tuple[str, ...]) -> None:
    """A string, a list within an object, a name with dots; none where the provider says nothing."""
    assert (await identity(at(real, roles=claim))).roles == roles


async def test_an_email_that_the_provider_did_not_verify_is_left_out(real: Running) -> None:
    """Mallory may have typed anybody's."""
    assert (await identity(at(real), "mallory")).email == ""


async def test_a_code_works_once(real: Running) -> None:
    """Whoever reads it in a log afterwards has nothing."""
    provider = at(real)
    asked = await provider.begin()
    code = (await sign_in(asked.url, "carol"))["code"]
    await provider.finish(asked, code)
    with pytest.raises(IdentityRefused) as caught:
        await provider.finish(asked, code)
    assert why(caught) == "code: the provider answered 400 invalid_grant"


@pytest.mark.parametrize("field", ["verifier", "nonce"])
async def test_a_code_of_another_sign_in_is_refused(real: Running, field: str) -> None:
    """Mallory's code in Carol's browser: the provider checks the verifier, and we check the nonce."""
    provider = at(real)
    carols, mallorys = await provider.begin(), await provider.begin()
    back = await sign_in(mallorys.url, "mallory")
    assert not carols.answered_by(back["state"])
    mixed = {field: getattr(carols, field)}
    with pytest.raises(IdentityRefused) as caught:
        await provider.finish(dataclasses.replace(mallorys, **mixed), back["code"])
    assert ("invalid_grant" if field == "verifier" else "nonce") in why(caught)


async def test_another_secret_gets_nothing(real: Running) -> None:
    """A stolen code is worth nothing without the client's secret; an operator reads what is wrong."""
    asked = await at(real).begin()
    back = await sign_in(asked.url, "carol")
    with pytest.raises(IdentityRefused) as caught:
        await at(real, secret="another").finish(asked, back["code"])
    assert why(caught) == "code: the provider answered 401 invalid_client"


async def test_another_redirect_uri_gets_nothing(real: Running) -> None:
    """A code is for the address that it was sent to."""
    asked = await at(real).begin()
    back = await sign_in(asked.url, "carol")
    with pytest.raises(IdentityRefused) as caught:
        await at(real, back="http://127.0.0.1:9/elsewhere").finish(asked, back["code"])
    assert why(caught) == "code: the provider answered 400 invalid_grant"


async def test_a_made_up_code_gets_nothing(real: Running) -> None:
    """The provider does not know it."""
    provider = at(real)
    with pytest.raises(IdentityRefused):
        await provider.finish(await provider.begin(), "made-up")


async def test_new_keys_are_noticed_at_once(mortal: Running) -> None:
    """The provider is restarted with other keys while the old ones are kept here: the next sign-in reads them anew."""
    provider = at(mortal)
    before = await identity(provider)
    mortal.restart()
    assert await identity(provider) == before


async def test_a_provider_that_is_gone_may_come_back(mortal: Running) -> None:
    """Away before the sign-in, and between its two halves; then it works again."""
    provider = at(mortal)
    asked = await provider.begin()
    back = await sign_in(asked.url, "carol")
    mortal.stop()
    for trying in (provider.finish(asked, back["code"]), at(mortal).begin()):
        with pytest.raises(IdentityAway):
            await trying
    mortal.restart()
    assert (await identity(provider)).subject == "carol"


async def test_nothing_secret_is_logged_or_shown(
    real: Running, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not at the most talkative level of any library, nor in a repr, nor with an error."""
    provider = at(real)
    caplog.set_level(logging.DEBUG)
    asked = await provider.begin()
    caplog.set_level(logging.CRITICAL)
    code = (await sign_in(asked.url, "carol"))["code"]  # the browser's log is its own
    caplog.set_level(logging.DEBUG)
    who = await provider.finish(asked, code)
    with pytest.raises(IdentityRefused) as caught:
        await provider.finish(asked, code)
    printed = capfd.readouterr()
    told = traceback.format_exception(caught.value)
    shown = "".join([caplog.text, printed.out, printed.err, repr(asked), repr(who), repr(provider), *told])
    challenge = parse_qs(urlsplit(asked.url).query)["code_challenge"][0]
    for secret in (code, asked.state, asked.nonce, asked.verifier, challenge, SECRET, "eyJ", "carol@", "Reyes"):
        assert secret not in shown
