"""Latency of the overview: one reporting process with a year of windows."""

import random
from argparse import Namespace
from datetime import UTC, datetime

from tests.bench.figures import Figures, spread
from tests.bench.http_client import http_pool, open_loop, request
from tests.bench.loading import load_reporting
from tests.bench.pace import Pace
from tests.bench.progress import say
from tests.bench.section import Servers, section, settle
from tests.bench.workload import ACCOUNTS, Workload, contact, subscription
from tests.support.servers.token_issuer import Issuer, issuing

AGE_DAYS = 360
WINDOWS = 25
CONNECTIONS = 32


async def measure(servers: Servers, options: Namespace) -> Figures:
    """Measure the figures ``overview_*``."""
    workload = Workload(0, options.subscriptions, datetime.now(UTC), age_days=AGE_DAYS)
    pace = Pace(options.overview_rate, options.seconds)
    async with section(servers) as made:
        dsn = await made.database("reporting")
        snapshots = await load_reporting(dsn, workload, WINDOWS)
        await settle(servers, dsn)
        with issuing() as issuer:
            wanted = requests(issuer, options.subscriptions, pace.count)
            reporting = await made.start("reporting", dsn, oidc_issuer=issuer.url)
            say(f"overview: {pace.rate:g} a second for {pace.seconds:g} s, {snapshots:,} snapshots")
            async with http_pool(reporting.port, CONNECTIONS) as through:
                taken = await open_loop(through, pace, wanted.__getitem__)
        reporting.kill()
        say("overview: its ceiling, an answer without work")
        bare = await made.start_bare()
        nothing = request("GET", "/v1/nothing")
        async with http_pool(bare.port, CONNECTIONS) as through:
            ceiling = await open_loop(through, pace, lambda _: nothing)
    return {
        "overview_subscriptions": options.subscriptions,
        "overview_snapshots": snapshots,
        "overview_rate_rps": options.overview_rate,
        **spread("overview", taken),
        **spread("overview_ceiling", ceiling),
    }


def requests(issuer: Issuer, subscriptions: int, count: int) -> list[bytes]:
    """Make requests for random subscriptions, with tokens of the primary contacts."""
    rng = random.Random(count)
    tokens = [issuer.token(contact(number)) for number in range(ACCOUNTS)]
    chosen = [rng.randrange(subscriptions) for _ in range(count)]
    return [
        request("GET", f"/v1/subscriptions/{subscription(number)}", token=tokens[number % ACCOUNTS])
        for number in chosen
    ]
