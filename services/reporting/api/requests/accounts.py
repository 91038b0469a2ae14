"""Requests about accounts."""

from pydantic import Field

from services.reporting.api.fields import Request, example
from shared.events.ids import AccountRef, Name


class NewAccount(Request):
    """An account. Without ``id``, one is derived from the name."""

    model_config = example(id="acme", name="Acme Corporation")
    id: AccountRef | None = None
    name: Name


class FlexSetting(Request):
    model_config = example(enabled=True, reason="Ordered with contract 4711")
    enabled: bool = Field(strict=True)
    reason: Name
