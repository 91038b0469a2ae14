"""Judging usage and placing it: which subscription, meter, source and window an event belongs to, or why it is refused.

Order matters: what the event alone shows, then lateness (judged once, when the event is first accepted, so that a
replay is not late), then what depends on the catalogue.
"""

from hashlib import blake2b

import msgspec

from services.metering.domain.catalogue import DAY_US, UNIQUE, Catalogue, MeterView, SubscriptionView, microseconds
from services.metering.domain.decode import UsageEvent
from services.metering.domain.reasons import RejectedError

OLDEST_US = 35 * DAY_US
FARTHEST_US = 5 * 60 * 1_000_000
NEAR_MIDNIGHT_US = 3_600_000_000


class Usage(msgspec.Struct, gc=False):
    """One accepted event, placed. Times are microseconds since 1970."""

    digest: bytes
    at_us: int
    subscription: int
    meter: int
    kind: int
    window_us: int
    source: str
    source_number: int
    product: str
    quantity: int | str
    resource: str | None
    extra: str | None

    @property
    def midnight_us(self) -> int | None:
        """The midnight that lies within an hour of the event, where one does."""
        into_day = self.at_us % DAY_US
        if into_day < NEAR_MIDNIGHT_US:
            return self.at_us - into_day
        if into_day >= DAY_US - NEAR_MIDNIGHT_US:
            return self.at_us - into_day + DAY_US
        return None


def place(event: UsageEvent, accepted_us: int, catalogue: Catalogue) -> Usage:
    """Place ``event``, which was first accepted at ``accepted_us``.

    Raises:
        RejectedError: with the reason.
    """
    at_us = microseconds(event.time)
    if at_us < accepted_us - OLDEST_US:
        raise RejectedError("too_old", "more than 35 days before it was accepted", event.claim())
    if at_us > accepted_us + FARTHEST_US:
        raise RejectedError("too_far_ahead", "more than 5 minutes after it was accepted", event.claim())
    data = event.data
    subscription = catalogue.subscriptions.get(event.subject)
    product = catalogue.products.get(data.product)
    meter = product.meters.get(data.meter) if product else None
    if (
        subscription is None
        or product is None
        or meter is None
        or at_us >= subscription.products.get(data.product, 0)
        or (product.retired_us is not None and at_us >= product.retired_us)
        or not product.allows(event.source)
    ):
        raise _refused(event, subscription, meter, catalogue)
    resource = data.resource if isinstance(data.resource, str) else None
    if resource is None and meter.kind == UNIQUE:
        raise RejectedError("missing_resource", "the meter counts resources and none is named", event.claim())
    return Usage(
        blake2b(f"{event.source}\0{event.id}".encode(), digest_size=16).digest(),
        at_us,
        subscription.number,
        meter.number,
        meter.kind,
        subscription.window_of(at_us),
        event.source,
        catalogue.sources.get(event.source, 0),
        data.product,
        data.quantity if data.quantity is not msgspec.UNSET else 1,
        resource,
        event.extra,
    )


def _refused(
    event: UsageEvent, subscription: SubscriptionView | None, meter: MeterView | None, catalogue: Catalogue
) -> RejectedError:
    """The first of the catalogue's reasons that holds."""
    claim, data = event.claim(), event.data
    if subscription is None:
        return RejectedError("unknown_subscription", "no such subscription is known", claim)
    product = catalogue.products.get(data.product)
    if product is None:
        return RejectedError("unknown_product", "no such product is in the catalogue", claim)
    if meter is None:
        return RejectedError("unknown_meter", "the product has no such meter", claim)
    if data.product not in subscription.products:
        return RejectedError("product_not_subscribed", "the subscription does not use the product", claim)
    if not product.allows(event.source):
        return RejectedError("source_not_allowed", "the source may not report for the product", claim)
    return RejectedError("product_not_subscribed", "the product was given up or retired before", claim)
