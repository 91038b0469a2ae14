"""Write the contracts' files, or report those that are outdated.

Usage: ``python -m shared.events.schemas [--check]``. With ``--check`` they are only reported.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args

from shared.events.envelope import Payload
from shared.events.schemas import SCHEMAS, every_payload, example_file, json_text, schema_file, schema_of
from shared.events.schemas.asyncapi import DOCUMENTS, document_of
from shared.events.schemas.compatibility import breaks
from shared.events.schemas.examples import example_of
from shared.events.topics import ServiceName


def breaking_changes(payloads: tuple[type[Payload], ...], folder: Path = SCHEMAS) -> Iterator[str]:
    """Yield a sentence for each change that breaks a committed schema.

    A removed type is such a change.
    """
    for payload in payloads:
        file = schema_file(payload, folder)
        if file.exists():
            for fault in breaks(json.loads(file.read_text(encoding="utf-8")), schema_of(payload)):
                yield f"{payload.event_type}: {fault}"
    known = {payload.event_type for payload in payloads}
    for file in sorted(folder.glob("unitpool.*.json")):
        if file.stem not in known:
            yield f"{file.stem}: no topic carries it any more"


def contents(payloads: tuple[type[Payload], ...]) -> Mapping[Path, str]:
    """Return every file with its content.

    A golden example is never changed once it is written.
    """
    files: dict[Path, str] = {}
    for payload in payloads:
        files[schema_file(payload)] = json_text(schema_of(payload))
        golden = example_file(payload)
        files[golden] = golden.read_text(encoding="utf-8") if golden.exists() else json_text(example_of(payload))
    for service in get_args(ServiceName):
        files[DOCUMENTS / f"{service}.json"] = json_text(document_of(service))
    return files


def outdated(files: Mapping[Path, str]) -> list[Path]:
    """The files that are missing or outdated."""
    return [file for file, text in files.items() if not file.exists() or file.read_text(encoding="utf-8") != text]


def main() -> int:
    """Write or check the files, and return the exit code.

    It is 1 if a contract is broken, or with ``--check`` if a file is outdated.
    """
    parser = argparse.ArgumentParser(prog="python -m shared.events.schemas", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is outdated")
    only_check = parser.parse_args().check
    payloads = every_payload()
    if faults := list(breaking_changes(payloads)):
        print("\n".join(faults), file=sys.stderr)
        print(
            "Within a major version only optional fields may be added; create a type with the next one.",
            file=sys.stderr,
        )
        return 1
    files = contents(payloads)
    stale = outdated(files)
    for file in stale:
        print(f"{'outdated' if only_check else 'written'}: {file.relative_to(SCHEMAS.parents[2])}")
        if not only_check:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(files[file], encoding="utf-8")
    if only_check and stale:
        print("Run: python -m shared.events.schemas", file=sys.stderr)
    return 1 if only_check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
