"""NOTIFY: what a transaction changed, told to every replica when it commits.

Consumption changes by thousands: the statement that keeps it tells of it, ``consumption <subscription> ...``.
"""

from typing import Literal

from shared.runtime.postgres.listen import Channel
from shared.runtime.postgres.pool import Connection

CHANNEL = Channel("reporting_changes", str)
What = Literal["subscription", "alert", "channel"]

_NOTIFY = "SELECT pg_notify('reporting_changes', $1)"


async def notify_subscription(connection: Connection, subscription: str, what: What) -> None:
    """Something about the subscription is different. PostgreSQL sends the same notice once per transaction."""
    await connection.execute(_NOTIFY, f"subscription {subscription} {what}")


async def notify_outcome(connection: Connection, command_id: object) -> None:
    """The outcome of a command is known."""
    await connection.execute(_NOTIFY, f"outcome {command_id}")
