"""
End all sessions, in passes over the indexes of all sessions. Pure, as `commands`.

A pass reads a bounded number of members of each index in each step, in the order of the times until
which they list sessions. A session that gets a new key meanwhile is listed under a new id. Mostly
that is for a longer time, so the pass comes to it later. If it is listed for a shorter time, the
next pass finds it. The last passes find nothing to end.

Only sessions that were created before the first pass are ended: there are ever fewer of them,
however many visitors sign in meanwhile.
"""

from collections.abc import Generator, Sequence
from math import inf
from typing import Any, NamedTuple

from sessions_redis.storage import layouts, listings, replies, servers, shard_counts
from sessions_redis.storage.across_slots.ending import HOPS, EndingSteps, successors
from sessions_redis.storage.entries import CREATED, is_time
from sessions_redis.storage.events import ENDED
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.listings import END_MANY_BATCH_SIZE, is_id
from sessions_redis.storage.steps import Command, Step, Steps

# Passes that find nothing to end, one after the other, at the end.
QUIET_PASSES = 2

# Times in an index have no more digits. In seconds.
MILLISECOND = 0.001

# New keys of the session to spare that are followed in one step. Damaged data can be a circle.
LONG_CHAIN = 10_000

# As `EndingSteps`, with a result: whether there was a session to end.
PassSteps = Generator[Step | listings.Ended, Any, bool]


class _Look(NamedTuple):
    """
    What is at an id. ``created``: when the session was created; ``None`` if there is none.

    ``following``: the id that it has got by a new key; ``""`` if it has got none.
    """

    created: int | None
    following: str


class _Spared:
    """The session to spare. ``ids``: those that it has, had, or is about to get."""

    def __init__(self, id: str) -> None:
        self._last = id
        self.ids = {id} if id else set[str]()

    def follow(self, keyspace: Keyspace) -> Steps[None]:
        """Find the ids that it has got since. What leads from one to the next stays a minute."""
        for _ in range(LONG_CHAIN if self._last else 0):
            cycled, following = yield successors(keyspace, self._last)
            self.ids |= {cycled, following}
            if not cycled:
                return
            self._last = cycled


def end_all(keyspace: Keyspace, spared_id: str = "", reason: str = ENDED) -> EndingSteps:
    """
    End the sessions that were created before this begins, but for one.

    Yields each `Ended` besides the steps. The spared session is known by the id that it has now, or
    had before it was cycled.
    """
    began, spared, quiet = (yield from _now(keyspace)), _Spared(spared_id), 0
    while quiet < QUIET_PASSES:
        indexes = yield from _indexes(keyspace)
        found = yield from _pass(keyspace, indexes, began, spared, reason)
        quiet = 0 if found else quiet + 1


def _now(keyspace: Keyspace) -> Steps[int]:
    """The server's time in seconds. Of several servers, that of the one whose clock is ahead."""
    if not keyspace.is_spread:
        return int((yield listings.now()))
    nodes: list[servers.Primary] = yield servers.slot_ranges()
    return int(max((yield [listings.now()._replace(slot=node.slot) for node in nodes])))


def _indexes(keyspace: Keyspace) -> Steps[list[str]]:
    if not keyspace.is_spread:
        return [keyspace.index]
    return shard_counts.indexes(keyspace, (yield shard_counts.in_use(keyspace)))


def _pass(
    keyspace: Keyspace, indexes: Sequence[str], began: int, spared: _Spared, reason: str
) -> PassSteps:
    size, found = END_MANY_BATCH_SIZE, False
    low, known = listings.EVER, set[bytes]()
    while True:
        pages: list[list[tuple[bytes, float]]] = yield [
            listings.first(index, low, inf, size, latest_first=False) for index in indexes
        ]
        names = {name for page in pages for name, _ in page}
        ids = [*filter(is_id, map(replies.text, names - known))]
        for start in range(0, len(ids), size):
            batch = ids[start : start + size]
            found |= yield from _end_those(keyspace, batch, began, spared, reason)
        full = [page[-1][1] for page in pages if len(page) == size]
        if not full:
            return found
        # Of several indexes, none is read further than another: a session can move between them.
        # Members of the last millisecond are read again, because there may be more.
        last, known = min(full), names
        low = last if last - MILLISECOND <= low else last - MILLISECOND


def _end_those(
    keyspace: Keyspace, ids: Sequence[str], began: int, spared: _Spared, reason: str
) -> PassSteps:
    """End those of these sessions that were created before this began."""
    old = yield from _old(keyspace, ids, began)
    yield from spared.follow(keyspace)
    left = [id for id in old if id not in spared.ids]
    found = bool(left)
    for _ in range(HOPS if left else 0):
        ended = yield from _ended(layouts.end_those(keyspace, left, reason))
        # Where a session got a new key just before: follow it, and end it at once.
        left = yield from _old(keyspace, [id for id in left if id not in ended], began)
        if not left:
            break
    return found


def _ended(steps: EndingSteps) -> Generator[Step | listings.Ended, Any, set[str]]:
    """The same steps. Returns the ids of the sessions that ended."""
    answer, ended = None, set[str]()
    while True:
        try:
            step = steps.send(answer)
        except StopIteration:
            return ended
        if isinstance(step, listings.Ended):
            ended |= {id for id, _ in step.sessions}
        answer = yield step


def _old(keyspace: Keyspace, ids: Sequence[str], began: int) -> Steps[list[str]]:
    """The sessions that had these ``ids``, under their present ids, if created before."""
    old: dict[str, None] = {}
    asked, seen = [*ids], set(ids)
    while asked and len(seen) < len(ids) + HOPS:
        looks: list[_Look] = yield [_look(keyspace, id) for id in asked]
        for id, look in zip(asked, looks, strict=True):
            if look.created is not None and look.created <= began:
                old[id] = None
        following = dict.fromkeys(look.following for look in looks)
        asked = [id for id in following if id and id not in seen]
        seen.update(asked)
    return [*old]


def _look(keyspace: Keyspace, id: str) -> Command[_Look]:
    def read(reply: Any) -> _Look:
        created, cycled = replies.listing(reply, 2)
        if created is None:
            return _Look(None, replies.text(cycled) if cycled else "")
        # A damaged time counts as long ago.
        return _Look(int(created) if is_time(replies.raw(created)) else 0, "")

    words = ("HMGET", keyspace.session(id), CREATED, "@cycled")
    return Command(words, read, read_wrong_type=lambda: _Look(None, ""))
