"""
Give a session a new id across slots: freeze it, copy it, leave a marker in its place.

While a session is frozen, other requests can read it. Those that write wait.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from sessions_redis.storage import expiring, replies, scripts
from sessions_redis.storage.across_slots import listing
from sessions_redis.storage.across_slots.ending import TOMBSTONE, delete
from sessions_redis.storage.across_slots.listing import Listed, at_session
from sessions_redis.storage.across_slots.writing import put_within_cap, relist
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.commands import Taken, milliseconds
from sessions_redis.storage.entries import (
    CREATED,
    ENDS,
    EXPIRING,
    LISTED,
    RENEWED,
    UPDATED,
    USER,
    is_metadata,
)
from sessions_redis.storage.events import EXPIRED
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.rules import (
    Outcome,
    Refused,
    milliseconds_to_list,
    of_a_copy,
    refusal,
    without_cap,
)
from sessions_redis.storage.steps import Command, Steps, Undoable, script_command

T = TypeVar("T")

# Milliseconds for which a name says where its session went: longer than a request takes.
MARKED = 60_000

FORMER, AHEAD = b"@former", b"@ahead"

# If a session is gone when it leaves its name, another request has ended it. That one may still
# remove its copy from the indexes, so no session may begin under the new id.
LATE = {"gone": "late"}

# Metadata that does not move to the copy: it gets its own.
NOT_COPIED = {
    CREATED, UPDATED, USER, LISTED, FORMER, AHEAD, EXPIRING, b"@lowered", b"@frozen", b"@next",
    ENDS, RENEWED,
}  # fmt: skip


def cycle(
    keyspace: Keyspace,
    old_id: str,
    new_id: str,
    ttl: float,
    changes: Changes,
    user: str,
    first: Sequence[Command[Any]] = (),
) -> Steps[Outcome | type[Taken]]:
    """
    ``False`` if the session is gone. With no ``ttl`` left it is deleted. `Taken` if it shall be
    tried again with another new id: this one was ended, or it took so long that others wrote to it.

    ``user``: the user that it has, as far as the caller knows. ``first``: commands to send along.
    """
    if milliseconds(ttl) <= 0:
        return (yield from delete(keyspace, old_id, EXPIRED, only_sessions=True)) is not None
    waited = 0
    while True:
        steps = _moved(keyspace, old_id, new_id, ttl, changes, user, first)
        said = yield from _undone_by(_thaw(keyspace, old_id, new_id), steps)
        if isinstance(said, Refused):
            yield _thaw(keyspace, old_id, new_id)
            return said
        if not isinstance(said, str):
            return said
        if said == "taken":
            yield _thaw(keyspace, old_id, new_id)
        if said in ("taken", "thawed", "late"):
            # Another request may be ending what was under this id, and remove it from the indexes.
            return Taken
        if said != "busy":
            return False
        yield listing.pause(waited)
        waited += 1


def _undone_by(undo: Command[Any], steps: Steps[T]) -> Steps[T]:
    """The same steps. If Redis fails, ``undo`` is sent."""
    answer = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration as stop:
            result: T = stop.value
            return result
        assert not isinstance(step, Undoable)  # noqa: S101 - for the type checker
        answer = yield Undoable(step, undo)


def _moved(
    keyspace: Keyspace,
    old_id: str,
    new_id: str,
    ttl: float,
    changes: Changes,
    expected: str,
    first: Sequence[Command[Any]],
) -> Steps[str | Outcome]:
    ttl_ms, known = milliseconds_to_list(milliseconds(ttl), changes.rules), Listed()
    user = expected if changes.user is None else changes.user
    asked: list[Command[Any]] = []
    if keyspace.indexed:
        asked = listing.enlisting(keyspace, new_id, user, ttl_ms)
    (said, *more), *times = yield [_freeze(keyspace, old_id, new_id, ttl_ms), *asked, *first]
    if said != "frozen":
        if said == "gone":
            yield listing.delisting(keyspace, [(new_id, user)])
        return str(said)
    created, was, fields, left = more
    fields = {name: value for name, value in fields.items() if left.get(name) != expiring.GONE}
    if (refused := refusal(changes, fields)) is not None:
        yield listing.delisting(keyspace, [(new_id, user)])
        return refused
    real = was if changes.user is None else changes.user
    if keyspace.indexed:
        known = listing.listed(times[: len(asked)])
        if real != user:  # another request has changed it
            known = yield from listing.enlist(keyspace, new_id, real, ttl_ms)
    copied = _copied(fields, left, changes, old_id, real)
    if real == was:
        copied = copied._replace(rules=without_cap(copied.rules))
    done = yield from put_within_cap(keyspace, new_id, ttl, copied, known, created, is_new=True)
    if not done:
        return done if isinstance(done, Refused) else "taken"
    leave = script_command(
        scripts.ACROSS_LEAVE, (keyspace.session(old_id),), (new_id, MARKED), replies.text,
        awaits_replicas=True,
    )  # fmt: skip
    was_listed = Listed(fields.get(LISTED, b"").decode(), fields.get(AHEAD, b"").decode())
    withdrawing: list[Command[Any]] = []
    # Until it has left, its copy, which has another user, does not lead its user to it.
    if keyspace.indexed and real == was:
        withdrawing = listing.withdrawing(keyspace, old_id, was, was_listed)
    left, *withdrawn = yield [leave, *withdrawing]
    if left == "left" and keyspace.indexed and not (withdrawn and all(withdrawn)):
        # It is not known until when the indexes list it, or another request has listed it since.
        yield listing.delisting(keyspace, [(old_id, was)])
    if left == "thawed" and withdrawing:
        # Others may have written to it. List it again before its copy ends, which leads to it.
        yield from relist(keyspace, {old_id: (was, was_listed.until)})
    if left != "left":
        yield script_command(
            scripts.ACROSS_ABANDON, (keyspace.session(new_id),), (old_id, MARKED), replies.flag,
            awaits_replicas=True,
        )  # fmt: skip
        yield listing.delisting(keyspace, [(new_id, real)])
    return done if left == "left" else LATE.get(left, left)


def _freeze(keyspace: Keyspace, old_id: str, new_id: str, ttl_ms: int) -> Command[tuple[Any, ...]]:
    def read(reply: Any) -> tuple[Any, ...]:
        said, *more = replies.listing(reply)
        if said != b"frozen":
            return (replies.text(said),)
        created, user, fields, left = more
        return (
            "frozen",
            replies.text(created),
            replies.text(user),
            replies.fields(fields),
            {
                replies.raw(name): replies.number(ms, expiring.GONE)
                for name, ms in replies.pairs(left)
            },
        )

    return script_command(
        scripts.ACROSS_FREEZE, (keyspace.session(old_id),), (new_id, ttl_ms), read
    )


def _thaw(keyspace: Keyspace, old_id: str, new_id: str) -> Command[bool]:
    return script_command(scripts.ACROSS_THAW, (keyspace.session(old_id),), (new_id,), replies.flag)


def _copied(
    fields: Mapping[bytes, bytes],
    left: Mapping[bytes, int],
    changes: Changes,
    old_id: str,
    user: str,
) -> Changes:
    """What to write for the copy: what is in Redis, and the changes of this request."""
    kept = {
        name: value
        for name, value in fields.items()
        if name not in NOT_COPIED
        and name not in changes.removed
        and (is_metadata(name) or not changes.replaces)
    }
    changed, rules = expiring.of_copy(changes, fields, left)
    written = {**kept, **changed, FORMER: old_id.encode()}
    return Changes(written, user=user, rules=of_a_copy(rules, fields.get(ENDS)))


def create_beside(
    keyspace: Keyspace, cycled_id: str, user: bytes, new_id: str, ttl: float, changes: Changes
) -> Steps[Outcome]:
    """
    As `commands.create_beside`.

    The session beside which it is created knows of the new one before that is there, so ending all
    sessions of a user ends both, or leaves a tombstone that prevents the new one.
    """
    ttl_ms = milliseconds_to_list(milliseconds(ttl), changes.rules)
    known, id, waited = Listed(), cycled_id, 0
    if keyspace.indexed and ttl_ms > 0:
        known = yield from listing.enlist(keyspace, new_id, changes.user or "", ttl_ms)
    while True:
        said, *more = yield at_session(scripts.ACROSS_BESIDE, keyspace, id, user, new_id, TOMBSTONE)
        if said == "cycled":
            id = more[0]
        elif said == "busy":
            yield listing.pause(waited)
            waited += 1
        else:
            break
    if said != "noted":
        yield listing.delisting(keyspace, [(new_id, changes.user or "")])
        return False
    return (yield from put_within_cap(keyspace, new_id, ttl, changes, known, is_new=True))
