"""Allocation's settings: environment variables that begin with ``UNITPOOL_ALLOCATION_``."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.allocation.domain.subscriptions import Terms
from shared.events.state import RebalanceScope
from shared.runtime.process.settings import ServiceSettings
from shared.windows import DEFAULT_WINDOW_DAYS


class AllocationSettings(ServiceSettings):
    """What allocation is told."""

    model_config = SettingsConfigDict(env_prefix="UNITPOOL_ALLOCATION_")

    http_port: int = Field(8001, ge=0, le=65535, description="Port to listen on; 0 takes a free one")
    rebalance_every_days: int = Field(
        90, ge=0, le=3650, description="Days between two rebalances of a new subscription"
    )
    rebalance_scope: RebalanceScope = Field(
        "subscription", description="What has its own rebalance clock in a new subscription: subscription or product"
    )
    window_days: int = Field(
        DEFAULT_WINDOW_DAYS, ge=1, le=366, description="Length of a new subscription's measurement windows"
    )
    command_consumers: int = Field(
        1,
        ge=1,
        le=8,
        description="Consumers of commands in this process; more carry out more commands a second, each a little later",
    )
    consumption_wait_seconds: float = Field(
        2, ge=0, le=20, description="How long a plan waits for the consumption that its asker was shown"
    )
    consumption_batch_records: int = Field(
        2000, ge=1, le=100_000, description="Consumption snapshots at most in one transaction"
    )
    due_poll_seconds: float = Field(
        0.5, gt=0, le=60, description="How often to look for subscriptions to which something happens by itself"
    )
    upkeep_seconds: float = Field(3600, gt=0, description="How often consumption of long ago is forgotten")

    @property
    def terms(self) -> Terms:
        """What a new subscription is granted."""
        return Terms(self.window_days, self.rebalance_every_days, self.rebalance_scope)
