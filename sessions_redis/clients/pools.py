"""
The connection pools: those of the process, and those of each running event loop.

Each has one pool for commands that may be sent again, and one for commands that must not. A forked
process creates its own pools. The pools of an event loop are closed when the loop shuts down its
asynchronous generators, as ``asyncio.run`` and ``async_to_sync`` do at their end.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from threading import TIMEOUT_MAX
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import quote

import redis
import redis.asyncio
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import EqualJitterBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from sessions_redis import clusters, conf, hosts, locations, services
from sessions_redis.clients import memory, tls
from sessions_redis.clients.circuit import Circuit
from sessions_redis.clients.cluster_options import (
    asign_in_to_replica,
    require_of_cluster,
    sign_in_to_replica,
    take_options,
)
from sessions_redis.clients.connections import checked_class, in_memory_class
from sessions_redis.clients.credentials import credentials_of
from sessions_redis.clients.garbage import asign_in, sign_in
from sessions_redis.clients.leases import AsyncLeases, Leases
from sessions_redis.clients.masters import AsyncServicePool, ServicePool
from sessions_redis.clients.names import named
from sessions_redis.clients.options import require_allowed
from sessions_redis.clients.pipelines import Pipeline
from sessions_redis.clients.reports import without_tracebacks
from sessions_redis.clients.sentinels import SentinelCircuits
from sessions_redis.conf import Conf
from sessions_redis.hosts import Address
from sessions_redis.storage.steps import Command

# Seconds. They are short because a request waits for its session before anything else: a quick 503
# is better than a worker that hangs.
TIMEOUTS = {"socket_connect_timeout": 1.0, "socket_timeout": 1.0}

# The most connections in use at a time. When all are busy, a command waits `timeout` seconds for
# one.
POOL = {"max_connections": 50, "timeout": 1.0}

# A command is sent again so many times after these errors. The pause before that is in seconds: it
# starts near `base` and grows to `cap` at most.
RETRIES = 2
BACKOFF = {"base": 0.01, "cap": 0.1}
RETRIED = (RedisConnectionError, RedisTimeoutError)


class _Discreet:
    """A pool for error reports to print. In redis-py 7.0 to 7.3, its text has the password."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class _Pool(_Discreet, redis.BlockingConnectionPool):
    pass


class _AsyncPool(_Discreet, redis.asyncio.BlockingConnectionPool):
    pass


class _RedisPyNames(NamedTuple):
    """redis-py's names for the same things: in its synchronous or its asynchronous part."""

    pool: Any
    service_pool: Any
    retry: Any
    sign_in: Any
    sign_in_to_replica: Any
    fake_client: str


SYNC = _RedisPyNames(_Pool, ServicePool, Retry, sign_in, sign_in_to_replica, "FakeRedis")
ASYNC = _RedisPyNames(
    _AsyncPool,
    AsyncServicePool,
    AsyncRetry,
    asign_in,
    asign_in_to_replica,
    "FakeAsyncRedis",
)


class Pools:
    """
    The connection pools of this process for one server. Each is created when first needed.

    ``address``: that of a node of a Cluster, as host and port. ``reads_replica``: the node is a
    replica, and is allowed to answer reading commands itself.
    """

    is_cluster = False

    def __init__(
        self, settings: Conf, address: Address | None = None, *, reads_replica: bool = False
    ) -> None:
        self.conf = settings
        self.address = address
        self.reads_replica = reads_replica
        self._place = _Place(address, reads_replica)
        self._of_process: dict[bool, Leases] = {}
        self._of_loop: dict[asyncio.AbstractEventLoop, dict[bool, Pipeline]] = {}
        # The others are within this process, or are started again when they have ended.
        is_remote = settings.scheme not in ("memory", "embedded")
        self._sentinels = SentinelCircuits()
        self.circuit = Circuit(
            partial(self._built, SYNC, repeats=False) if is_remote else None,
            "it" if address is None else hosts.shown(address),
        )

    def leases_for(self, commands: Sequence[Command[Any]]) -> Leases:
        repeats = self._may_be_resent(commands)
        leases = self._of_process.get(repeats)
        if leases is None:
            pool = self.new_pool(SYNC, repeats=repeats)
            made = Leases(pool, pings=not repeats, circuit=self.circuit)
            # If several threads make them at the same moment, all of them get the first.
            leases = self._of_process.setdefault(repeats, made)
        return leases

    async def pipeline_for(self, commands: Sequence[Command[Any]]) -> Pipeline:
        repeats = self._may_be_resent(commands)
        loop = asyncio.get_running_loop()
        of_loop = self._of_loop.get(loop)
        if of_loop is None:
            _drop_ended(self._of_loop)
            of_loop = self._of_loop[loop] = {}
            await _until_shutdown(loop, self._closing(loop))
        pipeline = of_loop.get(repeats)
        if pipeline is None:
            pool = self.new_pool(ASYNC, repeats=repeats)
            leases = AsyncLeases(pool, pings=not repeats, circuit=self.circuit)
            pipeline = of_loop[repeats] = Pipeline(leases)
        return pipeline

    def restart_embedded_server(self, commands: Sequence[Command[Any]]) -> bool:
        """
        Start the embedded server if it has ended. ``True`` if ``commands`` may be sent again then.

        The server ends with the process that started it, which can be another process than this.
        """
        if self.conf.scheme != "embedded" or not all(one.repeatable for one in commands):
            return False
        _embedded().ensure(self.conf.directory)
        return True

    def close(self) -> None:
        """Close the process's connections. Event loops close theirs when they end."""
        self.circuit.close()
        self._sentinels.close()
        for leases in self._of_process.values():
            leases.pool.disconnect()

    def retire(self) -> None:
        """
        Ask the server nothing more: it has left the Cluster.

        A request can still use a connection. So only the idle ones are closed.
        """
        self.circuit.forget()
        for leases in list(self._of_process.values()):
            leases.close_idle()

    def new_pool(self, names: _RedisPyNames, *, repeats: bool) -> Any:
        """A new pool of redis-py, which has not connected yet."""
        pool = self._built(names, repeats=repeats)
        if self.conf.scheme != "memory":
            pool.connection_kwargs["circuit"] = self.circuit
        return pool

    def _built(self, names: _RedisPyNames, *, repeats: bool) -> Any:
        pool = build_pool(self.conf, names, repeats=repeats, place=self._place)
        if services.is_service(self.conf.location):
            pool.sentinel_manager.circuits = self._sentinels
        return pool

    def _may_be_resent(self, commands: Sequence[Command[Any]]) -> bool:
        for command in commands:
            if not command.repeatable:
                # It cannot be sent again after a failure, so the server must run beforehand.
                if self.conf.scheme == "embedded":
                    _embedded().ensure(self.conf.directory)
                return False
        return True

    async def _closing(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            for pipeline in self._of_loop.pop(loop, {}).values():
                await pipeline.leases.pool.disconnect()


async def _until_shutdown(loop: asyncio.AbstractEventLoop, generator: AsyncGenerator[None]) -> None:
    """Start ``generator``. It waits at its ``yield`` until ``loop`` shuts down its generators."""
    await anext(generator)
    # The loop has only weak references to its generators.
    _drop_ended(_waiting)
    _waiting.setdefault(loop, []).append(generator)


_waiting: dict[asyncio.AbstractEventLoop, list[AsyncGenerator[None]]] = {}


def _drop_ended(by_loop: dict[asyncio.AbstractEventLoop, Any]) -> None:
    for loop in list(by_loop):
        if loop.is_closed():
            by_loop.pop(loop, None)  # another thread may have removed it already


class _Place(NamedTuple):
    """The node of a Cluster that a pool is for. Without ``address``, the first in its URL."""

    address: Address | None = None
    reads_replica: bool = False


_ANYWHERE = _Place()


def build_pool(
    settings: Conf, names: _RedisPyNames, *, repeats: bool, place: _Place = _ANYWHERE
) -> Any:
    """
    A new pool of connections, which has not connected yet.

    ``names``: `SYNC` or `ASYNC`. ``repeats``: the pool sends a lost request again.
    Raises ``ImproperlyConfigured`` if redis-py refuses the settings or a package is missing.
    """
    if settings.scheme == "memory":
        fakeredis, server = memory.fakeredis_at(settings.location)
        pool = getattr(fakeredis, names.fake_client)(server=server).connection_pool
        pool.connection_class = in_memory_class(pool.connection_class)
        return pool
    socket = _embedded().ensure(settings.directory) if settings.scheme == "embedded" else None
    return _checked_pool(settings, names, socket, repeats=repeats, place=place)


def _checked_pool(
    settings: Conf,
    names: _RedisPyNames,
    socket: Any,
    *,
    repeats: bool,
    place: _Place = _ANYWHERE,
) -> Any:
    # Error reports print the variables of this frame: none may contain the URL or the options.
    try:
        return _pool_at(settings, names, socket, repeats=repeats, place=place)
    except (TypeError, ValueError, RedisError) as error:
        if locations.has_password_option(settings.location):
            raise ImproperlyConfigured(_UNNAMED) from None
        raise ImproperlyConfigured(
            f"redis-py refuses the options in SESSION_REDIS: {error}. "
            'Correct them in "OPTIONS", or in "LOCATION" behind the ?.'
        ) from without_tracebacks(error)


# redis-py's error names the option. If an & in the password is not encoded, that name is a part of
# the password.
_UNNAMED = (
    'redis-py refuses an option in SESSION_REDIS["LOCATION"] (behind the ?) or "OPTIONS". '
    f"This message does not name it, because the URL has a password there. {locations.ENCODE}"
)


def _pool_at(
    settings: Conf, names: _RedisPyNames, socket: Any, *, repeats: bool, place: _Place
) -> Any:
    url = settings.location if socket is None else f"unix://{quote(str(socket))}"
    require_allowed(locations.options(url) | (settings.options or {}).keys())
    options = _options(settings, names, repeats=repeats)
    if clusters.is_cluster(url):
        pool = _pool_of_node(url, names, options, place)
    else:
        kind = names.service_pool if services.is_service(url) else names.pool
        pool = kind.from_url(url, **options)
    pool.connection_kwargs.update(named(pool.connection_kwargs))
    _require_seconds("timeout", pool.timeout)
    for name in TIMEOUTS:
        for options in (pool.connection_kwargs, getattr(pool, "options_of_sentinels", {})):
            _require_seconds(name, options.get(name), least=0.001)
    pool.connection_class = checked_class(pool.connection_class, own=socket is not None)
    # redis-py checks the options when it creates a connection. This one is never used.
    connection = pool.connection_class(**pool.connection_kwargs)
    if connection.encoder.decode_responses:
        raise ValueError("decode_responses must stay off, because sessions are read as bytes")
    return pool


def _pool_of_node(
    location: str, names: _RedisPyNames, options: dict[str, Any], place: _Place
) -> Any:
    require_of_cluster(locations.options(location) | options.keys())
    seeds = clusters.seeds_at(location)
    pool = names.pool.from_url(seeds.node_url, **options)
    take_options(pool.connection_kwargs)
    host, port = place.address or seeds.nodes[0]  # in place of the URL's, which stands for all
    pool.connection_kwargs |= {"host": host, "port": port, "db": 0}
    if place.reads_replica:
        pool.connection_kwargs["redis_connect_func"] = names.sign_in_to_replica
    return pool


def check() -> None:
    """
    Check the settings by building a pool, without connecting.

    Raises ``ImproperlyConfigured`` if redis-py refuses them or a package is missing.
    """
    settings = conf.current()
    if settings.scheme == "embedded":
        _embedded().check(settings.directory)
        _checked_pool(settings, SYNC, "/any", repeats=True)
    else:
        build_pool(settings, SYNC, repeats=True)


def problem_with_files() -> str | None:
    """The mistake in the files for TLS that the settings name. Raises as `check` does."""
    return tls.problem_with_files(build_pool(conf.current(), SYNC, repeats=True).connection_kwargs)


def _options(settings: Conf, names: _RedisPyNames, *, repeats: bool) -> dict[str, Any]:
    options: dict[str, Any] = {
        **TIMEOUTS,
        **POOL,
        "retry": Retry(EqualJitterBackoff(**BACKOFF), RETRIES),
        "redis_connect_func": names.sign_in,
        **(settings.options or {}),
    }
    if not repeats:
        options["retry"] = Retry(NoBackoff(), 0)
    if options.get("credential_provider") is not None:
        options["credential_provider"] = credentials_of(options["credential_provider"])
    given = options["retry"]
    if not isinstance(given, Retry | AsyncRetry):
        raise TypeError(f"the option retry takes a redis.retry.Retry, not {given!r}")
    # The site sets one retry for both. redis-py has no public way to convert one into the other.
    options["retry"] = names.retry(given._backoff, given._retries)
    return options


def _require_seconds(name: str, seconds: Any, least: float = 0) -> None:
    if seconds is None:
        return
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"the option {name} takes seconds, not {seconds!r}")
    if not least <= seconds <= TIMEOUT_MAX:
        raise ValueError(
            f"the option {name} takes seconds from {least:g} to {TIMEOUT_MAX:.0f}, or None for no "
            f"limit, not {seconds!r}"
        )


def _embedded() -> ModuleType:
    """The module of the embedded server. It is imported when needed: it works only on Unix."""
    try:
        from sessions_redis.clients import embedded  # noqa: PLC0415
    except ImportError as error:
        raise ImproperlyConfigured(
            f"embedded:// works on Linux and macOS only ({error}). "
            'Set SESSION_REDIS["LOCATION"] to the URL of a Redis server.'
        ) from error
    return embedded


# The pools of each process, by process ID. The ID is compared at each use, because a fork in C runs
# no Python hook. A forked process creates its own pools. It keeps its parent's in this dictionary:
# removing them would close connections that the parent uses.
_pools: dict[int, Any] = {}


def current() -> Any:
    """
    The connection pools of this process for the current settings: `Pools`, or a Cluster's `Nodes`.
    """
    process = os.getpid()
    # If several threads create them at the same moment, all of them get the first.
    return _pools.get(process) or _pools.setdefault(process, _new())


def _new() -> Any:
    settings = conf.current()
    if not clusters.is_cluster(settings.location):
        return Pools(settings)
    from sessions_redis.clients.nodes import Nodes  # noqa: PLC0415 - it uses this module

    return Nodes(settings)


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "SESSION_REDIS":
        ours = _pools.pop(os.getpid(), None)
        if ours is not None:
            ours.close()


setting_changed.connect(_forget)
