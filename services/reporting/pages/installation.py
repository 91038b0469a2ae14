"""Installation of the page: ``main.py`` calls ``install`` once."""

import secrets
from typing import cast

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware

from services.reporting.application import Application
from services.reporting.auth import ClaimNames, TokenVerifier
from services.reporting.pages.assets import Assets
from services.reporting.pages.csrf import CsrfProtection
from services.reporting.pages.errors import OnError, page_not_found
from services.reporting.pages.provider import Client, Provider
from services.reporting.pages.responder import PageResponder
from services.reporting.pages.routes import page_router
from services.reporting.pages.sign_in import sign_in_router
from services.reporting.sessions import Sessions
from services.reporting.settings import ReportingSettings
from shared.runtime.postgres.pool import Pool

COMPRESSED_FROM_BYTES = 1024


def install(
    api: FastAPI,
    application: Application,
    *,
    pool: Pool,
    settings: ReportingSettings,
    tokens: TokenVerifier,
    claims: ClaimNames,
) -> PageResponder:
    """Add the page's routes to the API.

    The page's sessions are then accepted as callers of the API's live streams.
    """
    public_url = settings.public_url.rstrip("/")
    client_secret = settings.oidc_client_secret.get_secret_value() if settings.oidc_client_secret else None
    secret = settings.session_secret.get_secret_value() if settings.session_secret else secrets.token_urlsafe(48)
    client = Client(settings.oidc_issuer, settings.oidc_client_id, client_secret, public_url)
    responder = PageResponder(
        application=application,
        sessions=Sessions(pool),
        provider=Provider(client, tokens.verify),
        csrf=CsrfProtection(secret),
        assets=Assets(),
        public_url=public_url,
        issuer=settings.oidc_issuer,
    )
    application.session = responder.caller
    api.include_router(page_router(responder))
    api.include_router(sign_in_router(responder, claims))
    otherwise = cast(OnError, api.exception_handlers[HTTPException])
    api.add_exception_handler(HTTPException, page_not_found(responder, otherwise))
    api.add_middleware(GZipMiddleware, minimum_size=COMPRESSED_FROM_BYTES)
    return responder
