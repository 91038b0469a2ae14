"""Puts the page into the service: ``main.py`` calls it once."""

from dataclasses import dataclass

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware

from services.reporting.application import Application
from services.reporting.auth import Claims
from services.reporting.pages.assets import Assets
from services.reporting.pages.provider import Client, Provider, VerifyToken
from services.reporting.pages.routes import page_router
from services.reporting.pages.secrecy import Secrecy
from services.reporting.pages.sign_in import sign_in_router
from services.reporting.pages.site import Site
from services.reporting.sessions import Sessions
from shared.runtime.postgres import Pool

COMPRESSED_FROM_BYTES = 1024


@dataclass(frozen=True, slots=True)
class PageSettings:
    """What the page is told; ``public_url`` is where browsers find it. ``client_secret`` empty: a public client."""

    issuer: str
    client_id: str
    client_secret: str
    public_url: str
    session_secret: str
    email_claim: str = "email"
    name_claim: str = "name"
    roles_claim: str = "unitpool_roles"
    max_streams: int = 500


def install(api: FastAPI, application: Application, pool: Pool, settings: PageSettings, verify: VerifyToken) -> Site:
    """Add the page's routes, and let its sessions speak for people where the API asks ``application.session``."""
    public_url = settings.public_url.rstrip("/")
    site = Site(
        application=application,
        sessions=Sessions(pool),
        provider=Provider(Client(settings.issuer, settings.client_id, settings.client_secret, public_url), verify),
        secrecy=Secrecy(settings.session_secret),
        assets=Assets(),
        public_url=public_url,
        issuer=settings.issuer,
        max_streams=settings.max_streams,
    )
    application.session = site.caller
    api.include_router(page_router(site))
    api.include_router(sign_in_router(site, Claims(settings.email_claim, settings.name_claim, settings.roles_claim)))
    api.add_middleware(GZipMiddleware, minimum_size=COMPRESSED_FROM_BYTES)
    return site
