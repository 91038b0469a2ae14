"""A client of the administrators' API.

It sends bearer tokens and idempotency keys, and waits for outcomes.
"""

import asyncio
import json
import uuid
from typing import Any

import httpx

from deploy.local.commands import token_for
from deploy.local.environment import public_url
from deploy.local.errors import LocalStackError
from deploy.local.layout import Layout
from deploy.local.people import DemoPerson
from deploy.local.wait import Wait

_NAMESPACE = uuid.UUID("6f1d7c0e-5a2b-4f0e-9d53-0f6b8a2f7c11")
_ACCEPTED = 202
_WAIT = frozenset({429, 502, 503, 504})


class RefusedError(Exception):
    """The API refused a request; ``code`` is the problem document's."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code


class Api:
    """A client whose command ids are hashes of the request.

    Repeated loading thus changes nothing.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._client = httpx.AsyncClient(base_url=public_url(layout), timeout=30)
        self._tokens: dict[str, str] = {}

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def read(self, person: DemoPerson, path: str, *, limit_seconds: float | None = None) -> dict[str, Any]:
        """GET ``path`` as ``person``; return the JSON answer.

        ``limit_seconds``: longest wait for an answer while the service is away; ``None``: that of the environment.

        Raises:
            RefusedError: the API refused it.
            LocalStackError: it had no answer in time.
        """
        wait = Wait(f"GET {path}", limit_seconds=limit_seconds)
        return await self._ask("GET", path, None, self._headers(person), wait)

    async def write(self, method: str, person: DemoPerson, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a write and wait until its effect is visible; return the JSON answer.

        Raises:
            RefusedError: the API refused it.
            LocalStackError: it had no outcome in time.
        """
        identity = uuid.uuid5(_NAMESPACE, f"{person.email} {method} {path} {json.dumps(body, sort_keys=True)}")
        headers = {**self._headers(person), "Idempotency-Key": str(identity)}
        return await self._ask(method, path, body, headers, Wait(f"{method} {path}"))

    def _headers(self, person: DemoPerson) -> dict[str, str]:
        if person.email not in self._tokens:
            self._tokens[person.email] = token_for(self._layout, person)
        return {"Authorization": f"Bearer {self._tokens[person.email]}"}

    async def _ask(
        self, method: str, path: str, body: dict[str, Any] | None, headers: dict[str, str], wait: Wait
    ) -> dict[str, Any]:
        last = "none"
        while not wait.is_over(last):
            try:
                answer = await self._client.request(method, path, json=body, headers=headers)
            except httpx.TransportError as error:  # reporting may be restarting
                last = repr(error)
            else:
                if answer.status_code not in _WAIT and answer.status_code != _ACCEPTED:
                    return _body(answer, f"{method} {path}")
                last = f"{answer.status_code} {answer.text[:300]}"  # a retry gets the first request's answer
            await asyncio.sleep(1)
        raise LocalStackError(f"{method} {path} had no outcome in time; the last answer: {last}")


def _body(answer: httpx.Response, what: str) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        raise LocalStackError(
            f"{what} was answered with status {answer.status_code} and no JSON: {answer.text[:300]}"
        ) from None
    if answer.is_success:
        return dict(body)
    code, detail = str(body.get("code", answer.status_code)), str(body.get("detail") or body.get("title"))
    raise RefusedError(code, f"{what}: {detail}")
