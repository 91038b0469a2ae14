"""The JSON body of a webhook.

It has ``type``, ``timestamp`` and ``data``, as Standard Webhooks advises.
"""

import json
from datetime import datetime

from shared.events.alerts import AlertState
from shared.events.envelope import rfc3339
from shared.units import percent_tenths
from shared.windows import days_left

ALERT_RAISED = "alert.raised"


def webhook_body(alert: AlertState, part: int | None, whole: int | None, now: datetime) -> str:
    """Encode the alert as it was raised, and its share at ``now``.

    The share is ``part`` of ``whole`` units (``None``: unknown). The sender signs this text and sends it unchanged.
    """
    data = alert.model_dump(
        mode="json", exclude={"window_start", "window_end", "version", "acknowledged_by", "acknowledged_at"}
    )
    window = {
        "start": rfc3339(alert.window_start),
        "end": rfc3339(alert.window_end),
        "days_left": days_left(alert.window_end, now),
    }
    body = {
        "type": ALERT_RAISED,
        "timestamp": rfc3339(alert.raised_at),
        "data": {**data, "value_now": _percent(part, whole), "part_now": part, "limit_now": whole, "window": window},
    }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def _percent(part: int | None, whole: int | None) -> str | None:
    tenths = None if part is None or whole is None else percent_tenths(part, whole)
    return None if tenths is None else f"{tenths // 10}.{tenths % 10}"
