"""`session.lock()`: one request at a time does the work of a block."""

import asyncio
import threading
from contextlib import ExitStack, contextmanager

import pytest
from django.contrib.sessions.backends.base import UpdateError

from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import LockLost, LockTimeout, SessionGone, SessionStoreUnavailable
from tests.proxy import Proxy
from tests.ruled_engine import SessionStore as RuledStore
from tests.servers import wait_until
from tests.test_clients import Lossy
from tests.workers import Worker


def reopened(session):
    return type(session)(session.session_key)


class InLoop:
    """An event loop, in which the asynchronous lock is taken and released."""

    def __init__(self):
        self.runner = asyncio.Runner()

    @contextmanager
    def locked(self, session, **options):
        lock = session.alock(**options)
        yield_to_block = self.runner.run(lock.__aenter__())
        try:
            yield yield_to_block
        except BaseException as error:
            self.runner.run(lock.__aexit__(type(error), error, error.__traceback__))
            raise
        self.runner.run(lock.__aexit__(None, None, None))


@pytest.fixture(params=["sync", "async"])
def locked(request):
    """``with locked(session, …):`` by the plain method or by its async twin."""
    if request.param == "sync":
        yield lambda session, **options: session.lock(**options)
    else:
        loop = InLoop()
        with loop.runner:
            yield loop.locked


@pytest.fixture
def holder(raw):
    """The field of the lock: the token of its holder, and until when."""

    def read(session):
        held = raw.hget(session.inspect().redis_key, "@lock")
        return None if held is None else held.decode().split()

    return read


def begin(lock):
    """Begin a block, which is expected to fail."""
    ExitStack().enter_context(lock)


def lose(session, raw):
    """Let another request take the lock of the session, as if the timeout were over."""
    raw.hset(session.inspect().redis_key, "@lock", "another 0")


def test_the_block_sees_what_others_wrote(live, locked):
    """The session is read again once the lock is held, and saved before it is released."""
    session = reopened(live)
    assert session["color"] == "red"
    live["color"] = "blue"
    live.save()
    with locked(session) as inside:
        assert inside is session
        assert session["color"] == "blue"
        session["color"] += "green"
        assert reopened(live)["color"] == "blue"
    assert reopened(live)["color"] == "bluegreen"


def test_one_at_a_time(live, locked, holder):
    """While one request holds the lock, another one gets LockTimeout. Then it is free."""
    with locked(reopened(live)):
        token, until = holder(live)
        assert (len(token), int(until) > 10**12) == (16, True)
        words = r"than this one was to wait \(0 seconds\)"
        with pytest.raises(LockTimeout, match=words):
            begin(live.lock(wait=0))
        with pytest.raises(LockTimeout):
            begin(live.lock(wait=0.05))
    assert holder(live) == [token, "0"]
    with locked(live, wait=0):
        live["color"] = "blue"
    assert reopened(live)["color"] == "blue"


def test_waiting(live, locked):
    """A request that waits gets the lock when it is released, and the other's changes."""
    lock = reopened(live).lock()
    first = lock.__enter__()
    first["color"] = "blue"
    timer = threading.Timer(0.1, lock.__exit__, (None, None, None))
    timer.start()
    session = reopened(live)
    with locked(session, wait=60):
        assert session["color"] == "blue"
    timer.join()


def test_a_holder_that_takes_too_long(live, locked):
    """After the timeout another request gets the lock."""

    def take_too_long():
        with locked(reopened(live), timeout=0.01) as slow:
            slow["color"] = "slow"
            with locked(live, wait=60):
                live["color"] = "blue"

    with pytest.raises(LockLost):
        take_too_long()
    assert reopened(live)["color"] == "blue"


def test_late_but_alone(live, locked, holder):
    """If no other request has taken the lock after the timeout, it is not lost."""
    session = reopened(live)
    with locked(session, timeout=0.001):
        token, until = holder(live)
        wait_until(lambda: raw_time(session) > int(until), "the lock has ended")
        session["color"] = "blue"
        assert holder(live)[0] == token
    assert reopened(live)["color"] == "blue"


def raw_time(session):
    import time

    return time.time() * 1000


WRITES = {
    "save": lambda s: s.save(),
    "increment": lambda s: s.increment("count"),
    "append": lambda s: s.append("seen", 1),
    "update": lambda s: s.update_entry("color", lambda _: "lost"),
    "cycle": lambda s: s.cycle_key(),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_lost_lock(live, locked, raw, contents, write):
    """Each write in the block checks who holds the lock, and writes nothing if it was lost."""

    def write_without_lock():
        with locked(live):
            lose(live, raw)
            live["size"] = 1
            before.update(contents())
            with pytest.raises(LockLost):
                WRITES[write](live)
            assert contents() == before

    before = {}
    with pytest.raises(LockLost, match="does not hold the lock"):
        write_without_lock()
    assert contents() == before
    live.save()
    assert reopened(live)["size"] == 1


def test_writes_in_the_block(live, locked):
    """While the lock is held, everything is written as always."""
    with locked(live):
        for write in WRITES.values():
            write(live)
    stored = reopened(live)
    assert (stored["count"], stored["seen"], stored["color"]) == (1, [1], "lost")


def test_a_lost_lock_that_has_nothing_to_save(live, locked, raw):
    """It raises at the end of the block as well."""
    with pytest.raises(LockLost), locked(live):
        lose(live, raw)


def test_unsaved_changes_stay(live, locked):
    """What the request changed before the block is saved with it, and the rest is read again."""
    session = reopened(live)
    live.update({"b": 2, "c": 3, "d": 4})
    live.save()
    session["color"] = "blue"
    session[7] = "seven"
    session.save()
    del session["color"]
    session.update({"a": 1, 8: "eight"})
    whole = {"a": 1, "b": 2, "c": 3, "d": 4, "7": "seven", "8": "eight"}
    with locked(session):
        assert dict(session.items()) == whole
    assert dict(reopened(live).items()) == whole


def test_a_cleared_session_stays_cleared(live, locked):
    """After clear(), nothing is read again, and the save replaces everything."""
    session = reopened(live)
    session.clear()
    session["size"] = 1
    live["other"] = 1
    live.save()
    with locked(session):
        assert dict(session.items()) == {"size": 1}
    assert dict(reopened(live).items()) == {"size": 1}


def test_an_unserialisable_change(live, locked, holder):
    """It raises before the lock is taken, or before anything is written, and frees the lock."""
    live["bad"] = object()
    with pytest.raises(TypeError):
        begin(locked(live))
    assert holder(live) is None
    del live["bad"]
    with pytest.raises(TypeError), locked(live):
        live["bad"] = object()
    assert holder(live)[1] == "0"


def test_a_block_that_raises(live, locked, holder):
    """The lock is released, and nothing is saved. The changes can be saved later."""
    session = reopened(live)

    def fail():
        with locked(session):
            session["color"] = "blue"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert holder(live)[1] == "0"
    assert reopened(live)["color"] == "red"
    session.save()
    assert reopened(live)["color"] == "blue"


def test_it_cannot_be_nested(live, locked, holder):
    """A second block within the first raises RuntimeError, and the first keeps the lock."""
    lock = live.lock()
    with locked(live):
        for another in (locked(live), locked(live), lock):
            with pytest.raises(RuntimeError, match="cannot be nested"):
                begin(another)
        assert holder(live)[1] != "0"
    with lock:
        with pytest.raises(RuntimeError, match="cannot be nested"):
            begin(lock)
        assert holder(live)[1] != "0"
    with lock:
        live["color"] = "blue"
    assert reopened(live)["color"] == "blue"


def test_without_a_session(locked, contents):
    """No other request can have a session without a key, so nothing is locked or saved."""
    session = SessionStore()
    with locked(session):
        session["color"] = "blue"
    assert contents() == {}
    assert session.session_key is None
    with locked(session):
        session.create()
    assert reopened(session)["color"] == "blue"


def test_an_unknown_session(live, locked):
    """If it was not loaded before, it is empty, as after loading. Otherwise it is gone."""
    loaded, fresh = reopened(live), reopened(live)
    loaded.get("color")
    live.delete()
    with locked(fresh):
        assert fresh.is_empty()
    assert fresh.session_key is None
    with pytest.raises(SessionGone):
        begin(locked(loaded))


def test_a_session_that_is_ended_in_the_block(live, locked, contents):
    """By the block itself, that is no mistake. By another request, UpdateError is raised."""
    session = reopened(live)
    with locked(session):
        session.flush()
    assert contents() == {}
    with locked(session):
        session["color"] = "new"
    session.save()
    with pytest.raises(UpdateError), locked(session):
        reopened(session).delete()
    assert contents() == {}


def test_another_session_begins_in_the_block(live, locked, raw):
    """The new session is not locked: nobody else can have it."""
    with locked(live):
        live.flush()
        live["color"] = "new"
        live.create()
        live["size"] = 1
        live.save()
    stored = reopened(live)
    assert dict(stored.items()) == {"color": "new", "size": 1}
    with locked(live):
        live.create()
        live["size"] = 2
    live.save()
    assert raw.hget(live.inspect().redis_key, "@lock") is None


def test_the_lock_moves_along(live, locked, holder):
    """A session that gets a new key in the block stays locked, and is released at the end."""
    other = reopened(live)
    with locked(live):
        token, _ = holder(live)
        live["_auth_user_id"] = "1"
        live.cycle_key()
        assert holder(live)[0] == token
        with pytest.raises(LockTimeout):
            begin(reopened(live).lock(wait=0))
        live["size"] = 1
    assert holder(live) == [token, "0"]
    assert reopened(live)["size"] == 1
    assert other.get("color") is None


def test_a_second_session_beside_it(live, locked):
    """If another request cycles the session, one that signs in begins its own, without a lock."""
    live["_auth_user_id"] = "1"
    live.save()
    session = reopened(live)
    with locked(session):
        reopened(live).cycle_key()
        session.cycle_key()
        session["size"] = 1
    session.save()
    assert reopened(session)["size"] == 1


def test_rules_of_a_subclass(locked, holder):
    """load() and save() of the site's own are called, as always."""
    session = RuledStore()
    session["tenant"] = "ours"
    session.create()
    with locked(reopened(session)) as inside:
        inside["size"] = 1
        inside.cycle_key()
    assert holder(inside)[1] == "0"
    assert inside["size"] == 1
    inside["tenant"] = "another"
    inside.save()
    with locked(reopened(inside)) as refused:
        assert refused.session_key is None
        assert refused.is_empty()


class Careless(SessionStore):
    """A store with a save() that does not always save, and a load() of its own."""

    def save(self, must_create=False):
        if must_create:
            super().save(must_create)

    def load(self):
        return dict(super().load())


def test_a_save_that_does_not_save(locked, raw, holder):
    """The lock is released all the same, and a lost one is noticed."""
    session = Careless()
    session["color"] = "red"
    session.create()
    with locked(session):
        session["color"] = "blue"
    assert holder(session)[1] == "0"
    assert session["color"] == "blue"
    with pytest.raises(LockLost), locked(session):
        lose(session, raw)
    assert reopened(session)["color"] == "red"


@pytest.mark.parametrize("options", [
    {"timeout": 0}, {"timeout": -1}, {"timeout": float("inf")}, {"timeout": float("nan")},
    {"wait": -1}, {"wait": float("inf")}, {"wait": float("nan")},
], ids=str)  # fmt: skip
def test_impossible_times(live, options):
    """They raise ValueError, and the block does not begin."""
    (name,) = options
    for method in (live.lock, live.alock):
        with pytest.raises(ValueError, match=f"The {name} of a lock"):
            method(**options)


def test_a_damaged_lock(live, locked, raw):
    """A field that no lock wrote keeps nobody out."""
    raw.hset(live.inspect().redis_key, "@lock", b"\xff")
    with locked(live, wait=0):
        live["color"] = "blue"
    assert reopened(live)["color"] == "blue"


def test_lost_replies(live, locked, redis_at, server):
    """Taking and releasing the lock can be sent again."""
    lossy = Lossy(server.port, hangs=False)
    redis_at(lossy.url)
    try:
        session = reopened(live)
        lossy.word, lossy.came, lossy.loses = b"EVALSHA", 0, 1
        with locked(session):
            session["color"] = "blue"
            lossy.came, lossy.loses = 0, 1
        assert lossy.came == 2
        assert reopened(live)["color"] == "blue"
    finally:
        lossy.stop()


def test_redis_goes_away(live, locked, redis_at, server):
    """The failure is raised; if the block itself raises, what it raised."""
    with Proxy(server.port) as proxy:
        redis_at(proxy.url)
        first, second = reopened(live), reopened(live)

        def fail():
            with locked(second, wait=60, timeout=60):
                proxy.losing = ("EVALSHA",)
                raise ZeroDivisionError

        with pytest.raises(SessionStoreUnavailable), locked(first):
            proxy.losing = ("EVALSHA",)
        proxy.losing = ()
        with pytest.raises(ZeroDivisionError):
            fail()
        with pytest.raises(SessionStoreUnavailable):
            begin(locked(reopened(live)))


def test_round_trips(live, redis_at, server):
    """One to take the lock and read the session, one to save it and release the lock."""
    with Proxy(server.port) as proxy:
        redis_at(proxy.url)
        with live.lock():
            live.save()
        session = reopened(live)
        lock = session.lock()
        assert proxy.counted(lock.__enter__) == 1
        session["color"] = "blue"
        assert proxy.counted(lock.__exit__, None, None, None) == 1


def test_a_cancelled_task_frees_the_lock(live, holder):
    """Also if it is canceled while it waits."""

    async def cancel():
        begun = asyncio.Event()

        async def hold(session):
            async with session.alock(wait=60):
                begun.set()
                await asyncio.sleep(60)

        first = asyncio.create_task(hold(reopened(live)))
        await begun.wait()
        second = asyncio.create_task(hold(reopened(live)))
        await asyncio.sleep(0.05)
        for task in (second, first):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(cancel())
    assert holder(live)[1] == "0"


def test_no_task_blocks_the_loop(live):
    """Tasks that wait for the lock let the one that holds it go on."""

    async def add(session):
        async with session.alock(wait=60):
            total = await session.aget("total", 0)
            await asyncio.sleep(0.001)
            await session.aset("total", total + 1)

    async def all_of_them():
        await asyncio.gather(*(add(reopened(live)) for _ in range(10)))

    asyncio.run(all_of_them())
    assert reopened(live)["total"] == 10


def test_a_killed_holder(session_redis, live, holder):
    """The lock of a process that was killed ends after its timeout."""
    worker = Worker(session_redis, "hold_lock", session_key=live.session_key, timeout=1.0)
    try:
        worker.wait_ready()
        worker.begin()
        wait_until(lambda: holder(live) is not None, "the process holds the lock")
    finally:
        worker.end()
    with live.lock(wait=60):
        live["color"] = "blue"
    assert reopened(live)["color"] == "blue"
