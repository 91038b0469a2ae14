"""Puts the page into the service: ``main.py`` calls it once."""

from dataclasses import dataclass

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware

from services.reporting.application import Application
from services.reporting.pages.assets import Assets
from services.reporting.pages.provider import Client, Provider, VerifyToken
from services.reporting.pages.routes import page_router
from services.reporting.pages.secrecy import Secrecy
from services.reporting.pages.sign_in import Claims, sign_in_router
from services.reporting.pages.site import Site
from services.reporting.sessions import Sessions
from shared.runtime.postgres import Pool

COMPRESSED_FROM_BYTES = 1024


@dataclass(frozen=True, slots=True)
class PageSettings:
    """What the page is told; ``public_url`` is where browsers find it, without a slash at its end."""

    issuer: str
    client_id: str
    client_secret: str
    public_url: str
    session_secret: str
    email_claim: str = "email"
    roles_claim: str = "unitpool_roles"


def install(api: FastAPI, application: Application, pool: Pool, settings: PageSettings, verify: VerifyToken) -> Site:
    """Add the page's routes, and let its sessions speak for people on the API's reads too."""
    public_url = settings.public_url.rstrip("/")
    client = Client(settings.issuer, settings.client_id, settings.client_secret, public_url)
    site = Site(
        application=application,
        sessions=Sessions(pool),
        provider=Provider(client, verify),
        secrecy=Secrecy(settings.session_secret),
        assets=Assets(),
        public_url=public_url,
        issuer=settings.issuer,
    )
    application.session = site.caller
    api.include_router(page_router(site))
    api.include_router(sign_in_router(site, Claims(settings.email_claim, settings.roles_claim)))
    api.add_middleware(GZipMiddleware, minimum_size=COMPRESSED_FROM_BYTES)
    return site
