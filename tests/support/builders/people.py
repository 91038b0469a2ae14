"""People, whose ids and keys in tests are derived from their addresses."""

from hashlib import sha256

from shared.events.ids import PersonId
from shared.runtime.sealed_text import open_text, seal_text


def person_id(email: str) -> PersonId:
    """Return the id of the person with this address."""
    return PersonId(sha256(email.encode()).hexdigest()[:32])


def text_key(email: str) -> str:
    """Return the key of the person with this address."""
    return sha256(f"key of {email}".encode()).hexdigest()


def written(text: str, email: str) -> str:
    """Return a text as the person with this address wrote it: sealed."""
    return seal_text(text, person_id(email), text_key(email))


def opened(text: str, email: str) -> str | None:
    """Open a text that the person with this address wrote."""
    return open_text(text, text_key(email))
