"""A database that stops during a delivery."""

from deploy.local.postgres import PostgresServer
from shared.events.alerts import AlertRaised, DeliverySettled
from tests.support.drivers.alerts import AlertsDriver, acme
from tests.support.drivers.runtime import until
from tests.support.servers.local import durable_postgres  # noqa: F401 - the fixture postgres_server
from tests.support.servers.webhook_receiver import Receiver


async def test_a_delivery_is_retried_when_the_database_was_killed(
    driver: AlertsDriver, receiver: Receiver, postgres_server: PostgresServer
) -> None:
    state = acme()
    await driver.publish_state(state)
    await driver.add_channel(receiver.url)
    receiver.replies.extend([500, "silent", 500])
    await driver.publish_consumption(state, 850)
    await until(lambda: len(receiver.received) >= 2, what="a second attempt")
    postgres_server.kill()
    postgres_server.restart()

    async def settled() -> list[DeliverySettled]:
        return await driver.published(DeliverySettled)

    (delivery,) = await until(settled, within_seconds=60, what="the delivery")
    assert delivery.outcome == "delivered"
    assert set(receiver.accepted) == {delivery.delivery}
    await driver.service.wait_ready()
    await driver.publish_consumption(state, 950, first_revision=2)
    assert [alert.threshold for alert in await driver.wait_for_alerts(AlertRaised, 2)] == [80, 90]
