"""Latency of a year of usage by day: 25 products, one reporting process."""

import random
from argparse import Namespace
from datetime import UTC, datetime, timedelta

from tests.bench.days import BIG, DAYS, load_days
from tests.bench.figures import Figures, spread
from tests.bench.http_client import http_pool, open_loop, request
from tests.bench.pace import Pace
from tests.bench.progress import say
from tests.bench.section import Servers, section
from tests.bench.workload import ACCOUNTS, Workload, contact, subscription
from tests.support.servers.token_issuer import Issuer, issuing

AGE_DAYS = 364
CONNECTIONS = 8


async def measure(servers: Servers, options: Namespace) -> Figures:
    """Measure the figures ``usage_*``."""
    workload = Workload(0, options.subscriptions, datetime.now(UTC), age_days=AGE_DAYS)
    pace = Pace(options.usage_rate, options.seconds)
    async with section(servers) as made:
        dsn = await load_days(made, workload)
        with issuing() as issuer:
            reporting = await made.start("reporting", dsn, oidc_issuer=issuer.url)
            year, window = (_requests(issuer, workload.now, interval, pace.count) for interval in ("day", "window"))
            say(f"usage: {pace.rate:g} a second for {pace.seconds:g} s, a year of days of 25 products each")
            async with http_pool(reporting.port, CONNECTIONS) as through:
                by_day = await open_loop(through, pace, year.__getitem__)
                by_window = await open_loop(through, pace, window.__getitem__)
                items = (await through.ask(year[0])).count(b'"revision"')
    return {
        "usage_subscriptions": options.subscriptions,
        "usage_rate_rps": options.usage_rate,
        "usage_year_items": items,
        **spread("usage_year_by_day", by_day),
        **spread("usage_year_by_window", by_window),
    }


def _requests(issuer: Issuer, now: datetime, interval: str, count: int) -> list[bytes]:
    rng = random.Random(count)
    tokens = [issuer.token(contact(number)) for number in range(ACCOUNTS)]
    since = (now - timedelta(days=DAYS - 1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    query = f"usage?interval={interval}&from={since}"
    return [
        request("GET", f"/v1/subscriptions/{subscription(number)}/{query}", token=tokens[number % ACCOUNTS])
        for number in (rng.randrange(BIG) for _ in range(count))
    ]
