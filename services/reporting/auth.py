"""Authentication of callers by bearer tokens that the issuer signed.

Only RS256 and ES256 are accepted, whatever algorithm the token's header names. The keys come from the issuer's
discovery document and are cached. They are fetched again when they are old, or when a token names an unknown key, but
at most once in a set time.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import httpx
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from services.reporting import metrics
from services.reporting.discovery import fetch_metadata, fetch_object
from services.reporting.domain.caller import Caller
from shared import people
from shared.events.refusals import Refusal
from shared.runtime.http.middleware import ProblemError
from shared.runtime.process import logging

ALGORITHMS = ["RS256", "ES256"]
MAX_TOKEN_LENGTH = 16_384
MAX_NAME_LENGTH = 200
MAX_TIME_SECONDS = 2**53
_ABSENT = object()
_VERIFIED = "email_verified"


class TokenError(ValueError):
    """The token is not accepted.

    ``reason`` is a metric label; the message is for a person.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class IssuerUnavailableError(Exception):
    """The issuer's keys are unknown and cannot be fetched now."""


@dataclass(frozen=True, slots=True)
class TrustedIssuer:
    """The issuer and audience of accepted tokens, and how its keys are fetched.

    ``leeway_seconds``: tolerated difference of clocks. ``keys_seconds``: time for which fetched keys are used.
    ``refresh_seconds``: shortest time between two fetches. ``timeout_seconds``: longest wait for one.
    """

    issuer: str
    audience: str
    leeway_seconds: int
    keys_seconds: float
    refresh_seconds: float
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class ClaimNames:
    """The names of the claims that identify a person; dots reach into objects.

    ``roles``: the claim whose values include ``vendor`` for operators. ``verification_may_be_absent``: accept tokens
    without ``email_verified``.
    """

    email: str
    name: str
    roles: str
    verification_may_be_absent: bool = False

    def caller(self, claims: Mapping[str, object], address: str | None, correlation_id: str | None) -> Caller:
        """Read the person from verified claims.

        Raises:
            TokenError: there is no e-mail address, or the issuer has not verified it.
        """
        email = self._address(claims)
        name = _find_claim(claims, self.name)
        readable = name if isinstance(name, str) and name.isprintable() and name.strip() else email
        roles = _find_claim(claims, self.roles)
        held = roles.split() if isinstance(roles, str) else roles if isinstance(roles, list) else []
        return Caller(
            email, readable[:MAX_NAME_LENGTH], "vendor" in held, address, correlation_id, said_at=_issued_at(claims)
        )

    def _address(self, claims: Mapping[str, object]) -> str:
        """Read the e-mail address, which must be verified.

        ``email_verified`` is read next to the address and at the top level; whether it may be absent is configured.

        Raises:
            TokenError: the claim is not an address, or it is not verified.
        """
        claimed = _find_claim(claims, self.email)
        try:
            email = people.read_address(claimed if isinstance(claimed, str) else "")
        except ValueError as error:
            message = f"The token's claim {self.email} is not an e-mail address that can identify a person."
            raise TokenError("no_email", message) from error
        beside = ".".join([*self.email.split(".")[:-1], _VERIFIED])
        flags = [flag for path in {beside, _VERIFIED} if (flag := _find_claim(claims, path, _ABSENT)) is not _ABSENT]
        if not people.is_verified(flags, may_be_absent=self.verification_may_be_absent):
            raise TokenError("no_email", "The token's e-mail address is not verified.")
        return email


class IssuerKeys:
    """The issuer's public keys, cached."""

    def __init__(self, trust: TrustedIssuer, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._trust = trust
        self._monotonic = monotonic
        self._keys: KeySet | None = None
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._lock = asyncio.Lock()
        self._log = logging.get("auth")

    async def current(self, key_id: str | None) -> KeySet:
        """Return the keys, after fetching them if they are old or ``key_id`` is unknown.

        Fetches are limited to one per ``refresh_seconds``.

        Raises:
            IssuerUnavailableError: no keys are known, and none can be fetched.
        """
        if self._keys is not None and self._is_known(key_id):
            return self._keys
        async with self._lock:
            may_try = self._monotonic() - self._tried_at >= self._trust.refresh_seconds
            if (self._keys is None or not self._is_known(key_id)) and may_try:
                self._tried_at = self._monotonic()
                await self._fetch()
        if self._keys is None:
            raise IssuerUnavailableError("the issuer's keys cannot be fetched")
        return self._keys

    def _is_known(self, key_id: str | None) -> bool:
        fresh = self._monotonic() - self._fetched_at < self._trust.keys_seconds
        return fresh and self._keys is not None and (key_id is None or any(k.kid == key_id for k in self._keys.keys))

    async def _fetch(self) -> None:
        """Fetch the keys. After a failure, the known keys stay in use."""
        try:
            async with httpx.AsyncClient(timeout=self._trust.timeout_seconds) as http:
                self._keys = await _fetch_keys(http, self._trust.issuer)
            self._fetched_at = self._monotonic()
            metrics.KEYS_FETCHED.labels(outcome="fetched").inc()
        except (httpx.HTTPError, httpx.InvalidURL, JoseError, ValueError, KeyError, TypeError, AttributeError) as error:
            metrics.KEYS_FETCHED.labels(outcome="failed").inc()
            self._log.warning("issuer_keys_not_fetched", issuer=self._trust.issuer, error=repr(error))


class TokenVerifier:
    """Verifies bearer tokens and id tokens of the issuer."""

    def __init__(self, trust: TrustedIssuer, claims: ClaimNames, now: Callable[[], float] = time.time) -> None:
        self._trust = trust
        self._claims = claims
        self._keys = IssuerKeys(trust)
        self._now = now

    async def verify(self, token: str, *, audience: str | None = None) -> Mapping[str, object]:
        """Return the claims of a token that the issuer signed and that is valid now.

        ``audience``: whom the token must be for; ``None``: the API.

        Raises:
            TokenError: the token is not accepted (a ``ValueError``).
            IssuerUnavailableError: the issuer's keys are unknown, so it cannot be verified now.
        """
        if len(token) > MAX_TOKEN_LENGTH or not token.isascii():
            raise TokenError("malformed", "The token cannot be read.")
        key_id = _key_id(token)
        claims = _signed(token, await self._keys.current(key_id), key_id)
        check_claims(claims, self._trust, audience or self._trust.audience, self._now())
        return claims

    async def caller(self, authorization: str, address: str | None, correlation_id: str | None) -> Caller:
        """Return the person of an ``Authorization`` header.

        Raises:
            ProblemError: 401 ``unauthenticated``; 503 while the issuer's keys cannot be fetched.
        """
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise unauthenticated("A token is needed: Authorization: Bearer <token>.", None)
        try:
            claims = await self.verify(token.strip())
            caller = self._claims.caller(claims, address, correlation_id)
            return replace(caller, ends_in_seconds=(_number(claims, "exp") or 0.0) - self._now())
        except TokenError as error:
            metrics.TOKENS_REFUSED.labels(reason=error.reason).inc()
            raise unauthenticated(str(error), "invalid_token") from error
        except IssuerUnavailableError as error:
            message = "The issuer of tokens is not reachable now. Try again shortly."
            refusal = Refusal(code="unavailable", message=message)
            raise ProblemError(refusal, headers={"Retry-After": "5"}) from error


def check_claims(claims: Mapping[str, object], trust: TrustedIssuer, audience: str, now: float) -> None:
    """Check issuer, audience and times of a token.

    Decision 91 says why joserfc's registry does not.

    Raises:
        TokenError: one of them does not fit.
    """
    if claims.get("iss") != trust.issuer:
        raise TokenError("issuer", "The token is from another issuer.")
    audiences = claims.get("aud")
    if audience not in (audiences if isinstance(audiences, list) else [audiences]):
        raise TokenError("audience", "The token is for another audience.")
    if (expires := _number(claims, "exp")) is None or expires + trust.leeway_seconds <= now:
        raise TokenError("expired", "The token has expired.")
    if "nbf" in claims and ((begins := _number(claims, "nbf")) is None or begins - trust.leeway_seconds > now):
        raise TokenError("not_yet", "The token is not valid yet.")


def unauthenticated(message: str, error: str | None) -> ProblemError:
    """Build a 401 problem with the ``WWW-Authenticate`` challenge of RFC 6750."""
    challenge = 'Bearer realm="unitpool"' + (f', error="{error}", error_description="{message}"' if error else "")
    return ProblemError(Refusal(code="unauthenticated", message=message), headers={"WWW-Authenticate": challenge})


def _signed(token: str, keys: KeySet, key_id: str | None) -> Mapping[str, object]:
    """Return the claims, verified with the key that the token names.

    If it names none, any key of the issuer may fit.
    """
    for key in [key for key in keys.keys if key_id is None or key.kid == key_id]:
        try:
            claims = jwt.decode(token, key, algorithms=ALGORITHMS).claims
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):
            continue
        if isinstance(claims, dict):
            return claims
    raise TokenError("forged", "The token's signature is not valid.")


def _key_id(token: str) -> str | None:
    """Read the id of the key from the token's header.

    The header is unverified, so the id serves only to find the key. Returns ``None`` if the token names no key.

    Raises:
        TokenError: the header cannot be read.
    """
    try:
        header: object = jws.extract_compact(token.encode()).headers()
    except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise TokenError("malformed", "The token cannot be read.") from error
    if not isinstance(header, dict) or not isinstance(key_id := header.get("kid", ""), str):
        raise TokenError("malformed", "The token cannot be read.")
    return key_id if "kid" in header else None


def _number(claims: Mapping[str, object], name: str) -> float | None:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < MAX_TIME_SECONDS else None


def _issued_at(claims: Mapping[str, object]) -> datetime:
    """Return when the token was issued, at most now.

    Without ``iat`` it counts as the oldest.
    """
    return datetime.fromtimestamp(min(max(_number(claims, "iat") or 0.0, 0.0), time.time()), UTC)


def _find_claim(claims: Mapping[str, object], path: str, absent: Any = None) -> Any:
    """Find a claim by its name, or by its path through objects."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for part in path.split("."):
        found = found.get(part, absent) if isinstance(found, Mapping) else absent
    return found


async def _fetch_keys(http: httpx.AsyncClient, issuer: str) -> KeySet:
    """Fetch the issuer's signing keys from the ``jwks_uri`` of its metadata."""
    metadata = await fetch_metadata(http, issuer)
    keys = (await fetch_object(http, str(metadata.get("jwks_uri"))))["keys"]
    if not isinstance(keys, list):
        raise TypeError("the keys are no list")
    return KeySet.import_key_set({"keys": [key for key in keys if key.get("use", "sig") == "sig"]})
