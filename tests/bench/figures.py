"""Figures computed from measurements."""

from collections.abc import Sequence

Figures = dict[str, int | float]
"""The figures of a section, by the keys of ``bench-results.json``."""


def percentile_ms(seconds: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile in milliseconds.

    It is the smallest measured value that ``percent`` of all do not exceed.

    Raises:
        ValueError: nothing was measured.
    """
    if not seconds:
        raise ValueError("nothing was measured")
    rank = -(-len(seconds) * percent // 100)
    return round(sorted(seconds)[max(int(rank), 1) - 1] * 1000, 1)


def spread(name: str, seconds: Sequence[float]) -> Figures:
    """Return the figures ``<name>_p50_ms`` and ``<name>_p99_ms``."""
    return {f"{name}_p50_ms": percentile_ms(seconds, 50), f"{name}_p99_ms": percentile_ms(seconds, 99)}
