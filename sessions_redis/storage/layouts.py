"""
Where a site's keys are: in one slot, or across the slots of a Cluster.

Each function returns steps. In one slot that is one command, which is atomic.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from sessions_redis.storage import adoption, commands, listings
from sessions_redis.storage.across_slots import cycling, ending, writing
from sessions_redis.storage.across_slots.ending import EndingSteps
from sessions_redis.storage.changes import NOTHING_ASKED, Changes
from sessions_redis.storage.commands import Held, Incremented, Taken
from sessions_redis.storage.entries import COPIED, NOTHING
from sessions_redis.storage.events import ENDED, LOGGED_OUT
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.listings import Ended
from sessions_redis.storage.rules import Outcome
from sessions_redis.storage.steps import Argument, Command, Steps

T = TypeVar("T")

# Commands that a spread site sends along when it lists a session.
First = Sequence[Command[Any]]


def _single(command: Command[T]) -> Steps[T]:
    answer: T = yield command
    return answer


def _ending(keyspace: Keyspace, id: str, steps: Steps[T], *, by_id: bool = False) -> Steps[T]:
    """End the session ``id``. If sessions move in, first note that this one must not."""
    if keyspace.moves_in:
        yield adoption.tombstone(keyspace, id, by_id=by_id)
    return (yield from steps)


def create(
    keyspace: Keyspace, id: str, ttl: float, changes: Changes, first: First = ()
) -> Steps[Outcome]:
    if keyspace.is_spread:
        return writing.create(keyspace, id, ttl, changes, first)
    return _single(commands.create(keyspace, id, ttl, changes))


def save(
    keyspace: Keyspace, id: str, ttl: float, changes: Changes, first: First = ()
) -> Steps[Outcome]:
    if keyspace.is_spread:
        steps = writing.save(keyspace, id, ttl, changes, first)
    else:
        steps = _single(commands.save(keyspace, id, ttl, changes))
    return _ending(keyspace, id, steps) if ttl <= 0 else steps


def cycle(
    keyspace: Keyspace,
    old_id: str,
    new_id: str,
    ttl: float,
    changes: Changes,
    user: str,
    first: First = (),
) -> Steps[Outcome | type[Taken]]:
    """As `commands.cycle`. ``user``: the user that it has, as far as the caller knows."""
    if keyspace.moves_in and not keyspace.is_shared:
        # The former engine may have a copy under the old key. It has none under the new one.
        changes = changes._replace(removed=(*changes.removed, COPIED))
    if keyspace.is_spread:
        steps = cycling.cycle(keyspace, old_id, new_id, ttl, changes, user, first)
        return _ending(keyspace, old_id, steps)
    return _ending(
        keyspace, old_id, _single(commands.cycle(keyspace, old_id, new_id, ttl, changes))
    )


def create_beside(
    keyspace: Keyspace, cycled_id: str, user: bytes, new_id: str, ttl: float, changes: Changes
) -> Steps[Outcome]:
    if keyspace.is_spread:
        return cycling.create_beside(keyspace, cycled_id, user, new_id, ttl, changes)
    return _single(commands.create_beside(keyspace, cycled_id, user, new_id, ttl, changes))


def delete(keyspace: Keyspace, id: str, reason: str = LOGGED_OUT) -> Steps[str | None]:
    if keyspace.is_spread:
        return _ending(keyspace, id, ending.delete(keyspace, id, reason))
    return _ending(keyspace, id, _single(commands.delete(keyspace, id, reason)))


def note(
    keyspace: Keyspace, id: str, metadata: Mapping[bytes, bytes] = NOTHING, interval: float = 0
) -> Steps[int]:
    if keyspace.is_spread:
        return writing.note(keyspace, id, metadata, interval)
    return _single(commands.note(keyspace, id, metadata, interval))


def increment(
    keyspace: Keyspace, id: str, name: bytes, by: int, asked: Mapping[str, Argument] = NOTHING_ASKED
) -> Steps[Incremented]:
    if keyspace.is_spread:
        return writing.increment(keyspace, id, name, by, asked)
    return _single(commands.increment(keyspace, id, name, by, asked))


def lock(
    keyspace: Keyspace, id: str, token: str, milliseconds: int
) -> Steps[Mapping[bytes, bytes] | Held | None]:
    if keyspace.is_spread:
        return writing.lock(keyspace, id, token, milliseconds)
    return _single(commands.lock(keyspace, id, token, milliseconds))


def unlock(keyspace: Keyspace, id: str, token: str) -> Steps[bool]:
    if keyspace.is_spread:
        return writing.unlock(keyspace, id, token)
    return _single(commands.unlock(keyspace, id, token))


def list_many(
    keyspace: Keyspace, ids: Sequence[str], *, only_look: bool = False
) -> Steps[tuple[int, int]]:
    if keyspace.is_spread:
        return writing.list_many(keyspace, ids, only_look=only_look)
    return _single(listings.list_many(keyspace, ids, only_look=only_look))


def end(keyspace: Keyspace, id: str, reason: str = ENDED) -> Steps[str | None]:
    """As `delete`, but not sent again after a lost reply: that would find nothing to end."""
    if keyspace.is_spread:
        steps = ending.delete(keyspace, id, reason, all_shards=True)
    else:
        steps = _single(commands.delete(keyspace, id, reason)._replace(repeatable=False))
    return _ending(keyspace, id, steps, by_id=True)


def end_many(keyspace: Keyspace, ids: Sequence[str], reason: str = ENDED) -> EndingSteps:
    """As `listings.end_many`, for any number of sessions. Yields each `Ended` besides the steps."""
    yield from _tombstones(keyspace, ids)
    if keyspace.is_spread:
        yield from ending.end_many(keyspace, ids, reason)
        return
    yield from _ending_many(keyspace, ids, reason)


def end_those(keyspace: Keyspace, ids: Sequence[str], reason: str = ENDED) -> EndingSteps:
    """As `end_many`. Across slots, it also ends what cycling has made of these sessions."""
    yield from _tombstones(keyspace, ids)
    if keyspace.is_spread:
        yield from ending.end_those(keyspace, ids, reason)
        return
    yield from _ending_many(keyspace, ids, reason)


def _tombstones(keyspace: Keyspace, ids: Sequence[str]) -> Steps[None]:
    for start in range(0, len(ids) if keyspace.moves_in else 0, listings.END_MANY_BATCH_SIZE):
        batch = ids[start : start + listings.END_MANY_BATCH_SIZE]
        yield [adoption.tombstone(keyspace, id, by_id=True) for id in batch]


def _ending_many(keyspace: Keyspace, ids: Sequence[str], reason: str) -> EndingSteps:
    for start in range(0, len(ids), listings.END_MANY_BATCH_SIZE):
        batch = ids[start : start + listings.END_MANY_BATCH_SIZE]
        yield (yield listings.end_many(keyspace, batch, reason))


def end_all(
    keyspace: Keyspace, user_pk: str, spared_id: str = "", reason: str = ENDED
) -> EndingSteps:
    """Repeat `listings.end_all` until no session is left. Yields each `Ended` besides the steps."""
    if keyspace.moves_in:
        yield adoption.sign_out(keyspace, user_pk, spared_id)
    steps = _ending_all(keyspace, user_pk, spared_id, reason)
    yield from _with_tombstones(keyspace, steps) if keyspace.is_shared else steps


def _with_tombstones(keyspace: Keyspace, steps: EndingSteps) -> EndingSteps:
    """Note what has ended: workers of the former engine may save it later, as if it were new."""
    answer = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration:
            return
        answer = yield step
        if isinstance(step, Ended) and step.sessions:
            yield [adoption.tombstone(keyspace, id, by_id=True) for id, _ in step.sessions]


def _ending_all(keyspace: Keyspace, user_pk: str, spared_id: str, reason: str) -> EndingSteps:
    if keyspace.is_spread:
        yield from ending.end_all(keyspace, user_pk, spared_id, reason)
        return
    # Each step ends as many sessions as it looks at, so the last one looks at the whole index at
    # one moment. A session that was in it when the first step began stays in it until it is ended:
    # if it is cycled meanwhile, under its new id.
    more = True
    while more:
        ended = yield listings.end_all(keyspace, user_pk, spared_id, reason)
        yield ended
        spared_id, more = ended.spared, ended.more
