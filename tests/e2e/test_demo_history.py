"""The demo's loaded history equals metering's result for the same usage."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from aiokafka import AIOKafkaProducer

from deploy.local.demo.accounts import RECENT, DemoAccount, Share
from deploy.local.demo.catalogue import CATALOGUE, DemoMeter, DemoProduct
from deploy.local.demo.history import load_history
from deploy.local.demo.usage import UsageEvent, usage_of
from deploy.local.kafka import KafkaServer
from services.metering.store import projection
from shared.events.ids import MeterId, ProductId
from shared.events.state import Meter, ProductState, Rate, SubscriptionState
from tests.component.metering.test_apply_usage import stored
from tests.conftest import MakeDatabase, StartService
from tests.support.builders.metering import subscription
from tests.support.drivers.metering_clients import producer, publish_states, send, until
from tests.support.drivers.processes import service_env
from tests.support.servers.databases import connect

NOW = datetime.now(UTC)
START = (NOW - RECENT).replace(minute=0, second=0, microsecond=0) + timedelta(hours=2)
SUBSCRIPTION = "sub-small"
SHARES = (
    Share("exposure-scan", 40, 90, 30),  # unique
    Share("surface-watch", 60, 70, 50),  # peak
    Share("api-guard", 30, 60, 0),  # sum over the term
    Share("certificate-watch", 20, 80, 40),  # latest
    Share("cloud-posture", 90, 70, 50),  # two meters
)
ACCOUNT = DemoAccount("small", "Small", "ordinary", START, START + timedelta(days=365), (300,), SHARES)


def _state(product: DemoProduct) -> ProductState:
    def meter(one: DemoMeter) -> Meter:
        rate = Rate(version=1, units=one.units, block=one.block, effective_from=START)
        return Meter(meter=MeterId(one.id), name=one.name, aggregation=one.aggregation, reset=one.reset, rates=(rate,))

    meters = tuple(meter(one) for one in product.meters)
    return ProductState(
        id=ProductId(product.id), name=product.name, sources=(product.source,), meters=meters, version=1
    )


PRODUCTS = tuple(_state(product) for product in CATALOGUE)


def _subscription() -> SubscriptionState:
    return subscription(SUBSCRIPTION, [share.product for share in SHARES], start=START)


async def _send_usage(
    dsn: str, kafka: str, prefix: str, start_service: StartService, reported: Iterable[UsageEvent]
) -> None:
    process = start_service("metering", service_env("metering", dsn=dsn, kafka=kafka, topic_prefix=prefix))
    client: AIOKafkaProducer
    async with producer(kafka) as client:
        await publish_states(client, prefix, PRODUCTS, [_subscription()])
        await process.wait_ready()
        everything = list(reported)
        await send(client, f"{prefix}usage.events", [(one.key, one.value) for one in everything])

        async def applied() -> int:
            async with connect(dsn) as connection:
                return int(await connection.fetchval("SELECT coalesce(sum(applied), 0)::bigint FROM book"))

        await until(applied, lambda count: count == len(everything))
    await process.terminate()


async def test_loaded_history_equals_sent_usage(
    database: MakeDatabase, kafka_server: KafkaServer, topic_prefix: str, service_process: StartService
) -> None:
    reported = list(usage_of(ACCOUNT, SUBSCRIPTION, START, NOW))
    assert len({one.at.date() for one in reported}) > 30
    sent, history = await database("metering"), await database("metering")

    await _send_usage(sent, kafka_server.bootstrap_servers, topic_prefix, service_process, reported)
    async with connect(history) as connection, connection.transaction():
        await projection.save(connection, [_subscription()], PRODUCTS)
    wanted = {SUBSCRIPTION: [share.product for share in SHARES]}
    assert await load_history(history, reported, wanted) == len(reported)

    async with connect(sent) as one, connect(history) as other:
        expected, loaded = await stored(one), await stored(other)
    assert len(expected) > 15
    assert loaded == expected


async def test_history_is_unchanged_when_it_is_loaded_again(database: MakeDatabase) -> None:
    dsn = await database("metering")
    reported = list(usage_of(ACCOUNT, SUBSCRIPTION, START, NOW))
    async with connect(dsn) as connection:
        async with connection.transaction():
            await projection.save(connection, [_subscription()], PRODUCTS)
        wanted = {SUBSCRIPTION: [share.product for share in SHARES]}
        await load_history(dsn, reported, wanted)
        before = await stored(connection)
        await load_history(dsn, reported, wanted)
        assert await stored(connection) == before
