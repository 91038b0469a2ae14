"""Health: is it alive, is it ready, and if not, which part keeps it from being so."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

CHECK_SECONDS = 3


@dataclass(frozen=True, slots=True)
class Check:
    """One part's state, with a sentence or a figure for a person."""

    ok: bool
    detail: str = ""


Probe = Callable[[], Awaitable[Check]]


class Health:
    """The checks by name. Services may add their own."""

    def __init__(self) -> None:
        self._probes: dict[str, Probe] = {}

    def add(self, name: str, probe: Probe) -> None:
        """Ask ``probe`` whenever readiness is asked for."""
        self._probes[name] = probe

    async def report(self) -> dict[str, Check]:
        """All checks, made side by side, each within a few seconds."""
        names = list(self._probes)
        return dict(zip(names, await asyncio.gather(*(self._ask(name) for name in names)), strict=True))

    async def _ask(self, name: str) -> Check:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                return await self._probes[name]()
        except TimeoutError:
            return Check(ok=False, detail=f"no answer within {CHECK_SECONDS} s")
        except Exception as error:
            return Check(ok=False, detail=repr(error))


def add_routes(
    api: FastAPI, health: Health, *, service: str, version: str, refresh: Callable[[], Awaitable[None]]
) -> None:
    """``/healthz``, ``/readyz``, ``/metrics``, ``/version``. ``refresh`` brings gauges up to date before a scrape."""

    @api.get("/healthz", include_in_schema=False)
    async def healthz() -> dict[str, str]:
        return {"status": "alive", "service": service}

    @api.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        report = await health.report()
        ready = all(check.ok for check in report.values())
        body: dict[str, Any] = {
            "status": "ready" if ready else "not ready",
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
