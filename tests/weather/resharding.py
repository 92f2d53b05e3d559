"""Slots of a Cluster move from one master to another, with their keys, while sites use them."""

import time
from collections.abc import Sequence
from typing import Any

import redis

from tests.clustered import SLOTS
from tests.weather.nodes import name_of
from tests.weather.places import CLUSTER, Place, Weather

# Slots that are on their way at the same time.
BATCH = 20

# Seconds that each batch is on its way before its first key moves, and that pass between two keys.
PAUSE = 0.1
PAUSE_OF_KEYS = 0.002


def reshard(place: Place) -> None:
    """All slots of a master that have keys move to another one, and back."""
    first, second = place.masters[:2]
    slots = _used_slots(first)
    move(place.masters, first, second, slots)
    move(place.masters, second, first, slots)


def _used_slots(node: redis.Redis) -> list[int]:
    with node.pipeline(transaction=False) as pipeline:
        for slot in range(SLOTS):
            pipeline.execute_command("CLUSTER COUNTKEYSINSLOT", slot)
        return [slot for slot, count in enumerate(pipeline.execute()) if count]


def move(
    masters: Sequence[redis.Redis], source: redis.Redis, target: redis.Redis, slots: list[int]
) -> None:
    """Move ``slots`` as ``redis-cli --cluster reshard`` does. ``masters``: all of the Cluster."""
    names = name_of(source), name_of(target)
    for start in range(0, len(slots), BATCH):
        batch = slots[start : start + BATCH]
        for slot in batch:
            target.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", names[0])
            source.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", names[1])
        time.sleep(PAUSE)
        for slot in batch:
            _move_keys(source, target, slot)
            for node in (target, source, *masters):
                node.execute_command("CLUSTER SETSLOT", slot, "NODE", names[1])


def _move_keys(source: redis.Redis, target: redis.Redis, slot: int) -> None:
    port = target.connection_pool.connection_kwargs["port"]
    while keys := _keys(source, slot):
        for key in keys:
            source.execute_command("MIGRATE", "127.0.0.1", port, key, 0, 5000)
            time.sleep(PAUSE_OF_KEYS)


def _keys(node: redis.Redis, slot: int) -> list[Any]:
    keys: list[Any] = node.execute_command("CLUSTER GETKEYSINSLOT", slot, 100)
    return keys


WEATHERS = (Weather("resharding", reshard, CLUSTER),)
