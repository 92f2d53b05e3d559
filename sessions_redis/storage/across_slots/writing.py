"""Create, save, note, increment and lock a session across slots."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from sessions_redis.storage import replies, rules, scripts
from sessions_redis.storage.across_slots import capping, listing
from sessions_redis.storage.across_slots.ending import delete
from sessions_redis.storage.across_slots.listing import Listed, at_session
from sessions_redis.storage.changes import NOTHING_ASKED, Changes
from sessions_redis.storage.commands import (
    Held,
    Incremented,
    incremented,
    incrementing,
    locked,
    milliseconds,
    writing,
)
from sessions_redis.storage.events import EXPIRED
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.rules import Outcome, Refused, Written, milliseconds_to_list
from sessions_redis.storage.scripts import Script
from sessions_redis.storage.steps import Argument, Command, Steps, script_command

T = TypeVar("T")

# The session is being cycled.
_FROZEN: Any = object()


def create(
    keyspace: Keyspace,
    id: str,
    ttl: float,
    changes: Changes,
    first: Sequence[Command[Any]] = (),
) -> Steps[Outcome]:
    """
    ``False`` if the id is taken. With no ``ttl`` left, this writes nothing.

    ``first``: commands to send along, before the session is there.
    """
    ttl_ms, known = milliseconds_to_list(milliseconds(ttl), changes.rules), Listed()
    if keyspace.indexed and ttl_ms > 0:
        asked = listing.enlisting(keyspace, id, changes.user or "", ttl_ms)
        answers = yield [*asked, *first]
        known = listing.listed(answers[: len(asked)])
    done = yield from put_within_cap(keyspace, id, ttl, changes, known)
    is_taken = done is False and known.until
    if is_taken and not (yield at_session(scripts.ACROSS_LOOK, keyspace, id)):
        # What cycling has left there is not a session, so nothing else removes the members.
        yield listing.delisting(keyspace, [(id, changes.user or "")])
    return done


def put_within_cap(
    keyspace: Keyspace,
    id: str,
    ttl: float,
    changes: Changes,
    known: Listed,
    created: str = "",
    *,
    is_new: bool = False,
) -> Steps[Outcome]:
    """As `put`, for a session that its user did not have before."""
    user, asked = changes.user or "", changes.rules
    refused = yield from capping.refusal(keyspace, id, user, asked, known)
    if refused is not None:
        yield listing.delisting(keyspace, [(id, user)])
        return refused
    done = yield from put(keyspace, id, ttl, changes, known, created, is_new=is_new)
    if done and known.until:
        return (yield from capping.kept(keyspace, id, user, asked, done))
    return done


def put(
    keyspace: Keyspace,
    id: str,
    ttl: float,
    changes: Changes,
    known: Listed,
    created: str = "",
    *,
    is_new: bool = False,
) -> Steps[Outcome]:
    """Create a session that is listed. ``is_new``: only this caller can have created it."""
    attempt = 0
    while True:
        said, *more = yield at_session(
            scripts.ACROSS_CREATE,
            keyspace,
            id,
            *known,
            created,
            int(is_new),
            *writing(ttl, changes),
            awaits_replicas=True,
            read=rules.said,
        )
        if said in ("ended", "refused"):
            yield listing.delisting(keyspace, [(id, changes.user or "")])
        if said == "refused":
            refused: Refused = more[0]
            return refused
        if said != "list":
            return Written.of(more) if said == "created" else False
        attempt += 1
        user = changes.user or ""
        ttl_ms = milliseconds_to_list(milliseconds(ttl), changes.rules)
        known = yield from listing.enlist(keyspace, id, user, ttl_ms, more[0], attempt)


def save(
    keyspace: Keyspace,
    id: str,
    ttl: float,
    changes: Changes,
    first: Sequence[Command[Any]] = (),
) -> Steps[Outcome]:
    """
    ``False`` if the session is gone. With no ``ttl`` left the session is deleted.

    ``first``: commands to send along if the indexes have to list it.
    """
    ttl_ms = milliseconds_to_list(milliseconds(ttl), changes.rules)
    known, user, lowered, attempt, waited = Listed(), "", "0", 0, 0
    if ttl_ms <= 0:
        return (yield from delete(keyspace, id, EXPIRED, only_sessions=True)) is not None
    if keyspace.indexed and changes.user is not None:
        user = changes.user
        known = yield from listing.enlist(keyspace, id, user, ttl_ms, first=first)
    while True:
        refused = yield from capping.refusal(keyspace, id, user, changes.rules, known)
        if refused is not None:
            return (yield from _not_written(keyspace, id, user, refused))
        said, *more = yield at_session(
            scripts.ACROSS_SAVE,
            keyspace,
            id,
            int(keyspace.indexed),
            *known,
            user,
            lowered,
            *writing(ttl, changes),
            awaits_replicas=changes.user is not None,
            repeatable=rules.is_repeatable(changes.rules),
            read=rules.said,
        )
        if said == "list":
            attempt += 1
            at, user, lowered = more
            known = yield from listing.enlist(keyspace, id, user, ttl_ms, at, attempt, first)
        elif said == "frozen":
            yield listing.pause(waited)
            waited += 1
        else:
            break
    if said == "refused":
        refused = more[0]
        return (yield from _not_written(keyspace, id, user, refused)) if known.until else refused
    signs_in = said == "signed in"
    if signs_in:
        said, *more = more
    if said == "lower":
        user, until, ahead, wanted, *more = more
        yield listing.lowering(keyspace, id, user, Listed(until, ahead), wanted)
    if said == "gone" and known.until:
        yield listing.delisting(keyspace, [(id, user)])
    if said == "gone":
        return False
    done = Written.of(more)
    return (yield from capping.kept(keyspace, id, user, changes.rules, done)) if signs_in else done


def _not_written(keyspace: Keyspace, id: str, user: str, refused: Refused) -> Steps[Refused]:
    """Take a session out of the indexes of a user that it did not get. It lives, with its own."""
    yield listing.delisting(keyspace, [(id, user)])
    yield from relist(keyspace, to_list([id], (yield looks(keyspace, [id]))))
    return refused


def note(
    keyspace: Keyspace, id: str, metadata: Mapping[bytes, bytes], interval: float
) -> Steps[int]:
    """
    As `commands.note`. It looks at the indexes only if it writes: that takes a second round trip.
    If an index had lost the session, two more.

    While another request cycles the session, nothing is written, and it returns 0.
    """
    pairs = [part for pair in metadata.items() for part in pair]
    said = yield at_session(scripts.ACROSS_NOTE, keyspace, id, str(interval), *pairs)
    now, *more = said
    if keyspace.indexed and more:
        user, at, was_listed = more
        yield from relist(keyspace, {id: (user, listing.time_to_list(at, was_listed))})
    return int(now)


def increment(
    keyspace: Keyspace, id: str, name: bytes, by: int, asked: Mapping[str, Argument] = NOTHING_ASKED
) -> Steps[Incremented]:
    """As `commands.increment`. It waits while another request cycles the session."""
    script = scripts.ACROSS_INCREMENT_IF if asked else scripts.ACROSS_INCREMENT
    arguments = incrementing(name, by, asked)
    answer: Incremented = yield from _once_thawed(
        script, keyspace, id, arguments, incremented, repeatable=False
    )
    return answer


def lock(
    keyspace: Keyspace, id: str, token: str, milliseconds: int
) -> Steps[Mapping[bytes, bytes] | Held | None]:
    """As `commands.lock`. It waits while another request cycles the session."""
    return _once_thawed(scripts.ACROSS_LOCK, keyspace, id, (token, milliseconds), locked)


def unlock(keyspace: Keyspace, id: str, token: str) -> Steps[bool]:
    """As `commands.unlock`. It waits while another request cycles the session."""
    return _once_thawed(scripts.ACROSS_UNLOCK, keyspace, id, (token,), replies.flag)


def _once_thawed(
    script: Script,
    keyspace: Keyspace,
    id: str,
    arguments: tuple[Argument, ...],
    read: Callable[[Any], T],
    *,
    repeatable: bool = True,
) -> Steps[T]:
    """The answer of a script behind frozen.lua, sent again while the session is being cycled."""

    def read_unless_frozen(reply: Any) -> Any:
        return _FROZEN if reply == b"frozen" else read(reply)

    waited = 0
    while True:
        answer: T = yield script_command(
            script, (keyspace.session(id),), arguments, read_unless_frozen, repeatable=repeatable
        )
        if answer is not _FROZEN:
            return answer
        yield listing.pause(waited)
        waited += 1


def list_many(
    keyspace: Keyspace, ids: Sequence[str], *, only_look: bool = False
) -> Steps[tuple[int, int]]:
    """As `listings.list_many`, in two round trips, or four if an index had lost some."""
    looked = yield looks(keyspace, ids)
    missing = yield from relist(keyspace, to_list(ids, looked), only_look=only_look)
    return sum(map(bool, looked)), len(missing)


def looks(keyspace: Keyspace, ids: Iterable[str]) -> list[Command[tuple[str, ...]]]:
    """Ask for each session whether it exists, on the master of its slot: see `to_list`."""
    return [at_session(scripts.ACROSS_LOOK, keyspace, id) for id in ids]


def to_list(ids: Iterable[str], looked: Iterable[tuple[str, ...]]) -> dict[str, tuple[str, str]]:
    """Of the sessions that exist: their users, and the times until which to list them."""
    found = [(id, said) for id, said in zip(ids, looked, strict=True) if said]
    return {id: (user, listing.time_to_list(*times)) for id, (user, *times) in found if times}


def relist(
    keyspace: Keyspace, living: Mapping[str, tuple[str, str]], *, only_look: bool = False
) -> Steps[set[str]]:
    """
    List sessions where an index has lost them. Returns the ids of those.

    ``living``: their users, and the times until which to list them.
    """
    by_slot: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for id, (user, until) in living.items():
        for names in listing.indexes(keyspace, id, user):
            by_slot.setdefault(names, []).append((id, until))
    answers = yield [
        listing.relisting(names, sessions, only_look=only_look)
        for names, sessions in by_slot.items()
    ]
    missing = {
        id
        for sessions, flags in zip(by_slot.values(), answers, strict=True)
        for (id, _), is_missing in zip(sessions, flags, strict=True)
        if is_missing
    }
    if missing and not only_look:
        # Other requests may have ended some, and removed them from the indexes, before this request
        # listed them.
        looked = yield looks(keyspace, missing)
        gone = [id for id, found in zip(missing, looked, strict=True) if not found]
        if gone:
            yield listing.delisting(keyspace, [(id, living[id][0]) for id in gone])
    return missing
