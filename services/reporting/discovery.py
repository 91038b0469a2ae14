"""Discovery of the OpenID Connect provider.

See OpenID Connect Discovery 1.0, section 4.
"""

from collections.abc import Mapping

import httpx


async def fetch_metadata(http: httpx.AsyncClient, issuer: str) -> Mapping[str, object]:
    """Fetch the provider's metadata, and check that it names this issuer.

    Raises:
        httpx.HTTPError: the provider cannot be reached, or answers with an error.
        ValueError: the answer is no JSON, or the metadata is of another issuer.
        TypeError: the answer is no JSON object.
    """
    metadata = await fetch_object(http, f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if metadata.get("issuer") != issuer:
        raise ValueError(f"the provider calls itself {metadata.get('issuer')!r}, not {issuer!r}")
    return metadata


async def fetch_object(http: httpx.AsyncClient, url: str) -> Mapping[str, object]:
    """Fetch a JSON object.

    Raises:
        httpx.HTTPError: ``url`` cannot be reached, or answers with an error.
        ValueError: the answer is no JSON.
        TypeError: the answer is no JSON object.
    """
    answer = await http.get(url)
    answer.raise_for_status()
    document: object = answer.json()
    if not isinstance(document, dict):
        raise TypeError(f"{url} is no object")
    return document
