"""Usage by day in reporting's database: a year of some, a month of all."""

from datetime import timedelta

from services.reporting.store.people import upsert_person
from services.reporting.store.subscriptions import upsert_subscription
from shared.events.ids import ProductId
from tests.bench.loading import load_reporting
from tests.bench.progress import say
from tests.bench.section import Section, settle
from tests.bench.workload import PRODUCTS, Workload, product, subscription
from tests.support.builders.published import outsiders
from tests.support.servers.databases import as_owner, connect

BIG = 110
"""Subscriptions with 25 products and a year of days: 1,003,750 rows."""
DAYS, FEW_DAYS = 365, 30
WINDOWS = 2
# Without its indexes' order, as usage arrives: the days of one meter lie on pages of their own.
_FILL = """
INSERT INTO usage_days (subscription, product, meter, day, revision, aggregate, as_of)
SELECT s.id, p ->> 'product', 'meter', day, 1, 1 + (extract(doy FROM day) * 7)::integer % 90, now()
FROM generate_series($1::date, $2::date, '1 day') AS day, subscriptions AS s,
    jsonb_array_elements(s.state -> 'products') AS p
WHERE (s.id < $3) = $4
"""


async def load_days(made: Section, workload: Workload) -> str:
    """Create a database of reporting with usage by day; return its connection string."""
    dsn = await made.database("reporting")
    await load_reporting(dsn, workload, WINDOWS)
    states = list(zip(range(BIG), workload.states(), strict=False))
    async with connect(as_owner(dsn)) as connection:
        async with connection.transaction():
            for one in outsiders():
                await upsert_person(connection, one.person)
            for _, state in states:
                first = state.products[0]
                used = tuple(first.model_copy(update={"product": ProductId(product(n))}) for n in range(PRODUCTS))
                await upsert_subscription(connection, state.model_copy(update={"products": used, "version": 2}))
        today = workload.now.date()
        for is_big, days in ((True, DAYS), (False, FEW_DAYS)):
            since = today - timedelta(days=days - 1)
            done = await connection.execute(_FILL, since, today, subscription(BIG), is_big)
            say(f"reporting: {int(done.split()[-1]):,} days stored")
    await settle(made.servers, dsn)
    return dsn
