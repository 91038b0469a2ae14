"""The rules: which shares are watched, and at which percentages.

An alert is raised at these percentages. For the defaults see docs/domain.md.
"""

import zlib
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from shared.events.alerts import AlertScope, Severity

RuleName = Literal["product_consumption", "pool_consumption", "pool_allocation", "pool_over_allocated"]

REARM_POINTS = 5
"""Percentage points below its threshold to which a share must fall to rearm it."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold in whole percent, and its severity.

    ``exceeds``: it is crossed above the percentage, not at it, and rearmed as soon as the share is no longer above.
    """

    percent: int
    severity: Severity
    exceeds: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """The thresholds of one share, in ascending order."""

    name: RuleName
    scope: AlertScope
    thresholds: tuple[Threshold, ...]

    def threshold(self, percent: int) -> Threshold:
        """Return the threshold at ``percent``, which must be one of the rule's."""
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
"""Identifies these rules: headroom computed from others is not valid."""
