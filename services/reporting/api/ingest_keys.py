"""Ingest keys, with which a product's platform reports usage over HTTP.

Vendor only.
"""

import hashlib
import secrets
from typing import Any

from fastapi import APIRouter, Response

from services.reporting.api.answers import ingest_keys as answers
from services.reporting.api.fields import Cursor, Limit
from services.reporting.api.identifiers import ProductInQuery, path_id
from services.reporting.api.requests.ingest_keys import NewIngestKey, NewRotation
from services.reporting.api.routing import ApiContext, CommandId, CurrentCaller, derive_id, new_router, write_answers
from shared.events.commands.metering import CreateIngestKey, RevokeIngestKey, RotateIngestKey

SECRET_BYTES = 32


def ingest_keys_router(context: ApiContext, overlap_seconds: int) -> APIRouter:
    """``/v1/ingest-keys``. ``overlap_seconds``: default validity of a rotated key."""
    router = new_router("ingest keys", "/ingest-keys")
    _add_reads(router, context)
    _add_writes(router, context)
    _add_rotation(router, context, overlap_seconds)
    return router


def _add_reads(router: APIRouter, context: ApiContext) -> None:
    records = context.application.records

    @router.get("", response_model=answers.IngestKeys)
    async def several(caller: CurrentCaller, product: ProductInQuery, limit: Limit = 50, cursor: Cursor = None) -> Any:
        """List ingest keys, without their text."""
        return await records.ingest_keys(caller, limit, cursor, product)

    @router.get("/{key}", response_model=answers.IngestKey)
    async def one(caller: CurrentCaller, key: str) -> Any:
        """Return one ingest key, without its text."""
        return await records.ingest_key(caller, key)


def _add_writes(router: APIRouter, context: ApiContext) -> None:
    catalogue, records = context.application.catalogue, context.application.records

    @router.post("", **write_answers(answers.IngestKey))
    async def create(caller: CurrentCaller, body: NewIngestKey, command: CommandId) -> Response:
        """Create an ingest key of a product.

        The answer shows it once; only its hash leaves this service.
        """
        await catalogue.product(body.product)
        key, secret = derive_id(caller, command), new_secret()
        payload = CreateIngestKey(
            key=key,
            product=body.product,
            secret_sha256=hashed(secret),
            expires_at=body.expires_at,
            events_per_second=body.events_per_second,
            max_body_bytes=body.max_body_bytes,
        )
        return await context.write(
            payload,
            caller,
            command,
            lambda: answers.IngestKey.of(records.ingest_key(caller, key)),
            secret=secret,
            shown_as="key",
        )

    @router.delete("/{key}", **write_answers(answers.IngestKey))
    async def revoke(caller: CurrentCaller, key: str, command: CommandId) -> Response:
        """Revoke an ingest key."""
        payload = RevokeIngestKey(key=path_id(key, "ingest key"))
        # The Kafka key is the product, so that state and outcome arrive in order. Other callers than the vendor may not
        # know the product; the owner refuses and audits their command.
        known = await records.ingest_key(caller, key) if caller.vendor else None
        return await context.write(
            payload,
            caller,
            command,
            lambda: answers.IngestKey.of(records.ingest_key(caller, key)),
            key=known.product if known else key,
        )


def _add_rotation(router: APIRouter, context: ApiContext, overlap_seconds: int) -> None:
    records = context.application.records

    @router.post("/{key}/rotate", **write_answers(answers.IngestKey))
    async def rotate(caller: CurrentCaller, key: str, command: CommandId, body: NewRotation | None = None) -> Response:
        """Create a key of the same product and limits as an old one.

        The old key stays valid for a while; its own `expires_at` then says until when. The answer shows the new key
        once, with the key that it `replaces`.
        """
        body = body or NewRotation()
        new, secret = derive_id(caller, command), new_secret()
        payload = RotateIngestKey(
            key=path_id(key, "ingest key"),
            new_key=new,
            secret_sha256=hashed(secret),
            overlap_seconds=overlap_seconds if body.overlap_seconds is None else body.overlap_seconds,
            expires_at=body.expires_at,
        )
        known = await records.ingest_key(caller, key) if caller.vendor else None
        return await context.write(
            payload,
            caller,
            command,
            lambda: answers.IngestKey.of(records.ingest_key(caller, new)),
            key=known.product if known else key,
            secret=secret,
            shown_as="key",
        )


def new_secret() -> str:
    """Generate an unguessable key."""
    return f"upk_{secrets.token_urlsafe(SECRET_BYTES)}"


def hashed(secret: str) -> str:
    """Hash a key; only the hash leaves this service."""
    return hashlib.sha256(secret.encode()).hexdigest()
