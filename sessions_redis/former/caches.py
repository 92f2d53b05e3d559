"""Django's ``cache`` engine, on whatever cache the site has."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.core.cache.backends.base import memcache_key_warnings
from django.core.cache.backends.redis import RedisCache

from sessions_redis.former import cache_values
from sessions_redis.former.cache_values import CacheValues, Value
from sessions_redis.former.decoding import session_by_itself
from sessions_redis.former.redis_values import ClientValues, HerdValues, RedisValues, ShardedValues
from sessions_redis.former.store import FormerSession, FormerStore, Found, found
from sessions_redis.keys import Key

# What distinguishes the clients of these packages that store values in other ways.
CLIENTS = {"get_server_name": ShardedValues, "_herd_timeout": HerdValues}

CLIENT_PACKAGES = ("django_redis", "django_valkey")


class CacheStore(FormerStore):
    """A cache of sessions, which the engine stores as pickles of a dictionary."""

    def _load(self, key: Key) -> FormerSession | None:
        store = self._store(key)
        value = values_of(store._cache).read(store)
        return None if value is None else self._found(key, value).session

    def _create(self, key: Key, session: FormerSession) -> bool:
        store = self._store(key)
        return values_of(store._cache).add(store, dict(session.entries), session.ttl)

    def _save(self, key: Key, session: FormerSession) -> bool:
        store = self._store(key)
        return values_of(store._cache).replace(store, dict(session.entries), session.ttl)

    def _delete(self, key: Key) -> None:
        self._delete_many([key])

    def _delete_many(self, keys: Sequence[Key]) -> None:
        stores = [self._store(key) for key in keys]
        values_of(stores[0]._cache).delete(stores)

    def _batches(self, size: int) -> Iterator[list[Found]]:
        store: Any = self.engine()
        values: Any = values_of(store._cache)  # one that lists can also read many at once
        for keys_there in values.keys(store.cache_key_prefix, size):
            keys = [key for key in keys_there if self._may_hold(key)]
            read = values.read_many([self._store(key) for key in keys])
            yield [
                self._found(key, value)
                for key, value in zip(keys, read, strict=True)
                if value is not None
            ]

    def _found(self, key: Key, value: Value) -> Found:
        if not isinstance(value.content, Mapping):
            return Found(key, None, "not decodable")
        if value.ttl is None:
            session = session_by_itself(self.engine(), value.content)
        else:
            session = FormerSession(value.content, value.ttl)
        return found(key, session)

    def _may_hold(self, key: Key) -> bool:
        return super()._may_hold(key) and fits(self._store(key))


def values_of(cache: Any) -> CacheValues:
    if isinstance(cache, RedisCache):
        return RedisValues(cache)
    packages = {kind.__module__.partition(".")[0] for kind in type(cache).__mro__}
    if packages.intersection(CLIENT_PACKAGES):
        kinds = (kind for mark, kind in CLIENTS.items() if hasattr(cache.client, mark))
        return next(kinds, ClientValues)(cache)
    kind = next((kind for base, kind in cache_values.KINDS if isinstance(cache, base)), CacheValues)
    return kind(cache)


def fits(store: Any) -> bool:
    """Whether the engine's cache, if it has one, takes the key without a warning."""
    cache = getattr(store, "_cache", None)
    return cache is None or not any(memcache_key_warnings(str(cache.make_key(store.cache_key))))
