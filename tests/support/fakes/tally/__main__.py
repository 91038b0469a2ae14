"""Run the tally service, which has the name of the alerts service."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.events.topics import ALERTS_EVENTS_TOPIC, ALLOCATION_EVENTS_TOPIC
from shared.runtime.delivery.transaction import PermanentError, Transaction
from shared.runtime.process.settings import ServiceSettings
from shared.runtime.records import Outgoing, Record
from shared.runtime.service.command_line import ReadModel, Runtime, ServiceDefinition, run


class TallySettings(ServiceSettings):
    """Settings of the faults."""

    model_config = SettingsConfigDict(env_prefix="UNITPOOL_ALERTS_")

    handler_seconds: float = Field(0, description="How long a batch takes")
    die_after_commit_of: str = Field("", description="SIGKILL itself between the two commits of this record's batch")
    max_records: int = Field(20, description="Records in a batch")


class Tally:
    """The handler of records."""

    def __init__(self, settings: TallySettings) -> None:
        self._settings = settings

    async def __call__(self, tx: Transaction, records: Sequence[Record]) -> None:
        """Insert a row and publish an event per record, in one transaction."""
        for record in records:
            if record.value == b"poison":
                raise PermanentError("poisonous", "cannot be noted", record=record)
        await tx.connection.executemany(
            "INSERT INTO tally (id, applied_by) VALUES ($1, $2)",
            [((record.value or b"").decode(), os.getpid()) for record in records],
        )
        await asyncio.sleep(self._settings.handler_seconds)
        for record in records:
            tx.add(Outgoing(ALERTS_EVENTS_TOPIC.name, b"all", record.value))
        if self._settings.die_after_commit_of.encode() in {record.value for record in records}:
            tx.after_commit(lambda: os.kill(os.getpid(), signal.SIGKILL))


def build(runtime: Runtime[TallySettings]) -> None:
    """Add the consumer."""
    runtime.consume_batch(ALLOCATION_EVENTS_TOPIC, Tally(runtime.settings), max_records=runtime.settings.max_records)


TALLY = ServiceDefinition(
    "alerts",
    TallySettings,
    build,
    Path(__file__).with_name("migrations"),
    read_model=ReadModel(("tally",), (ALLOCATION_EVENTS_TOPIC,)),
)

if __name__ == "__main__":
    sys.exit(run(TALLY))
