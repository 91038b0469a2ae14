"""Correlation: a caller's id is in the logs of every service that took part."""

import asyncio
import json
from collections import Counter
from typing import Any

from tests.conftest import MakeDatabase, StartService
from tests.support.builders.published import PRIMARY
from tests.support.drivers.processes import ServiceProcess, service_env
from tests.support.drivers.reporting_processes import ReportingProcesses, sell_subscription

ID = "order-4711"
DEADLINE_SECONDS = 30


def lines(service: ServiceProcess) -> list[dict[str, Any]]:
    """Read the service's log lines with the id."""
    assert service.log is not None
    log_lines = [json.loads(line) for line in service.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in log_lines if line.get("correlation_id") == ID]


def events(service: ServiceProcess) -> Counter[str]:
    """Count the service's log lines by event."""
    return Counter(line["event"] for line in lines(service))


async def test_write_is_logged_with_its_correlation_id_by_all_services(  # fixtures
    processes: ReportingProcesses,
    database: MakeDatabase,
    kafka_server: Any,
    topic_prefix: str,
    service_process: StartService,
) -> None:
    subscription = await sell_subscription(processes)
    env = service_env(
        "alerts", dsn=await database("alerts"), kafka=kafka_server.bootstrap_servers, topic_prefix=topic_prefix
    )
    alerts = service_process("alerts", env)
    await alerts.wait_ready()
    path = f"/v1/subscriptions/{subscription}"
    body, headers = {"product": "scan", "units": 1000}, {"X-Correlation-Id": ID}
    answer = await processes.ask("POST", f"{path}/allocations", PRIMARY, json=body, headers=headers)
    assert (answer.status_code, answer.headers["x-correlation-id"]) == (200, ID)
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not events(alerts)["alert_raised"]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)

    assert events(processes.service) == {"request": 1, "command_sent": 1}
    request = next(line for line in lines(processes.service) if line["event"] == "request")
    assert (request["method"], request["route"], request["status"]) == (
        "POST",
        "/v1/subscriptions/{subscription}/allocations",
        200,
    )
    decided = [line for line in lines(processes.allocation) if line["event"] == "command_decided"]
    assert [(line["command"], line["outcome"]) for line in decided] == [("allocation.apply-plan", "accepted")]
    published = Counter(event.split()[0] for line in decided for event in line["published"])
    assert published["unitpool.allocation.plan.applied.v1"] == 1
    assert {line["subscription"] for line in lines(alerts) if line["event"] == "alert_raised"} == {subscription}
