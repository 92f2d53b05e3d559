"""Finds every session in Redis, whether an index lists it or not."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from sessions_redis import clusters, conf
from sessions_redis.clients import run, run_all
from sessions_redis.storage import listings, servers
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.listings import BATCH_SIZE
from sessions_redis.storage.servers import Primary
from sessions_redis.storage.steps import Command

T = TypeVar("T")

# In a Cluster: how often nodes that got other slots meanwhile are looked at again.
RESCANS = 5


def scanned(keyspace: Keyspace) -> Iterator[tuple[Sequence[str], float]]:
    """
    Yield the IDs of sessions in batches, each with the share of the database that was read by then.

    Each batch takes one round trip, which looks at about a thousand keys. A session that stays from
    the beginning to the end is found, maybe more than once.
    """
    nodes, again = _nodes(), RESCANS
    total = max(sum(run_all([_at(listings.keys(), node) for node in nodes])), 1)
    looked_at, waiting = 0, [*nodes]
    while waiting:
        node = waiting.pop(0)
        cursor, is_first = 0, True
        while cursor or is_first:
            is_first = False
            cursor, ids = run(_at(listings.session_ids(keyspace, cursor), node))
            looked_at += BATCH_SIZE
            is_over = not cursor and not waiting
            yield ids, 1 if is_over else min(looked_at / total, 1)
        if not waiting and again:
            # While slots move, a node may miss sessions that it gets, and another one has lost.
            again, before, nodes = again - 1, nodes, _nodes()
            waiting = _with_other_slots(nodes, before)


def _nodes() -> Sequence[Primary | None]:
    """The nodes of a Cluster that have slots; elsewhere one, which needs no name."""
    if not clusters.is_cluster(conf.current().location):
        return [None]
    return run(servers.slot_ranges())


def _with_other_slots(
    nodes: Sequence[Primary | None], before: Sequence[Primary | None]
) -> list[Primary | None]:
    """The nodes that served other slots before, or none. Replicas may come and go meanwhile."""
    served = {(node.name, node.ranges) for node in before if node}
    return [node for node in nodes if node and (node.name, node.ranges) not in served]


def _at(command: Command[T], node: Primary | None) -> Command[T]:
    return command if node is None else command._replace(slot=node.slot)
