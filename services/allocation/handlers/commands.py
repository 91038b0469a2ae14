"""Every command and its handler."""

from collections.abc import Mapping
from functools import partial

from services.allocation.domain.subscriptions import Terms
from services.allocation.handlers.accounts import create_account, set_flex
from services.allocation.handlers.catalogue import create_meter, create_product, set_rate
from services.allocation.handlers.plans import apply_plan
from services.allocation.handlers.subscriptions import (
    create_subscription,
    purchase_lot,
    set_policy,
    subscribe_product,
)
from shared.events.commands import (
    ApplyPlan,
    CreateAccount,
    CreateMeter,
    CreateProduct,
    CreateSubscription,
    PurchaseLot,
    SetFlex,
    SetPolicy,
    SetRate,
    SubscribeProduct,
)
from shared.events.envelope import Payload
from shared.runtime.inbox import CommandHandler


def command_handlers(terms: Terms, *, wait_seconds: float) -> Mapping[type[Payload], CommandHandler]:
    """The handlers by what they handle, for the service and for whoever runs them under another clock.

    ``wait_seconds``: how long a plan waits for the consumption that its asker was shown.
    """
    return {
        CreateAccount: create_account,
        SetFlex: set_flex,
        CreateProduct: create_product,
        CreateMeter: create_meter,
        SetRate: set_rate,
        CreateSubscription: partial(create_subscription, terms=terms),
        PurchaseLot: purchase_lot,
        SubscribeProduct: subscribe_product,
        SetPolicy: set_policy,
        ApplyPlan: partial(apply_plan, wait_seconds=wait_seconds),
    }
