"""
The session engine: ``SESSION_ENGINE = "sessions_redis.engine"``.

Each method that needs Redis is written once, as a generator of steps. The two methods below it, the
plain one and its asynchronous twin, carry the steps out. `base` holds the session's entries,
`creation` begins a session in Redis, `locks` and `updates` are for entries that several requests
change at the same time, and `storage` has the commands.
"""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from functools import wraps
from typing import Any, TypeVar, cast

from django.contrib.sessions.backends.base import CreateError
from django.core.exceptions import ImproperlyConfigured

from sessions_redis import (
    binding,
    conf,
    lifetimes,
    logs,
    moving_in,
    notices,
    policies,
    reasons,
    registry,
    sharing,
)
from sessions_redis.calls import Call, StoreSteps, twin
from sessions_redis.clock import server_clock
from sessions_redis.creation import Predecessor, shards_to_note
from sessions_redis.exceptions import GONE, SessionGone, SessionStoreUnavailable
from sessions_redis.keys import Key
from sessions_redis.moving_in import Stored
from sessions_redis.policies import Write
from sessions_redis.scope import Scope
from sessions_redis.storage import commands, expiring, layouts, replies
from sessions_redis.storage.changes import Changes, Known
from sessions_redis.storage.commands import StoredSession
from sessions_redis.storage.entries import (
    CREATED,
    EXPIRING,
    NOTHING,
    SEEN,
    UPDATED,
    SealingSerializer,
    field_of,
    is_time,
)
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.lazy_entries import Entries
from sessions_redis.storage.rules import Refused
from sessions_redis.updates import UpdatingStore

Method = TypeVar("Method", bound=Callable[..., Coroutine[Any, Any, Any]])

# New keys that creation tries before it gives up. Two of 36**32 keys are never the same by chance,
# but a creation that is sent again because its reply was lost finds its own key taken.
CREATE_ATTEMPTS = 3

log = logs.named("django.security.SuspiciousSession")


def _after_override(method: Method) -> Method:
    """Run the plain method instead if a subclass overrides only that one: see `Call.aof`."""
    own = method.__name__
    name = own.removeprefix("a")

    @wraps(method)
    async def called(self: "SessionStore", *args: Any, **kwargs: Any) -> Any:
        if self._is_overridden(name) and not self._is_overridden(own):
            coroutine = Call(name, *args, **kwargs).aof(self)
        else:
            coroutine = method(self, *args, **kwargs)
        del args, kwargs  # error reports print the variables of this frame
        return await coroutine

    return cast("Method", called)


class SessionStore(UpdatingStore):
    """
    A session in one Redis hash.

    Every method that needs Redis raises `SessionStoreUnavailable` if Redis is away. Nothing is
    half-written then (docs/redis.md names one exception on Redis 6.2). Saving or incrementing a
    session that was ended or has expired raises `SessionGone`, which is an ``UpdateError``, and
    writes nothing.
    """

    # Django's contract

    def _loading(self) -> StoreSteps[Entries]:
        key = self._key
        if key is None:
            return self._entries_in(NOTHING)
        keyspace, id = conf.keyspace_of(self), key.id
        stored = yield commands.load(keyspace, id)
        if keyspace.moves_in:
            stored = yield from self._moved_in(keyspace, key, stored)
        if keyspace.has_policies:
            lifetimes.listen()
        if isinstance(stored, commands.WrongType):
            log.warning("Session %s is not stored as a hash and is ignored.", id)
            stored = None
        if stored is not None and binding.applies_to(self):
            stored = yield from binding.admitted(self, keyspace, key, stored)
        if stored is not None:
            return self._loaded_entries(id, stored)
        if self._id == id:  # another task of the request may have cycled it meanwhile
            self._session_key = None
        return self._entries_in(NOTHING)

    def _moved_in(self, keyspace: Keyspace, key: Key, stored: Stored) -> StoreSteps[Stored]:
        """The fields of the session, after it has moved in if ``FORMER_ENGINE`` has it."""
        load = sharing.loaded if keyspace.is_shared else moving_in.loaded
        return (yield from load(keyspace, key, stored, self._made_serializer()))

    def load(self) -> Entries:
        """
        Return the session's entries. Each value is decoded when it is first read.

        If there is no such session, return no entries and set the key to ``None``, so that a key
        that this site did not give out is never adopted.
        """
        return self._perform(self._loading())

    @_after_override
    async def aload(self) -> Entries:
        return await self._aperform(self._loading())

    def _existing(self, key: Key | None) -> StoreSteps[bool]:
        if key is None:
            return False
        keyspace = conf.keyspace_of(self)
        if keyspace.moves_in:
            stored = yield commands.load(keyspace, key.id)
            return isinstance((yield from self._moved_in(keyspace, key, stored)), Mapping)
        exists: bool = yield commands.exists(keyspace, key.id)
        return exists

    def exists(self, session_key: str | None) -> bool:
        steps = self._existing(_key_of(session_key))
        del session_key  # error reports print the variables of this frame
        return self._perform(steps)

    @_after_override
    async def aexists(self, session_key: str | None) -> bool:
        steps = self._existing(_key_of(session_key))
        del session_key
        return await self._aperform(steps)

    def _creating(self, predecessor: Predecessor | None = None) -> StoreSteps[None]:
        yield from self._loaded(no_load=True)
        for _ in range(CREATE_ATTEMPTS):
            new: Key = yield Call("_new_key")
            if (yield from self._created(new, predecessor or self._predecessor)):
                self.modified = True
                return
        raise SessionStoreUnavailable(
            f"{CREATE_ATTEMPTS} new session keys in a row were taken. Redis's replies were lost "
            "each time, or the system's source of randomness is broken."
        )

    def create(self) -> None:
        """Create the session in Redis under a new key, even if it is empty."""
        self._perform(self._creating())

    @_after_override
    async def acreate(self) -> None:
        await self._aperform(self._creating())

    def _saving(self, *, must_create: bool) -> StoreSteps[None]:
        if self.session_key is None:
            yield Call("create")
            return
        entries = yield from self._loaded(no_load=must_create)
        if not must_create:
            yield from self._admitted()
        key = self._key
        if key is None:
            raise SessionGone(GONE)
        if must_create:
            if not (yield from self._beginning(key, self._predecessor)):
                raise CreateError
            return
        id, age = key.id, (yield from self._age())
        known = self._known_of(id)
        changes = known.changes(entries, self._made_serializer(), self.metadata_source())
        keyspace = conf.keyspace_of(self)
        changes = yield from self._with_rules(keyspace, changes, Write.SAVE)
        first = shards_to_note(keyspace, age)
        # With rules, the server here decides first whether anything is written.
        decides_here = bool(changes.rules)
        if keyspace.is_shared:
            if not decides_here:
                yield from self._shared(keyspace)
        elif age > 0 and decides_here and lifetimes.is_renewed(self, id, age, changes):
            return
        outcome, changes = yield from self._sealed(
            id, changes, lambda sealed: layouts.save(keyspace, id, age, sealed, first)
        )
        outcome = yield from self._in_time(keyspace, id, outcome)
        saved = yield from self._done(keyspace, outcome)
        if keyspace.moves_in and (age <= 0 or not saved):
            yield from moving_in.deleted(keyspace, key)
        if not saved:
            raise SessionGone(GONE)
        self._record_written(id, changes)
        if keyspace.is_shared and decides_here:
            yield from self._shared(keyspace)
        yield from self._noticed(keyspace, known)

    def save(self, must_create: bool = False) -> None:  # noqa: FBT001, FBT002 - Django's signature
        """
        Write the entries that changed. Entries that other requests wrote meanwhile stay.

        After ``clear()`` the session's entries replace everything in Redis. Without a key this is
        ``create()``. Raises `SessionGone` if the session is gone, even if nothing changed; with
        ``must_create``, ``CreateError`` if the key is taken. A value that the serializer refuses
        raises before anything is written.

        With ``TOUCH_INTERVAL``, a save that changes nothing is not sent if another one was sent
        a short time ago. Such a save does not notice that the session is gone.
        """
        self._perform(self._saving(must_create=must_create))

    @_after_override
    async def asave(self, must_create: bool = False) -> None:  # noqa: FBT001, FBT002
        await self._aperform(self._saving(must_create=must_create))

    def _deleting(self, key: Key | None) -> StoreSteps[None]:
        if key is None or key.id == self._id:
            yield from self._admitted()
            key = self._key
        if key is None:
            return
        former = self._predecessor
        is_cycled = former is not None and former.id == key.id
        if former and former.is_replaced and is_cycled:
            return
        keyspace = conf.keyspace_of(self)
        user_pk = yield from layouts.delete(keyspace, key.id)
        if key.id == self._id:
            self._lock = None
        if keyspace.moves_in:
            yield from moving_in.deleted(keyspace, key)
        if user_pk is not None and not is_cycled:
            yield from notices.ended(keyspace, key.id, user_pk, reasons.LOGGED_OUT)

    def delete(self, session_key: str | None = None) -> None:
        """
        Delete this session, or that of ``session_key``. Silent if there is none.

        Sends `session_ended` with the reason "logged_out" if there was one.
        """
        steps = self._deleting(_key_of(session_key))
        del session_key
        self._perform(steps)

    @_after_override
    async def adelete(self, session_key: str | None = None) -> None:
        steps = self._deleting(_key_of(session_key))
        del session_key
        await self._aperform(steps)

    def _cycling(self) -> StoreSteps[None]:
        yield from self._loaded()
        yield from self._admitted()
        if self.session_key is None:
            yield Call("create")
            return
        old = Key(self.session_key)
        if not self._is_overridden("create", "acreate", "save", "asave", "delete", "adelete"):
            yield from self._creating(Predecessor(old))
            return
        # Overridden methods are called as Django calls them. The session still moves in one atomic
        # step.
        self._predecessor = Predecessor(old)
        try:
            yield Call("create")
            yield Call("delete", old.session_key)
        finally:
            self._predecessor = None

    def cycle_key(self) -> None:
        """
        Move the session to a new key; the old key stops working at once.

        Entries that other requests wrote before move as well. If the session is gone, and had no
        user when this request loaded it, the loaded entries begin a new session. If another request
        has cycled it meanwhile, and the same user is still signed in, they begin a second session,
        as when a visitor clicks "Log in" twice. Otherwise raises `SessionGone`: the session was
        ended or has expired.
        """
        self._perform(self._cycling())

    async def acycle_key(self) -> None:
        await self._aperform(self._cycling())

    @classmethod
    def clear_expired(cls) -> None:
        """Remove expired members from the indexes. Redis removes expired sessions by itself."""
        registry.trim()

    @classmethod
    async def aclear_expired(cls) -> None:
        await registry.atrim()

    def _is_overridden(self, *names: str) -> bool:
        own, store = vars(self), type(self)
        for name in names:  # noqa: SIM110 - any() takes twice as long
            if name in own or getattr(store, name) is not _OWN[name]:
                return True
        return False

    # Beyond Django's contract

    def scope(self, name: str) -> Scope:
        """Return the part of the session that belongs to ``name``, as a mapping."""
        return Scope(self, name)

    def _incrementing(self, key: str, by: int) -> StoreSteps[int]:
        if not _is_integer(by):
            raise TypeError(f"An entry is incremented by an integer, not by {by!r}.")
        if not isinstance(key, str):
            raise TypeError(f"The key of an entry to increment is a string, not {key!r}.")
        self._require_decimal_serializer()
        keyspace = conf.keyspace_of(self)
        if self._must_load(keyspace):
            yield from self._loaded()
        loaded, id = hasattr(self, "_entries"), self._id
        if id is None or (loaded and self._is_changed(id, key)):
            return self._increment_here(key, by)
        _require_64_bits(key, by)
        asked = policies.rules_of_entries(self, Changes({field_of(key): b"%d" % by}))
        value = yield from layouts.increment(keyspace, id, field_of(key), by, asked)
        if value is None:
            if not loaded:
                # As after loading: the middleware removes the cookie.
                self._session_key, self._session_cache = None, {}
            raise SessionGone(GONE)
        if isinstance(value, commands.NotAnInteger):
            raise TypeError(_not_an_integer(key))
        if isinstance(value, Refused):
            policies.refused_by(self, value)
        if isinstance(value, commands.TooLarge):
            raise OverflowError(f"The session entry {key!r} would leave 64 bits by adding {by}.")
        if loaded:
            self._entries[key] = value
            self._record_written(id, Changes({field_of(key): self._made_serializer().dumps(value)}))
        if keyspace.is_shared:
            yield from self._shared(keyspace)
        self.modified = True
        return value

    def increment(self, key: str, by: int = 1) -> int:
        """
        Add ``by`` to the entry ``key`` on the server at once, and return the sum.

        A missing entry counts as 0. Raises ``TypeError`` if the entry is not an integer,
        ``OverflowError`` if the sum needs more than 64 bits, `SessionGone` if the session is gone.
        If the cookie may have expired, read an entry first. If the reply is lost, raises
        `SessionStoreUnavailable`: the addition may have been made, and is never made twice. If the
        entry has an unsaved change, or the session has no key yet, this adds to the entry here, and
        the next save writes it. The next save extends the session's lifetime; this call does not.
        """
        return self._perform(self._incrementing(key, by))

    async def aincrement(self, key: str, by: int = 1) -> int:
        return await self._aperform(self._incrementing(key, by))

    def _increment_here(self, key: str, by: int) -> int:
        value = self.get(key, 0)
        if not _is_integer(value):
            raise TypeError(_not_an_integer(key))
        total: int = value + by
        _require_64_bits(key, total)
        self._session[key] = total  # with the lifetime that it has
        self.modified = True
        return total

    def _require_decimal_serializer(self) -> None:
        serializer = self._made_serializer()
        if isinstance(serializer, SealingSerializer) or serializer.dumps(-12) != b"-12":
            raise ImproperlyConfigured(
                "increment() adds on the server, which needs a SESSION_SERIALIZER that writes "
                f"integers as decimal text; {self.serializer.__qualname__} does not. "
                "Django's JSONSerializer does."
            )

    def _inspecting(self) -> StoreSteps[StoredSession | None]:
        keyspace = conf.keyspace_of(self)
        if self._must_load(keyspace):
            yield from self._loaded()
        id = self._id
        if id is None:
            return None
        stored: StoredSession | None = yield commands.inspect(keyspace, id)
        if stored is None or EXPIRING.decode() not in stored.fields:
            return stored
        fields = yield commands.load(keyspace, id)
        left = yield from expiring.left_in(
            keyspace, id, fields if isinstance(fields, Mapping) else NOTHING
        )
        seconds = {replies.text(name): one for name, one in left.items()}
        return replace(stored, expiring=seconds)

    def inspect(self) -> StoredSession | None:
        """
        Return the session as stored in Redis now, without unsaved changes, for people to look at.

        ``None`` if it is not there. If entries have lifetimes of their own, ``expiring`` says how
        long they still have, which takes two more round trips. Values are shown as stored. Before
        you show them to people, give the fields to `sessions_redis.masking.mask_fields`, which
        hides secrets.
        """
        return self._perform(self._inspecting())

    async def ainspect(self) -> StoredSession | None:
        return await self._aperform(self._inspecting())

    def _noting_metadata(self) -> StoreSteps[None]:
        if hasattr(self, "_entries"):
            yield from self._admitted()
        id = self._id
        if id is None or not hasattr(self, "_entries"):
            return
        known, interval = self._known_of(id), conf.current().activity_interval
        metadata = known.new_metadata(self.metadata_source())
        if not self._is_note_due(known, interval, is_elsewhere=bool(metadata)):
            return
        keyspace = conf.keyspace_of(self)
        now = yield from layouts.note(keyspace, id, metadata, interval)
        if now:
            written = metadata if now > 0 else NOTHING
            server_clock.set(abs(now) / 1000)
            self._record_written(id, Changes(written))
            yield from self._noticed(keyspace, known)

    def note_metadata(self) -> None:
        """
        Note that the session is in use, if this store has loaded and not written it.

        Writes at most once in ``ACTIVITY_INTERVAL`` seconds, by all requests together: the time,
        and the metadata that ``metadata_source`` returns. A save counts as well, unless the
        metadata has changed since. Lists the session again if an index has lost it. The session's
        lifetime stays as it is. Silent if the session is gone.
        """
        self._perform(self._noting_metadata())

    async def anote_metadata(self) -> None:
        await self._aperform(self._noting_metadata())

    def _is_note_due(self, known: Known, interval: float, *, is_elsewhere: bool) -> bool:
        # What this store has written since it loaded the session is later than what it knows.
        if not is_elsewhere and (self._has_written or CREATED not in known.fields):
            return False
        # A save says that the session is in use, but not that it is in use elsewhere since.
        names = (SEEN,) if is_elsewhere else (UPDATED, SEEN)
        times = [int(time) for time in map(known.fields.get, names) if is_time(time)]
        return server_clock.is_over(interval, *times)


# Methods that other methods call, as this class has them.
_OWN = {
    name: getattr(SessionStore, name)
    for method in ("load", "exists", "create", "save", "delete", "get_expiry_age", "_new_key")
    for name in (method, twin(method))
}


def _key_of(session_key: str | None) -> Key | None:
    return Key(session_key) if session_key else None


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _not_an_integer(key: str) -> str:
    return f"The session entry {key!r} is not an integer and cannot be incremented."


def _require_64_bits(key: str, value: int) -> None:
    if not -(2**63) <= value < 2**63:
        raise OverflowError(f"The session entry {key!r} can only hold 64 bits; {value} has more.")
