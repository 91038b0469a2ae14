"""The rules: which share is watched, and at which percentages somebody is told. The defaults of DOMAIN section 3."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from shared.events.alerts import AlertScope, Severity

RuleName = Literal["product_consumption", "pool_consumption", "pool_allocation"]

REARM_POINTS = 5
"""How many percentage points below its threshold a share must fall before the threshold can be crossed again."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """A whole percentage, and how serious it is to reach it."""

    percent: int
    severity: Severity


@dataclass(frozen=True, slots=True)
class Rule:
    """A watched share. ``thresholds`` ascend."""

    name: RuleName
    scope: AlertScope
    thresholds: tuple[Threshold, ...]

    def threshold(self, percent: int) -> Threshold:
        """The threshold at ``percent``, which the rule has."""
        return next(threshold for threshold in self.thresholds if threshold.percent == percent)


CONSUMPTION_THRESHOLDS = (
    Threshold(80, "warning"),
    Threshold(90, "high"),
    Threshold(100, "critical"),
    Threshold(110, "breach"),
)

DEFAULT_RULES: MappingProxyType[RuleName, Rule] = MappingProxyType(
    {
        "product_consumption": Rule("product_consumption", "product", CONSUMPTION_THRESHOLDS),
        "pool_consumption": Rule("pool_consumption", "pool", CONSUMPTION_THRESHOLDS),
        "pool_allocation": Rule("pool_allocation", "pool", (Threshold(100, "info"),)),
    }
)
