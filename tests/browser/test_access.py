"""Access to the page: form tokens, forged sign-ins and the CSP."""

import httpx
import pytest

from tests.browser.conftest import SignIn
from tests.support.drivers.product_for_browsers import Stack

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


async def test_form_is_refused_when_it_has_no_token(sign_in: SignIn, stack: Stack, acme: str) -> None:
    page = await sign_in("primary", f"/subscriptions/{acme}")
    sent: dict[str, str | float | bool] = {"intent": "preview", "units.risk-hub": "10", "csrf": "x"}
    answer = await page.request.post(f"{stack.url}/subscriptions/{acme}/plan", form=sent)
    assert answer.status == 403
    assert "Not allowed" in await answer.text()


async def test_callback_is_refused_when_its_sign_in_was_not_started(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.url) as http:
        for query in ("?code=a&state=b", "?error=access_denied", "", "?code=%00&state=%F0%9F%92%A5"):
            answer = await http.get(f"/auth/callback{query}")
            assert answer.status_code == 400
            assert "set-cookie" not in answer.headers or "unitpool_session" not in answer.headers["set-cookie"]


async def test_page_loads_nothing_from_other_origins(sign_in: SignIn, stack: Stack, acme: str) -> None:
    page = await sign_in("primary", "/")
    answer = await page.goto(f"{stack.url}/subscriptions/{acme}")
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store"
    session = next(one for one in await page.context.cookies() if one["name"] == "unitpool_session")
    assert session["httpOnly"]
    assert session["sameSite"] == "Lax"


async def test_sign_in_returns_only_to_paths_of_the_page(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.url) as http:
        for to in ("https://evil.example/", "//evil.example", "/\\evil.example", "/subscriptions/\nx"):
            answer = await http.get("/sign-in", params={"to": to})
            assert answer.status_code == 303
            assert answer.headers["location"].startswith(stack.issuer.issuer)


async def test_page_is_small(sign_in: SignIn, stack: Stack, acme: str) -> None:
    page = await sign_in("primary", "/")
    sizes: list[int] = []
    session = await page.context.new_cdp_session(page)
    await session.send("Network.enable")
    session.on("Network.loadingFinished", lambda event: sizes.append(int(event["encodedDataLength"])))
    await page.goto(f"{stack.url}/subscriptions/{acme}")
    await page.locator("#usage").scroll_into_view_if_needed()
    await page.locator("#usage-chart canvas").wait_for()
    assert 0 < sum(sizes) < 250_000


async def test_unknown_path_is_a_page_for_browsers_and_a_problem_for_programs(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.url) as http:
        answer = await http.get("/nothing", headers={"Accept": "text/html,*/*"})
        assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
        for path, accept in (("/nothing", "application/json"), ("/v1/nothing", "text/html")):
            answer = await http.get(path, headers={"Accept": accept})
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
