"""The command line of a service.

Its ``main.py`` defines the service and passes the definition to ``run``.

python -m services.<name> [serve | migrate | settings | rebuild | replay | one of the service's own commands]
"""

import argparse
import inspect
import os
import sys
from collections.abc import Sequence

import asyncpg
import uvloop

from shared.events.topics import USAGE, product_of
from shared.runtime.delivery.positions import Positions
from shared.runtime.postgres import migrations
from shared.runtime.postgres.grants import Access
from shared.runtime.postgres.migrations import MigrationError
from shared.runtime.postgres.pool import connect, open_pool
from shared.runtime.process import logging
from shared.runtime.process.settings import S, SettingsError, describe, load, misspelt, renamed
from shared.runtime.service import rebuild, redrive
from shared.runtime.service.definition import ReadModel, Runtime, ServiceCommand, ServiceDefinition
from shared.runtime.service.server import serve

__all__ = ["ReadModel", "Runtime", "ServiceCommand", "ServiceDefinition", "SettingsError", "run"]

_COMMANDS = {
    "serve": "run the service (the default)",
    "migrate": "bring the service's database up to date, and exit",
    "settings": "show every setting with its meaning, default and current value",
    "rebuild": "empty the read model and fill it again from its topics",
    "replay": "apply the dead letters again",
    "positions": "show where each topic is read, begin one again, or step over what cannot be read",
}


def run(definition: ServiceDefinition[S], argv: Sequence[str] | None = None) -> int:
    """Run the command in ``argv`` (``None``: the process's); return the exit code.

    0: it succeeded; 1: it failed; 2: settings or arguments are wrong.
    """
    parsed = _parser(definition).parse_args(argv)
    command = parsed.command or "serve"
    try:
        if command == "settings":
            return _show_settings(definition)
        if (code := _run_offline(definition, command, parsed)) is not None:
            return code
        settings = load(definition.settings_type)
        logging.configure(definition.name, settings.log_level)
        for sentence in misspelt(definition.settings_type, definition.name, os.environ):
            logging.get(definition.name).warning("setting_not_known", detail=sentence)
        for sentence in renamed(definition.settings_type, os.environ):
            logging.get(definition.name).warning("setting_renamed", detail=sentence)
        return uvloop.run(_perform(command, definition, settings, parsed))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except (MigrationError, asyncpg.PostgresError, OSError) as error:
        print(f"{command} failed: {error}", file=sys.stderr)
        return 1


def _run_offline(definition: ServiceDefinition[S], command: str, parsed: argparse.Namespace) -> int | None:
    """Run a command that needs no settings; ``None``: it needs them."""
    own = next((own for own in definition.commands if own.name == command), None)
    return None if own is None else own.offline(parsed)


def _parser(definition: ServiceDefinition[S]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m services.{definition.name}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    for name, meaning in _COMMANDS.items():
        command = commands.add_parser(name, help=meaning, description=meaning)
        if name == "positions":
            _position_arguments(command)
    for own in definition.commands:
        own.arguments(commands.add_parser(own.name, help=own.meaning))
    return parser


def _position_arguments(parser: argparse.ArgumentParser) -> None:
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--restart",
        metavar="TOPIC",
        help="read this topic from its beginning; what was applied before is recognised and not applied again",
    )
    choice.add_argument(
        "--skip",
        nargs=3,
        metavar=("TOPIC", "PARTITION", "OFFSET"),
        help="go on at OFFSET; what lies before it and was not read is lost, and counted",
    )


async def _perform(command: str, definition: ServiceDefinition[S], settings: S, parsed: argparse.Namespace) -> int:
    match command:
        case "serve":
            return await _serve(definition, settings)
        case "migrate":
            return await _migrate(definition, settings)
        case "rebuild":
            return await _rebuild(definition, settings)
        case "replay":
            return await _replay(definition, settings)
        case "positions":
            return await _positions(definition, settings, parsed)
    own = next(own for own in definition.commands if own.name == command)
    return await own.run(settings, parsed)


async def _built(definition: ServiceDefinition[S], settings: S) -> Runtime[S]:
    runtime = Runtime(definition, settings)
    built = definition.build(runtime)
    if inspect.isawaitable(built):
        await built
    return runtime


async def _serve(definition: ServiceDefinition[S], settings: S) -> int:
    return await serve(await _built(definition, settings))


async def _migrate(definition: ServiceDefinition[S], settings: S) -> int:
    service = await _role(settings, definition.name)
    connection = await connect(settings, f"{definition.name}-migrate", as_owner=True)
    try:
        is_apart = await connection.fetchval("SELECT current_user") != service
        applied = await migrations.migrate(
            connection,
            migrations.load_migrations(definition.name, definition.migrations),
            Access(service, definition.read_only) if is_apart else None,
        )
    finally:
        await connection.close()
    for name in applied:
        print(f"applied {name}")
    print(f"{definition.name}: {len(applied)} migrations applied, the database is up to date")
    if definition.read_only and not is_apart:
        tables = ", ".join(definition.read_only)
        print(f"{definition.name}: its role owns its tables, so nothing keeps it from changing {tables}")
    return 0


async def _role(settings: S, name: str) -> str:
    """The role that the service runs under, as the database knows it."""
    connection = await connect(settings, f"{name}-migrate")
    try:
        return str(await connection.fetchval("SELECT current_user"))
    finally:
        await connection.close()


async def _rebuild(definition: ServiceDefinition[S], settings: S) -> int:
    async for done, total in rebuild.rebuild(await _built(definition, settings)):
        print(f"{definition.name}: {done} of {total} records applied", flush=True)
    return 0


async def _replay(definition: ServiceDefinition[S], settings: S) -> int:
    count = 0
    latest = ""
    runtime = await _built(definition, settings)
    await open_pool(runtime.pool, runtime.settings)
    await runtime.database_clock.measure()
    try:
        await _require_fit(runtime)
        async for topic, done, total in redrive.redrive(runtime):
            if total:
                print(f"{topic}: {done} of {total} redriven", flush=True)
            if done == total and topic != latest:
                latest, count = topic, count + done
        if definition.replay:
            count += await definition.replay(runtime)
    finally:
        await runtime.pool.close()
    print(f"{definition.name}: {count} redriven or replayed, for the running service to apply")
    return 0


async def _positions(definition: ServiceDefinition[S], settings: S, parsed: argparse.Namespace) -> int:
    """Show, restart or skip stored offsets.

    A running service follows within half a minute.
    """
    runtime = await _built(definition, settings)
    await open_pool(runtime.pool, runtime.settings)
    try:
        await _require_fit(runtime)
        if parsed.restart:
            await _positions_of(runtime, parsed.restart).restart()
            print(f"{definition.name}: reads {parsed.restart} from its beginning")
        elif parsed.skip:
            topic, partition, offset = parsed.skip[0], int(parsed.skip[1]), int(parsed.skip[2])
            lost = await _positions_of(runtime, topic).skip(partition, offset)
            print(f"{definition.name}: {topic}/{partition} goes on at {offset}; {lost} records are lost, at most")
        else:
            for consumer in runtime.consumers:
                print(await consumer.positions.show())
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        await runtime.pool.close()
    return 0


async def _require_fit(runtime: Runtime[S]) -> None:
    async with runtime.pool.acquire() as connection:
        await migrations.require_fit(connection, runtime.migrations)


def _positions_of(runtime: Runtime[S], topic: str) -> Positions:
    """The positions of a topic that the service reads.

    A product's own topic has the reader of ``usage.events``.

    Raises:
        ValueError: the service does not read the topic.
    """
    for consumer in runtime.consumers:
        if consumer.topic.name == topic:
            return consumer.positions
    for consumer in runtime.consumers:
        if product_of(topic) and consumer.topic == USAGE:
            return consumer.positions.of(topic)
    raise ValueError(f"{runtime.name} does not read {topic}; it reads {[one.topic.name for one in runtime.consumers]}")


def _show_settings(definition: ServiceDefinition[S]) -> int:
    try:
        current = dict(load(definition.settings_type))
        fault: SettingsError | None = None
    except SettingsError as error:
        current, fault = {}, error
    for setting in describe(definition.settings_type, current):
        print(f"{setting.variable}\n    {setting.meaning}\n    default {setting.default}, now {setting.current}")
    for sentence in (
        *misspelt(definition.settings_type, definition.name, os.environ),
        *renamed(definition.settings_type, os.environ),
    ):
        print(f"\n{sentence}", file=sys.stderr)
    if fault:
        print(f"\n{fault}", file=sys.stderr)
        return 2
    return 0
