"""What the demo does once the stack is up: load what is not loaded yet, tell where things are, keep usage flowing."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta

from deploy.local.demo.accounts import BIG_ACCOUNT, RECENT, DemoAccount, demo_accounts
from deploy.local.demo.api import Api, RefusedError
from deploy.local.demo.doors import HTTP_PRODUCT, Doors, in_order
from deploy.local.demo.history import load_history
from deploy.local.demo.live import Live
from deploy.local.demo.progress import LoadState
from deploy.local.demo.selling import allocate, enter_catalogue, sell
from deploy.local.demo.usage import Reported, usage_of
from deploy.local.demo.welcome import welcome
from deploy.local.errors import LocalStackError
from deploy.local.layout import Layout
from shared.events.topics import ServiceName

Say = Callable[[str], None]
_SOURCE = '"source": "/platforms/%s"'


async def run_demo(layout: Layout, databases: Mapping[ServiceName, str], say: Say) -> None:
    """Until cancelled.

    Raises:
        LocalStackError: the main account cannot be loaded.
    """
    api, doors = Api(layout), Doors(layout)
    try:
        await doors.start()
        state = LoadState(layout.loaded, datetime.now(UTC))
        loader = Loader(api, doors, state, databases["metering"], say)
        main, *others = demo_accounts(state.now.replace(hour=0, minute=0, second=0, microsecond=0))
        try:
            await loader.load_main(main)
        except RefusedError as refusal:
            raise LocalStackError(f"The demo data cannot be loaded: {refusal}") from refusal
        say(welcome(layout, state.subscriptions[main.id]))
        async with asyncio.TaskGroup() as group:
            group.create_task(Live(api, doors, main, state.subscriptions[main.id]).run(say))
            group.create_task(loader.load_others(others))
    finally:
        await doors.stop()
        await api.close()


class Loader:
    """Loads accounts, each step once."""

    def __init__(self, api: Api, doors: Doors, state: LoadState, metering_dsn: str, say: Say) -> None:
        self._api = api
        self._doors = doors
        self._state = state
        self._metering_dsn = metering_dsn
        self._say = say

    async def load_main(self, account: DemoAccount) -> None:
        """The catalogue and the account that people look at."""
        if self._state.is_done(account.id):
            self._say("the demo data is there")
            return
        self._say("loading the demo data: catalogue")
        await enter_catalogue(self._api, account.start - timedelta(days=30))
        self._say(f"loading {account.name}")
        await self._sell(account)
        await self._use([account])
        self._state.finish(account.id)

    async def load_others(self, accounts: list[DemoAccount]) -> None:
        """The rest, while the main account is in use already. What fails is told; the demo goes on."""
        try:
            waiting = [account for account in accounts if not self._state.is_done(account.id)]
            if not waiting:
                return
            self._say(f"loading {len(waiting)} more accounts meanwhile")
            for account in waiting:
                await self._sell(account)
            small = [account for account in waiting if account.id != BIG_ACCOUNT]
            await self._use(small)
            for account in small:
                self._state.finish(account.id)
            for account in waiting:
                if account.id == BIG_ACCOUNT:
                    await self._use([account])
                    self._state.finish(account.id)
            self._say("all demo data is loaded")
        except Exception as error:  # whatever it is, the demo itself goes on
            self._say(f"the other accounts are not all loaded; the next start goes on with them: {error}")

    async def _sell(self, account: DemoAccount) -> None:
        subscription = await sell(self._api, account)
        if account.id not in self._state.subscriptions:
            await allocate(self._api, account, subscription)
            self._state.subscriptions[account.id] = subscription
            self._state.save()

    async def _use(self, accounts: list[DemoAccount]) -> None:
        """The history under a moving clock, then what the doors still take."""
        using = [account for account in accounts if account.story != "per product"]
        boundary = self._state.now - RECENT
        name = using[0].name if len(using) == 1 else f"{len(using)} accounts"
        old = await self._events((one for one in using if one.start < boundary), None, boundary)
        if old:
            self._say(f"{name}: {len(old):,} events of the past 13 months")
            wanted = {self._subscription(one): [share.product for share in one.shares] for one in using}
            await load_history(self._metering_dsn, old, wanted)
        recent = await self._events(using, boundary, self._state.now)
        over_http = [one for one in recent if _is_of(HTTP_PRODUCT, one)]
        self._say(f"{name}: {len(recent):,} events of the last weeks, through Kafka and HTTP")
        await self._doors.report(one for one in recent if not _is_of(HTTP_PRODUCT, one))
        await self._doors.report_over_http(HTTP_PRODUCT, over_http)

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


def _is_of(product: str, reported: Reported) -> bool:
    return (_SOURCE % product).encode() in reported.value
