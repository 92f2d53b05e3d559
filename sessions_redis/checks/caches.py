"""Caches in the same database as the sessions: ``cache.clear()`` empties the whole database."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage
from django.utils.module_loading import import_string

from sessions_redis import clusters, conf
from sessions_redis.clients import addresses
from sessions_redis.clients.addresses import Address

# The modules and packages whose caches send FLUSHDB when they are cleared.
FLUSHING = ("django.core.cache.backends.redis", "django_redis", "django_valkey", "redis_cache")


def problems(own: Collection[Address]) -> Iterator[CheckMessage]:
    """
    A warning for each cache in ``CACHES`` that ``cache.clear()`` would clear sessions with.

    ``own``: the address of the sessions, or those of some nodes of their Cluster.
    """
    caches = getattr(settings, "CACHES", None)
    for alias, entry in caches.items() if isinstance(caches, Mapping) else ():
        if not isinstance(entry, Mapping):
            continue
        shared = next((one for one in _addresses(entry) if one in own), None)
        if shared and _flushes(entry):
            is_cluster = clusters.is_cluster(conf.current().location)
            yield _in_cluster(alias, shared) if is_cluster else _shared(alias, shared)


def _in_cluster(alias: str, own: Address) -> CheckMessage:
    return checks.Warning(
        f"The cache CACHES[{alias!r}] and the sessions are in the same Redis Cluster, which has "
        f"the node {own.host}:{own.port}. A Cluster has only one database. cache.clear() empties "
        "it, or the part of it on that node, so it signs out visitors.",
        "Give the cache a server of its own: then it can evict, and sessions cannot run out of "
        "memory because of it.",
        id="sessions_redis.W022",
    )


def _shared(alias: str, own: Address) -> CheckMessage:
    where = own.path or f"{own.host}:{own.port}"
    return checks.Warning(
        f"The cache CACHES[{alias!r}] and the sessions are in the same database: number "
        f"{own.database} of Redis at {where}. cache.clear() empties the whole database, so it "
        "signs out every visitor.",
        f"Give the cache another database number, such as {own.database + 1}. A server of its own "
        "is better: then the cache can evict, and sessions cannot run out of memory because of it.",
        id="sessions_redis.W022",
    )


def _flushes(entry: Mapping[str, Any]) -> bool:
    """Whether ``clear()`` of this cache is that of a library which empties the database."""
    try:
        backend = import_string(str(entry.get("BACKEND")))
    except (AttributeError, ImportError, TypeError, ValueError):
        return False  # Django reports it when the cache is used.
    defining = (one.__module__ for one in getattr(backend, "__mro__", ()) if "clear" in vars(one))
    module = next(defining, "")
    return any(f"{module}.".startswith(f"{name}.") for name in FLUSHING)


def _addresses(entry: Mapping[str, Any]) -> Iterator[Address | None]:
    # As Django and these libraries read it: several servers in one text, or in a list.
    location, options = entry.get("LOCATION"), entry.get("OPTIONS")
    # A URL of a Cluster has several hosts.
    whole = [location] if isinstance(location, str) else location
    for text in whole if isinstance(whole, list | tuple) else ():
        if isinstance(text, str):
            scheme = text.strip().partition("://")[0]
            for part in re.split("[;,]", text):
                url = part if "://" in part else f"{scheme}://{part}"
                yield addresses.of_url(url, _client_options(options))


def _client_options(options: Any) -> Mapping[str, Any]:
    """The options for redis-py: Django passes all on, the others those for the pool."""
    given = options if isinstance(options, Mapping) else {}
    of_pool = given.get("CONNECTION_POOL_KWARGS")
    return of_pool if isinstance(of_pool, Mapping) else given
