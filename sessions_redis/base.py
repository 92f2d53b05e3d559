"""The base of a session store: it holds the session's entries and carries out steps."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib.sessions.backends.base import SessionBase

from sessions_redis import conf, logs
from sessions_redis.calls import Call, StoreSteps, aoutcome_of, outcome_of
from sessions_redis.clients import acarry_out, arun, carry_out, run
from sessions_redis.json_serializer import made
from sessions_redis.keys import Key
from sessions_redis.storage import expiring
from sessions_redis.storage.changes import UNKNOWN, Changes, Known
from sessions_redis.storage.entries import EXPIRING, LOCK, Serializer
from sessions_redis.storage.expiring import NO_LIFETIMES, Lifetime
from sessions_redis.storage.lazy_entries import Entries, entries_in
from sessions_redis.storage.steps import Command

if TYPE_CHECKING:
    from sessions_redis import lifetimes
    from sessions_redis.locks import SessionLock

T = TypeVar("T")

log = logs.named("django.security.SuspiciousSession")


class StoreBase(SessionBase):
    """A session store that knows which of its entries are in Redis."""

    # Returns metadata fields other than times. The session middleware sets it.
    metadata_source: Callable[[], Mapping[bytes, bytes]] = dict

    # The fields that Redis is known to hold for the entries in `_session_cache`.
    _known: Known = UNKNOWN

    # Marks the entries that this store has loaded since it last wrote. A save compares only these
    # with Redis. Entries of another store, or from before a save, replace everything.
    _mark: object = None

    # The fields that Redis held when this store last loaded the session.
    _last_loaded: Known | None = None

    # What the next save does to the lifetimes of entries, by their keys. Replaced, never changed.
    _lifetimes: Mapping[str, Lifetime] = NO_LIFETIMES

    # Whether entries may expire by themselves, in Redis or after the next save.
    _has_expiring = False

    # The prefix of the tenant in which this store was first used, if `KEY_PREFIX` is a function.
    _kept_prefix: str | None = None

    # The key that `_id` was last asked for, with its ID, which takes time to compute.
    _last_key: Key | None = None

    # The user object of the last login(), if there is a cap on the sessions of a user.
    signed_in_user: Any = None

    # How long the session may live if the next write begins it, or begins it anew.
    _begun: "lifetimes.Begun | None" = None

    # When this store last asked for a write with rules, as of `time.monotonic`.
    _asked = 0.0

    # Whether this store has written the session since it last loaded it.
    _has_written = False

    # Whether the cookie's session exists, and ``BIND_TO`` keeps it from this request.
    is_elsewhere = False

    # The ID of the session that ``BIND_TO`` lets this store use.
    _admitted_id: str | None = None

    # The lock of the session, while a block of this request holds it.
    _lock: "SessionLock | None" = None

    @abstractmethod
    def _is_overridden(self, *names: str) -> bool:
        """Whether one of the engine's own methods is replaced, in a subclass or otherwise."""

    # Entries, once there are any

    @property
    def _session_cache(self) -> dict[Any, Any]:
        # SessionBase takes the AttributeError for "not loaded yet".
        return self._entries

    @_session_cache.setter
    def _session_cache(self, mapping: Mapping[Any, Any]) -> None:
        if mapping is getattr(self, "_entries", None):
            return
        self._entries = mapping if isinstance(mapping, dict) else dict(mapping)
        self._known, self._lifetimes, self._has_expiring = UNKNOWN, {}, False
        if isinstance(mapping, Entries):
            self._has_expiring = EXPIRING in mapping.fields
            if mapping.known and mapping.mark is self._mark:
                self._known = mapping.known

    @_session_cache.deleter
    def _session_cache(self) -> None:
        del self._entries

    # As in SessionBase. Another task of the request may load and change the session meanwhile.

    def _get_session(self, no_load: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        self.accessed = True
        if not hasattr(self, "_entries"):
            before = self._last_loaded
            if self.session_key is None or no_load:
                self._keep(self._no_entries(no_load=no_load), before)
            else:
                self._keep(self.load(), before)
        return self._entries

    async def _aget_session(self, no_load: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        if not hasattr(self, "_entries"):
            await self._aperform(self._loaded(no_load=no_load))
        self.accessed = True
        return self._entries

    _session = property(_get_session)

    def _loaded(self, *, no_load: bool = False) -> StoreSteps[dict[Any, Any]]:
        if not hasattr(self, "_entries"):
            before = self._last_loaded
            if self.session_key is None or no_load:
                self._keep(self._no_entries(no_load=no_load), before)
            else:
                self._keep((yield Call("load")), before)
        return self._entries

    def _no_entries(self, *, no_load: bool) -> dict[str, Any]:
        if not no_load:
            # By the time that the session is saved, the request may have left its tenant.
            conf.keep_tenant(self)
        return {}

    def _keep(self, entries: Mapping[Any, Any], before: Known | None) -> None:
        """
        Keep the ``entries`` that ``load()`` returned, unless the session has entries by now.

        ``before``: the value of `_last_loaded` before this ``load()``.
        """
        if hasattr(self, "_entries"):
            return
        self._session_cache = entries
        loaded = self._last_loaded
        if self._known.replaces and loaded and loaded is not before and loaded.id == self._id:
            # An overridden load() has copied the engine's entries to another dictionary.
            self._known = loaded
            self._has_expiring = EXPIRING in loaded.fields

    # Every operation marks the session as accessed before it reaches Redis, even if it then raises:
    # the response depends on the visitor's session, and no cache may give it to another visitor.

    def _perform(self, steps: StoreSteps[T]) -> T:
        self.accessed = True
        try:
            asked = next(steps)
            while True:
                if type(asked) is Command:  # as mostly
                    asked = steps.send(run(asked))
                elif isinstance(asked, Call):
                    asked = outcome_of(asked, self).resume(steps)
                else:
                    asked = steps.send(carry_out(asked))
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            steps.close()  # so that the steps undo their part if something raised

    async def _aperform(self, steps: StoreSteps[T]) -> T:
        self.accessed = True
        try:
            asked = next(steps)
            while True:
                if type(asked) is Command:  # as mostly
                    asked = steps.send(await arun(asked))
                elif isinstance(asked, Call):
                    asked = (await aoutcome_of(asked, self)).resume(steps)
                else:
                    asked = steps.send(await acarry_out(asked))
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            steps.close()

    @property
    def _key(self) -> Key | None:
        """The session key and the session ID; ``None`` if the session has no key."""
        if self.session_key is None:
            return None
        if self._last_key is None or self._last_key.session_key != self.session_key:
            self._last_key = Key(self.session_key)
        return self._last_key

    @property
    def _id(self) -> str | None:
        key = self._key
        return None if key is None else key.id

    def _known_of(self, id: str) -> Known:
        """The fields known to be in the session ``id``: none if its key was set by hand."""
        return self._known if self._known.id == id else UNKNOWN

    def _record_written(self, id: str, changes: Changes, former_id: str | None = None) -> None:
        """Note that Redis holds ``changes``, so that a later save compares with them."""
        known = self._known_of(former_id or id).after(changes, id)
        self._known = expiring.known_after(known, changes.rules) if changes.rules else known
        self._mark = None
        self._has_written = True
        self._admitted_id = id
        if LOCK in changes.written:  # the save has released it
            self._lock = None

    def _loaded_entries(self, id: str, fields: Mapping[bytes, bytes]) -> Entries:
        """The entries of the session ``id``, whose ``fields`` were read from Redis just now."""
        if self._mark is None:
            self._mark = object()
        entries = self._entries_in(fields, id)
        entries.known = self._last_loaded = Known(id, fields)
        entries.mark = self._mark
        self._has_written = False
        self._admitted_id = id
        return entries

    def _entries_in(self, fields: Mapping[bytes, bytes], id: str = "") -> Entries:
        def report(name: bytes) -> None:
            log.warning("Session %s: the field %r is damaged and reads as missing.", id, name)

        return entries_in(fields, self._made_serializer(), report)

    def _made_serializer(self) -> Serializer:
        return made(self.serializer)
