"""What is shown of people and sealed texts in many rows: each is opened once."""

from collections.abc import Callable
from collections.abc import Set as AbstractSet

from services.reporting.queries.shown_people import load_people, people_of
from shared.runtime.postgres.pool import Connection


async def load_shown(connection: Connection, texts: AbstractSet[str | None]) -> Callable[[str], str]:
    """Load what to show of these people's ids and sealed texts."""
    people = await load_people(connection, (person for text in texts for person in people_of(text)))
    return {text: people.show(text) for text in texts if text is not None}.__getitem__
