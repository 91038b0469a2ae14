"""Reporting on a real database, with an issuer of its own."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.component.reporting.issuer import Issuer, issuing
from tests.component.reporting.states import account, created, product
from tests.component.reporting.world import World, reporting
from tests.conftest import MakeDatabase


@pytest.fixture(scope="session")
def shared_issuer() -> Iterator[Issuer]:
    """Making keys is slow: one for all."""
    with issuing() as issuer:
        yield issuer


@pytest.fixture
async def empty(database: MakeDatabase, shared_issuer: Issuer) -> AsyncIterator[World]:
    """Nothing is known yet."""
    async with reporting(await database("reporting"), shared_issuer) as world:
        yield world


@pytest.fixture
async def world(empty: World) -> World:
    """Acme, the product, and Acme's subscription."""
    await empty.apply(account(), product(), created())
    return empty
