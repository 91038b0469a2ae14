"""Bearer tokens: which are accepted, and how the issuer's keys are cached."""

import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from joserfc.jwk import ECKey

from tests.conftest import MakeDatabase
from tests.support.builders.published import PRIMARY
from tests.support.drivers.reporting import ReportingDriver, reporting
from tests.support.servers.token_issuer import Issuer, issuing, new_rsa


async def status(driver: ReportingDriver, token: str) -> int:
    """Return the status of /v1/me with this token; a 401 must have a challenge."""
    answer = await driver.http.get("/v1/me", headers={"authorization": f"Bearer {token}"})
    if answer.status_code == 401:
        assert answer.json()["code"] == "unauthenticated"
        assert answer.headers["www-authenticate"].startswith("Bearer ")
    return answer.status_code


async def test_token_is_refused_when_any_claim_is_wrong(empty: ReportingDriver, shared_issuer: Issuer) -> None:
    now = int(time.time())
    good = shared_issuer.token
    assert await status(empty, good(PRIMARY)) == 200
    assert await status(empty, good(PRIMARY, aud=["other", "unitpool"])) == 200
    assert await status(empty, good(PRIMARY, exp=now - 5)) == 200, "within the leeway"
    refused = {
        "expired": good(PRIMARY, exp=now - 60),
        "no expiry": good(PRIMARY, exp=...),
        "expiry is text": good(PRIMARY, exp="soon"),
        "not yet": good(PRIMARY, nbf=now + 60),
        "other audience": good(PRIMARY, aud="other"),
        "no audience": good(PRIMARY, aud=...),
        "other issuer": good(PRIMARY, iss="https://elsewhere.example"),
        "no e-mail": good(PRIMARY, email=...),
        "e-mail is no address": good(PRIMARY, email="paula"),
        "e-mail is not verified": good(PRIMARY, email_verified=False),
        "email_verified is absent": good(PRIMARY, email_verified=...),
        **{f"email_verified is {word!r}": good(PRIMARY, email_verified=word) for word in ("false", "true", 0, 1, None)},
        "e-mail looks like another": good("\u212aim@acme.example"),
        "e-mail is not all seen": good(f"\u200b{PRIMARY}"),
        "e-mail is a number": good(PRIMARY, email=1),
        "forged": good(PRIMARY, key=new_rsa("one")),
        "unknown key": good(PRIMARY, key=new_rsa("other")),
        "cut": good(PRIMARY)[:-10],
        "nonsense": "nonsense",
        "dots": "..",
        "huge": "a" * 20_000,
        "empty": "",
    }
    assert {name: await status(empty, token) for name, token in refused.items()} == dict.fromkeys(refused, 401)


async def test_token_is_refused_when_it_chooses_its_algorithm(empty: ReportingDriver, shared_issuer: Issuer) -> None:
    assert await status(empty, confused(shared_issuer)) == 401
    head, body, _ = shared_issuer.token(PRIMARY).split(".")
    assert await status(empty, f"eyJhbGciOiJub25lIn0.{body}.") == 401
    assert await status(empty, f"{head}.{body}.") == 401
    assert await status(empty, shared_issuer.token(PRIMARY, alg="RS512")) == 401


def confused(issuer: Issuer) -> str:
    """Build a token whose HMAC key is the issuer's public key, as anyone can."""

    def encoded(part: Mapping[str, Any]) -> str:
        return urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")

    signed = f"{encoded({'alg': 'HS256', 'kid': 'one'})}.{encoded(issuer.claims(PRIMARY))}"
    mark = hmac.digest(issuer.key.as_pem(private=False), signed.encode(), "sha256")
    return f"{signed}.{urlsafe_b64encode(mark).decode().rstrip('=')}"


async def test_request_is_answered_with_a_challenge_when_it_has_no_token(empty: ReportingDriver) -> None:
    for header in ("", "Bearer", "Basic dXNlcjpwYXNz", "Bearer \u00e9"):
        headers = {b"authorization": header.encode()} if header else {}
        answer = await empty.http.get("/v1/me", headers=headers)
        assert answer.status_code == 401, header


async def test_elliptic_and_new_keys_are_accepted(database: MakeDatabase) -> None:
    with issuing() as issuer:
        async with reporting(await database("reporting"), issuer, issuer_refresh_seconds=0) as driver:
            assert await status(driver, issuer.token(PRIMARY)) == 200
            curve = ECKey.generate_key("P-256", parameters={"kid": "curve"}, private=True)
            issuer.published.append(curve)
            assert await status(driver, issuer.token(PRIMARY, key=curve, alg="ES256")) == 200
            assert issuer.fetches == 2
            assert await status(driver, issuer.token(PRIMARY)) == 200
            assert issuer.fetches == 2, "cached keys are used"


async def test_keys_are_fetched_once_when_many_tokens_have_unknown_key_ids(database: MakeDatabase) -> None:
    with issuing() as issuer:
        async with reporting(await database("reporting"), issuer, issuer_refresh_seconds=60) as driver:
            stranger = new_rsa("stranger")
            for _ in range(5):
                assert await status(driver, issuer.token(PRIMARY, key=stranger)) == 401
            assert issuer.fetches == 1


async def test_answer_is_503_when_the_keys_of_the_issuer_cannot_be_fetched(database: MakeDatabase) -> None:
    with issuing() as issuer:
        issuer.down = True
        async with reporting(await database("reporting"), issuer, issuer_refresh_seconds=0) as driver:
            answer = await driver.ask("GET", "/v1/me", PRIMARY)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert answer.headers["retry-after"]
            issuer.down = False
            assert await status(driver, issuer.token(PRIMARY)) == 200
            issuer.down = True
            assert await status(driver, issuer.token(PRIMARY)) == 200, (
                "cached keys are used while the issuer is unavailable"
            )


async def test_claims_are_read_from_the_configured_paths(database: MakeDatabase, shared_issuer: Issuer) -> None:
    dsn = await database("reporting")
    named: dict[str, Any] = {"email_claim": "who.upn", "roles_claim": "realm_access.roles"}
    async with reporting(dsn, shared_issuer, email_verified_may_be_absent=True, **named) as driver:
        configured: dict[str, Any] = {"who": {"upn": PRIMARY}, "email_verified": ...}
        assert await status(driver, shared_issuer.token("x@y.example", **configured)) == 200
        for beside in ({"email_verified": "true"}, {"who": {"upn": PRIMARY, "email_verified": False}}):
            assert await status(driver, shared_issuer.token("x@y.example", **{**configured, **beside})) == 401, beside
        token = shared_issuer.token(
            "x@y.example", who={"upn": "Vera@Unitpool.Example"}, realm_access={"roles": ["a", "vendor"]}
        )
        answer = await driver.http.get("/v1/me", headers={"authorization": f"Bearer {token}"})
        assert (answer.json()["email"], answer.json()["vendor"]) == ("vera@unitpool.example", True)
