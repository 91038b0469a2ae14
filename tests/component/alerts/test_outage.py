"""A database that goes away in the middle of a delivery."""

from deploy.local.postgres import PostgresServer
from shared.events.alerts import AlertRaised, DeliverySettled
from tests.component.alerts.flow import Flow, acme
from tests.component.alerts.receiver import Receiver
from tests.runtime.harness import until
from tests.servers import durable_postgres  # noqa: F401 - the fixture postgres_server


async def test_a_delivery_goes_on_after_the_database_was_killed(
    flow: Flow, receiver: Receiver, postgres_server: PostgresServer
) -> None:
    state = acme()
    await flow.knows(state)
    await flow.adds_channel(receiver.url)
    receiver.moods.extend([500, "silent", 500])
    await flow.consumes(state, 850)
    await until(lambda: len(receiver.received) >= 2, what="a second attempt")
    postgres_server.kill()
    postgres_server.restart()

    async def settled() -> list[DeliverySettled]:
        return await flow.told(DeliverySettled)

    (delivery,) = await until(settled, within_seconds=60, what="the delivery")
    assert delivery.outcome == "delivered"
    assert set(receiver.accepted) == {delivery.delivery}
    await flow.service.wait_ready()
    await flow.consumes(state, 950, first_revision=2)
    assert [alert.threshold for alert in await flow.told_of(AlertRaised, 2)] == [80, 90]
