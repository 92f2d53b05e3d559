"""The slot of a command in a Redis Cluster, which decides which nodes can run it."""

from typing import Any

from redis.crc import key_slot
from redis.exceptions import ClusterDownError

from sessions_redis.clients.leases import NOT_SENT
from sessions_redis.clients.origins import note_origin
from sessions_redis.storage.steps import KEY_PLACES, Command

# Commands that replicas may answer if the site allows it. A cursor is valid on one node only, so
# SCAN and the like are not among them.
FOR_REPLICAS = {
    "HEXISTS",
    "HGETALL",
    "HMGET",
    "PTTL",
    "ZCARD",
    "ZCOUNT",
    "ZRANGE",
    "ZRANGEBYSCORE",
    "ZREVRANGE",
    "ZREVRANGEBYSCORE",
    "ZSCORE",
}


class NoNodeError(ClusterDownError):
    """No node serves the slot of a key."""

    def __init__(self, slot: int | None) -> None:
        what = "any slot" if slot is None else f"slot {slot}"
        super().__init__(f"no node serves {what}")
        self.add_note(NOT_SENT)
        note_origin(self, slot=slot)


def slot_of(command: Command[Any]) -> int | None:
    """The slot that decides which node runs ``command``; ``None`` for any node."""
    parts = command.parts
    if command.source is None:
        place = KEY_PLACES.get(str(parts[0]))
        if place is None:
            return command.slot
    elif parts[2]:
        place = 3
    else:
        return command.slot
    return int(key_slot(str(parts[place]).encode()))
