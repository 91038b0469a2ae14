"""``recompute``: replace consumption by what raw usage adds up to.

It reaches back as far as raw usage is retained (60 days).
"""

from argparse import Namespace
from datetime import datetime

from services.metering.handlers.move_usage import move_all_usage
from services.metering.settings import MeteringSettings
from services.metering.store import recomputation, recomputed_windows
from services.metering.store.projection import Projection
from services.metering.verification import EQUAL, KEPT, hours_since, recompute_days, with_connection
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.database_clock import database_now
from shared.runtime.postgres.pool import Connection
from shared.runtime.service.command_line import ServiceCommand


async def recompute(settings: MeteringSettings, _: Namespace) -> int:
    """Replace windows, resources and hours by what raw usage adds up to.

    Metering must not run meanwhile.
    """
    return await with_connection(settings, "recompute", _recompute)


async def _recompute(connection: Connection) -> int:
    return await recompute_all(connection, await database_now(connection))


async def recompute_all(connection: Connection, now: datetime) -> int:
    """Recompute everything in one transaction.

    It fails without effect if usage written concurrently changes the same rows.
    """
    async with connection.transaction(isolation="repeatable_read"):
        catalogue = await Projection().refresh(connection)
        tx = Transaction(connection, now, service="metering")
        await move_all_usage(tx, catalogue, recomputation.instant_of((now - KEPT).date()))
        since = await recompute_days(connection, now)
        changed = await recomputed_windows.replace_all(connection, since, await hours_since(connection, since))
    print(f"{changed} windows have other figures than before")
    return EQUAL


RECOMPUTE = ServiceCommand(
    "recompute", "replace consumption by what raw usage adds up to (while metering does not run)", recompute
)
