"""Metering's settings: environment variables that begin with ``UNITPOOL_METERING_``."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.runtime.process.settings import ServiceSettings


class MeteringSettings(ServiceSettings):
    """What metering is told. Defaults of the ingest path are measured: see docs/performance.md."""

    model_config = SettingsConfigDict(env_prefix="UNITPOOL_METERING_")

    http_port: int = Field(8002, ge=0, le=65535, description="Port to listen on; 0 takes a free one")
    http_max_body_bytes: int = Field(
        10 * 1024 * 1024, ge=1024, description="Larger request bodies are refused with 413"
    )
    pool_max_size: int = Field(12, ge=2, description="Database connections at most")
    usage_batch_records: int = Field(
        10_000, ge=1, le=100_000, description="Usage records at most in one transaction of the ingest path"
    )
    usage_gather_ms: int = Field(
        100,
        ge=0,
        le=1000,
        description="How long usage may wait for more of it, so that few events are no batch; 0: not",
    )
    usage_batches_at_once: int = Field(
        4,
        ge=1,
        le=8,
        description="Batches of usage applied at the same time: while one waits for the database, another is decoded",
    )
    product_topics_seconds: float = Field(
        15, ge=0, description="How often to look for products' own topics, usage.events.<product>; 0: they are not read"
    )
    catch_up_seconds: float = Field(
        10, ge=0, description="How long usage waits for the catalogue and subscriptions before it counts as unknown"
    )
    snapshot_interval_seconds: float = Field(
        0.15, ge=0.01, description="A consumption snapshot is published at most once in this time per key"
    )
    replay_look_seconds: float = Field(
        1, gt=0, description="How often to look whether quarantined usage can be applied after a change"
    )
    replay_records: int = Field(1000, ge=1, description="Quarantined records judged again in one transaction")
    books_seconds: float = Field(
        3, ge=0, description="How often changed lines of the books are told; many changes of a line are told as one"
    )
    upkeep_seconds: float = Field(600, gt=0, description="How often partitions are made ahead and old ones dropped")
    correction_look_seconds: float = Field(
        0.5, gt=0, description="How often to look for reversals and purges that are to be applied"
    )
    correction_records: int = Field(500, ge=1, description="Reversals and purges applied in one transaction")
    restate_after_seconds: float = Field(
        5, ge=0, description="How long changes of a final window are gathered before it is restated"
    )
    hours_seconds: float = Field(
        300, gt=0, description="How often what was applied is added to hours: the more at once, the less it costs"
    )
    ingest_in_flight_bytes: int = Field(
        32 * 1024 * 1024, ge=1024, description="HTTP usage that may wait for the broker; beyond it the answer is 429"
    )
    ingest_acknowledge_seconds: float = Field(
        15, gt=0, description="How long an HTTP request waits for the broker's acknowledgement"
    )
    ingest_key_events_per_second: int = Field(
        50_000,
        ge=0,
        description="Events per second that a key may send to each process of this service, unless the key has a limit "
        "of its own; beyond it the answer is 429; 0: no limit",
    )
    ingest_key_burst_seconds: float = Field(
        2, gt=0, description="How many seconds of its events a key may send at once"
    )
    ingest_key_max_body_bytes: int = Field(
        10 * 1024 * 1024,
        ge=1024,
        description="Larger request bodies of a key are refused with 413, unless the key has a limit of its own",
    )
    ingest_key_cache_seconds: float = Field(
        2, ge=0, description="How long an ingest key that was looked up counts without another look"
    )
