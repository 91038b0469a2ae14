"""The settings of metering.

They are environment variables that begin with ``UNITPOOL_METERING_``.
"""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.runtime.process.settings import ServiceSettings


class MeteringSettings(ServiceSettings):
    """Settings of a metering process.

    Defaults of the ingest path are measured: see docs/performance.md.
    """

    model_config = SettingsConfigDict(env_prefix="UNITPOOL_METERING_")
    renamed = {  # noqa: RUF012 - a class variable, see ServiceSettings
        "usage_gather_ms": "usage_fill_wait_ms",
        "replay_look_seconds": "replay_poll_seconds",
        "correction_look_seconds": "correction_poll_seconds",
    }

    http_port: int = Field(8002, ge=0, le=65535, description="Port to listen on; 0 takes a free one")
    http_max_body_bytes: int = Field(
        10 * 1024 * 1024, ge=1024, description="Largest request body, in bytes; larger ones are refused with 413"
    )
    pool_max_size: int = Field(12, ge=2, description="Most database connections")
    usage_batch_records: int = Field(
        10_000, ge=1, le=100_000, description="Most usage records in one transaction of the ingest path"
    )
    usage_fill_wait_ms: int = Field(
        100,
        ge=0,
        le=1000,
        description="Longest wait to fill a batch of usage, in ms; 0 disables waiting",
    )
    usage_batches_at_once: int = Field(
        4,
        ge=1,
        le=8,
        description="Batches of usage applied at the same time: while one waits for the database, another is decoded",
    )
    product_topics_seconds: float = Field(
        15,
        ge=0,
        description="Time between two polls for products' own topics, in seconds; 0: they are not read",
    )
    catch_up_seconds: float = Field(
        10,
        ge=0,
        description="Longest wait of usage for what is not known yet (products, subscriptions), in seconds; 0: none",
    )
    snapshot_interval_seconds: float = Field(
        0.15, ge=0.01, description="Shortest time between two published snapshots of one key, in seconds"
    )
    replay_poll_seconds: float = Field(
        1,
        gt=0,
        description="Time between two polls for quarantined usage that can be applied after a change, in seconds",
    )
    replay_records: int = Field(1000, ge=1, description="Most quarantined records judged again in one transaction")
    books_seconds: float = Field(
        3,
        ge=0,
        description="Time between two publications of changed lines of the books, in seconds; 0: each change at once",
    )
    upkeep_seconds: float = Field(
        600, gt=0, description="Time between two runs of upkeep (partitions made ahead, old ones dropped), in seconds"
    )
    correction_poll_seconds: float = Field(
        0.5, gt=0, description="Time between two polls for reversals and purges that are to be applied, in seconds"
    )
    correction_records: int = Field(500, ge=1, description="Most reversals and purges applied in one transaction")
    restate_after_seconds: float = Field(
        5,
        ge=0,
        description="Time for which changes of a final window are collected before it is restated, in seconds; 0: none",
    )
    hours_seconds: float = Field(
        300,
        gt=0,
        description="Longest time between two additions of usage to hours while usage waits, in seconds",
    )
    days_interval_seconds: float = Field(
        2,
        gt=0,
        description="Shortest time between two publications of usage by day and hour, in seconds; the longer, the less "
        "it costs",
    )
    ingest_in_flight_bytes: int = Field(
        32 * 1024 * 1024,
        ge=1024,
        description="Most HTTP usage that waits for Kafka, in bytes; beyond it the answer is 429",
    )
    ingest_acknowledge_seconds: float = Field(
        15, gt=0, description="Longest wait of an HTTP request for the broker's acknowledgement, in seconds"
    )
    ingest_key_events_per_second: int = Field(
        50_000,
        ge=0,
        description="Most events per second of a key without a limit of its own, per process; then 429; 0: no limit",
    )
    ingest_key_burst_seconds: float = Field(2, gt=0, description="Seconds of its events that a key may send at once")
    ingest_key_max_body_bytes: int = Field(
        10 * 1024 * 1024,
        ge=1024,
        description="Largest request body of a key without a limit of its own, in bytes; larger ones: 413",
    )
    ingest_key_cache_seconds: float = Field(
        2,
        ge=0,
        description="Time for which an ingest key is valid without another lookup, in seconds; 0: none",
    )
