"""
Workers of the former engine and of this one serve the same sessions for a while.

With ``SESSION_REDIS["FORMER_ENGINE_SHARED"]``, this engine reads and writes both stores. The former
one decides whether a session lives, and what its entries are, because its workers know no other.
So a log-out on either side holds. Two requests that write at the same time may overwrite each
other's entries, as they do with the former engine.
"""

from collections.abc import Mapping
from typing import Any

from sessions_redis.calls import CallTo, StoreSteps
from sessions_redis.former import FormerSession
from sessions_redis.keys import Key
from sessions_redis.moving_in import Deletion, Stored, former_store, kept, metadata_of, moved
from sessions_redis.sealing import written
from sessions_redis.storage import adoption, commands, expiring, layouts, listings
from sessions_redis.storage.changes import Changes, Known
from sessions_redis.storage.commands import WrongType
from sessions_redis.storage.entries import COPIED, SealingSerializer, Serializer
from sessions_redis.storage.events import ENDED
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.lazy_entries import entries_in
from sessions_redis.storage.rules import Outcome
from sessions_redis.storage.steps import Steps

# Seconds that a session lives which somebody made persistent here: browsers keep no cookie longer.
LONGEST = 400 * 86_400

MARKED: Mapping[bytes, bytes] = {COPIED: adoption.SHARED}


def loaded(
    keyspace: Keyspace, key: Key, stored: Stored, serializer: Serializer
) -> StoreSteps[Stored]:
    """
    The session's fields, after both stores have the same.

    ``stored``: what is in Redis. Raises `SessionStoreUnavailable` if the former engine is away.
    """
    if isinstance(stored, WrongType):
        return stored
    if stored is None:
        if not (yield from moved(keyspace, key, serializer)):
            return None
    else:
        session: FormerSession | None = yield CallTo(former_store(), "load", key)
        if session is None and COPIED in stored:
            if (yield from _ended_there(keyspace, key)):
                return None
        elif session is None:
            yield from _copied(keyspace, key, stored, serializer)
        elif not (yield from _taken_over(keyspace, key, stored, session, serializer)):
            return stored
    stored = yield commands.load(keyspace, key.id)
    return stored


def _ended_there(keyspace: Keyspace, key: Key) -> StoreSteps[bool]:
    """
    End a session here that the former engine had, and has no more: it was ended or expired there.

    Not if another worker, which does not share any more, has moved it in meanwhile.
    """
    stored = yield commands.load(keyspace, key.id)
    if not isinstance(stored, Mapping) or stored.get(COPIED) != adoption.SHARED:
        return False
    yield from layouts.delete(keyspace, key.id, ENDED)
    return True


def _taken_over(
    keyspace: Keyspace,
    key: Key,
    stored: Mapping[bytes, bytes],
    session: FormerSession,
    serializer: Serializer,
) -> StoreSteps[bool]:
    """Write here what differs in the former engine. Whether anything did."""
    entries = kept(session, serializer, key.id)
    if entries is None:
        return False
    known = Known(key.id, stored)
    changes = known.changes(entries, serializer, {**metadata_of(session), **MARKED})
    if not (changes.written or changes.removed):
        return False

    def save(sealed: Changes) -> Steps[Outcome]:
        return layouts.save(keyspace, key.id, session.ttl, sealed)

    if isinstance(serializer, SealingSerializer):
        yield from written(known, changes, serializer, save)
    else:
        yield from save(changes)
    return True


def _copied(
    keyspace: Keyspace, key: Key, stored: Mapping[bytes, bytes], serializer: Serializer
) -> StoreSteps[None]:
    """Create a session there that was begun before the stores were shared."""
    left = yield listings.ttl(keyspace, key.id)
    entries = expiring.lasting(entries_in(stored, serializer, _ignore), expiring.names_in(stored))
    if left <= 0 or not (yield CallTo(former_store(), "create", key, entries, min(left, LONGEST))):
        return
    if not (yield from layouts.note(keyspace, key.id, MARKED)):
        yield Deletion(former_store(), key)  # it was ended here meanwhile


def _ignore(name: bytes) -> None:
    """A damaged field stays here. It is reported when the session is loaded."""


def created(key: Key, entries: dict[Any, Any], age: float) -> StoreSteps[None]:
    """Create a session there that was created here a moment ago, under a key nobody knows yet."""
    if age > 0:
        yield CallTo(former_store(), "create", key, entries, age)


def saved(keyspace: Keyspace, key: Key, entries: dict[Any, Any], age: float) -> StoreSteps[bool]:
    """Save all entries there. ``False`` if the session was ended there: then it ends here, too."""
    if age <= 0 or (yield CallTo(former_store(), "save", key, entries, age)):
        return True
    return not (yield from _ended_there(keyspace, key))
