"""Settings: one clear message for what is wrong, and never a secret on the screen."""

from pathlib import Path

import pytest
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from shared.runtime.app import Runtime, ServiceDefinition, run
from shared.runtime.settings import ServiceSettings, SettingsError, load

KEY = "a2V5LWtleS1rZXkta2V5LWtleS1rZXkta2V5LWtleS0="


class MeteringSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="UNITPOOL_METERING_")

    pepper: SecretStr = Field(SecretStr("default-pepper"), description="Seasoning")


def build(_runtime: Runtime[MeteringSettings]) -> None:
    """Nothing to build."""


METERING = ServiceDefinition("metering", MeteringSettings, build, Path("/nonexistent"))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("UNITPOOL_METERING_DATABASE_URL", "postgresql://metering:hunter2secret@db/metering")
    monkeypatch.setenv("UNITPOOL_COMMAND_KEYS", f"k1:{KEY}")
    return monkeypatch


def test_settings_come_from_their_variables(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("UNITPOOL_KAFKA_BOOTSTRAP_SERVERS", "kafka:9092")
    environment.setenv("UNITPOOL_METERING_HTTP_PORT", "8002")
    settings = load(MeteringSettings)
    assert (settings.kafka_bootstrap_servers, settings.http_port) == ("kafka:9092", 8002)
    assert list(settings.signing_keys) == ["k1"]


def test_a_missing_setting_is_named_with_its_meaning(environment: pytest.MonkeyPatch) -> None:
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
def test_a_wrong_setting_is_named_and_its_value_is_not_shown(
    environment: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    environment.setenv(variable, value)
    with pytest.raises(SettingsError) as failure:
        load(MeteringSettings)
    assert f"{variable} is wrong" in str(failure.value)
    assert "hunter2secret" not in str(failure.value)
    assert KEY not in str(failure.value)


def test_the_settings_command_shows_everything_but_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(METERING, ["settings"]) == 0
    shown = capsys.readouterr().out
    for variable in ("UNITPOOL_METERING_DATABASE_URL", "UNITPOOL_COMMAND_KEYS", "UNITPOOL_METERING_PEPPER"):
        assert variable in shown
    for secret in ("hunter2secret", KEY, "default-pepper"):
        assert secret not in shown
    assert "The service's own PostgreSQL database" in shown


def test_the_settings_command_ends_with_2_and_the_reason_when_one_is_wrong(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("UNITPOOL_METERING_HTTP_PORT", "99999999")
    assert run(METERING, ["settings"]) == 2
    assert "UNITPOOL_METERING_HTTP_PORT is wrong" in capsys.readouterr().err


def test_settings_cannot_be_changed() -> None:
    settings = load(MeteringSettings)
    with pytest.raises(ValueError, match="frozen"):
        settings.http_port = 1  # type: ignore[misc]
