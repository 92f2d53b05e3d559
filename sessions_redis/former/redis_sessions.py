"""The engine of django-redis-sessions."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from django.contrib.sessions.backends.base import VALID_KEY_CHARS

from sessions_redis.former.cache_values import Value
from sessions_redis.former.decoding import decoded, session_by_itself
from sessions_redis.former.redis_values import RedisValues, scanned, text_of
from sessions_redis.former.store import FormerSession, FormerStore, Found, found
from sessions_redis.keys import KEY_LENGTH, Key


class SessionStrings(RedisValues):
    """The strings that the engine writes."""

    def __init__(self) -> None:
        super().__init__(cache=None)

    def _client(self, store: Any) -> Any:
        return store.server

    def _name(self, store: Any) -> Any:
        return store.get_real_stored_key(store.session_key)

    def _pack(self, store: Any, content: Any) -> Any:
        return store.encode(content)

    def _unpack(self, store: Any, packed: Any) -> Any:
        return decoded(store, text_of(packed))


class RedisSessionsStore(FormerStore):
    """
    Strings in Redis, whose names may be the session keys alone.

    Then a visitor can name any other key of that database. So this reads and deletes only what
    decodes as a session of the site.
    """

    values = SessionStrings()

    def _load(self, key: Key) -> FormerSession | None:
        store = self._store(key)
        value = self.values.read(store)
        return None if value is None else self._found(key, store, value).session

    def _create(self, key: Key, session: FormerSession) -> bool:
        return self.values.add(self._store(key), dict(session.entries), session.ttl)

    def _save(self, key: Key, session: FormerSession) -> bool:
        if self._load(key) is None:
            return False
        return self.values.replace(self._store(key), dict(session.entries), session.ttl)

    def _delete(self, key: Key) -> None:
        if self._load(key) is not None:
            self.values.delete([self._store(key)])

    def _delete_many(self, keys: Sequence[Key]) -> None:
        for key in keys:
            self._delete(key)

    def _batches(self, size: int) -> Iterator[list[Found]]:
        prefix = import_module("redis_sessions.settings").SESSION_REDIS_PREFIX
        before = f"{prefix}:" if prefix else ""
        server: Any = self.engine().server  # type: ignore[attr-defined]  # of their class
        for keys_there in scanned(server, before, "", size, _type="string"):
            keys = [
                key for key in keys_there if self._may_hold(key) and (before or _is_likely(key))
            ]
            stores = [self._store(key) for key in keys]
            yield [
                self._found(key, store, value)
                for key, store, value in zip(
                    keys, stores, self.values.read_many(stores), strict=True
                )
                if value is not None
            ]

    def _found(self, key: Key, store: Any, value: Value) -> Found:
        if value.content is None:
            return Found(key, None, "not decodable")
        if value.ttl is None:
            return found(key, session_by_itself(store, value.content))
        return found(key, FormerSession(value.content, value.ttl))


def _is_likely(key: Key) -> bool:
    """Whether the key looks like a session's, where nothing else says so."""
    return len(key.session_key) == KEY_LENGTH and set(key.session_key) <= set(VALID_KEY_CHARS)
