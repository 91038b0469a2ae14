"""Settings of alerts: environment variables that begin with ``UNITPOOL_ALERTS_``."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.runtime.process.settings import ServiceSettings


class AlertsSettings(ServiceSettings):
    """Settings of an alerts process."""

    model_config = SettingsConfigDict(env_prefix="UNITPOOL_ALERTS_")

    http_port: int = Field(8003, ge=0, le=65535, description="Port to listen on; 0 takes a free one")
    allow_private_webhooks: bool = Field(
        False,
        description="Whether webhooks may go to addresses that are not public (a local demo; never in production)",
    )
    webhook_timeout_seconds: float = Field(
        15, gt=0, le=300, description="Longest time for one attempt to deliver a webhook, in seconds"
    )
    webhook_concurrency: int = Field(
        256,
        ge=1,
        le=1000,
        description="Most webhooks that one process sends at a time; a quarter of them for one customer",
    )
    webhook_concurrency_per_channel: int = Field(
        4, ge=1, le=100, description="Most webhooks that all processes together send to one channel at a time"
    )
    delivery_lease_seconds: float = Field(
        30,
        gt=1,
        description="Time until another process retries webhooks of one that died, in seconds; above the timeout",
    )
    retry_first_seconds: float = Field(
        5, gt=0, description="Pause after a webhook's first failure, in seconds; it doubles each time, up to four hours"
    )
    consumption_batch_records: int = Field(2_000, ge=1, description="Most consumption snapshots in one transaction")
