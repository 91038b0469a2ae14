"""The command line: the commands of all services, and those of one service."""

from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic_settings import SettingsConfigDict

from shared.runtime.process.settings import ServiceSettings
from shared.runtime.service.command_line import Runtime, ServiceCommand, ServiceDefinition, run


class AlertsSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="UNITPOOL_ALERTS_")


def build(_runtime: Runtime[AlertsSettings]) -> None:
    """Build nothing."""


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--word", default="hello")


async def greet(settings: AlertsSettings, parsed: Namespace) -> int:
    print(parsed.word, settings.log_level)
    return 7


PLAIN = ServiceDefinition("alerts", AlertsSettings, build, Path("/nonexistent"))
GREETING = replace(PLAIN, commands=(ServiceCommand("greet", "say a word", greet, _arguments),))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("UNITPOOL_ALERTS_DATABASE_URL", "postgresql://alerts:secret@127.0.0.1:1/alerts")
    return monkeypatch


def test_a_services_command_gets_settings_and_arguments_and_returns_the_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(GREETING, ["greet", "--word", "good day"]) == 7
    assert run(GREETING, ["greet"]) == 7
    assert capsys.readouterr().out.splitlines() == ["good day INFO", "hello INFO"]


def test_a_services_own_command_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(GREETING, ["--help"])
    assert ended.value.code == 0
    output = capsys.readouterr().out
    assert "say a word" in output
    assert "bring the service's database up to date" in output


def test_the_exit_code_is_2_when_the_service_does_not_have_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(PLAIN, ["greet"])
    assert ended.value.code == 2
    assert "invalid choice: 'greet'" in capsys.readouterr().err


def test_the_exit_code_of_a_services_command_is_2_when_a_setting_is_missing(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.delenv("UNITPOOL_ALERTS_DATABASE_URL")
    assert run(GREETING, ["greet"]) == 2
    assert "UNITPOOL_ALERTS_DATABASE_URL is not set" in capsys.readouterr().err


def test_the_exit_code_of_migrate_is_1_when_the_database_is_away(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(PLAIN, ["migrate"]) == 1
    assert "migrate failed: " in capsys.readouterr().err
