"""What people do once an account is there: they are let in, roles are given, and units are ordered for later."""

from datetime import datetime, timedelta

from deploy.local.demo.accounts import DemoAccount
from deploy.local.demo.api import Api
from deploy.local.demo.selling import VENDOR
from deploy.local.people import PEOPLE, DemoPerson
from shared.events.state import Grant

GRANTS: dict[str, Grant] = {
    "viewer": "viewer",
    "allocator": "allocator",
    "auditor": "auditor",
    "useradmin": "useradmin",
}
"""What the primary contact gives, by the words for people."""
ORDERED_AHEAD = timedelta(days=30)
ORDERED_UNITS = 400
CUSTOMISED, CUSTOM_PERMISSIONS = "exposure-scan-reader", ["page.use", "data.read", "data.export"]
OWN_ROLE = {
    "product": "exposure-scan",
    "name": "Night Shift",
    "permissions": ["page.use", "api.use", "data.read", "tasks.run"],
}


async def let_in(api: Api, account: DemoAccount, subscription: str) -> None:
    """The primary contact adds the account's people and gives each delegate a grant."""
    for one in team():
        people = f"/v1/accounts/{account.id}/people"
        await api.write("POST", account.contact, people, {"email": one.email, "name": one.name})
        grants = f"/v1/subscriptions/{subscription}/grants/{one.email}"
        await api.write("PUT", account.contact, grants, {"grants": [GRANTS[one.who]]})


async def give_roles(api: Api, account: DemoAccount) -> None:
    """The user administrator customises a default role, makes one of the account's own, and gives them to people."""
    viewer, allocator, _, useradmin = team()
    roles = f"/v1/accounts/{account.id}/roles"
    await api.write("PATCH", useradmin, f"{roles}/{CUSTOMISED}", {"permissions": CUSTOM_PERMISSIONS})
    own = await api.write("POST", useradmin, roles, OWN_ROLE)
    for role, one in ((CUSTOMISED, viewer), (str(own["role"]), allocator), ("patch-flow-operator", allocator)):
        await api.write("POST", useradmin, f"{roles}/{role}/members", {"email": one.email})


async def order_ahead(api: Api, account: DemoAccount, subscription: str, today: datetime) -> None:
    """The vendor sells units that begin to count later."""
    order = {
        "units": ORDERED_UNITS,
        "order_reference": f"PO-{account.id}-later",
        "start": (today + ORDERED_AHEAD).isoformat(),
    }
    await api.write("POST", VENDOR, f"/v1/subscriptions/{subscription}/purchases", order)


async def renew(api: Api, account: DemoAccount, subscription: str) -> None:
    """The vendor sells the next term, with as many units as today's and a fifth more."""
    body = {
        "end": (account.end + timedelta(days=365)).isoformat(),
        "units": sum(account.lots) * 12 // 10,
        "order_reference": f"PO-{account.id}-renewal",
    }
    await api.write("POST", VENDOR, f"/v1/subscriptions/{subscription}/renew", body)


def team() -> list[DemoPerson]:
    """The main account's delegates, in the order of their grants."""
    return [one for who in GRANTS for one in PEOPLE if one.who == who]
