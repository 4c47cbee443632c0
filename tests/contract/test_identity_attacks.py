"""OpenID Connect with a provider that lies, dawdles or was taken over: nobody is signed in, and no secret gets out."""

import asyncio
import base64
import dataclasses
import gzip
import hashlib
import json
import ssl
import sys
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from joserfc.jwk import RSAKey

from portal.identity import Identity
from portal.identity.oidc import OpenIdConnect
from portal.model.errors import IdentityAway, IdentityRefused, PortalError, RefusesToStart
from tests.identity.fake import (
    CLIENT_ID,
    DISCOVERY,
    KEYS,
    SECRET,
    TOKEN,
    Answer,
    Clock,
    Fake,
    drips,
    key,
    opened,
    says,
    shared,
    text,
    unsigned,
    writes,
)
from tests.world import certificates

pytestmark = pytest.mark.anyio
BACK = "https://portal.clinic.example/staff/back"
CODE = "c0de-of-carol"
CAROL = Identity("carol", "carol@clinic.example", "Carol Reyes", ("sender",))
EACH = pytest.mark.parametrize("path", [DISCOVERY, TOKEN, KEYS])


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    """Without TLS, as allowed on this machine only."""
    async with opened(Fake()) as made:
        yield made


@pytest.fixture
async def secure() -> AsyncIterator[Fake]:
    """With TLS, its certificate for localhost by the tests' authority."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates() / "server.pem", certificates() / "server.key")
    async with opened(Fake("https"), tls) as made:
        yield made


class Chance:
    """Bytes that differ each time, and are the same in each run."""

    def __init__(self) -> None:
        self._drawn = 0

    def __call__(self, count: int) -> bytes:
        self._drawn += 1
        return hashlib.shake_128(str(self._drawn).encode()).digest(count)


def to(fake: Fake, ca: Path | None = None, seconds: float = 5) -> OpenIdConnect:
    return OpenIdConnect(
        fake.issuer, CLIENT_ID, SECRET, BACK, "roles", ca, now=fake.clock.now, random=Chance(), seconds=seconds
    )


async def finish(fake: Fake, provider: OpenIdConnect | None = None, /, **claims: object) -> Identity:
    """A whole sign-in, whose ID token has claims as they should be, but for these."""
    provider = provider or to(fake)
    asked = await provider.begin()
    fake.token = fake.sign(fake.claims(asked.nonce, **claims))
    return await provider.finish(asked, CODE)


async def token(fake: Fake, made: object, provider: OpenIdConnect | None = None) -> Identity:
    """A whole sign-in with this very ID token, for which the nonce is `n0nce`."""
    provider = provider or to(fake)
    asked = dataclasses.replace(await provider.begin(), nonce="n0nce")
    fake.token = made
    return await provider.finish(asked, CODE)


async def refused(doing: Any, kind: type[PortalError] = IdentityRefused) -> str:
    """Why it was refused; no secret and no token is in that, nor in anything that is shown with it."""
    with pytest.raises(PortalError) as caught:
        await doing
    assert isinstance(caught.value, kind), repr(caught.value)
    assert caught.value.transient == (kind is IdentityAway)
    shown = "".join(traceback.format_exception(caught.value))
    assert not [one for one in (SECRET, CODE, "eyJ", "n0nce", "carol") if one in shown]
    assert str(caught.value).isprintable()
    return str(caught.value)


# -- as it should be


async def test_a_sign_in_as_it_should_be(fake: Fake) -> None:
    """The positive control of all that is refused below; each document is read once."""
    provider = to(fake)
    assert await finish(fake, provider) == await finish(fake, provider) == CAROL
    assert [one[1] for one in fake.requests] == [DISCOVERY, TOKEN, KEYS, TOKEN]


async def test_what_the_browser_is_sent_with(fake: Fake) -> None:
    """The code flow, its S256 challenge, state and nonce; an address that has a query keeps it."""
    fake.discovery = {"authorization_endpoint": f"{fake.issuer}/authorize?tenant=a%20b"}
    asked = await to(fake).begin()
    assert asked.url.startswith(f"{fake.issuer}/authorize?")
    challenge = base64.urlsafe_b64encode(hashlib.sha256(asked.verifier.encode()).digest()).rstrip(b"=").decode()
    assert dict(parse_qsl(urlsplit(asked.url).query)) == {
        "tenant": "a b",
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": BACK,
        "scope": "openid email profile",
        "state": asked.state,
        "nonce": asked.nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    assert asked.verifier not in asked.url


async def test_each_sign_in_has_values_of_its_own(fake: Fake) -> None:
    """State, nonce and verifier: 32 random bytes each, never one for another."""
    provider = to(fake)
    many = [await provider.begin() for _ in range(5)]
    drawn = [value for one in many for value in (one.state, one.nonce, one.verifier)]
    assert len(set(drawn)) == 15
    assert {len(one) for one in drawn} == {43}


async def test_a_state_is_answered_by_itself_alone(fake: Fake) -> None:
    """Neither by another sign-in's, nor by what is no text of ours."""
    provider = to(fake)
    one, other = await provider.begin(), await provider.begin()
    assert one.answered_by(one.state)
    assert not any(one.answered_by(state) for state in ("", other.state, one.state + "=", "é", "\ud800"))


@pytest.mark.parametrize(
    "ways", [..., ["client_secret_basic", "client_secret_post"], ["private_key_jwt", "client_secret_post"]]
)
async def test_the_secret_goes_where_the_provider_takes_it(fake: Fake, ways: Any) -> None:
    """Into a header where that is taken, else into the form; code and verifier beside it."""
    fake.discovery = {"token_endpoint_auth_methods_supported": ways}
    provider = to(fake)
    await finish(fake, provider)
    method, _, headers, form = next(one for one in fake.requests if one[1] == TOKEN)
    in_form = ways is not ... and "client_secret_basic" not in ways
    basic = "Basic " + base64.b64encode(f"{CLIENT_ID}:{SECRET}".encode()).decode()
    assert (method, headers.get("authorization")) == ("POST", None if in_form else basic)
    assert form.get("client_secret") == (SECRET if in_form else None)
    assert (form["grant_type"], form["code"], form["redirect_uri"]) == ("authorization_code", CODE, BACK)
    assert len(form["code_verifier"]) == 43


@pytest.mark.parametrize("ways", [["private_key_jwt"], [], "client_secret_basic", 1])
async def test_a_provider_that_takes_no_secret_gets_none(fake: Fake, ways: object) -> None:
    """It is told before anybody is sent there."""
    fake.discovery = {"token_endpoint_auth_methods_supported": ways}
    assert "takes no client secret" in await refused(to(fake).begin())


# -- claims that are another's


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("iss", "https://evil.example"),
        ("iss", ["x"]),
        ("iss", ...),
        ("aud", "another"),
        ("aud", ["another"]),
        ("aud", []),
        ("aud", {"portal": 1}),
        ("aud", ...),
        ("azp", "another"),
        ("azp", None),
        ("nonce", "another"),
        ("nonce", ""),
        ("nonce", ...),
        ("sub", ...),
        ("sub", ""),
        ("sub", 7),
        ("sub", "a" * 256),
        ("sub", "car\u202eol"),
        ("exp", ...),
        ("exp", "never"),
        ("exp", True),
        ("exp", 1e400),
        ("iat", ...),
        ("iat", "now"),
    ],
)
async def test_a_claim_that_is_not_as_it_must_be(fake: Fake, claim: str, value: object) -> None:
    """Another's, of another kind, or not there: the reason names the claim."""
    assert claim in await refused(finish(fake, **{claim: value}))


async def test_a_nonce_in_a_list_is_none(fake: Fake) -> None:
    """A token that bears many nonces would fit many sign-ins."""
    assert "nonce" in await refused(token(fake, fake.sign(fake.claims("", nonce=["n0nce", "another"]))))


async def test_a_token_for_several_says_whom_it_was_issued_to(fake: Fake) -> None:
    """Several audiences need an authorised party, and it is us."""
    several = ["another", CLIENT_ID]
    assert await finish(fake, aud=several, azp=CLIENT_ID) == CAROL
    assert "azp" in await refused(finish(fake, aud=several))
    assert "azp" in await refused(finish(fake, aud=several, azp="another"))


@pytest.mark.parametrize(
    ("claim", "seconds", "good"),
    [
        ("exp", -59, True),
        ("exp", -60, False),
        ("iat", 60, True),
        ("iat", 61, False),
        ("nbf", 60, True),
        ("nbf", 61, False),
    ],
)
async def test_clocks_may_differ_by_a_minute(fake: Fake, claim: str, seconds: int, good: bool) -> None:
    """Neither longer after the end, nor longer before the beginning."""
    at = int(fake.clock.now().timestamp()) + seconds
    if good:
        assert await finish(fake, **{claim: at}) == CAROL
    else:
        assert claim in await refused(finish(fake, **{claim: at}))


@pytest.mark.parametrize("said", [False, "true", 1, None, ...])
async def test_an_unverified_email_is_left_out(fake: Fake, said: object) -> None:
    """Only a plain yes is one; who it is remains known."""
    who = await finish(fake, email_verified=said)
    assert (who.subject, who.email) == ("carol", "")


# -- signatures that are none


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
async def test_an_unsigned_token_proves_nothing(fake: Fake, algorithm: str) -> None:
    """However `none` is written."""
    assert "algorithm" in await refused(token(fake, unsigned(fake.claims("n0nce"), algorithm)))


async def test_a_public_key_is_no_shared_secret(fake: Fake) -> None:
    """HS256 with what everybody can read, as PEM, DER or modulus: the classic confusion."""
    public = fake.keys[0]
    assert isinstance(public, RSAKey)
    listed = json.dumps(public.as_dict(private=False)).encode()
    for raw in (public.as_pem(private=False), public.as_der(private=False), listed, SECRET.encode()):
        made = shared(fake.claims("n0nce"), raw, "first")
        assert "algorithm" in await refused(token(fake, made))


async def test_a_shared_key_in_the_key_set_is_not_used(fake: Fake) -> None:
    """Not even when the provider shows one."""
    secret = b"shared" * 8
    shown = {"kty": "oct", "kid": "shared", "k": text(secret)}
    fake.answers[KEYS] = says(200, {"keys": [shown, key("first").as_dict(private=False)]})
    assert "algorithm" in await refused(token(fake, shared(fake.claims("n0nce"), secret, "shared")))


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS512"])
async def test_an_algorithm_off_the_list_is_refused(fake: Fake, algorithm: str) -> None:
    """Well signed, but not by one of the four."""
    assert "algorithm" in await refused(token(fake, fake.sign(fake.claims("n0nce"), alg=algorithm)))


@pytest.mark.parametrize(
    "one", [key("rsa"), key("ec", "EC", "P-256"), key("okp", "OKP")], ids=["RS256", "ES256", "EdDSA"]
)
async def test_a_key_of_each_kind_proves(fake: Fake, one: Any) -> None:
    """The positive control of the refusals around it."""
    fake.keys = [one]
    assert await token(fake, fake.sign(fake.claims("n0nce"))) == CAROL


async def test_another_key_of_the_same_name_is_refused(fake: Fake) -> None:
    """Mallory can name a key, and has not got it."""
    made = fake.sign(fake.claims("n0nce"), key("mallory"), kid="first")
    assert "signature" in await refused(token(fake, made))


async def test_a_key_in_the_token_itself_is_not_believed(fake: Fake) -> None:
    """Neither `jwk` nor `jku` nor `x5u` in its header."""
    mallory = key("mallory")
    brought = {"jwk": mallory.as_dict(private=False), "jku": f"{fake.issuer}/mallory", "x5u": f"{fake.issuer}/mallory"}
    for name, value in brought.items():
        made = fake.sign(fake.claims("n0nce"), mallory, kid="first", **{name: value})
        assert "ID token" in await refused(token(fake, made))
    assert fake.asked_for("/mallory") == 0


async def test_changed_claims_do_not_hold(fake: Fake) -> None:
    """One signature, other words."""
    good = fake.sign(fake.claims("n0nce")).split(".")
    other = fake.sign(fake.claims("n0nce", sub="dora")).split(".")
    assert "signature" in await refused(token(fake, ".".join([good[0], other[1], good[2]])))


@pytest.mark.parametrize("crit", [["b64"], ["exp"], ["x"], [], "b64"])
async def test_a_critical_header_that_is_not_understood(fake: Fake, crit: object) -> None:
    """RFC 7515 4.1.11: what must be understood and is not, refuses the token."""
    extra = {"b64": False, "x": 1, "exp": 1}
    assert "ID token" in await refused(token(fake, fake.sign(fake.claims("n0nce"), crit=crit, **extra)))


async def test_an_unknown_header_is_ignored(fake: Fake) -> None:
    """RFC 7515 4: providers add their own."""
    assert await token(fake, fake.sign(fake.claims("n0nce"), rh="0.AAA")) == CAROL


@pytest.mark.parametrize(
    "made",
    [
        "", ".", "..", "...", "a.b.c", "e30.e30.", "e30.e30.e30", "W10.e30.e30", "bnVsbA.e30.e30", "eyJhbGciOltdfQ.e30.e30",
        "eyJhbGciOnt9fQ.e30.e30", "eyJhbGciOiJSUzI1NiIsImtpZCI6W119.e30.e30", "\ud800", "é.é.é", "a" * 200_000, 7, None, [], {"a": 1},
    ],
    ids=lambda one: repr(one)[:20],
)  # fmt: skip
async def test_what_is_no_token_is_refused(fake: Fake, made: object) -> None:
    """It trips nothing."""
    assert await refused(token(fake, made))


@pytest.mark.parametrize(
    "payload", [b"[]", b"7", b"", b"{", b"\xff", b'{"a":' * 20_000], ids=lambda one: repr(one)[:12]
)
async def test_a_payload_that_is_no_object(fake: Fake, payload: bytes) -> None:
    """Well signed, and nonsense."""
    assert "ID token" in await refused(token(fake, fake.sign(payload)))


# -- keys


async def test_an_unknown_key_has_the_set_read_once_more(fake: Fake) -> None:
    """And no more often than that, for each sign-in."""
    provider = to(fake)
    await finish(fake, provider)
    made = fake.sign(fake.claims("n0nce"), key("mallory"))
    assert "does not show" in await refused(token(fake, made, provider))
    assert fake.asked_for(KEYS) == 2


async def test_an_unknown_key_in_a_fresh_set_is_refused_at_once(fake: Fake) -> None:
    """It was read this very moment."""
    assert "does not show" in await refused(token(fake, fake.sign(fake.claims("n0nce"), key("mallory"))))
    assert fake.asked_for(KEYS) == 1


async def test_a_rotated_key_is_taken_up(fake: Fake) -> None:
    """Signed by the new, it is read anew; signed by the old one, now gone, it is refused."""
    provider = to(fake)
    await finish(fake, provider)
    fake.keys = [key("second")]
    assert await finish(fake, provider) == CAROL
    assert fake.asked_for(KEYS) == 2
    assert "does not show" in await refused(token(fake, fake.sign(fake.claims("n0nce"), key("first")), provider))


async def test_a_withdrawn_key_ends_within_the_hour(fake: Fake) -> None:
    """What is kept is not kept for longer, nor when the clock was set back."""
    provider = to(fake)
    await finish(fake, provider)
    fake.clock.wait(minutes=59)
    await finish(fake, provider)
    assert (fake.asked_for(DISCOVERY), fake.asked_for(KEYS)) == (1, 1)
    fake.keys = [key("second")]
    fake.clock.wait(minutes=1)
    assert "does not show" in await refused(token(fake, fake.sign(fake.claims("n0nce"), key("first")), provider))
    assert (fake.asked_for(DISCOVERY), fake.asked_for(KEYS)) == (2, 2)
    fake.clock.wait(days=-1)
    await finish(fake, provider)
    assert (fake.asked_for(DISCOVERY), fake.asked_for(KEYS)) == (3, 3)


async def test_a_token_that_names_no_key(fake: Fake) -> None:
    """Where there is one key, that is meant; where there are several, it must say (OpenID Connect Core 10.1)."""
    nameless = fake.sign(fake.claims("n0nce"), kid=...)
    assert await token(fake, nameless) == CAROL
    fake.keys = [key("first"), key("ec", "EC", "P-256")]
    assert await token(fake, nameless) == CAROL, "of this algorithm there is still but one"
    fake.keys = [key("first"), key("second")]
    assert "which of several" in await refused(token(fake, nameless))


async def test_keys_for_other_uses_do_not_count(fake: Fake) -> None:
    """For encryption, for signing only, for another algorithm, or too short (RFC 7518 3.3)."""
    usual = key("first").as_dict(private=False)
    short = key("first", "RSA", 1024).as_dict(private=False)
    for wrong in (usual | {"use": "enc"}, usual | {"key_ops": ["sign"]}, usual | {"alg": "PS256"}, short):
        fake.answers[KEYS] = says(200, {"keys": [wrong, key("second").as_dict(private=False)]})
        made = fake.sign(fake.claims("n0nce"), key("first", "RSA", 1024) if wrong is short else key("first"))
        assert "does not show" in await refused(token(fake, made))


async def test_keys_that_are_not_understood_are_passed_over(fake: Fake) -> None:
    """A provider may show keys of the future (RFC 7517 5); hostile ones trip nothing."""
    odd: list[object] = [
        7, None, [], {}, {"kty": "AKP"}, {"kty": []},
        {"kty": "RSA"}, {"kty": "RSA", "n": 1, "e": 2}, {"kty": "RSA", "n": "é", "e": "AQAB"},
        {"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA"}, {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "OKP", "crv": "X25519", "x": "AA"}, {"kty": "OKP", "crv": [], "x": {}},
        key("first").as_dict(private=False) | {"e": "AA"}, key("first").as_dict(private=False) | {"key_ops": 7},
    ]  # fmt: skip
    fake.answers[KEYS] = says(200, {"keys": [*odd, key("first").as_dict(private=False)]})
    assert await finish(fake) == CAROL


@pytest.mark.parametrize(
    "said", [{}, {"keys": []}, {"keys": {}}, {"keys": None}, {"keys": [{"kty": "oct", "k": "AAAA"}]}]
)
async def test_a_key_set_without_a_usable_key(fake: Fake, said: object) -> None:
    """Nobody can be signed in by it."""
    fake.answers[KEYS] = says(200, said)
    assert "none that can be used" in await refused(finish(fake))


# -- the configuration


@pytest.mark.parametrize("issuer", ["https://evil.example", "{}/", "{}/other", "", None, 7, ...])
async def test_a_configuration_of_another_issuer_is_refused(fake: Fake, issuer: object) -> None:
    """To the letter: a slash more is another (Discovery 4.3)."""
    fake.discovery = {"issuer": issuer.format(fake.issuer) if isinstance(issuer, str) else issuer}
    assert "another issuer" in await refused(to(fake).begin())


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
@pytest.mark.parametrize(
    "url",
    [
        ..., None, 7, "", "/token", "//x.example/", "http://x.example/", "http://127.0.0.1.x.example/", "ftp://x.example/",
        "file:///etc/passwd", "javascript:alert(1)", "https://",
        "https://user:pw@x.example/", "https://x.example/#part", "https://[",
        "https://x:y/", "https://x:99999/", "https://x:0/", "https://x y/",
    ],
    ids=str,
)  # fmt: skip
async def test_an_unsafe_address_is_refused(fake: Fake, name: str, url: object) -> None:
    """Missing, without TLS, without a host, or with what no address there needs: nobody is sent, and nothing."""
    fake.discovery = {name: url}
    assert "not safe" in await refused(to(fake).begin())


async def test_a_provider_elsewhere_can_not_point_to_this_machine(secure: Fake) -> None:
    """Plain HTTP on loopback is for a provider that is itself there."""
    secure.discovery = {"jwks_uri": "http://127.0.0.1:9/"}
    assert "not safe" in await refused(to(secure, certificates() / "ca.pem").begin())


async def test_a_host_that_is_no_name_does_not_answer(fake: Fake) -> None:
    """It trips no look-up."""
    fake.discovery = {"token_endpoint": f"https://{'a' * 64}.example/"}
    assert await refused(finish(fake), IdentityAway)


# -- manners, at each of the three requests


@EACH
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(fake: Fake, path: str, status: int) -> None:
    """Code and secret go where they were to go, and nowhere else."""
    fake.answers[path] = says(status, {}, f"Location: {fake.issuer}/elsewhere\r\n")
    assert str(status) in await refused(finish(fake))
    assert fake.asked_for("/elsewhere") == 0


@EACH
async def test_an_endless_answer_is_left(fake: Fake, path: str) -> None:
    """It is read up to a bound and no further."""
    fake.answers[path] = fake.endless
    assert "longer than 262144 bytes" in await refused(finish(fake))
    assert fake.written < 16 * 1024 * 1024, "what fits into the buffers of both ends, and no more"


@EACH
@pytest.mark.parametrize(
    "answer", [writes(b"", then_waits=True), drips(b"{"), writes(b""), writes(b"HTTP/1.1 2"), writes(b"220 mail ESMTP\r\n")],
    ids=["silent", "drips", "closed", "cut short", "no HTTP"],
)  # fmt: skip
async def test_no_answer_in_time_is_away(fake: Fake, path: str, answer: Answer) -> None:
    """Slow as a whole counts, not from drop to drop."""
    fake.answers[path] = answer
    async with asyncio.timeout(20):
        assert "did not answer" in await refused(finish(fake, to(fake, seconds=0.5)), IdentityAway)


@EACH
@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 599])
async def test_a_provider_that_can_not_now_is_away(fake: Fake, path: str, status: int) -> None:
    """It says so itself."""
    fake.answers[path] = says(status, b"<html>")
    assert str(status) in await refused(finish(fake), IdentityAway)


@EACH
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"7", b"\xff\xfe", b"[" * 100_000], ids=lambda one: repr(one)[:10]
)
async def test_an_answer_that_is_no_object(fake: Fake, path: str, body: bytes) -> None:
    """A page of a gateway, say."""
    fake.answers[path] = says(200, body)
    assert "no JSON object" in await refused(finish(fake))


@EACH
async def test_a_packed_answer_is_not_unpacked(fake: Fake, path: str) -> None:
    """A few bytes could become a great many."""
    fake.answers[path] = says(200, gzip.compress(bytes(50_000_000)), "Content-Encoding: gzip\r\n")
    assert "packed" in await refused(finish(fake))
    assert {one[2]["accept-encoding"] for one in fake.requests} == {"identity"}


@EACH
async def test_a_configuration_or_key_that_failed_is_not_kept(fake: Fake, path: str) -> None:
    """The next sign-in asks again."""
    provider = to(fake)
    fake.answers[path] = says(503, {})
    await refused(finish(fake, provider), IdentityAway)
    del fake.answers[path]
    assert await finish(fake, provider) == CAROL


async def test_a_proxy_of_the_environment_is_not_asked(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The secret goes to the provider and to nobody between."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert await finish(fake) == CAROL


async def test_a_sign_in_that_is_called_off_ends(fake: Fake) -> None:
    """Cancelling is passed on as such."""
    fake.answers[DISCOVERY] = writes(b"", then_waits=True)
    beginning = asyncio.create_task(to(fake).begin())
    await fake.asked.wait()
    beginning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await beginning


# -- the code


@pytest.mark.parametrize("code", ["", "é", "a\nb", "a" * 8193, "\ud800"], ids=lambda one: repr(one)[:10])
async def test_what_is_no_code_is_not_sent(fake: Fake, code: str) -> None:
    """It comes from a browser, and may be anything."""
    provider = to(fake)
    assert "code" in await refused(provider.finish(await provider.begin(), code))
    assert fake.asked_for(TOKEN) == 0


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"error": "invalid_grant", "error_description": CODE}, "code: the provider answered 400 invalid_grant"),
        ({"error": CODE}, "code: the provider answered 400"),
        ({"error": ["invalid_grant"]}, "code: the provider answered 400"),
        (b"<html>" + CODE.encode(), "code: the provider answered 400"),
    ],
)
async def test_a_refused_code_is_told_in_our_own_words(fake: Fake, said: object, told: str) -> None:
    """The provider may quote what it was given, and this goes on record."""
    fake.answers[TOKEN] = says(400, said)
    assert await refused(finish(fake)) == told


# -- TLS


async def test_a_checked_certificate_is_enough(secure: Fake) -> None:
    """By the authority that was named, for the name that was asked."""
    assert await finish(secure, to(secure, certificates() / "ca.pem")) == CAROL


async def test_a_certificate_of_another_authority_gets_nothing(secure: Fake) -> None:
    """It ends before a word is sent."""
    assert await refused(to(secure).begin(), IdentityAway)
    assert secure.requests == []


async def test_a_certificate_for_another_name_gets_nothing(secure: Fake) -> None:
    """The authority is right, and the host is not."""
    provider = OpenIdConnect(
        f"https://127.0.0.1.:{secure.port}", CLIENT_ID, SECRET, BACK, "roles", certificates() / "ca.pem",
        now=secure.clock.now, random=Chance(),
    )  # fmt: skip
    assert await refused(provider.begin(), IdentityAway)
    assert secure.requests == []


# -- settings that can't work


def made(**changed: Any) -> OpenIdConnect:
    usual: dict[str, Any] = {
        "issuer": "https://id.clinic.example",
        "client_id": CLIENT_ID,
        "client_secret": SECRET,
        "redirect_uri": BACK,
        "roles_claim": "roles",
        "ca": None,
    }
    return OpenIdConnect(**(usual | changed), now=Clock().now, random=Chance())


@pytest.mark.parametrize(
    "changed",
    [
        {"issuer": ""},
        {"issuer": "id.clinic.example"},
        {"issuer": "http://id.clinic.example"},
        {"issuer": "http://127.0.0.1.evil.example"},
        {"issuer": "https://id.clinic.example?a=1"},
        {"issuer": "https://id.clinic.example#a"},
        {"issuer": "https://user:pw@id.clinic.example"},
        {"redirect_uri": ""},
        {"redirect_uri": "http://portal.clinic.example/"},
        {"client_id": ""},
        {"client_secret": ""},
        {"ca": Path("not-there.pem")},
    ],
    ids=str,
)
def test_what_can_not_work_does_not_start(changed: dict[str, Any]) -> None:
    """Rather than fail at the first sign-in; the secret is not in the reason."""
    assert made()
    with pytest.raises(RefusesToStart) as caught:
        made(**changed)
    assert SECRET not in str(caught.value)


def test_missing_libraries_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """They come with an extra, and the reason says how."""
    import portal.identity

    monkeypatch.delattr(portal.identity, "idtoken", raising=False)
    monkeypatch.setitem(sys.modules, "portal.identity.idtoken", None)
    with pytest.raises(RefusesToStart, match=r"recipient-portal\[oidc\]"):
        made()
