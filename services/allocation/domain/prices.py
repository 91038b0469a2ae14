"""Price lists: their validity. Prices of units are computed in ``shared.pricing``."""

from itertools import pairwise

from shared.events.commands.catalogue import SetPriceList
from shared.events.refusals import Refusal
from shared.events.state import PriceList


def set_price_list(before: PriceList | None, command: SetPriceList) -> PriceList | Refusal:
    """Return the next price list, or the same value if nothing changes.

    Tiers are in order, the first from 0 units, each from more units than the one before, and no discount is smaller
    than the one before, so that a larger commitment never costs more per unit.
    """
    tiers, errors = command.tiers, []
    if tiers[0].from_units != 0:
        errors.append(("tiers.0.from_units", "the first tier must begin at 0 units"))
    for place, (lower, upper) in enumerate(pairwise(tiers), start=1):
        if upper.from_units <= lower.from_units:
            errors.append((f"tiers.{place}.from_units", f"must be more than {lower.from_units}, of the tier before"))
        if upper.discount_basis_points < lower.discount_basis_points:
            errors.append((f"tiers.{place}.discount_basis_points", "must not be less than that of the tier before"))
    if errors:
        return Refusal.invalid(*errors)
    after = PriceList(
        currency=command.currency,
        list_price_minor=command.list_price_minor,
        tiers=tiers,
        version=before.version + 1 if before else 1,
    )
    unchanged = before is not None and after.model_copy(update={"version": before.version}) == before
    return before if before is not None and unchanged else after
