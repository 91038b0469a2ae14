"""One service asks another over HTTP, as itself: its question is signed with the keys that commands are signed with.

Signed are method, path, query and the moment of asking; a question is good for a minute. Only reads are asked so.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from shared.runtime.signing import SIGNATURE_HEADER, Keys, SignatureError, sign, verify

ASKED_AT_HEADER = "unitpool-asked-at"
FRESH_FOR = timedelta(minutes=1)
ASKING = "questions over HTTP"
"""What is signed instead of a topic's name: no question is a command, and no command a question."""


def sign_question(target: str, now: datetime, keys: Keys) -> dict[str, str]:
    """The headers of a GET of ``target``, a path with its query."""
    asked_at = now.isoformat()
    return {ASKED_AT_HEADER: asked_at, SIGNATURE_HEADER: sign(_signed(target, asked_at), keys, ASKING).decode()}


def is_asked(headers: Mapping[str, str]) -> bool:
    """Whether a request claims to be another service's question."""
    return SIGNATURE_HEADER in headers


def is_genuine(target: str, headers: Mapping[str, str], now: datetime, keys: Keys) -> bool:
    """Whether a holder of one of ``keys`` asked exactly this, just now."""
    asked_at, signature = headers.get(ASKED_AT_HEADER, ""), headers.get(SIGNATURE_HEADER, "")
    try:
        verify(_signed(target, asked_at), signature.encode("latin-1", "replace"), keys, ASKING)
        return abs(now - datetime.fromisoformat(asked_at)) <= FRESH_FOR
    except (SignatureError, ValueError, TypeError):
        return False


def _signed(target: str, asked_at: str) -> bytes:
    return f"GET {target}\n{asked_at}".encode()
