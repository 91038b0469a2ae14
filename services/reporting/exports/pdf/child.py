"""The process that makes one PDF, with limits of memory and time.

It reads JSON from standard input, and writes the PDF to standard output. A failure is a line on standard error, and
exit code 1. It is run as a file, and imports nothing else of ours, so that it starts quickly.
"""

import json
import resource
import sys

MEMORY_BYTES = 1024 * 1024 * 1024
PROCESSOR_SECONDS = 60


def main() -> int:
    """Make the PDF; return the exit code."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import typst  # noqa: PLC0415  # within the limits

    asked = json.load(sys.stdin)
    fonts = typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=[asked["fonts"]])
    try:
        made = typst.compile(
            asked["template"],
            root=asked["root"],
            font_paths=fonts,
            ignore_system_fonts=True,
            format="pdf",
            pdf_standards="ua-1",
            sys_inputs={"data": asked["data"]},
            timestamp=asked["timestamp"],
        )
    except typst.TypstError as error:
        print(error, file=sys.stderr)
        return 1
    sys.stdout.buffer.write(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
