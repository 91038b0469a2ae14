"""What changes, as it changes: woken by NOTIFY from the transactions that change the read models, in every replica."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Change:
    """Something about a subscription is different now; read again. ``missed``: perhaps more than one thing is."""

    subscription: str
    what: Literal["subscription", "consumption", "alert", "channel", "missed"]


class Live:
    """Hands changes to whoever watches."""

    def changes(self, subscription: str) -> AsyncIterator[Change]:
        """Changes from now on, until the iterator is closed. Several in a row of one kind come as one."""
        raise NotImplementedError
