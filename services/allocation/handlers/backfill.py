"""Backfills roles and people of earlier releases, when the service starts.

Each part adds only what is missing, so it may be repeated, interrupted, and run by several processes.
"""

from collections.abc import Sequence
from typing import Any, Final

from services.allocation.domain.roles import with_standard_roles
from services.allocation.handlers.publishing import publish, publish_person
from services.allocation.handlers.roles import create_default_roles
from services.allocation.store.catalogue import find_product, find_without_roles, lock_product, replace_templates
from services.allocation.store.people import version_people
from services.allocation.store.roles import find_missing_roles
from shared.events.allocation import RoleTemplatesChanged
from shared.events.ids import AccountId, ProductId
from shared.runtime.delivery.isolation import Failed, isolate
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.process import logging

_log = logging.get("backfill")

ROWS: Final = 200


async def backfill(tx: Transaction) -> int:
    """Add up to ``ROWS`` missing parts; return the number added.

    The number is 0 when all that can be added is there.
    """
    return await _products(tx) or await _people(tx) or await _roles(tx)


async def _products(tx: Transaction) -> int:
    """Give products the standard default roles."""

    async def work(some: Sequence[ProductId]) -> None:
        for one in some:
            before = await lock_product(tx.connection, one)
            if before is not None and before.roles_version == 0:
                after = with_standard_roles(before).model_copy(update={"version": before.version + 1})
                await replace_templates(tx.connection, after)
                await publish(tx, after.id, RoleTemplatesChanged(product=after))

    found = await find_without_roles(tx.connection, ROWS)
    return len(found) - _log_failed("product", await isolate(tx, found, str, work))


async def _people(tx: Transaction) -> int:
    """Publish the people that a migration inserted."""
    people = await version_people(tx.connection, ROWS)
    for person in people:
        await publish_person(tx, person)
    return len(people)


async def _roles(tx: Transaction) -> int:
    """Give accounts the default roles of the products that they use."""

    async def work(some: Sequence[tuple[AccountId, ProductId]]) -> None:
        for account, one in some:
            product = await find_product(tx.connection, one)
            if product is not None:
                await create_default_roles(tx, account, product)

    found = await find_missing_roles(tx.connection, ROWS)
    return len(found) - _log_failed("roles", await isolate(tx, found, " ".join, work))


def _log_failed(what: str, failed: Sequence[Failed[Any]]) -> int:
    """Log the failures; return the number of failed items.

    The next upkeep retries them.
    """
    for one in failed:
        _log.error("backfill_failed", what=what, whose=one.whose, exc_info=one.error)
    return sum(len(one.items) for one in failed)
