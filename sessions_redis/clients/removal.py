"""
Removes the keys of tests from Redis.

It goes through all keys of a database (``SCAN``). Requests of visitors never do that.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from redis.exceptions import RedisError

from sessions_redis.clients import memory
from sessions_redis.clients.answers import Commands, answers
from sessions_redis.clients.failures import store_unavailable
from sessions_redis.clients.nodes import Nodes
from sessions_redis.clients.pools import Pools
from sessions_redis.clients.reports import without_tracebacks
from sessions_redis.clients.routing import across_nodes
from sessions_redis.clusters import is_cluster
from sessions_redis.conf import Conf
from sessions_redis.storage import keys, servers

# Runs commands and returns their answers.
Run = Callable[[Commands], list[Any]]


def remove(settings: Conf, pattern: str, should_delete: Callable[[str], bool]) -> None:
    """
    Delete the keys that match ``pattern`` if ``should_delete(<key>)``, on all nodes of a Cluster.

    Raises `SessionStoreUnavailable` if Redis cannot be reached or refuses a command.
    """
    # Not the current pools: these settings may no longer be the current ones.
    ours: Any = Nodes(settings) if is_cluster(settings.location) else Pools(settings)
    run: Run = partial(across_nodes if ours.is_cluster else answers, ours)
    try:
        for slot in _slots(run) if ours.is_cluster else [None]:
            for found in _scan(run, pattern, slot):
                run([keys.unlink(key) for key in found if should_delete(key)])
    except RedisError as error:
        raise store_unavailable(settings, error) from without_tracebacks(error)
    finally:
        ours.close()


def _slots(run: Run) -> list[int]:
    """A slot of each node of the Cluster."""
    return [primary.slot for primary in run([servers.slot_ranges()])[0]]


def _scan(run: Run, pattern: str, slot: int | None) -> Iterator[list[str]]:
    """The keys that match, some at a time. A key may be there twice."""
    cursor = None
    while cursor != 0:
        ((cursor, found),) = run([keys.scan(pattern, cursor or 0, slot)])
        yield found


def literally(text: str) -> str:
    """``text`` with the characters escaped that have a meaning in a pattern of Redis."""
    return re.sub(r"[*?\[\]\\]", r"\\\g<0>", text)


def empty_memory() -> None:
    """Empty the servers of ``memory://``. No other process uses them."""
    for location in list(memory.servers):
        fakeredis, server = memory.fakeredis_at(location)
        fakeredis.FakeRedis(server=server).flushall()
