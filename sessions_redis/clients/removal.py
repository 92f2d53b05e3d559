"""
Removes the keys of tests from Redis.

It goes through all keys of a database (``SCAN``). Requests of visitors never do that.
"""

import re
from collections.abc import Callable
from typing import Any

import redis
from redis.exceptions import RedisError

from sessions_redis.clients import memory, pools
from sessions_redis.clients.failures import store_unavailable
from sessions_redis.clients.reports import without_tracebacks
from sessions_redis.conf import Conf
from sessions_redis.storage.listings import BATCH_SIZE


def remove(settings: Conf, pattern: str, should_delete: Callable[[str], bool]) -> None:
    """
    Delete the keys that match ``pattern`` if ``should_delete(<key>)``.

    Raises `SessionStoreUnavailable` if Redis cannot be reached or refuses a command.
    """
    pool = pools.build_pool(settings, pools.SYNC, repeats=True)
    try:
        _remove(redis.Redis(connection_pool=pool), pattern, should_delete)
    except RedisError as error:
        raise store_unavailable(settings, error) from without_tracebacks(error)
    finally:
        pool.disconnect()


def literally(text: str) -> str:
    """``text`` with the characters escaped that have a meaning in a pattern of Redis."""
    return re.sub(r"[*?\[\]\\]", r"\\\g<0>", text)


def _remove(client: Any, pattern: str, should_delete: Callable[[str], bool]) -> None:
    cursor = None
    while cursor != 0:
        cursor, keys = client.scan(cursor or 0, match=pattern, count=BATCH_SIZE)
        left = [key for key in keys if should_delete(key.decode(errors="replace"))]
        if left:
            client.unlink(*left)


def empty_memory() -> None:
    """Empty the servers of ``memory://``. No other process uses them."""
    for location in list(memory.servers):
        fakeredis, server = memory.fakeredis_at(location)
        fakeredis.FakeRedis(server=server).flushall()
