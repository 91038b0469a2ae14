"""The verification of every chain of the audit log, from first record to head."""

import sys
from argparse import Namespace
from collections.abc import AsyncIterator

from services.reporting.domain.audit_chain import Chain, Fault
from services.reporting.settings import ReportingSettings
from services.reporting.store.audit_chains import find_head, find_next_chain, stream_links
from shared.runtime.postgres.pool import DATABASE_ERRORS, Connection, connect

WHOLE, BROKEN, NOT_RUN = 0, 1, 2
PROGRESS_RECORDS = 10_000


async def verify(settings: ReportingSettings, parsed: Namespace) -> int:
    """Print each chain's length and hash, or its first broken record.

    Return the exit code: 0 all are whole, 1 some are broken, 2 the log could not be read.
    """
    only: str | None = parsed.account
    try:
        connection = await connect(settings, "reporting-verify-audit")
        try:
            return await _verify(connection, only)
        finally:
            await connection.close()
    except DATABASE_ERRORS as error:
        print(f"the audit log cannot be verified: {error}", file=sys.stderr)
        return NOT_RUN


async def _verify(connection: Connection, only: str | None) -> int:
    chains = records = broken = 0
    async for account in _accounts(connection, only):
        chain, fault = await _verify_chain(connection, account)
        chains, records = chains + 1, records + chain.records
        if fault:
            broken += 1
            print(
                f"{show_account(account)}: BROKEN at record {fault.number}: {fault.what} (whole up to {chain.records})"
            )
        elif chain.records:
            print(f"{show_account(account)}: {chain.records} records, {chain.hash.hex()}")
        sys.stdout.flush()
    if only is not None and not records and not broken:
        print(f"there is no chain of {show_account(only)}", file=sys.stderr)
        return NOT_RUN
    print(f"{broken} of {chains} chains are broken" if broken else f"{chains} chains, {records} records: all whole")
    return BROKEN if broken else WHOLE


async def _accounts(connection: Connection, only: str | None) -> AsyncIterator[str]:
    account = only if only is not None else await find_next_chain(connection, None)
    while account is not None:
        yield account
        account = await find_next_chain(connection, account) if only is None else None


async def _verify_chain(connection: Connection, account: str) -> tuple[Chain, Fault | None]:
    """Verify the head and the records of a chain as of one instant.

    Records that are appended meanwhile are no fault.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        head = await find_head(connection, account)
        chain, total = Chain(head), head.records if head else 0
        async for link in stream_links(connection, account):
            if fault := chain.add(link):
                return chain, fault
            if chain.records % PROGRESS_RECORDS == 0:
                print(f"{show_account(account)}: {chain.records} of {total} records", file=sys.stderr, flush=True)
        return chain, chain.end() if head or chain.records else None


def show_account(account: str) -> str:
    """Return an account for a line of output; what cannot be printed is escaped."""
    return account if account.isprintable() else ascii(account)
