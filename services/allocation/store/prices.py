"""Price lists, past ones included."""

from datetime import datetime

from shared.events.state import PriceList, Tier
from shared.runtime.postgres.pool import Connection

_LOCK = "SELECT pg_advisory_xact_lock(hashtext('price_lists'))"
_FIND = """
SELECT version, currency, list_price_minor, tier_from_units, tier_discounts
FROM price_lists ORDER BY version DESC LIMIT 1
"""
_INSERT = """
INSERT INTO price_lists (version, currency, list_price_minor, tier_from_units, tier_discounts, set_at)
VALUES ($1, $2, $3, $4, $5, $6)
"""


async def find_price_list(connection: Connection) -> PriceList | None:
    """Find the current price list."""
    row = await connection.fetchrow(_FIND)
    if row is None:
        return None
    tiers = zip(row["tier_from_units"], row["tier_discounts"], strict=True)
    return PriceList(
        currency=row["currency"],
        list_price_minor=row["list_price_minor"],
        tiers=tuple(Tier(from_units=units, discount_basis_points=discount) for units, discount in tiers),
        version=row["version"],
    )


async def lock_price_list(connection: Connection) -> PriceList | None:
    """Load the current price list, and lock it against replacement by others.

    Readers do not wait.
    """
    await connection.execute(_LOCK)
    return await find_price_list(connection)


async def insert_price_list(connection: Connection, price_list: PriceList, at: datetime) -> None:
    """Insert the next price list."""
    await connection.execute(
        _INSERT,
        price_list.version,
        price_list.currency,
        price_list.list_price_minor,
        [tier.from_units for tier in price_list.tiers],
        [tier.discount_basis_points for tier in price_list.tiers],
        at,
    )
