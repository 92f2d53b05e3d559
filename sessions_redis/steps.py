"""
What each method of a session store takes to do: steps, written once for both worlds.

Each is a generator of commands, and of calls of the store's own methods, which the plain method
has carried out by `_perform` and its asynchronous twin by `_aperform`.
"""

from collections.abc import Mapping
from typing import Any

from django.contrib.sessions.backends.base import CreateError
from django.core.exceptions import ImproperlyConfigured

from sessions_redis import commands, conf, logs
from sessions_redis.base import StoreBase
from sessions_redis.calls import Call, StoreSteps
from sessions_redis.changes import Changes, Known, whole
from sessions_redis.commands import StoredSession
from sessions_redis.entries import Entries, entries_in
from sessions_redis.exceptions import SessionGone
from sessions_redis.fields import NOTHING, field_of
from sessions_redis.keys import Key, random_key

log = logs.named("django.security.SuspiciousSession")

# New keys tried before giving up. Two of 36**32 do not meet by chance, but a creation that is
# repeated because its reply was lost finds its own key taken.
CREATE_ATTEMPTS = 3


class Leaving:
    """The session ``id``, which ``cycle_key()`` moves. ``is_left``: another one has its entries."""

    __slots__ = ("id", "is_left")

    def __init__(self, id: str) -> None:
        self.id = id
        self.is_left = False


class SteppedStore(StoreBase):
    """The base of `engine.SessionStore`: the steps of its methods."""

    # Set while overridden methods carry out cycle_key().
    _leaving: Leaving | None = None

    async def _aget_session(self, no_load: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        if not hasattr(self, "_entries"):
            await self._aperform(self._loaded(no_load=no_load))
        self.accessed = True
        return self._entries

    def _get_new_session_key(self) -> str:
        # SessionBase asks the server whether the key is taken; creating does that by itself.
        return random_key()

    async def _aget_new_session_key(self) -> str:
        return self._get_new_session_key()

    def _new_key(self) -> Key:
        return Key(self._get_new_session_key())

    async def _anew_key(self) -> Key:
        return Key(await self._aget_new_session_key())

    def _loading(self) -> StoreSteps[Entries]:
        id = self._id
        if id is None:
            return self._entries_in(NOTHING)
        stored = yield commands.load(conf.current().keyspace, id)
        if isinstance(stored, commands.WrongType):
            log.warning("Session %s is not stored as a hash and is ignored.", id)
        elif stored is not None:
            if self._mark is None:
                self._mark = object()
            entries = self._entries_in(stored, id)
            entries.known, entries.mark = Known(id, stored), self._mark
            return entries
        if self._id == id:  # another task of the request may have cycled it meanwhile
            self._session_key = None
        return self._entries_in(NOTHING)

    def _entries_in(self, fields: Mapping[bytes, bytes], id: str = "") -> Entries:
        def report(name: bytes) -> None:
            log.warning("Session %s: the field %r is damaged and reads as missing.", id, name)

        return entries_in(fields, self.serializer(), report)

    def _loaded(self, *, no_load: bool = False) -> StoreSteps[dict[Any, Any]]:
        if not hasattr(self, "_entries"):
            load = not no_load and self.session_key is not None
            entries = (yield Call("load")) if load else {}
            # Another task of the request may have loaded them meanwhile, and have changed some.
            if not hasattr(self, "_entries"):
                self._session_cache = entries
        return self._entries

    def _existing(self, id: str | None) -> StoreSteps[bool]:
        if id is None:
            return False
        exists: bool = yield commands.exists(conf.current().keyspace, id)
        return exists

    def _age(self) -> StoreSteps[int]:
        if self._is_overridden("get_expiry_age", "aget_expiry_age"):
            age: int = yield Call("get_expiry_age")
            return age
        return self.get_expiry_age()  # which asks nobody once the session is loaded

    def _creating(self, leaving: Leaving | None = None) -> StoreSteps[None]:
        yield from self._loaded(no_load=True)
        for _ in range(CREATE_ATTEMPTS):
            new: Key = yield Call("_new_key")
            if (yield from self._created(new, leaving or self._leaving)):
                self.modified = True
                return
        raise RuntimeError(
            f"{CREATE_ATTEMPTS} new session keys in a row were taken. Is the system's source of "
            "randomness broken?"
        )

    def _created(self, new: Key, leaving: Leaving | None) -> StoreSteps[bool]:
        """Whether the session is in Redis under the key ``new``, which it has then."""
        if self._is_overridden("save", "asave"):
            return (yield from self._created_by_save(new))
        if not (yield from self._beginning(new.id, leaving)):
            return False
        self._session_key = new.session_key
        return True

    def _created_by_save(self, new: Key) -> StoreSteps[bool]:
        former = None if self.session_key is None else Key(self.session_key)
        self._session_key = new.session_key
        saved = False
        try:
            yield Call("save", must_create=True)
            saved = True
        except CreateError:
            pass
        finally:
            if not saved:
                self._session_key = None if former is None else former.session_key
        return saved

    def _beginning(self, id: str, leaving: Leaving | None = None) -> StoreSteps[bool]:
        """
        Write a new hash for the session ``id``. ``False`` if there is one already.

        It takes over what the session holds that is ``leaving``.
        """
        if leaving and (yield from self._moving(id, leaving)):
            leaving.is_left = True
            return True
        age = yield from self._age()
        changes = whole(self._entries, self.serializer(), self.metadata_source())
        created: bool = yield commands.create(conf.current().keyspace, id, age, changes)
        if created:
            self._settle(id, changes)
        return created

    def _moving(self, id: str, leaving: Leaving) -> StoreSteps[bool]:
        """``False`` if the session is gone that is ``leaving``, and held nobody's entries."""
        age = yield from self._age()
        known, serializer = self._known_of(leaving.id), self.serializer()
        changes = known.changes(self._entries, serializer, self.metadata_source())
        keyspace = conf.current().keyspace
        moved: bool = yield commands.cycle(keyspace, leaving.id, id, age, changes)
        if moved:
            self._settle(id, changes, leaving.id)
            return True
        user = known.user(serializer)
        if not user:
            return False
        # A session of its own, where another request has cycled that session meanwhile.
        changes = whole(self._entries, serializer, self.metadata_source())
        command = commands.create_beside(keyspace, leaving.id, user, id, age, changes)
        if not (yield command):
            raise SessionGone(_GONE)
        self._settle(id, changes)
        return True

    def _saving(self, *, must_create: bool) -> StoreSteps[None]:
        if self.session_key is None:
            yield Call("create")
            return
        entries = yield from self._loaded(no_load=must_create)
        id = self._id
        if id is None:
            raise SessionGone(_GONE)
        if must_create:
            if not (yield from self._beginning(id, self._leaving)):
                raise CreateError
            return
        age = yield from self._age()
        changes = self._known_of(id).changes(entries, self.serializer(), self.metadata_source())
        if not (yield commands.save(conf.current().keyspace, id, age, changes)):
            raise SessionGone(_GONE)
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
            raise SessionGone(_GONE)
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


_GONE = "The session was deleted or has expired."


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _not_an_integer(key: str) -> str:
    return f"The session entry {key!r} holds no integer and cannot be incremented."


def _require_64_bits(key: str, value: int) -> None:
    if not -(2**63) <= value < 2**63:
        raise OverflowError(f"The session entry {key!r} can only hold 64 bits; {value} has more.")
