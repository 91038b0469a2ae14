"""People, whose ids in tests are derived from their addresses."""

from hashlib import sha256

from shared.events.ids import PersonId


def person_id(email: str) -> PersonId:
    """Return the id of the person with this address."""
    return PersonId(sha256(email.encode()).hexdigest()[:32])
