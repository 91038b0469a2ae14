"""The OpenID Connect provider: authorization code with PKCE (RFC 7636).

Which provider it is depends on settings only.
"""

import base64
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

import httpx

from services.reporting.auth import IssuerUnavailableError
from services.reporting.discovery import fetch_metadata

SCOPES = "openid email profile"
_TIMEOUT_SECONDS = 10

VerifyToken = Callable[..., Awaitable[Mapping[str, object]]]
"""A function that verifies a token and returns its claims.

``await verify(token, audience=...)`` accepts a valid token that the issuer signed for ``audience``. It raises
``ValueError`` for any other.
"""


class ProviderError(Exception):
    """The provider cannot be reached, or its answer is invalid.

    The message is for the log.
    """


@dataclass(frozen=True, slots=True)
class Client:
    """The page's registration as a client of the provider."""

    issuer: str
    client_id: str
    client_secret: str | None
    public_url: str

    @property
    def callback(self) -> str:
        """The URL to which the provider redirects people back."""
        return f"{self.public_url}/auth/callback"


class Provider:
    """Client of the issuer. Its metadata is fetched when first used, and cached."""

    def __init__(self, client: Client, verify: VerifyToken) -> None:
        self._client = client
        self._verify = verify
        self._fetched: Mapping[str, object] | None = None

    async def authorization_url(self, *, state: str, nonce: str, verifier: str) -> str:
        """Build the URL at which a person signs in."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        query = {
            "response_type": "code",
            "client_id": self._client.client_id,
            "redirect_uri": self._client.callback,
            "scope": SCOPES,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{await self._endpoint('authorization_endpoint')}?{urlencode(query)}"

    async def redeem(self, code: str, *, verifier: str, nonce: str) -> Mapping[str, object]:
        """Exchange ``code`` for an id token, and return its verified claims.

        Raises:
            ProviderError: there is no token, or it is invalid, or for another client or sign-in.
        """
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._client.callback,
            "client_id": self._client.client_id,
            "code_verifier": verifier,
        }
        if self._client.client_secret:
            form["client_secret"] = self._client.client_secret
        answer = await _post_form(await self._endpoint("token_endpoint"), form)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise ProviderError("the token endpoint answered without an id token")
        try:
            claims = await self._verify(token, audience=self._client.client_id)
        except (ValueError, IssuerUnavailableError) as error:
            raise ProviderError(f"the id token is not valid: {error}") from error
        if claims.get("nonce") != nonce:
            raise ProviderError("the id token belongs to another sign-in")
        return claims

    async def end_session_url(self) -> str | None:
        """Build the URL at which a person signs out; ``None`` if the provider has none."""
        try:
            endpoint = (await self._metadata()).get("end_session_endpoint")
        except ProviderError:
            return None
        if not isinstance(endpoint, str):
            return None
        back = {"client_id": self._client.client_id, "post_logout_redirect_uri": f"{self._client.public_url}/"}
        return f"{endpoint}?{urlencode(back)}"

    async def _endpoint(self, name: str) -> str:
        endpoint = (await self._metadata()).get(name)
        if not isinstance(endpoint, str):
            raise ProviderError(f"the provider's metadata has no {name}")
        return endpoint

    async def _metadata(self) -> Mapping[str, object]:
        if self._fetched is None:
            try:
                async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS) as http:
                    self._fetched = await fetch_metadata(http, self._client.issuer)
            except (httpx.HTTPError, httpx.InvalidURL, ValueError, TypeError) as error:
                raise ProviderError(f"the provider's metadata cannot be fetched: {error!r}") from error
        return self._fetched


async def _post_form(url: str, form: Mapping[str, str]) -> Mapping[str, object]:
    try:
        async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS) as http:
            answer = await http.post(url, data=dict(form))
            body = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise ProviderError(f"POST {url}: {error!r}") from error
    if answer.is_error or not isinstance(body, dict):
        said = body.get("error") if isinstance(body, dict) else "no object"
        raise ProviderError(f"POST {url} answered {answer.status_code}: {said}")
    return body
