"""
Connections that are kept at hand between commands.

To get a connection from redis-py's pool and to give it back takes as long as half a round trip on
loopback, so what is idle stays here for a moment. What redis-py does for its connections, such as
looking whether the server closed one, or signing in again with a new token, it does whenever one
passes through its pool, as each of them does after `KEPT`.
"""

import asyncio
from collections import deque
from inspect import Parameter, signature
from threading import Lock
from time import monotonic
from typing import Any, NamedTuple

from redis import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError

# Seconds after which a connection passes through redis-py's pool again.
KEPT = 1.0

# Connections in use at a time, where the pool knows no smaller number.
MOST = 10_000

# As redis-py's pools say it.
NONE_FREE = "No connection available."

# A note on the error of a command that found no connection: the server has not seen it.
NOT_SENT = "The command was not sent."

# redis-py before 5.3 wants the name of a command there, and does nothing with it.
_GET_ARGUMENTS = (
    ("EVALSHA",)
    if signature(ConnectionPool.get_connection).parameters["command_name"].default
    is Parameter.empty
    else ()
)


def _none_free() -> RedisConnectionError:
    error = RedisConnectionError(NONE_FREE)
    error.add_note(NOT_SENT)
    return error


class Lease(NamedTuple):
    """A connection of redis-py's pool. ``until``: when it has to go back, as `monotonic` counts."""

    connection: Any
    until: float


class _Kept:
    """What both worlds share. ``kept``: seconds; 0 for a pool whose every connection is checked."""

    def __init__(self, pool: Any, kept: float = KEPT) -> None:
        self.pool = pool
        self._kept = kept
        self._idle: deque[Lease] = deque()  # its append and pop are atomic
        # The pool of memory:// is none that waits.
        self._patience: float | None = getattr(pool, "timeout", None)
        self._connections: int = min(pool.max_connections, MOST)

    def _new(self, connection: Any) -> Lease:
        return Lease(connection, monotonic() + self._kept)


class Leases(_Kept):
    """
    Of a pool of this process, for its threads, which are served in the order they come.

    Not by a ``queue``: those let newcomers go first, and until Python 3.13 ``SimpleQueue`` may
    forget its time limit meanwhile.
    """

    def __init__(self, pool: Any, kept: float = KEPT) -> None:
        super().__init__(pool, kept)
        self._lock = Lock()
        self._free = self._connections
        # Of each thread that waits, a lock that is released when its turn has come.
        self._turns: deque[Any] = deque()

    def take(self) -> Lease:
        """
        A connection that nobody else uses.

        Raises redis-py's ``ConnectionError`` if none comes free within the pool's ``timeout``.
        """
        with self._lock:
            turn = None if self._free else Lock()
            if turn is None:
                self._free -= 1
            else:
                turn.acquire()
                self._turns.append(turn)
        if turn is not None:
            self._wait_for(turn)
        try:
            return self._taken()
        except BaseException as error:
            error.add_note(NOT_SENT)
            self._next()
            raise

    def give(self, lease: Lease) -> None:
        self._idle.append(lease)
        self._next()

    def _next(self) -> None:
        with self._lock:
            if self._turns:
                self._turns.popleft().release()
            else:
                self._free += 1

    def _wait_for(self, turn: Any) -> None:
        try:
            turn.acquire(timeout=-1 if self._patience is None else self._patience)
        except BaseException:
            if not self._withdraw(turn):
                self._next()
            raise
        if self._withdraw(turn):
            raise _none_free()

    def _withdraw(self, turn: Any) -> bool:
        """Wait no longer. ``False`` if the turn has come, be it at the last moment."""
        with self._lock:
            is_waiting = turn in self._turns
            if is_waiting:
                self._turns.remove(turn)
            return is_waiting

    def _taken(self) -> Lease:
        # Not "if there is one", which another thread may take meanwhile.
        try:
            lease = self._idle.pop()
        except IndexError:
            lease = None
        if lease is not None:
            if monotonic() < lease.until:
                return lease
            self.pool.release(lease.connection)
        return self._new(self.pool.get_connection(*_GET_ARGUMENTS))


class AsyncLeases(_Kept):
    """Of a pool of one event loop, for its tasks, which are served in the order they come."""

    def __init__(self, pool: Any, kept: float = KEPT) -> None:
        super().__init__(pool, kept)
        # redis-py's own pool lets newcomers go before those who wait, until their time is over.
        self._free = asyncio.Semaphore(self._connections)

    async def take(self) -> Lease:
        try:
            async with asyncio.timeout(self._patience if self._free.locked() else None):
                await self._free.acquire()
        except TimeoutError as error:
            raise _none_free() from error
        try:
            return await self._taken()
        except BaseException as error:
            error.add_note(NOT_SENT)
            self._free.release()
            raise

    def give(self, lease: Lease) -> None:
        self._idle.append(lease)
        self._free.release()

    async def _taken(self) -> Lease:
        if not self._idle:
            return self._new(await self._connection())
        lease = self._idle.pop()
        if monotonic() < lease.until:
            return lease
        # A cancelled request must not keep the connection for good.
        await asyncio.shield(self.pool.release(lease.connection))
        return self._new(await self._connection())

    async def _connection(self) -> Any:
        connection = await self.pool.get_connection(*_GET_ARGUMENTS)
        # From redis-py 8.1 on its pool takes the end of the connection for a notification of the
        # server's maintenance, and passes it on. Older versions do without can_read().
        if self._kept or not hasattr(connection, "can_read"):
            return connection
        try:
            if await connection.can_read():
                await connection.disconnect()
                await connection.connect()
        except BaseException:
            await asyncio.shield(self.pool.release(connection))
            raise
        return connection
