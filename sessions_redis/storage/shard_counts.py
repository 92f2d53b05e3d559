"""
The numbers of shards that list sessions now. Pure, as `commands`.

After a site has changed ``INDEX_SHARDS``, the former shards list sessions until ``rebuildindex``
removes them. So each process notes in Redis which number it uses, when it lists sessions. It never
notes a single shard: its indexes have the plain names, and readers always look at these as well.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sessions_redis.storage import replies, scripts
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.listings import MARGIN
from sessions_redis.storage.steps import Command, script_command

# The limit of the setting. Another number in Redis is damage.
MOST = 256

# A process notes its number again after so many milliseconds, in case that Redis lost it.
INTERVAL = 60_000

# A process remembers its number, and those that it has read, for so many tenants at most.
TENANTS = 1024

# By keyspace: when this process noted its number, and until when it said that it lists sessions.
_noted: dict[Keyspace, tuple[int, int]] = {}

# By keyspace: the numbers that this process has read last.
_read: dict[Keyspace, tuple[int, ...]] = {}


def to_note(keyspace: Keyspace, now: int, listed: int) -> list[Command[int]]:
    """
    The command to send together with those that list a session, or none: mostly none.

    ``now``: the clock of this process, ``listed``: the time until which the session is listed; both
    in milliseconds since 1970.
    """
    if not keyspace.is_spread or keyspace.shards == 1 or not keyspace.indexed:
        return []
    at, until = _noted.get(keyspace, (0, 0))
    if at <= now < at + INTERVAL and listed <= until:
        return []
    # Later than this session, so that the next one does not need it again.
    later = listed + MARGIN * 1000

    def read(reply: Any) -> int:
        if len(_noted) >= TENANTS:
            _noted.clear()
        _noted[keyspace] = now, later
        return replies.number(reply)

    key = counts_key(keyspace)
    return [script_command(scripts.NOTE_SHARDS, (key,), (keyspace.shards, later), read)]


def in_use(keyspace: Keyspace) -> Command[list[int]]:
    """The numbers of shards that processes have noted."""

    def read(reply: Any) -> list[int]:
        texts = [replies.text(member) for member in replies.listing(reply)]
        counts = [int(text) for text in texts if text.isdecimal() and 1 <= int(text) <= MOST]
        if len(_read) >= TENANTS:
            _read.clear()
        _read[keyspace] = tuple(counts)
        return counts

    words = ("ZREVRANGEBYSCORE", counts_key(keyspace), "+inf", "-inf")
    return Command(words, read, read_wrong_type=list)


def last_in_use(keyspace: Keyspace) -> Sequence[int]:
    """
    What `in_use` answered last in this process: a guess that saves a round if it is still right.
    """
    return _read.get(keyspace, ())


def forget(keyspace: Keyspace, counts: Sequence[int]) -> Command[int]:
    """Forget numbers of shards, because these list no sessions any more."""
    _noted.pop(keyspace, None)
    return Command(("ZREM", counts_key(keyspace), *counts), replies.number)


def counts_key(keyspace: Keyspace) -> str:
    return f"{keyspace.index}:shards"


def indexes_of(keyspace: Keyspace, id: str, counts: Iterable[int]) -> list[str]:
    """The indexes of all sessions that may list this session, if these numbers are in use."""
    numbers = dict.fromkeys((keyspace.shards, 1, *counts))
    return [*dict.fromkeys(replace(keyspace, shards=one).index_of(id) for one in numbers)]


def indexes(keyspace: Keyspace, counts: Iterable[int] = ()) -> list[str]:
    """All indexes of all sessions, without their halves, if these numbers are in use."""
    numbers = dict.fromkeys((keyspace.shards, 1, *counts))
    names = [name for number in numbers for name in replace(keyspace, shards=number).indexes]
    return [*dict.fromkeys(names)]
