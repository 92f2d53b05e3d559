"""
Lends connections to commands, and keeps idle ones for a second.

Taking a connection from redis-py's pool and giving it back takes half the time of a round trip on
loopback. So an idle connection stays here for `KEEP_SECONDS`, then goes back through the pool.
redis-py maintains its connections there, and the engine connects again if the site's credential
provider has announced a new token. Each exchange checks that its connection is still usable.
"""

import asyncio
from collections import deque
from threading import Lock
from time import monotonic
from typing import Any, NamedTuple

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from sessions_redis.clients.circuit import Circuit, NoAnswerError
from sessions_redis.clients.losses import lost_connection
from sessions_redis.clients.reports import without_tracebacks

# How long a connection stays out of redis-py's pool.
KEEP_SECONDS = 1.0

# The most connections in use at a time, if the pool has no lower limit.
MAX_CONNECTIONS = 10_000

# A note on an error that says that the server has not received the command.
NOT_SENT = "The command was not sent."

# Errors that mean that a connection was lost while connecting, in addition to those of redis-py.
# RuntimeError comes from uvloop.
LOST_CONNECTION_EARLY = (OSError, RuntimeError)


class NoFreeConnectionError(RedisConnectionError):
    """All connections are in use though the server answers: there are too few of them."""


def _not_sent(error: BaseException) -> BaseException:
    """The error to raise if ``error`` prevented a connection."""
    without_tracebacks(error)  # an interruption can happen while redis-py signs in
    failed = lost_connection(error) if isinstance(error, LOST_CONNECTION_EARLY) else error
    failed.add_note(NOT_SENT)
    return failed


class Lease(NamedTuple):
    """A connection of redis-py's pool. ``until``: when it goes back, in seconds of `monotonic`."""

    connection: Any
    until: float


class _AnyLeases:
    """
    The common part of synchronous and asynchronous leases.

    ``pings``: send a PING first on a connection that was idle. This is for requests that must not
    be sent twice: they cannot find out by a failure that the connection is lost. ``circuit``: while
    it is open, nobody gets a connection or waits for one.
    """

    def __init__(self, pool: Any, *, pings: bool = False, circuit: Circuit | None = None) -> None:
        self.pool = pool
        self.pings = pings
        self.circuit = circuit or Circuit()
        self._idle: deque[Lease] = deque()  # its append and pop are atomic
        # Commands wait so many seconds for a connection. The pool of memory:// never waits.
        self._timeout: float | None = getattr(pool, "timeout", None)
        self._connections: int = min(pool.max_connections, MAX_CONNECTIONS)

    def answered(self, lease: Lease) -> None:
        """Record that the server has just answered over the connection of ``lease``."""
        lease.connection.used = self.circuit.last_answer = monotonic()

    def _require_answers(self) -> None:
        try:
            self.circuit.require_answers()
        except NoAnswerError as error:
            error.add_note(NOT_SENT)
            raise

    def _new(self, connection: Any) -> Lease:
        return Lease(connection, monotonic() + KEEP_SECONDS)

    def _no_free_connection(self) -> RedisConnectionError | RedisTimeoutError:
        error: RedisConnectionError | RedisTimeoutError = NoFreeConnectionError(
            "No connection available"
        )
        # If the server does not answer, more connections would not help.
        if monotonic() - self.circuit.last_answer > ((self._timeout or 0) / 2 or 0.1):
            error = RedisTimeoutError(
                f"all {self._connections} connections of this process wait for its replies"
            )
        error.add_note(NOT_SENT)
        return error


class Leases(_AnyLeases):
    """
    Lends the connections of one pool to the threads of this process: first come, first served.

    Python's queues do not keep that order. Before Python 3.13, ``SimpleQueue.get()`` can also
    exceed its time limit.
    """

    def __init__(self, pool: Any, *, pings: bool = False, circuit: Circuit | None = None) -> None:
        super().__init__(pool, pings=pings, circuit=circuit)
        self._lock = Lock()
        self._free = self._connections
        # One lock for each waiting thread. It is released when it is that thread's turn.
        self._turns: deque[Any] = deque()

    def take(self) -> Lease:
        """
        A connection for this thread alone. If all are in use, wait for one.

        If no connection becomes free within the pool's ``timeout``, this raises redis-py's
        ``TimeoutError`` if the server does not answer, else `NoFreeConnectionError`.
        """
        if self.circuit.opened is not None:
            self._require_answers()
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

    def close_idle(self) -> None:
        """Close the connections that no thread uses."""
        while True:
            try:
                lease = self._idle.pop()
            except IndexError:
                break
            lease.connection.disconnect()
            self.pool.release(lease.connection)

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
        """Stop waiting. ``False`` if it is this thread's turn by now."""
        with self._lock:
            is_waiting = turn in self._turns
            if is_waiting:
                self._turns.remove(turn)
            return is_waiting

    def _idle_or_new(self) -> Lease:
        if self.circuit.opened is not None:  # since this thread began to wait
            self.circuit.require_answers()
        # Checking first is not enough: another thread may take the last connection in between.
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
    """
    Lends the connections of one pool to the tasks of one event loop: first come, first served.
    """

    def __init__(self, pool: Any, *, pings: bool = False, circuit: Circuit | None = None) -> None:
        super().__init__(pool, pings=pings, circuit=circuit)
        # redis-py's pool does not keep that order, so a waiting task could reach its time limit.
        self._free = asyncio.Semaphore(self._connections)

    async def take(self) -> Lease:
        if self.circuit.opened is not None:
            self._require_answers()
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
        if self.circuit.opened is not None:
            self.circuit.require_answers()
        if self._idle:
            lease = self._idle.pop()
            if monotonic() < lease.until:
                return lease
            # If the request is cancelled here, the connection must still go back.
            await asyncio.shield(self.pool.release(lease.connection))
        return self._new(await self.pool.get_connection())
