"""``verify-audit``, as a command of the service."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from services.reporting.verification.chains import verify
from services.reporting.verification.files import verify_file
from shared.runtime.service.command_line import ServiceCommand


def _arguments(parser: ArgumentParser) -> None:
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--account", help="only the chain of this account")
    choice.add_argument(
        "--file",
        type=Path,
        help="an exported file of the audit log (csv, ndjson, json, parquet, xlsx); without a database",
    )


def _offline(parsed: Namespace) -> int | None:
    return None if parsed.file is None else verify_file(parsed.file)


COMMAND = ServiceCommand(
    "verify-audit",
    "verify the chains of the audit log, or a file of it, and print the first broken record",
    verify,
    _arguments,
    _offline,
)
