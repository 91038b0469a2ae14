"""Commands of the local stack.

``python -m deploy.local demo | servers | stop | reset | token WHO | ingest-key PRODUCT``.
"""

import argparse
import asyncio
import sys

from deploy.local import commands
from deploy.local.errors import LocalStackError
from deploy.local.launcher import launch
from deploy.local.layout import layout


def main(arguments: list[str]) -> int:
    """Run one command; print the reason and return 1 when it fails."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    names = parser.add_subparsers(dest="command", required=True)
    names.add_parser("demo", help="the whole stack with its data and live usage, until Ctrl-C")
    names.add_parser("servers", help="the whole stack without demo data, until Ctrl-C")
    names.add_parser("stop", help="stop a demo started elsewhere")
    names.add_parser("reset", help="stop the demo and delete its data")
    names.add_parser("token", help="a bearer token of a demo person").add_argument("who")
    names.add_parser("ingest-key", help="a new ingest key of a product").add_argument("product")
    options = parser.parse_args(arguments)
    try:
        _run(options)
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


def _run(options: argparse.Namespace) -> None:
    here = layout()
    if options.command in {"demo", "servers"}:
        asyncio.run(launch(here, with_data=options.command == "demo"))
    elif options.command == "stop":
        commands.stop(here)
    elif options.command == "reset":
        commands.reset(here)
    elif options.command == "token":
        print(commands.token(here, options.who))
    else:
        print(commands.new_ingest_key(here, options.product))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
