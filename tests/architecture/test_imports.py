"""The import rules hold, and each reports a planted violation."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ("allocation", "metering", "alerts", "reporting")


def _run(program: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name(program)), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code, in which tests plant violations."""
    copy = tmp_path_factory.mktemp("checkout")
    for folder in ("services", "shared", "deploy"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=_only_code)
    (copy / "tests").mkdir()
    (copy / "tests" / "__init__.py").touch()
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def _only_code(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if not (name.endswith((".py", ".toml")) or (Path(folder) / name).is_dir())}


def test_all_rules_hold() -> None:
    result = _run("lint-imports", "--no-cache", cwd=ROOT)
    assert result.returncode == 0, result.stdout


PLANTED = [
    ("services-apart", "services/alerts/domain/planted.py", "import services.metering.domain"),
    ("services-apart", "services/reporting/store/planted.py", "from services.allocation.store import planted"),
    ("one-direction", "shared/runtime/planted.py", "import services.alerts.settings"),
    ("one-direction", "shared/events/planted.py", "import shared.runtime.process.clock"),
    ("one-direction", "shared/units.py", "import shared.events.envelope"),
    ("one-direction", "services/alerts/handlers/planted.py", "import deploy.local"),
    ("one-direction", "shared/runtime/planted.py", "import tests"),
    ("rooms", "services/alerts/domain/planted.py", "import services.alerts.store.alerts"),
    ("rooms", "services/alerts/store/planted.py", "import services.alerts.handlers.assess_changes"),
    ("rooms", "services/alerts/store/planted.py", "import services.alerts.metrics"),
    ("rooms", "services/metering/handlers/planted.py", "import services.metering.subscribers"),
    ("rooms", "services/metering/subscribers.py", "import services.metering.main"),
    ("rooms", "services/metering/api/planted.py", "import services.metering.subscribers"),
    ("rooms", "services/alerts/helpers.py", ""),
    ("runtime-floors", "shared/runtime/process/planted.py", "import shared.runtime.postgres.pool"),
    ("runtime-floors", "shared/runtime/kafka/planted.py", "import shared.runtime.delivery.transaction"),
    ("runtime-floors", "shared/runtime/postgres/planted.py", "import shared.runtime.kafka.client"),
    ("runtime-floors", "shared/runtime/http/planted.py", "import shared.runtime.commands.inbox"),
    ("runtime-floors", "shared/runtime/delivery/planted.py", "import shared.runtime.service.definition"),
    ("runtime-floors", "shared/runtime/records.py", "import shared.runtime.process.settings"),
    ("runtime-floors", "shared/runtime/planted.py", ""),
    ("pure-domain", "services/alerts/domain/planted.py", "import asyncpg"),
    ("pure-domain", "services/allocation/domain/planted.py", "from shared.runtime.process.clock import utc_now"),
    ("pure-domain", "services/metering/domain/planted.py", "import time"),
    ("pure-domain", "services/reporting/domain/planted.py", "import random"),
    ("asyncpg", "services/alerts/handlers/planted.py", "import asyncpg"),
    ("asyncpg", "services/metering/api/planted.py", "from asyncpg import Pool"),
    ("asyncpg", "shared/events/planted.py", "import asyncpg"),
    ("contracts-no-io", "shared/events/planted.py", "import httpx"),
]


@pytest.mark.parametrize(
    ("contract", "file", "code"), PLANTED, ids=[f"{contract}-{number}" for number, (contract, *_) in enumerate(PLANTED)]
)
def test_a_planted_violation_breaks_its_rule(checkout: Path, contract: str, file: str, code: str) -> None:
    planted = checkout / file
    before = planted.read_text(encoding="utf-8") if planted.exists() else None
    planted.write_text(f"{before or ''}\n{code}\n", encoding="utf-8")
    try:
        result = _run("lint-imports", "--no-cache", "--contract", contract, cwd=checkout)
    finally:
        if before is None:
            planted.unlink()
        else:
            planted.write_text(before, encoding="utf-8")
    assert result.returncode == 1, result.stdout
    assert "Contracts: 0 kept, 1 broken." in result.stdout


def test_all_rules_hold_in_the_copy(checkout: Path) -> None:
    result = _run("lint-imports", "--no-cache", cwd=checkout)
    assert result.returncode == 0, result.stdout


def test_no_dependency_is_missing_or_unused() -> None:
    result = _run("deptry", ".", cwd=ROOT)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_imports_only_what_its_own_image_installs(service: str) -> None:
    result = _deptry_for(service, ROOT)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("code", "says"),
    [("import jinja2", "DEP004"), ("import sse_starlette", "DEP004"), ("import not_installed_anywhere", "DEP001")],
)
def test_a_planted_import_of_a_foreign_package_is_found(checkout: Path, code: str, says: str) -> None:
    planted = checkout / "services" / "alerts" / "handlers" / "planted.py"
    planted.write_text(code, encoding="utf-8")
    try:
        result = _deptry_for("alerts", checkout)
    finally:
        planted.unlink()
    assert result.returncode == 1
    assert says in result.stderr


def test_a_planted_unused_dependency_is_found(checkout: Path) -> None:
    project = checkout / "pyproject.toml"
    before = project.read_text(encoding="utf-8")
    project.write_text(before.replace('alerts = ["httpx', 'alerts = ["rich>=13", "httpx'), encoding="utf-8")
    try:
        result = _run("deptry", ".", cwd=checkout)
    finally:
        project.write_text(before, encoding="utf-8")
    assert result.returncode == 1
    assert "'rich' defined as a dependency but not used" in result.stderr


def _deptry_for(service: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Copy the service and shared code, with the service's dependencies only."""
    only = ("--non-dev-dependency-groups", service, "--ignore", "DEP002", "--no-ansi")
    return _run("deptry", f"services/{service}", "shared", *only, cwd=cwd)
