"""Fixtures: a real browser on the whole product. Skipped if there is no Chromium."""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from deploy.local import assets
from deploy.local.kafka import KafkaServer
from deploy.local.postgres import PostgresServer
from tests.conftest import RunningKafka, RunningPostgres
from tests.support.drivers.product_for_browsers import Stack, fill_catalogue, running, sell

CHROMIUM = os.environ.get("UNITPOOL_TEST_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
AXE = assets.MODULES / "axe-core" / "axe.min.js"

SignIn = Callable[..., Awaitable[Page]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Launch the system's Chromium."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine: the page was not tested in a browser")
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield opened
        await opened.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack(
    browser: Browser,
    postgres_server: PostgresServer | RunningPostgres,
    kafka_server: KafkaServer | RunningKafka,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Stack]:
    """Start the whole product, with a catalogue."""
    assert browser.is_connected()
    if not all(file.exists() for file in assets.FILES) or not AXE.exists():
        assets.install()
    folder: Path = tmp_path_factory.mktemp("stack")
    async with running(postgres_server.admin_dsn, kafka_server.bootstrap_servers, folder) as started:
        await fill_catalogue(started)
        yield started


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def acme(stack: Stack) -> str:
    """Create Acme's subscription with usage, for tests that only read it."""
    subscription = await sell(stack, "Acme Flex")
    path = f"/v1/subscriptions/{subscription}"
    for product, units in (("exposure-scan", 100), ("risk-hub", 300)):
        await stack.ask("primary", "POST", f"{path}/allocations", {"product": product, "units": units})
    await stack.use(subscription, "exposure-scan", "host", 60)
    await stack.use(subscription, "risk-hub", "asset", 41)
    await stack.consumed(subscription, "exposure-scan", 60)
    await stack.consumed(subscription, "risk-hub", 21)
    return subscription


@pytest_asyncio.fixture(loop_scope="session")
async def sign_in(browser: Browser, stack: Stack) -> AsyncIterator[SignIn]:
    """Return a function that signs in with a new browser context.

    ``page = await sign_in("primary", path, width=..., dark=...)``.
    """
    contexts: list[BrowserContext] = []

    async def enter(
        who: str, path: str = "/", *, width: int = 1440, dark: bool = False, scripts: bool = True, height: int = 900
    ) -> Page:
        context = await browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            java_script_enabled=scripts,
            reduced_motion="reduce",
        )
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = await context.new_page()
        await page.goto(f"{stack.url}{path}")
        await page.get_by_role("link", name="Sign in").click()
        await page.locator(f'button[value="{who}"]').click()
        await page.wait_for_url(f"{stack.url}{path}")
        return page

    yield enter
    for context in contexts:
        await context.close()
