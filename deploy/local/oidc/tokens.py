"""The issuer's key and the tokens that it signs.

They are valid ones, and for tests invalid ones.
"""

import json
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import RSAKey

from deploy.local import secret
from deploy.local.people import DemoPerson

AUDIENCE = "unitpool"
ACCESS_SECONDS = 12 * 3600
ID_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Issuer:
    """An issuer and its key.

    Tests forge tokens with a second issuer of the same name and another key.
    """

    issuer: str
    key: RSAKey

    @classmethod
    def load_or_create(cls, issuer: str, path: Path) -> "Issuer":
        """Load the issuer's key from ``path``; generate it at the first call."""
        if not path.exists():
            secret.write_private(path, json.dumps(new_key().as_dict(private=True)))
        return cls(issuer, RSAKey.import_key(json.loads(path.read_text())))

    def jwks(self) -> dict[str, Any]:
        """The public key, as a JWK set (RFC 7517)."""
        return {"keys": [{**self.key.as_dict(private=False), "use": "sig", "alg": "RS256"}]}

    def access_token(
        self, person: DemoPerson, *, audience: str = AUDIENCE, expires_in: int = ACCESS_SECONDS, **claims: Any
    ) -> str:
        """A bearer token (RFC 9068).

        A negative ``expires_in`` makes it expired; ``claims`` replace default ones.
        """
        return self._signed("at+jwt", person, audience, expires_in, {"unitpool_roles": list(person.roles), **claims})

    def id_token(self, person: DemoPerson, *, client_id: str, nonce: str | None) -> str:
        """An ID token, from which the page learns who signed in."""
        more: dict[str, Any] = {"unitpool_roles": list(person.roles)}
        return self._signed("JWT", person, client_id, ID_SECONDS, {**more, **({"nonce": nonce} if nonce else {})})

    def _signed(self, kind: str, person: DemoPerson, audience: str, expires_in: int, more: dict[str, Any]) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": audience,
            "sub": person.email,
            "email": person.email,
            "email_verified": True,
            "name": person.name,
            "iat": now,
            "exp": now + expires_in,
            "jti": uuid.uuid4().hex,
            **more,
        }
        return jwt.encode({"alg": "RS256", "kid": self.key.kid, "typ": kind}, claims, self.key)


def new_key() -> RSAKey:
    """Generate an RSA key with an id."""
    return RSAKey.generate_key(2048, parameters={"kid": uuid.uuid4().hex[:8]}, private=True)
