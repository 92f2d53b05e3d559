"""
The commands for one session. Pure: nothing here does I/O, `clients` runs commands.

A command takes one round trip. A command that writes is one atomic step on the server, which also
sets the time to live of each key that it writes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from sessions_redis.storage import replies, rules, scripts
from sessions_redis.storage.changes import NOTHING_ASKED, Changes
from sessions_redis.storage.entries import CREATED, NOTHING
from sessions_redis.storage.events import EXPIRED, LOGGED_OUT
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.replies import EARLIEST, WrongShape
from sessions_redis.storage.rules import Outcome, Refused
from sessions_redis.storage.steps import Argument, Command, script_command

# No session lives longer than 300 years. A larger number could not be stored exactly: Redis counts
# milliseconds since 1970, and Lua's numbers are exact to 53 bits.
MAX_TTL = 300 * 365 * 86400

# PTTL returns -2 if a key does not exist, -1 if it never expires.
GONE = -2


class Taken:
    """The new session's ID cannot be used."""


class WrongType:
    """The key with the session's name is not a hash."""


def session_id(session_key: str) -> str:
    """
    The digest that replaces the session key everywhere except in the cookie: 32 hex digits.

    Nobody can compute the key from it, so a person who reads Redis cannot take over a session.
    """
    return sha256(session_key.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def load(keyspace: Keyspace, id: str) -> Command[Mapping[bytes, bytes] | WrongType | None]:
    """The session's fields; ``None`` if there is no such session."""
    return Command(("HGETALL", keyspace.session(id)), live_fields, read_wrong_type=WrongType)


def exists(keyspace: Keyspace, id: str) -> Command[bool]:
    # Not EXISTS: a hash without its date of creation is not a session.
    return Command(
        ("HEXISTS", keyspace.session(id), CREATED), replies.flag, read_wrong_type=lambda: False
    )


def create(keyspace: Keyspace, id: str, ttl: float, changes: Changes) -> Command[Outcome]:
    """``False`` if the id is taken. With no ``ttl`` left, this writes nothing."""
    return script_command(
        scripts.CREATE,
        _keys(keyspace, keyspace.session(id)),
        (id, _users(keyspace), *writing(ttl, changes)),
        rules.outcome,
        awaits_replicas=True,
    )


def save(keyspace: Keyspace, id: str, ttl: float, changes: Changes) -> Command[Outcome]:
    """``False`` if the session is gone. With no ``ttl`` left the session is deleted."""
    if milliseconds(ttl) <= 0:
        return _expire(keyspace, id)
    return script_command(
        scripts.SAVE,
        _keys(keyspace, keyspace.session(id)),
        (id, _users(keyspace), *writing(ttl, changes)),
        rules.outcome,
        repeatable=rules.is_repeatable(changes.rules),
        awaits_replicas=changes.user is not None,
    )


def cycle(
    keyspace: Keyspace, old_id: str, new_id: str, ttl: float, changes: Changes
) -> Command[Outcome]:
    """``False`` if the session is gone. With no ``ttl`` left the session is deleted."""
    if milliseconds(ttl) <= 0:
        return _expire(keyspace, old_id)
    return script_command(
        scripts.CYCLE,
        _keys(keyspace, keyspace.session(old_id), keyspace.session(new_id)),
        (old_id, new_id, _users(keyspace), *writing(ttl, changes)),
        rules.outcome,
        awaits_replicas=True,
    )


def _expire(keyspace: Keyspace, id: str) -> Command[Outcome]:
    keys = _keys(keyspace, keyspace.session(id))
    arguments = (id, _users(keyspace), *keyspace.announcing(EXPIRED))
    return script_command(scripts.EXPIRE, keys, arguments, replies.flag, awaits_replicas=True)


def create_beside(
    keyspace: Keyspace, cycled_id: str, user: bytes, new_id: str, ttl: float, changes: Changes
) -> Command[Outcome]:
    """
    Create a session beside the one whose former ID is ``cycled_id``.

    ``False`` if that session is gone or has another user; then nothing is written. Both happen in
    one step, so ending all sessions of a user finds both.
    """
    return script_command(
        scripts.CREATE_BESIDE,
        _keys(keyspace, keyspace.session(new_id)),
        (
            new_id, _users(keyspace), keyspace.session(""), cycled_id, user,
            *writing(ttl, changes),
        ),
        rules.outcome,
        awaits_replicas=True,
    )  # fmt: skip


def delete(keyspace: Keyspace, id: str, reason: str = LOGGED_OUT) -> Command[str | None]:
    """The primary key of its user, ``""`` without a user; ``None`` if there was no session."""

    def read(reply: Any) -> str | None:
        deleted, _, user_pk = replies.text(reply).partition(":")
        if deleted == "deleted":
            return user_pk
        if reply != b"nothing":
            raise WrongShape("expected the reply to a deletion, got other text")
        return None

    return script_command(
        scripts.DELETE,
        _keys(keyspace, keyspace.session(id)),
        (id, _users(keyspace), *keyspace.announcing(reason)),
        read,
        awaits_replicas=True,
    )


def note(
    keyspace: Keyspace, id: str, metadata: Mapping[bytes, bytes] = NOTHING, interval: float = 0
) -> Command[int]:
    """
    Note that the session is in use, write metadata fields, and list it again if an index does not.

    The time to live stays as it is. Returns the server's time in milliseconds since 1970: as a
    negative number if the last note is less than ``interval`` seconds old, and nothing was written;
    0 if the session is gone, and nothing was written.
    """

    def read(reply: Any) -> int:
        now = replies.number(reply, -replies.MOST)
        if 0 < abs(now) < EARLIEST:
            raise WrongShape("expected the server's time, got another number")
        return now

    pairs = [part for pair in metadata.items() for part in pair]
    return script_command(
        scripts.NOTE,
        _keys(keyspace, keyspace.session(id)),
        (id, _users(keyspace), str(interval), *pairs),
        read,
    )


def bind(
    keyspace: Keyspace, id: str, metadata: Mapping[bytes, bytes]
) -> Command[dict[bytes, bytes]]:
    """
    Write metadata fields that the session does not have yet.

    Returns the values of these fields that it has then. None if the session is gone or being cycled
    to another id, and nothing was written.
    """

    def read(reply: Any) -> dict[bytes, bytes]:
        values = replies.listing(reply)
        if values and len(values) != len(metadata):
            raise WrongShape("expected a value for each field, got another number of them")
        held = zip(metadata, values, strict=False)
        return {name: replies.raw(value) for name, value in held if value is not None}

    pairs = [part for pair in metadata.items() for part in pair]
    return script_command(scripts.BIND, (keyspace.session(id),), tuple(pairs), read)


class NotAnInteger:
    """The entry to increment does not hold an integer."""


class TooLarge:
    """The sum would not fit into the 64 bits that Redis counts with."""


Incremented = int | NotAnInteger | TooLarge | Refused | None


def increment(
    keyspace: Keyspace, id: str, name: bytes, by: int, asked: Mapping[str, Argument] = NOTHING_ASKED
) -> Command[Incremented]:
    """
    The new value; ``None`` if the session is gone. The time to live stays as it is.

    ``asked``: rules for the lock of the session and for its size.
    """
    return script_command(
        scripts.INCREMENT_IF if asked else scripts.INCREMENT,
        (keyspace.session(id),),
        incrementing(name, by, asked),
        incremented,
        repeatable=False,
    )


def incrementing(name: bytes, by: int, asked: Mapping[str, Argument]) -> tuple[Argument, ...]:
    """The arguments that ``increment.lua`` takes, and ``allowed.lua`` if there are rules."""
    return (name, by, *rules.arguments(asked), 0, name, by) if asked else (name, by)


@dataclass(frozen=True, slots=True)
class Held:
    """Another request holds the lock of the session, for so many ``seconds`` at most."""

    seconds: float


def lock(
    keyspace: Keyspace, id: str, token: str, milliseconds: int
) -> Command[Mapping[bytes, bytes] | Held | None]:
    """
    Take the lock of a session, for so many ``milliseconds`` at most, and return its fields.

    ``None`` if the session is gone.
    """
    return script_command(scripts.LOCK, (keyspace.session(id),), (token, milliseconds), locked)


def unlock(keyspace: Keyspace, id: str, token: str) -> Command[bool]:
    """``False`` if another request has taken the lock, or the session is gone."""
    return script_command(scripts.UNLOCK, (keyspace.session(id),), (token,), replies.flag)


@dataclass(frozen=True, slots=True)
class StoredSession:
    """
    A session as stored in Redis, for people to look at.

    ``redis_key``: the hash's name. ``ttl``: seconds left. ``fields``: names and values in text,
    including metadata; bytes that are not UTF-8 are shown as ``\\xNN``. ``expiring``: the seconds
    that fields with a lifetime of their own have left.
    """

    redis_key: str
    ttl: float
    fields: Mapping[str, str]
    expiring: Mapping[str, float] = field(default_factory=dict)


def inspect(keyspace: Keyspace, id: str) -> Command[StoredSession | None]:
    """``None`` if there is no such session."""
    redis_key = keyspace.session(id)

    def read(reply: Any) -> StoredSession | None:
        left, fields = replies.listing(reply, 2)
        ttl = replies.number(left, GONE)
        live = live_fields(fields)
        if live is None:
            return None
        text = {replies.text(name): replies.text(value) for name, value in sorted(live.items())}
        return StoredSession(redis_key, ttl / 1000, text)

    return script_command(scripts.INSPECT, (redis_key,), (), read, read_wrong_type=lambda: None)


def wait(replicas: int, milliseconds: int) -> Command[int]:
    """
    How many replicas have what this connection wrote. Waits until ``replicas`` of them have it.

    It waits for ``milliseconds`` at most, which must not be 0: Redis would wait forever.
    """
    return Command(("WAIT", replicas, milliseconds), replies.number)


def _keys(keyspace: Keyspace, *sessions: str) -> tuple[str, ...]:
    return (*sessions, keyspace.index) if keyspace.indexed else sessions


def _users(keyspace: Keyspace) -> str:
    return keyspace.users if keyspace.indexed else ""


def writing(ttl: float, changes: Changes) -> tuple[Argument, ...]:
    """The arguments that ``write.lua`` takes."""
    fields_and_values = [part for pair in changes.written.items() for part in pair]
    return (
        milliseconds(ttl),
        int(changes.replaces),
        int(changes.user is not None),
        changes.user or "",
        *rules.arguments(changes.rules),
        len(changes.removed),
        *changes.removed,
        *fields_and_values,
    )


def milliseconds(ttl: float) -> int:
    return int(min(ttl, MAX_TTL) * 1000)


def live_fields(reply: Any) -> Mapping[bytes, bytes] | None:
    fields = replies.fields(reply)
    return fields if CREATED in fields else None


def locked(reply: Any) -> Mapping[bytes, bytes] | Held | None:
    said, *more = replies.listing(reply)
    if said == b"taken":
        return replies.fields(*more)
    return Held(replies.decimal(*more) / 1000) if said == b"held" else None


def incremented(reply: Any) -> Incremented:
    if isinstance(reply, list):
        if reply[:1] == [b"refused"]:
            return rules.refused(reply)
        error = replies.raw(*replies.listing(reply, 1))
        if b"overflow" in error:
            return TooLarge()
        if b"integer" in error:
            return NotAnInteger()
        raise WrongShape("expected an error about counting, got another one")
    return None if reply == b"" else replies.decimal(reply, replies.LEAST)
