"""Counted resources, requested from metering one page at a time.

A window may have up to a million.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import httpx

from services.reporting.domain.caller import Caller
from services.reporting.queries.access import find_visible
from shared.events.refusals import Refusal
from shared.runtime.delivery.transaction import TransientError
from shared.runtime.http.middleware import ProblemError
from shared.runtime.http.service_auth import sign_request
from shared.runtime.postgres.pool import Pool
from shared.runtime.process import logging
from shared.runtime.signing import Keys

_PASSED_ON = {404, 422}
"""Statuses of metering that the request caused; all others are transient errors."""


class ResourceQueries:
    """Checks access, then requests a page from metering."""

    def __init__(
        self, pool: Pool, clock: Callable[[], datetime], *, metering_url: str, keys: Keys, timeout_seconds: float
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._url = metering_url.rstrip("/")
        self._keys = keys
        self._timeout_seconds = timeout_seconds
        self._log = logging.get("resources")

    async def resources(self, caller: Caller, subscription: str, wanted: Mapping[str, str | int]) -> dict[str, Any]:
        """Return a page of counted resources, as metering answered. ``wanted``: the query.

        Raises:
            ProblemError: the caller may not see the subscription; or metering's refusal.
            TransientError: metering does not answer.
        """
        async with self._pool.acquire() as connection:
            await find_visible(connection, caller, subscription)
        url = httpx.URL(f"{self._url}/v1/subscriptions/{subscription}/resources", params=wanted)
        headers = sign_request(url.raw_path.decode(), self._clock(), self._keys)
        try:
            async with httpx.AsyncClient(timeout=self._timeout_seconds) as http:
                answer = await http.get(url, headers=headers)
            body: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise TransientError(f"metering does not answer: {error!r}") from error
        if answer.status_code in _PASSED_ON:
            raise ProblemError(Refusal(code=body["code"], message=body["detail"], details=_numbers(body)))
        if not answer.is_success:
            self._log.error("metering_refused", status=answer.status_code, code=body.get("code"))
            raise TransientError("metering does not answer this")
        return body


def _numbers(problem: Mapping[str, object]) -> dict[str, Any]:
    return {"errors": problem["errors"]} if "errors" in problem else {}
