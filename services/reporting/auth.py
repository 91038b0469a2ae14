"""Who calls: a bearer token of the issuer, checked against the issuer's own keys.

Only RS256 and ES256 are taken, whatever the token says of itself. The keys come from the issuer's discovery document,
are kept for a while, and are fetched again when a token names a key that is not among them, at most once in a set time.
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
LATEST_SECONDS = 2**53
_ABSENT = object()
_VERIFIED = "email_verified"


class TokenError(ValueError):
    """The token is not accepted. ``reason`` is one of a few words; the message says it to a person."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class IssuerUnavailableError(Exception):
    """The issuer's keys cannot be had now."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose tokens are taken."""

    issuer: str
    audience: str
    leeway_seconds: int
    keys_seconds: float
    refresh_seconds: float
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Claims:
    """Which claims say who somebody is; dots reach into objects.

    ``may_leave_unverified``: a token that says nothing of ``email_verified`` is taken.
    """

    email: str
    name: str
    roles: str
    may_leave_unverified: bool = False

    def caller(self, claims: Mapping[str, object], address: str | None, correlation_id: str | None) -> Caller:
        """The person.

        Raises:
            TokenError: no e-mail address, or one that the issuer has not verified.
        """
        email = self._address(claims)
        name = _reach(claims, self.name)
        readable = name if isinstance(name, str) and name.isprintable() and name.strip() else email
        roles = _reach(claims, self.roles)
        held = roles.split() if isinstance(roles, str) else roles if isinstance(roles, list) else []
        return Caller(
            email, readable[:MAX_NAME_LENGTH], "vendor" in held, address, correlation_id, said_at=_said_at(claims)
        )

    def _address(self, claims: Mapping[str, object]) -> str:
        """Who it is, where the issuer vouches for it: by what stands beside the address, and at the top."""
        said = _reach(claims, self.email)
        try:
            email = people.read_address(said if isinstance(said, str) else "")
        except ValueError as error:
            message = f"The token's claim {self.email} is no e-mail address that somebody can be known by."
            raise TokenError("no_email", message) from error
        beside = ".".join([*self.email.split(".")[:-1], _VERIFIED])
        words = [word for path in {beside, _VERIFIED} if (word := _reach(claims, path, _ABSENT)) is not _ABSENT]
        if not people.is_verified(words, may_be_absent=self.may_leave_unverified):
            raise TokenError("no_email", "The token's e-mail address is not verified.")
        return email


class IssuerKeys:
    """The issuer's public keys."""

    def __init__(self, trust: Trust, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._trust = trust
        self._monotonic = monotonic
        self._keys: KeySet | None = None
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._lock = asyncio.Lock()
        self._log = logging.get("auth")

    async def current(self, key_id: str | None) -> KeySet:
        """The keys; looked up anew when they are old, or when ``key_id`` is not among them (but not too often).

        Raises:
            IssuerUnavailableError: there are none, and none can be had.
        """
        if self._keys is not None and self._serves(key_id):
            return self._keys
        async with self._lock:
            may_try = self._monotonic() - self._tried_at >= self._trust.refresh_seconds
            if (self._keys is None or not self._serves(key_id)) and may_try:
                self._tried_at = self._monotonic()
                await self._fetch()
        if self._keys is None:
            raise IssuerUnavailableError("the issuer's keys cannot be had")
        return self._keys

    def _serves(self, key_id: str | None) -> bool:
        fresh = self._monotonic() - self._fetched_at < self._trust.keys_seconds
        return fresh and self._keys is not None and (key_id is None or any(k.kid == key_id for k in self._keys.keys))

    async def _fetch(self) -> None:
        """Keys that cannot be fetched leave those that are there in use."""
        try:
            async with httpx.AsyncClient(timeout=self._trust.timeout_seconds) as http:
                self._keys = await _fetch_keys(http, self._trust.issuer)
            self._fetched_at = self._monotonic()
            metrics.KEYS_FETCHED.labels(outcome="fetched").inc()
        except (httpx.HTTPError, httpx.InvalidURL, JoseError, ValueError, KeyError, TypeError, AttributeError) as error:
            metrics.KEYS_FETCHED.labels(outcome="failed").inc()
            self._log.warning("issuer_keys_not_fetched", issuer=self._trust.issuer, error=repr(error))


class Tokens:
    """Judges tokens."""

    def __init__(self, trust: Trust, claims: Claims, now: Callable[[], float] = time.time) -> None:
        self._trust = trust
        self._claims = claims
        self._keys = IssuerKeys(trust)
        self._now = now

    async def verify(self, token: str, *, audience: str | None = None) -> Mapping[str, object]:
        """The claims of a token that the issuer signed, for ``audience`` (the API's own where ``None``), and valid now.

        Raises:
            TokenError: it is not such a token (a ``ValueError``).
            IssuerUnavailableError: it cannot be judged now.
        """
        if len(token) > MAX_TOKEN_LENGTH or not token.isascii():
            raise TokenError("malformed", "The token cannot be read.")
        key_id = _key_id(token)
        claims = _signed(token, await self._keys.current(key_id), key_id)
        judge(claims, self._trust, audience or self._trust.audience, self._now())
        return claims

    async def caller(self, authorization: str, address: str | None, correlation_id: str | None) -> Caller:
        """The person of an ``Authorization`` header.

        Raises:
            ProblemError: 401 ``unauthenticated``; 503 while the issuer cannot be asked.
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
            message = "The issuer of tokens cannot be asked now. Try again shortly."
            refusal = Refusal(code="unavailable", message=message)
            raise ProblemError(refusal, headers={"Retry-After": "5"}) from error


def judge(claims: Mapping[str, object], trust: Trust, audience: str, now: float) -> None:
    """Whether the issuer made the token for ``audience``, and for now (decision 91: why joserfc's registry does not).

    Raises:
        TokenError: it did not.
    """
    if claims.get("iss") != trust.issuer:
        raise TokenError("issuer", "The token is of another issuer.")
    meant_for = claims.get("aud")
    if audience not in (meant_for if isinstance(meant_for, list) else [meant_for]):
        raise TokenError("audience", "The token is meant for another audience.")
    if (expires := _number(claims, "exp")) is None or expires + trust.leeway_seconds <= now:
        raise TokenError("expired", "The token has expired.")
    if "nbf" in claims and ((begins := _number(claims, "nbf")) is None or begins - trust.leeway_seconds > now):
        raise TokenError("not_yet", "The token is not valid yet.")


def unauthenticated(message: str, error: str | None) -> ProblemError:
    """401, and what would be accepted (RFC 6750)."""
    challenge = 'Bearer realm="unitpool"' + (f', error="{error}", error_description="{message}"' if error else "")
    return ProblemError(Refusal(code="unauthenticated", message=message), headers={"WWW-Authenticate": challenge})


def _signed(token: str, keys: KeySet, key_id: str | None) -> Mapping[str, object]:
    """The claims, signed with the key that the token names, or with any of them where it names none."""
    for key in [key for key in keys.keys if key_id is None or key.kid == key_id]:
        try:
            claims = jwt.decode(token, key, algorithms=ALGORITHMS).claims
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):
            continue
        if isinstance(claims, dict):
            return claims
    raise TokenError("forged", "The token's signature is not valid.")


def _key_id(token: str) -> str | None:
    """Which key the token says that it is signed with: unverified, good only to find that key."""
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
    return float(value) if abs(value) < LATEST_SECONDS else None


def _said_at(claims: Mapping[str, object]) -> datetime:
    """When the token was issued, which is not ahead; one that does not say counts as the oldest."""
    return datetime.fromtimestamp(min(max(_number(claims, "iat") or 0.0, 0.0), time.time()), UTC)


def _reach(claims: Mapping[str, object], path: str, absent: Any = None) -> Any:
    """A claim by its name, or by the way to it."""
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
