"""Ingest keys."""

from services.reporting.api.fields import At, Request, example
from shared.events.ids import ProductRef


class NewIngestKey(Request):
    """The key is made here and shown in the answer, once."""

    model_config = example(product="exposure-scan")
    product: ProductRef
    expires_at: At | None = None
