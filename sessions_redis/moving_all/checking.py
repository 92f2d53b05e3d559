"""
Compares sessions that have moved with what the former engine had.

The former engine has no copy of them any more. So the move kept a digest of a sample in Redis, with
the time when each of them expires.
"""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from sessions_redis.clients import perform, run
from sessions_redis.moving_all.counts import Counts
from sessions_redis.storage import commands, layouts, listings, moves
from sessions_redis.storage.commands import WrongType
from sessions_redis.storage.entries import ENDS, UPDATED, USER, is_moment, is_time
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.moves import Moved
from sessions_redis.storage.steps import Steps
from sessions_redis.storage.together import together

# Sessions that one round trip reads.
AT_A_TIME = 100

# Seconds by which the lifetime of a session may differ: half of it comes from whole seconds, the
# rest from a round trip that took long.
TOLERANCE = 2

# The kinds that mean that something is wrong.
WRONG = ("different", "lifetime", "unlisted")


def compare(keyspace: Keyspace) -> Counts:
    """
    What has become of the sessions in the sample, in numbers.

    ``same``: as they were in the former engine. ``changed``: a request has saved them since.
    ``gone``: they were ended or have expired since. ``different``: other entries or another user,
    and no request has saved them since. ``lifetime``: another lifetime. ``unlisted``: an index does
    not list them, or not under their user.
    """
    counts = Counts()
    sample = run(moves.remembered(keyspace))
    for start in range(0, len(sample), AT_A_TIME):
        some = sample[start : start + AT_A_TIME]
        for one, kind in zip(some, perform(_kinds(keyspace, some)), strict=True):
            counts.add(kind, one.id)
    return counts


def _kinds(keyspace: Keyspace, sample: Sequence[Moved]) -> Steps[list[str]]:
    return (yield from together([_kind(keyspace, one) for one in sample]))


def _kind(keyspace: Keyspace, one: Moved) -> Steps[str]:
    now, fields, left = yield [
        listings.now(), commands.load(keyspace, one.id), listings.ttl(keyspace, one.id)
    ]  # fmt: skip
    if fields is None or isinstance(fields, WrongType):
        return "gone"
    is_same = moves.digest_of(fields) == one.digest and _user(fields) == one.user
    ends = fields.get(ENDS)
    latest = int(ends) / 1000 if is_moment(ends) else inf
    later = now + left - min(one.expires, latest)
    # The time of a save is in whole seconds. One in the second of the move shows by the lifetime,
    # which begins anew with it.
    if not (_was_saved(fields, one) or later > TOLERANCE):
        if not is_same:
            return "different"
        if later < -TOLERANCE:
            return "lifetime"
    if keyspace.indexed:
        _, missing = yield from layouts.list_many(keyspace, [one.id], only_look=True)
        if missing:
            return "unlisted"
    return "same" if is_same else "changed"


def _was_saved(fields: Mapping[bytes, bytes], one: Moved) -> bool:
    updated = fields.get(UPDATED)
    return is_time(updated) and int(updated) > one.at + TOLERANCE


def _user(fields: Mapping[bytes, Any]) -> str:
    return str(fields.get(USER, b""), "utf-8", "surrogatepass")
