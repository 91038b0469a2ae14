"""Authentication between services over HTTP.

A GET is signed with the keys that sign commands.
The signature covers method, path, query and time, and is valid within a minute of that time. Only reads are signed.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from shared.runtime.signing import SIGNATURE_HEADER, Keys, SignatureError, sign, verify

ASKED_AT_HEADER = "unitpool-asked-at"
FRESH_FOR = timedelta(minutes=1)
"""Largest difference between the time of signing and the time of checking."""
ASKING = "questions over HTTP"
"""Signed instead of a topic's name.

So no request is a valid command, and no command a valid request.
"""


def sign_request(target: str, now: datetime, keys: Keys) -> dict[str, str]:
    """Sign a GET of ``target`` (path and query); return the headers to send."""
    asked_at = now.isoformat()
    return {ASKED_AT_HEADER: asked_at, SIGNATURE_HEADER: sign(_signed(target, asked_at), keys, ASKING).decode()}


def is_signed(headers: Mapping[str, str]) -> bool:
    """Whether a request has a signature, valid or not.

    Then it claims to come from another service.
    """
    return SIGNATURE_HEADER in headers


def is_genuine(target: str, headers: Mapping[str, str], now: datetime, keys: Keys) -> bool:
    """Whether one of ``keys`` signed exactly this request, recently.

    Recently: at most ``FRESH_FOR`` before or after ``now``. ``target``: the request's path and query.
    """
    asked_at, signature = headers.get(ASKED_AT_HEADER, ""), headers.get(SIGNATURE_HEADER, "")
    try:
        verify(_signed(target, asked_at), signature.encode("latin-1", "replace"), keys, ASKING)
        return abs(now - datetime.fromisoformat(asked_at)) <= FRESH_FOR
    except (SignatureError, ValueError, TypeError):
        return False


def _signed(target: str, asked_at: str) -> bytes:
    return f"GET {target}\n{asked_at}".encode()
