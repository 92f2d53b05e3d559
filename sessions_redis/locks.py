"""The lock of a session: one request at a time does the work of a block."""

from collections.abc import Mapping
from contextlib import suppress
from math import inf
from random import uniform
from secrets import token_hex
from time import monotonic
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple

from sessions_redis import conf
from sessions_redis.calls import Call, StoreSteps
from sessions_redis.creation import CreatingStore
from sessions_redis.exceptions import (
    GONE,
    LockLost,
    LockTimeout,
    SessionGone,
    SessionStoreUnavailable,
)
from sessions_redis.policies import LOST
from sessions_redis.storage import layouts
from sessions_redis.storage.changes import Changes, name_of
from sessions_redis.storage.commands import Held
from sessions_redis.storage.entries import LOCK, key_of
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.steps import Pause

# Seconds between two attempts of a request that waits for the lock, at random. They do not grow, so
# a request that has waited for long is not less likely to be the next.
PAUSES = 0.005, 0.025

NESTED = (
    "This session holds its lock already, and lock() cannot be nested. Do the work of the inner "
    "block in the outer one."
)

Kind = type[BaseException] | None


class SessionLock:
    """
    The lock of a session, for ``with session.lock():`` or ``async with session.alock():``.

    It is a field of the session's own hash. So it moves along when the session gets a new key, is
    in the same slot of a Cluster, and ends with the session. redis-py's ``Lock`` is a key of its
    own, which does none of this, and a save could not check in the same step who holds it.
    """

    def __init__(self, store: "LockingStore", timeout: float, wait: float) -> None:
        self.token = ""
        self._store = store
        self._milliseconds = max(int(timeout * 1000), 1)
        self._wait = wait
        self._id = ""
        self._is_over = False

    def released_by(self, changes: Changes) -> Changes:
        """The same changes. At the end of the block, they release the lock as well."""
        if not self._is_over:
            return changes
        return changes._replace(written={**changes.written, LOCK: f"{self.token} 0".encode()})

    # The beginning of the block

    def _require_not_nested(self) -> None:
        if self._store._lock is not None:
            raise RuntimeError(NESTED)

    def _taking(self) -> StoreSteps[None]:
        store, keyspace = self._store, conf.keyspace_of(self._store)
        must_load = store._must_load(keyspace)
        if must_load:
            yield from store._loaded()
            yield from store._admitted()
        if store._id is None:
            return  # nobody else has its key
        self.token, self._id, self._is_over = token_hex(8), store._id, False
        unsaved = store._unsaved(self._id)
        store._lock = self
        fields = yield from self._fields(keyspace)
        if fields is None:
            store._lock = None
            store._find_gone()
        elif must_load and not unsaved.are_all:
            del store._session_cache
            unsaved.put_into((yield from store._loaded()))
        elif not unsaved.are_all:
            store._session_cache = store._loaded_entries(self._id, fields)
            unsaved.put_into(store._session_cache)

    def _fields(self, keyspace: Keyspace) -> StoreSteps[Mapping[bytes, bytes] | None]:
        """The session's fields, once this request holds the lock. ``None`` if it is gone."""
        deadline = monotonic() + self._wait
        while True:
            answer = yield from layouts.lock(keyspace, self._id, self.token, self._milliseconds)
            if not isinstance(answer, Held):
                return answer
            left = deadline - monotonic()
            if left <= 0:
                self._store._lock = None
                raise LockTimeout(
                    "Another request holds the lock of the session for longer than this one was "
                    f"to wait ({self._wait:g} seconds)."
                )
            yield Pause(min(left, answer.seconds, uniform(*PAUSES)))  # noqa: S311 - no secret

    def __enter__(self) -> "LockingStore":
        self._require_not_nested()
        try:
            self._store._perform(self._taking())
        except BaseException:
            self._give_up()
            raise
        return self._store

    async def __aenter__(self) -> "LockingStore":
        self._require_not_nested()
        try:
            await self._store._aperform(self._taking())
        except BaseException:
            await self._agive_up()
            raise
        return self._store

    # Its end

    def _ending(self) -> StoreSteps[None]:
        if self._store._lock is not self or self._store._id is None:
            return  # the session was ended in the block
        self._is_over = True
        yield Call("save")
        # Unless the session has a save() of its own that has not written.
        if self._store._lock is self and not (yield from self._releasing()):
            raise LockLost(LOST)

    def _releasing(self) -> StoreSteps[bool]:
        """``False`` if another request has taken the lock. Does nothing if it was released."""
        store = self._store
        if store._lock is not self:
            return True
        store._lock = None
        keyspace = conf.keyspace_of(store)
        return (yield from layouts.unlock(keyspace, store._id or self._id, self.token))

    def __exit__(self, kind: Kind, error: BaseException | None, of: TracebackType | None) -> None:
        try:
            if kind is None:
                self._store._perform(self._ending())
        finally:
            self._give_up()

    async def __aexit__(
        self, kind: Kind, error: BaseException | None, of: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await self._store._aperform(self._ending())
        finally:
            await self._agive_up()

    # After a failure. The first one is raised, and the lock ends by itself if Redis is away.

    def _give_up(self) -> None:
        with suppress(SessionStoreUnavailable):
            self._store._perform(self._releasing())

    async def _agive_up(self) -> None:
        with suppress(SessionStoreUnavailable):
            await self._store._aperform(self._releasing())


NOTHING_CHANGED: Mapping[str, Any] = MappingProxyType({})


class Unsaved(NamedTuple):
    """
    The entries that a store has changed or removed, and not saved.

    ``are_all``: its entries did not come from Redis, as after ``clear()``.
    """

    changed: Mapping[str, Any] = NOTHING_CHANGED
    removed: tuple[str, ...] = ()
    are_all: bool = False

    def put_into(self, entries: dict[Any, Any]) -> None:
        for key in self.removed:
            entries.pop(key, None)
        entries.update(self.changed)


class LockingStore(CreatingStore):
    """A session store whose session can be locked."""

    def lock(self, *, timeout: float = 30, wait: float = 10) -> SessionLock:
        """
        Let one request at a time run a block: ``with session.lock():``.

        The lock keeps out other requests that use ``lock()``. It does not stop other saves.

        It waits up to ``wait`` seconds, then raises `LockTimeout`. Once it holds the lock, it reads
        the session again, so the block sees what the former holder wrote. Entries that this request
        changed before stay. At the end of the block the session is saved, and the lock is released
        in the same step. If the block raises, nothing is saved. A session without a key is not
        locked, because no other request can have it.

        If the block takes longer than ``timeout`` seconds, or its process is killed, another
        request can take the lock. Then each write of this block raises `LockLost` and writes
        nothing. Cannot be nested: raises ``RuntimeError``. Raises `SessionGone` if the session is
        gone and this request has used it before.
        """
        for name, value, least in (("timeout", timeout, 0), ("wait", wait, -1)):
            if not least < value < inf or value < 0:
                raise ValueError(f"The {name} of a lock is in seconds, and not {value!r}.")
        return SessionLock(self, timeout, wait)

    def alock(self, *, timeout: float = 30, wait: float = 10) -> SessionLock:
        """As `lock`, for ``async with session.alock():``."""
        return self.lock(timeout=timeout, wait=wait)

    def _unsaved(self, id: str) -> Unsaved:
        if not hasattr(self, "_entries"):
            return Unsaved()
        known, entries = self._known_of(id), self._entries
        if known.replaces:
            return Unsaved(are_all=True)
        changes = known.changes(entries, self._made_serializer())
        changed = {}
        for key in list(dict.keys(entries)):
            name = name_of(key, self._made_serializer())
            if name in changes.written:
                changed[key_of(name)] = entries[key]
        return Unsaved(changed, tuple(map(key_of, changes.removed)))

    def _find_gone(self) -> None:
        """
        The session is gone.

        If it was not loaded before, it is empty now, as after loading.
        """
        if hasattr(self, "_entries"):
            raise SessionGone(GONE)
        self._session_key, self._session_cache = None, {}
