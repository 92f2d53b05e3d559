"""
A proxy before Redis that counts what passes, and delays it.

It runs in a process of its own, so that it takes no time of Python's from whom it measures.
"""

import asyncio
import ctypes
import multiprocessing
import selectors
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from benchmarks.engines import CannotMeasureError

# Seconds in which the process must listen.
DEADLINE = 30.0

# From linux/prctl.h.
PR_SET_TIMERSLACK = 29


@dataclass(frozen=True)
class Passed:
    """Round trips, and bytes to the server and from it."""

    round_trips: int
    sent: int
    received: int

    def __sub__(self, other: "Passed") -> "Passed":
        return Passed(
            self.round_trips - other.round_trips,
            self.sent - other.sent,
            self.received - other.received,
        )


class Proxy:
    """
    ``url``: what clients use in place of the server's.

    A round trip begins when a client speaks after the server did. That is exact for one command at
    a time, however long, and for a pipeline that redis-py sends in one piece (up to 6 kB).
    """

    def __init__(self, url: str, shared: Any) -> None:
        self.url = url
        self._shared = shared

    @property
    def passed(self) -> Passed:
        """All that has passed until now."""
        return Passed(*(int(number) for number in self._shared[1:4]))

    def delay(self, round_trip: float) -> None:
        """From now on let each round trip take so many seconds more, half of them each way."""
        self._shared[0] = round_trip / 2


@contextmanager
def before(redis_url: str) -> Iterator[Proxy]:
    """A proxy before the server of ``redis_url``, which must be ``redis://`` or ``unix://``."""
    context = multiprocessing.get_context("spawn")
    # Seconds of delay each way, round trips, bytes to the server, bytes from it, the port.
    shared = context.Array("d", 5)
    _moved(redis_url, 0)  # raises for what it cannot do, before anything is started
    process = context.Process(target=_serve, args=(redis_url, shared), daemon=True)
    process.start()
    try:
        end = time.monotonic() + DEADLINE
        while not shared[4]:
            if not process.is_alive() or time.monotonic() > end:
                raise RuntimeError("The proxy did not start.")
            time.sleep(0.01)
        yield Proxy(_moved(redis_url, int(shared[4])), shared)
    finally:
        process.terminate()
        process.join()


def _moved(redis_url: str, port: int) -> str:
    url = urlsplit(redis_url)
    login, at, _ = url.netloc.rpartition("@")
    here = f"{login}{at}127.0.0.1:{port}"
    if url.scheme == "unix":
        # The database is in the query, as redis-py has it.
        return urlunsplit(url._replace(scheme="redis", netloc=here, path=""))
    if url.scheme != "redis":
        raise CannotMeasureError(
            f"the proxy cannot listen to {url.scheme}://; use redis:// or unix://."
        )
    return urlunsplit(url._replace(netloc=here))


def _serve(redis_url: str, shared: Any) -> None:
    _wake_in_time()
    # Not epoll, which waits in whole milliseconds.
    with asyncio.Runner(
        loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())
    ) as runner:
        runner.run(_listen(redis_url, shared))


def _wake_in_time() -> None:
    """Linux lets timers be late by 50 µs, unless it is told not to."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)


async def _listen(redis_url: str, shared: Any) -> None:
    # Unlocked: this process alone counts.
    counts = shared.get_obj()
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: _Client(redis_url, counts), "127.0.0.1", 0)
    shared[4] = listener.sockets[0].getsockname()[1]
    await listener.serve_forever()


class _Side(asyncio.Protocol):
    """
    One side of a connection. What it hears is said on the other, in this order, when it is due.

    A loop's timers that are due together may fire in any order, so they say no more than "next".
    """

    other: "_Side"

    def __init__(self, counts: Any) -> None:
        self.counts = counts
        self.transport: asyncio.Transport | None = None
        self.waiting: deque[bytes] = deque()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, heard: bytes) -> None:
        self.count(len(heard))
        self.other.waiting.append(heard)
        delay = self.counts[0]
        if delay:
            asyncio.get_running_loop().call_later(delay, self.other.say_next)
        else:
            self.other.say_next()

    def say_next(self) -> None:
        # Before the server is connected to, it waits.
        if self.transport is not None and self.waiting:
            self.transport.write(self.waiting.popleft())

    def connection_lost(self, _: Exception | None) -> None:
        if self.other.transport is not None:
            self.other.transport.close()

    def count(self, size: int) -> None:
        raise NotImplementedError


class _Client(_Side):
    def __init__(self, redis_url: str, counts: Any) -> None:
        super().__init__(counts)
        self.redis_url = redis_url
        self.speaks = False
        self.other = _Server(self)

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # Kept: a loop forgets tasks that nobody holds.
        self.connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        url, loop = urlsplit(self.redis_url), asyncio.get_running_loop()
        if url.scheme == "unix":
            await loop.create_unix_connection(lambda: self.other, unquote(url.path))
        else:
            await loop.create_connection(lambda: self.other, url.hostname, url.port or 6379)
        while self.other.waiting:
            self.other.say_next()

    def count(self, size: int) -> None:
        if not self.speaks:
            self.speaks = True
            self.counts[1] += 1
        self.counts[2] += size


class _Server(_Side):
    def __init__(self, client: _Client) -> None:
        super().__init__(client.counts)
        self.client = self.other = client

    def count(self, size: int) -> None:
        self.client.speaks = False
        self.counts[3] += size
