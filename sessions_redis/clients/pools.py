"""
The connection pools: one of the process, and one of each running event loop.

A forked process makes its own. That of a loop is closed when the loop shuts down its asynchronous
generators, which ``asyncio.run`` and ``async_to_sync`` do before its end.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from functools import cache
from threading import TIMEOUT_MAX, Lock
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

from sessions_redis import conf, locations
from sessions_redis.clients.connections import checked_class, in_memory_class
from sessions_redis.clients.garbage import asign_in, sign_in
from sessions_redis.clients.leases import AsyncLeases, Leases
from sessions_redis.clients.pipelines import Pipeline
from sessions_redis.clients.reports import without_tracebacks
from sessions_redis.conf import Conf
from sessions_redis.storage.commands import Command

# Seconds. A session is read before the page is made: better a quick 503 than a worker that hangs.
TIMEOUTS = {"socket_connect_timeout": 1.0, "socket_timeout": 1.0}

# Connections in use at a time, and seconds that one more waits for one to come free.
POOL = {"max_connections": 50, "timeout": 1.0}

# How often, and after which errors, a command is sent again; seconds between grow up to `cap`.
RETRIES = 2
BACKOFF = {"base": 0.01, "cap": 0.1}
RETRIED = (RedisConnectionError, RedisTimeoutError)


class _RedisPyNames(NamedTuple):
    """The names of the same things in redis-py's two worlds."""

    pool: Any
    retry: Any
    sign_in: Any
    fake_client: str


SYNC = _RedisPyNames(redis.BlockingConnectionPool, Retry, sign_in, "FakeRedis")
ASYNC = _RedisPyNames(redis.asyncio.BlockingConnectionPool, AsyncRetry, asign_in, "FakeAsyncRedis")


class Pools:
    """The connection pools of one configuration in this process, made when first needed."""

    def __init__(self, settings: Conf) -> None:
        self.conf = settings
        self._of_process: dict[bool, Leases] = {}
        self._of_loop: dict[asyncio.AbstractEventLoop, dict[bool, Pipeline]] = {}
        self._lock = Lock()

    def leases_for(self, commands: Sequence[Command[Any]]) -> Leases:
        repeats = self._may_be_resent(commands)
        leases = self._of_process.get(repeats)
        if leases is None:
            with self._lock:
                leases = self._of_process.get(repeats)
                if leases is None:
                    pool = build_pool(self.conf, SYNC, repeats=repeats)
                    leases = self._of_process[repeats] = Leases(pool, pings=not repeats)
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
            pool = build_pool(self.conf, ASYNC, repeats=repeats)
            pipeline = Pipeline(AsyncLeases(pool, pings=not repeats))
            of_loop[repeats] = pipeline
        return pipeline

    def restart_embedded_server(self, commands: Sequence[Command[Any]]) -> bool:
        """
        Whether it is worth running ``commands`` again: the embedded server was away and is back.

        It ends with the process that started it, which need not be this one.
        """
        if self.conf.scheme != "embedded" or not all(one.repeatable for one in commands):
            return False
        _embedded().ensure(self.conf.directory)
        return True

    def close(self) -> None:
        """Close the process's connections; those of event loops are closed with their loops."""
        for leases in self._of_process.values():
            leases.pool.disconnect()

    def _may_be_resent(self, commands: Sequence[Command[Any]]) -> bool:
        for command in commands:
            if not command.repeatable:
                # It cannot wait for a failure to bring the server back.
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
    """Start ``generator``, which waits in a ``yield`` until ``loop`` shuts its generators down."""
    await anext(generator)
    # The loop itself holds its generators weakly.
    _drop_ended(_waiting)
    _waiting.setdefault(loop, []).append(generator)


_waiting: dict[asyncio.AbstractEventLoop, list[AsyncGenerator[None]]] = {}


def _drop_ended(by_loop: dict[asyncio.AbstractEventLoop, Any]) -> None:
    for loop in list(by_loop):
        if loop.is_closed():
            by_loop.pop(loop, None)  # another thread may have been here


def build_pool(settings: Conf, names: _RedisPyNames, *, repeats: bool) -> Any:
    """
    A pool of connections of ``names``, none made yet. ``repeats``: lost requests are sent again.

    Raises ``ImproperlyConfigured`` if redis-py refuses the settings or a package is missing.
    """
    if settings.scheme == "memory":
        fakeredis, server = _memory(settings.location)
        pool = getattr(fakeredis, names.fake_client)(server=server).connection_pool
        pool.connection_class = in_memory_class(pool.connection_class)
        return pool
    socket = _embedded().ensure(settings.directory) if settings.scheme == "embedded" else None
    return _checked_pool(settings, names, socket, repeats=repeats)


def _checked_pool(settings: Conf, names: _RedisPyNames, socket: Any, *, repeats: bool) -> Any:
    # Error reports print the variables of this frame: none may hold the URL or the options.
    try:
        return _pool_at(settings, names, socket, repeats=repeats)
    except (TypeError, ValueError, RedisError) as error:
        if locations.has_password_option(settings.location):
            raise ImproperlyConfigured(_UNNAMED) from None
        raise ImproperlyConfigured(
            f"redis-py does not take what SESSION_REDIS says: {error}. "
            'Look at "LOCATION" (its part behind the ?) and "OPTIONS".'
        ) from without_tracebacks(error)


# redis-py names the option. That can be a part of the password, after an & that is not encoded.
_UNNAMED = (
    'redis-py does not take an option in SESSION_REDIS["LOCATION"] (behind the ?) or "OPTIONS". '
    f"This message does not name it, because the URL has a password there. {locations.ENCODE}"
)


def _pool_at(settings: Conf, names: _RedisPyNames, socket: Any, *, repeats: bool) -> Any:
    url = settings.location if socket is None else f"unix://{quote(str(socket))}"
    pool = names.pool.from_url(url, **_options(settings, names, repeats=repeats))
    _require_seconds("timeout", pool.timeout)
    for name in TIMEOUTS:
        _require_seconds(name, pool.connection_kwargs.get(name), least=0.001)
    pool.connection_class = checked_class(pool.connection_class, own=socket is not None)
    # Made and thrown away: redis-py looks at the options when it makes a connection.
    connection = pool.connection_class(**pool.connection_kwargs)
    if connection.encoder.decode_responses:
        raise ValueError("sessions are read as bytes, so decode_responses must stay off")
    return pool


def check() -> None:
    """
    Build a pool as the settings say, without connecting.

    Raises ``ImproperlyConfigured`` if redis-py refuses them or a package is missing.
    """
    settings = conf.current()
    if settings.scheme == "embedded":
        _embedded().check(settings.directory)
        _checked_pool(settings, SYNC, "/any", repeats=True)
    else:
        build_pool(settings, SYNC, repeats=True)


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
    given = options["retry"]
    if not isinstance(given, Retry | AsyncRetry):
        raise TypeError(f"the option retry takes a redis.retry.Retry, not {given!r}")
    # One OPTIONS for both worlds; redis-py has no public way from one to the other.
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
    """The server that comes along. Imported when needed: it takes what only Unix has."""
    try:
        from sessions_redis.clients import embedded  # noqa: PLC0415
    except ImportError as error:
        raise ImproperlyConfigured(
            f"embedded:// works on Linux and macOS only ({error}). "
            'Set SESSION_REDIS["LOCATION"] to the URL of a Redis server.'
        ) from error
    return embedded


def _memory(location: str) -> tuple[Any, Any]:
    """fakeredis, and its server in this process that goes by ``location``."""
    try:
        import fakeredis  # noqa: PLC0415 - an extra
        import lupa  # noqa: F401, PLC0415 - without it fakeredis runs no scripts
    except ImportError as error:
        raise ImproperlyConfigured(
            'SESSION_REDIS["LOCATION"] is memory://, which needs fakeredis with Lua: '
            f'pip install "django-sessions-redis[test]" ({error}).'
        ) from error
    return fakeredis, _server_in_memory(location, os.getpid(), fakeredis.FakeServer)


_in_memory: dict[str, Any] = {}


@cache
def _server_in_memory(location: str, process: int, kind: Any) -> Any:  # noqa: ARG001 - for each
    server = _in_memory.setdefault(location, kind())
    # Where the fork came upon a thread that was writing, nobody is left to finish that.
    if server.lock.acquire(timeout=1):
        server.lock.release()
    else:
        server = _in_memory[location] = kind()
    return server


# By the process that made them, which is found by comparing its ID each time: a fork in C runs none
# of Python's hooks. A forked process makes its own, with locks of their own, and leaves its
# parent's where they are, untouched: to drop them would be to close what the parent uses.
_pools: dict[int, Pools] = {}


def current() -> Pools:
    """The connection pools of this process and of the settings as they are now."""
    process = os.getpid()
    # Of threads that begin at the same moment, all get what one of them made.
    return _pools.get(process) or _pools.setdefault(process, Pools(conf.current()))


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "SESSION_REDIS":
        ours = _pools.pop(os.getpid(), None)
        if ours is not None:
            ours.close()


setting_changed.connect(_forget)
