"""Statements: none has parts of two modules; one module uses a batch's table."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted([*ROOT.glob("services/*/store/*.py"), *ROOT.glob("shared/runtime/**/*.py")])
SQL = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE)\b")
OWNED = re.compile(r"\b(FROM|INTO|UPDATE|JOIN|USING|TABLE|EXISTS)\s+usage_batch\b")


def foreign_parts(text: str) -> Iterator[str]:
    """Return parts of SQL f-strings from other modules: attributes, imported names.

    Constants of the domain such as ``SUM`` are allowed, as they are numbers that SQL has no name for.
    """
    tree = ast.parse(text)
    own = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    from_domain = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and ".domain." in (node.module or "")
        for alias in node.names
    }
    for outer in ast.walk(tree):
        arguments = {one.arg for one in outer.args.args} if isinstance(outer, ast.FunctionDef) else set()
        for node in ast.walk(outer) if isinstance(outer, ast.FunctionDef | ast.Assign) else ():
            if isinstance(node, ast.JoinedStr) and SQL.search(ast.unparse(node)):
                for part in node.values:
                    if isinstance(part, ast.FormattedValue):
                        name = part.value.id if isinstance(part.value, ast.Name) else ""
                        if name not in own | from_domain | arguments:
                            yield ast.unparse(part.value)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_statement_has_parts_of_two_modules(module: Path) -> None:
    text = module.read_text()
    assert not list(foreign_parts(text)), "write the statement out whole, in one module"
    if module.stem != "usage_batch":
        assert not OWNED.search(text), "usage_batch is read by methods of UsageBatch only"


def test_a_statement_with_a_part_of_another_module_is_found() -> None:
    head = "from services.metering.store import hours\nfrom services.metering.store.hours import NOTE\n"
    domain = "from services.metering.domain.catalogue import SUM\n_OWN = 'SELECT 1'\n"
    assert list(foreign_parts(head + '_A = f"WITH a AS ({hours.NOTE}) SELECT 1"')) == ["hours.NOTE"]
    assert list(foreign_parts(head + 'def a():\n    return f"WITH a AS ({NOTE}) SELECT 1"')) == ["NOTE"]
    assert list(foreign_parts(domain + '_A = f"WITH a AS ({_OWN}) SELECT {SUM}"')) == []
    assert OWNED.search("SELECT 1 FROM usage_batch WHERE true")
