"""Settings: environment variables, checked once at start, frozen from then on."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import Field, FilePath, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.runtime.process.addresses import check_database_url, check_hosts, check_servers, check_url, parse_networks
from shared.runtime.process.unknown_settings import find_misspelt
from shared.runtime.signing import Keys, parse_keys

MASK = "********"


class ServiceSettings(BaseSettings):
    """Settings of every service.

    A service extends them and sets ``env_prefix`` to ``UNITPOOL_<NAME>_``.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True, env_ignore_empty=True
    )

    renamed: ClassVar[Mapping[str, str]] = {}
    """Former names of settings, and their present ones.

    The variables of the former are still read, with a warning.
    """

    kafka_bootstrap_servers: str = Field(
        "localhost:19092",
        validation_alias="UNITPOOL_KAFKA_BOOTSTRAP_SERVERS",
        description="Kafka brokers to begin with, host:port separated by commas",
    )
    kafka_topic_prefix: str = Field(
        "",
        validation_alias="UNITPOOL_KAFKA_TOPIC_PREFIX",
        pattern=r"^[A-Za-z0-9._-]*$",
        description="Put before every topic and consumer group, so that several installations share one Kafka",
    )
    kafka_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", validation_alias="UNITPOOL_KAFKA_PROTOCOL", description="Protocol for Kafka"
    )
    kafka_sasl_mechanism: Literal["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"] = Field(
        "SCRAM-SHA-512", validation_alias="UNITPOOL_KAFKA_SASL_MECHANISM", description="SASL mechanism for Kafka"
    )
    kafka_username: str | None = Field(
        None, validation_alias="UNITPOOL_KAFKA_USERNAME", description="User name for Kafka (SASL)"
    )
    kafka_password: SecretStr | None = Field(
        None, validation_alias="UNITPOOL_KAFKA_PASSWORD", description="Password for Kafka (SASL)"
    )
    kafka_ca_file: FilePath | None = Field(
        None, validation_alias="UNITPOOL_KAFKA_CA_FILE", description="Certificates to trust for Kafka (TLS), a PEM file"
    )
    kafka_compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
        "lz4",
        validation_alias="UNITPOOL_KAFKA_COMPRESSION",
        description="Compression of what is published to Kafka; every reader must be able to decompress it",
    )
    command_keys: SecretStr = Field(
        SecretStr(""),
        validation_alias="UNITPOOL_COMMAND_KEYS",
        description="Keys for commands, 'id:base64,id:base64', 32 bytes or more each; the first signs, all verify",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", validation_alias="UNITPOOL_LOG_LEVEL", description="The least important log lines to write"
    )

    database_url: SecretStr = Field(description="The service's own PostgreSQL database, postgresql://...")
    migrate_database_url: SecretStr | None = Field(
        None,
        description="The same for the role that owns the tables; only `migrate` uses it, and database_url without it",
    )
    pool_min_size: int = Field(2, ge=0, description="Database connections opened at the start")
    pool_max_size: int = Field(10, ge=2, description="Most database connections")
    statement_timeout_seconds: int = Field(
        30, ge=1, description="Longest time for a statement, in seconds; then the database cancels it"
    )
    http_host: str = Field("127.0.0.1", description="Address to listen on")
    http_port: int = Field(0, ge=0, le=65535, description="Port to listen on; 0 takes a free one")
    http_max_body_bytes: int = Field(
        1024 * 1024, ge=1024, description="Largest request body, in bytes; larger ones are refused with 413"
    )
    http_keep_alive_seconds: int = Field(
        75, ge=1, description="Time for which a connection without a request stays open, in seconds"
    )
    http_hosts: str = Field(
        "", description="Hosts that requests may be for, separated by commas, without ports; others get 421; empty: any"
    )
    http_trusted_proxies: str = Field(
        "",
        description="Networks of proxies whose X-Forwarded-For is trusted, separated by commas; empty: none",
    )
    http_database_seconds: float = Field(
        2.5,
        gt=0,
        description="Longest use of a database connection by a request, in seconds; then it gets 503",
    )
    public_url: str = Field(
        "",
        description="URL at which clients reach this service, without a path; with https, browsers must use it (HSTS)",
    )
    group_instance_id: str | None = Field(
        None, description="Name of this process that is the same after a restart, so that a restart needs no rebalance"
    )
    session_timeout_seconds: float = Field(
        6, ge=1, description="Time without a heartbeat after which Kafka takes a process its partitions, in seconds"
    )
    fetch_wait_ms: int = Field(
        200, ge=1, le=5000, description="Longest time for which Kafka holds a fetch without records, in ms"
    )
    max_records: int = Field(
        500, ge=1, description="Most records in one transaction, where a topic sets no other limit"
    )
    retry_within_seconds: float = Field(
        30,
        gt=0,
        description="Longest time of retries in place before the records of a batch are read again, in seconds",
    )
    retry_delay_max_seconds: float = Field(10, gt=0, description="Longest pause between two attempts, in seconds")
    dead_letter_limit: int = Field(
        100,
        ge=1,
        description="Customers or keys whose records fail within dead_letter_window_seconds that halt the consumer",
    )
    dead_letter_window_seconds: float = Field(
        60, gt=0, description="Time over which dead_letter_limit counts, in seconds"
    )
    outbox_alarm_seconds: float = Field(
        30, gt=0, description="Age of the oldest outbox row, in seconds, above which the service is degraded"
    )
    clock_tolerated_seconds: float = Field(
        5,
        gt=0,
        description="Largest difference between this clock and the database's, in seconds, at which it decides",
    )
    stop_within_seconds: float = Field(9, gt=1, description="Longest time for an orderly stop, in seconds")
    stop_announce_seconds: float = Field(
        0.5,
        ge=0,
        description="How long requests are still taken after SIGTERM while readiness is red, in seconds; 0: not at all",
    )

    @field_validator("command_keys")
    @classmethod
    def _check_keys(cls, value: SecretStr) -> SecretStr:
        parse_keys(value.get_secret_value())
        return value

    @field_validator("database_url", "migrate_database_url")
    @classmethod
    def _check_databases(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            check_database_url(value.get_secret_value())
        return value

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _check_servers(cls, value: str) -> str:
        check_servers(value)
        return value

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str) -> str:
        if value:
            check_url(value, path=False)
        return value

    @field_validator("http_hosts")
    @classmethod
    def _check_hosts(cls, value: str) -> str:
        check_hosts(value)
        return value

    @field_validator("http_trusted_proxies")
    @classmethod
    def _check_proxies(cls, value: str) -> str:
        parse_networks(value)
        return value

    @property
    def signing_keys(self) -> Keys:
        """The command keys by id; empty when none are set."""
        return parse_keys(self.command_keys.get_secret_value())


S = TypeVar("S", bound=ServiceSettings)


class SettingsError(Exception):
    """A setting is missing or wrong.

    The message names the variable and never shows a secret.
    """


@dataclass(frozen=True, slots=True)
class Described:
    """One setting for a person to read; secrets are masked."""

    variable: str
    meaning: str
    default: str
    current: str


def variable_of(settings: type[ServiceSettings], name: str, field: FieldInfo) -> str:
    """The environment variable that a field is read from."""
    if isinstance(field.validation_alias, str):
        return field.validation_alias
    return f"{settings.model_config.get('env_prefix', '')}{name}".upper()


def load(settings: type[S]) -> S:
    """Read the environment.

    Raises:
        SettingsError: a variable is missing or wrong.
    """
    former = {new: os.environ[old] for old, new in _renamed_variables(settings).items() if old in os.environ}
    given: dict[str, Any] = {
        name: value for name, value in former.items() if _variable(settings, name) not in os.environ
    }
    try:
        return settings(**given)
    except ValidationError as error:
        raise SettingsError("\n".join(_sentences(settings, error))) from None


def renamed(settings: type[ServiceSettings], environment: Iterable[str]) -> list[str]:
    """A sentence for each variable that still has its former name."""
    found = _renamed_variables(settings)
    return [
        f"{old} is now called {_variable(settings, found[old])}; the former name is still read"
        for old in sorted(set(environment) & set(found))
    ]


def _renamed_variables(settings: type[ServiceSettings]) -> dict[str, str]:
    """The former variables, each with the present name of its setting."""
    return {_variable(settings, old): new for old, new in settings.renamed.items()}


def _variable(settings: type[ServiceSettings], name: str) -> str:
    return f"{settings.model_config.get('env_prefix', '')}{name}".upper()


def misspelt(settings: type[ServiceSettings], service: str, environment: Iterable[str]) -> list[str]:
    """A sentence for each variable with a prefix of settings that is not a setting.

    The prefixes are that of this service and that of all services.
    """
    known = {variable_of(settings, name, field) for name, field in settings.model_fields.items()}
    known |= {_variable(settings, name) for name in settings.model_fields} | set(_renamed_variables(settings))
    return list(find_misspelt(service, known, environment))


def _sentences(settings: type[ServiceSettings], error: ValidationError) -> Iterator[str]:
    by_variable = {variable_of(settings, name, field): field for name, field in settings.model_fields.items()}
    for problem in error.errors(include_input=False, include_context=False, include_url=False):
        name = str(problem["loc"][0]) if problem["loc"] else ""
        field = settings.model_fields.get(name)
        variable = variable_of(settings, name, field) if field else name
        meaning = (field or by_variable.get(variable) or FieldInfo(annotation=str)).description or ""
        says = (
            "is not set"
            if problem["type"] == "missing"
            else f"is wrong: {problem['msg'].removeprefix('Value error, ')}"
        )
        yield f"{variable} {says} ({meaning})"


def describe(settings: type[ServiceSettings], current: Mapping[str, object]) -> Iterator[Described]:
    """Every setting with its meaning, default and current value."""
    for name, field in sorted(settings.model_fields.items()):
        yield Described(
            variable=variable_of(settings, name, field),
            meaning=field.description or "",
            default="(required)" if field.is_required() else _shown(field.default),
            current=_shown(current[name]) if name in current else "(not set)",
        )


def _shown(value: object) -> str:
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else "(none)"
    return "(none)" if value is None or value == "" else str(value)
