"""Where a webhook may go: http or https, and (unless the installation allows it) nowhere inside our own network."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address

_TRANSLATED = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
"""NAT64: an IPv4 address, possibly a private one, behind a global IPv6 one."""


def is_public(address: Address) -> bool:
    """Whether this is an address of the public internet, and of one host."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address.sixtofour or address.teredo or any(address in network for network in _TRANSLATED):
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def fault_of_url(url: str, *, allow_private: bool) -> str | None:
    """What is wrong with a webhook's address, as a sentence; ``None`` when it may be tried."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "This is not an address of the web."
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        return "The address must begin with http:// or https:// and name a host."
    if not url.isascii() or not url.isprintable() or " " in url:
        return "The address holds characters that must be percent-encoded."
    if parts.username is not None or parts.password is not None or parts.fragment:
        return "The address must not hold a user name, a password or a fragment (#)."
    literal = _literal(parts.hostname)
    if literal is not None and not allow_private and not is_public(literal):
        return "The address must be one of the public internet."
    return None


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
