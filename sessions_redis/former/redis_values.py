"""What a cache in Redis or Valkey holds: read and written through the cache's own client."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from sessions_redis.former.cache_values import CacheValues, Value, unpacked
from sessions_redis.keys import Key

# Stands for the session key in a name, to find out what comes before and after it.
PLACEHOLDER = "-the-session-key-"


class RedisValues(CacheValues):
    """
    Strings in Redis, with the lifetimes that Redis knows, to the millisecond.

    It asks the primary, so no replica that is behind makes a session look absent.
    """

    def read(self, store: Any) -> Value | None:
        return self.read_many([store])[0]

    def read_many(self, stores: Sequence[Any]) -> list[Value | None]:
        if not stores:
            return []
        # Outside of a transaction, the libraries leave the command, and so the session key, out of
        # the text of an error.
        pipeline = self._client(stores[0]).pipeline(transaction=False)
        for store in stores:
            pipeline.get(self._name(store))
            pipeline.pttl(self._name(store))
        replies = pipeline.execute(raise_on_error=False)
        pairs = zip(stores, replies[::2], replies[1::2], strict=True)
        return [self._value(store, packed, left) for store, packed, left in pairs]

    def _value(self, store: Any, packed: Any, left: Any) -> Value | None:
        for reply in (packed, left):
            if isinstance(reply, Exception):
                if str(reply).startswith("WRONGTYPE"):
                    return Value(None)
                raise reply
        if packed is None or left in {-2, 0}:
            return None
        content = unpacked(lambda packed: self._unpack(store, packed), packed)
        return Value(content, None if left < 0 else left / 1000)

    def add(self, store: Any, content: Any, ttl: float) -> bool:
        return self._set(store, content, ttl, nx=True)

    def replace(self, store: Any, content: Any, ttl: float) -> bool:
        return self._set(store, content, ttl, xx=True)

    def _set(self, store: Any, content: Any, ttl: float, **condition: bool) -> bool:
        milliseconds = max(1, round(ttl * 1000))
        packed = self._pack(store, content)
        done = self._client(store).set(self._name(store), packed, px=milliseconds, **condition)
        return bool(done)

    def delete(self, stores: Sequence[Any]) -> None:
        self._client(stores[0]).delete(*map(self._name, stores))

    def keys(self, prefix: str, size: int) -> Iterator[list[Key]]:
        before, found, after = str(self._made(prefix + PLACEHOLDER)).partition(PLACEHOLDER)
        if not found:
            raise ImproperlyConfigured(
                "The cache's KEY_FUNCTION hides the session keys, so they cannot be listed."
            )
        return scanned(self._client(None), before, after, size)

    def _client(self, store: Any) -> Any:
        """The client of the server that has this session."""
        return self.cache._cache.get_client(None, write=True)

    def _name(self, store: Any) -> Any:
        return self._made(store.cache_key)

    def _made(self, name: str) -> Any:
        return self.cache.make_key(name)

    def _pack(self, store: Any, content: Any) -> Any:
        return self.cache._cache._serializer.dumps(content)

    def _unpack(self, store: Any, packed: Any) -> Any:
        return self.cache._cache._serializer.loads(packed)


class ClientValues(RedisValues):
    """
    django-redis and django-valkey, whose clients these are.

    Their caches can be set to ignore an outage. The clients beneath do not.
    """

    def _client(self, store: Any) -> Any:
        return self.cache.client.get_client(write=True)

    def _made(self, name: str) -> Any:
        return self.cache.client.make_key(name)

    def _pack(self, store: Any, content: Any) -> Any:
        return self.cache.client.encode(content)

    def _unpack(self, store: Any, packed: Any) -> Any:
        return self.cache.client.decode(packed)


class HerdValues(ClientValues):
    """The clients that keep a value for a while after its lifetime, with its lifetime beside it."""

    def _value(self, store: Any, packed: Any, left: Any) -> Value | None:
        value = super()._value(store, packed, left)
        if value is None or value.ttl is None:
            return value
        ttl = value.ttl - self.cache.client._herd_timeout
        return replace(value, ttl=ttl) if ttl > 0 else None

    def _set(self, store: Any, content: Any, ttl: float, **condition: bool) -> bool:
        client = self.cache.client
        packed = client._pack(content, round(ttl))
        return super()._set(store, packed, ttl + client._herd_timeout, **condition)

    def _unpack(self, store: Any, packed: Any) -> Any:
        content, _ = self.cache.client._unpack(super()._unpack(store, packed))
        return content


class ShardedValues(ClientValues):
    """The clients that spread their keys over several servers."""

    def read_many(self, stores: Sequence[Any]) -> list[Value | None]:
        return [
            value for store in stores for value in super(ShardedValues, self).read_many([store])
        ]

    def delete(self, stores: Sequence[Any]) -> None:
        for store in stores:
            super().delete([store])

    def keys(self, prefix: str, size: int) -> Iterator[list[Key]]:
        for server in self._servers.values():
            yield from _OfServer(self.cache, server).keys(prefix, size)

    def _client(self, store: Any) -> Any:
        return self._servers[self.cache.client.get_server_name(self._name(store))]

    @property
    def _servers(self) -> Any:
        client = self.cache.client
        # django-redis and django-valkey name it differently.
        return client._serverdict if hasattr(client, "_serverdict") else client._server_dict


class _OfServer(ClientValues):
    def __init__(self, cache: Any, server: Any) -> None:
        super().__init__(cache)
        self.server = server

    def _client(self, store: Any) -> Any:
        return self.server


def scanned(client: Any, before: str, after: str, size: int, **options: Any) -> Iterator[list[Key]]:
    """The session keys in the names of keys in Redis, at most ``size`` at a time."""
    pattern = f"{glob_escaped(before)}*{glob_escaped(after)}"
    cursor: Any = None
    while cursor != 0:
        cursor, names = client.scan(cursor or 0, match=pattern, count=size, **options)
        keys = [Key(text_of(name).removeprefix(before).removesuffix(after)) for name in names]
        for start in range(0, len(keys), size):
            yield keys[start : start + size]


def glob_escaped(text: str) -> str:
    """``text`` in a pattern of Redis, where it stands for itself."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", text)


def text_of(stored: bytes | str) -> str:
    return stored if isinstance(stored, str) else stored.decode("utf-8", "surrogateescape")
