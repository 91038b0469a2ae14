"""The OpenID Connect provider, as the page uses it: authorization code with PKCE (RFC 7636), an id token checked whole.

Which provider it is only the settings know.
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
"""``await verify(token, audience=...)``: the claims of a token of the issuer that is meant for ``audience`` and holds
now; raises ``ValueError`` otherwise."""


class ProviderError(Exception):
    """The provider cannot be reached, or its answer is not one. The message is for the log."""


@dataclass(frozen=True, slots=True)
class Client:
    """What the provider knows this page as."""

    issuer: str
    client_id: str
    client_secret: str | None
    public_url: str

    @property
    def callback(self) -> str:
        """Where people come back to."""
        return f"{self.public_url}/auth/callback"


class Provider:
    """Talks to the issuer. Its own description (discovery) is read once it is needed, and kept."""

    def __init__(self, client: Client, verify: VerifyToken) -> None:
        self._client = client
        self._verify = verify
        self._described: Mapping[str, object] | None = None

    async def authorization_url(self, *, state: str, nonce: str, verifier: str) -> str:
        """Where to send somebody who wants to sign in."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        asked = {
            "response_type": "code",
            "client_id": self._client.client_id,
            "redirect_uri": self._client.callback,
            "scope": SCOPES,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{await self._endpoint('authorization_endpoint')}?{urlencode(asked)}"

    async def redeem(self, code: str, *, verifier: str, nonce: str) -> Mapping[str, object]:
        """The verified claims of the id token that ``code`` stands for.

        Raises:
            ProviderError: no token came, or it is not for us, not for this sign-in, or not valid.
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
            raise ProviderError("the token endpoint gave no id token")
        try:
            claims = await self._verify(token, audience=self._client.client_id)
        except (ValueError, IssuerUnavailableError) as error:
            raise ProviderError(f"the id token is not valid: {error}") from error
        if claims.get("nonce") != nonce:
            raise ProviderError("the id token belongs to another sign-in")
        return claims

    async def end_session_url(self) -> str | None:
        """Where to send somebody who signs out, where the provider has such a place."""
        try:
            endpoint = (await self._description()).get("end_session_endpoint")
        except ProviderError:
            return None
        if not isinstance(endpoint, str):
            return None
        back = {"client_id": self._client.client_id, "post_logout_redirect_uri": f"{self._client.public_url}/"}
        return f"{endpoint}?{urlencode(back)}"

    async def _endpoint(self, name: str) -> str:
        endpoint = (await self._description()).get(name)
        if not isinstance(endpoint, str):
            raise ProviderError(f"the provider's description has no {name}")
        return endpoint

    async def _description(self) -> Mapping[str, object]:
        if self._described is None:
            try:
                async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS) as http:
                    self._described = await fetch_metadata(http, self._client.issuer)
            except (httpx.HTTPError, httpx.InvalidURL, ValueError, TypeError) as error:
                raise ProviderError(f"the provider's metadata cannot be fetched: {error!r}") from error
        return self._described


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
