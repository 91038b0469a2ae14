"""Units from aggregates, compared with the simplest arithmetic."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from services.metering.domain.catalogue import ProductView, product_view_of
from services.metering.domain.consumption import Measured, encode, snapshot
from services.metering.domain.subscription import read_subscription
from shared.events.envelope import by_type, decode
from shared.events.ids import MeterId, ProductId
from shared.events.metering import CONSUMPTION
from shared.events.state import Aggregation, Meter, ProductState, Rate, Reset
from shared.units import MAX_UNITS
from tests.support.builders.metering import START, subscription

SUBSCRIPTION = read_subscription(subscription("sub-1", ("p",)).model_dump_json())
WINDOW = timedelta(days=15)


def view(*meters: tuple[Aggregation, Reset, list[tuple[int, int, datetime]]]) -> ProductView:
    state = ProductState(
        id=ProductId("p"),
        name="P",
        sources=(),
        meters=tuple(
            Meter(
                meter=MeterId(f"m{number}"),
                name="M",
                aggregation=aggregation,
                reset=reset,
                rates=tuple(
                    Rate(version=version, units=units, block=block, effective_from=since)
                    for version, (units, block, since) in enumerate(rates, 1)
                ),
            )
            for number, (aggregation, reset, rates) in enumerate(meters)
        ),
        version=3,
    )
    return product_view_of(state, {f"m{number}": number for number in range(len(meters))})


def measured(window: int, aggregate: Decimal | int, revision: int = 1) -> Measured:
    at = START + window * WINDOW
    return Measured(at, Decimal(aggregate), at, revision, at + timedelta(days=1, minutes=revision))


def test_a_whole_aggregate_has_no_exponent() -> None:
    """PostgreSQL's driver makes ``Decimal("8E+4")`` of 80000."""
    for reset in ("window", "term"):
        product = view(("sum", reset, [(1, 100, START)]))
        made = snapshot(SUBSCRIPTION, product, START, {0: [measured(0, Decimal("8E+4"))]})
        assert made is not None
        assert b'"aggregate":"80000"' in encode(made, START)[1]
        assert made.consumed == 800


AGGREGATES = st.decimals(0, 10**9, places=6)
RATES = st.lists(
    st.tuples(st.integers(1, 50), st.integers(1, 20_000), st.integers(-3, 8).map(lambda n: START + n * WINDOW / 2)),
    min_size=1,
    max_size=4,
).map(lambda rates: sorted(rates, key=lambda rate: rate[2]))


@given(st.dictionaries(st.integers(-2, 5), AGGREGATES, min_size=1), RATES, st.sampled_from(["window", "term"]))
def test_each_window_is_rounded_up_once_at_the_rate_of_its_start(
    aggregates: dict[int, Decimal], rates: list[tuple[int, int, datetime]], reset: Reset
) -> None:
    product = view(("sum", reset, rates))
    history = {0: [measured(window, value) for window, value in sorted(aggregates.items())]}
    for window, value in aggregates.items():
        made = snapshot(SUBSCRIPTION, product, START + window * WINDOW, history)
        assert made is not None
        counted = {window: value}
        if reset == "term" and window >= 0:
            counted = {one: aggregates[one] for one in aggregates if 0 <= one <= window}
        exact = Fraction(0)
        for one, amount in counted.items():
            in_force = [rate for rate in rates if rate[2] <= START + one * WINDOW] or rates[:1]
            exact += Fraction(amount) * in_force[-1][0] / in_force[-1][1]
        assert made.consumed == made.meters[0].consumed == ceil(exact)
        assert made.meters[0].aggregate == sum(counted.values())
        assert made.revision == 3 + len(counted)


def test_a_snapshot_has_the_shape_of_the_contract() -> None:
    rates = [(8, 100, START)]
    product = view(("peak", "window", rates), ("sum", "term", rates), ("unique", "window", rates))
    history = {0: [measured(2, "150.5")], 1: [measured(0, 10), measured(1, 7), measured(2, 1, 4)]}  # type: ignore[arg-type]
    made = snapshot(SUBSCRIPTION, product, START + 2 * WINDOW, history)
    assert made is not None
    now = datetime(2026, 11, 24, tzinfo=UTC)
    key, value = encode(made, now)
    event = decode(value, by_type(CONSUMPTION))
    assert event is not None
    assert key.decode() == event.data.key == f"sub-1|p|{made.window_start:%Y-%m-%dT%H:%M:%SZ}"
    assert (event.time, event.source, event.subject) == (now, "/metering", "sub-1")
    assert event.data.consumed == 13 + 2 + 0
    assert event.data.level == 13
    assert event.data.burned_down == 2
    peak, term, unique = event.data.meters
    assert (peak.peak_at, term.peak_at, unique.peak_at) == (START + 2 * WINDOW, None, None)
    assert (term.aggregate, unique.aggregate, unique.consumed) == (18, 0, 0)
    assert event.data.revision == 3 + 1 + 1 + 1 + 4
    assert event.data.as_of == START + 2 * WINDOW + timedelta(days=1, minutes=4)
    assert event.data.window_end == made.window_start + WINDOW


def test_nothing_measured_is_no_snapshot() -> None:
    product = view(("sum", "window", [(1, 1, START)]))
    assert snapshot(SUBSCRIPTION, product, START, {0: [measured(1, 5)]}) is None
    assert snapshot(SUBSCRIPTION, product, START, {}) is None


def test_units_stay_within_the_contract_whatever_was_reported() -> None:
    product = view(("sum", "window", [(MAX_UNITS, 1, START)]), ("sum", "term", [(MAX_UNITS, 1, START)]))
    history = {0: [measured(0, 10**18)], 1: [measured(0, 10**18)]}
    made = snapshot(SUBSCRIPTION, product, START, history)
    assert made is not None
    assert made.consumed == MAX_UNITS
    assert decode(encode(made, START)[1], by_type(CONSUMPTION)) is not None
