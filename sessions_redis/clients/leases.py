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

# Seconds after which a connection passes through redis-py's pool again.
KEPT = 1.0

# redis-py before 5.3 wants the name of a command there, and does nothing with it.
_GET_ARGUMENTS = (
    ("EVALSHA",)
    if signature(ConnectionPool.get_connection).parameters["command_name"].default
    is Parameter.empty
    else ()
)


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
        self._waiting = 0

    def _new(self, connection: Any) -> Lease:
        return Lease(connection, monotonic() + self._kept)


class Leases(_Kept):
    """Of a pool of this process, for its threads."""

    def __init__(self, pool: Any, kept: float = KEPT) -> None:
        super().__init__(pool, kept)
        self._lock = Lock()

    def take(self) -> Lease:
        """A connection nobody else uses. Waits, and raises in the end, as redis-py's pool does."""
        try:
            lease = self._idle.pop()
        except IndexError:
            return self._wait()
        return lease if monotonic() < lease.until else self._renewed(lease)

    def give(self, lease: Lease) -> None:
        self._idle.append(lease)
        if self._waiting:
            self._hand_over()

    def _renewed(self, lease: Lease) -> Lease:
        self.pool.release(lease.connection)
        return self._wait()

    def _wait(self) -> Lease:
        with self._lock:
            self._waiting += 1
        try:
            # Whoever gave one back before this thread was seen to wait left it here.
            self._hand_over()
            return self._new(self.pool.get_connection(*_GET_ARGUMENTS))
        finally:
            with self._lock:
                self._waiting -= 1

    def _hand_over(self) -> None:
        try:
            lease = self._idle.pop()
        except IndexError:
            return
        self.pool.release(lease.connection)


class AsyncLeases(_Kept):
    """Of a pool of one event loop, for its tasks."""

    async def take(self) -> Lease:
        try:
            lease = self._idle.pop()
        except IndexError:
            return await self._wait()
        return lease if monotonic() < lease.until else await self._renewed(lease)

    async def give(self, lease: Lease) -> None:
        self._idle.append(lease)
        if self._waiting:
            await self._hand_over()

    async def _renewed(self, lease: Lease) -> Lease:
        await self._release(lease)
        return await self._wait()

    async def _wait(self) -> Lease:
        self._waiting += 1
        try:
            await self._hand_over()
            return self._new(await self.pool.get_connection(*_GET_ARGUMENTS))
        finally:
            self._waiting -= 1

    async def _hand_over(self) -> None:
        if self._idle:
            await self._release(self._idle.pop())

    async def _release(self, lease: Lease) -> None:
        # A cancelled request must not keep a connection for good.
        await asyncio.shield(self.pool.release(lease.connection))
