"""The lifecycle of a worker: a process of a service that has tasks, and no topics.

It needs the database only, so it works while Kafka is away; what its transactions publish is sent by the service.
"""

import asyncio

from shared.runtime.process.background import BackgroundTask
from shared.runtime.process.settings import S
from shared.runtime.service.lifecycle import Lifecycle, freeze_garbage_collector


class WorkerLifecycle(Lifecycle[S]):
    """Starts and stops a worker.

    Its tasks are told of a rebuild of the read model by ``Runtime.can_decide``.
    """

    async def start(self, *, with_tasks: bool = True) -> None:
        """Wait for the database and its migrations, then start the tasks."""
        runtime = self.runtime
        await self._until(self._database_answers)
        await self._until(self._migrations_fit)
        self._has_database = True
        await runtime.read_model_state.refresh()
        for starter in runtime.starters:
            await starter()
        watching = ("rebuilds", runtime.read_model_state.run), ("clock", runtime.database_clock.run)
        for task in runtime.tasks if with_tasks else ():
            runtime.health.add(f"task:{task.name}", task.check)
        freeze_garbage_collector()
        work = [*(BackgroundTask(name, watch) for name, watch in watching), *(runtime.tasks if with_tasks else ())]
        self._tasks += [asyncio.create_task(task.run(), name=task.name) for task in work]
        self.started = True
        self._phase = "running"
        runtime.log.info("worker_started", tasks=[task.name for task in runtime.tasks])

    async def stop(self) -> None:
        """Cancel the tasks, which end what they do in order, and close everything."""
        self._phase = "stopping"
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for closer in self.runtime.closers:
            await self._run_logged(closer.__qualname__, closer)
        await self._run_logged("pool", self.runtime.pool.close)

    async def measure(self) -> None:
        """Do nothing: the service measures its topics and outbox."""

    def _add_checks(self) -> None:
        health = self.runtime.health
        health.add("startup", self._startup)
        health.add("database", self._database)
        health.add("migrations", self._migrations)
        health.add("clock", self.runtime.database_clock.check)
