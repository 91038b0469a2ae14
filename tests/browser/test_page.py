"""The Subscription page in a browser, with all four services."""

import pytest
from playwright.async_api import expect

from services.reporting.pages.plan import parse
from tests.browser.conftest import SignIn
from tests.support.drivers.product_for_browsers import Stack, sell

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


async def test_signing_in_shows_the_pool_and_its_products(sign_in: SignIn, acme: str) -> None:
    page = await sign_in("primary", f"/subscriptions/{acme}")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Acme Flex")
    figures = page.locator(".figure")
    await expect(figures.nth(0)).to_contain_text("1,000")
    await expect(figures.nth(1)).to_contain_text("400")
    await expect(figures.nth(2)).to_contain_text("81")
    await expect(figures.nth(4)).to_contain_text("600")
    await expect(page.locator("#row-exposure-scan")).to_contain_text("60.0")
    await page.locator("#row-risk-hub").click()
    await expect(page.locator("#inside-risk-hub")).to_contain_text("41 assets \u00d7 1 unit per 2 = 21")


async def test_usage_updates_the_numbers_without_a_reload_and_without_changing_a_form(
    sign_in: SignIn, stack: Stack
) -> None:
    subscription = await sell(stack, "Live Flex")
    await stack.ask(
        "primary", "POST", f"/v1/subscriptions/{subscription}/allocations", {"product": "exposure-scan", "units": 50}
    )
    page = await sign_in("primary", f"/subscriptions/{subscription}")
    await page.evaluate("window.stillHere = true")
    field = page.get_by_label("Exposure Scan", exact=True)
    await field.fill("77")
    await stack.use(subscription, "exposure-scan", "host", 48)
    await expect(page.locator("#row-exposure-scan")).to_contain_text("48 / 50")
    await expect(page.locator("#row-exposure-scan")).to_contain_text("Near limit")
    await expect(page.locator("#sentence")).to_contain_text("1 of 3 products needs attention")
    await expect(page.locator("#hint-exposure-scan")).to_contain_text("floor 48")
    await expect(page.locator("#alerts")).to_contain_text("Exposure Scan reached 90")
    await expect(field).to_have_value("77")
    await expect(field).to_be_focused()
    assert await page.evaluate("window.stillHere")


async def test_plan_is_previewed_and_applied(sign_in: SignIn, stack: Stack) -> None:
    subscription = await sell(stack, "Plan Flex")
    page = await sign_in("primary", f"/subscriptions/{subscription}")
    await page.get_by_label("Exposure Scan", exact=True).fill("600")
    await page.get_by_label("Risk Hub", exact=True).fill("150")
    await expect(page.locator("#plan-total")).to_contain_text("750 of 1,000 purchased, 250 free")
    await page.get_by_role("button", name="Preview").click()
    preview = page.locator(".preview")
    await expect(preview.get_by_role("row", name="Exposure Scan")).to_contain_text("+600")
    await expect(preview.get_by_role("row", name="Unallocated")).to_contain_text("250")
    await expect(preview).to_contain_text("does not start the rebalance clock")
    await page.get_by_role("button", name="Apply this plan").click()
    await expect(page.locator(".done")).to_have_text("The plan is applied; these are the new allocations.")
    await expect(page.locator(".figure").nth(1)).to_contain_text("750")
    await expect(page.locator("#row-exposure-scan")).to_contain_text("0 / 600")


async def test_refusals_are_shown_beside_the_fields_that_caused_them(sign_in: SignIn, stack: Stack, acme: str) -> None:
    page = await sign_in("primary", f"/subscriptions/{acme}")
    await page.get_by_label("Exposure Scan", exact=True).fill("20")
    await page.get_by_role("button", name="Preview").click()
    error = page.locator('[data-field="exposure-scan"] .error')
    await expect(error).to_contain_text("60")
    await expect(page.get_by_label("Exposure Scan", exact=True)).to_have_attribute("aria-invalid", "true")
    await page.get_by_label("Exposure Scan", exact=True).fill("many")
    await page.get_by_role("button", name="Preview").click()
    await expect(error).to_contain_text("whole number")
    await page.get_by_label("Exposure Scan", exact=True).fill("5000")
    await page.get_by_role("button", name="Preview").click()
    await expect(page.locator("#error-sum")).to_be_visible()
    body = await stack.ask("primary", "GET", f"/v1/subscriptions/{acme}")
    assert body["allocated"] == 400


async def test_second_rebalance_is_refused_with_its_date(sign_in: SignIn, stack: Stack) -> None:
    subscription = await sell(stack, "Clock Flex")
    path = f"/v1/subscriptions/{subscription}"
    await stack.ask("primary", "POST", f"{path}/allocations", {"product": "exposure-scan", "units": 500})
    page = await sign_in("primary", f"/subscriptions/{subscription}")
    await expect(page.locator("#plan-status")).to_contain_text("You can rebalance today.")
    await page.get_by_label("Exposure Scan", exact=True).fill("400")
    await page.get_by_role("button", name="Preview").click()
    await expect(page.locator(".preview")).to_contain_text("This is a rebalance. The next one will be allowed on")
    await page.get_by_role("button", name="Apply this plan").click()
    await expect(page.locator(".done")).to_be_visible()
    await expect(page.locator("#plan-status")).to_contain_text("The next rebalance is allowed on")
    await page.get_by_label("Exposure Scan", exact=True).fill("300")
    await page.get_by_role("button", name="Preview").click()
    await expect(page.locator('[data-field="exposure-scan"] .error')).to_be_visible()


async def test_alert_is_acknowledged(sign_in: SignIn, stack: Stack) -> None:
    subscription = await sell(stack, "Alert Flex")
    path = f"/v1/subscriptions/{subscription}"
    await stack.ask("primary", "POST", f"{path}/allocations", {"product": "exposure-scan", "units": 10})
    page = await sign_in("primary", f"/subscriptions/{subscription}")
    await expect(page.locator("#alerts")).to_contain_text("Nothing needs your attention.")
    await stack.use(subscription, "exposure-scan", "host", 12)
    alerts = page.locator("#alerts")
    await expect(alerts).to_contain_text("Exposure Scan reached 110")
    await alerts.get_by_role("button", name="Acknowledge").click()
    await expect(alerts).to_contain_text("Acknowledged by paula@acme.example")
    await expect(alerts.get_by_role("button", name="Acknowledge")).to_have_count(0)


async def test_without_scripts_a_plan_changed_after_its_preview_is_previewed_again(
    sign_in: SignIn, stack: Stack
) -> None:
    subscription = await sell(stack, "Plain Flex")
    page = await sign_in("primary", f"/subscriptions/{subscription}", scripts=False)
    await expect(page.locator(".figure").nth(0)).to_contain_text("1,000")
    await page.get_by_label("Risk Hub", exact=True).fill("10")
    await page.get_by_role("button", name="Preview").click()
    await page.get_by_label("Risk Hub", exact=True).fill("20")
    await page.get_by_role("button", name="Apply this plan").click()
    await expect(page.locator(".error.form")).to_contain_text("not the one that was previewed")
    await expect(page.locator(".preview")).to_contain_text("+20")
    await page.get_by_role("button", name="Apply this plan").click()
    await expect(page.locator("#row-risk-hub")).to_contain_text("0 / 20")


async def test_strangers_and_per_product_subscriptions_see_message_pages(
    sign_in: SignIn, stack: Stack, acme: str
) -> None:
    page = await sign_in("stranger", f"/subscriptions/{acme}")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Not found")
    traditional = await sell(stack, "Acme Classic", model="per_product", contact="stranger")
    await page.goto(f"{stack.url}/subscriptions/{traditional}")
    await expect(page.get_by_role("heading", level=1)).to_have_text("This page does not apply")
    await page.goto(f"{stack.url}/subscriptions/%00..%2f")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Not found")


async def test_signing_out_ends_the_session(sign_in: SignIn, stack: Stack, acme: str) -> None:
    page = await sign_in("primary", f"/subscriptions/{acme}")
    session = next(one["value"] for one in await page.context.cookies() if one["name"] == "unitpool_session")
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("link", name="Sign in")).to_be_visible()
    await page.context.add_cookies([{"name": "unitpool_session", "value": session, "url": stack.url}])
    await page.goto(f"{stack.url}/subscriptions/{acme}")
    await expect(page.get_by_role("link", name="Sign in")).to_be_visible()


async def test_lost_connection_is_shown_until_it_is_restored(sign_in: SignIn, stack: Stack, acme: str) -> None:
    page = await sign_in("primary", f"/subscriptions/{acme}")
    await expect(page.locator("#freshness")).not_to_contain_text("reconnecting")
    stack.processes["reporting"].kill()
    await expect(page.locator("#freshness")).to_contain_text("reconnecting")
    stack.processes["reporting"].start()
    await stack.processes["reporting"].wait_ready()
    await expect(page.locator("#freshness")).not_to_contain_text("reconnecting", timeout=30_000)


TYPED = ("150,5", "1e3", "+7", "-7", "1.5", "\uff11\uff10", "1 0", "1,00", "1,000", "1 000", "10", "9" * 16)


async def test_script_and_server_parse_typed_numbers_alike(sign_in: SignIn, acme: str) -> None:
    page = await sign_in("primary", f"/subscriptions/{acme}")
    field, total = page.get_by_label("Exposure Scan", exact=True), page.locator("[data-sum]")
    current = parse(await field.input_value()) or 0
    others = (parse(await total.inner_text()) or 0) - current
    for typed in TYPED:
        await field.fill(typed)
        read = parse(typed)
        await expect(total).to_have_text(f"{others + (current if read is None else read):,}")
        if read is None:
            await page.locator("[data-plan]").evaluate("form => { form.dataset.asked = 'yes'; }")
            await page.get_by_role("button", name="Preview").click()
            await expect(page.locator("#plan-form:not(.htmx-settling) [data-plan]:not([data-asked])")).to_be_visible()
            await expect(page.locator('[data-field="exposure-scan"] .error')).to_contain_text("whole number")
            await expect(field).to_have_value(typed)
            await expect(page.locator(".preview")).to_have_count(0)
            await field.fill(str(current))
