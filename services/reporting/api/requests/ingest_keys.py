"""Requests about ingest keys."""

from typing import Annotated

from pydantic import Field

from services.reporting.api.fields import At, Request, example
from shared.events.ids import ProductRef

MAX_OVERLAP_SECONDS = 31 * 86_400
EventsPerSecond = Annotated[int, Field(ge=1, le=1_000_000)]
BodyBytes = Annotated[int, Field(ge=1024, le=10 * 1024 * 1024)]


class NewIngestKey(Request):
    """An ingest key, generated and shown in the answer once.

    Limits apply per process of metering.
    """

    model_config = example(product="exposure-scan")
    product: ProductRef
    expires_at: At | None = None
    events_per_second: EventsPerSecond | None = None
    max_body_bytes: BodyBytes | None = None


class NewRotation(Request):
    """The end of the old key, and the expiry of the new one.

    The old key stays valid for ``overlap_seconds`` (24 hours unless configured); the new one expires at ``expires_at``.
    """

    model_config = example(overlap_seconds=86_400)
    overlap_seconds: Annotated[int, Field(ge=0, le=MAX_OVERLAP_SECONDS)] | None = None
    expires_at: At | None = None
