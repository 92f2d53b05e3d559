"""
The URL of a service that Redis Sentinel watches, a master with its replicas.

It names the Sentinels: ``redis+sentinel://host1:26379,host2:26379/<service>/<database>``. A user, a
password and the options behind the ``?`` are for the servers, not for the Sentinels.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

# The schemes, and what redis-py calls the scheme of the servers.
SCHEMES = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}

# Where a Sentinel listens if the URL names no port.
PORT = 26379

# A host or an IPv6 address in brackets, and a port.
_SENTINEL = re.compile(
    r"(?:\[(?P<ipv6>[^\[\]]*)\]|(?P<host>[^:\[\]]*))(?::(?P<port>.*))?", re.DOTALL
)

# What a URL for redis-py has in place of the Sentinels, because urlsplit() accepts one host only.
_ANY_HOST = "sentinels"


@dataclass(frozen=True, repr=False)
class Service:
    """
    What the URL says. Its ``repr()`` shows nothing, because ``server_url`` contains a password.

    ``sentinels``: pairs of host and port. ``server_url``: the part of the URL that is for the
    servers, as redis-py reads it. The host in it means nothing.
    """

    sentinels: tuple[tuple[str, int], ...]
    name: str
    server_url: str


def is_service(location: str) -> bool:
    return location.partition("://")[0] in SCHEMES


def service_at(location: str) -> Service:
    """The service at a valid ``location``."""
    url = urlsplit(with_one_host(location))
    found = map(_SENTINEL.fullmatch, _hosts(location).split(","))
    sentinels = [(one["ipv6"] or one["host"], int(one["port"] or PORT)) for one in found if one]
    service, _, database = url.path[1:].partition("/")
    server = url._replace(scheme=SCHEMES[url.scheme], path=f"/{database}")
    return Service(tuple(sentinels), unquote(service), server.geturl())


def with_one_host(location: str) -> str:
    """``location`` with one host in place of its Sentinels. Another URL stays as it is."""
    if not is_service(location):
        return location
    scheme, _, rest = location.partition("://")
    authority = _authority(rest)
    credentials, at, _ = authority.rpartition("@")
    return f"{scheme}://{credentials}{at}{_ANY_HOST}{rest[len(authority) :]}"


def mistakes(location: str) -> Iterator[str]:
    """The mistakes in ``location``, as `locations.problem` says them. None repeats a password."""
    for host in _hosts(location).split(","):
        yield from _mistakes_in_host(host)
    if "@" in _authority(location.partition("://")[2]).rpartition("@")[0]:
        yield (
            "has more than one @ before its service: write user and password once, before the "
            "first host, with @ as %40"
        )
    service, slash, database = urlsplit(with_one_host(location)).path[1:].partition("/")
    if not service or (service.isdecimal() and not slash):
        yield "has no service name, such as mymaster, between its hosts and its database"
    elif not is_text(service):
        yield "has a service name that does not decode to UTF-8 text; write a % as %25"
    if database.strip("/") and not database.strip("/").isdecimal():
        yield "has a database that is not a number"


def _mistakes_in_host(host: str) -> Iterator[str]:
    found = _SENTINEL.fullmatch(host)
    if host.count(":") > 1 and "[" not in host:
        yield "has an IPv6 address without brackets: write it as in [::1]:26379"
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


def _hosts(location: str) -> str:
    return _authority(location.rstrip().partition("://")[2]).rpartition("@")[2]


def _authority(rest: str) -> str:
    """The part of a URL between ``://`` and the next of ``/ ? #``, as urlsplit() splits it."""
    return re.split("[/?#]", rest, maxsplit=1)[0]


def is_text(encoded: str) -> bool:
    try:
        unquote(encoded, errors="strict").encode()
    except UnicodeError:
        return False
    return True
