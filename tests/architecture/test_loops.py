"""Loops that run until stopped are ``repeat``; few others pause, and they end."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FINITE_LOOPS = {
    "services/metering/handlers/single_process.py::repeat_in_one_process": "polls until it has the lock",
    "services/reporting/api/stream.py::_events": "a stream, as long as its changes",
    "services/reporting/pages/stream.py::_events": "a stream, as long as its session",
    "shared/runtime/delivery/positioning.py::Positioning._seek": "retries until there are offsets",
    "shared/runtime/delivery/relay.py::Relay._lock_and_send": "polls until it has the lock",
    "shared/runtime/delivery/topic_end.py::TopicEnd._load_ends": "polls until there is a consumer",
    "shared/runtime/delivery/topic_end.py::TopicEnd.wait_until_applied": "polls until all is applied",
    "shared/runtime/service/lifecycle.py::Lifecycle._until": "polls until nothing is missing",
    "shared/runtime/service/rebuild.py::rebuild": "polls until all is applied, and yields how far it is",
}
THE_LOOP = {
    "shared/runtime/process/background.py::BackgroundTask.run": "restarts a loop",
    "shared/runtime/process/background.py::repeat": "is the loop",
}


def loops(code: str) -> set[str]:
    """Functions with a loop that sleeps for more than a turn of the event loop."""
    return {name for name, node in _functions(ast.parse(code), "") if any(_pauses(loop) for loop in _own(node))}


def _functions(node: ast.AST, inside: str) -> Iterator[tuple[str, ast.AST]]:
    for child in ast.iter_child_nodes(node):
        name = f"{inside}{child.name}" if hasattr(child, "name") else inside
        if isinstance(child, ast.AsyncFunctionDef):
            yield name, child
        is_scope = isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        yield from _functions(child, f"{name}." if is_scope else inside)


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """The loops of a function, without those of functions within it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(child, ast.While | ast.For | ast.AsyncFor):
            yield child
        yield from _own(child)


def _pauses(loop: ast.AST) -> bool:
    return any(
        isinstance(node, ast.Call) and ast.unparse(node.func) == "asyncio.sleep" and ast.unparse(node.args[0]) != "0"
        for node in ast.walk(loop)
    )


def test_loops_that_go_on_until_stopped_are_the_one_of_the_runtime() -> None:
    found = {
        f"{file.relative_to(ROOT)}::{name}"
        for folder in ("services", "shared/runtime")
        for file in (ROOT / folder).rglob("*.py")
        for name in loops(file.read_text(encoding="utf-8"))
    }
    assert found == {*FINITE_LOOPS, *THE_LOOP}


@pytest.mark.parametrize("loop", ["while True:", "while work_is_left():", "for one in many:", "async for one in many:"])
def test_a_planted_loop_is_found(loop: str) -> None:
    code = f"class Task:\n async def run(self):\n  if True:\n   {loop}\n    work()\n    await asyncio.sleep(1)"
    assert loops(code) == {"Task.run"}
    assert loops(code.replace("sleep(1)", "sleep(0)")) == set()
