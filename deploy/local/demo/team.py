"""Changes to an existing account.

They are its people and grants, roles, and orders of later units.
"""

from datetime import datetime, timedelta

from deploy.local.demo.accounts import DemoAccount
from deploy.local.demo.api import Api
from deploy.local.demo.sales import VENDOR
from deploy.local.people import PEOPLE, DemoPerson
from shared.events.state import Grant

GRANTS: dict[str, Grant] = {
    "viewer": "viewer",
    "allocator": "allocator",
    "auditor": "auditor",
    "useradmin": "useradmin",
}
"""The grant that the primary contact gives each person, by short name."""
ORDERED_AHEAD = timedelta(days=30)
ORDERED_UNITS = 400
CUSTOMISED, CUSTOM_PERMISSIONS = "exposure-scan-reader", ["page.use", "data.read", "data.export"]
OWN_ROLE = {
    "product": "exposure-scan",
    "name": "Night Shift",
    "permissions": ["page.use", "api.use", "data.read", "tasks.run"],
}


async def add_team(api: Api, account: DemoAccount, subscription: str) -> None:
    """Add the account's people and give each delegate a grant, as the primary contact."""
    for one in team():
        people = f"/v1/accounts/{account.id}/people"
        await api.write("POST", account.contact, people, {"email": one.email, "name": one.name})
        grants = f"/v1/subscriptions/{subscription}/grants/{one.email}"
        await api.write("PUT", account.contact, grants, {"grants": [GRANTS[one.who]]})


async def give_roles(api: Api, account: DemoAccount) -> None:
    """Customise a role, create one, and give roles to people.

    The user administrator does so.
    """
    viewer, allocator, _, useradmin = team()
    roles = f"/v1/accounts/{account.id}/roles"
    await api.write("PATCH", useradmin, f"{roles}/{CUSTOMISED}", {"permissions": CUSTOM_PERMISSIONS})
    own = await api.write("POST", useradmin, roles, OWN_ROLE)
    for role, one in ((CUSTOMISED, viewer), (str(own["role"]), allocator), ("patch-flow-operator", allocator)):
        await api.write("POST", useradmin, f"{roles}/{role}/members", {"email": one.email})


async def order_ahead(api: Api, account: DemoAccount, subscription: str, today: datetime) -> None:
    """Sell units that begin to count later, as the vendor."""
    order = {
        "units": ORDERED_UNITS,
        "order_reference": f"PO-{account.id}-later",
        "start": (today + ORDERED_AHEAD).isoformat(),
    }
    await api.write("POST", VENDOR, f"/v1/subscriptions/{subscription}/purchases", order)


async def renew(api: Api, account: DemoAccount, subscription: str) -> None:
    """Sell the next term with a fifth more units than the present one, as the vendor."""
    body = {
        "end": (account.end + timedelta(days=365)).isoformat(),
        "units": sum(account.lots) * 12 // 10,
        "order_reference": f"PO-{account.id}-renewal",
    }
    await api.write("POST", VENDOR, f"/v1/subscriptions/{subscription}/renew", body)


def team() -> list[DemoPerson]:
    """The main account's delegates, in the order of their grants."""
    return [one for who in GRANTS for one in PEOPLE if one.who == who]
