"""The administrators' API as a client sees it: bearer tokens, idempotency keys, outcomes that may take a while."""

import asyncio
import json
import uuid
from typing import Any

import httpx

from deploy.local.commands import token_for
from deploy.local.environment import public_url
from deploy.local.errors import LocalStackError
from deploy.local.layout import Layout
from deploy.local.patience import Patience
from deploy.local.people import DemoPerson

_NAMESPACE = uuid.UUID("6f1d7c0e-5a2b-4f0e-9d53-0f6b8a2f7c11")
_ACCEPTED = 202
_WAIT = frozenset({429, 502, 503, 504})


class RefusedError(Exception):
    """The API said no; ``code`` is the problem's."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code


class Api:
    """Each write carries a command id made from what it says, so that loading again changes nothing."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._client = httpx.AsyncClient(base_url=public_url(layout), timeout=30)
        self._tokens: dict[str, str] = {}

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    async def read(self, person: DemoPerson, path: str, *, limit_seconds: float | None = None) -> dict[str, Any]:
        """GET."""
        patience = Patience(f"GET {path}", limit_seconds=limit_seconds)
        return await self._ask("GET", path, None, self._headers(person), patience)

    async def write(self, method: str, person: DemoPerson, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """A write; returns when its effect is visible.

        Raises:
            RefusedError: with the refusal's code.
            LocalStackError: no answer in time.
        """
        identity = uuid.uuid5(_NAMESPACE, f"{person.email} {method} {path} {json.dumps(body, sort_keys=True)}")
        headers = {**self._headers(person), "Idempotency-Key": str(identity)}
        return await self._ask(method, path, body, headers, Patience(f"{method} {path}"))

    def _headers(self, person: DemoPerson) -> dict[str, str]:
        if person.email not in self._tokens:
            self._tokens[person.email] = token_for(self._layout, person)
        return {"Authorization": f"Bearer {self._tokens[person.email]}"}

    async def _ask(
        self, method: str, path: str, body: dict[str, Any] | None, headers: dict[str, str], patience: Patience
    ) -> dict[str, Any]:
        said = "nothing"
        while not patience.is_over(said):
            try:
                answer = await self._client.request(method, path, json=body, headers=headers)
            except httpx.TransportError as error:  # reporting may just be starting again
                said = repr(error)
            else:
                if answer.status_code not in _WAIT and answer.status_code != _ACCEPTED:
                    return _body(answer, f"{method} {path}")
                said = f"{answer.status_code} {answer.text[:300]}"  # asking again gives the first answer, once there
            await asyncio.sleep(1)
        raise LocalStackError(f"{method} {path} had no outcome in time; the last answer: {said}")


def _body(answer: httpx.Response, what: str) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        raise LocalStackError(f"{what} answered {answer.status_code} without JSON: {answer.text[:300]}") from None
    if answer.is_success:
        return dict(body)
    code, detail = str(body.get("code", answer.status_code)), str(body.get("detail") or body.get("title"))
    raise RefusedError(code, f"{what}: {detail}")
