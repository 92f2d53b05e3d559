"""
What a cache holds under a session's name, read without the error handling of Django's engines.

The session key is part of the name. So methods take the engine's session store, which knows it, and
no variable of a frame that can raise holds the name.
"""

import pickle
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.cache.backends.db import DatabaseCache
from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, models, router

from sessions_redis.former.failures import NotStored
from sessions_redis.former.store import seconds_until
from sessions_redis.keys import Key

# What reading a pickle raises if it is damaged, or if one of its classes is gone.
DAMAGES = (pickle.PickleError, EOFError, AttributeError, ImportError, IndexError, zlib.error)


@dataclass(frozen=True, repr=False)
class Value:
    """
    What a cache holds. ``ttl``: the seconds left, ``None`` if the cache cannot say.

    A content that cannot be decoded is ``None``.
    """

    content: Any
    ttl: float | None = None


class CacheValues:
    """Any cache of Django's interface."""

    def __init__(self, cache: Any) -> None:
        self.cache = cache

    def read(self, store: Any) -> Value | None:
        """The value; ``None`` if there is none."""
        try:
            content = self.cache.get(store.cache_key)
        except DAMAGES:
            return Value(None)
        return None if content is None else Value(content)

    def add(self, store: Any, content: Any, ttl: float) -> bool:
        """Store ``content`` unless something is there. Whether that was done."""
        if self.cache.add(store.cache_key, content, ttl):
            return True
        if self.read(store) is None:  # memcached and others say that of an outage as well
            raise NotStored("The cache has stored nothing.")
        return False

    def replace(self, store: Any, content: Any, ttl: float) -> bool:
        """Store ``content`` if something is there. Whether that was done."""
        if self.read(store) is None:
            return False
        self.cache.set(store.cache_key, content, ttl)
        return True

    def delete(self, stores: Sequence[Any]) -> None:
        self.cache.delete_many([store.cache_key for store in stores])

    def keys(self, prefix: str, size: int) -> Iterator[list[Key]]:
        """The keys of all sessions, whose names begin with ``prefix``, at most ``size`` at once."""
        raise ImproperlyConfigured(
            f"A cache of {type(self.cache).__module__} cannot list the sessions in it, so they can "
            f"only move with their visitors' requests. (Asked for {size} under {prefix!r}.)"
        )


class MemoryValues(CacheValues):
    """Django's cache in the memory of the process."""

    def read(self, store: Any) -> Value | None:
        cache = self.cache
        with cache._lock:
            if cache._has_expired(cache.make_key(store.cache_key)):
                return None
            packed = cache._cache[cache.make_key(store.cache_key)]
            until = cache._expire_info[cache.make_key(store.cache_key)]
        return Value(unpacked(pickle.loads, packed), None if until is None else until - time.time())


class TableValues(CacheValues):
    """Django's cache in a table."""

    def read(self, store: Any) -> Value | None:
        until = self._until(store)
        value = None if until is None else super().read(store)
        return None if value is None else Value(value.content, seconds_until(until))

    def _until(self, store: Any) -> Any:
        connection = connections[router.db_for_read(self.cache.cache_model_class)]
        quote = connection.ops.quote_name
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {quote('expires')} FROM {quote(self.cache._table)} "  # noqa: S608 - names
                f"WHERE {quote('cache_key')} = %s",
                [self.cache.make_key(store.cache_key)],
            )
            (until,) = cursor.fetchone() or (None,)
        return until if until is None else _converted(until, connection)


class FileValues(CacheValues):
    """Django's cache in files."""

    def read(self, store: Any) -> Value | None:
        try:
            with open(self.cache._key_to_file(store.cache_key), "rb") as file:
                return self._value(file)
        except FileNotFoundError:
            return None

    def _value(self, file: Any) -> Value | None:
        until = unpacked(pickle.load, file)
        left = None if until is None else until - time.time()
        if left is not None and left <= 0:
            return None
        return Value(unpacked(_unzipped, file.read()), left)


def _converted(until: Any, connection: Any) -> Any:
    """The time as Django's cache reads it from the table."""
    expression = models.Expression(output_field=models.DateTimeField())
    for convert in (
        *connection.ops.get_db_converters(expression),
        *expression.get_db_converters(connection),
    ):
        until = convert(until, expression, connection)
    return until


def _unzipped(packed: bytes) -> Any:
    return pickle.loads(zlib.decompress(packed))  # noqa: S301 - the site's own cache


def unpacked(load: Callable[[Any], Any], packed: Any) -> Any:
    """What ``load`` makes of ``packed``; ``None`` if it raises, as the engines take it."""
    try:
        return load(packed)
    except Exception:  # noqa: BLE001 - a pickle can raise any error
        return None


KINDS = ((LocMemCache, MemoryValues), (DatabaseCache, TableValues), (FileBasedCache, FileValues))
