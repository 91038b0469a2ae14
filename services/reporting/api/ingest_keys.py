"""Ingest keys: with one, a product's platform reports usage over HTTP. The vendor's."""

import hashlib
import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from services.reporting.api.answers import ingest_keys as answers
from services.reporting.api.edge import (
    PENDING,
    Asking,
    CommandId,
    Doors,
    answer_write,
    chosen_id,
    existing,
    invalid,
    listed,
    new_router,
)
from services.reporting.api.fields import Cursor, Limit
from services.reporting.api.requests import NewIngestKey
from services.reporting.queries import is_id
from shared.events.commands import CreateIngestKey, RevokeIngestKey

SECRET_BYTES = 32


def ingest_keys_router(doors: Doors) -> APIRouter:
    """``/v1/ingest-keys``."""
    router = new_router("ingest keys", "/ingest-keys")
    queries, commands = doors.application.queries, doors.application.commands

    @router.get("", response_model=answers.IngestKeys)
    async def several(
        caller: Asking,
        limit: Limit = 50,
        cursor: Cursor = None,
        product: Annotated[str | None, Query(max_length=64)] = None,
    ) -> Any:
        """All keys, never the keys themselves."""
        if product is not None and not is_id(product):
            raise invalid("product", "is not the id of a product")
        return listed(await queries.ingest_keys(caller, limit, cursor, product))

    @router.get("/{key}", response_model=answers.IngestKey)
    async def one(caller: Asking, key: str) -> Any:
        """One key, never the key itself."""
        return await queries.ingest_key(caller, key)

    @router.post("", response_model=answers.IngestKey, responses=PENDING)
    async def create(caller: Asking, asked: NewIngestKey, command: CommandId) -> Response:
        """A new key of a product. The answer shows it, this once; only its hash leaves this service."""
        await queries.product(asked.product)
        key, secret = chosen_id(caller, command), f"upk_{secrets.token_urlsafe(SECRET_BYTES)}"
        payload = CreateIngestKey(
            key=key,
            product=asked.product,
            secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
            expires_at=asked.expires_at,
        )
        answer = await commands.submit(payload, caller, command, secret=secret)
        return await answer_write(answer, lambda: queries.ingest_key(caller, key), key=answer.secret)

    @router.delete("/{key}", response_model=answers.IngestKey, responses=PENDING)
    async def revoke(caller: Asking, key: str, command: CommandId) -> Response:
        """The key is no longer accepted."""
        payload = RevokeIngestKey(key=existing(key, "ingest key"))
        # State and outcome share the product's key. Who is not the vendor is refused, and audited, by the owner.
        known = await queries.ingest_key(caller, key) if caller.vendor else {}
        answer = await commands.submit(payload, caller, command, key=known.get("product", key))
        return await answer_write(answer, lambda: queries.ingest_key(caller, key))

    return router
