"""Private parts of libraries are used in one module, which checks them.

It refuses to start when one of them has changed.
"""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.consumer import fetcher

from shared.runtime import patches
from shared.runtime.patches import NEEDS, Need, find_fault

ROOT = Path(__file__).parent.parent.parent
PATCHES = ROOT / "shared" / "runtime" / "patches.py"
PUBLIC = {"_asdict", "_exit", "_fields", "_make", "_replace"}
"""Public names of named tuples and ``os`` that begin with an underscore."""
THEIRS = vars(patches)["_PartitionRecords"]
"""The class of aiokafka, which another test may have replaced."""
LIBRARIES = {"aiokafka", "faststream", "uvicorn", "asyncpg"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in PUBLIC


def touches(source: str) -> Iterator[str]:
    """Private names of other objects and of the libraries' modules that a source uses."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in LIBRARIES:
            yield from (alias.name for alias in node.names if is_private(alias.name))
            yield from (part for part in node.module.split(".") if is_private(part))
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            owner = node.value
            if not (isinstance(owner, ast.Name) and owner.id in {"self", "cls"}):
                yield node.attr
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"getattr", "setattr"}:
            named = node.args[1] if len(node.args) > 1 else None
            if isinstance(named, ast.Constant) and isinstance(named.value, str) and is_private(named.value):
                yield named.value


def own_names(source: str) -> set[str]:
    """Private names that the source defines itself."""
    tree = ast.parse(source)
    found = {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    for node in ast.walk(tree):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        for target in targets:
            parts = target.elts if isinstance(target, ast.Tuple) else [target]
            found |= {one.id for one in parts if isinstance(one, ast.Name)}
            found |= {one.attr for one in parts if isinstance(one, ast.Attribute)}
    return found


def test_private_parts_are_used_in_one_module_only() -> None:
    for folder in ("services", "shared", "deploy"):
        for path in (ROOT / folder).rglob("*.py"):
            if path != PATCHES:
                source = path.read_text(encoding="utf-8")
                assert set(touches(source)) <= own_names(source), path
    assert set(touches(PATCHES.read_text(encoding="utf-8"))) >= {"_MemoryRecordsPy", "_run_consume_loop"}


@pytest.mark.parametrize(
    "planted",
    [
        "from aiokafka.record.memory_records import _MemoryRecordsPy",
        "from faststream._internal.utils import anything",
        "def f(subscriber): return subscriber._run_consume_loop",
        "def f(pool): return pool.acquire()._holder",
        "def f(pool): return getattr(pool, '_holders')",
    ],
)
def test_a_planted_use_in_another_module_is_found(planted: str) -> None:
    assert set(touches(planted)) - own_names(planted)


@pytest.mark.parametrize("need", NEEDS, ids=lambda need: need.name)
def test_each_need_is_met_and_the_fault_names_it_when_it_is_not(need: Need, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "PartitionRecords", THEIRS)
    assert need.fault() is None
    gone = Need(need.library, f"{need.name}_gone", need.purpose, need.parameters)
    assert f"{need.name}_gone" in (find_fault([need, gone]) or "")


def test_a_need_is_not_met_when_the_parameters_differ() -> None:
    need = NEEDS[-1]
    assert need.parameters
    assert Need(need.library, need.name, need.purpose, ("self", "other")).fault()


def test_a_service_does_not_start_when_a_private_part_has_changed(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "from aiokafka.consumer.fetcher import PartitionRecords\ndel PartitionRecords._consumer_record\n"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for name in ("allocation", "metering", "alerts", "reporting"):
        ended = subprocess.run(
            [sys.executable, "-m", f"services.{name}", "serve"],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 1
        assert "Traceback" not in ended.stderr
        assert "PartitionRecords._consumer_record(self, tp, record) is not there" in ended.stderr
