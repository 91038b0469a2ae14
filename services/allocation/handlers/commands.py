"""Every command and its handler."""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial

from services.allocation.domain.subscriptions import Terms
from services.allocation.handlers.accounts import create_account, set_flex
from services.allocation.handlers.catalogue import create_meter, create_product, retire_product, set_rate
from services.allocation.handlers.erasures import erase_person
from services.allocation.handlers.lots import purchase_lot, void_lot
from services.allocation.handlers.people import (
    add_person,
    change_person,
    hand_over,
    introduce_person,
    remove_person,
    set_grants,
)
from services.allocation.handlers.plans import PlanHandler
from services.allocation.handlers.prices import set_price_list
from services.allocation.handlers.products import set_policy, subscribe_product, unsubscribe_product
from services.allocation.handlers.roles import (
    change_role,
    create_role,
    reset_role,
    set_role_member,
    set_role_templates,
)
from services.allocation.handlers.subscriptions import (
    cancel_subscription,
    convert_subscription,
    create_subscription,
    lock_rates,
    renew_subscription,
)
from shared.events.commands.accounts import (
    AddPerson,
    ChangePerson,
    ChangeRole,
    CreateAccount,
    CreateRole,
    ErasePerson,
    IntroducePerson,
    RemovePerson,
    ResetRole,
    SetFlex,
    SetRoleMember,
)
from shared.events.commands.catalogue import (
    CreateMeter,
    CreateProduct,
    RetireProduct,
    SetPriceList,
    SetRate,
    SetRoleTemplates,
)
from shared.events.commands.plans import ApplyPlan
from shared.events.commands.subscriptions import (
    CancelSubscription,
    ConvertSubscription,
    CreateSubscription,
    LockRates,
    PurchaseLot,
    RenewSubscription,
    SetGrants,
    SetPolicy,
    SetPrimaryContact,
    SubscribeProduct,
    UnsubscribeProduct,
    VoidLot,
)
from shared.events.envelope import Payload
from shared.runtime.commands.decisions import CommandHandler


def command_handlers(
    terms: Terms, *, wait_seconds: float, erase_after: timedelta = timedelta(0)
) -> Mapping[type[Payload], CommandHandler]:
    """Handlers by the payload type of their command.

    ``terms``: of new subscriptions. ``wait_seconds``: longest wait of a plan for consumption. ``erase_after``: time
    from the request of an erasure until it is carried out.
    """
    return {
        CreateAccount: create_account,
        SetFlex: set_flex,
        CreateProduct: create_product,
        CreateMeter: create_meter,
        SetRate: set_rate,
        CreateSubscription: partial(create_subscription, terms=terms),
        RetireProduct: retire_product,
        RenewSubscription: renew_subscription,
        CancelSubscription: cancel_subscription,
        ConvertSubscription: convert_subscription,
        LockRates: lock_rates,
        PurchaseLot: purchase_lot,
        VoidLot: void_lot,
        SubscribeProduct: subscribe_product,
        UnsubscribeProduct: unsubscribe_product,
        SetPolicy: set_policy,
        SetPriceList: set_price_list,
        SetPrimaryContact: hand_over,
        SetGrants: set_grants,
        IntroducePerson: introduce_person,
        AddPerson: add_person,
        ChangePerson: change_person,
        RemovePerson: remove_person,
        ErasePerson: partial(erase_person, after=erase_after),
        SetRoleTemplates: set_role_templates,
        CreateRole: create_role,
        ChangeRole: change_role,
        ResetRole: reset_role,
        SetRoleMember: set_role_member,
        ApplyPlan: PlanHandler(wait_seconds),
    }
