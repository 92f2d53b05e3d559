"""
What the site's policies ask of each write, as rules that the server checks in the same step.

A store asks for the `rules` of a write before it sends it, and gives a refusal to `refused_by`.
"""

from enum import Enum
from typing import NoReturn

from sessions_redis import capping, conf, lifetimes
from sessions_redis.base import StoreBase
from sessions_redis.calls import StoreSteps
from sessions_redis.exceptions import GONE, LockLost, SessionGone, SessionTooLarge
from sessions_redis.expiring import not_here
from sessions_redis.storage import expiring
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.entries import is_metadata
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.rules import BYTES, CAP, ENDS_AT, LOCKED, Refused, Written, sizes
from sessions_redis.storage.steps import Argument

LOST = (
    "This request does not hold the lock of the session any more, so nothing was written. "
    "The block took longer than the timeout of session.lock(), and another request took the lock."
)


class Write(Enum):
    """What a write does: begin a session, save one, give it a new key, or begin one beside it."""

    CREATE = "create"
    SAVE = "save"
    CYCLE = "cycle"
    BESIDE = "beside"


def rules(
    store: StoreBase,
    keyspace: Keyspace,
    changes: Changes,
    write: Write,
) -> StoreSteps[dict[str, Argument]]:
    """The rules for one write, by name. Nothing is asked of Redis."""
    asked = rules_of_entries(store, changes, write)
    asked |= yield from capping.rules(keyspace, changes.user, store.signed_in_user)
    return asked | (yield from _rules_of_lifetimes(store, write))


def _rules_of_lifetimes(store: StoreBase, write: Write) -> StoreSteps[dict[str, Argument]]:
    user_pk = lifetimes.user_of(store._entries)
    if write is Write.CREATE:
        return (yield from lifetimes.begin(store, user_pk))
    if write is Write.BESIDE:
        return (yield from lifetimes.copy(store, store._known.id, user_pk))
    id = store._id if write is Write.SAVE else store._known.id
    return (yield from lifetimes.go_on(store, id, user_pk))


def ended(keyspace: Keyspace, written: Written) -> StoreSteps[None]:
    """Let others know of the sessions that a write ended."""
    yield from capping.ended(keyspace, written.ended)


def rules_of_entries(
    store: StoreBase, changes: Changes, write: Write = Write.SAVE
) -> dict[str, Argument]:
    """The rules that also hold for a write that leaves the session's lifetime as it is."""
    asked: dict[str, Argument] = {}
    if store._lock is not None and write in {Write.SAVE, Write.CYCLE}:
        asked[LOCKED] = store._lock.token
    limit = conf.current().max_session_bytes
    # A session that only lives on, or loses entries, cannot become too large.
    if limit is not None and not all(map(is_metadata, changes.written)):
        # A new session that takes over the entries of one that was too large may be as large.
        held = 0 if write is Write.SAVE else sum(sizes(store._known.fields).values())
        asked[BYTES] = max(limit, held)
    return asked


def refused_by(store: StoreBase, refused: Refused) -> NoReturn:
    """Raise the exception of a rule that refused a write. Nothing was written."""
    if refused.rule == ENDS_AT:
        raise SessionGone(GONE)
    if refused.rule == CAP:
        raise capping.refused_by(store, refused)
    if refused.rule == LOCKED:
        raise LockLost(LOST)
    if refused.rule.startswith(expiring.RULES):
        raise not_here(expiring.missing(refused.details))
    assert refused.rule == BYTES, refused.rule  # noqa: S101 - no other rule is sent
    total, *named = refused.details
    keys = [name.removeprefix("@") for name in named[::2]]
    largest = tuple(zip(keys, map(int, named[1::2]), strict=True))
    raise SessionTooLarge(int(total), conf.current().max_session_bytes or 0, largest)
