"""``GET /v1/entitlements``: one metering process that knows a year of windows of every subscription."""

import random
from argparse import Namespace
from datetime import UTC, datetime

from tests.bench.doors import door, open_loop, request
from tests.bench.figures import Figures, spread
from tests.bench.loading import load_metering
from tests.bench.pace import WARM_BROKER_SECONDS, Pace
from tests.bench.platforms import add_keys, ask_entitlement
from tests.bench.progress import say
from tests.bench.stage import Servers, settle, stage
from tests.bench.workload import Workload
from tests.database import as_owner, connect

AGE_DAYS = 360
CONNECTIONS = 32

_FILL_WINDOWS = """
INSERT INTO meter_window (window_start, as_of, revision, subscription, meter, aggregate)
SELECT term.start + n * interval '15 days', now(), 1, s.number, m.number, (s.number + n) % 900
FROM subscription AS s
CROSS JOIN LATERAL (SELECT (s.state::jsonb #>> '{term,start}')::timestamptz AS start) AS term
CROSS JOIN LATERAL jsonb_array_elements(s.state::jsonb -> 'products') AS subscribed
JOIN meter AS m ON m.product = subscribed ->> 'product'
CROSS JOIN generate_series(0, 30) AS n
WHERE term.start + n * interval '15 days' <= now()
"""
_FILL_POSITION = "INSERT INTO usage_position SELECT 'usage.events', n, now() FROM generate_series(0, 11) AS n"


async def measure(servers: Servers, options: Namespace) -> Figures:
    """``entitlement_*``."""
    workload = Workload(0, options.subscriptions, datetime.now(UTC), age_days=AGE_DAYS)
    pace = Pace(options.entitlement_rate, options.seconds, WARM_BROKER_SECONDS)
    rng = random.Random(workload.seed)
    wanted = [ask_entitlement(rng, options.subscriptions) for _ in range(pace.count)]
    async with stage(servers) as made:
        dsn = await made.database("metering")
        await load_metering(dsn, workload)
        await add_keys(dsn)
        say("entitlements: a year of windows")
        async with connect(as_owner(dsn)) as connection:
            await connection.execute(_FILL_WINDOWS)
            await connection.execute(_FILL_POSITION)
        await settle(servers, dsn)
        metering = await made.start("metering", dsn)
        say(f"entitlements: {pace.rate:g} a second for {pace.seconds:g} s")
        async with door(metering.port, CONNECTIONS) as through:
            taken = await open_loop(through, pace, wanted.__getitem__)
        metering.kill()
        say("entitlements: their ceiling, an answer without work")
        bare = await made.start_bare()
        nothing = request("GET", "/v1/nothing")
        async with door(bare.port, CONNECTIONS) as through:
            ceiling = await open_loop(through, pace, lambda _: nothing)
    return {
        "entitlement_rate_rps": options.entitlement_rate,
        **spread("entitlement", taken),
        **spread("entitlement_ceiling", ceiling),
    }
