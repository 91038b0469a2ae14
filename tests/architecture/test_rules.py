"""The page of rules names files and tests that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "rules.md"
HERE = "architecture/test_rules.py::test_every_rule_names_existing_files_and_tests"


def rows(text: str) -> list[list[str]]:
    """The rows of the page's tables, without the header rows."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith(("|---", "| Rule "))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def missing_names(text: str) -> list[str]:
    """Return named files and tests that do not exist, and rules without either."""
    missing = []
    for rule, decided_in, tests in rows(text):
        files, named = re.findall(r"`([^`]+)`", decided_in), re.findall(r"`([^`]+)`", tests)
        if not files or not named:
            missing.append(rule)
        missing += [file for file in files if not (ROOT / file).is_file()]
        missing += [test for test in named if not exists(test)]
    return missing


def exists(test: str) -> bool:
    """Whether the test function ``file::name`` exists."""
    file, _, name = test.partition("::")
    path = ROOT / "tests" / file
    if not path.is_file():
        return False
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(
        isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and one.name == name and name.startswith("test_")
        for one in ast.walk(tree)
    )


def test_every_rule_names_existing_files_and_tests() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(rows(text)) > 20
    assert missing_names(text) == []


@pytest.mark.parametrize(
    "row",
    [
        f"| R | `services/allocation/domain/none.py` | `{HERE}` |",
        "| R | `shared/units.py` | `architecture/test_rules.py::test_that_is_gone` |",
        "| R | `shared/units.py` | `architecture/test_gone.py::test_a` |",
        "| R | `shared/units.py` | `architecture/test_rules.py::missing_names` |",
        "| R | `shared/units.py` | |",
        f"| R | | `{HERE}` |",
    ],
)
def test_a_rule_without_an_existing_file_or_test_is_found(row: str) -> None:
    assert missing_names(row)
