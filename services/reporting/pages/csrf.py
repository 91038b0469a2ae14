"""Protection against cross-site request forgery, of forms and of the sign-in.

A form carries a token of its session. A sealed cookie binds a sign-in to the browser that started it.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass

from pydantic import TypeAdapter

from shared.runtime.signing import SignatureError, seal, unseal

_TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class StartedSignIn:
    """What a browser brings back from the provider.

    ``to`` is where it goes then; ``until`` is a POSIX time.
    """

    state: str
    nonce: str
    verifier: str
    to: str
    until: float


_SIGN_IN = TypeAdapter(StartedSignIn)


@dataclass(frozen=True, slots=True)
class CsrfProtection:
    """Form tokens, and the seal of the sign-in cookie.

    Their keys are derived from the session secret.
    """

    secret: str

    def form_token(self, session: str) -> str:
        """Return the session's form token under a fresh mask.

        The mask keeps compression from leaking the token (BREACH).
        """
        pad = secrets.token_bytes(_TOKEN_BYTES)
        masked = bytes(a ^ b for a, b in zip(pad, self._token(session), strict=True))
        return base64.urlsafe_b64encode(pad + masked).decode()

    def is_form_token(self, given: str, session: str) -> bool:
        """Whether ``given`` is a form token of this session; compared in constant time."""
        try:
            raw = base64.urlsafe_b64decode(given.encode())
        except (ValueError, binascii.Error):
            return False
        if len(raw) != 2 * _TOKEN_BYTES:
            return False
        pad, masked = raw[:_TOKEN_BYTES], raw[_TOKEN_BYTES:]
        return hmac.compare_digest(bytes(a ^ b for a, b in zip(pad, masked, strict=True)), self._token(session))

    def seal(self, started: StartedSignIn) -> str:
        """Encrypt it into text that only a process with the same secret can read."""
        return seal(_SIGN_IN.dump_json(started).decode(), {"page": self._key("sign-in")})

    def unseal(self, sealed: str) -> StartedSignIn | None:
        """Decrypt what ``seal`` returned; ``None`` for any other text."""
        try:
            return _SIGN_IN.validate_json(unseal(sealed, {"page": self._key("sign-in")}))
        except (SignatureError, ValueError):
            return None

    def _token(self, session: str) -> bytes:
        return hmac.digest(self._key("form"), session.encode(), "sha256")

    def _key(self, purpose: str) -> bytes:
        return hmac.digest(hashlib.sha256(self.secret.encode()).digest(), purpose.encode(), "sha256")
