"""The small commands beside the demo: tokens, ingest keys, stopping, forgetting."""

import shutil
import sys
import uuid

import httpx

from deploy.local import reach
from deploy.local.environment import issuer_url, public_url
from deploy.local.errors import LocalStackError
from deploy.local.layout import Layout
from deploy.local.lock import stop_holder
from deploy.local.oidc.tokens import Issuer
from deploy.local.people import PEOPLE, DemoPerson, person


def token_for(layout: Layout, someone: DemoPerson) -> str:
    """A bearer token of a demo person, good for this stack."""
    return Issuer.kept(issuer_url(layout), layout.secrets / "oidc.jwk").access_token(someone)


def token(layout: Layout, who: str) -> str:
    """A bearer token for the person that ``who`` means.

    Raises:
        LocalStackError: nobody is called that.
    """
    someone = person(who)
    if someone is None:
        known = ", ".join(one.who for one in PEOPLE)
        raise LocalStackError(f"Who is {who!r}? AS= takes one of: {known}.")
    return token_for(layout, someone)


def new_ingest_key(layout: Layout, product: str) -> str:
    """A new ingest key of ``product``, made through the API by the vendor.

    Raises:
        LocalStackError: no demo runs, or the API refused.
    """
    headers = {"Authorization": f"Bearer {token(layout, 'vendor')}", "Idempotency-Key": str(uuid.uuid4())}
    url = f"{public_url(layout)}/v1/ingest-keys"
    try:
        answer = httpx.post(url, json={"product": product}, headers=headers, timeout=30)
    except httpx.TransportError as error:
        raise LocalStackError(f"The API at {url} does not answer; is `make demo` running?") from error
    body = answer.json()
    if not answer.is_success:
        raise LocalStackError(f"No key: {body.get('detail') or body}")
    return str(body["key"])


def stop(layout: Layout) -> None:
    """Stop the demo of this folder, and only that."""
    print("the demo is stopped" if stop_holder(layout.lock) else "no demo of this folder is running")


def reset(layout: Layout) -> None:
    """Stop, and forget everything that the demo kept."""
    stop(layout)
    reach.forget(layout.root / "postgres" / "data")
    if layout.root.exists():
        shutil.rmtree(layout.root)
    print("the demo's data is forgotten", file=sys.stderr)
