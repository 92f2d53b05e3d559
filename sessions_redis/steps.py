"""
The steps of each method of a session store, written once for sync and async.

Each is a generator of commands, and of calls of the store's own methods, which the plain method
has carried out by `_perform` and its asynchronous twin by `_aperform`.
"""

from django.contrib.sessions.backends.base import CreateError
from django.core.exceptions import ImproperlyConfigured

from sessions_redis import conf
from sessions_redis.calls import Call, StoreSteps
from sessions_redis.creation import CreatingStore, Leaving
from sessions_redis.exceptions import GONE, SessionGone
from sessions_redis.keys import Key
from sessions_redis.storage import commands
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.commands import StoredSession
from sessions_redis.storage.entries import field_of


class SteppedStore(CreatingStore):
    """The base of `engine.SessionStore`: the steps of its methods."""

    def _existing(self, id: str | None) -> StoreSteps[bool]:
        if id is None:
            return False
        exists: bool = yield commands.exists(conf.current().keyspace, id)
        return exists

    def _saving(self, *, must_create: bool) -> StoreSteps[None]:
        if self.session_key is None:
            yield Call("create")
            return
        entries = yield from self._loaded(no_load=must_create)
        id = self._id
        if id is None:
            raise SessionGone(GONE)
        if must_create:
            if not (yield from self._beginning(id, self._leaving)):
                raise CreateError
            return
        age = yield from self._age()
        changes = self._known_of(id).changes(entries, self.serializer(), self.metadata_source())
        if not (yield commands.save(conf.current().keyspace, id, age, changes)):
            raise SessionGone(GONE)
        self._settle(id, changes)

    def _deleting(self, id: str | None) -> StoreSteps[None]:
        id = id or self._id
        left = self._leaving
        if id is not None and not (left and left.is_left and left.id == id):
            yield commands.delete(conf.current().keyspace, id)

    def _cycling(self) -> StoreSteps[None]:
        yield from self._loaded()
        if self.session_key is None:
            yield Call("create")
            return
        old = Key(self.session_key)
        if not self._is_overridden("create", "acreate", "save", "asave", "delete", "adelete"):
            yield from self._creating(Leaving(old.id))
            return
        # Overridden methods are called as Django calls them. Between them they leave the old
        # session in one step all the same.
        self._leaving = Leaving(old.id)
        try:
            yield Call("create")
            yield Call("delete", old.session_key)
        finally:
            self._leaving = None

    def _incrementing(self, key: str, by: int) -> StoreSteps[int]:
        if not _is_integer(by):
            raise TypeError(f"An entry is incremented by an integer, not by {by!r}.")
        if not isinstance(key, str):
            raise TypeError(f"The key of an entry to increment is a string, not {key!r}.")
        self._require_decimal_serializer()
        if self._is_overridden("load", "aload"):
            yield from self._loaded()  # which may refuse
        loaded, id = hasattr(self, "_entries"), self._id
        if id is None or (
            loaded and self._known_of(id).is_changed(key, self._entries, self.serializer())
        ):
            return self._increment_here(key, by)
        _require_64_bits(key, by)
        value = yield commands.increment(conf.current().keyspace, id, field_of(key), by)
        if value is None:
            if not loaded:
                # As loading would have it: the next request is not to come with this key again.
                self._session_key, self._session_cache = None, {}
            raise SessionGone(GONE)
        if isinstance(value, commands.NotAnInteger):
            raise TypeError(_not_an_integer(key))
        if isinstance(value, commands.TooLarge):
            raise OverflowError(f"The session entry {key!r} would leave 64 bits by adding {by}.")
        if loaded:
            self._entries[key] = value
            self._settle(id, Changes({field_of(key): self.serializer().dumps(value)}))
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

    def _inspecting(self) -> StoreSteps[StoredSession | None]:
        if self._is_overridden("load", "aload"):
            yield from self._loaded()  # which may refuse
        id = self._id
        if id is None:
            return None
        stored: StoredSession | None = yield commands.inspect(conf.current().keyspace, id)
        return stored

    def _noting_metadata(self) -> StoreSteps[None]:
        id = self._id
        if id is None or not hasattr(self, "_entries"):
            return
        metadata = self._known_of(id).new_metadata(self.metadata_source())
        if metadata and (yield commands.note(conf.current().keyspace, id, metadata)):
            self._settle(id, Changes(metadata))

    def _require_decimal_serializer(self) -> None:
        if self.serializer().dumps(-12) != b"-12":
            raise ImproperlyConfigured(
                "increment() adds on the server, which needs a SESSION_SERIALIZER that writes "
                f"integers as decimal text; {self.serializer.__qualname__} does not. "
                "Django's JSONSerializer does."
            )


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _not_an_integer(key: str) -> str:
    return f"The session entry {key!r} holds no integer and cannot be incremented."


def _require_64_bits(key: str, value: int) -> None:
    if not -(2**63) <= value < 2**63:
        raise OverflowError(f"The session entry {key!r} can only hold 64 bits; {value} has more.")
