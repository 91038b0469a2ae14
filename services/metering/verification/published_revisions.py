"""Comparison of published revisions with stored ones.

Revisions only grow, so a newer one in Kafka was lost here.
"""

from collections.abc import Sequence
from datetime import datetime

from services.metering.domain.catalogue import Catalogue
from services.metering.domain.consumption import snapshot
from services.metering.store import consumption
from services.metering.store.consumption import WINDOWS_KEPT
from shared.runtime.postgres.pool import Connection

Window = tuple[str, str, datetime]
"""Subscription, product, window start."""


async def find_lost(
    connection: Connection, catalogue: Catalogue, published: Sequence[tuple[str, str, datetime, int]], now: datetime
) -> list[str]:
    """Describe each window with a newer published revision than the stored one.

    Only retained windows are compared. Each has one line.
    """
    newest: dict[Window, int] = {}
    for subscription, product, start, revision in published:
        window = subscription, product, start
        if start >= now - WINDOWS_KEPT:
            newest[window] = max(revision, newest.get(window, 0))
    stored = await _stored(connection, catalogue, list(newest))
    return [
        f"consumption {subscription} {product} {start:%Y-%m-%dT%H:%MZ}: published with revision {revision}, "
        f"stored is {stored.get((subscription, product, start), 'nothing')}"
        for (subscription, product, start), revision in sorted(newest.items())
        if stored.get((subscription, product, start), 0) < revision
    ]


async def _stored(connection: Connection, catalogue: Catalogue, windows: Sequence[Window]) -> dict[Window, int]:
    """Return the revision that a snapshot of each window would have."""
    known = {
        window: (view, product)
        for window in windows
        if (view := catalogue.subscriptions.get(window[0])) and (product := catalogue.products.get(window[1]))
    }
    level: set[tuple[int, int, datetime]] = set()
    term: set[tuple[int, int]] = set()
    for window, (view, product) in known.items():
        for meter in product.meters.values():
            if product.adds_up:
                term.add((view.number, meter.number))
            else:
                level.add((view.number, meter.number, window[2]))
    alone, whole = await consumption.load_windows(connection, level), await consumption.load_histories(connection, term)
    found: dict[Window, int] = {}
    for window, (view, product) in known.items():
        history = (whole if product.adds_up else alone).get(view.number, {})
        made = snapshot(view.state, product, window[2], history)
        if made:
            found[window] = made.revision
    return found
