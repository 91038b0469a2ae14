"""Mappings of anything between functions are those listed in the READMEs.

Each has its reason there.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ("services/allocation", "services/metering", "services/alerts", "services/reporting")
FOLDERS = (*SERVICES, "shared/events", "shared/runtime")
UNTYPED = {("dict", "Any"), ("Mapping", "Any"), ("MutableMapping", "Any"), ("dict", "object")}
"""Types of mappings from which values of any type are read.

Nothing checks what is read from these. From a ``Mapping[str, object]`` nothing can be used before it is judged.
"""


def untyped(code: str) -> set[str]:
    """Return functions, fields and names annotated with a mapping to anything."""
    return set(_places(ast.parse(code), ""))


def _places(node: ast.AST, inside: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                name = f"{inside}{child.name}"
                given = child.args
                of = [one.annotation for one in (*given.posonlyargs, *given.args, *given.kwonlyargs) if one.annotation]
                if any(map(_is_untyped, (*of, *([child.returns] if child.returns else [])))):
                    yield name
                yield from _functions_in(child, f"{name}.")
            case ast.ClassDef():
                yield from _places(child, f"{inside}{child.name}.")
            case ast.AnnAssign(target=ast.Name(id=name)) if _is_untyped(child.annotation):
                yield f"{inside}{name}"
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Subscript()) if _is_untyped(child.value):
                yield f"{inside}{name}"
            case ast.If() | ast.Try() | ast.With():
                yield from _places(child, inside)
            case _:
                pass


def _functions_in(function: ast.AST, inside: str) -> Iterator[str]:
    """Yield inner functions and classes; local variables are not passed on."""
    for child in ast.iter_child_nodes(function):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _places(ast.Module([child], []), inside)
        else:
            yield from _functions_in(child, inside)


def _is_untyped(annotation: ast.AST) -> bool:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return _is_untyped(ast.parse(annotation.value, mode="eval"))
    return any(
        isinstance(node, ast.Subscript)
        and isinstance(node.slice, ast.Tuple)
        and (ast.unparse(node.value), ast.unparse(node.slice.elts[-1])) in UNTYPED
        for node in ast.walk(annotation)
    )


def listed(folder: Path) -> set[str]:
    """What the folder's README names, as `file.py::name`."""
    return set(re.findall(r"`([\w/]+\.py::[\w.]+)`", (folder / "README.md").read_text(encoding="utf-8")))


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_untyped_mapping_is_listed_with_its_reason(folder: str) -> None:
    place = ROOT / folder
    found = {
        f"{file.relative_to(place)}::{name}"
        for file in place.rglob("*.py")
        for name in untyped(file.read_text(encoding="utf-8"))
    }
    assert found == listed(place)


ANY = "dict[str, Any]"


@pytest.mark.parametrize(
    ("code", "place"),
    [
        (f"def load() -> {ANY}: ...", "load"),
        (f"async def load(wanted: list[{ANY}]) -> None: ...", "load"),
        ("def load(*, wanted: 'Mapping[str, Any] | None') -> None: ...", "load"),
        (f"class Answer:\n    result: {ANY} | None = None", "Answer.result"),
        (f"class Answers:\n    def of(self, row: {ANY}) -> None: ...", "Answers.of"),
        (f"def router():\n    if True:\n        def get() -> {ANY}: ...", "router.get"),
        ("Json = Mapping[str, Any]", "Json"),
        ("Verify = Callable[..., Awaitable[MutableMapping[str, Any]]]", "Verify"),
        ("KNOWN: dict[int | str, dict[str, object]] = {}", "KNOWN"),
    ],
)
def test_a_planted_mapping_is_found(code: str, place: str) -> None:
    assert untyped(code) == {place}


@pytest.mark.parametrize(
    "code",
    [f"def load() -> None:\n    own: {ANY} = {{}}", "def load(claims: Mapping[str, object]) -> dict[str, int]: ..."],
)
def test_a_variable_and_what_must_be_judged_are_left_alone(code: str) -> None:
    assert untyped(code) == set()
