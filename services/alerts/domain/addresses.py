"""Addresses that webhooks may have.

They are http or https, and public ones unless the installation allows others.
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address

URL_LENGTH_MAX: Final = 2000

# Python's ``is_global`` changes between versions, so the networks are listed here. Sources: the IANA
# special-purpose address registries (RFC 6890 and what amended it), and the IPv6 address space registry.
_NOT_PUBLIC: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private (RFC 1918)
        "100.64.0.0/10",  # carrier-grade NAT (RFC 6598)
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's platform, reached from every virtual machine
        "169.254.0.0/16",  # link-local; metadata of clouds
        "172.16.0.0/12",  # private (RFC 1918)
        "192.0.0.0/24",  # IETF protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays, withdrawn (RFC 7526)
        "192.168.0.0/16",  # private (RFC 1918)
        "198.18.0.0/15",  # benchmarks (RFC 2544)
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_UNICAST: Final = IPv6Network("2000::/3")
"""The IPv6 range of internet hosts.

It excludes fc00::/7, fe80::/10, fec0::/10, 64:ff9b::/96 and 5f00::/16.
"""
_NOT_PUBLIC_6: Final = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # IETF protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address, possibly a private one
        "3fff::/20",  # documentation (RFC 9637)
    )
)
_LOCAL_NAMES: Final = ("localhost", "localdomain", "local", "internal", "home.arpa")
"""Local top domains; names below them are local too.

They are from RFC 6761, RFC 6762 and RFC 8375; ICANN reserved ``internal``.
"""

_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_BYTES: Final = 4
_BASE: Final = 256
_ENDS_IN_NUMBER: Final = re.compile(r"(^|\.)([0-9]+|0x[0-9a-f]*)$")
_NUMBER: Final = re.compile(r"[0-9]{1,32}|0x[0-9a-f]{1,32}")


def is_public(address: Address) -> bool:
    """Whether this is a unicast address of the public internet."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC)
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    return address in _UNICAST and not any(address in network for network in _NOT_PUBLIC_6)


def literal(host: str) -> Address | None:
    """Parse a host as an address; ``None`` if it is a name.

    Any spelling that resolvers accept is parsed, such as ``0x7f.1``.
    """
    try:
        return ip_address(host.removesuffix("."))
    except ValueError:
        pass
    parts = host.removesuffix(".").lower().split(".")
    if not all(map(_NUMBER.fullmatch, parts)):
        return None
    *first, last = map(_number, parts)
    rest = _BYTES - len(first)
    if rest < 1 or any(byte >= _BASE for byte in first) or last >= _BASE**rest:
        return None
    return IPv4Address(bytes(first) + last.to_bytes(rest, "big"))


def _number(text: str) -> int:
    """Parse a number as ``inet_aton`` does: hexadecimal, octal or decimal."""
    if text.startswith("0x"):
        return int(text[2:], 16)
    try:
        return int(text, 8 if text.startswith("0") else 10)
    except ValueError:
        return _BASE**_BYTES  # 08 and 09 are no octal numbers


def fault_of_url(url: str, *, allow_private: bool) -> str | None:
    """Return what is wrong with a webhook's address, as a sentence.

    ``None`` is returned if it may be used.
    """
    if len(url) > URL_LENGTH_MAX:
        return f"The address must not be longer than {URL_LENGTH_MAX:,} characters."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "This is not a valid URL."
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        return "The address must begin with http:// or https:// and name a host."
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return "The address holds characters that must be percent-encoded."
    if parts.username is not None or parts.password is not None or parts.fragment:
        return "The address must not hold a user name, a password or a fragment (#)."
    return _fault_of_host(parts.hostname.lower(), allow_private=allow_private)


def _fault_of_host(host: str, *, allow_private: bool) -> str | None:
    address = literal(host)
    name = host.removesuffix(".")
    # Host names never end in a number; some resolver may read such text as an address.
    if address is None and (_ENDS_IN_NUMBER.search(name) or not _NAME.fullmatch(name)):
        return "The host must be a valid name or IP address."
    if allow_private or (is_public(address) if address is not None else not _is_local(name)):
        return None
    return "The address must be one of the public internet."


def _is_local(name: str) -> bool:
    """Whether a name resolves only in a local network; names without a dot do."""
    return "." not in name or any(name == local or name.endswith(f".{local}") for local in _LOCAL_NAMES)
