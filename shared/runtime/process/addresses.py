"""Checks of the addresses in settings, when the process starts.

An error message never quotes the address: if it is written wrong, any part of it may be the password.
"""

import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

_POSTGRES: Final = ("postgresql", "postgres")
_HTTP: Final = ("http", "https")
_HOST: Final = re.compile(r"^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?$")
_PORT: Final = re.compile(r"^[0-9]{1,5}$")
MAX_PORT: Final = 65535
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_ESCAPE = "special characters of a password are written as %XX"


def check_database_url(url: str) -> None:
    """Check a PostgreSQL URL: ``postgresql://user:password@host:port/database``.

    Several hosts, and directories of sockets, are accepted as by libpq.

    Raises:
        ValueError: it is not such a URL; the message says what is wrong.
    """
    parts = _split(url, _POSTGRES, "postgresql://user:password@host:port/database")
    if parts.fragment or parts.netloc.count("@") > 1 or "@" in parts.path or "/" in parts.path[1:]:
        raise ValueError(f"it is not clear where its password ends: {_ESCAPE}")
    hosts = parts.netloc.rpartition("@")[2]
    for host in hosts.split(",") if hosts else []:
        if not host.startswith("%2F") and not host.startswith("%2f"):  # a socket's directory
            _check_place(host)
    if len(parts.path) <= 1:
        raise ValueError("it names no database: postgresql://user:password@host:port/database")


def check_servers(servers: str) -> None:
    """Check a list of servers: ``host:port,host:port``.

    Raises:
        ValueError: it is not such a list; the message says what is wrong.
    """
    for server in servers.split(","):
        if "://" in server or "@" in server or "/" in server:
            raise ValueError("these are host:port, separated by commas, without a scheme, user or path")
        _check_place(server.strip())


def check_url(url: str, *, path: bool) -> None:
    """Check a URL: ``https://host`` or ``http://host``.

    ``path``: whether it may have a path.

    Raises:
        ValueError: it is not such a URL; the message says what is wrong.
    """
    parts = _split(url, _HTTP, "https://host")
    if "@" in parts.netloc:
        raise ValueError("it must not hold a user or a password")
    if parts.query or parts.fragment:
        raise ValueError("it must not have a query or a fragment")
    if not path and parts.path not in {"", "/"}:
        raise ValueError("it must not have a path")
    _check_place(parts.netloc)


def check_hosts(hosts: str) -> None:
    """Check a list of host names or IP addresses, separated by commas.

    They have no ports. The list may be empty.

    Raises:
        ValueError: an entry is neither.
    """
    for host in filter(None, map(str.strip, hosts.split(","))):
        if not _HOST.match(host) and not _is_address(host.removeprefix("[").removesuffix("]")):
            raise ValueError("these are names or addresses of hosts, separated by commas, without scheme, port or path")


def _split(url: str, schemes: tuple[str, ...], example: str) -> SplitResult:
    if not url.isprintable() or " " in url:
        raise ValueError("it must not hold spaces or control characters")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(f"it is not an address like {example}") from None
    if parts.scheme not in schemes or not url[len(parts.scheme) :].startswith("://"):
        raise ValueError(f"it does not begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    return parts


def _check_place(place: str) -> None:
    """Check ``host``, ``host:port`` or ``[address]:port``."""
    if place.startswith("["):
        host, _, rest = place[1:].partition("]")
        is_host, port = _is_address(host), rest.removeprefix(":") if rest else None
        is_host = is_host and (not rest or rest.startswith(":"))
    else:
        host, colon, rest = place.partition(":")
        is_host, port = bool(_HOST.match(host)), rest if colon else None
    if not is_host:
        raise ValueError("it names no host")
    if port is not None and not (_PORT.match(port) and 0 < int(port) <= MAX_PORT):
        raise ValueError(f"its port is not a number up to {MAX_PORT} ({_ESCAPE})")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def parse_networks(text: str) -> tuple[Network, ...]:
    """Parse a list of networks (``10.0.0.0/8``) and addresses.

    They are separated by commas; empty entries are skipped.

    Raises:
        ValueError: an entry is neither.
    """
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
