"""The people of the demo, with the short names that ``make token AS=`` accepts."""

from dataclasses import dataclass

MAIN_ACCOUNT = "acme"
OTHER_ACCOUNT = "globex"


@dataclass(frozen=True, slots=True)
class DemoPerson:
    """A person of the demo.

    ``who`` is the short name, and ``does`` the text on the sign-in page.
    """

    who: str
    email: str
    name: str
    does: str
    roles: tuple[str, ...] = ()


PEOPLE: tuple[DemoPerson, ...] = (
    DemoPerson("primary", "paula@acme.example", "Paula Prime", "primary contact of Acme: sees and allocates its units"),
    DemoPerson("vendor", "vera@unitpool.example", "Vera Vendor", "vendor operator: sells, and sees all", ("vendor",)),
    DemoPerson("viewer", "victor@acme.example", "Victor View", "may see Acme's units"),
    DemoPerson("allocator", "alan@acme.example", "Alan Allocate", "may allocate at Acme"),
    DemoPerson("auditor", "audrey@acme.example", "Audrey Audit", "may see Acme's units and its audit log"),
    DemoPerson("useradmin", "uma@acme.example", "Uma Users", "administers Acme's people and roles, no units"),
    DemoPerson("stranger", "sam@globex.example", "Sam Stranger", "primary contact of Globex: sees nothing of Acme"),
)


def person(who: str) -> DemoPerson | None:
    """The demo person with this short name; None if there is none."""
    return next((one for one in PEOPLE if one.who == who), None)


def contact_of(account: str) -> DemoPerson:
    """The primary contact of any demo account."""
    if account == MAIN_ACCOUNT:
        return PEOPLE[0]
    if account == OTHER_ACCOUNT:
        return PEOPLE[-1]
    title = account.replace("-", " ").title()
    return DemoPerson(
        f"contact:{account}", f"contact@{account}.example", f"{title} Contact", f"primary contact of {title}"
    )
