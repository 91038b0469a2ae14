"""Every docstring begins with one short line.

Editors and documentation show it alone.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("shared", "services", "deploy", "tests")
MAX_LENGTH = 80


def docstrings(code: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of every docstring.

    Those below a constant or a field are docstrings too.
    """
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Module() | ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                for above, one in zip([None, *node.body], node.body, strict=False):
                    if above is None or isinstance(above, ast.Assign | ast.AnnAssign):
                        yield from _text_of(one)


def _text_of(statement: ast.stmt) -> Iterator[tuple[int, str]]:
    match statement:
        case ast.Expr(value=ast.Constant(value=str(text))):
            yield statement.lineno, text


def too_long(code: str) -> list[int]:
    """Return the lines on which docstrings begin whose first line is too long."""
    return [line for line, text in docstrings(code) if len(text.strip().partition("\n")[0]) > MAX_LENGTH]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_first_line_of_every_docstring_is_short(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    found = [f"{file.relative_to(ROOT)}:{line}" for file in files for line in too_long(file.read_text("utf-8"))]
    assert found == [], f"at most {MAX_LENGTH} characters, then what the caller must know after a blank line"


def test_a_planted_long_line_is_found_wherever_a_docstring_may_be() -> None:
    line, long = "x" * MAX_LENGTH, "x" * (MAX_LENGTH + 1)
    code = '''
"""{0}"""
FIELD = 1
"""{0}"""
class A:
    """{0}"""
    field: int
    """{0}"""
    async def f():
        """{0}

        {1}
        """
        print("""{1}""")
        """{1}"""
'''
    assert too_long(code.format(line, long)) == []
    assert too_long(code.format(long, long)) == [2, 4, 6, 8, 10]
