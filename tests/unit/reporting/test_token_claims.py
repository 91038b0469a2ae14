"""Issuer, audience and times of a token, at least as strict as joserfc's registry.

They are checked in one place.
"""

import ast
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.errors import JoseError
from joserfc.jwt import JWTClaimsRegistry

from services.reporting.auth import TokenError, TrustedIssuer, check_claims

ROOT = Path(__file__).parents[3]
NOW, LEEWAY = 1_800_000_000, 10
TRUST = TrustedIssuer(
    "https://issuer.example", "unitpool", LEEWAY, keys_seconds=1, refresh_seconds=1, timeout_seconds=1
)
GOOD: dict[str, Any] = {"iss": TRUST.issuer, "aud": "unitpool", "exp": NOW + 60}
NO_TIMES: list[Any] = [
    None,
    True,
    False,
    "soon",
    str(NOW + 60),
    [NOW + 60],
    {},
    float("nan"),
    float("inf"),
    float("-inf"),
]
TOO_LATE = [2**53, 2.0**53, 1e300, 10**400, -(10**400)]


def refused(claims: dict[str, Any]) -> str | None:
    """Return the reason of the refusal, or None."""
    try:
        check_claims(claims, TRUST, TRUST.audience, NOW)
    except TokenError as error:
        return error.reason
    return None


def without(name: str) -> dict[str, Any]:
    return {claim: value for claim, value in GOOD.items() if claim != name}


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"aud": ["unitpool"]},
        {"aud": ["other", "unitpool"]},
        {"exp": NOW - LEEWAY + 1},
        {"exp": NOW + 0.5},
        {"exp": 2**53 - 1},
        {"nbf": NOW + LEEWAY},
        {"nbf": 0},
        {"iat": NOW + 3600},
    ],
)
def test_a_token_is_accepted_when_its_claims_are_valid(claims: dict[str, Any]) -> None:
    assert refused(GOOD | claims) is None


@pytest.mark.parametrize(
    "value", [None, "", "https://issuer.example/", "HTTPS://ISSUER.EXAMPLE", [TRUST.issuer], True, 1]
)
def test_another_issuer_is_refused(value: object) -> None:
    assert (refused(GOOD | {"iss": value}), refused(without("iss"))) == ("issuer", "issuer")


@pytest.mark.parametrize(
    "value",
    [None, "", [], {}, "other", "unitpool ", "UNITPOOL", ["other"], [["unitpool"]], {"unitpool": 1}, "unit", True, 1],
)
def test_another_audience_is_refused(value: object) -> None:
    assert (refused(GOOD | {"aud": value}), refused(without("aud"))) == ("audience", "audience")


@pytest.mark.parametrize("value", [*NO_TIMES, *TOO_LATE, NOW - LEEWAY, 0, -1])
def test_a_token_is_refused_when_it_has_expired_or_has_no_expiry(value: object) -> None:
    assert (refused(GOOD | {"exp": value}), refused(without("exp"))) == ("expired", "expired")


@pytest.mark.parametrize("value", [*NO_TIMES, *TOO_LATE, NOW + LEEWAY + 1, NOW + LEEWAY + 0.5])
def test_a_token_is_refused_when_it_is_not_valid_yet(value: object) -> None:
    assert refused(GOOD | {"nbf": value}) == "not_yet"


_TEXTS = st.sampled_from([TRUST.issuer, "unitpool", "other", ""])
_TIMES = st.one_of(st.sampled_from(NO_TIMES), st.integers(NOW - 20, NOW + 20), st.integers(), st.sampled_from(TOO_LATE))


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "iss": st.one_of(_TEXTS, st.none(), st.lists(_TEXTS)),
            "aud": st.one_of(_TEXTS, st.none(), st.lists(_TEXTS), st.booleans()),
            "exp": _TIMES,
            "nbf": _TIMES,
        },
    )
)
def test_a_token_is_refused_when_the_registry_of_joserfc_refuses_it(claims: dict[str, Any]) -> None:
    registry = JWTClaimsRegistry(
        NOW,
        LEEWAY,
        iss={"essential": True, "value": TRUST.issuer},
        aud={"essential": True, "value": TRUST.audience},
        exp={"essential": True},
    )
    claims = GOOD | claims
    if refused(claims) is None:
        registry.validate(claims)
        return
    numbers = [claims[name] for name in ("exp", "nbf") if name in claims]
    if not any(value in TOO_LATE or (isinstance(value, int) and abs(value) >= 2**53) for value in numbers):
        with pytest.raises(JoseError):
            registry.validate(claims)


def judges(code: str) -> set[str]:
    """Return the names that ``code`` imports from joserfc to read tokens."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("joserfc"):
            found |= {f"{node.module}.{one.name}" for one in node.names}
        elif isinstance(node, ast.Import):
            found |= {one.name for one in node.names if one.name.startswith("joserfc")}
    return {name for name in found if name.startswith("joserfc.jwt") or name == "joserfc"}


def test_tokens_are_read_in_one_place() -> None:
    files = [file for folder in ("services", "shared") for file in (ROOT / folder).rglob("*.py")]
    found = {str(file.relative_to(ROOT)) for file in files if judges(file.read_text(encoding="utf-8"))}
    assert found == {"services/reporting/auth.py"}


@pytest.mark.parametrize("code", ["from joserfc import jwt", "import joserfc.jwt", "from joserfc.jwt import decode"])
def test_another_module_that_reads_tokens_is_found(code: str) -> None:
    assert judges(code)
