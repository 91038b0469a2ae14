"""Commands beside the demo.

They make a token or an ingest key, stop the demo, and delete its data.
"""

import shutil
import sys
import time
import uuid

import httpx

from deploy.local import postgres_home
from deploy.local.environment import issuer_url, public_url
from deploy.local.errors import LocalStackError
from deploy.local.layout import Layout
from deploy.local.lock import stop_holder
from deploy.local.oidc.tokens import Issuer
from deploy.local.people import PEOPLE, DemoPerson, person
from deploy.local.wait import Wait

_RETRIED_STATUSES = frozenset({202, 429, 502, 503, 504})
"""Statuses after which the request is sent again.

The outcome of the request is pending, or the service is busy or away. A retry has the same idempotency key, so it gets
the answer to the first request.
"""
RETRY_SECONDS = 0.5


def token_for(layout: Layout, one: DemoPerson) -> str:
    """A bearer token of a demo person, valid in this stack."""
    return Issuer.load_or_create(issuer_url(layout), layout.secrets / "oidc.jwk").access_token(one)


def token(layout: Layout, who: str) -> str:
    """A bearer token of the demo person with the short name ``who``.

    Raises:
        LocalStackError: no demo person has this name.
    """
    found = person(who)
    if found is None:
        known = ", ".join(one.who for one in PEOPLE)
        raise LocalStackError(f"No demo person is named {who!r}; AS= takes one of: {known}.")
    return token_for(layout, found)


def new_ingest_key(layout: Layout, product: str) -> str:
    """Create an ingest key of ``product`` through the API, as the vendor.

    Returns the key.

    Raises:
        LocalStackError: no demo runs, or the API refused the command.
    """
    headers = {"Authorization": f"Bearer {token(layout, 'vendor')}", "Idempotency-Key": str(uuid.uuid4())}
    url = f"{public_url(layout)}/v1/ingest-keys"
    wait = Wait(f"a key from {url}")
    while True:
        try:
            answer = httpx.post(url, json={"product": product}, headers=headers, timeout=30)
        except httpx.ConnectError as error:
            raise LocalStackError(f"The API at {url} does not answer; is `make demo` running?") from error
        except httpx.TransportError as error:
            last = repr(error)
        else:
            last = f"{answer.status_code} {answer.text[:200]}"
            if answer.status_code not in _RETRIED_STATUSES:
                break
        if wait.is_over(last):
            raise LocalStackError(f"The ingest key was not created: {last}")
        time.sleep(RETRY_SECONDS)
    try:
        body = answer.json()
    except ValueError:
        raise LocalStackError(f"The ingest key was not created: {last}") from None
    if not answer.is_success or "key" not in body:
        raise LocalStackError(f"The ingest key was not created: {body.get('detail') or body}")
    return str(body["key"])


def stop(layout: Layout) -> None:
    """Stop the demo of this folder; other demos on the machine go on."""
    print("the demo is stopped" if stop_holder(layout.lock) else "no demo of this folder is running")


def reset(layout: Layout) -> None:
    """Stop the demo and delete its data."""
    stop(layout)
    postgres_home.delete(layout.root / "postgres" / "data")
    if layout.root.exists():
        shutil.rmtree(layout.root)
    print("the demo's data is deleted", file=sys.stderr)
