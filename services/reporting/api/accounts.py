"""Accounts."""

import re
import unicodedata
from typing import Any

from fastapi import APIRouter, Response

from services.reporting.api.answers import accounts as answers
from services.reporting.api.edge import Asking, CommandId, Doors, chosen_id, new_router, write_answers
from services.reporting.api.fields import Cursor, Limit
from services.reporting.api.names import InAccount
from services.reporting.api.requests.accounts import FlexSetting, NewAccount
from shared.events.commands.accounts import CreateAccount, SetFlex
from shared.events.ids import AccountId

MAX_ID_LENGTH = 64


def accounts_router(doors: Doors) -> APIRouter:
    """``/v1/accounts``."""
    router = new_router("accounts", "/accounts")
    accounts = doors.application.accounts

    @router.post("", **write_answers(answers.Account))
    async def create(caller: Asking, asked: NewAccount, command: CommandId) -> Response:
        """Create an account. Vendor only."""
        account = asked.id or id_from(asked.name) or chosen_id(caller, command)
        payload = CreateAccount(account=AccountId(account), name=asked.name)
        return await doors.write(
            payload, caller, command, lambda: answers.Account.of(accounts.account(caller, account))
        )

    @router.get("", response_model=answers.Accounts)
    async def several(caller: Asking, limit: Limit = 50, cursor: Cursor = None) -> Any:
        """List accounts: all for the vendor, else those of the caller's subscriptions."""
        return await accounts.accounts(caller, limit, cursor)

    @router.get("/{account}", response_model=answers.Account)
    async def one(caller: Asking, account: InAccount) -> Any:
        """Return one account."""
        return await accounts.account(caller, account)

    @router.put("/{account}/flex", **write_answers(answers.Account))
    async def set_flex(caller: Asking, account: InAccount, asked: FlexSetting, command: CommandId) -> Response:
        """Enable or disable flexible subscriptions of an account. Vendor only."""
        payload = SetFlex(account=account, enabled=asked.enabled, reason=asked.reason)
        return await doors.write(
            payload, caller, command, lambda: answers.Account.of(accounts.account(caller, account))
        )

    return router


def id_from(name: str, most: int = MAX_ID_LENGTH) -> str:
    """Convert ``Acme Corporation`` to ``acme-corporation``; return '' if no letter or digit is left."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:most].strip("-")
