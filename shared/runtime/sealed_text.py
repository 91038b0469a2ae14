"""Text that is sealed with a person's key, and unreadable once that is deleted.

The key (``PersonState.text_key``) is kept with the person's address and nowhere else, so copies of the text
become unreadable wherever they are. It is a JWE (RFC 7516, ``dir`` with ``A256GCM``).
"""

from typing import TypeVar

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from shared.events.commands import WRITTEN_FIELDS
from shared.events.envelope import Payload
from shared.events.ids import PersonId
from shared.events.sealed import SEALED

P = TypeVar("P", bound=Payload)
_HEADER = {"alg": "dir", "enc": "A256GCM"}


def seal_text(text: str, person: PersonId, key: str) -> str:
    """Seal a text with a person's key (64 hexadecimal digits)."""
    return f"sealed:{person}:{jwe.encrypt_compact(_HEADER, text.encode(), _key(key))}"


def seal_written(payload: P, person: PersonId, key: str) -> P:
    """Seal the fields of a command in which its actor wrote (``WRITTEN_FIELDS``)."""
    written = {name: text for name in WRITTEN_FIELDS if (text := getattr(payload, name, None))}
    sealed = {name: seal_text(text, person, key) for name, text in written.items()}
    return payload.model_copy(update=sealed) if sealed else payload


def open_text(text: str, key: str) -> str | None:
    """Open a sealed text; ``None`` if the key does not fit."""
    found = SEALED.fullmatch(text)
    if found is None:
        return None
    try:
        opened = jwe.decrypt_compact(found[2], _key(key), algorithms=["dir", "A256GCM"])
        return (opened.plaintext or b"").decode()
    except (JoseError, ValueError):
        return None


def _key(key: str) -> OctKey:
    return OctKey.import_key(bytes.fromhex(key))
