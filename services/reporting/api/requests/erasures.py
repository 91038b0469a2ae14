"""Requests about erasures of people."""

from pydantic import Field

from services.reporting.api.fields import Request, example
from shared.events.ids import Name


class NewErasure(Request):
    """With ``preview``, nothing changes."""

    model_config = example(reason="Asked for it in ticket 4711", preview=True)
    reason: Name
    preview: bool = Field(default=False, strict=True)
