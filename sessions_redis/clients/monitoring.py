"""
Shows commands to tools that monitor redis-py: Sentry, OpenTelemetry, Datadog and others.

These tools replace ``Redis.execute_command``. An exchange does not call that method, so it would be
missing from every trace. While a tool is there, commands are therefore passed through the method,
by a client that never connects: instead of sending, it calls back, and the exchange takes place as
always. So the tool measures the exchange with its retries, and all promises hold.

The tool receives the names of the commands and of the keys. It receives no session key, no entry,
no user and no reply.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from copy import copy
from functools import cache, cached_property
from importlib import import_module
from importlib.util import find_spec
from types import FunctionType
from typing import Any

import redis
import redis.asyncio
from redis.exceptions import RedisError

from sessions_redis import conf
from sessions_redis.clients.reports import without_credentials, without_tracebacks
from sessions_redis.storage.steps import Command

Commands = Sequence[Command[Any]]

# What tools read of a connection's options. The others can be passwords.
ADDRESS = ("host", "port", "path", "db", "client_name")

# So many commands of an exchange are named. Sentry shows as many of a pipeline.
MOST_NAMED = 10

# redis-py 7.2 and later count and time commands, in the method that tools replace. Before 7.4, only
# this submodule has the function that says whether they do.
_metrics: Any = find_spec("redis.observability") and import_module("redis.observability.providers")


def is_watched(kind: type) -> bool:
    """
    Whether commands have to be shown, so that none is missing.

    ``kind``: the client class of redis-py that tools change, for synchronous or asynchronous code.
    A tool can be installed at any time, so this looks at each call.
    """
    forced = conf.current().instrumented
    return _has_watcher(kind) if forced is None else forced


def _has_watcher(kind: Any) -> bool:
    method = kind.execute_command
    if method is not _seen.get(kind):  # as mostly, and the rest takes longer
        if not _is_of_redis_py(method):
            return True
        _seen[kind] = method
    return bool(_metrics and _metrics.get_observability_instance().is_enabled())


# The methods of redis-py itself that were seen last, by client class.
_seen: dict[Any, Any] = {}


def _is_of_redis_py(method: Any) -> bool:
    # A tool can copy the name and the module of the method that it replaces. Its globals show where
    # a function comes from. Some tools put an object of another class in the function's place.
    return type(method) is FunctionType and method.__globals__["__name__"].startswith("redis.")


class _Outcome:
    """What became of an operation. It takes place once, whatever a tool does with the method."""

    answers: list[Any] | None = None
    error: RedisError | None = None

    def is_open(self) -> bool:
        return self.answers is None and self.error is None

    def failed(self, error: RedisError) -> None:
        self.error = without_tracebacks(without_credentials(error))  # tools keep its text

    def get(self) -> list[Any]:
        if self.error is not None:
            raise self.error
        return self.answers or []


def show(commands: Commands, pool: Any, carry_out: Callable[[], list[Any]]) -> list[Any]:
    """
    Return the result of ``carry_out()``, which runs ``commands``, and show them to the tools.

    All of them are one operation for the tools. ``pool``: the connection pool that they go through.
    ``carry_out()`` is called once, even if a tool calls the method twice, or not at all.
    """
    outcome = _Outcome()

    def call_back() -> int | None:
        if outcome.is_open():
            try:
                outcome.answers = carry_out()
            except RedisError as error:
                outcome.failed(error)
        return _found(outcome.get())

    client: Any = copy(_client(_Client, _Nowhere, _address(pool)))
    client.call_back = call_back
    client.execute_command(*words(commands))
    return carry_out() if outcome.is_open() else outcome.get()


async def ashow(
    commands: Commands, pool: Any, carry_out: Callable[[], Awaitable[list[Any]]]
) -> list[Any]:
    """As `show`, without blocking the running loop."""
    outcome = _Outcome()

    async def call_back() -> int | None:
        if outcome.is_open():
            try:
                outcome.answers = await carry_out()
            except RedisError as error:
                outcome.failed(error)
        return _found(outcome.get())

    client: Any = copy(_client(_AsyncClient, _AsyncNowhere, _address(pool)))
    client.call_back = call_back
    await client.execute_command(*words(commands))
    return await carry_out() if outcome.is_open() else outcome.get()


def words(commands: Commands) -> tuple[str, ...]:
    """
    What the tools receive in place of ``commands``: the command's name, and the keys.

    For several commands this is ``PIPELINE``, as in redis-py's metrics, and a text for each.
    """
    if len(commands) == 1:
        return (commands[0].name, *_keys(commands[0]))
    named = [" ".join((one.name, *_keys(one))) for one in commands[:MOST_NAMED]]
    more = len(commands) - len(named)
    return ("PIPELINE", *named, *([f"and {more} more"] if more else []))


def _keys(command: Command[Any]) -> Iterator[str]:
    for key in command.keys[:MOST_NAMED]:
        prefix, user, _ = key.partition(":user:")
        # The primary key of a user is the value of an entry, and can be an email address.
        yield f"{prefix}:user:?" if user else key


def _found(answers: list[Any]) -> int | None:
    # Tools and their hooks see what the method returns. Datadog counts it as a row, if it is not
    # None. The answers themselves would contain entries.
    return sum(answer is not None for answer in answers) or None


def _address(pool: Any) -> tuple[tuple[str, Any], ...]:
    options = pool.connection_kwargs
    master = getattr(pool, "master_address", None)  # of a service that Sentinels watch
    if master is not None:
        options = {**options, "host": master[0], "port": master[1]}
    return tuple((name, options[name]) for name in ADDRESS if name in options)


@cache
def _client(kind: Any, nowhere: Any, address: tuple[tuple[str, Any], ...]) -> Any:
    # To create a client takes as long as an exchange. To copy one takes 3 microseconds.
    return kind(connection_pool=nowhere(**dict(address)))


class _NoConnection:
    """What redis-py gets from the pool in place of a connection. It is its own retry as well."""

    def __init__(self, address: dict[str, Any]) -> None:
        self.retry = self
        # redis-py's metrics read these.
        self.host, self.port = address.get("host"), address.get("port")
        self.db = address.get("db") or 0

    def call_with_retry(self, do: Callable[[], Any], *_: Any, **__: Any) -> Any:
        return do()  # the exchange has retries of its own

    def send_command(self, *_: Any, **__: Any) -> Any:
        """Nothing is sent here: the exchange sends the command."""

    def should_reconnect(self) -> bool:
        return False


class _NoAsyncConnection(_NoConnection):
    async def send_command(self, *_: Any, **__: Any) -> None:
        """Nothing is sent here: the exchange sends the command."""


class _Nowhere(redis.ConnectionPool):
    """A pool that has an address, for tools to read, and no connections."""

    @cached_property
    def none(self) -> _NoConnection:
        return _NoConnection(self.connection_kwargs)

    def get_connection(self, *_: Any, **__: Any) -> Any:
        return self.none

    def release(self, connection: Any) -> None:
        """There is nothing to release."""


class _AsyncNowhere(redis.asyncio.ConnectionPool):
    @cached_property
    def none(self) -> _NoAsyncConnection:
        return _NoAsyncConnection(self.connection_kwargs)

    async def get_connection(self, *_: Any, **__: Any) -> Any:
        return self.none

    async def release(self, connection: Any) -> None:
        """There is nothing to release."""


class _Client(redis.Redis):
    call_back: Callable[[], int | None]

    def parse_response(self, *_: Any, **__: Any) -> int | None:
        return self.call_back()


class _AsyncClient(redis.asyncio.Redis):
    call_back: Callable[[], Awaitable[int | None]]

    async def parse_response(self, *_: Any, **__: Any) -> int | None:
        return await self.call_back()
