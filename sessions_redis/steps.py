"""
What each method of a session store takes to do: steps, written once for both worlds.

Each is a generator of commands, which the plain method has carried out by `perform` and its
asynchronous twin by `aperform`.
"""

import secrets
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from django.contrib.sessions.backends.base import (
    VALID_KEY_CHARS,
    CreateError,
    SessionBase,
)
from django.core.exceptions import ImproperlyConfigured

from sessions_redis import commands, conf, logs
from sessions_redis.clients import Steps, aperform, perform
from sessions_redis.commands import StoredSession, session_id
from sessions_redis.exceptions import SessionGone
from sessions_redis.fields import NOTHING, Changes, Entries, field_of

T = TypeVar("T")

log = logs.named("django.security.SuspiciousSession")

# New keys tried before giving up. Two of 36**32 do not meet by chance, but a creation that is
# repeated because its reply was lost finds its own key taken.
CREATE_ATTEMPTS = 3

# Characters of a new session key, as many as SessionBase gives it.
KEY_LENGTH = 32

# The character that each random byte stands for. Bytes beyond the last whole round are rejected:
# they would make the first characters more likely than the others.
_CHARACTERS = bytes(ord(VALID_KEY_CHARS[byte % len(VALID_KEY_CHARS)]) for byte in range(256))
_REJECTED = bytes(range(256 - 256 % len(VALID_KEY_CHARS), 256))


class NewKey:
    """
    A new session key and its id.

    Error reports print the local variables of every frame. Steps that can raise hold a key in here.
    """

    __slots__ = ("id", "session_key")

    def __init__(self, session_key: str) -> None:
        self.session_key = session_key
        self.id = session_id(session_key)


class SteppedStore(SessionBase):
    """The base of `engine.SessionStore`: its entries, and the steps of its methods."""

    # Where the session's metadata beside its times comes from; the session middleware sets it.
    metadata_source: Callable[[], Mapping[bytes, bytes]] = dict

    # Entries, once there are any

    @property
    def _session_cache(self) -> Entries:
        # SessionBase takes the AttributeError for "not loaded yet".
        return self._entries

    @_session_cache.setter
    def _session_cache(self, mapping: Mapping[Any, Any]) -> None:
        if not isinstance(mapping, Entries):
            # As clear() does: what is in this mapping is all there shall be.
            entries = Entries(self.serializer(), replaces=True, on_damaged=lambda _: None)
            entries.update(mapping)
            mapping = entries
        self._entries = mapping

    @_session_cache.deleter
    def _session_cache(self) -> None:
        del self._entries

    # Whatever reaches Redis marks the session as accessed first, also if it raises then: what the
    # view answers depends on the visitor's session, and no cache may give it to another.

    def _perform(self, steps: Steps[T]) -> T:
        self.accessed = True
        return perform(steps)

    async def _aperform(self, steps: Steps[T]) -> T:
        self.accessed = True
        return await aperform(steps)

    async def _aget_session(self, no_load: bool = False) -> Entries:  # noqa: FBT001, FBT002
        if not hasattr(self, "_entries"):
            await self._aperform(self._loaded(no_load=no_load))
        self.accessed = True
        return self._entries

    def _get_new_session_key(self) -> str:
        # SessionBase asks the server whether the key is taken; creating does that by itself.
        return _random_key()

    async def _aget_new_session_key(self) -> str:
        return self._get_new_session_key()

    @property
    def _id(self) -> str | None:
        """The id of the session's key; ``None`` if it has no key."""
        return None if self.session_key is None else session_id(self.session_key)

    def _loading(self) -> Steps[Entries]:
        id = self._id
        if id is None:
            return self._new_entries()
        stored = yield commands.load(conf.current().keyspace, id)
        if isinstance(stored, commands.WrongType):
            log.warning("Session %s is not stored as a hash and is ignored.", id)
        elif stored is not None:
            return self._new_entries(stored, id)
        if self._id == id:  # another task of the request may have cycled it meanwhile
            self._session_key = None
        return self._new_entries()

    def _loaded(self, *, no_load: bool = False) -> Steps[Entries]:
        if not hasattr(self, "_entries"):
            entries = self._new_entries() if no_load else (yield from self._loading())
            # Another task of the request may have loaded them meanwhile, and have changed some.
            if not hasattr(self, "_entries"):
                self._entries = entries
        return self._entries

    def _existing(self, id: str | None) -> Steps[bool]:
        if id is None:
            return False
        exists: bool = yield commands.exists(conf.current().keyspace, id)
        return exists

    def _creating(self) -> Steps[None]:
        entries = yield from self._loaded(no_load=True)
        changes = entries.whole(self.metadata_source())
        for _ in range(CREATE_ATTEMPTS):
            new = NewKey(self._get_new_session_key())
            command = commands.create(
                conf.current().keyspace, new.id, self.get_expiry_age(), changes
            )
            if (yield command):
                self._take(new, changes)
                return
        raise RuntimeError(
            f"{CREATE_ATTEMPTS} new session keys in a row were taken. Is the system's source of "
            "randomness broken?"
        )

    def _saving(self, *, must_create: bool) -> Steps[None]:
        id = self._id
        if id is None:
            yield from self._creating()
            return
        entries = yield from self._loaded(no_load=must_create)
        if self.session_key is None:
            raise SessionGone(_GONE)
        changes = (entries.whole if must_create else entries.changes)(self.metadata_source())
        command = commands.create if must_create else commands.save
        written = yield command(conf.current().keyspace, id, self.get_expiry_age(), changes)
        if not written:
            raise CreateError if must_create else SessionGone(_GONE)
        entries.settle(changes)

    def _deleting(self, id: str | None) -> Steps[None]:
        id = id or self._id
        if id is not None:
            yield commands.delete(conf.current().keyspace, id)

    def _cycling(self) -> Steps[None]:
        entries = yield from self._loaded()
        id = self._id
        if id is None:
            yield from self._creating()
            return
        new = NewKey(self._get_new_session_key())
        changes = entries.changes(self.metadata_source())
        moved = yield commands.cycle(
            conf.current().keyspace, id, new.id, self.get_expiry_age(), changes
        )
        if moved:
            self._take(new, changes)
        elif user := entries.known_user():
            yield from self._creating_beside(id, user)
        else:
            yield from self._creating()

    def _creating_beside(self, id: str, user: bytes) -> Steps[None]:
        """Start a session of its own where another request has cycled that of ``id`` meanwhile."""
        new = NewKey(self._get_new_session_key())
        changes = self._entries.whole(self.metadata_source())
        created = yield commands.create_beside(
            conf.current().keyspace, id, user, new.id, self.get_expiry_age(), changes
        )
        if not created:
            raise SessionGone(_GONE)
        self._take(new, changes)

    def _take(self, new: NewKey, changes: Changes) -> None:
        self._session_key = new.session_key
        self._entries.settle(changes)
        self.modified = True

    def _incrementing(self, key: str, by: int) -> Steps[int]:
        if not _is_integer(by):
            raise TypeError(f"An entry is incremented by an integer, not by {by!r}.")
        if not isinstance(key, str):
            raise TypeError(f"The key of an entry to increment is a string, not {key!r}.")
        self._require_decimal_serializer()
        loaded, id = hasattr(self, "_entries"), self._id
        if id is None or (loaded and self._entries.is_pending(key)):
            return self._increment_here(key, by)
        _require_64_bits(key, by)
        value = yield commands.increment(conf.current().keyspace, id, field_of(key), by)
        if value is None:
            if not loaded:
                # As loading would have it: the next request is not to come with this key again.
                self._session_key, self._entries = None, self._new_entries()
            raise SessionGone(_GONE)
        if isinstance(value, commands.NotAnInteger):
            raise TypeError(_not_an_integer(key))
        if isinstance(value, commands.TooLarge):
            raise OverflowError(f"The session entry {key!r} would leave 64 bits by adding {by}.")
        if loaded:
            self._entries.settle_entry(key, value)
        self.modified = True
        result: int = value
        return result

    def _increment_here(self, key: str, by: int) -> int:
        value = self.get(key, 0)
        if not _is_integer(value):
            raise TypeError(_not_an_integer(key))
        total: int = value + by
        _require_64_bits(key, total)
        self[key] = total
        return total

    def _inspecting(self) -> Steps[StoredSession | None]:
        id = self._id
        if id is None:
            return None
        stored: StoredSession | None = yield commands.inspect(conf.current().keyspace, id)
        return stored

    def _noting_metadata(self) -> Steps[None]:
        id = self._id
        if id is None or not hasattr(self, "_entries"):
            return
        metadata = self._entries.new_metadata(self.metadata_source())
        if metadata and (yield commands.note(conf.current().keyspace, id, metadata)):
            self._entries.settle(Changes(metadata))

    def _new_entries(self, stored: Mapping[bytes, bytes] = NOTHING, id: str = "") -> Entries:
        def report(name: bytes) -> None:
            log.warning("Session %s: the field %r is damaged and reads as missing.", id, name)

        return Entries(self.serializer(), stored, on_damaged=report)

    def _require_decimal_serializer(self) -> None:
        if self.serializer().dumps(-12) != b"-12":
            raise ImproperlyConfigured(
                "increment() adds on the server, which needs a SESSION_SERIALIZER that writes "
                f"integers as decimal text; {self.serializer.__qualname__} does not. "
                "Django's JSONSerializer does."
            )


_GONE = "The session was deleted or has expired."


def _random_key() -> str:
    # What get_random_string() makes, each key as likely as any other, in a tenth of the time.
    drawn = b""
    while len(drawn) < KEY_LENGTH:
        drawn += secrets.token_bytes(KEY_LENGTH).translate(_CHARACTERS, _REJECTED)
    return drawn[:KEY_LENGTH].decode()


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _not_an_integer(key: str) -> str:
    return f"The session entry {key!r} holds no integer and cannot be incremented."


def _require_64_bits(key: str, value: int) -> None:
    if not -(2**63) <= value < 2**63:
        raise OverflowError(f"The session entry {key!r} can only hold 64 bits; {value} has more.")
