"""
The URL of a Redis Cluster: ``redis+cluster://host1:6379,host2:6379``, and the slots of its keys.

It names some of the nodes, and these know the others. A Cluster has only one database.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from sessions_redis import hosts

# The schemes, and what redis-py calls the scheme of the nodes.
SCHEMES = {"redis+cluster": "redis", "rediss+cluster": "rediss"}

# Where a node listens if the URL names no port.
PORT = 6379

# The part of a key that decides its slot, see "Hash tags" in the specification of Redis Cluster.
_TAG = re.compile(r"[^{]*\{[^}]+\}", re.DOTALL)


@dataclass(frozen=True, repr=False)
class Seeds:
    """
    What the URL says. Its ``repr()`` shows nothing, because ``node_url`` contains a password.

    ``nodes``: pairs of host and port. ``node_url``: the URL of a node, as redis-py reads it. The
    host in it means nothing.
    """

    nodes: tuple[hosts.Address, ...]
    node_url: str


def is_cluster(location: str) -> bool:
    return location.partition("://")[0] in SCHEMES


def has_tag(prefix: str) -> bool:
    """Whether all keys that start with ``prefix`` are in the same slot."""
    return _TAG.match(prefix) is not None


def seeds_at(location: str) -> Seeds:
    """What a valid ``location`` says."""
    url = urlsplit(hosts.with_one_host(location))
    node = url._replace(scheme=SCHEMES[url.scheme], path="")
    return Seeds(hosts.addresses(location, PORT), node.geturl())


def mistakes(location: str) -> Iterator[str]:
    """The mistakes in ``location``, as `locations.problem` says them. None repeats a password."""
    yield from hosts.mistakes(location, "[::1]:6379", "path")
    url = urlsplit(hosts.with_one_host(location))
    in_options = [value for name, value in parse_qsl(url.query) if name == "db"]
    if any(database.strip("/") not in {"", "0"} for database in (url.path, *in_options)):
        yield "has a database, but a Redis Cluster has only database 0: end the URL in /0"
