"""The demo on a running stack.

It loads missing data, prints addresses, and publishes live usage.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from deploy.local.demo.accounts import BIG_ACCOUNT, RECENT, DemoAccount, demo_accounts
from deploy.local.demo.api import Api, RefusedError
from deploy.local.demo.backdated_commands import open_backdated_commands
from deploy.local.demo.backdated_sales import sell_backdated
from deploy.local.demo.forecasts import make_forecasts
from deploy.local.demo.history import load_history
from deploy.local.demo.live_usage import LiveUsage
from deploy.local.demo.load_state import LoadState
from deploy.local.demo.sales import allocate, enter_catalogue, sell
from deploy.local.demo.team import add_team, give_roles, order_ahead, renew
from deploy.local.demo.usage import UsageEvent, usage_of
from deploy.local.demo.usage_sender import HTTP_PRODUCT, UsageSender, in_order
from deploy.local.demo.welcome import welcome
from deploy.local.environment import command_keys
from deploy.local.errors import LocalStackError
from deploy.local.layout import Layout
from deploy.local.people import OTHER_ACCOUNT
from deploy.local.wait import Wait
from shared.events.topics import ServiceName
from shared.runtime.process.log_repeats import WINDOW_SECONDS, Repeats

Say = Callable[[str], None]
T = TypeVar("T")
SETTLED_PERCENT = 95
WINDOWS_SHOWN = 24
"""Windows of 15 days in the twelve months that are shown."""
_SOURCE = '"source": "/platforms/%s"'


async def run_demo(layout: Layout, databases: Mapping[ServiceName, str], say: Say) -> None:
    """Load the data and publish live usage until cancelled.

    Raises:
        LocalStackError: the main account cannot be loaded.
    """
    if logging.lastResort:  # while a broker is away, its client logs thousands of equal lines
        logging.lastResort.addFilter(
            Repeats(lambda _logger, event, times: say(f"{event!r}: {times} times more within {WINDOW_SECONDS:g} s"))
        )
    api, sender = Api(layout), UsageSender(layout)
    try:
        state = LoadState(layout.loaded, datetime.now(UTC))
        loader = Loader(layout, api, sender, state=state, databases=databases, say=say)
        main, *others = demo_accounts(state.today)
        try:
            await loader.load_main(main)
        except RefusedError as refusal:
            raise LocalStackError(f"The demo data cannot be loaded: {refusal}") from refusal
        say(welcome(layout, state.subscriptions[main.id]))
        async with asyncio.TaskGroup() as group:
            group.create_task(LiveUsage(api, sender, main, state.subscriptions[main.id]).run(say))
            group.create_task(loader.load_rest(main, others))
    finally:
        await sender.stop()
        await api.close()


class Loader:
    """Loader of the accounts; it skips steps that an earlier run completed."""

    def __init__(
        self,
        layout: Layout,
        api: Api,
        sender: UsageSender,
        *,
        state: LoadState,
        databases: Mapping[ServiceName, str],
        say: Say,
    ) -> None:
        self._layout = layout
        self._api = api
        self._sender = sender
        self._state = state
        self._databases = databases
        self._say = say

    async def load_main(self, account: DemoAccount) -> None:
        """Load the catalogue and the main account's present; ``load_rest`` loads its past."""
        if self._state.is_done(account.id):
            self._say("the demo data is loaded already")
        else:
            self._say("loading the demo data: catalogue")
            await enter_catalogue(self._api, account.start - timedelta(days=30))
            self._say(f"loading {account.name}")
            await self._sell(account)
            await self._load_recent([account])
            await self._settle(account)
            self._state.finish(account.id)
        await self._once(f"{account.id} team", self._add_team, account)

    async def load_rest(self, main: DemoAccount, others: list[DemoAccount]) -> None:
        """Load the main account's past and the other accounts.

        A failure is reported, and the function returns.
        """
        try:
            await self._once(f"{main.id} history", self._load_history, [main])
            small = [account for account in others if account.id != BIG_ACCOUNT]
            big = [account for account in others if account.id == BIG_ACCOUNT]
            for account in others:
                await self._once(f"{account.id} sold", self._sell, account)
            await self._once("renewal", self._renew, next(one for one in others if one.id == OTHER_ACCOUNT))
            await self._once("others recent", self._load_recent, small)
            await self._once("others history", self._load_history, small)
            await self._once("big recent", self._load_recent, big)
            await self._once("forecasts", self._forecast, main)
            self._say("all demo data is loaded")
        except Exception as error:  # the demo can go on without this data
            self._say(f"the rest of the demo data could not be loaded; the next start resumes it: {error}")

    async def _once(self, step: str, load: Callable[[T], Awaitable[None]], what: T) -> None:
        if not self._state.is_done(step):
            await load(what)
            self._state.finish(step)

    async def _settle(self, account: DemoAccount) -> None:
        """Wait until the page shows the usage that was reported."""
        wanted = sum(share.allocated * share.used_percent for share in account.shares if share.product != "api-guard")
        wait = Wait(f"the usage of {account.name} to be visible", self._say)
        path = f"/v1/subscriptions/{self._subscription(account)}"
        while await self._consumed(account, path) < wanted * SETTLED_PERCENT // 100_00:
            if wait.is_over():
                raise LocalStackError(f"The usage of {account.name} was not visible in time.")
            await asyncio.sleep(0.5)

    async def _consumed(self, account: DemoAccount, path: str) -> int:
        try:
            return int((await self._api.read(account.contact, path))["consumed"])
        except RefusedError:  # reporting does not know the subscription yet
            return 0

    async def _sell(self, account: DemoAccount) -> None:
        """Sell the account's subscription.

        A recent one is sold through the API, and an old one by backdated commands.
        """
        if account.id in self._state.subscriptions:
            return
        if account.start > self._state.now - RECENT:
            subscription = await sell(self._api, account)
            await allocate(self._api, account, subscription)
        else:
            async with open_backdated_commands(self._databases["allocation"], command_keys(self._layout)) as commands:
                subscription = await sell_backdated(commands, account, self._state.today)
        self._state.subscriptions[account.id] = subscription
        self._state.save()

    async def _add_team(self, account: DemoAccount) -> None:
        """Add the account's people and roles, and order further units.

        The ordered units count from a later day on.
        """
        subscription = self._subscription(account)
        await add_team(self._api, account, subscription)
        await give_roles(self._api, account)
        await order_ahead(self._api, account, subscription, self._state.today)

    async def _renew(self, account: DemoAccount) -> None:
        await renew(self._api, account, self._subscription(account))

    async def _forecast(self, main: DemoAccount) -> None:
        """Make forecasts, once the windows of the main account's past are shown."""
        wait = Wait(f"the past of {main.name} to be visible", self._say)
        path = f"/v1/subscriptions/{self._subscription(main)}/usage"
        while len((await self._api.read(main.contact, path))["items"]) < WINDOWS_SHOWN * len(main.shares):
            if wait.is_over():
                raise LocalStackError(f"The past of {main.name} was not visible in time.")
            await asyncio.sleep(0.5)
        await make_forecasts(self._layout, self._databases)

    async def _load_history(self, accounts: list[DemoAccount]) -> None:
        """Load the usage that is too old for ingest."""
        boundary = self._state.now - RECENT
        using = [account for account in accounts if account.scenario != "per product" and account.start < boundary]
        old = await self._events(using, None, boundary)
        self._say(f"{_named(using)}: {len(old):,} events of the past 13 months")
        wanted = {self._subscription(one): [share.product for share in one.shares] for one in using}
        await load_history(self._databases["metering"], old, wanted)

    async def _load_recent(self, accounts: list[DemoAccount]) -> None:
        """Send the usage that ingest still accepts."""
        using = [account for account in accounts if account.scenario != "per product"]
        recent = await self._events(using, self._state.now - RECENT, self._state.now)
        self._say(f"{_named(using)}: {len(recent):,} events of the last weeks, through Kafka and HTTP")
        await self._sender.report(one for one in recent if not _is_of(HTTP_PRODUCT, one))
        await self._sender.report_over_http(HTTP_PRODUCT, [one for one in recent if _is_of(HTTP_PRODUCT, one)])

    async def _events(
        self, accounts: Iterable[DemoAccount], since: datetime | None, until: datetime
    ) -> list[UsageEvent]:
        """The accounts' usage in order of time.

        It is generated up to the load's ``now`` and cut at ``until``, as an event depends on the end of its window.
        """
        result: list[UsageEvent] = []
        for account in accounts:
            begin = account.start if since is None else max(since, account.start)
            made = usage_of(account, self._subscription(account), begin, self._state.now)
            for reported in made:
                if reported.at < until:
                    result.append(reported)
                if len(result) % 500 == 0:
                    await asyncio.sleep(0)  # so that live usage and signals are handled
        return await asyncio.to_thread(in_order, result)

    def _subscription(self, account: DemoAccount) -> str:
        return self._state.subscriptions[account.id]


def _named(accounts: list[DemoAccount]) -> str:
    return accounts[0].name if len(accounts) == 1 else f"{len(accounts)} accounts"


def _is_of(product: str, reported: UsageEvent) -> bool:
    return (_SOURCE % product).encode() in reported.value
