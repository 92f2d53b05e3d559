"""
Listens to a channel of Redis, on a connection of its own, which opens again after it was lost.

A process that publishes does not wait for listeners, and Redis keeps no message for later. So a
listener hears whenever it has begun to listen again: it may have missed messages before.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager, suppress
from math import inf
from time import monotonic
from typing import Any

from redis.backoff import EqualJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from sessions_redis import conf, logs, services
from sessions_redis.clients import pools
from sessions_redis.clients.exchange import FAILURES, connection_error
from sessions_redis.clients.failures import store_unavailable
from sessions_redis.clients.reports import without_credentials, without_tracebacks
from sessions_redis.clients.sentinels import NoMasterError
from sessions_redis.clients.topologies import address_of
from sessions_redis.exceptions import SessionStoreUnavailable

# After so many seconds of silence, it asks whether the server still answers. With Sentinel, it also
# asks for the master. It asks which nodes a Cluster has if nobody has asked for so many seconds.
SILENCE = 2.0
NODES_KNOWN = 10.0

# Seconds to look for an answer that is late because this process was busy.
GRACE = 0.1

# The pauses before it connects again, in seconds: the first ones are short.
BACKOFF = EqualJitterBackoff(base=0.05, cap=2.0)
MAX_FAILURES = 10  # the pause is not longer after more failures

# A connection on which it has listened for so many seconds was no failure.
STEADY = 1.0

log = logs.named("sessions_redis")

# Connections that this process inherited when it was forked, and their pools. Closing one would
# change the event loop of the parent process.
_of_parents: list[Any] = []


async def alisten(channel: str) -> AsyncGenerator[bytes | None, None]:
    """
    Yield each message on ``channel``, and ``None`` whenever this begins to listen, or begins again.

    It goes on until it is closed. While the server cannot be reached, it tries again. Raises
    `SessionStoreUnavailable` if the user may not listen to this channel.
    """
    failures, listens_since = 0, inf
    while True:
        try:
            async with aclosing(_messages(channel)) as messages:
                async for message in messages:
                    if message is None:
                        listens_since = monotonic()
                    yield message
        except NoPermissionError as error:
            raise _unavailable(error) from without_tracebacks(error)
        except (RedisError, SessionStoreUnavailable) as error:
            if monotonic() - listens_since > STEADY:
                failures, listens_since = 0, inf
            if failures == 0:
                log.warning(
                    "This process does not hear of ended sessions at the moment, and will connect "
                    "again by itself. %s",
                    _unavailable(error) if isinstance(error, RedisError) else error,
                )
            without_tracebacks(error)
        else:
            continue
        await asyncio.sleep(BACKOFF.compute(failures))
        failures = min(failures + 1, MAX_FAILURES)


def _unavailable(error: RedisError) -> SessionStoreUnavailable:
    return store_unavailable(conf.current(), without_credentials(error))


async def _messages(channel: str) -> AsyncGenerator[bytes | None, None]:
    """
    As `alisten`, on one connection. Raises the errors of redis-py if that is lost.

    It ends if it goes on in a forked process, or in another event loop: those need their own.
    """
    ours = pools.current()
    server = await _server(ours)
    # Sentinel's connections need their pool, so it stays in a variable.
    pool = server.new_pool(pools.ASYNC, repeats=False)
    connection, opener = pool.make_connection(), _here()
    try:
        with _losses():
            await connection.connect()
            await connection.send_command("SUBSCRIBE", channel, check_health=False)
        is_asked = False
        while _here() == opener:
            reply = await _reply(connection, is_asked=is_asked)
            is_asked = reply is None and await _ask(ours, server, pool, connection)
            if reply and reply[0] == b"subscribe":
                yield None
            elif reply and reply[0] == b"message":
                yield reply[2]
    finally:
        if _here() == opener:
            await connection.disconnect(nowait=True)
            await pool.disconnect()
        else:
            _of_parents.append((pool, connection))


def _here() -> tuple[int, asyncio.AbstractEventLoop]:
    """This process and its running loop. C code can fork as well, so no hook would be enough."""
    return os.getpid(), asyncio.get_running_loop()


@contextmanager
def _losses() -> Iterator[None]:
    """Raise redis-py's error for a lost connection in place of the others that mean one."""
    try:
        yield
    except FAILURES as error:
        raise connection_error(error) from error


async def _reply(connection: Any, *, is_asked: bool) -> Any:
    """
    What the server sends next; ``None`` if it is silent for a while.

    ``is_asked``: it has to answer a PING. If it does not, raises a ``TimeoutError`` of redis-py.
    """
    seconds = (connection.socket_timeout or SILENCE) if is_asked else SILENCE
    try:
        # If this process was busy for so long, the answer has arrived meanwhile: look once more.
        reply = await _read(connection, seconds) or (
            await _read(connection, GRACE) if is_asked else None
        )
    except ResponseError:
        if not is_asked:
            raise
        return _ANSWER  # this user may not PING
    if is_asked:
        _require_answer(reply, seconds)
    return reply if isinstance(reply, list | None) else _ANSWER


async def _read(connection: Any, seconds: float) -> Any:
    with _losses():
        return await connection.read_response(timeout=seconds, push_request=True)


_ANSWER = [b"pong"]


def _require_answer(reply: Any, seconds: float) -> None:
    if reply is None:
        raise RedisTimeoutError(f"no answer within {seconds:g} seconds")


async def _server(ours: Any) -> Any:
    """The pools of the server to listen to. The nodes of a Cluster pass on what others publish."""
    if not ours.is_cluster:
        return ours
    await ours.aread_again(since=monotonic())
    return ours.master_of(None)


async def _ask(ours: Any, server: Any, pool: Any, connection: Any) -> bool:
    """Ask the server for an answer, if it is still the one to listen to. Returns ``True``."""
    await _require_place(ours, server, pool, connection)
    with _losses():
        await connection.send_command("PING", check_health=False)
    return True


async def _require_place(ours: Any, server: Any, pool: Any, connection: Any) -> None:
    """
    Raise redis-py's ``ConnectionError`` if sessions are elsewhere by now: nobody publishes here.

    The server is not the master of its service any more, or has left its Cluster.
    """
    if ours.is_cluster:
        await ours.aread_again(since=monotonic() - NODES_KNOWN)
        places = {address for shard in set(ours.shards) for address in shard or ()}
        is_right = address_of(server) in places
    elif services.is_service(ours.conf.location):
        with suppress(NoMasterError):  # this one may be the master still
            await pool.get_master_address()
        is_right = pool.master_address in {None, (connection.host, connection.port)}
    else:
        return
    if not is_right:
        raise RedisConnectionError("sessions are on another server now")
