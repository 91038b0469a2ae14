"""The page for each delegate: it shows what their grant permits."""

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.browser.conftest import SignIn
from tests.support.drivers.product_for_browsers import Stack, sell

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]

GRANTS = ("viewer", "allocator", "auditor", "useradmin")
EMAILS = {
    "viewer": "victor@acme.example",
    "allocator": "alan@acme.example",
    "auditor": "audrey@acme.example",
    "useradmin": "uma@acme.example",
}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def team(stack: Stack) -> str:
    """Create a subscription with delegates, of which 120 % is consumed."""
    subscription = await sell(stack, "Team Flex")
    path = f"/v1/subscriptions/{subscription}"
    account = (await stack.ask("primary", "GET", path))["account"]
    for grant in GRANTS:
        person = {"email": EMAILS[grant], "name": grant.title()}
        await stack.ask("primary", "POST", f"/v1/accounts/{account}/people", person)
        await stack.ask("primary", "PUT", f"{path}/grants/{EMAILS[grant]}", {"grants": [grant]})
    await stack.ask("primary", "POST", f"{path}/allocations", {"product": "exposure-scan", "units": 10})
    await stack.use(subscription, "exposure-scan", "host", 12)
    await stack.consumed(subscription, "exposure-scan", 12)
    return subscription


@pytest.mark.parametrize(
    ("who", "plans", "acknowledges"),
    [
        ("viewer", False, False),
        ("auditor", False, False),
        ("allocator", True, True),
        ("primary", True, True),
        ("vendor", False, True),
    ],
)
async def test_controls_are_shown_only_with_their_permission(
    sign_in: SignIn, team: str, who: str, plans: bool, acknowledges: bool
) -> None:
    page = await sign_in(who, f"/subscriptions/{team}")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Team Flex")
    await expect(page.locator("#row-exposure-scan")).to_contain_text("12 / 10")
    await expect(page.locator("#alerts")).to_contain_text("Exposure Scan reached 110")
    await expect(page.get_by_role("button", name="Preview")).to_have_count(1 if plans else 0)
    await expect(page.locator("#alerts").get_by_role("button", name="Acknowledge")).to_have_count(
        1 if acknowledges else 0
    )


@pytest.mark.usefixtures("team")
async def test_start_page_shows_the_subscription_when_there_is_one_only(sign_in: SignIn) -> None:
    page = await sign_in("viewer", "/")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Team Flex")


async def test_user_administrator_sees_no_units(sign_in: SignIn, stack: Stack, team: str) -> None:
    page = await sign_in("useradmin", "/")
    await expect(page.get_by_role("heading", level=1)).to_have_text("People and roles")
    await expect(page.get_by_role("main")).to_contain_text("Team Flex")
    await expect(page.locator(".figure")).to_have_count(0)
    for path in ("", "/usage"):
        answer = await page.goto(f"{stack.url}/subscriptions/{team}{path}")
        assert answer is not None
        assert answer.status == 403
        await expect(page.get_by_role("heading", level=1)).to_have_text("Not allowed")


async def test_page_is_closed_when_the_grant_is_revoked(sign_in: SignIn, stack: Stack) -> None:
    subscription = await sell(stack, "Short Flex")
    path = f"/v1/subscriptions/{subscription}"
    account = (await stack.ask("primary", "GET", path))["account"]
    email = EMAILS["auditor"]
    await stack.ask("primary", "POST", f"/v1/accounts/{account}/people", {"email": email, "name": "Audrey"})
    await stack.ask("primary", "PUT", f"{path}/grants/{email}", {"grants": ["auditor"]})
    page = await sign_in("auditor", f"/subscriptions/{subscription}")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Short Flex")
    await stack.ask("primary", "DELETE", f"{path}/grants/{email}")
    answer = await page.reload()
    assert answer is not None
    assert answer.status == 404
