"""The small commands beside the demo: tokens, ingest keys, stopping, forgetting."""

import shutil
import sys
import time
import uuid

import httpx

from deploy.local import reach
from deploy.local.environment import issuer_url, public_url
from deploy.local.errors import LocalStackError
from deploy.local.layout import Layout
from deploy.local.lock import stop_holder
from deploy.local.oidc.tokens import Issuer
from deploy.local.patience import Patience
from deploy.local.people import PEOPLE, DemoPerson, person

_AGAIN = frozenset({202, 429, 502, 503, 504})
"""Not decided yet, or not to be had now: asked again with the same key, the answer is the first one's."""
AGAIN_SECONDS = 0.5


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
    """A new ingest key of ``product``, made through the API by the vendor. Waits for the command's outcome.

    Raises:
        LocalStackError: no demo runs, or the API refused.
    """
    headers = {"Authorization": f"Bearer {token(layout, 'vendor')}", "Idempotency-Key": str(uuid.uuid4())}
    url = f"{public_url(layout)}/v1/ingest-keys"
    patience = Patience(f"a key from {url}")
    while True:
        try:
            answer = httpx.post(url, json={"product": product}, headers=headers, timeout=30)
        except httpx.ConnectError as error:
            raise LocalStackError(f"The API at {url} does not answer; is `make demo` running?") from error
        except httpx.TransportError as error:
            said = repr(error)
        else:
            said = f"{answer.status_code} {answer.text[:200]}"
            if answer.status_code not in _AGAIN:
                break
        if patience.is_over(said):
            raise LocalStackError(f"No key: {said}")
        time.sleep(AGAIN_SECONDS)
    try:
        body = answer.json()
    except ValueError:
        raise LocalStackError(f"No key: {said}") from None
    if not answer.is_success or "key" not in body:
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
