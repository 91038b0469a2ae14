"""Placement of usage: the subscription, meter, source and window of an event.

An event that cannot be placed is rejected with a reason. The first reason found counts: first what the event alone
shows, then lateness (against the time of first acceptance, so that a replay is never late), then what depends on the
catalogue.
"""

from datetime import datetime, timedelta
from hashlib import blake2b

import msgspec

from services.metering.domain.catalogue import DAY_US, UNIQUE, Catalogue, SubscriptionView, microseconds
from services.metering.domain.corrections import NO_METER, PURGE, REVERSAL, CorrectionEvent, Purged, Reversed
from services.metering.domain.decode import UsageEvent
from services.metering.domain.reasons import Claim, Reason, RejectedError

OLDEST_US = 35 * DAY_US
"""Most time from an event to its acceptance, in microseconds."""
OLDEST = timedelta(microseconds=OLDEST_US)
FARTHEST_US = 5 * 60 * 1_000_000
"""Most time from an event's acceptance to its time, in microseconds.

It applies to events whose time is in the future.
"""
NEAR_MIDNIGHT_US = 3_600_000_000
"""Time before and after a midnight, in microseconds.

Within it a repeat may have the other day.
"""
_UNSET = msgspec.UNSET
_new_digest = blake2b(digest_size=16).copy
"""Copying costs two thirds of creating."""


class Usage(msgspec.Struct, frozen=True, gc=False):
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
    correction: CorrectionEvent | None = None
    """The correction, where the event is one and not usage."""

    @property
    def midnight_us(self) -> int | None:
        """The midnight within an hour of the event, in microseconds since 1970.

        ``None`` where there is none.
        """
        into_day = self.at_us % DAY_US
        if into_day < NEAR_MIDNIGHT_US:
            return self.at_us - into_day
        if into_day >= DAY_US - NEAR_MIDNIGHT_US:
            return self.at_us - into_day + DAY_US
        return None


def place(event: UsageEvent, accepted_us: int, catalogue: Catalogue) -> Usage:
    """Place ``event``, which was first accepted at ``accepted_us``.

    Raises:
        RejectedError: with the quarantine reason.
    """
    at_us = microseconds(event.time)
    if not accepted_us - OLDEST_US <= at_us <= accepted_us + FARTHEST_US:
        check_time(at_us, accepted_us, event.claim())
    data = event.data
    subscription = catalogue.subscriptions.get(event.subject)
    key = data.product, data.meter, event.source
    by = catalogue.reporters.get(key) or catalogue.find_reporter(*key)
    if subscription is None or by is None or at_us >= by.retired_us:
        raise _refused(event, at_us, subscription, catalogue)
    span = subscription.newest.get(data.product)
    if span is not None and span[0] <= at_us < span[1]:
        window_us = at_us - (at_us - subscription.anchor_us) % subscription.window_us
    elif subscription.spans.reason_at(data.product, at_us) is None:
        window_us = subscription.window_of(at_us)
    else:
        raise _refused(event, at_us, subscription, catalogue)
    resource = data.resource if data.resource is not _UNSET else None
    if resource is None and by.kind == UNIQUE:
        raise RejectedError("missing_resource", "the meter counts resources and none is named", event.claim())
    return Usage(
        digest_of(by.source, event.id),
        at_us,
        subscription.number,
        by.meter,
        by.kind,
        window_us,
        by.source,
        by.source_number,
        by.product,
        data.quantity if data.quantity is not _UNSET else 1,
        resource,
        event.extra,
    )


def place_correction(event: CorrectionEvent, accepted_us: int, catalogue: Catalogue) -> Usage:
    """Place a correction as far as it can be checked by itself.

    It was first accepted at ``accepted_us``. The target of a reversal is looked up when it is applied. Usage of a
    product that has ended or was retired can still be reversed; a purge is placed by its own time, like usage.

    Raises:
        RejectedError: with the quarantine reason.
    """
    at_us = microseconds(event.time)
    check_time(at_us, accepted_us, event.said_by)
    subscription, product = catalogue.subscriptions.get(event.subject), catalogue.products.get(event.data.product)
    if subscription is None:
        raise RejectedError("unknown_subscription", "no such subscription is known", event.said_by)
    if product is None:
        raise RejectedError("unknown_product", "no such product is in the catalogue", event.said_by)
    if isinstance(event.data, Purged):
        meter = product.meters.get(event.data.meter)
        if meter is None:
            raise RejectedError("unknown_meter", "the product has no such meter", event.said_by)
        if meter.kind != UNIQUE:
            raise RejectedError("unsupported_type", "the meter does not count resources", event.said_by)
    if event.data.product not in subscription.spans.uses:
        raise RejectedError("product_not_subscribed", "the subscription does not use the product", event.said_by)
    if not product.allows(event.source):
        raise RejectedError("source_not_allowed", "the source may not report for the product", event.said_by)
    reason = subscription.spans.reason_at(event.data.product, at_us) if isinstance(event.data, Purged) else None
    if reason:
        raise outside(reason, event.said_by, event.time)
    return Usage(
        digest=digest_of(event.source, event.id),
        at_us=at_us,
        subscription=subscription.number,
        meter=NO_METER,
        kind=REVERSAL if isinstance(event.data, Reversed) else PURGE,
        window_us=subscription.window_of(at_us),
        source=event.source,
        source_number=catalogue.sources.get(event.source, 0),
        product=event.data.product,
        quantity=0,
        resource=None,
        extra=event.content,
        correction=event,
    )


def digest_of(source: str, id: str) -> bytes:
    """Return the 16-byte hash of an identity (source, id)."""
    digest = _new_digest()
    digest.update(f"{source}\0{id}".encode())
    return digest.digest()


def check_time(at_us: int, accepted_us: int, claim: Claim) -> None:
    """Refuse an event that was too old or too far ahead when first accepted.

    Raises:
        RejectedError: with the quarantine reason.
    """
    if at_us < accepted_us - OLDEST_US:
        raise RejectedError("too_old", "more than 35 days before it was accepted", claim)
    if at_us > accepted_us + FARTHEST_US:
        raise RejectedError("too_far_ahead", "more than 5 minutes after it was accepted", claim)


OUTSIDE: dict[Reason, str] = {
    "before_start": "the subscription had not begun then",
    "after_end": "the subscription's term was over then, or it was cancelled",
    "product_not_subscribed": "the product was not used then: it was given up, or retired, before",
}
"""Sentence for each reason of usage outside the spans in which it counts."""


def outside(reason: Reason, claim: Claim, at: datetime) -> RejectedError:
    """Make the rejection of an event at a time at which usage does not count."""
    return RejectedError(reason, OUTSIDE[reason], claim, at if reason == "after_end" else None)


def _refused(
    event: UsageEvent, at_us: int, subscription: SubscriptionView | None, catalogue: Catalogue
) -> RejectedError:
    """Return the first of the reasons that depend on the catalogue."""
    claim, data = event.claim(), event.data
    if subscription is None:
        return RejectedError("unknown_subscription", "no such subscription is known", claim)
    product = catalogue.products.get(data.product)
    if product is None:
        return RejectedError("unknown_product", "no such product is in the catalogue", claim)
    if data.meter not in product.meters:
        return RejectedError("unknown_meter", "the product has no such meter", claim)
    if data.product not in subscription.spans.uses:
        return RejectedError("product_not_subscribed", "the subscription does not use the product", claim)
    if not product.allows(event.source):
        return RejectedError("source_not_allowed", "the source may not report for the product", claim)
    reason = subscription.spans.reason_at(data.product, at_us) or "product_not_subscribed"
    return outside(reason, claim, event.time)
