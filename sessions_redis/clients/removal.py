"""
Removes the keys of tests from Redis.

It goes through all keys of a database (``SCAN``). Requests of visitors never do that.
"""

import re
from collections.abc import Callable
from typing import Any

import redis
from redis.exceptions import RedisError

from sessions_redis.clients import pools
from sessions_redis.clients.failures import store_unavailable
from sessions_redis.clients.reports import without_tracebacks
from sessions_redis.conf import Conf
from sessions_redis.storage.listings import BATCH_SIZE


def remove(settings: Conf, start: str, should_delete: Callable[[str], bool]) -> None:
    """
    Delete keys that begin with ``start`` if ``should_delete(<the rest of the key>)``.

    Raises `SessionStoreUnavailable` if Redis cannot be reached or refuses a command.
    """
    pool = pools.build_pool(settings, pools.SYNC, repeats=True)
    try:
        _remove(redis.Redis(connection_pool=pool), start, should_delete)
    except RedisError as error:
        raise store_unavailable(settings, error) from without_tracebacks(error)
    finally:
        pool.disconnect()


def _remove(client: Any, start: str, should_delete: Callable[[str], bool]) -> None:
    # Escape the characters that have a meaning in a pattern of Redis.
    pattern = re.sub(r"[*?\[\]\\]", r"\\\g<0>", start) + "*"
    cursor = None
    while cursor != 0:
        cursor, keys = client.scan(cursor or 0, match=pattern, count=BATCH_SIZE)
        rest = len(start.encode())
        left = [key for key in keys if should_delete(key[rest:].decode(errors="replace"))]
        if left:
            client.unlink(*left)


def empty_memory() -> None:
    """Empty the servers of ``memory://``. No other process uses them."""
    for location in list(pools._in_memory):
        fakeredis, server = pools._memory(location)
        fakeredis.FakeRedis(server=server).flushall()
