"""
Connections kept between commands: only one user at a time has one, none is lost, none is kept for
long.
"""

import asyncio
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager

import pytest
import redis
import redis.asyncio

from sessions_redis.clients import leases
from sessions_redis.clients.connections import checked_class
from sessions_redis.clients.exchange import aexchange, packed
from sessions_redis.clients.leases import AsyncLeases, Leases
from sessions_redis.engine import SessionStore
from sessions_redis.storage import replies
from tests.servers import Server, wait_until

WAIT = 20


@pytest.fixture
def pooled(server):
    """Creates ``Leases`` for a pool with so many connections."""
    pools = []

    def make(connections):
        pool = redis.BlockingConnectionPool.from_url(
            server.url, max_connections=connections, timeout=WAIT
        )
        pools.append(pool)
        return Leases(pool)

    yield make
    for pool in pools:
        pool.disconnect()


@asynccontextmanager
async def apooled(server, connections):
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        server.url, max_connections=connections, timeout=WAIT
    )
    pool.connection_class = checked_class(pool.connection_class)
    yield AsyncLeases(pool)
    await pool.disconnect()


def client_id(connection):
    connection.send_command("CLIENT", "ID")
    return connection.read_response()


async def ping(kept):
    return await aexchange(kept, packed([("PING",)]), [replies.raw])


class Interrupted(BaseException):
    """Raised by the time limit of a worker."""


@contextmanager
def interrupted_after(seconds):
    def interrupt(number, frame):
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_an_idle_connection_stays_at_hand(pooled, monkeypatch):
    """A connection that is given back is the next to be taken, without redis-py's pool."""
    kept = pooled(2)
    lease = kept.take()
    kept.give(lease)
    monkeypatch.setattr(kept.pool, "get_connection", lambda: pytest.fail("asked the pool"))
    assert kept.take() is lease


def test_a_connection_is_not_trusted_for_long(pooled, raw, monkeypatch):
    """
    After its time, redis-py checks a connection again, and finds that the server has closed it.
    """
    kept = pooled(1)
    lease = kept.take()
    first = client_id(lease.connection)
    kept.give(lease)
    raw.client_kill_filter(_id=first)
    later = time.monotonic() + leases.KEEP_SECONDS
    monkeypatch.setattr(leases, "monotonic", lambda: later)
    assert client_id(kept.take().connection) != first


def test_a_connection_that_cannot_be_opened_again(tmp_path, monkeypatch):
    """If a thread does not get a connection, another can take its place when the server is back."""
    own = Server(tmp_path)

    async def ask():
        async with apooled(own, 1) as kept:
            assert await ping(kept) == [b"PONG"]
            own.stop()
            for _ in range(3):
                with pytest.raises(redis.ConnectionError):
                    await ping(kept)
            own.start()
            return await ping(kept)

    monkeypatch.setattr(leases, "KEEP_SECONDS", 0)
    try:
        assert asyncio.run(ask()) == [b"PONG"]
    finally:
        own.stop()


def test_threads_share_few_connections(pooled):
    """Each waiting thread gets a connection, and two threads never have the same one."""
    kept, in_use, lock = pooled(2), set(), threading.Lock()

    def work():
        for _ in range(300):
            lease = kept.take()
            with lock:
                assert id(lease.connection) not in in_use
                in_use.add(id(lease.connection))
            client_id(lease.connection)
            with lock:
                in_use.discard(id(lease.connection))
            kept.give(lease)

    # One who overlooks what was given back waits until the pool's patience ends, and fails.
    with ThreadPoolExecutor(8) as threads:
        for future in [threads.submit(work) for _ in range(8)]:
            future.result()


def test_a_waiting_thread_gets_a_connection_that_is_given_back(pooled):
    """A connection that is given back goes to the thread that waits for it."""
    kept = pooled(1)
    lease = kept.take()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(kept.take)
        time.sleep(0.05)
        assert not waiting.done()
        kept.give(lease)
        assert waiting.result(WAIT).connection is lease.connection


def test_threads_are_served_in_the_order_they_come(pooled):
    """Threads that wait get connections in the order in which they came."""
    kept, served = pooled(1), []

    def work(number):
        lease = kept.take()
        served.append(number)
        client_id(lease.connection)
        kept.give(lease)

    held = kept.take()
    with ThreadPoolExecutor(20) as threads:
        for number in range(20):
            threads.submit(work, number)
            wait_until(lambda: len(kept._turns) == len(threads._threads), "all wait")
        kept.give(held)
        threads.submit(work, "late")
    assert served == [*range(20), "late"]


@pytest.mark.parametrize(
    ("answers", "error"), [(True, leases.NoFreeConnectionError), (False, redis.TimeoutError)]
)
def test_the_wait_is_bounded(pooled, answers, error):
    """
    A request that waits longer than the pool's ``timeout`` for a connection is refused.

    The error says whether the server answered other requests meanwhile.
    """
    kept = pooled(1)
    kept._timeout = 0.1
    held = kept.take()
    waits = []

    def ask():
        began = time.monotonic()
        with pytest.raises(error):
            kept.take()
        waits.append(time.monotonic() - began)

    kept.circuit.last_answer = time.monotonic() + WAIT if answers else time.monotonic() - 0.1
    with ThreadPoolExecutor(4) as threads:
        for future in [threads.submit(ask) for _ in range(4)]:
            future.result(WAIT)
    assert min(waits) >= 0.1
    kept.give(held)
    assert kept.take() is held


def test_a_thread_that_takes_again_at_once(pooled):
    """
    It gets a connection after all threads that were waiting when it gave its own back.

    So with more threads than connections, and no pause between, each thread has its turn.
    """
    kept, served = pooled(1), []

    def work(number):
        lease = kept.take()
        served.append(number)
        kept.give(lease)

    held = kept.take()
    with ThreadPoolExecutor(5) as threads:
        for _ in range(40):
            for number in range(5):
                threads.submit(work, number)
                wait_until(lambda waiting=number + 1: len(kept._turns) == waiting, "all wait")
            kept.give(held)
            held = kept.take()
            assert served == [*range(5)]
            served.clear()
    kept.give(held)


def test_an_interrupted_wait_gives_its_turn_on(pooled):
    """A thread whose wait is interrupted no longer gets a connection."""
    kept = pooled(1)
    held = kept.take()
    with pytest.raises(Interrupted), interrupted_after(0.1):
        kept.take()
    kept.give(held)
    assert kept.take() is held


def test_a_wait_that_is_interrupted_as_its_turn_comes(pooled):
    """If a wait is interrupted just when it is the thread's turn, the next thread gets the turn."""
    kept = pooled(1)
    held = kept.take()

    def give_and_interrupt(number, frame):
        kept.give(held)
        raise Interrupted

    def take():
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        kept.take()

    before = signal.signal(signal.SIGALRM, give_and_interrupt)
    try:
        with pytest.raises(Interrupted):
            take()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert kept.take() is held


def test_tasks_share_few_connections(server):
    """Tasks share few connections, as threads do."""
    in_use = set()

    async def work(kept):
        for _ in range(20):
            lease = await kept.take()
            assert id(lease.connection) not in in_use
            in_use.add(id(lease.connection))
            await lease.connection.send_command("CLIENT", "ID")
            await lease.connection.read_response()
            in_use.discard(id(lease.connection))
            kept.give(lease)

    async def work_together():
        async with apooled(server, 2) as kept:
            await asyncio.wait_for(asyncio.gather(*(work(kept) for _ in range(50))), WAIT)

    asyncio.run(work_together())


def test_tasks_are_served_in_the_order_they_come(server):
    """
    Tasks get connections in the order in which they came. None reaches its time limit because of
    later tasks.
    """
    served = []

    async def work(kept, number):
        lease = await kept.take()
        served.append(number)
        await lease.connection.send_command("CLIENT", "ID")
        await lease.connection.read_response()
        kept.give(lease)

    async def work_together():
        async with apooled(server, 2) as kept:
            await asyncio.gather(*(work(kept, number) for number in range(200)))

    asyncio.run(work_together())
    # The two tasks that run at a time may swap places, because one connects faster than the other.
    assert all(abs(place - number) < 2 for place, number in enumerate(served))


def test_cancelled_tasks_keep_no_connection(server, monkeypatch):
    """After a task was cancelled at any point, all connections can be taken."""

    async def use(kept):
        lease = await kept.take()
        try:
            await asyncio.sleep(0)
        finally:
            kept.give(lease)

    async def cancel_many():
        async with apooled(server, 2) as kept:
            for step in range(200):
                tasks = [asyncio.create_task(use(kept)) for _ in range(4)]
                for _ in range(step % 12):
                    await asyncio.sleep(0)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            taken = [await asyncio.wait_for(kept.take(), WAIT) for _ in range(2)]
            assert len({id(lease.connection) for lease in taken}) == 2

    monkeypatch.setattr(leases, "KEEP_SECONDS", 0)
    asyncio.run(cancel_many())


def test_an_unread_reply_does_not_reach_another_request(live, raw):
    """A request that is interrupted while it waits does not leave its reply to the next request."""
    other = SessionStore()
    other["color"] = "blue"
    other.save()
    raw.execute_command("CLIENT", "PAUSE", 1000, "ALL")
    with pytest.raises(Interrupted), interrupted_after(0.1):
        SessionStore(live.session_key).load()
    raw.ping()  # is answered when the pause is over, after the request that was interrupted
    assert SessionStore(other.session_key)["color"] == "blue"
    assert SessionStore(live.session_key)["color"] == "red"
