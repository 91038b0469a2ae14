"""``recompute``: what raw usage says takes the place of consumption, as far as raw usage is kept (60 days)."""

from argparse import Namespace
from datetime import datetime

from services.metering.handlers.move_usage import move_all
from services.metering.settings import MeteringSettings
from services.metering.store import recomputation, recomputed_windows
from services.metering.store.projection import Projection
from services.metering.verification import EQUAL, KEPT, hours_since, with_connection, work_out
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.database_clock import database_now
from shared.runtime.postgres.pool import Connection
from shared.runtime.service.command_line import ServiceCommand


async def recompute(settings: MeteringSettings, _: Namespace) -> int:
    """Put what raw usage says in place of windows, resources and hours. Metering must not run meanwhile."""
    return await with_connection(settings, "recompute", _recompute)


async def _recompute(connection: Connection) -> int:
    return await recompute_all(connection, await database_now(connection))


async def recompute_all(connection: Connection, now: datetime) -> int:
    """All in one transaction: fails, and changes nothing, where somebody writes usage at the same time."""
    async with connection.transaction(isolation="repeatable_read"):
        catalogue = await Projection().refresh(connection)
        tx = Transaction(connection, now, service="metering")
        await move_all(tx, catalogue, recomputation.instant_of((now - KEPT).date()))
        since = await work_out(connection, now)
        changed = await recomputed_windows.refill(connection, since, await hours_since(connection, since))
    print(f"{changed} windows have other figures than before")
    return EQUAL


RECOMPUTE = ServiceCommand(
    "recompute", "put what raw usage says in place of consumption (while metering does not run)", recompute
)
