"""What ends in alerts when a person is erased."""

from datetime import UTC, datetime

from shared.events.alerts import ChannelChanged
from shared.events.allocation import ErasureChanged
from shared.events.erasure import CONFIRM, ErasureState
from shared.events.outcomes import AuditRecord
from shared.events.topics import ALLOCATION_EVENTS_TOPIC, AUDIT
from tests.support.builders.alerts import ACME
from tests.support.builders.people import person_id, written
from tests.support.drivers.alerts import PAULA, AlertsDriver, acme
from tests.support.drivers.runtime import audited, event, until
from tests.support.servers.webhook_receiver import Receiver

NOW = datetime(2026, 11, 1, tzinfo=UTC)


async def publish_erasure(driver: AlertsDriver, email: str, version: int) -> None:
    """Publish that a person's erasure was requested (1) or carried out (2)."""
    state = ErasureState(
        person=person_id(email),
        account=None,
        requested_by=person_id("vera@vendor.example"),
        reason=written("asked for it", "vera@vendor.example"),
        requested_at=NOW,
        due_at=NOW,
        erased_at=NOW if version > 1 else None,
        version=version,
    )
    await driver.bench.send(ALLOCATION_EVENTS_TOPIC, event(ErasureChanged(erasure=state)).encode(), key=b"person")


async def confirmations(driver: AlertsDriver) -> list[AuditRecord]:
    """The confirmations of erasures that were published."""
    return [one for one in audited(await driver.bench.records(AUDIT)) if one.action == CONFIRM]


async def test_the_channels_of_an_erased_person_end_and_the_erasure_is_confirmed(
    driver: AlertsDriver, receiver: Receiver
) -> None:
    await driver.publish_state(acme())
    assert (await driver.add_channel(receiver.url)).accepted
    await publish_erasure(driver, PAULA, 1)
    await publish_erasure(driver, "somebody.else@acme.example", 2)
    await until(lambda: confirmations(driver), what="the erasure of somebody else is confirmed")
    assert [one.channel.removed_at for one in await driver.published(ChannelChanged)] == [None]
    await publish_erasure(driver, PAULA, 2)

    async def both() -> list[AuditRecord]:
        found = await confirmations(driver)
        return found if len(found) > 1 else []

    _, hers = await until(both, what="the erasure is confirmed")
    assert (hers.object, hers.after) == (f"person/{person_id(PAULA)}", {"service": "alerts", "channels": 1})
    added, removed = [one.channel for one in await driver.published(ChannelChanged)]
    assert (removed.id, removed.subscription, removed.version) == (added.id, ACME, 2)
    assert removed.removed_at is not None
