"""
The options of redis-py's class ``RedisCluster`` that a site can set, and the ones it cannot.

redis-py gives these options to the client, not to its connections.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from redis.cluster import LoadBalancingStrategy

from sessions_redis.clients.garbage import asign_in, sign_in
from sessions_redis.hosts import Address

_ITSELF = "the engine reads the nodes of the Cluster again whenever it needs to"
_IN_URL = "LOCATION names some nodes, and they name the others"

# Options that would mean something else with a Cluster, and why.
REFUSED = {
    "ssl": "for TLS, write rediss+cluster:// in LOCATION",
    "host": _IN_URL,
    "port": _IN_URL,
    "path": _IN_URL,
    "url": _IN_URL,
    "startup_nodes": _IN_URL,
    "db": "a Cluster has only database 0",
    "cluster_error_retry_attempts": 'use "retry", which counts for each node',
    "dynamic_startup_nodes": _ITSELF,
    "reinitialize_steps": _ITSELF,
    "require_full_coverage": "sessions on the nodes that answer stay in use",
}

# The words for "no" that redis-py understands in a URL.
_NO = {"", "0", "F", "FALSE", "N", "NO"}


class Options(NamedTuple):
    """
    ``strategy``: how to choose the node that answers a reading command; ``None`` for the master.

    ``remap``: turns the address that a node announces into the one to connect to.
    """

    strategy: LoadBalancingStrategy | None
    remap: Callable[[Address], Address] | None


def require_of_cluster(options: Iterable[str]) -> None:
    """Raise ``TypeError`` if one of the ``options``, which are names, is refused."""
    for name in options:
        if name in REFUSED:
            raise TypeError(f"with a Cluster, leave out the option {name}: {REFUSED[name]}")


def take_options(options: dict[str, Any]) -> Options:
    """Remove from ``options`` those that are not for connections, and return them."""
    strategy = options.pop("load_balancing_strategy", None)
    reads_replicas = _is_yes(options.pop("read_from_replicas", False))
    remap = options.pop("address_remap", None)
    if remap is not None and not callable(remap):
        raise TypeError(f"the option address_remap takes a function, not {remap!r}")
    if strategy is None:
        return Options(LoadBalancingStrategy.ROUND_ROBIN if reads_replicas else None, remap)
    try:
        return Options(LoadBalancingStrategy(strategy), remap)
    except ValueError as error:
        names = ", ".join(one.value for one in LoadBalancingStrategy)
        raise TypeError(
            f"the option load_balancing_strategy takes one of {names}, not {strategy!r}"
        ) from error


def _is_yes(value: Any) -> bool:
    return value.upper() not in _NO if isinstance(value, str) else bool(value)


def options_of(given: Mapping[str, Any], in_url: Mapping[str, str]) -> Options:
    """The options of a site. Those in its URL win, as in redis-py."""
    return take_options({**given, **in_url})


def sign_in_to_replica(connection: Any) -> None:
    """Sign in, and ask a replica to answer reading commands itself."""
    sign_in(connection)
    connection.send_command("READONLY", check_health=False)
    connection.read_response()


async def asign_in_to_replica(connection: Any) -> None:
    """As `sign_in_to_replica`, without blocking the running loop."""
    await asign_in(connection)
    await connection.send_command("READONLY", check_health=False)
    await connection.read_response()
