"""Commands: the changes that administrators request of the services.

Their topics are ``<service>.commands``.

The envelope's ``id`` is the command id, its ``actor`` the person. Ids of new things are chosen by the sender.

``WRITTEN_FIELDS`` are sealed with the actor's key before a command is sent.
"""

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
from shared.events.commands.alerts import AcknowledgeAlert, AddChannel, RemoveChannel
from shared.events.commands.catalogue import (
    CreateMeter,
    CreateProduct,
    RetireProduct,
    SetPriceList,
    SetRate,
    SetRoleTemplates,
)
from shared.events.commands.metering import CreateIngestKey, ReplayQuarantine, RevokeIngestKey, RotateIngestKey
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

ALLOCATION_COMMANDS: tuple[type[Payload], ...] = (
    CreateAccount,
    SetFlex,
    CreateProduct,
    CreateMeter,
    SetRate,
    CreateSubscription,
    PurchaseLot,
    SubscribeProduct,
    SetPolicy,
    ApplyPlan,
    VoidLot,
    CancelSubscription,
    RenewSubscription,
    ConvertSubscription,
    LockRates,
    UnsubscribeProduct,
    RetireProduct,
    SetRoleTemplates,
    SetPriceList,
    SetPrimaryContact,
    SetGrants,
    IntroducePerson,
    AddPerson,
    ChangePerson,
    RemovePerson,
    ErasePerson,
    CreateRole,
    ChangeRole,
    ResetRole,
    SetRoleMember,
)
WRITTEN_FIELDS = ("reason", "override_reason")
"""The fields of commands in which people write."""

ALERTS_COMMANDS: tuple[type[Payload], ...] = (AcknowledgeAlert, AddChannel, RemoveChannel)
METERING_COMMANDS: tuple[type[Payload], ...] = (CreateIngestKey, RevokeIngestKey, RotateIngestKey, ReplayQuarantine)
