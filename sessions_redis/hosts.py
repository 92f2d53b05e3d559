"""
The part of a URL that lists several hosts: ``scheme://user:password@host1:1,[::1]:2/…``.

A URL with Sentinels has one, and so has the URL of a Redis Cluster. No message repeats a password.
"""

import re
from collections.abc import Iterator
from urllib.parse import unquote

Address = tuple[str, int]

# A host or an IPv6 address in brackets, and a port.
_HOST = re.compile(r"(?:\[(?P<ipv6>[^\[\]]*)\]|(?P<host>[^:\[\]]*))(?::(?P<port>.*))?", re.DOTALL)

# What stands for the hosts where a URL can have only one, as in urlsplit() and redis-py.
_ANY_HOST = "several"


def addresses(location: str, default_port: int) -> tuple[Address, ...]:
    """The hosts and ports in a valid ``location``."""
    found = map(_HOST.fullmatch, _hosts(location).split(","))
    return tuple(
        (one["ipv6"] or one["host"], int(one["port"] or default_port)) for one in found if one
    )


def with_one_host(location: str) -> str:
    """``location`` with one host in place of its hosts."""
    scheme, _, rest = location.partition("://")
    authority = _authority(rest)
    credentials, at, _ = authority.rpartition("@")
    return f"{scheme}://{credentials}{at}{_ANY_HOST}{rest[len(authority) :]}"


def mistakes(location: str, example: str, what_follows: str) -> Iterator[str]:
    """
    The mistakes in the hosts of ``location``, as `locations.problem` says them.

    ``example``: an IPv6 address as it has to be written. ``what_follows``: what is behind the
    hosts.
    """
    for host in _hosts(location).split(","):
        yield from _mistakes_in_host(host, example)
    if "@" in _authority(location.partition("://")[2]).rpartition("@")[0]:
        yield (
            f"has more than one @ before its {what_follows}: write user and password once, before "
            "the first host, with @ as %40"
        )


def _mistakes_in_host(host: str, example: str) -> Iterator[str]:
    found = _HOST.fullmatch(host)
    if host.count(":") > 1 and "[" not in host:
        yield f"has an IPv6 address without brackets: write it as in {example}"
    elif found and not (found["ipv6"] or found["host"]):
        yield "has no host, or a comma without a host beside it"
    elif not found:
        yield "has a host that is not a valid name"
    elif found["port"] and not (found["port"].isdecimal() and 0 < int(found["port"]) <= 65_535):
        yield "has a port that is not a number from 1 to 65535"
    elif not can_be_host(found["ipv6"] or found["host"]):
        yield "has a host that is not a valid name"


def can_be_host(host: str) -> bool:
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def is_text(encoded: str) -> bool:
    """Whether ``encoded`` is percent-encoded UTF-8 text."""
    try:
        unquote(encoded, errors="strict").encode()
    except UnicodeError:
        return False
    return True


def shown(address: Address) -> str:
    """``address`` as in a URL, for messages."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _hosts(location: str) -> str:
    return _authority(location.rstrip().partition("://")[2]).rpartition("@")[2]


def _authority(rest: str) -> str:
    """The part of a URL between ``://`` and the next of ``/ ? #``, as urlsplit() splits it."""
    return re.split("[/?#]", rest, maxsplit=1)[0]
