"""``worker``: the process that makes exports, beside the service."""

import asyncio
import os
import socket
from argparse import Namespace
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from uuid import uuid4

from services.reporting.domain.reports.catalogue import REPORTS
from services.reporting.exports.storage.opening import open_storage
from services.reporting.exports.storage.storage import MissingFileError, Storage, StorageError
from services.reporting.queries.report_sources.opening import open_source
from services.reporting.settings import ReportingSettings
from shared.runtime.process.health import Check
from shared.runtime.service.command_line import Runtime, ServiceCommand, ServiceDefinition, SettingsError
from shared.runtime.service.server import serve
from shared.runtime.service.worker import WorkerLifecycle

NICENESS = 10
"""By how much the worker's priority is lower than the service's.

The page must not wait for exports.
"""


def worker_command(
    definition: Callable[[], ServiceDefinition[ReportingSettings]],
) -> ServiceCommand[ReportingSettings]:
    """Build the command for a service, whose runtime it uses."""

    async def run(settings: ReportingSettings, _parsed: Namespace) -> int:
        if not settings.signing_keys:
            raise SettingsError("UNITPOOL_COMMAND_KEYS is not set: parameters of exports could not be opened")
        os.nice(NICENESS)
        runtime = Runtime(definition(), settings.model_copy(update={"http_port": settings.worker_http_port}))
        add_worker(runtime)
        return await serve(runtime, WorkerLifecycle(runtime))

    return ServiceCommand("worker", "make the exports that people request, until stopped", run)


def add_worker(runtime: Runtime[ReportingSettings]) -> None:
    """Register the tasks of a worker."""
    # The libraries of the formats take half a second and 60 MB, which the service's processes do not need.
    from services.reporting.exports.cleaning import Cleaning  # noqa: PLC0415
    from services.reporting.exports.formats.arrow_parts import use_little_memory  # noqa: PLC0415
    from services.reporting.exports.formats.catalogue import FORMATS  # noqa: PLC0415
    from services.reporting.exports.production import Limits, Production  # noqa: PLC0415
    from services.reporting.exports.worker import Worker  # noqa: PLC0415

    use_little_memory()
    settings, limits = runtime.settings, Limits()
    storage = open_storage(settings.export_storage, endpoint_url=settings.export_endpoint_url)
    production = Production(
        runtime.pool,
        storage,
        reports=REPORTS,
        formats=FORMATS,
        open_source=open_source,
        clock=runtime.clock,
        keys=settings.signing_keys,
        limits=limits,
    )
    name = f"{socket.gethostname()}:{os.getpid()}"
    for number in range(1, settings.worker_exports + 1):
        worker = Worker(
            runtime.pool,
            production,
            name=f"{name}:{number}",
            can_work=runtime.can_decide,
            clock=runtime.clock,
            new_lease=uuid4,
            limits=limits,
            poll_seconds=settings.worker_poll_seconds,
            retry=timedelta(seconds=settings.worker_retry_seconds),
        )
        runtime.background(f"exports {number}", worker.run)
    runtime.health.add("storage", partial(_check_storage, storage))
    cleaning = Cleaning(runtime.pool, storage, clock=runtime.clock, every_seconds=settings.worker_poll_seconds * 10)
    runtime.background("cleaning", cleaning.run)


async def _check_storage(storage: Storage) -> Check:
    """Check that files can be stored; all workers share the storage."""
    try:
        await asyncio.to_thread(storage.check)
    except (StorageError, MissingFileError) as error:
        return Check(ok=False, detail=str(error), shared=True)
    return Check(ok=True, detail="answers")
