"""Metrics: known label values are 0 from the start."""

from typing import get_args

import pytest
from prometheus_client import REGISTRY

from services.metering import metrics
from shared.events.quarantine import QuarantineReason

KNOWN = [
    *(("unitpool_usage_events_total", {"outcome": one}) for one in ("applied", "duplicate", "quarantined")),
    *(("unitpool_usage_quarantined_total", {"reason": one}) for one in get_args(QuarantineReason)),
    *(("unitpool_usage_replayed_total", {"outcome": one}) for one in ("applied", "duplicate")),
    *(("unitpool_ingest_refused_total", {"code": one}) for one in metrics.INGEST_CODES),
    ("unitpool_usage_corrections_total", {"kind": "reversal", "outcome": "quarantined"}),
    ("unitpool_usage_corrections_total", {"kind": "purge", "outcome": "applied"}),
    ("unitpool_usage_restatements_total", {"cause": "late_usage"}),
    ("unitpool_upkeep_forgotten_rows_total", {"table": "quarantine"}),
]


@pytest.mark.parametrize(("name", "labels"), KNOWN)
def test_a_series_exists_before_its_first_event(name: str, labels: dict[str, str]) -> None:
    metrics.initialise()
    assert REGISTRY.get_sample_value(name, labels) is not None
