"""
Connections that are kept at hand between commands.

To get a connection from redis-py's pool and to give it back takes as long as half a round trip on
loopback, so an idle connection stays here for a moment. What redis-py does for its connections,
such as signing in again with a new token, it does whenever one passes through its pool, as each of
them does after `KEEP_SECONDS`. Whether a connection is sound is looked at with each exchange.
"""

import asyncio
from collections import deque
from threading import Lock
from time import monotonic
from typing import Any, NamedTuple

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from sessions_redis.clients.connections import lost_connection
from sessions_redis.clients.reports import without_tracebacks

# Seconds after which a connection passes through redis-py's pool again.
KEEP_SECONDS = 1.0

# Connections in use at a time, where the pool knows no smaller number.
MAX_CONNECTIONS = 10_000

# A note on the error of a command that found no connection: the server has not seen it.
NOT_SENT = "The command was not sent."

# Errors of a connection that was lost while it was made, beside redis-py's own; uvloop raises
# RuntimeError.
LOST_CONNECTION_EARLY = (OSError, RuntimeError)


class NoFreeConnectionError(RedisConnectionError):
    """All connections are in use, and the server answers over them: there are too few."""


def _not_sent(error: BaseException) -> BaseException:
    """What to raise where there is no connection because of ``error``."""
    without_tracebacks(error)  # an interruption, too, may have come while redis-py signed in
    failed = lost_connection(error) if isinstance(error, LOST_CONNECTION_EARLY) else error
    failed.add_note(NOT_SENT)
    return failed


class Lease(NamedTuple):
    """A connection of redis-py's pool. ``until``: when it has to go back, as `monotonic` counts."""

    connection: Any
    until: float


class _AnyLeases:
    """
    What both worlds share.

    ``pings``: whether a connection that was idle has to show that it still reaches the server,
    because the requests here must not be sent again.
    """

    def __init__(self, pool: Any, *, pings: bool = False) -> None:
        self.pool = pool
        self.pings = pings
        self._idle: deque[Lease] = deque()  # its append and pop are atomic
        # The pool of memory:// is none that waits.
        self._timeout: float | None = getattr(pool, "timeout", None)
        self._connections: int = min(pool.max_connections, MAX_CONNECTIONS)
        self._last_answer = 0.0

    def answered(self, lease: Lease) -> None:
        """Take note that the server has just answered over the connection of ``lease``."""
        lease.connection.used = self._last_answer = monotonic()

    def _new(self, connection: Any) -> Lease:
        return Lease(connection, monotonic() + KEEP_SECONDS)

    def _no_free_connection(self) -> RedisConnectionError | RedisTimeoutError:
        error: RedisConnectionError | RedisTimeoutError = NoFreeConnectionError(
            "No connection available"
        )
        # While the server hangs, more connections would hang as well.
        if monotonic() - self._last_answer > ((self._timeout or 0) / 2 or 0.1):
            error = RedisTimeoutError(
                f"all {self._connections} connections of this process wait for its replies"
            )
        error.add_note(NOT_SENT)
        return error


class Leases(_AnyLeases):
    """
    Of a pool of this process, for its threads, which are served in the order they come.

    Not by a ``queue``: those let newcomers go first, and until Python 3.13 ``SimpleQueue`` may
    forget its time limit meanwhile.
    """

    def __init__(self, pool: Any, *, pings: bool = False) -> None:
        super().__init__(pool, pings=pings)
        self._lock = Lock()
        self._free = self._connections
        # Of each thread that waits, a lock that is released when its turn has come.
        self._turns: deque[Any] = deque()

    def take(self) -> Lease:
        """
        A connection that nobody else uses.

        Raises redis-py's ``TimeoutError`` if none comes free within the pool's ``timeout`` because
        the server does not answer, and `NoFreeConnectionError` if there are too few.
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
            return self._idle_or_new()
        except BaseException as error:  # noqa: BLE001 - raised again
            self._next()
            raise _not_sent(error) from error.__cause__

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
            turn.acquire(timeout=-1 if self._timeout is None else self._timeout)
        except BaseException:
            if not self._withdraw(turn):
                self._next()
            raise
        if self._withdraw(turn):
            raise self._no_free_connection()

    def _withdraw(self, turn: Any) -> bool:
        """Wait no longer. ``False`` if the turn has come, be it at the last moment."""
        with self._lock:
            is_waiting = turn in self._turns
            if is_waiting:
                self._turns.remove(turn)
            return is_waiting

    def _idle_or_new(self) -> Lease:
        # Not "if there is one", which another thread may take meanwhile.
        try:
            lease = self._idle.pop()
        except IndexError:
            lease = None
        if lease is not None:
            if monotonic() < lease.until:
                return lease
            self.pool.release(lease.connection)
        return self._new(self.pool.get_connection())


class AsyncLeases(_AnyLeases):
    """Of a pool of one event loop, for its tasks, which are served in the order they come."""

    def __init__(self, pool: Any, *, pings: bool = False) -> None:
        super().__init__(pool, pings=pings)
        # redis-py's own pool lets newcomers go before those who wait, until their time is over.
        self._free = asyncio.Semaphore(self._connections)

    async def take(self) -> Lease:
        try:
            async with asyncio.timeout(self._timeout if self._free.locked() else None):
                await self._free.acquire()
        except TimeoutError as error:
            raise self._no_free_connection() from error
        try:
            return await self._idle_or_new()
        except BaseException as error:  # noqa: BLE001 - raised again
            self._free.release()
            raise _not_sent(error) from error.__cause__

    def give(self, lease: Lease) -> None:
        self._idle.append(lease)
        self._free.release()

    async def _idle_or_new(self) -> Lease:
        if self._idle:
            lease = self._idle.pop()
            if monotonic() < lease.until:
                return lease
            # A cancelled request must not keep the connection for good.
            await asyncio.shield(self.pool.release(lease.connection))
        return self._new(await self.pool.get_connection())
