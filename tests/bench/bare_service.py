"""A service that does nothing but answer a constant and forward records.

It is the ceiling of measurements over HTTP and of commands, on the same machine in the same run.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

ANSWER = {"accepted": 1, "duplicates": 0, "refused": []}


async def _send_on(kafka: str, source: str, target: str, ready: asyncio.Event) -> None:
    consumer = AIOKafkaConsumer(source, bootstrap_servers=kafka, auto_offset_reset="earliest")
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all", enable_idempotence=True)
    await consumer.start()
    await producer.start()
    ready.set()
    try:
        while True:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    await producer.send(target, record.value, record.key)
    finally:
        await producer.stop()
        await consumer.stop()


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    source, target = os.environ.get("UNITPOOL_BARE_SOURCE"), os.environ.get("UNITPOOL_BARE_TARGET")
    if not source or not target:
        yield
        return
    ready = asyncio.Event()
    sending = asyncio.create_task(_send_on(os.environ["UNITPOOL_BARE_KAFKA"], source, target, ready))
    await ready.wait()
    yield
    sending.cancel()


api = FastAPI(lifespan=_lifespan)


@api.get("/readyz")
@api.get("/v1/nothing")
async def answer() -> dict[str, object]:
    """Return a constant."""
    return dict(ANSWER)


@api.post("/v1/usage")
async def take(request: Request) -> JSONResponse:
    """Return a constant after the body was received."""
    await request.body()
    return JSONResponse(ANSWER, 202)


if __name__ == "__main__":
    uvicorn.run(api, port=int(os.environ["UNITPOOL_BARE_HTTP_PORT"]), log_level="warning", access_log=False)
