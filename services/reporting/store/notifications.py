"""NOTIFY of a transaction's changes, received by every replica when it commits.

Consumption changes by thousands, so its upsert notifies itself: ``consumption <subscription> ...``.
"""

from typing import Literal

from shared.runtime.postgres.listen import Channel
from shared.runtime.postgres.pool import Connection

CHANNEL = Channel("reporting_changes", str)
What = Literal["subscription", "alert", "channel"]

_NOTIFY = "SELECT pg_notify('reporting_changes', $1)"


async def notify_subscription(connection: Connection, subscription: str, what: What) -> None:
    """Notify of a change. PostgreSQL sends the same notification once per transaction."""
    await connection.execute(_NOTIFY, f"subscription {subscription} {what}")


async def notify_outcome(connection: Connection, command_id: object) -> None:
    """Notify that a command's outcome is known."""
    await connection.execute(_NOTIFY, f"outcome {command_id}")
