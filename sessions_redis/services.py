"""
The URL of a service that Redis Sentinel watches, a master with its replicas.

It names the Sentinels: ``redis+sentinel://host1:26379,host2:26379/<service>/<database>``. A user, a
password and the options behind the ``?`` are for the servers, not for the Sentinels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from sessions_redis import hosts

# The schemes, and what redis-py calls the scheme of the servers.
SCHEMES = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}

# Where a Sentinel listens if the URL names no port.
PORT = 26379


@dataclass(frozen=True, repr=False)
class Service:
    """
    What the URL says. Its ``repr()`` shows nothing, because ``server_url`` contains a password.

    ``sentinels``: pairs of host and port. ``server_url``: the part of the URL that is for the
    servers, as redis-py reads it. The host in it means nothing.
    """

    sentinels: tuple[hosts.Address, ...]
    name: str
    server_url: str


def is_service(location: str) -> bool:
    return location.partition("://")[0] in SCHEMES


def service_at(location: str) -> Service:
    """The service at a valid ``location``."""
    url = urlsplit(hosts.with_one_host(location))
    service, _, database = url.path[1:].partition("/")
    server = url._replace(scheme=SCHEMES[url.scheme], path=f"/{database}")
    return Service(hosts.addresses(location, PORT), unquote(service), server.geturl())


def mistakes(location: str) -> Iterator[str]:
    """The mistakes in ``location``, as `locations.problem` says them. None repeats a password."""
    yield from hosts.mistakes(location, "[::1]:26379", "service")
    service, slash, database = urlsplit(hosts.with_one_host(location)).path[1:].partition("/")
    if not service or (service.isdecimal() and not slash):
        yield "has no service name, such as mymaster, between its hosts and its database"
    elif not hosts.is_text(service):
        yield "has a service name that does not decode to UTF-8 text; write a % as %25"
    if database.strip("/") and not database.strip("/").isdecimal():
        yield "has a database that is not a number"
