"""Allocation's settings.

They are environment variables that begin with ``UNITPOOL_ALLOCATION_``.
"""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.allocation.domain.subscriptions import Terms
from shared.events.state import RebalanceScope
from shared.runtime.process.settings import ServiceSettings
from shared.windows import DEFAULT_WINDOW_DAYS


class AllocationSettings(ServiceSettings):
    """Settings of the allocation service."""

    model_config = SettingsConfigDict(env_prefix="UNITPOOL_ALLOCATION_")

    http_port: int = Field(8001, ge=0, le=65535, description="Port to listen on; 0 takes a free one")
    rebalance_every_days: int = Field(
        90,
        ge=0,
        le=3650,
        description="Shortest time between two rebalances of a new subscription, in days; 0: no such limit",
    )
    rebalance_scope: RebalanceScope = Field(
        "subscription", description="Scope of the rebalance clock of a new subscription: subscription or product"
    )
    window_days: int = Field(
        DEFAULT_WINDOW_DAYS,
        ge=1,
        le=366,
        description="Length of the measurement windows of a new subscription, in days",
    )
    command_consumers: int = Field(
        1,
        ge=1,
        le=8,
        description="Consumers of commands in this process; more decide more commands a second, each a little later",
    )
    consumption_wait_seconds: float = Field(
        2,
        ge=0,
        le=20,
        description="Longest wait of a plan for the consumption that its requester was shown, in seconds; 0: none",
    )
    consumption_batch_records: int = Field(
        2000, ge=1, le=100_000, description="Most consumption snapshots in one transaction"
    )
    due_poll_seconds: float = Field(
        0.5,
        gt=0,
        le=60,
        description="Time between two polls for subscriptions whose state changes with time, in seconds",
    )
    erase_after_days: float = Field(
        0,
        ge=0,
        le=365,
        description="Time from the request of a person's erasure until it is carried out, in days; 0: at once",
    )
    erasure_poll_seconds: float = Field(
        10, gt=0, le=3600, description="Time between two polls for erasures that are due, in seconds"
    )
    upkeep_seconds: float = Field(
        3600, gt=0, description="Time between two deletions of consumption that is no longer needed, in seconds"
    )

    @property
    def terms(self) -> Terms:
        """Terms of new subscriptions."""
        return Terms(self.window_days, self.rebalance_every_days, self.rebalance_scope)
