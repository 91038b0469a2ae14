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
"""Longest wait of readiness and metrics for one check, so that they answer within 3 s."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check, with a sentence or a figure for a person.

    ``shared``: a failure concerns every replica alike, so that this one need not lose its traffic.
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
        """Run all checks concurrently, each for at most ``CHECK_SECONDS`` and never twice at a time."""
        asked = {name: self._ask(name, probe) for name, probe in self._probes.items()}
        await asyncio.wait(asked.values(), timeout=CHECK_SECONDS)
        return {name: _answer(one) for name, one in asked.items()}

    def _ask(self, name: str, probe: Probe) -> "asyncio.Future[Check]":
        """Start a check, or reuse the one that still runs: cancelling a hanging one may take as long as waiting."""
        asked = self._running.get(name)
        if asked is None or asked.done():
            asked = self._running[name] = asyncio.ensure_future(probe())
            asked.add_done_callback(_retrieve)
        return asked


def _retrieve(asked: "asyncio.Future[Check]") -> None:
    """Retrieve the error of a check that failed after its timeout, so that asyncio does not log it."""
    if not asked.cancelled():
        asked.exception()


def _answer(asked: "asyncio.Future[Check]") -> Check:
    if not asked.done():
        return Check(ok=False, detail=f"no answer within {CHECK_SECONDS:g} s")
    if asked.cancelled():
        return Check(ok=False, detail="cancelled")
    error = asked.exception()
    return Check(ok=False, detail=repr(error)) if error else asked.result()


def add_routes(
    api: FastAPI, health: Health, *, service: str, version: str, refresh: Callable[[], Awaitable[None]]
) -> None:
    """Add ``/healthz``, ``/readyz``, ``/metrics`` and ``/version``. ``refresh`` updates gauges before a scrape."""

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
