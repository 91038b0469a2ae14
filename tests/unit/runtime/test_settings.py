"""Settings: one clear message for an invalid value, and no secret in any output."""

from pathlib import Path

import pytest
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from services.alerts.settings import AlertsSettings
from services.allocation.settings import AllocationSettings
from services.metering.settings import MeteringSettings as RealMeteringSettings
from services.reporting.settings import ReportingSettings
from shared.runtime.process.settings import ServiceSettings, SettingsError, load, misspelt, renamed
from shared.runtime.service.command_line import Runtime, ServiceDefinition, run

KEY = "a2V5LWtleS1rZXkta2V5LWtleS1rZXkta2V5LWtleS0="


class MeteringSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="UNITPOOL_METERING_")

    pepper: SecretStr = Field(SecretStr("default-pepper"), description="Seasoning")


def build(_runtime: Runtime[MeteringSettings]) -> None:
    """Build nothing."""


METERING = ServiceDefinition("metering", MeteringSettings, build, Path("/nonexistent"))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("UNITPOOL_METERING_DATABASE_URL", "postgresql://metering:hunter2secret@db/metering")
    monkeypatch.setenv("UNITPOOL_COMMAND_KEYS", f"k1:{KEY}")
    return monkeypatch


def test_settings_are_read_from_their_variables(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("UNITPOOL_KAFKA_BOOTSTRAP_SERVERS", "kafka:9092")
    environment.setenv("UNITPOOL_METERING_HTTP_PORT", "8002")
    settings = load(MeteringSettings)
    assert (settings.kafka_bootstrap_servers, settings.http_port) == ("kafka:9092", 8002)
    assert list(settings.signing_keys) == ["k1"]


def test_the_message_has_name_and_description_when_a_setting_is_missing(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("UNITPOOL_METERING_DATABASE_URL")
    with pytest.raises(SettingsError) as failure:
        load(MeteringSettings)
    assert str(failure.value) == (
        "UNITPOOL_METERING_DATABASE_URL is not set (The service's own PostgreSQL database, postgresql://...)"
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("UNITPOOL_METERING_HTTP_PORT", "eighty"),
        ("UNITPOOL_KAFKA_PROTOCOL", "CARRIER_PIGEON"),
        ("UNITPOOL_COMMAND_KEYS", "k1:c2hvcnQ="),
        ("UNITPOOL_COMMAND_KEYS", "no-separator-hunter2secret"),
        ("UNITPOOL_COMMAND_KEYS", f"k1:{KEY},k1:{KEY}"),
    ],
)
def test_the_message_names_the_setting_without_its_value_when_it_is_invalid(
    environment: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    environment.setenv(variable, value)
    with pytest.raises(SettingsError) as failure:
        load(MeteringSettings)
    assert f"{variable} is wrong" in str(failure.value)
    assert "hunter2secret" not in str(failure.value)
    assert KEY not in str(failure.value)


SECRET = "hunter2secret"
DATABASE = "UNITPOOL_METERING_DATABASE_URL"
KAFKA = "UNITPOOL_KAFKA_BOOTSTRAP_SERVERS"
PUBLIC = "UNITPOOL_METERING_PUBLIC_URL"
HOSTS = "UNITPOOL_METERING_HTTP_HOSTS"


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        (DATABASE, f"metering:{SECRET}@db/metering", "does not begin with postgresql://"),
        (DATABASE, f"db/metering?password={SECRET}", "does not begin with postgresql://"),
        (DATABASE, f"postgresql:metering:{SECRET}@db/metering", "does not begin with postgresql://"),
        (DATABASE, f"mysql://metering:{SECRET}@db/metering", "does not begin with postgresql://"),
        (DATABASE, f"postgresql://metering:#{SECRET}@db/metering", "where its password ends"),
        (DATABASE, f"postgresql://metering:1/{SECRET}@db/metering", "names no database|port|where its"),
        (DATABASE, f"postgresql://metering:x@{SECRET}@db/metering", "where its password ends"),
        (DATABASE, f"postgresql://db:{SECRET}/metering", "its port is not a number"),
        (DATABASE, f"postgresql://metering:{SECRET}@db:65536/metering", "its port is not a number"),
        (DATABASE, f"postgresql://metering:{SECRET}@db", "names no database"),
        (DATABASE, f"postgresql://metering:{SECRET}@db/", "names no database"),
        (DATABASE, f"postgresql://metering:{SECRET} @db/metering", "spaces"),
        (DATABASE, f"postgresql://metering:{SECRET}@[db/metering", "is not an address"),
        ("UNITPOOL_METERING_MIGRATE_DATABASE_URL", f"metering:{SECRET}@db/metering", "does not begin with"),
        (KAFKA, f"kafka://metering:{SECRET}@kafka:9092", "without a scheme"),
        (KAFKA, f"metering:{SECRET}@kafka:9092", "without a scheme, user"),
        (KAFKA, f"kafka:{SECRET}", "its port is not a number"),
        (KAFKA, "kafka:9092,", "names no host"),
        (KAFKA, "kafka:9092,:9092", "names no host"),
        (PUBLIC, "pool.example", "does not begin with https:// or http://|does not begin with http:// or https://"),
        (PUBLIC, "https:pool.example", "does not begin with"),
        (PUBLIC, f"https://me:{SECRET}@pool.example", "user or a password"),
        (PUBLIC, "https://pool.example/page", "must not have a path"),
        (PUBLIC, "https://pool.example?a=b", "query or a fragment"),
        (PUBLIC, "https://", "names no host"),
        (PUBLIC, "https://pool.example:http", "its port is not a number"),
        (HOSTS, "https://pool.example", "without scheme, port or path"),
        (HOSTS, "pool.example:443", "without scheme, port or path"),
    ],
)
def test_an_invalid_address_is_refused_with_a_message_without_secrets(
    environment: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    environment.setenv(variable, value)
    with pytest.raises(SettingsError, match=says) as failure:
        load(MeteringSettings)
    assert str(failure.value).startswith(f"{variable} is wrong: ")
    assert SECRET not in str(failure.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        (DATABASE, "postgresql://metering:p%40ss%23@db.example:6000/metering?sslmode=require"),
        (DATABASE, "postgres://metering@[::1]:6000/metering"),
        (DATABASE, "postgresql://metering:x@one:6000,two:6001/metering?target_session_attrs=primary"),
        (DATABASE, "postgresql:///metering?host=/run/postgresql"),
        (DATABASE, "postgresql://metering@%2Frun%2Fpostgresql/metering"),
        (KAFKA, "kafka"),
        (KAFKA, "kafka-1.example:9092, kafka_2:9092,[::1]:9092,127.0.0.1:1"),
        (PUBLIC, ""),
        (PUBLIC, "http://localhost:8000/"),
        (PUBLIC, "https://[::1]:65535"),
        (HOSTS, ""),
        (HOSTS, "pool.example, 127.0.0.1,[::1],"),
    ],
)
def test_a_valid_address_is_accepted(environment: pytest.MonkeyPatch, variable: str, value: str) -> None:
    environment.setenv(variable, value)
    load(MeteringSettings)


def test_unknown_variables_are_reported_with_the_nearest_setting(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable in (
        "UNITPOOL_METERING_POOL_MAXSIZE",
        "UNITPOOL_METRING_POOL_MAX_SIZE",
        "UNITPOOL_KAFKA_BOOTSTRAP_SERVER",
        "UNITPOOL_METERING_SOMETHING_OF_LONG_AGO",
    ):
        environment.setenv(variable, "20")
    for well in (  # other services', tools', and our own in another case
        "UNITPOOL_ALERTS_POOL_MAXSIZE",
        "UNITPOOL_LOCAL_ROOT",
        "UNITPOOL_TEST_KAFKA",
        "unitpool_metering_pool_max_size",
        "UNITPOOL_METERING_KAFKA_TOPIC_PREFIX",  # a shared setting, for this service only
        "OTHER_METERING_POOL_MAXSIZE",
    ):
        environment.setenv(well, "20")
    assert run(METERING, ["settings"]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line]
    assert said == [
        "UNITPOOL_KAFKA_BOOTSTRAP_SERVER is not a setting and is ignored; is UNITPOOL_KAFKA_BOOTSTRAP_SERVERS meant?",
        "UNITPOOL_METERING_POOL_MAXSIZE is not a setting and is ignored; is UNITPOOL_METERING_POOL_MAX_SIZE meant?",
        "UNITPOOL_METERING_SOMETHING_OF_LONG_AGO is not a setting and is ignored",
        "UNITPOOL_METRING_POOL_MAX_SIZE is not a setting and is ignored; is UNITPOOL_METERING_POOL_MAX_SIZE meant?",
    ]


def test_unknown_variables_are_logged_at_the_start(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("UNITPOOL_METERING_POOL_MAXSIZE", "20")
    environment.setenv(DATABASE, "postgresql://metering:x@127.0.0.1:1/metering")
    assert run(METERING, ["migrate"]) == 1
    shown = capsys.readouterr()
    assert "is UNITPOOL_METERING_POOL_MAX_SIZE meant?" in shown.out + shown.err


def test_the_settings_command_prints_all_values_but_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(METERING, ["settings"]) == 0
    shown = capsys.readouterr().out
    for variable in ("UNITPOOL_METERING_DATABASE_URL", "UNITPOOL_COMMAND_KEYS", "UNITPOOL_METERING_PEPPER"):
        assert variable in shown
    for secret in ("hunter2secret", KEY, "default-pepper"):
        assert secret not in shown
    assert "The service's own PostgreSQL database" in shown


def test_the_settings_command_prints_the_reason_and_exits_with_2_when_a_setting_is_invalid(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("UNITPOOL_METERING_HTTP_PORT", "99999999")
    assert run(METERING, ["settings"]) == 2
    assert "UNITPOOL_METERING_HTTP_PORT is wrong" in capsys.readouterr().err


def test_settings_cannot_be_changed() -> None:
    settings = load(MeteringSettings)
    with pytest.raises(ValueError, match="frozen"):
        settings.http_port = 1  # type: ignore[misc]


def test_a_former_name_is_read_with_a_warning_unless_the_present_one_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    former, present = "UNITPOOL_METERING_USAGE_GATHER_MS", "UNITPOOL_METERING_USAGE_FILL_WAIT_MS"
    monkeypatch.setenv("UNITPOOL_METERING_DATABASE_URL", "postgresql://user:secret@host/db")
    monkeypatch.setenv(former, "70")
    assert load(RealMeteringSettings).usage_fill_wait_ms == 70
    (sentence,) = renamed(RealMeteringSettings, [former, "OTHER"])
    assert sentence.startswith(f"{former} is now called {present}")
    assert misspelt(RealMeteringSettings, "metering", [former]) == []
    monkeypatch.setenv(present, "90")
    assert load(RealMeteringSettings).usage_fill_wait_ms == 90
    monkeypatch.delenv(present)
    monkeypatch.setenv(former, "soon")
    with pytest.raises(SettingsError, match="USAGE_FILL_WAIT_MS is wrong"):
        load(RealMeteringSettings)
    for settings in (AllocationSettings, RealMeteringSettings, AlertsSettings, ReportingSettings):
        assert set(settings.renamed.values()) <= set(settings.model_fields)
        assert not set(settings.renamed) & set(settings.model_fields)
