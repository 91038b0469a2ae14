"""PDF files from templates.

The same template, data and instant give the same bytes.
"""

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Final

from services.reporting.exports.pdf.font_coverage import FONTS, covered
from services.reporting.exports.pdf.texts import printable_json

TEMPLATES: Final = Path(__file__).with_name("templates")
SECONDS: Final = 90
"""Longest time for a PDF."""
_CHILD: Final = Path(__file__).with_name("child.py")
_KEPT_VARIABLES: Final = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")


class PdfError(Exception):
    """The PDF could not be made; the message is for the log."""


def render_pdf(template: str, data: str, at: datetime) -> bytes:
    """Make a PDF (PDF/UA-1) from a template, such as ``report``.

    It blocks: call it in a thread.

    ``data``: JSON text, which the template finds as ``json(bytes(sys.inputs.data))``; it is never markup. Texts in it
    that the font cannot show, or that are too long, are made ``printable`` first. ``at``: the date of the document.

    Raises:
        PdfError: the template or the data is wrong, or it took too long or too much memory.
    """
    covered()  # says that fonts are missing, where they are
    asked = {
        "template": str(TEMPLATES / f"{template}.typ"),
        "root": str(TEMPLATES),
        "fonts": str(FONTS),
        "data": json.dumps(printable_json(json.loads(data)), ensure_ascii=False),
        "timestamp": int(at.timestamp()),
    }
    try:
        done = subprocess.run(  # noqa: S603  # our own file
            (sys.executable, "-I", str(_CHILD)),
            input=json.dumps(asked).encode(),
            capture_output=True,
            env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PdfError(f"it took longer than {SECONDS} s") from error
    if done.returncode != 0 or not done.stdout.startswith(b"%PDF-"):
        raise PdfError(f"exit code {done.returncode}: {done.stderr.decode(errors='replace')[-2000:].strip()}")
    return done.stdout
