"""
Where a site's keys are: in one slot, or across the slots of a Cluster.

Each function returns steps. In one slot that is one command, which is atomic.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from sessions_redis.storage import commands, listings
from sessions_redis.storage.across_slots import cycling, ending, writing
from sessions_redis.storage.across_slots.ending import EndingSteps
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.commands import Taken
from sessions_redis.storage.entries import NOTHING
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.steps import Command, Steps

T = TypeVar("T")

# Commands that a spread site sends along when it lists a session.
First = Sequence[Command[Any]]


def _single(command: Command[T]) -> Steps[T]:
    answer: T = yield command
    return answer


def create(
    keyspace: Keyspace, id: str, ttl: float, changes: Changes, first: First = ()
) -> Steps[bool]:
    if keyspace.is_spread:
        return writing.create(keyspace, id, ttl, changes, first)
    return _single(commands.create(keyspace, id, ttl, changes))


def save(
    keyspace: Keyspace, id: str, ttl: float, changes: Changes, first: First = ()
) -> Steps[bool]:
    if keyspace.is_spread:
        return writing.save(keyspace, id, ttl, changes, first)
    return _single(commands.save(keyspace, id, ttl, changes))


def cycle(
    keyspace: Keyspace,
    old_id: str,
    new_id: str,
    ttl: float,
    changes: Changes,
    user: str,
    first: First = (),
) -> Steps[bool | type[Taken]]:
    """As `commands.cycle`. ``user``: the user that it has, as far as the caller knows."""
    if keyspace.is_spread:
        return cycling.cycle(keyspace, old_id, new_id, ttl, changes, user, first)
    return _single(commands.cycle(keyspace, old_id, new_id, ttl, changes))


def create_beside(
    keyspace: Keyspace, cycled_id: str, user: bytes, new_id: str, ttl: float, changes: Changes
) -> Steps[bool]:
    if keyspace.is_spread:
        return cycling.create_beside(keyspace, cycled_id, user, new_id, ttl, changes)
    return _single(commands.create_beside(keyspace, cycled_id, user, new_id, ttl, changes))


def delete(keyspace: Keyspace, id: str) -> Steps[str | None]:
    if keyspace.is_spread:
        return ending.delete(keyspace, id)
    return _single(commands.delete(keyspace, id))


def note(
    keyspace: Keyspace, id: str, metadata: Mapping[bytes, bytes] = NOTHING, interval: int = 0
) -> Steps[int]:
    if keyspace.is_spread:
        return writing.note(keyspace, id, metadata, interval)
    return _single(commands.note(keyspace, id, metadata, interval))


def increment(keyspace: Keyspace, id: str, name: bytes, by: int) -> Steps[Any]:
    if keyspace.is_spread:
        return writing.increment(keyspace, id, name, by)
    return _single(commands.increment(keyspace, id, name, by))


def list_many(
    keyspace: Keyspace, ids: Sequence[str], *, only_look: bool = False
) -> Steps[tuple[int, int]]:
    if keyspace.is_spread:
        return writing.list_many(keyspace, ids, only_look=only_look)
    return _single(listings.list_many(keyspace, ids, only_look=only_look))


def end(keyspace: Keyspace, id: str) -> Steps[str | None]:
    """As `delete`, but not sent again after a lost reply: it would say there was nothing to end."""
    if keyspace.is_spread:
        return ending.delete(keyspace, id, all_shards=True)
    return _single(commands.delete(keyspace, id)._replace(repeatable=False))


def end_many(keyspace: Keyspace, ids: Sequence[str]) -> EndingSteps:
    """As `listings.end_many`, for any number of sessions. Also yields what has ended."""
    if keyspace.is_spread:
        yield from ending.end_many(keyspace, ids)
        return
    for start in range(0, len(ids), listings.END_MANY_BATCH_SIZE):
        batch = ids[start : start + listings.END_MANY_BATCH_SIZE]
        yield (yield listings.end_many(keyspace, batch))


def end_all(keyspace: Keyspace, user_pk: str, spared_id: str = "") -> EndingSteps:
    """As `listings.end_all`, until there are no more sessions. Also yields what has ended."""
    if keyspace.is_spread:
        yield from ending.end_all(keyspace, user_pk, spared_id)
        return
    # Each step ends as many sessions as it looks at, so the last one looks at the whole index at
    # one moment. A session that was in it when the first step began stays in it until it is ended:
    # if it is cycled meanwhile, under its new id.
    more = True
    while more:
        ended = yield listings.end_all(keyspace, user_pk, spared_id)
        yield ended
        spared_id, more = ended.spared, ended.more
