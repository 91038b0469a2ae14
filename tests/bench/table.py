"""The table of figures, with their aims and ceilings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Aim:
    """A figure's aim: the least or the most value, and the key of its ceiling."""

    least: float | None = None
    most: float | None = None
    ceiling: str | None = None


AIMS: Mapping[str, Aim] = {
    "ingest_events_per_second": Aim(least=30_000, ceiling="ingest_bare_loop_events_per_second"),
    "ingest_ratio_to_bare_loop": Aim(least=0.6),
    "ingest_peak_rss_mb": Aim(most=512),
    "command_p99_ms": Aim(most=100, ceiling="command_ceiling_p99_ms"),
    "overview_p99_ms": Aim(most=20, ceiling="overview_ceiling_p99_ms"),
    "entitlement_p99_ms": Aim(most=5, ceiling="entitlement_ceiling_p99_ms"),
    "latency_publish_to_consumption_p99_ms": Aim(most=500),
    "latency_publish_to_alert_p99_ms": Aim(most=1_000),
    "usage_year_by_day_p99_ms": Aim(most=100),
    "export_csv_seconds": Aim(most=20),
    "export_parquet_seconds": Aim(most=15),
    "export_xlsx_seconds": Aim(most=60),
    "export_worker_peak_rss_mb": Aim(most=256),
    "export_overview_beside_p99_ms": Aim(most=20, ceiling="export_overview_alone_p99_ms"),
    "insights_seconds": Aim(most=600),
    "growth_ratio": Aim(least=0.85),
    **{
        f"http_ingest_batch_{size}_{what}": aim
        for size, rate, milliseconds in ((1, 1_000, 50), (100, 10_000, 250), (1_000, 15_000, 1_000))
        for what, aim in (
            (
                "events_per_second",
                Aim(least=rate, ceiling=f"http_ingest_batch_{size}_ceiling_events_per_second"),
            ),
            ("p99_ms", Aim(most=milliseconds, ceiling=f"http_ingest_batch_{size}_ceiling_p99_ms")),
        )
    },
}


def lines(results: Mapping[str, Any]) -> list[str]:
    """Return lines with name, value, aim and ceiling.

    A missed aim has an exclamation mark.
    """
    width = max(map(len, results), default=0)
    written = [f"{'':<{width}} {'value':>12}   {'aim':<14} {'ceiling':>12}"]
    for name, value in results.items():
        aim = AIMS.get(name, Aim())
        ceiling = results.get(aim.ceiling, "") if aim.ceiling else ""
        written.append(f"{name:<{width}} {_shown(value):>12} {_judged(value, aim):<16} {_shown(ceiling):>12}".rstrip())
    return written


def _judged(value: Any, aim: Aim) -> str:
    if aim.least is not None:
        return f"{'!' if value < aim.least else ' '} >= {_shown(aim.least)}"
    if aim.most is not None:
        return f"{'!' if value > aim.most else ' '} <= {_shown(aim.most)}"
    return ""


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)
