"""Transactions as the runtime opens them, on a connection of the test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.pool import Connection
from tests.support.builders.metering import NOW


def begun(connection: Connection, now: datetime = NOW) -> Transaction:
    """Return a runtime transaction on one that the test begins and ends."""
    return Transaction(connection, now, service="metering")


@asynccontextmanager
async def transaction(connection: Connection, now: datetime = NOW) -> AsyncIterator[Transaction]:
    """Open a transaction that is committed at the end of the block.

    The callbacks after the commit are called.
    """
    async with connection.transaction():
        tx = begun(connection, now)
        yield tx
        await tx.flush()
    tx.committed()
