"""Latency of ``GET /v1/entitlements``, with a year of windows stored."""

import random
from argparse import Namespace
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from tests.bench.figures import Figures, spread
from tests.bench.http_client import http_pool, open_loop, request
from tests.bench.loading import load_metering
from tests.bench.pace import WARM_BROKER_SECONDS, Pace
from tests.bench.platforms import add_keys, ask_entitlement
from tests.bench.progress import say
from tests.bench.section import Servers, section, settle
from tests.bench.workload import Workload
from tests.support.drivers.processes import ServiceProcess
from tests.support.servers.databases import as_owner, connect

AGE_DAYS = 360
CONNECTIONS = 32
ROUNDS = 3
"""Rounds, in turn with those of the ceiling."""

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
    """Measure the figures ``entitlement_*``."""
    workload = Workload(0, options.subscriptions, datetime.now(UTC), age_days=AGE_DAYS)
    pace = Pace(options.entitlement_rate, options.seconds, WARM_BROKER_SECONDS)
    rng = random.Random(workload.seed)
    wanted = [ask_entitlement(rng, options.subscriptions) for _ in range(pace.count)]
    async with section(servers) as made:
        dsn = await made.database("metering")
        await load_metering(dsn, workload)
        await add_keys(dsn)
        say("entitlements: a year of windows")
        async with connect(as_owner(dsn)) as connection:
            await connection.execute(_FILL_WINDOWS)
            await connection.execute(_FILL_POSITION)
        await settle(servers, dsn)
        metering, bare = await made.start("metering", dsn), await made.start_bare()
        nothing = request("GET", "/v1/nothing")
        say(f"entitlements: {pace.rate:g} a second; the ceiling is an answer without work")
        taken, ceilings = [], []
        for number in range(ROUNDS):
            taken.append(spread("entitlement", await _ask(metering, pace, wanted.__getitem__)))
            ceilings.append(spread("entitlement_ceiling", await _ask(bare, pace, lambda _: nothing)))
            say(f"entitlements: round {number + 1} of {ROUNDS}: {taken[-1]} {ceilings[-1]}")
    return {
        "entitlement_rate_rps": options.entitlement_rate,
        **_middle(taken, "entitlement_p99_ms"),
        **_middle(ceilings, "entitlement_ceiling_p99_ms"),
    }


async def _ask(process: ServiceProcess, pace: Pace, wanted: Callable[[int], bytes]) -> list[float]:
    async with http_pool(process.port, CONNECTIONS) as through:
        return await open_loop(through, pace, wanted)


def _middle(rounds: Sequence[Figures], by: str) -> Figures:
    """Return the median round.

    Other load of a few seconds changes the 99th percentile by half.
    """
    return sorted(rounds, key=lambda one: one[by])[len(rounds) // 2]
