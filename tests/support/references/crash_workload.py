"""Usage for the crash test, and an independent computation of its results.

It shares no code with the services; the rules of the domain are written again in the simplest form.
"""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from math import ceil

WINDOW = timedelta(days=15)


@dataclass(frozen=True, slots=True)
class MeterSpec:
    """A meter of the test's catalogue: ``units`` per ``block``."""

    product: str
    meter: str
    aggregation: str
    reset: str
    units: int
    block: int


METERS: tuple[MeterSpec, ...] = (
    MeterSpec("exposure-scan", "host", "unique", "window", 1, 1),
    MeterSpec("asset-inventory", "asset", "unique", "window", 1, 4),
    MeterSpec("surface-watch", "asset", "peak", "window", 2, 1),
    MeterSpec("api-guard", "call", "sum", "term", 1, 10_000),
)


@dataclass(frozen=True, slots=True)
class Sent:
    """One record as published: its key, its bytes, and its event if it is valid."""

    key: str
    value: bytes
    event: dict[str, object] | None


@dataclass(frozen=True, slots=True)
class Workload:
    """Usage of ``subscriptions`` in a seeded order that repeats and mixes.

    ``subscriptions``: id -> start of term.
    """

    subscriptions: dict[str, datetime]
    now: datetime
    events: int
    seed: int = 20261124

    def records(self) -> Iterator[Sent]:
        """Return all records in mixed order, of the last 20 days.

        10 % repeat earlier ones, 0.5 % are invalid.
        """
        rng = random.Random(self.seed)
        subscriptions = sorted(self.subscriptions)
        recent: list[Sent] = []
        for number in range(self.events):
            if recent and rng.random() < 0.10:
                yield rng.choice(recent)
                continue
            subscription = rng.choice(subscriptions)
            sent = (
                self._invalid(rng, number, subscription)
                if rng.random() < 0.005
                else self._good(rng, number, subscription)
            )
            if sent.event is not None:
                if len(recent) < 5_000:
                    recent.append(sent)
                else:
                    recent[rng.randrange(5_000)] = sent
            yield sent

    def _good(self, rng: random.Random, number: int, subscription: str) -> Sent:
        spec = rng.choice(METERS)
        quantity = rng.randrange(1, 5_000) if spec.aggregation == "sum" else rng.randrange(1, 400)
        data: dict[str, object] = {"product": spec.product, "meter": spec.meter, "quantity": quantity}
        if spec.aggregation == "unique":
            data |= {"resource": f"resource-{rng.randrange(3_000)}", "quantity": 1}
        at = self.now - timedelta(seconds=rng.randrange(20 * 86_400))
        event = self._event(number, subscription, spec.product, at, data)
        return Sent(subscription, json.dumps(event).encode(), event)

    def _invalid(self, rng: random.Random, number: int, subscription: str) -> Sent:
        good = self._event(
            number,
            subscription,
            "exposure-scan",
            self.now,
            {"product": "exposure-scan", "meter": "host", "resource": "x"},
        )
        value = rng.choice(
            [
                b"{not json",
                json.dumps(good | {"data": {"product": "exposure-scan", "meter": "nothing", "resource": "x"}}).encode(),
                json.dumps(good | {"time": (self.now - timedelta(days=60)).isoformat()}).encode(),
                json.dumps(good | {"data": {"product": "exposure-scan", "meter": "host"}}).encode(),
                json.dumps(good | {"source": "/platforms/somebody-else"}).encode(),
            ]
        )
        return Sent(subscription, value, None)

    @staticmethod
    def _event(
        number: int, subscription: str, product: str, at: datetime, data: dict[str, object]
    ) -> dict[str, object]:
        return {
            "specversion": "1.0",
            "id": f"event-{number}",
            "source": f"/platforms/{product}",
            "type": "unitpool.platform.usage.recorded.v1",
            "subject": subscription,
            "time": at.isoformat(),
            "datacontenttype": "application/json",
            "data": data,
        }


@dataclass(slots=True)
class Expected:
    """The expected consumption and totals of the books.

    Consumption is by subscription, product and window start.
    """

    accepted: int = 0
    applied: int = 0
    duplicate: int = 0
    quarantined: int = 0
    consumed: dict[tuple[str, str, datetime], int] = field(default_factory=dict)


def expected(workload: Workload, records: Sequence[Sent]) -> Expected:
    """Compute the expected result from the published records, event by event."""
    answer = Expected(accepted=len(records))
    seen: set[tuple[object, object]] = set()
    resources: defaultdict[tuple[str, str, str, datetime], set[object]] = defaultdict(set)
    peaks: Counter[tuple[str, str, str, datetime]] = Counter()
    sums: Counter[tuple[str, str, str, datetime]] = Counter()
    specs = {(spec.product, spec.meter): spec for spec in METERS}
    for record in records:
        if record.event is None:
            answer.quarantined += 1
            continue
        identity = (record.event["source"], record.event["id"])
        if identity in seen:
            answer.duplicate += 1
            continue
        seen.add(identity)
        answer.applied += 1
        data = record.event["data"]
        assert isinstance(data, dict)
        at = datetime.fromisoformat(str(record.event["time"]))
        start = workload.subscriptions[record.key]
        window = start + ((at - start) // WINDOW) * WINDOW
        place = (record.key, str(data["product"]), str(data["meter"]), window)
        aggregation = specs[place[1], place[2]].aggregation
        if aggregation == "unique":
            resources[place].add(data["resource"])
        elif aggregation == "peak":
            peaks[place] = max(peaks[place], data["quantity"])
        else:
            sums[place] += data["quantity"]
    totals: defaultdict[tuple[str, str, datetime], int] = defaultdict(int)
    for place, distinct in resources.items():
        totals[place[0], place[1], place[3]] += _units(specs[place[1], place[2]], len(distinct))
    for place, highest in peaks.items():
        totals[place[0], place[1], place[3]] += _units(specs[place[1], place[2]], highest)
    for place in sums:
        to_date = sum(n for other, n in sums.items() if other[:3] == place[:3] and other[3] <= place[3])
        totals[place[0], place[1], place[3]] += _units(specs[place[1], place[2]], to_date)
    answer.consumed = dict(totals)
    return answer


def _units(spec: MeterSpec, aggregate: int) -> int:
    return ceil(Fraction(aggregate * spec.units, spec.block))
