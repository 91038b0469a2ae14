"""Print the quickest build of this Python on the PATH, if it is clearly quicker.

Builds of one version differ: without profile-guided optimisation (pyenv's default) our services take 1.4 times the
processor time of what Debian, Docker's images and uv ship (docs/decisions/0033). This runs before the packages are
installed, so it imports the standard library only.
"""

import os
import subprocess
import sys
from pathlib import Path

TIME_RATIO_MAX = 0.8
"""Greatest ratio of times at which a build is clearly quicker.

A build must take less than this part of the running one's time; a smaller difference may be noise.
"""

# Names, numbers, texts and calls, as in a service. It measures processor time, so that other processes do not count.
_PROBE = """
import platform, ssl, sys, time, venv

def work():
    seen = {}
    for number in range(30_000):
        key = number % 1000, "meter"
        seen[key] = seen.get(key, 0) + len(f"{number}:{key[1]}".encode())

def timed():
    started = time.process_time()
    work()
    return time.process_time() - started

print(platform.python_implementation(), *sys.version_info[:2], min(timed() for _ in range(7)), sys.executable)
"""


def main() -> None:
    """Print the path of the quickest build, or nothing.

    Only on Linux: on macOS, running ``python3`` may open a dialogue that asks to install it.
    """
    if sys.platform == "linux" and (
        found := find_quickest(sys.executable, os.environ.get("PATH", "").split(os.pathsep))
    ):
        print(found)


def find_quickest(this: str, folders: list[str]) -> str | None:
    """Return the path of the quickest build in ``folders``.

    Returns ``None`` unless it is clearly quicker than ``this``.
    """
    ours = _probe(this)
    if ours is None:
        return None
    version, own_seconds, own_executable = ours
    own_build = Path(own_executable).resolve()
    names = "python3", f"python{version[1]}.{version[2]}"
    found: dict[Path, Path] = {}
    for path in (Path(folder, name) for folder in folders for name in names):
        if path.is_file():
            found.setdefault(path.resolve(), path)
    # Not the same build again, under another name or behind a shim: on a busy machine its second time may be quicker.
    others = [
        probed
        for path in found.values()
        if (probed := _probe(str(path))) and probed[0] == version and Path(probed[2]).resolve() != own_build
    ]
    _, seconds, best = min(others, key=lambda one: one[1], default=ours)
    return best if seconds < TIME_RATIO_MAX * own_seconds else None


def _probe(path: str) -> tuple[tuple[str, str, str], float, str] | None:
    """Return version, seconds of the probe, and path of a Python.

    Returns ``None`` if it does not work.
    """
    try:
        done = subprocess.run([path, "-I", "-c", _PROBE], capture_output=True, text=True, timeout=20, check=True)
        implementation, major, minor, seconds, executable = done.stdout.strip().split(" ", 4)
        return (implementation, major, minor), float(seconds), executable
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


if __name__ == "__main__":
    main()
