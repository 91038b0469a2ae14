"""The door to the runtime for a service's ``main.py``: define it, then ``run`` it.

python -m services.<name> [serve | migrate | settings | rebuild | replay | one of the service's own commands]
"""

import argparse
import inspect
import sys
from collections.abc import Sequence

import asyncpg
import uvloop

from shared.runtime import logging, migrations, postgres
from shared.runtime import rebuild as read_model
from shared.runtime import replay as dead_letters
from shared.runtime.access import Access
from shared.runtime.migrations import MigrationError
from shared.runtime.server import serve
from shared.runtime.service import ReadModel, Runtime, ServiceCommand, ServiceDefinition
from shared.runtime.settings import S, SettingsError, describe, load

__all__ = ["ReadModel", "Runtime", "ServiceCommand", "ServiceDefinition", "SettingsError", "run"]

_COMMANDS = {
    "serve": "run the service (the default)",
    "migrate": "bring the service's database up to date, and exit",
    "settings": "show every setting with its meaning, default and current value",
    "rebuild": "empty the read model and fill it again from its topics",
    "replay": "put dead letters back on their topics",
}


def run(definition: ServiceDefinition[S], argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 well, 1 failed, 2 wrong settings."""
    parsed = _parser(definition).parse_args(argv)
    command = parsed.command or "serve"
    try:
        if command == "settings":
            return _show_settings(definition)
        settings = load(definition.settings_type)
        logging.configure(definition.name, settings.log_level)
        return uvloop.run(_perform(command, definition, settings, parsed))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except (MigrationError, asyncpg.PostgresError, OSError) as error:
        print(f"{command} failed: {error}", file=sys.stderr)
        return 1


def _parser(definition: ServiceDefinition[S]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m services.{definition.name}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    for name, meaning in _COMMANDS.items():
        commands.add_parser(name, help=meaning)
    for own in definition.commands:
        own.arguments(commands.add_parser(own.name, help=own.meaning))
    return parser


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
    connection = await postgres.connect(settings, f"{definition.name}-migrate", as_owner=True)
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
    connection = await postgres.connect(settings, f"{name}-migrate")
    try:
        return str(await connection.fetchval("SELECT current_user"))
    finally:
        await connection.close()


async def _rebuild(definition: ServiceDefinition[S], settings: S) -> int:
    async for done, total in read_model.rebuild(await _built(definition, settings)):
        print(f"{definition.name}: {done} of {total} records applied", flush=True)
    return 0


async def _replay(definition: ServiceDefinition[S], settings: S) -> int:
    count = 0
    latest = ""
    async for topic, done, total in dead_letters.replay(settings, definition.name):
        if total:
            print(f"{topic}: {done} of {total} put back", flush=True)
        if done == total and topic != latest:
            latest, count = topic, count + done
    if definition.replay:
        runtime = await _built(definition, settings)
        await postgres.open_pool(runtime.pool, runtime.settings)
        count += await definition.replay(runtime)
        await runtime.pool.close()
    print(f"{definition.name}: {count} put back")
    return 0


def _show_settings(definition: ServiceDefinition[S]) -> int:
    try:
        current = dict(load(definition.settings_type))
        fault: SettingsError | None = None
    except SettingsError as error:
        current, fault = {}, error
    for setting in describe(definition.settings_type, current):
        print(f"{setting.variable}\n    {setting.meaning}\n    default {setting.default}, now {setting.current}")
    if fault:
        print(f"\n{fault}", file=sys.stderr)
        return 2
    return 0
