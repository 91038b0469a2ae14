"""What the demo does once the stack is up: load what is not loaded yet, tell where things are, keep usage flowing."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from deploy.local.demo.accounts import BIG_ACCOUNT, RECENT, DemoAccount, demo_accounts
from deploy.local.demo.api import Api, RefusedError
from deploy.local.demo.doors import HTTP_PRODUCT, Doors, in_order
from deploy.local.demo.history import load_history
from deploy.local.demo.live import Live
from deploy.local.demo.past import open_past
from deploy.local.demo.progress import LoadState
from deploy.local.demo.selling import allocate, enter_catalogue, sell
from deploy.local.demo.selling_then import sell_then
from deploy.local.demo.team import give_roles, let_in, order_ahead, renew
from deploy.local.demo.usage import Reported, usage_of
from deploy.local.demo.welcome import welcome
from deploy.local.environment import command_keys
from deploy.local.errors import LocalStackError
from deploy.local.layout import Layout
from deploy.local.patience import Patience
from deploy.local.people import OTHER_ACCOUNT
from shared.events.topics import ServiceName
from shared.runtime.process.log_repeats import WINDOW_SECONDS, Repeats

Say = Callable[[str], None]
T = TypeVar("T")
SETTLED_PERCENT = 95
_SOURCE = '"source": "/platforms/%s"'


async def run_demo(layout: Layout, databases: Mapping[ServiceName, str], say: Say) -> None:
    """Until cancelled.

    Raises:
        LocalStackError: the main account cannot be loaded.
    """
    if logging.lastResort:  # a broker that is away is one fact, not thousands of lines of the client's
        logging.lastResort.addFilter(
            Repeats(lambda _logger, event, times: say(f"{event!r}: {times} times more within {WINDOW_SECONDS:g} s"))
        )
    api, doors = Api(layout), Doors(layout)
    try:
        state = LoadState(layout.loaded, datetime.now(UTC))
        loader = Loader(layout, api, doors, state=state, databases=databases, say=say)
        main, *others = demo_accounts(state.today)
        try:
            await loader.load_main(main)
        except RefusedError as refusal:
            raise LocalStackError(f"The demo data cannot be loaded: {refusal}") from refusal
        say(welcome(layout, state.subscriptions[main.id]))
        async with asyncio.TaskGroup() as group:
            group.create_task(Live(api, doors, main, state.subscriptions[main.id]).run(say))
            group.create_task(loader.load_rest(main, others))
    finally:
        await doors.stop()
        await api.close()


class Loader:
    """Loads accounts, each step once."""

    def __init__(
        self,
        layout: Layout,
        api: Api,
        doors: Doors,
        *,
        state: LoadState,
        databases: Mapping[ServiceName, str],
        say: Say,
    ) -> None:
        self._layout = layout
        self._api = api
        self._doors = doors
        self._state = state
        self._databases = databases
        self._say = say

    async def load_main(self, account: DemoAccount) -> None:
        """The catalogue, and the account that people look at as it is today; its past follows."""
        if self._state.is_done(account.id):
            self._say("the demo data is there")
        else:
            self._say("loading the demo data: catalogue")
            await enter_catalogue(self._api, account.start - timedelta(days=30))
            self._say(f"loading {account.name}")
            await self._sell(account)
            await self._load_recent([account])
            await self._settle(account)
            self._state.finish(account.id)
        await self._once(f"{account.id} team", self._let_in, account)

    async def load_rest(self, main: DemoAccount, others: list[DemoAccount]) -> None:
        """The main account's past and the other accounts, meanwhile. What fails is told; the demo goes on."""
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
            self._say("all demo data is loaded")
        except Exception as error:  # whatever it is, the demo itself goes on
            self._say(f"the rest of the demo data is not loaded; the next start goes on with it: {error}")

    async def _once(self, step: str, load: Callable[[T], Awaitable[None]], what: T) -> None:
        if not self._state.is_done(step):
            await load(what)
            self._state.finish(step)

    async def _settle(self, account: DemoAccount) -> None:
        """Until the page shows what was just reported."""
        wanted = sum(share.allocated * share.used_percent for share in account.shares if share.product != "api-guard")
        patience = Patience(f"the usage of {account.name} to show", self._say)
        path = f"/v1/subscriptions/{self._subscription(account)}"
        while await self._consumed(account, path) < wanted * SETTLED_PERCENT // 100_00:
            if patience.is_over():
                raise LocalStackError(f"The usage of {account.name} did not show in time.")
            await asyncio.sleep(0.5)

    async def _consumed(self, account: DemoAccount, path: str) -> int:
        try:
            return int((await self._api.read(account.contact, path))["consumed"])
        except RefusedError:  # not to be seen yet
            return 0

    async def _sell(self, account: DemoAccount) -> None:
        """Through the API what began lately; what began before that, under a moving clock."""
        if account.id in self._state.subscriptions:
            return
        if account.start > self._state.now - RECENT:
            subscription = await sell(self._api, account)
            await allocate(self._api, account, subscription)
        else:
            async with open_past(self._databases["allocation"], command_keys(self._layout)) as past:
                subscription = await sell_then(past, account, self._state.today)
        self._state.subscriptions[account.id] = subscription
        self._state.save()

    async def _let_in(self, account: DemoAccount) -> None:
        """People, roles, and units that count from a later day on."""
        subscription = self._subscription(account)
        await let_in(self._api, account, subscription)
        await give_roles(self._api, account)
        await order_ahead(self._api, account, subscription, self._state.today)

    async def _renew(self, account: DemoAccount) -> None:
        await renew(self._api, account, self._subscription(account))

    async def _load_history(self, accounts: list[DemoAccount]) -> None:
        """What is too old for the doors, under a moving clock."""
        boundary = self._state.now - RECENT
        using = [account for account in accounts if account.story != "per product" and account.start < boundary]
        old = await self._events(using, None, boundary)
        self._say(f"{_named(using)}: {len(old):,} events of the past 13 months")
        wanted = {self._subscription(one): [share.product for share in one.shares] for one in using}
        await load_history(self._databases["metering"], old, wanted)

    async def _load_recent(self, accounts: list[DemoAccount]) -> None:
        """What the doors still take."""
        using = [account for account in accounts if account.story != "per product"]
        recent = await self._events(using, self._state.now - RECENT, self._state.now)
        self._say(f"{_named(using)}: {len(recent):,} events of the last weeks, through Kafka and HTTP")
        await self._doors.report(one for one in recent if not _is_of(HTTP_PRODUCT, one))
        await self._doors.report_over_http(HTTP_PRODUCT, [one for one in recent if _is_of(HTTP_PRODUCT, one)])

    async def _events(self, accounts: Iterable[DemoAccount], since: datetime | None, until: datetime) -> list[Reported]:
        """In order of time. The last window is laid out up to the load's ``now``, whatever part is asked for."""
        result: list[Reported] = []
        for account in accounts:
            begin = account.start if since is None else max(since, account.start)
            made = usage_of(account, self._subscription(account), begin, self._state.now)
            for reported in made:
                if reported.at < until:
                    result.append(reported)
                if len(result) % 500 == 0:
                    await asyncio.sleep(0)  # let live usage and signals through
        return await asyncio.to_thread(in_order, result)

    def _subscription(self, account: DemoAccount) -> str:
        return self._state.subscriptions[account.id]


def _named(accounts: list[DemoAccount]) -> str:
    return accounts[0].name if len(accounts) == 1 else f"{len(accounts)} accounts"


def _is_of(product: str, reported: Reported) -> bool:
    return (_SOURCE % product).encode() in reported.value
