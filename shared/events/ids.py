"""Identifiers, each a string with its own type.

So one cannot be passed for another.
"""

import secrets
from typing import Annotated, NewType
from uuid import UUID, uuid4

from pydantic import AfterValidator, StringConstraints

from shared import people

_Slug = StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=64)

AccountId = NewType("AccountId", str)
SubscriptionId = NewType("SubscriptionId", str)
ProductId = NewType("ProductId", str)
MeterId = NewType("MeterId", str)
LotId = NewType("LotId", str)
AlertId = NewType("AlertId", str)
RoleId = NewType("RoleId", str)
PermissionId = NewType("PermissionId", str)
CommandId = NewType("CommandId", UUID)
PersonId = NewType("PersonId", str)

# An id that people choose: lower-case letters, digits and hyphens, at most 64 characters (100 for a role's).
AccountRef = Annotated[AccountId, _Slug]
SubscriptionRef = Annotated[SubscriptionId, _Slug]
ProductRef = Annotated[ProductId, _Slug]
MeterRef = Annotated[MeterId, _Slug]
RoleRef = Annotated[RoleId, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=100)]
PermissionRef = Annotated[PermissionId, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]*$", max_length=100)]
"""A permission of a product's application, such as ``page.use``."""

PersonRef = Annotated[PersonId, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
"""A person: opaque, and never given to anybody else."""

TextKey = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""The key with which a person's texts are sealed: 64 hexadecimal digits."""

WrittenText = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
"""What a person wrote, sealed with their key (``shared.events.sealed``)."""


def new_person_id() -> PersonId:
    """Return an id for a person who is added."""
    return PersonId(uuid4().hex)


def new_text_key() -> str:
    """Return a key for a person who is added."""
    return secrets.token_hex(32)


def _readable(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("must be printable text that is not blank")
    return value.strip()


Name = Annotated[str, StringConstraints(max_length=200), AfterValidator(_readable)]
"""A name or sentence that a person typed.

It is printable, not blank, and has at most 200 characters.
"""


def _plain(value: str) -> str:
    if any(character in value for character in "<>&"):
        raise ValueError("must not contain <, > or &")
    return value


PlainName = Annotated[Name, AfterValidator(_plain)]
"""A name without markup, for what is shown in many places (roles, people)."""

Email = Annotated[
    str, StringConstraints(pattern=r"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+$", max_length=254), AfterValidator(people.fold)
]
"""An e-mail address, folded by ``shared.people``, which identifies a person.

It may also be one that is no longer valid.
"""
