"""Signed links, with which a browser downloads a file without a token.

A link is for one person and one file. The signature is an HMAC-SHA-256 under a key derived from a command key.
"""

import base64
import hmac
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

from services.reporting.domain.exports import LINK_LIFETIME, Export
from shared.runtime.signing import Keys

_PURPOSE: Final = b"unitpool export links"


def link_query(export: Export, keys: Keys, now: datetime) -> tuple[str, datetime]:
    """Return the query of a new link, and when it expires.

    That is ``LINK_LIFETIME`` from ``now``.
    """
    expires = int((now + LINK_LIFETIME).timestamp())
    signature = _signature(export, expires, next(iter(keys.values())))
    return urlencode({"expires": expires, "signature": signature}), datetime.fromtimestamp(expires, UTC)


def is_valid_link(export: Export, expires: int, signature: str, keys: Keys, now: datetime) -> bool:
    """Whether a link is for this export's file and person, and has not expired.

    One of the keys must have signed it.
    """
    given = signature.encode()
    signed = [hmac.compare_digest(_signature(export, expires, key).encode(), given) for key in keys.values()]
    return any(signed) and now.timestamp() < expires


def _signature(export: Export, expires: int, key: bytes) -> str:
    file = export.file.sha256 if export.file else ""
    signed = "\n".join((export.id, export.requested_by, file, str(expires)))
    derived = hmac.digest(key, _PURPOSE, "sha256")
    return base64.urlsafe_b64encode(hmac.digest(derived, signed.encode(), "sha256")).decode().rstrip("=")
