"""``python -m deploy.local demo | servers | stop | reset | token WHO | ingest-key PRODUCT``."""

import argparse
import asyncio
import sys

from deploy.local import commands
from deploy.local.errors import LocalStackError
from deploy.local.launcher import launch
from deploy.local.layout import layout


def main(arguments: list[str]) -> int:
    """Run one command; 1 and one clear message when it cannot."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    names = parser.add_subparsers(dest="command", required=True)
    names.add_parser("demo", help="the whole stack with its data and live usage, until Ctrl-C")
    names.add_parser("servers", help="the whole stack without demo data, until Ctrl-C")
    names.add_parser("stop", help="stop a demo started elsewhere")
    names.add_parser("reset", help="stop, and forget the demo's data")
    names.add_parser("token", help="a bearer token of a demo person").add_argument("who")
    names.add_parser("ingest-key", help="a new ingest key of a product").add_argument("product")
    asked = parser.parse_args(arguments)
    try:
        _run(asked)
    except LocalStackError as error:
        print(error, file=sys.stderr)
        return 1
    except ExceptionGroup as group:
        reasons = [str(one) for one in group.exceptions if isinstance(one, LocalStackError)]
        if not reasons:
            raise
        print("\n".join(reasons), file=sys.stderr)
        return 1
    return 0


def _run(asked: argparse.Namespace) -> None:
    here = layout()
    if asked.command in {"demo", "servers"}:
        asyncio.run(launch(here, with_data=asked.command == "demo"))
    elif asked.command == "stop":
        commands.stop(here)
    elif asked.command == "reset":
        commands.reset(here)
    elif asked.command == "token":
        print(commands.token(here, asked.who))
    else:
        print(commands.new_ingest_key(here, asked.product))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
