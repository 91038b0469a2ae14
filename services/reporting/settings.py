"""Reporting's settings.

They are environment variables that begin with ``UNITPOOL_REPORTING_``.
"""

from datetime import time

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from shared.runtime.process.addresses import check_url
from shared.runtime.process.settings import ServiceSettings


class ReportingSettings(ServiceSettings):
    """Settings of a reporting process.

    Any OIDC provider that issues JWT access tokens can be used.
    """

    model_config = SettingsConfigDict(env_prefix="UNITPOOL_REPORTING_")

    http_port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one")
    public_url: str = Field(
        "http://localhost:8000", description="URL at which browsers reach this service, without a path"
    )
    oidc_issuer: str = Field(
        "http://localhost:8009", description="Issuer of access tokens; its discovery document names its keys"
    )
    oidc_audience: str = Field("unitpool", description="Audience that an access token must be for")
    oidc_client_id: str = Field("unitpool", description="Client id of the page's sign-in")
    oidc_client_secret: SecretStr | None = Field(None, description="Client secret of the page's sign-in, if it has one")
    email_claim: str = Field("email", description="Claim that holds a person's e-mail address; dots reach into objects")
    email_verified_may_be_absent: bool = Field(
        False, description="Whether tokens without email_verified are accepted; if it is present, it must be JSON true"
    )
    name_claim: str = Field("name", description="Claim with a person's name; dots reach into objects")
    roles_claim: str = Field(
        "unitpool_roles",
        description="Claim whose values include 'vendor' for vendor operators; dots reach into objects",
    )
    session_secret: SecretStr | None = Field(
        None,
        description="Secret of the page's forms and sign-ins, 32 characters or more; unset: a new one per process",
    )
    token_leeway_seconds: int = Field(
        10, ge=0, le=120, description="Tolerated difference between clocks when a token is verified, in seconds"
    )
    issuer_keys_seconds: float = Field(
        3600, gt=0, description="Time for which the issuer's keys are used before they are fetched again, in seconds"
    )
    issuer_refresh_seconds: float = Field(
        10, ge=0, description="Shortest time between two fetches of the issuer's keys, in seconds; 0: no limit"
    )
    issuer_timeout_seconds: float = Field(5, gt=0, description="Longest wait for a response of the issuer, in seconds")
    command_wait_seconds: float = Field(
        5,
        ge=0,
        description="Longest wait of a write for its command's outcome before it answers 202, in seconds; 0: none",
    )
    key_overlap_seconds: int = Field(
        86_400,
        ge=0,
        le=31 * 86_400,
        description="Time for which a rotated ingest key stays valid, in seconds, unless the request sets another",
    )
    metering_url: str = Field(
        "http://localhost:8002", description="URL of metering, from which counted resources are requested"
    )
    metering_timeout_seconds: float = Field(5, gt=0, description="Longest wait for a response of metering, in seconds")
    upkeep_seconds: float = Field(
        3600, gt=0, description="Time between two deletions of rows older than their retention, in seconds"
    )
    insights_at: time = Field(time(2), description="Time of day from which the day's forecasts are made, in UTC")
    insights_poll_seconds: float = Field(
        60, gt=0, description="Time between two checks for subscriptions without a forecast of the day, in seconds"
    )
    export_storage: str = Field(
        "/var/lib/unitpool/exports",
        min_length=1,
        description="Where exported files are stored: a folder that all processes share, or s3://bucket/prefix",
    )
    export_endpoint_url: str | None = Field(
        None, description="URL of the S3 server, if it is not Amazon's; credentials are those of the AWS_ variables"
    )
    export_requests_per_minute: int = Field(
        60, ge=0, description="Most exports that one person requests of each process in a minute, then 429; 0: no limit"
    )
    downloads_per_minute: int = Field(
        300, ge=0, description="Most downloads of one person's exports in a minute, then 429; 0: no limit"
    )
    statements_per_minute: int = Field(
        60, ge=0, description="Most statements that one person makes in a minute, then 429; 0: no limit"
    )
    worker_http_port: int = Field(
        8004, ge=0, le=65535, description="Port for health and metrics of the worker; 0 takes a free one"
    )
    worker_exports: int = Field(2, ge=1, le=16, description="Exports that one worker makes at a time")
    worker_poll_seconds: float = Field(
        1, gt=0, description="Time between two checks of a worker for exports, in seconds, when there were none"
    )
    worker_retry_seconds: float = Field(
        5, gt=0, description="Pause after the first failure of an export, in seconds; it doubles, up to 5 minutes"
    )
    max_streams: int = Field(500, ge=1, description="Most live streams open at once; beyond it the answer is 429")
    max_streams_per_person: int = Field(
        20, ge=1, description="Most live streams of one person open at once; beyond it the answer is 429"
    )
    writes_per_minute: int = Field(
        1200, ge=0, description="Most writes of one person to each process in a minute, then 429; 0: no limit"
    )
    denied_writes_per_minute: int = Field(
        300, ge=0, description="Most denied writes of one person in a minute, then 429 to every write; 0: no limit"
    )
    failed_sign_ins_per_minute: int = Field(
        300,
        ge=0,
        description="Most refused tokens and sign-ins of one address in a minute, then 429 to those; 0: no limit",
    )

    @field_validator("export_storage")
    @classmethod
    def _check_storage(cls, value: str) -> str:
        is_bucket = value.startswith("s3://")
        if is_bucket and not value.removeprefix("s3://").partition("/")[0]:
            raise ValueError("has no bucket; write s3://bucket/prefix")
        if not is_bucket and not value.startswith("/"):
            raise ValueError("must be an absolute path, or s3://bucket/prefix")
        return value

    @field_validator("export_endpoint_url")
    @classmethod
    def _check_endpoint(cls, value: str | None) -> str | None:
        if value is not None:
            check_url(value, path=True)
        return value

    @field_validator("oidc_issuer", "metering_url")
    @classmethod
    def _check_urls(cls, value: str) -> str:
        check_url(value, path=True)
        return value
