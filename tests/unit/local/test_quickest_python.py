"""The choice of the Python build for the environment."""

import sys
from pathlib import Path

import pytest

from deploy.local.quickest_python import find_quickest

NAME = f"python{sys.version_info[0]}.{sys.version_info[1]}"
SAME = f"CPython {sys.version_info[0]} {sys.version_info[1]}"


def python(folder: Path, says: str, name: str = NAME) -> str:
    """A script that answers the probe like a Python."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{says}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def this(tmp_path: Path) -> str:
    return python(tmp_path / "this", f"echo {SAME} 0.020 /this/python3")


def test_the_quickest_build_is_chosen_when_it_is_clearly_quicker(this: str, tmp_path: Path) -> None:
    python(tmp_path / "slow", f"echo {SAME} 0.030 /slow/python3")
    python(tmp_path / "quick", f"echo {SAME} 0.015 /quick/python3", "python3")
    python(tmp_path / "quickest", f"echo {SAME} 0.012 '/quickest of all/python3'")
    folders = [str(tmp_path / name) for name in ("this", "slow", "quick", "quickest", "none")]
    assert find_quickest(this, folders) == "/quickest of all/python3"
    assert find_quickest(this, folders[:3]) == "/quick/python3"
    assert find_quickest(this, folders[:2]) is None


@pytest.mark.parametrize(
    "says",
    [
        f"echo {SAME} 0.017 /other/python3",
        "echo CPython 3 10 0.001 /other/python3",
        "echo PyPy 3 11 0.001 /other/python3",
        "echo no such version installed; exit 127",
        "echo nonsense",
        "exit 0",
    ],
    ids=["hardly", "version", "implementation", "fails", "nonsense", "silent"],
)
def test_no_build_is_chosen_when_the_others_are_not_comparable_or_hardly_quicker(
    this: str, tmp_path: Path, says: str
) -> None:
    python(tmp_path / "other", says)
    (tmp_path / "folder" / NAME).mkdir(parents=True)
    assert find_quickest(this, [str(tmp_path / "other"), str(tmp_path / "folder")]) is None


def test_this_python_is_kept_when_its_second_time_is_much_quicker(tmp_path: Path) -> None:
    build = python(tmp_path / "build", "exit 1")
    (tmp_path / "link").symlink_to(build)
    this = python(tmp_path / "busy", f"echo {SAME} 0.020 {build}")
    python(tmp_path / "shim", f"echo {SAME} 0.001 {tmp_path / 'link'}")
    assert find_quickest(this, [str(tmp_path / "shim")]) is None, "the shim starts this build"


def test_this_python_is_kept_when_it_is_the_only_one(tmp_path: Path) -> None:
    assert find_quickest(sys.executable, [str(Path(sys.executable).parent)]) is None, "there is only this one"
    assert find_quickest(str(tmp_path / "gone"), []) is None
    python(tmp_path / "other", f"echo {SAME} 0.0001 /other/python3")
    assert find_quickest(sys.executable, [str(tmp_path / "other")]) == "/other/python3"
