"""The address of a client.

It is the connection's, or the one that trusted proxies forward.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from shared.runtime.process.addresses import Network

FIELD = b"x-forwarded-for"
MAX_HOPS = 10
MAX_FIELD_BYTES = 2000
_LONGEST = len("[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535")

Address = IPv4Address | IPv6Address


def client_address(peer: str | None, forwarded: Iterable[bytes], proxies: Sequence[Network]) -> str | None:
    """The first address that is not a trusted proxy's, from the connection backwards.

    If there is none, the last one that can be read; ``peer`` itself if it is not an address.

    ``forwarded``: the ``X-Forwarded-For`` fields in order. A client's own entries come before those of the proxies, so
    nothing before the first address that is not a proxy's is trusted, nor is text that is no address.
    """
    known = _read(peer or "")
    if known is None or not _is_trusted(known, proxies):
        return peer if known is None else str(known)
    said = b",".join(forwarded)[-MAX_FIELD_BYTES:].decode("latin-1").split(",")
    for text in reversed(said[-MAX_HOPS:]):
        before = _read(text.strip())
        if before is None:
            break
        known = before
        if not _is_trusted(known, proxies):
            break
    return str(known)


def _is_trusted(address: Address, proxies: Sequence[Network]) -> bool:
    return any(address in network for network in proxies)


def _read(text: str) -> Address | None:
    """Parse an address, with or without a port; ``None``: it is none."""
    if not text or len(text) > _LONGEST or "%" in text:
        return None
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
