"""The statement of a subscription as of an instant.

It has no people and no texts of theirs. Members are only added: what an earlier release stored is answered again.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import groupby

from pydantic import ConfigDict, Field

from services.reporting.api.answers.overview import Cost, ProductUse, RebalanceClock, Renewal, overview_answer
from services.reporting.api.answers.prices import PriceShown
from services.reporting.api.answers.shapes import Span
from services.reporting.api.fields import AnswerBody
from services.reporting.domain import statements as domain
from services.reporting.domain.money import main_units
from services.reporting.domain.purchases import PurchaseLot
from services.reporting.domain.quantity import quantity
from shared.events.state import Lifecycle, SubscriptionModel


class Figure(AnswerBody):
    """The measurement that figures come from.

    ``as_of``: until when usage is counted in; ``recorded_at``: when this revision became known.
    """

    revision: int
    as_of: datetime
    recorded_at: datetime


class StatedCost(Cost):
    """Also as decimal numbers, in ``currency``."""

    allocated: str
    consumed: str


class StatedProduct(ProductUse):
    """``figure`` is null if no usage of the term was known."""

    cost: StatedCost | None
    figure: Figure | None


class StatedLot(AnswerBody):
    """A lot.

    ``valid``: it counted at the instant. ``total``: its price as a decimal number, in the price's currency.
    """

    id: str
    units: int
    start: datetime
    end: datetime
    order_reference: str
    purchased_at: datetime
    voided_at: datetime | None
    valid: bool
    price: PriceShown | None
    total: str | None


class Total(AnswerBody):
    aggregate: int | str
    consumed: int


class StatedUsage(AnswerBody):
    """What the window added to a meter.

    ``figure`` is null if no usage of the window was known.
    """

    product: str
    meter: str
    aggregate: int | str
    consumed: int
    term_to_date: Total | None
    figure: Figure | None


class StatedWindow(AnswerBody):
    """A window.

    ``provisional``: at the instant, late usage still changed it without a restatement.
    """

    start: datetime
    end: datetime
    provisional: bool
    items: list[StatedUsage]


class Version(AnswerBody):
    version: int
    recorded_at: datetime


class ProductVersion(Version):
    product: str


class MadeFrom(AnswerBody):
    """The versions that were the newest at the instant."""

    subscription: Version
    products: list[ProductVersion]


class Statement(AnswerBody):
    """What was known at ``as_of``, an instant that has passed.

    ``usage_as_of``: until when the newest usage was counted in. ``windows``: of the term, at most 25, in order of time.
    """

    model_config = ConfigDict(title="Statement")
    subscription: str
    account: str
    name: str
    as_of: datetime
    model: SubscriptionModel
    state: Lifecycle
    unit_label: str
    term: Span
    window: Span
    purchased: int
    allocated: int
    consumed: int
    unallocated: int
    unused: int
    over_allocated: int
    drawn: int
    usage_as_of: datetime | None
    rebalance: RebalanceClock
    rates_locked_at: datetime | None
    renewal: Renewal | None
    products: list[StatedProduct]
    lots: list[StatedLot]
    windows: list[StatedWindow] = Field(max_length=domain.WINDOWS)
    made_from: MadeFrom


def encode_statement(statement: domain.Statement) -> bytes:
    """Encode a statement as JSON: the same statement gives the same bytes."""
    return statement_answer(statement).model_dump_json(by_alias=True).encode()


def statement_answer(statement: domain.Statement) -> Statement:
    """Convert a statement to the API's answer."""
    shown = overview_answer(statement.overview)
    return Statement(
        subscription=shown.id,
        account=shown.account,
        name=shown.name,
        as_of=statement.as_of,
        model=shown.model,
        state=shown.state,
        unit_label=shown.unit_label,
        term=shown.term,
        window=shown.window,
        purchased=shown.purchased,
        allocated=shown.allocated,
        consumed=shown.consumed,
        unallocated=shown.unallocated,
        unused=shown.unused,
        over_allocated=shown.over_allocated,
        drawn=shown.drawn,
        usage_as_of=shown.as_of,
        rebalance=shown.rebalance,
        rates_locked_at=shown.rates_locked_at,
        renewal=shown.renewal,
        products=[_product(use, one) for use, one in zip(shown.products, statement.products, strict=True)],
        lots=[_lot(one) for one in statement.lots],
        windows=list(_windows(statement)),
        made_from=_made_from(statement),
    )


def _product(use: ProductUse, stated: domain.StatedProduct) -> StatedProduct:
    values = {name: getattr(use, name) for name in ProductUse.model_fields if name != "cost"}
    return StatedProduct(**values, cost=use.cost and _cost(use.cost), figure=_figure(stated.figure))


def _cost(cost: Cost) -> StatedCost:
    return StatedCost(
        **dict(cost),
        allocated=str(main_units(cost.allocated_minor, cost.currency)),
        consumed=str(main_units(cost.consumed_minor, cost.currency)),
    )


def _figure(figure: domain.Figure | None) -> Figure | None:
    if figure is None:
        return None
    return Figure(revision=figure.revision, as_of=figure.as_of, recorded_at=figure.recorded_at)


def _lot(lot: PurchaseLot) -> StatedLot:
    price = lot.price
    return StatedLot(
        id=lot.id,
        units=lot.units,
        start=lot.start,
        end=lot.end,
        order_reference=lot.order_reference,
        purchased_at=lot.purchased_at,
        voided_at=lot.voided_at,
        valid=lot.valid,
        price=price and PriceShown.model_validate(price, from_attributes=True),
        total=price and str(main_units(price.total_minor, price.currency)),
    )


def _windows(statement: domain.Statement) -> Iterator[StatedWindow]:
    for (start, end), usage in groupby(statement.usage, key=lambda one: (one.item.start, one.item.end)):
        several = list(usage)
        yield StatedWindow(
            start=start,
            end=end,
            provisional=any(one.item.provisional for one in several),
            items=[_usage(one) for one in several],
        )


def _usage(usage: domain.StatedUsage) -> StatedUsage:
    item, total = usage.item, usage.item.term_to_date
    return StatedUsage(
        product=item.product,
        meter=item.meter,
        aggregate=quantity(item.aggregate),
        consumed=item.consumed,
        term_to_date=total and Total(aggregate=quantity(total.aggregate), consumed=total.consumed),
        figure=_figure(usage.figure),
    )


def _made_from(statement: domain.Statement) -> MadeFrom:
    versions = [
        ProductVersion(product=one.shown.product, version=one.version, recorded_at=one.recorded_at)
        for one in statement.products
        if one.version is not None and one.recorded_at is not None
    ]
    recorded = Version(version=statement.overview.version, recorded_at=statement.recorded_at)
    return MadeFrom(subscription=recorded, products=versions)
