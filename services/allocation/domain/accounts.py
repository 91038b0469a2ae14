"""Accounts: customer organisations, and whether they may use flexible units."""

from shared.events.commands.accounts import CreateAccount
from shared.events.state import AccountState


def create(command: CreateAccount) -> AccountState:
    """Create an account. Flexible units are off until the vendor enables them."""
    return AccountState(id=command.account, name=command.name, flex_enabled=False, version=1)


def set_flex(account: AccountState, enabled: bool) -> AccountState:
    """Enable or disable flexible units; return the same value if that changes nothing."""
    if account.flex_enabled == enabled:
        return account
    return account.model_copy(update={"flex_enabled": enabled, "version": account.version + 1})
