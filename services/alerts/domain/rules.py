"""The rules: which share is watched, and at which percentages somebody is told. Defaults: docs/domain.md."""

import zlib
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from shared.events.alerts import AlertScope, Severity

RuleName = Literal["product_consumption", "pool_consumption", "pool_allocation", "pool_over_allocated"]

REARM_POINTS = 5
"""How many percentage points below its threshold a share must fall before the threshold can be crossed again."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """A whole percentage, and how serious it is to reach it.

    ``exceeds``: it takes more than the percentage, and is over as soon as it is no more than that.
    """

    percent: int
    severity: Severity
    exceeds: bool = False


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
        "pool_over_allocated": Rule("pool_over_allocated", "pool", (Threshold(100, "critical", exceeds=True),)),
    }
)

FINGERPRINT: Final = zlib.crc32(f"{dict(DEFAULT_RULES)} {REARM_POINTS}".encode())
"""Other rules have another one: what was worked out from these holds no longer."""
