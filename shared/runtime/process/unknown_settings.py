"""Variables of the environment that look like settings and are none: ignored, they would seem to work."""

import difflib
from collections.abc import Collection, Iterable, Iterator
from typing import Final, get_args

from shared.events.topics import ServiceName

PREFIX: Final = "UNITPOOL_"
_TOOLS: Final = ("LOCAL", "TEST", "OIDC", "DEMO", "BENCH", "BARE", "CRASH", "APPROVE", "RESOURCES", "EXACT")
"""First words of what the local stack, the tests and the benchmarks are told."""
_SERVICES: Final = tuple(name.upper() for name in get_args(ServiceName))


def find_misspelt(service: str, known: Collection[str], environment: Iterable[str]) -> Iterator[str]:
    """A sentence for each variable that can only be meant for this service, or for all, and that nothing reads.

    One environment may be shared by all services: what begins with another's name is its own to judge.
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
    """The real name that is most like it, without what all have in common."""
    if name.startswith(prefix):
        own = [one.removeprefix(prefix) for one in known if one.startswith(prefix)]
        found = difflib.get_close_matches(name.removeprefix(prefix), own, n=1, cutoff=0.7)
        return f"{prefix}{found[0]}" if found else None
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.8)), None)
