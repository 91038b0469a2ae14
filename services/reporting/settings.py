"""Reporting's settings: environment variables that begin with ``UNITPOOL_REPORTING_``."""

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from shared.runtime.process.addresses import check_url
from shared.runtime.process.settings import ServiceSettings


class ReportingSettings(ServiceSettings):
    """What reporting is told. Any OIDC provider that issues JWT access tokens serves, by settings alone."""

    model_config = SettingsConfigDict(env_prefix="UNITPOOL_REPORTING_")

    http_port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one")
    public_url: str = Field("http://localhost:8000", description="Where browsers reach this service, without a path")
    oidc_issuer: str = Field(
        "http://localhost:8009", description="Issuer of access tokens; its discovery document names its keys"
    )
    oidc_audience: str = Field("unitpool", description="Audience that an access token must be for")
    oidc_client_id: str = Field("unitpool", description="Client id of the page's sign-in")
    oidc_client_secret: SecretStr | None = Field(None, description="Client secret of the page's sign-in, if it has one")
    email_claim: str = Field("email", description="Claim that says who a person is; dots reach into objects")
    email_verified_may_be_absent: bool = Field(
        False, description="Take tokens that say nothing of email_verified; whatever they say must be JSON true"
    )
    name_claim: str = Field("name", description="Claim with a person's name; dots reach into objects")
    roles_claim: str = Field(
        "unitpool_roles",
        description="Claim whose values include 'vendor' for vendor operators; dots reach into objects",
    )
    session_secret: SecretStr | None = Field(
        None, description="Secret of the page's sessions, 32 characters or more; without one they end with the process"
    )
    token_leeway_seconds: int = Field(10, ge=0, le=120, description="How far clocks may differ when a token is judged")
    issuer_keys_seconds: float = Field(3600, gt=0, description="How long the issuer's keys are used without a look")
    issuer_refresh_seconds: float = Field(
        10, ge=0, description="The issuer's keys are fetched at most once in this time, whatever tokens come"
    )
    issuer_timeout_seconds: float = Field(5, gt=0, description="How long the issuer may take to answer")
    command_wait_seconds: float = Field(
        5, ge=0, description="How long a write waits for its outcome before it answers 202"
    )
    key_overlap_seconds: int = Field(
        86_400, ge=0, le=31 * 86_400, description="How long an ingest key that is rotated is still good, unless asked"
    )
    metering_url: str = Field(
        "http://localhost:8002", description="Where metering answers, which is asked which resources were counted"
    )
    metering_timeout_seconds: float = Field(5, gt=0, description="How long metering may take to answer")
    upkeep_seconds: float = Field(3600, gt=0, description="How often what is older than is kept is forgotten")
    max_streams: int = Field(500, ge=1, description="Live streams open at once; beyond it the answer is 429")
    max_streams_per_person: int = Field(
        20, ge=1, description="Live streams of one person open at once; beyond it the answer is 429"
    )
    writes_per_minute: int = Field(
        1200, ge=0, description="Writes of one person to each process in a minute, then 429; 0: no limit"
    )
    denied_writes_per_minute: int = Field(
        300, ge=0, description="Writes of one person that are denied in a minute, then 429 to all; 0: no limit"
    )
    failed_sign_ins_per_minute: int = Field(
        300, ge=0, description="Refused tokens and sign-ins of one address in a minute, then 429 to those; 0: no limit"
    )

    @field_validator("oidc_issuer", "metering_url")
    @classmethod
    def _urls_can_be_meant(cls, value: str) -> str:
        check_url(value, path=True)
        return value
