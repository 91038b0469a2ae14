"""The catalogue: products, their meters, and the effective-dated rates of these."""

from datetime import datetime, timedelta
from typing import Final

from services.allocation.domain import refusals
from services.allocation.domain.roles import with_standard_roles
from services.allocation.domain.size_limits import is_too_large
from services.allocation.domain.time_limits import errors_of
from shared.events.commands.catalogue import CreateMeter, CreateProduct, SetRate
from shared.events.envelope import rfc3339
from shared.events.refusals import Refusal
from shared.events.state import Meter, ProductState, Rate

MAX_METERS: Final = 100
MAX_RATES: Final = 200
"""Limits of the meters of a product, and of the rates of a meter.

Events carry a product whole, and Kafka limits the size of a record.
"""

ADD_UP: Final = ("sum", "count")
"""Aggregations whose windows may be added up, as a reset by term needs.

Earlier releases accepted others; the meters created then stay.
"""
BACKDATED: Final = timedelta(minutes=5)
"""How far in the past a rate may begin.

It is shorter than any window, so that no closed window is restated.
"""


def create_product(command: CreateProduct) -> ProductState:
    """Create a product without meters, with the standard default roles."""
    sources = command.sources or (f"/platforms/{command.product}",)
    product = ProductState(id=command.product, name=command.name, sources=sources, meters=(), version=1)
    return with_standard_roles(product)


def add_meter(product: ProductState, command: CreateMeter, now: datetime) -> ProductState | Refusal:
    """Add a meter to the product, with its first rate."""
    if product.retired_at is not None:
        return refusals.product_retired(product.id)
    if any(meter.meter == command.meter for meter in product.meters):
        return Refusal.already_exists("meter", command.meter)
    if errors := errors_of(effective_from=command.effective_from):
        return Refusal.invalid(*errors)
    if command.reset == "term" and command.aggregation not in ADD_UP:
        what = f"a meter of aggregation {command.aggregation} measures a level, which does not add up over a term"
        return Refusal.invalid(("reset", f"{what}: window, or aggregation {' or '.join(ADD_UP)}"))
    if len(product.meters) >= MAX_METERS:
        return Refusal.invalid(("meter", f"a product has at most {MAX_METERS} meters"))
    meter = Meter(
        meter=command.meter,
        name=command.name,
        aggregation=command.aggregation,
        reset=command.reset,
        rates=(
            Rate(version=1, units=command.units, block=command.block, effective_from=command.effective_from or now),
        ),
    )
    return _with_meters(product, (*product.meters, meter))


def add_rate(product: ProductState, command: SetRate, now: datetime) -> ProductState | Refusal:
    """Add a rate that follows the meter's last one."""
    if product.retired_at is not None:
        return refusals.product_retired(product.id)
    meter = next((one for one in product.meters if one.meter == command.meter), None)
    if meter is None:
        return Refusal.not_found("meter")
    last, effective_from = meter.rates[-1], command.effective_from or now
    errors = errors_of(effective_from=command.effective_from)
    if effective_from <= last.effective_from:
        since = rfc3339(last.effective_from)
        errors.append(("effective_from", f"must be later than that of the meter's last rate, {since}"))
    if effective_from < now - BACKDATED:
        errors.append(("effective_from", "must not be in the past: closed windows are never restated"))
    if len(meter.rates) >= MAX_RATES:
        errors.append(("meter", f"a meter has at most {MAX_RATES} rates"))
    if errors:
        return Refusal.invalid(*errors)
    rate = Rate(version=last.version + 1, units=command.units, block=command.block, effective_from=effective_from)
    changed = meter.model_copy(update={"rates": (*meter.rates, rate)})
    meters = tuple(changed if one.meter == meter.meter else one for one in product.meters)
    return _with_meters(product, meters)


def retire(product: ProductState, now: datetime) -> ProductState:
    """Retire the product; return the same value if it is retired already."""
    if product.retired_at is not None:
        return product
    return product.model_copy(update={"retired_at": now, "version": product.version + 1})


def _with_meters(product: ProductState, meters: tuple[Meter, ...]) -> ProductState | Refusal:
    after = product.model_copy(update={"meters": meters, "version": product.version + 1})
    return Refusal.invalid(("meter", "makes the product too large")) if is_too_large(after) else after
