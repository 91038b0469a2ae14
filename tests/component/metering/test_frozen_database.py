"""A frozen PostgreSQL: requests get 503 in three seconds, and 200 afterwards."""

import asyncio
import time

import httpx

from tests.conftest import StartService
from tests.support.builders.metering import event
from tests.support.drivers.metering import KEY, Metering, usage_request
from tests.support.servers.frozen import freezer

BOUND_SECONDS = 3.0
PARAMS = {"subscription": "sub-1", "product": "scan"}
AUTH = {"authorization": f"Bearer {KEY}"}


async def test_requests_are_answered_503_in_time_when_the_database_is_frozen(
    metering: Metering, service_process: StartService
) -> None:
    metering.process.kill()
    async with freezer(metering.dsn) as between:
        process = service_process("metering", metering.env | {"UNITPOOL_METERING_DATABASE_URL": between.dsn})
        await process.wait_ready()
        async with httpx.AsyncClient(base_url=process.url, timeout=30) as http:

            async def request(path: str) -> tuple[int, float]:
                began = time.monotonic()
                if path == "/v1/usage":
                    answer = await http.post(path, **usage_request(event("e", resource="a")))
                else:
                    answer = await http.get(path, params=PARAMS, headers=AUTH)
                return answer.status_code, time.monotonic() - began

            assert (await request("/v1/entitlements"))[0] == 200
            between.freeze()
            paths = ["/v1/entitlements"] * 5 + ["/v1/usage"] * 2
            for _ in range(3):  # with an open connection, with a closed one, and with none
                answers = await asyncio.gather(*(request(path) for path in paths))
                answers.append(await request("/v1/entitlements"))
                assert {status for status, _ in answers} == {503}
                assert max(seconds for _, seconds in answers) < BOUND_SECONDS + 0.5  # 0.5 s more for a loaded machine
            async with httpx.AsyncClient(base_url=process.url, timeout=30) as other:
                began = time.monotonic()
                unread = await other.get("/v1/quarantine", headers=AUTH)
                assert unread.status_code == 503
                assert time.monotonic() - began < BOUND_SECONDS + 0.5
            between.thaw()
            async with asyncio.timeout(30):
                while (await request("/v1/entitlements"))[0] != 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
