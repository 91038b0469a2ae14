"""The demo's OpenID Connect issuer.

The tests cover the protocol as a client uses it, and its refusals.
"""

import base64
import hashlib
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import KeySet

from deploy.local.oidc.app import Client, build_app
from deploy.local.oidc.tokens import Issuer, new_key
from deploy.local.people import PEOPLE

ISSUER = "http://localhost:8009"
CLIENT = Client("page", "shh", ("http://localhost:8000/auth/callback",), ("http://localhost:8000/",))
VERIFIER = "v" * 50
ASKED = {
    "client_id": "page",
    "redirect_uri": CLIENT.redirect_uris[0],
    "response_type": "code",
    "scope": "openid email profile",
    "state": "st4te",
    "nonce": "n0nce",
    "code_challenge": base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("="),
    "code_challenge_method": "S256",
}
ISSUED_BY = Issuer(ISSUER, new_key())


@pytest.fixture
def client() -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(build_app(ISSUED_BY, CLIENT)), base_url=ISSUER)


async def _code(client: httpx.AsyncClient, who: str = "primary") -> str:
    answer = await client.post("/authorize", data={**ASKED, "who": who})
    back = parse_qs(urlsplit(answer.headers["location"]).query)
    assert answer.status_code == 303
    assert back["state"] == ["st4te"]
    return back["code"][0]


def _exchange(code: str, **changes: str) -> dict[str, str]:
    return {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": ASKED["redirect_uri"],
        "code_verifier": VERIFIER,
        "client_id": "page",
        "client_secret": "shh",
        **changes,
    }


def _claims(token: str, keys: dict[str, Any]) -> dict[str, Any]:
    return dict(jwt.decode(token, KeySet.import_key_set(keys), algorithms=["RS256"]).claims)  # type: ignore[arg-type]


async def test_a_person_signs_in_with_code_and_pkce(client: httpx.AsyncClient) -> None:
    page = await client.get("/authorize", params=ASKED)
    assert page.status_code == 200
    assert all(person.email in page.text for person in PEOPLE)
    answer = await client.post("/token", data=_exchange(await _code(client)))
    assert answer.headers["cache-control"] == "no-store"
    keys = (await client.get("/jwks")).json()
    assert "d" not in keys["keys"][0]
    access, identity = (_claims(answer.json()[name], keys) for name in ("access_token", "id_token"))
    assert (access["iss"], access["aud"], access["email"]) == (ISSUER, "unitpool", "paula@acme.example")
    assert access["unitpool_roles"] == []
    assert access["exp"] > time.time()
    assert (identity["aud"], identity["nonce"], identity["name"]) == ("page", "n0nce", "Paula Prime")


async def test_discovery_names_its_endpoints(client: httpx.AsyncClient) -> None:
    found = (await client.get("/.well-known/openid-configuration")).json()
    assert found["issuer"] == ISSUER
    assert found["jwks_uri"] == f"{ISSUER}/jwks"


async def test_a_code_is_refused_when_it_is_redeemed_twice(client: httpx.AsyncClient) -> None:
    code = await _code(client)
    assert (await client.post("/token", data=_exchange(code))).status_code == 200
    assert (await client.post("/token", data=_exchange(code))).json() == {"error": "invalid_grant"}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_verifier": "wrong"}, "invalid_grant"),
        ({"redirect_uri": "http://elsewhere.example/"}, "invalid_grant"),
        ({"client_secret": "guess"}, "invalid_client"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
    ],
)
async def test_a_wrong_exchange_is_refused(client: httpx.AsyncClient, changes: dict[str, str], error: str) -> None:
    answer = await client.post("/token", data=_exchange(await _code(client), **changes))
    assert answer.json() == {"error": error}


@pytest.mark.parametrize(
    "changes", [{"redirect_uri": "http://evil.example/"}, {"client_id": "other"}], ids=["address", "client"]
)
async def test_no_redirect_is_sent_when_address_or_client_is_unknown(
    client: httpx.AsyncClient, changes: dict[str, str]
) -> None:
    assert (await client.get("/authorize", params={**ASKED, **changes})).status_code == 400
    answer = await client.post("/authorize", data={**ASKED, **changes, "who": "primary"})
    assert answer.status_code == 400
    assert "location" not in answer.headers


async def test_sign_in_without_pkce_is_refused(client: httpx.AsyncClient) -> None:
    asked = {name: value for name, value in ASKED.items() if not name.startswith("code_")}
    assert "error=invalid_request" in (await client.get("/authorize", params=asked)).headers["location"]


async def test_signing_out_returns_only_to_an_allowed_address(client: httpx.AsyncClient) -> None:
    allowed = await client.get("/end_session", params={"post_logout_redirect_uri": "http://localhost:8000/"})
    assert allowed.headers["location"] == "http://localhost:8000/"
    assert (await client.get("/end_session", params={"post_logout_redirect_uri": "http://evil/"})).status_code == 200


def test_the_key_is_private_and_the_same_when_loaded_again(tmp_path: Path) -> None:
    path = tmp_path / "oidc.jwk"
    first = Issuer.load_or_create(ISSUER, path)
    assert path.stat().st_mode & 0o077 == 0
    assert _claims(first.access_token(PEOPLE[1]), Issuer.load_or_create(ISSUER, path).jwks())["unitpool_roles"] == [
        "vendor"
    ]


def test_bad_tokens_can_be_made_for_tests() -> None:
    keys = ISSUED_BY.jwks()
    assert _claims(ISSUED_BY.access_token(PEOPLE[0], expires_in=-60), keys)["exp"] < time.time()
    assert _claims(ISSUED_BY.access_token(PEOPLE[0], audience="other"), keys)["aud"] == "other"
    same_id: dict[str, Any] = {**new_key().as_dict(private=True), "kid": ISSUED_BY.key.kid}
    forger = Issuer(ISSUER, type(ISSUED_BY.key).import_key(same_id))
    with pytest.raises(BadSignatureError):
        _claims(forger.access_token(PEOPLE[0]), keys)
