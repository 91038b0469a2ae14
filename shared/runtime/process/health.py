"""Health: liveness, readiness with its checks, metrics and version of a process."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

CHECK_SECONDS = 2.5
"""Longest wait of readiness and metrics for one check.

So they answer within 3 s.
"""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check, with a sentence or a figure for a person.

    ``shared``: every replica has the same failure, so this one stays ready (``degraded``) and keeps its traffic.
    """

    ok: bool
    detail: str = ""
    shared: bool = False


Probe = Callable[[], Awaitable[Check]]


class Health:
    """The readiness checks by name. Services may add their own."""

    def __init__(self) -> None:
        self._probes: dict[str, Probe] = {}
        self._running: dict[str, asyncio.Future[Check]] = {}

    def add(self, name: str, probe: Probe) -> None:
        """Run ``probe`` at each readiness request."""
        self._probes[name] = probe

    async def report(self) -> dict[str, Check]:
        """Run all checks concurrently, each for at most ``CHECK_SECONDS``.

        No check runs twice at a time.
        """
        running = {name: self._start(name, probe) for name, probe in self._probes.items()}
        await asyncio.wait(running.values(), timeout=CHECK_SECONDS)
        return {name: _result(one) for name, one in running.items()}

    def _start(self, name: str, probe: Probe) -> "asyncio.Future[Check]":
        """Start a check, or reuse the one that still runs.

        Cancelling a hanging one may take as long as waiting.
        """
        running = self._running.get(name)
        if running is None or running.done():
            running = self._running[name] = asyncio.ensure_future(probe())
            running.add_done_callback(_retrieve)
        return running


def _retrieve(ended: "asyncio.Future[Check]") -> None:
    """Retrieve the error of a check that failed after its timeout.

    So asyncio does not log it.
    """
    if not ended.cancelled():
        ended.exception()


def _result(running: "asyncio.Future[Check]") -> Check:
    """The check's result; not ok if it has not ended, was cancelled or failed."""
    if not running.done():
        return Check(ok=False, detail=f"no answer within {CHECK_SECONDS:g} s")
    if running.cancelled():
        return Check(ok=False, detail="cancelled")
    error = running.exception()
    return Check(ok=False, detail=repr(error)) if error else running.result()


def add_routes(
    api: FastAPI, health: Health, *, service: str, version: str, refresh: Callable[[], Awaitable[None]]
) -> None:
    """Add ``/healthz``, ``/readyz``, ``/metrics`` and ``/version``.

    ``refresh`` updates gauges before a scrape.
    """

    @api.get("/healthz", include_in_schema=False)
    async def healthz() -> dict[str, str]:
        return {"status": "alive", "service": service}

    @api.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        report = await health.report()
        ready = all(check.ok or check.shared for check in report.values())
        well = all(check.ok for check in report.values())
        body: dict[str, Any] = {
            "status": ("ready" if well else "degraded") if ready else "not ready",
            "service": service,
            "checks": {name: {"ok": check.ok, "detail": check.detail} for name, check in report.items()},
        }
        return JSONResponse(body, 200 if ready else 503)

    @api.get("/metrics", include_in_schema=False)
    async def metrics(request: Request) -> Response:
        await refresh()
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(REGISTRY), headers={"Content-Type": content_type})

    @api.get("/version", include_in_schema=False)
    async def version_() -> dict[str, str]:
        return {"service": service, "version": version}
