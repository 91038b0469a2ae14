"""Commands on alerts and on where they go."""

from typing import Literal

from pydantic import Field

from shared.events.envelope import Payload
from shared.events.ids import SubscriptionRef


class AcknowledgeAlert(Payload):
    event_type = "unitpool.alerts.acknowledge-alert.v1"
    subscription: SubscriptionRef
    alert: str = Field(min_length=1, max_length=64)


class AddChannel(Payload):
    """Where a subscription's alerts go. ``sealed_secret`` is the signing secret, encrypted for the alerts service."""

    event_type = "unitpool.alerts.add-channel.v1"
    subscription: SubscriptionRef
    channel: str = Field(min_length=1, max_length=64)
    kind: Literal["webhook"]
    url: str = Field(min_length=1, max_length=2000)
    sealed_secret: str


class RemoveChannel(Payload):
    event_type = "unitpool.alerts.remove-channel.v1"
    subscription: SubscriptionRef
    channel: str = Field(min_length=1, max_length=64)
