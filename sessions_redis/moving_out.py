"""
Sessions move out of Redis: ``SESSION_ENGINE = "sessions_redis.moving_out"``.

``SESSION_REDIS["NEXT_ENGINE"]`` names the engine that the site is to use from now on. Its sessions
are read and written as if it were ``SESSION_ENGINE``. A session that it does not have is looked up
in Redis. If it is alive there, it is created in the next engine under the same key, with the
lifetime that it has left, and then deleted in Redis. docs/moving-out.md has the steps for a site.
"""

from collections.abc import Mapping
from datetime import timedelta
from functools import cache, partial
from typing import Any

from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from sessions_redis import conf, former, logs, next_engines
from sessions_redis.calls import Call, CallTo, StoreSteps
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.former import FormerSession, FormerStore
from sessions_redis.handover import Finishing, Theirs, aperform, perform, running
from sessions_redis.json_serializer import made
from sessions_redis.keys import Key
from sessions_redis.scope import Scope
from sessions_redis.storage import commands, departure, layouts
from sessions_redis.storage.events import ENDED

# The site's store: `store_of` the engine that NEXT_ENGINE names now.
SessionStore: type["MovingOut"]

# How often a session is looked up in the next engine, if that says it has it and does not load it.
LOOKS = 3

NOTHING_EXPIRES = (
    "An entry cannot have a lifetime of its own while sessions move out of Redis: in NEXT_ENGINE, "
    "it would never expire."
)

log = logs.named("sessions_redis")


def __getattr__(name: str) -> Any:
    if name == "SessionStore":
        return store_of(conf.current().next_engine)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def store_of(path: str) -> type["MovingOut"]:
    """
    A class that inherits from the store of the engine with this path, and moves sessions to it.

    It has the same name, because Django signs and encodes sessions with the name of their class.
    """
    theirs = next_engines.store_of(path)
    names = {"__module__": __name__, "__qualname__": theirs.__qualname__, "next_engine": path}
    return type(theirs.__name__, (MovingOut, theirs), names)


def _forget(*, setting: str, **kwargs: Any) -> None:
    # An engine may keep settings in its class, as Django's `file` keeps its directory.
    if setting.startswith("SESSION_"):
        store_of.cache_clear()


setting_changed.connect(_forget)


class MovingOut(SessionBase):
    """
    What a store of the next engine does beside its own work: it moves sessions out of Redis.

    Every method raises `SessionStoreUnavailable` if it needs Redis, and Redis is away. Loading
    needs Redis only for a session that the next engine does not have.
    """

    # The path of the engine.
    next_engine: str

    # The prefix of the tenant in which this store was first used, if `KEY_PREFIX` is a function.
    _kept_prefix: str | None = None

    # The key of the session while it has moved in a transaction that is not committed yet.
    _uncommitted: Key | None = None

    def _loading(self) -> StoreSteps[Mapping[str, Any]]:
        key = self._own_key
        for _ in range(LOOKS):
            entries: Mapping[str, Any] = yield self._theirs("load")
            if key is None or entries or self.session_key == key.session_key:
                return entries
            # Some engines have begun another session by now.
            begun = self._own_key
            # The session has its key while it is looked up: if that fails, the middleware must not
            # take it for unknown, and delete the cookie.
            self._session_key = key.session_key
            moved = yield from self._moved(key)
            if moved is None:
                self._session_key = None if begun is None else begun.session_key
                return entries
            if begun is not None:
                yield self._theirs("delete", begun)
            if self._uncommitted is not None:
                # cached_db would cache what the transaction may never commit.
                return moved
        raise SessionStoreUnavailable(
            f"{self.next_engine} has a session that it does not load. Its database, cache or "
            "directory may be away."
        )

    def load(self) -> Any:
        """
        Load the session from the next engine. If it is still in Redis, move it there before.

        Raises `SessionStoreUnavailable` if one of both cannot say whether it has the session.
        """
        return super().load() if running.get() == "load" else perform(self, self._loading())

    async def aload(self) -> Any:
        return await aperform(self, self._loading())

    def _moved(self, key: Key) -> StoreSteps[Mapping[str, Any] | None]:
        """Move the session if it is in Redis. ``None`` if the next engine does not have it then."""
        keyspace, store = conf.keyspace_of(self), former.of(self.next_engine)
        departing: departure.Departing | None = yield departure.look(keyspace, key.id)
        if departing is None:
            # Another request may have moved it. And some engines do not say that they are away.
            return (yield from _in(store, key))
        has_been_former = conf.current().former_engine == self.next_engine
        if has_been_former and departing.is_shared:
            # The next engine had it, so it has ended there.
            yield from layouts.delete(keyspace, key.id, ENDED)
            return None
        entries = departing.entries(made(self.serializer), partial(_report_damage, key))
        if not (yield CallTo(store, "create", key, entries, departing.ttl, **departing.visitor)):
            return (yield from _in(store, key))  # another request has moved it
        # A worker of `sessions_redis.engine` that shares sessions may be using it.
        finish = departure.share if has_been_former and keyspace.is_shared else departure.finish
        stays = yield Finishing(store, key, partial(finish, keyspace, key.id))
        return entries if stays else None

    def _saving(self, must_create: bool) -> StoreSteps[None]:  # noqa: FBT001
        if self._uncommitted is not None:
            # The transaction in which it moved may have been rolled back since.
            yield from self._moved(self._uncommitted)
        yield self._theirs("save", must_create)

    def save(self, must_create: bool = False) -> None:  # noqa: FBT001, FBT002 - Django's signature
        if running.get() == "save":
            super().save(must_create)
        else:
            perform(self, self._saving(must_create))

    async def asave(self, must_create: bool = False) -> None:  # noqa: FBT001, FBT002
        await aperform(self, self._saving(must_create))

    def _deleting(self, key: Key | None) -> StoreSteps[None]:
        key = key or self._own_key
        if key is not None:
            # First here: a request between the two would otherwise move it again.
            yield from layouts.delete(conf.keyspace_of(self), key.id)
            yield self._theirs("delete", key)

    def delete(self, session_key: str | None = None) -> None:
        """
        Delete the session in Redis and in the next engine. Silent if there is none.

        If Redis is away, it is deleted nowhere: what is left of it in Redis could come back.
        """
        if running.get() == "delete":
            super().delete(session_key)
            return
        steps = self._deleting(_key_of(session_key))
        del session_key  # error reports print the variables of this frame
        perform(self, steps)

    async def adelete(self, session_key: str | None = None) -> None:
        steps = self._deleting(_key_of(session_key))
        del session_key
        await aperform(self, steps)

    def _existing(self, key: Key | None) -> StoreSteps[bool]:
        if key is None:
            return False
        there = yield self._theirs("exists", key)
        if there:
            return True
        here: bool = yield commands.exists(conf.keyspace_of(self), key.id)
        return here

    def exists(self, session_key: str | None) -> bool:
        if running.get() == "exists":
            return super().exists(session_key)  # type: ignore[arg-type]
        steps = self._existing(_key_of(session_key))
        del session_key
        return perform(self, steps)

    async def aexists(self, session_key: str | None) -> bool:
        steps = self._existing(_key_of(session_key))
        del session_key
        return await aperform(self, steps)

    # A new session begins without Redis: SessionBase would ask exists() whether its key is taken.

    def _get_new_session_key(self) -> str:
        key: str = self._plain()._get_new_session_key()
        return key

    async def _aget_new_session_key(self) -> str:
        key: str = await self._plain()._aget_new_session_key()
        return key

    def _plain(self) -> Any:
        """A store of the next engine, without a session."""
        return next_engines.store_of(self.next_engine)()

    # What `sessions_redis.engine` has beyond Django's contract, so that a site's code goes on

    def scope(self, name: str) -> Scope:
        """Return the part of the session that belongs to ``name``, as a mapping."""
        return Scope(self, name)  # type: ignore[arg-type]

    def set(self, key: str, value: Any, *, expires_in: float | timedelta | None = None) -> None:
        """
        Set an entry, without ``expires_in``.

        With it, this raises ``ImproperlyConfigured``: in the next engine, no entry expires.
        """
        if expires_in is not None:
            raise ImproperlyConfigured(NOTHING_EXPIRES)
        self[key] = value

    async def aset(
        self, key: str, value: Any, *, expires_in: float | timedelta | None = None
    ) -> None:
        if expires_in is not None:
            raise ImproperlyConfigured(NOTHING_EXPIRES)
        await super().aset(key, value)

    def expire_entry(self, key: str, seconds: float | timedelta) -> None:  # noqa: ARG002
        """Raise ``ImproperlyConfigured``: in the next engine, no entry expires."""
        raise ImproperlyConfigured(NOTHING_EXPIRES)

    async def aexpire_entry(self, key: str, seconds: float | timedelta) -> None:
        self.expire_entry(key, seconds)

    def increment(self, key: str, by: int = 1) -> int:
        """
        Add ``by`` to the entry ``key``, and return the sum. The next save writes it.

        This is not atomic as it is in Redis: two requests at once may add only once.
        """
        total: int = self.get(key, 0) + by
        self[key] = total
        return total

    async def aincrement(self, key: str, by: int = 1) -> int:
        total: int = await self.aget(key, 0) + by
        await self.aset(key, total)
        return total

    def inspect(self) -> None:
        """Return ``None``, as for every session that is not in Redis."""

    async def ainspect(self) -> None:
        return self.inspect()

    # How this calls the next engine

    def _theirs(self, name: str, *args: Any) -> Call:
        return Theirs(super(), name, *args)

    @property
    def _own_key(self) -> Key | None:
        return _key_of(self.session_key)


def _in(store: FormerStore, key: Key) -> StoreSteps[Mapping[str, Any] | None]:
    session: FormerSession | None = yield CallTo(store, "load", key)
    return None if session is None else session.entries


def _report_damage(key: Key, name: bytes) -> None:
    log.warning("Session %s: the field %r is damaged and does not move.", key.id, name)


def _key_of(session_key: str | None) -> Key | None:
    return Key(session_key) if session_key else None
