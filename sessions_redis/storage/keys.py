"""
The commands that look for keys by their names, whatever they hold. Pure, as `commands`.

Requests of visitors never go through all keys of a database.
"""

from typing import Any

from sessions_redis.storage import replies
from sessions_redis.storage.listings import BATCH_SIZE, LAST_CURSOR
from sessions_redis.storage.steps import Command


def scan(pattern: str, cursor: int, slot: int | None = None) -> Command[tuple[int, list[str]]]:
    """
    Look at the next keys of the database, about `BATCH_SIZE`, for those that match ``pattern``.

    Returns the cursor to go on from, 0 at the end, and the keys as text: the engine writes no
    others. ``slot``: see `Command`.
    """

    def read(reply: Any) -> tuple[int, list[str]]:
        following, names = replies.listing(reply, 2)
        found = [replies.text(name) for name in replies.listing(names)]
        return replies.decimal(following, most=LAST_CURSOR), found

    return Command(("SCAN", cursor, "MATCH", pattern, "COUNT", BATCH_SIZE), read, slot=slot)


def unlink(key: str) -> Command[int]:
    """Delete a key. In a Cluster, one command deletes the keys of one slot only."""
    return Command(("UNLINK", key), replies.number)
