"""Widths, dark mode, keyboard, and violations that axe finds."""

from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.browser.conftest import AXE, SignIn
from tests.support.drivers.product_for_browsers import Stack, sell

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def busy(stack: Stack) -> str:
    """Create a subscription with overage, a warning and an unallocated product."""
    subscription = await sell(stack, "Busy Flex", units=150)
    path = f"/v1/subscriptions/{subscription}"
    for product, units in (("exposure-scan", 40), ("risk-hub", 100)):
        await stack.ask("primary", "POST", f"{path}/allocations", {"product": product, "units": units})
    await stack.use(subscription, "exposure-scan", "host", 47)
    await stack.use(subscription, "risk-hub", "asset", 190)
    await stack.consumed(subscription, "exposure-scan", 47)
    await stack.consumed(subscription, "risk-hub", 95)
    return subscription


async def violations(page: Page) -> list[str]:
    """List axe's findings.

    The page's policy forbids injected scripts, so axe is evaluated.
    """
    await page.evaluate(AXE.read_text())
    found: dict[str, Any] = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [f"{one['id']}: {[node['html'][:160] for node in one['nodes']]}" for one in found["violations"]]


@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (768, False), (1440, False), (1440, True)])
async def test_page_fits_every_width_and_has_no_axe_violations(
    sign_in: SignIn, busy: str, width: int, dark: bool
) -> None:
    page = await sign_in("primary", f"/subscriptions/{busy}", width=width, dark=dark)
    await expect(page.locator("#alerts")).to_contain_text("Exposure Scan reached")
    for summary in await page.locator(".rows summary").all():
        await summary.click()
    await page.get_by_label("Exposure Scan", exact=True).fill("1")
    await page.get_by_role("button", name="Preview").click()
    await expect(page.locator('[data-field="exposure-scan"] .error')).to_be_visible()
    await page.locator("#usage").scroll_into_view_if_needed()
    await page.locator("#usage-chart canvas").wait_for()
    await page.locator(".numbers summary").click()
    assert await page.evaluate("document.documentElement.scrollWidth") == width
    assert await violations(page) == []


async def test_message_pages_have_no_axe_violations(sign_in: SignIn, stack: Stack, busy: str) -> None:
    page = await sign_in("primary", f"/subscriptions/{busy}", width=390)
    for path in ("/", "/subscriptions/nothing-here"):
        await page.goto(f"{stack.url}{path}")
        assert await violations(page) == []
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("link", name="Sign in")).to_be_visible()
    assert await violations(page) == []


async def test_dark_mode_follows_the_system(sign_in: SignIn, busy: str) -> None:
    page = await sign_in("primary", f"/subscriptions/{busy}", dark=True)
    red, *_ = await page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert red < 64


async def test_plan_is_edited_and_applied_by_keyboard_alone(sign_in: SignIn, stack: Stack) -> None:
    subscription = await sell(stack, "Keys Flex")
    page = await sign_in("primary", f"/subscriptions/{subscription}")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    await page.keyboard.press("Enter")

    async def tab_to(selector: str) -> None:
        for _ in range(40):
            await page.keyboard.press("Tab")
            if await page.evaluate("s => document.activeElement.matches(s)", selector):
                return
        raise AssertionError(f"the keyboard does not reach {selector}")

    await tab_to("summary")
    await page.keyboard.press("Enter")
    assert await page.evaluate("document.activeElement.parentElement.open")
    await tab_to("#units-risk-hub")
    await page.keyboard.type("25")
    await tab_to('button[value="preview"]')
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Before and after")).to_be_focused()
    await tab_to('button[value="apply"]')
    await page.keyboard.press("Enter")
    await expect(page.locator(".done")).to_be_focused()
    await expect(page.locator("#row-risk-hub")).to_contain_text("0 / 25")
