"""
The session engine: ``SESSION_ENGINE = "sessions_redis.engine"``.

Django's contract and the methods beyond it, sync and async. `steps` has the steps of each method,
written once.
"""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, TypeVar, cast

from sessions_redis import registry
from sessions_redis.calls import Call, twin
from sessions_redis.scope import Scope
from sessions_redis.steps import SteppedStore
from sessions_redis.storage.commands import StoredSession, session_id
from sessions_redis.storage.lazy_entries import Entries

Method = TypeVar("Method", bound=Callable[..., Coroutine[Any, Any, Any]])


def _after_override(method: Method) -> Method:
    """Run the synchronous method if a subclass overrides that alone: see `Call.aof`."""
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


class SessionStore(SteppedStore):
    """
    A session in one Redis hash.

    Every method that needs Redis raises `SessionStoreUnavailable` when it is away; nothing is
    half-written then. Saving or incrementing a session that was ended or has expired raises
    `SessionGone`, which is an ``UpdateError``, and writes nothing.
    """

    # Django's contract

    def load(self) -> Entries:
        """
        The session's entries, decoded as they are touched.

        Without such a session: no entries, and the key becomes ``None``, so that a key nobody
        gave out is never adopted.
        """
        return self._perform(self._loading())

    @_after_override
    async def aload(self) -> Entries:
        return await self._aperform(self._loading())

    def exists(self, session_key: str | None) -> bool:
        steps = self._existing(_id_of(session_key))
        del session_key  # error reports print the variables of this frame
        return self._perform(steps)

    @_after_override
    async def aexists(self, session_key: str | None) -> bool:
        steps = self._existing(_id_of(session_key))
        del session_key
        return await self._aperform(steps)

    def create(self) -> None:
        """Create the session in Redis under a new key, even if it is empty."""
        self._perform(self._creating())

    @_after_override
    async def acreate(self) -> None:
        await self._aperform(self._creating())

    def save(self, must_create: bool = False) -> None:  # noqa: FBT001, FBT002 - Django's signature
        """
        Write what changed; entries that other requests wrote meanwhile stay.

        After ``clear()`` what the session holds replaces everything. With no key this is
        ``create()``. Raises ``SessionGone`` if the session is gone, also when nothing changed;
        with ``must_create``, ``CreateError`` if the key is taken. A value that the serializer
        refuses raises before anything is written.
        """
        self._perform(self._saving(must_create=must_create))

    @_after_override
    async def asave(self, must_create: bool = False) -> None:  # noqa: FBT001, FBT002
        await self._aperform(self._saving(must_create=must_create))

    def delete(self, session_key: str | None = None) -> None:
        """Delete this session, or the one of ``session_key``. Silent if there is none."""
        steps = self._deleting(_id_of(session_key))
        del session_key
        self._perform(steps)

    @_after_override
    async def adelete(self, session_key: str | None = None) -> None:
        steps = self._deleting(_id_of(session_key))
        del session_key
        await self._aperform(steps)

    def cycle_key(self) -> None:
        """
        Move the session to a new key; the old one is dead at once.

        Entries that other requests wrote before go along. If the session is gone, and had no user
        when this request loaded it, what was loaded becomes a session of its own. So it does if
        another request has cycled the session meanwhile and it is still alive with the same user,
        as when a visitor clicks "Log in" twice. Otherwise the session was ended or has expired:
        raises ``SessionGone``.
        """
        self._perform(self._cycling())

    async def acycle_key(self) -> None:
        await self._aperform(self._cycling())

    @classmethod
    def clear_expired(cls) -> None:
        """Drop what has expired from the indexes; the sessions themselves Redis drops alone."""
        registry.trim()

    @classmethod
    async def aclear_expired(cls) -> None:
        await registry.atrim()

    def _is_overridden(self, *names: str) -> bool:
        own, store = vars(self), type(self)
        return any(name in own or getattr(store, name) is not _OWN[name] for name in names)

    # Beyond Django's contract

    def scope(self, name: str) -> Scope:
        """The part of the session that belongs to ``name``, as a mapping."""
        return Scope(self, name)

    def increment(self, key: str, by: int = 1) -> int:
        """
        Add ``by`` to the entry ``key`` on the server at once, and return the sum.

        A missing entry counts as 0. Raises ``TypeError`` if the entry holds no integer,
        ``OverflowError`` if the sum leaves 64 bits, `SessionGone` if the session is gone. If the
        cookie may have expired, read an entry first. If the
        reply is lost `SessionStoreUnavailable` is raised and the addition may have been made; it
        is never made twice. An entry with a change that is not saved yet, and one of a session
        that has no key yet, is added to here and written by the save that follows. The session's
        lifetime is extended by that save, not by this call.
        """
        return self._perform(self._incrementing(key, by))

    async def aincrement(self, key: str, by: int = 1) -> int:
        return await self._aperform(self._incrementing(key, by))

    def inspect(self) -> StoredSession | None:
        """
        The session as stored in Redis now, without unsaved changes, for people to look at.

        ``None`` if it is not there. Values are shown as stored; before people see them, give the
        fields to `sessions_redis.masking.mask_fields`, which hides secrets.
        """
        return self._perform(self._inspecting())

    async def ainspect(self) -> StoredSession | None:
        return await self._aperform(self._inspecting())

    def note_metadata(self) -> None:
        """
        Write what ``metadata_source`` tells, if the session was loaded and holds something else.

        The session's lifetime stays as it is. Silent if the session is gone.
        """
        self._perform(self._noting_metadata())

    async def anote_metadata(self) -> None:
        await self._aperform(self._noting_metadata())


# Methods that others call, as this class has them.
_OWN = {
    name: getattr(SessionStore, name)
    for method in ("load", "exists", "create", "save", "delete", "get_expiry_age", "_new_key")
    for name in (method, twin(method))
}


def _id_of(session_key: str | None) -> str | None:
    return session_id(session_key) if session_key else None
