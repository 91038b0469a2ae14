"""Finds environment variables that look like settings, such as misspelt ones."""

import difflib
from collections.abc import Collection, Iterable, Iterator
from typing import Final, get_args

from shared.events.topics import ServiceName

PREFIX: Final = "UNITPOOL_"
_TOOLS: Final = ("LOCAL", "TEST", "OIDC", "DEMO", "BENCH", "BARE", "CRASH", "APPROVE", "RESOURCES", "EXACT")
"""First words of the variables of the local stack, the tests and the benchmarks."""
_SERVICES: Final = tuple(name.upper() for name in get_args(ServiceName))


def find_misspelt(service: str, known: Collection[str], environment: Iterable[str]) -> Iterator[str]:
    """Yield a sentence for each variable that looks like a setting and is none.

    These have the prefix of this service or of all services, and are not in ``known``. ``known``: names of variables,
    in upper case. The sentence suggests the most similar one. All services may share an environment: variables with
    another service's name are left to that service.
    """
    own = service.upper()
    for given in sorted(environment):
        name = given.upper()
        if not name.startswith(PREFIX) or name in known:
            continue
        word = name.removeprefix(PREFIX).partition("_")[0]
        if word in _TOOLS or (word in _SERVICES and word != own):
            continue
        nearest = _nearest(name, known, f"{PREFIX}{own}_")
        yield f"{given} is not a setting and is ignored" + (f"; is {nearest} meant?" if nearest else "")


def _nearest(name: str, known: Collection[str], prefix: str) -> str | None:
    """Return the most similar setting; ``None`` if none is similar.

    Names are compared without the common prefix.
    """
    if name.startswith(prefix):
        own = [one.removeprefix(prefix) for one in known if one.startswith(prefix)]
        found = difflib.get_close_matches(name.removeprefix(prefix), own, n=1, cutoff=0.7)
        return f"{prefix}{found[0]}" if found else None
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.8)), None)
