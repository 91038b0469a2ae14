"""Strict query parameters: unknown, repeated and empty ones are refused."""

from collections.abc import Collection, Iterator
from urllib.parse import parse_qsl

from shared.runtime.http.problems import ProblemError

SHOWN = 100
"""Most characters of a parameter's name in the refusal."""


def read(query: bytes, known: Collection[str]) -> dict[str, str]:
    """Parse the parameters of a query.

    Raises:
        ProblemError: ``invalid_request``, with each parameter that is wrong.
    """
    if not query:
        return {}
    given = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    found = dict(given)
    if len(found) != len(given) or not found.keys() <= set(known) or not all(found.values()):
        errors = list({error["field"]: error for error in _errors(given, known)}.values())
        raise ProblemError.of("invalid_request", "The request is not valid.", errors=errors)
    return found


def _errors(given: list[tuple[str, str]], known: Collection[str]) -> Iterator[dict[str, str]]:
    names = [name for name, _ in given]
    for name, value in given:
        if name not in known:
            taken = f"; there are: {', '.join(sorted(known))}" if known else ""
            yield {"field": name[:SHOWN], "message": f"is not a parameter here{taken}"}
        elif names.count(name) > 1:
            yield {"field": name, "message": "must be given once"}
        elif not value:
            yield {"field": name, "message": "must not be empty; leave it out instead"}
