"""What every former store can do, and what it returns."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase

from sessions_redis.former.failures import Failures
from sessions_redis.keys import Key

LATEST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()

Problem = Literal["", "expired", "not decodable"]


@dataclass(frozen=True, repr=False)
class FormerSession:
    """
    A session as another engine stores it.

    ``ttl``: the seconds that it has left, more than 0. ``created``: in epoch seconds, ``None`` if
    the store does not know it. ``ip`` and ``agent``: empty if the store does not know them.
    ``is_exact``: ``False`` if the store does not know how much of the lifetime is left. Then
    ``ttl`` is the whole lifetime, as if the session had been saved just now.
    """

    entries: Mapping[str, Any]
    ttl: float
    created: int | None = None
    ip: str = ""
    agent: str = ""
    is_exact: bool = True


@dataclass(frozen=True, repr=False)
class Found:
    """A session in a list of all sessions, or the reason why it cannot be read."""

    key: Key
    session: FormerSession | None
    problem: Problem = ""


def found(key: Key, session: FormerSession) -> Found:
    """The session, unless it has expired."""
    return Found(key, session) if session.ttl > 0 else Found(key, None, "expired")


class FormerStore(ABC):
    """
    The store of another session engine, for sessions that move between it and Redis.

    It reads beneath the engine where the engine would take an outage for an absent session. Every
    method raises `SessionStoreUnavailable` if the store is away.

    Visitors can send any text as a key. A text that the store cannot hold is an unknown key.

    ``path``: the engine's module. ``engine``: its ``SessionStore``.
    """

    def __init__(self, path: str, engine: type[SessionBase]) -> None:
        self.path = path
        self.engine = engine

    def load(self, key: Key) -> FormerSession | None:
        """Return the session. ``None`` if it is unknown or expired, or cannot be decoded."""
        with self._failures():
            return self._load(key) if self._may_hold(key) else None

    async def aload(self, key: Key) -> FormerSession | None:
        return await sync_to_async(self.load)(key)

    def create(
        self, key: Key, entries: Mapping[str, Any], ttl: float, *, ip: str = "", agent: str = ""
    ) -> bool:
        """
        Create the session under this key, in one atomic step. ``False`` if the key is taken.

        It lives for ``ttl`` seconds, as exactly as the store can. A store without columns for
        ``ip`` and ``agent`` ignores them. Also ``False`` if the store cannot hold the session: it
        has a column for the user, and the user was deleted.
        """
        with self._failures():
            session = FormerSession(entries, ttl, ip=ip, agent=agent)
            return self._may_hold(key) and self._create(key, session)

    async def acreate(
        self, key: Key, entries: Mapping[str, Any], ttl: float, *, ip: str = "", agent: str = ""
    ) -> bool:
        return await sync_to_async(self.create)(key, entries, ttl, ip=ip, agent=agent)

    def save(self, key: Key, entries: Mapping[str, Any], ttl: float) -> bool:
        """
        Replace the session's entries and lifetime. ``False`` if it is gone: this never creates it.
        """
        with self._failures():
            return self._may_hold(key) and self._save(key, FormerSession(entries, ttl))

    async def asave(self, key: Key, entries: Mapping[str, Any], ttl: float) -> bool:
        return await sync_to_async(self.save)(key, entries, ttl)

    def delete(self, key: Key) -> None:
        """Delete the session, also from the engine's cache. Silent if there is none."""
        with self._failures():
            if self._may_hold(key):
                self._delete(key)

    async def adelete(self, key: Key) -> None:
        await sync_to_async(self.delete)(key)

    def delete_many(self, keys: Sequence[Key]) -> None:
        """Delete these sessions in few round trips. Silent about keys that are not there."""
        possible = [key for key in keys if self._may_hold(key)]
        if possible:
            with self._failures():
                self._delete_many(possible)

    def batches(self, size: int) -> Iterator[list[Found]]:
        """
        Yield all sessions, at most ``size`` at a time, in bounded memory.

        A session that is created or deleted meanwhile may be among them or not. A session may come
        twice. Raises ``ImproperlyConfigured`` if the store cannot list its sessions.
        """
        with self._failures():
            yield from self._batches(size)

    def count(self) -> int | None:
        """The number of sessions, including expired ones. ``None`` if it takes long to count."""
        with self._failures():
            return self._count()

    def after_commit(self, callback: Callable[[], None]) -> None:
        """
        Call ``callback`` now. If the store's database is in a transaction, call it after the
        commit, and never after a rollback.

        Raises `SessionStoreUnavailable` if the database is away.
        """
        callback()

    async def aafter_commit(self, callback: Callable[[], None]) -> None:
        await sync_to_async(self.after_commit)(callback)

    @abstractmethod
    def _load(self, key: Key) -> FormerSession | None: ...

    @abstractmethod
    def _create(self, key: Key, session: FormerSession) -> bool: ...

    @abstractmethod
    def _save(self, key: Key, session: FormerSession) -> bool: ...

    @abstractmethod
    def _delete(self, key: Key) -> None: ...

    @abstractmethod
    def _batches(self, size: int) -> Iterator[list[Found]]: ...

    def _delete_many(self, keys: Sequence[Key]) -> None:
        for key in keys:
            self._delete(key)

    def _count(self) -> int | None:
        return None

    def _may_hold(self, key: Key) -> bool:
        """Whether the store could hold a session with this key."""
        return _is_text(key) and self._store(key).session_key is not None

    def _store(self, key: Key) -> Any:
        """The engine's session store for this key."""
        return self.engine(key.session_key)

    def _store_with(self, key: Key, session: FormerSession) -> Any:
        """The engine's session store with the session, which it saves with this lifetime."""
        store = self._empty_store(key, session)
        until, seconds = moment(session.ttl), max(1, round(session.ttl))
        store.get_expiry_date = lambda **kwargs: until
        store.get_expiry_age = lambda **kwargs: seconds
        store._session_cache = dict(session.entries)
        return store

    def _empty_store(self, key: Key, session: FormerSession) -> Any:
        return self._store(key)

    def _failures(self) -> Failures:
        return Failures(self.path)


def moment(ttl: float) -> datetime:
    """The time in ``ttl`` seconds, as Django stores times: naive if the site has ``USE_TZ`` off."""
    return datetime.fromtimestamp(
        min(time.time() + ttl, LATEST), tz=UTC if settings.USE_TZ else None
    )


def seconds_until(when: datetime) -> float:
    """The seconds until a time that Django has stored, also over a change to summer time."""
    try:
        # Django has made the site's time zone, in which a naive time is, the process's own.
        return when.timestamp() - time.time()
    except (OverflowError, ValueError):  # a naive time at the end of all times, or at the beginning
        return (when.replace(tzinfo=None) - datetime(2000, 1, 1)).total_seconds()  # noqa: DTZ001


def _is_text(key: Key) -> bool:
    """Whether every store takes the key as text: databases take no NUL and no lone surrogates."""
    try:
        return b"\0" not in key.session_key.encode()
    except UnicodeEncodeError:
        return False
