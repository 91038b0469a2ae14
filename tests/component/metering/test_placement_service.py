"""A cancellation and a renewal that arrive after the usage that they affect."""

from datetime import timedelta

from shared.runtime.process.clock import utc_now
from tests.component.metering.test_placement import ending
from tests.support.builders.lifecycles import cancelled, renewed
from tests.support.builders.metering import SUBSCRIPTIONS, event
from tests.support.drivers.metering import Metering
from tests.support.drivers.metering_clients import newest_snapshots, publish_states, until
from tests.support.servers.databases import connect


async def test_snapshots_are_corrected_when_a_cancellation_arrives_after_its_usage(metering: Metering) -> None:
    now = utc_now()
    ended = ending(now - timedelta(minutes=1))
    await publish_states(metering.client, metering.prefix, [], [ended])
    ahead = [event(f"a{n}", "calls", "request", at=now + timedelta(minutes=n)) for n in range(-2, 3)]
    grace = [event(f"g{n}", "calls", "request", subject="places", at=now - timedelta(seconds=n)) for n in (1, 90)]
    await metering.publish([*ahead, *grace])
    await metering.accepted(7)

    async def read_consumed() -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for one in sorted(
            (await newest_snapshots(metering.servers, metering.prefix)).values(), key=lambda one: one.key
        ):
            found.setdefault(one.subscription, []).append(one.consumed)
        return found

    await until(read_consumed, lambda seen: seen == {"sub-1": [5], "places": [1]})
    await publish_states(metering.client, metering.prefix, [], [cancelled(SUBSCRIPTIONS[0], now), renewed(ended)])
    await until(read_consumed, lambda seen: seen == {"sub-1": [2], "places": [1, 1]})
    assert await metering.books() == {"accepted": 7, "applied": 4, "duplicate": 0, "quarantined": 3}
    async with connect(metering.dsn) as connection:
        await until(lambda: connection.fetchval("SELECT count(*) FROM move_due"), lambda due: due == 0)
