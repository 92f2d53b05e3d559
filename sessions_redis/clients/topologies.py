"""
Which node of a Cluster serves which slots: read from one node, with redis-py's own classes.

They serve no commands. The commands of the engine go through the pools of `nodes`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import redis.asyncio.cluster
import redis.cluster
from redis.exceptions import RedisClusterException, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from sessions_redis.clients.exchange import FAILURES, connection_error
from sessions_redis.hosts import Address

if TYPE_CHECKING:
    from sessions_redis.clients.cluster_options import Options
    from sessions_redis.clients.pools import Pools

SLOTS = 16384

# The addresses that serve a slot: the master's, then those of its replicas.
Shard = tuple[Address, ...]

# What a node announces if it does not know its own host, or has been told to announce none.
NO_HOSTS = {None, "", "?"}

# What a node says of a lost one whose address another server, outside of the Cluster, has now.
NO_PORT = 0


class NotInClusterError(RedisError):
    """The server is not a node of a Cluster, or does not let this user see the other nodes."""


def shards_seen_by(pools: "Pools", options: "Options", pool: Any) -> list[Shard | None]:
    """
    The shard of each slot, as the node of ``pools`` sees them; ``None`` for a slot without one.

    ``pool``: connects to that node, and is closed afterwards. Raises redis-py's errors.
    """
    with _reading(pools):
        try:
            host, port = address_of(pools)
            kind: Any = redis.cluster.ClusterNode
            node = _named(kind(host, port), host)
            manager: Any = redis.cluster.NodesManager(
                [node],
                from_url=True,
                dynamic_startup_nodes=False,
                connection_pool_class=lambda **_: pool,
                address_remap=options.remap,
            )
        finally:
            pool.disconnect()
    return _shards(manager.slots_cache, host)


async def ashards_seen_by(pools: "Pools", options: "Options", pool: Any) -> list[Shard | None]:
    """As `shards_seen_by`, without blocking the running loop."""
    host, port = address_of(pools)
    of_connections = {**pool.connection_kwargs, "connection_class": pool.connection_class}
    for name in ("host", "port", "retry"):
        of_connections.pop(name, None)
    node = _named(redis.asyncio.cluster.ClusterNode(host, port, **of_connections), host)
    node.connection_kwargs["host"] = host
    with _reading(pools):
        try:
            manager = redis.asyncio.cluster.NodesManager(
                [node],
                require_full_coverage=False,
                connection_kwargs={},
                dynamic_startup_nodes=False,
                address_remap=options.remap,
            )
            await manager.initialize()
        finally:
            await node.disconnect()
    return _shards(manager.slots_cache, host)


def address_of(pools: "Pools") -> Address:
    assert pools.address is not None  # noqa: S101 - a node of a Cluster has one
    return pools.address


def _named(node: Any, host: str) -> Any:
    # redis-py replaces localhost by its address, which need not be in the server's certificate.
    node.host = host
    return node


@contextmanager
def _reading(pools: "Pools") -> Iterator[None]:
    """Raise the errors that redis-py has wrapped, and tell the node's circuit of silence."""
    try:
        yield
    except RedisClusterException as error:
        cause = _cause(error)
        if isinstance(cause, RedisTimeoutError):
            pools.circuit.silent()
        raise cause from cause.__cause__
    except IndexError as error:
        raise NotInClusterError("it knows no node that serves slots") from error
    except FAILURES as error:
        raise connection_error(error) from error


def _cause(error: RedisClusterException) -> RedisError:
    # redis-py raises one error from another, and the first can be that of the connection or, while
    # it was handled, that of the server.
    found: BaseException | None = error
    while isinstance(found, RedisClusterException):
        wrapper, found = found, found.__cause__ or found.__context__
        # Otherwise each would be the cause of the other.
        wrapper.__cause__ = wrapper.__context__ = None
    if isinstance(found, FAILURES):  # some are redis-py's, and their text may have received data
        return connection_error(found)
    if isinstance(found, RedisError):
        return found
    return NotInClusterError(str(error))


def _shards(slots: Mapping[int, Sequence[Any]], host: str) -> list[Shard | None]:
    known: dict[tuple[int, ...], Shard] = {}  # one object for all slots of a shard

    def shard_of(nodes: Sequence[Any]) -> Shard | None:
        names = tuple(map(id, nodes))
        if names not in known:
            has_master = nodes and int(nodes[0].port) != NO_PORT
            known[names] = tuple(
                (host if node.host in NO_HOSTS else node.host, int(node.port))
                for node in (nodes if has_master else ())
                if int(node.port) != NO_PORT
            )
        return known[names] or None

    return [shard_of(slots.get(slot, ())) for slot in range(SLOTS)]


def is_refusal(error: RedisError) -> bool:
    """Whether the server answered that it does not say what the nodes are."""
    return isinstance(error, ResponseError | NotInClusterError)
