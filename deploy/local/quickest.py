"""Names the quickest build of this Python on the PATH, where that is clearly quicker than this one.

Builds of one version differ: without profile-guided optimisation (pyenv's default) our services take 1.4 times the
processor time of what Debian, Docker's images and uv ship (docs/decisions/0033). Run before our packages are
installed: nothing but the standard library.
"""

import os
import subprocess
import sys
from pathlib import Path

CLEARLY = 0.8
"""Of this one's time; what differs less is noise, or not worth a surprise."""

# Names, numbers, texts and calls, as in the work of a service; in processor time, so that others do not count.
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
    """Prints the path of the quickest, or nothing; only on Linux: macOS has a python3 that asks to be installed."""
    if sys.platform == "linux" and (found := quickest(sys.executable, os.environ.get("PATH", "").split(os.pathsep))):
        print(found)


def quickest(this: str, folders: list[str]) -> str | None:
    """The clearly quicker build in ``folders``, if there is one."""
    ours = _probe(this)
    if ours is None:
        return None
    version, limit, _ = ours
    names = "python3", f"python{version[1]}.{version[2]}"
    there: dict[Path, Path] = {}
    for path in (Path(folder, name) for folder in folders for name in names):
        if path.is_file():
            there.setdefault(path.resolve(), path)
    others = [probed for path in there.values() if (probed := _probe(str(path)))]
    _, seconds, best = min((one for one in others if one[0] == version), key=lambda one: one[1], default=ours)
    return best if seconds < CLEARLY * limit else None


def _probe(path: str) -> tuple[tuple[str, str, str], float, str] | None:
    """Implementation and version, seconds, and where it really is; ``None`` if it does not work."""
    try:
        said = subprocess.run([path, "-I", "-c", _PROBE], capture_output=True, text=True, timeout=20, check=True).stdout
        implementation, major, minor, seconds, executable = said.strip().split(" ", 4)
        return (implementation, major, minor), float(seconds), executable
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


if __name__ == "__main__":
    main()
