"""Commands on alerts and their channels."""

from typing import Annotated, Literal

from pydantic import Field

from shared.events.envelope import Payload
from shared.events.ids import SubscriptionRef

Seen = Annotated[int, Field(ge=1)] | None
"""The version of the subscription that the sender knew.

It is given if the actor may see the subscription: alerts postpones the command until it knows that version. ``None``:
the actor sees no such subscription, so one that alerts does not know is not found.
"""


class AcknowledgeAlert(Payload):
    event_type = "unitpool.alerts.acknowledge-alert.v1"
    subscription: SubscriptionRef
    alert: str = Field(min_length=1, max_length=64)
    seen: Seen = None


class AddChannel(Payload):
    """Add a channel to which a subscription's alerts are sent.

    ``sealed_secret`` is the signing secret, encrypted for the alerts service. ``sealed_url`` is the address, which is a
    secret, too; ``url`` is its visible part, or the whole address if there is no ``sealed_url``.
    """

    event_type = "unitpool.alerts.add-channel.v1"
    subscription: SubscriptionRef
    channel: str = Field(min_length=1, max_length=64)
    kind: Literal["webhook"]
    url: str = Field(min_length=1, max_length=2000)
    sealed_secret: str
    sealed_url: str | None = None
    seen: Seen = None


class RemoveChannel(Payload):
    event_type = "unitpool.alerts.remove-channel.v1"
    subscription: SubscriptionRef
    channel: str = Field(min_length=1, max_length=64)
    seen: Seen = None
