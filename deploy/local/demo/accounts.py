"""The demo's accounts: names, contacts, lots, allocations and usage.

They are the same on every machine.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from deploy.local.demo.catalogue import CATALOGUE
from deploy.local.people import MAIN_ACCOUNT, OTHER_ACCOUNT, DemoPerson, contact_of
from shared.windows import DEFAULT_WINDOW_DAYS

SEED = 20_261_124
MONTHS_13 = timedelta(days=26 * DEFAULT_WINDOW_DAYS)
BIG_ACCOUNT = "colossus"
BIG_RESOURCES = 250_000
RECENT = timedelta(days=34)
"""Age up to which ingest accepts usage: 35 days, less a day for a slow start."""

Scenario = Literal[
    "ordinary",
    "over-used",
    "under-used",
    "over-allocated",
    "about to expire",
    "rebalanced lately",
    "per product",
    "big",
]


@dataclass(frozen=True, slots=True)
class Share:
    """One product of a subscription.

    ``allocated``: units. ``used_percent`` and ``began_percent``: the percentage of them that is consumed in the last
    window and in the first.
    """

    product: str
    allocated: int
    used_percent: int
    began_percent: int


@dataclass(frozen=True, slots=True)
class DemoAccount:
    """An account with its one subscription.

    ``lots``: the units of each. ``contact``: the primary contact.
    """

    id: str
    name: str
    scenario: Scenario
    start: datetime
    end: datetime
    lots: tuple[int, ...]
    shares: tuple[Share, ...]
    subscription_name: str = ""
    contact: DemoPerson = field(default_factory=lambda: contact_of(MAIN_ACCOUNT))

    @property
    def allocated(self) -> int:
        """Sum of its allocations, in units."""
        return sum(share.allocated for share in self.shares)


_NAMES = (
    *("Globex", "Initrode", "Umbra Foods", "Northwind Rail", "Blue Harbor", "Cedar Bank", "Delta Mills"),
    *("Evergreen Labs", "Falcon Freight", "Granite Telecom", "Helio Energy", "Iris Clinics", "Juniper Hotels"),
    *("Kestrel Media", "Lumen Retail", "Meridian Water", "Nimbus Games", "Orchard Insurance", "Pioneer Motors"),
    *("Quarry Stone", "Redwood Schools", "Silverline Air", "Tundra Mining"),
)

_SCENARIOS: dict[str, Scenario] = {
    "initrode": "over-used",
    "umbra-foods": "under-used",
    "northwind-rail": "over-allocated",
    "blue-harbor": "about to expire",
    "cedar-bank": "rebalanced lately",
    "delta-mills": "per product",
}

# The main account. Exposure Scan is just below 80 %, so that live usage crosses this threshold within a minute.
# Certificate Watch goes up and down all the time.
_ACME = (
    Share("exposure-scan", 600, 78, 45),
    Share("risk-hub", 300, 62, 40),
    Share("asset-inventory", 400, 91, 70),
    Share("surface-watch", 240, 54, 30),
    Share("patch-flow", 350, 96, 60),
    Share("web-app-test", 300, 72, 48),
    Share("api-guard", 250, 58, 0),
    Share("container-shield", 260, 31, 22),
    Share("certificate-watch", 120, 61, 40),
)


def demo_accounts(today: datetime) -> Iterator[DemoAccount]:
    """All 25 accounts, the main one first; their terms contain ``today``, a midnight."""
    yield DemoAccount(
        id=MAIN_ACCOUNT,
        name="Acme",
        scenario="ordinary",
        start=today - MONTHS_13 - timedelta(days=6),
        end=today + timedelta(days=164),
        lots=(2400, 600),
        shares=_ACME,
        subscription_name="Acme Flex",
    )
    for number, name in enumerate(_NAMES):
        yield _account(name, random.Random(SEED + number), today)  # noqa: S311 - invented data
    yield DemoAccount(
        id=BIG_ACCOUNT,
        name="Colossus",
        scenario="big",
        start=today - timedelta(days=20),
        end=today + timedelta(days=345),
        lots=(300_000,),
        shares=(Share("asset-inventory", 2 * BIG_RESOURCES // 4, 50, 50), Share("surface-watch", 4_000, 60, 50)),
        subscription_name="Colossus Flex",
        contact=contact_of(BIG_ACCOUNT),
    )


def _account(name: str, chance: random.Random, today: datetime) -> DemoAccount:
    identity = name.lower().replace(" ", "-")
    scenario = _SCENARIOS.get(identity, "ordinary")
    # A product whose meter burns down is never reported as under-used, so the under-used account has none.
    offered = [product.id for product in CATALOGUE if scenario != "under-used" or not product.burns_down]
    products = chance.sample(offered, chance.randint(3, 5))
    shares = tuple(_share(product, scenario, chance) for product in products)
    allocated = sum(share.allocated for share in shares)
    start = today - MONTHS_13 - timedelta(days=chance.randint(0, 14))
    spare = allocated * chance.randint(5, 25) // 100
    lots = (
        (allocated + spare,) if scenario != "over-allocated" else (allocated * 2 // 3, allocated - allocated * 2 // 3)
    )
    return DemoAccount(
        id=identity,
        name=name,
        scenario=scenario,
        start=start,
        end=today + timedelta(days=9 if scenario == "about to expire" else chance.randint(60, 300)),
        lots=lots,
        shares=shares,
        subscription_name=f"{name} Flex" if scenario != "per product" else f"{name} licences",
        contact=contact_of(OTHER_ACCOUNT if identity == OTHER_ACCOUNT else identity),
    )


def _share(product: str, scenario: Scenario, chance: random.Random) -> Share:
    used = {"over-used": chance.randint(104, 125), "under-used": chance.randint(12, 40)}.get(
        scenario, chance.randint(35, 97)
    )
    began = min(used, chance.randint(20, 60))
    return Share(product, chance.randrange(40, 140, 10), used, began)
