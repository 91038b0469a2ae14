"""What usage adds up to, said as slowly and as obviously as possible."""

from collections import defaultdict
from datetime import datetime
from decimal import Decimal
from typing import Any

from shared.windows import window_at
from tests.component.metering.world import PRODUCTS, SUBSCRIPTIONS

Key = tuple[str, str, str, datetime]


def distinct(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each (source, id) of a day once: the first."""
    seen: dict[tuple[str, str, str], dict[str, Any]] = {}
    for item in events:
        seen.setdefault((item["source"], item["id"], item["time"][:10]), item)
    return list(seen.values())


def aggregates(events: list[dict[str, Any]]) -> dict[Key, tuple[Decimal, datetime | None]]:
    """The aggregate of every subscription, product, meter and window, and when its level was reached."""
    starts = {state.id: state.term.start for state in SUBSCRIPTIONS}
    kinds = {(state.id, one.meter): one.aggregation for state in PRODUCTS for one in state.meters}
    grouped: dict[Key, list[tuple[datetime, Decimal, str | None]]] = defaultdict(list)
    for item in distinct(events):
        at, data = datetime.fromisoformat(item["time"]), item["data"]
        start = window_at(starts[item["subject"]], at).start
        key = (item["subject"], data["product"], data["meter"], start)
        grouped[key].append((at, Decimal(data.get("quantity", 1)), data.get("resource")))
    return {key: _aggregate(kinds[key[1], key[2]], seen) for key, seen in grouped.items()}  # type: ignore[index]


def _aggregate(kind: str, seen: list[tuple[datetime, Decimal, str | None]]) -> tuple[Decimal, datetime | None]:
    match kind:
        case "sum":
            return sum((quantity for _, quantity, _ in seen), Decimal(0)), None
        case "count":
            return Decimal(len(seen)), None
        case "unique":
            return Decimal(len({resource for _, _, resource in seen})), None
        case "peak":
            top = max(quantity for _, quantity, _ in seen)
            return top, min(at for at, quantity, _ in seen if quantity == top)
        case _:
            last, level = max((at, quantity) for at, quantity, _ in seen)
            return level, last
