"""Accounts."""

import re
import unicodedata
from typing import Any

from fastapi import APIRouter, Response

from services.reporting.api.answers import accounts as answers
from services.reporting.api.fields import Cursor, Limit
from services.reporting.api.identifiers import AccountInPath
from services.reporting.api.requests.accounts import FlexSetting, NewAccount
from services.reporting.api.routing import ApiContext, CommandId, CurrentCaller, derive_id, new_router, write_answers
from shared.events.commands.accounts import CreateAccount, SetFlex
from shared.events.ids import AccountId

MAX_ID_LENGTH = 64


def accounts_router(context: ApiContext) -> APIRouter:
    """``/v1/accounts``."""
    router = new_router("accounts", "/accounts")
    accounts = context.application.accounts

    @router.post("", **write_answers(answers.Account))
    async def create(caller: CurrentCaller, body: NewAccount, command: CommandId) -> Response:
        """Create an account. Vendor only."""
        account = body.id or id_from(body.name) or derive_id(caller, command)
        payload = CreateAccount(account=AccountId(account), name=body.name)
        return await context.write(
            payload, caller, command, lambda: answers.Account.of(accounts.account(caller, account))
        )

    @router.get("", response_model=answers.Accounts)
    async def several(caller: CurrentCaller, limit: Limit = 50, cursor: Cursor = None) -> Any:
        """List accounts: all for the vendor, else those of the caller's subscriptions."""
        return await accounts.accounts(caller, limit, cursor)

    @router.get("/{account}", response_model=answers.Account)
    async def one(caller: CurrentCaller, account: AccountInPath) -> Any:
        """Return one account."""
        return await accounts.account(caller, account)

    @router.put("/{account}/flex", **write_answers(answers.Account))
    async def set_flex(
        caller: CurrentCaller, account: AccountInPath, body: FlexSetting, command: CommandId
    ) -> Response:
        """Enable or disable flexible subscriptions of an account. Vendor only."""
        payload = SetFlex(account=account, enabled=body.enabled, reason=body.reason)
        return await context.write(
            payload, caller, command, lambda: answers.Account.of(accounts.account(caller, account))
        )

    return router


def id_from(name: str, most: int = MAX_ID_LENGTH) -> str:
    """Convert ``Acme Corporation`` to ``acme-corporation``.

    The result is empty if no letter or digit is left.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:most].strip("-")
