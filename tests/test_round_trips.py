"""Promises 4 and 13: how many round trips the engine takes, and which commands it never sends."""

import asyncio

import pytest
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpResponse
from django.test import RequestFactory

from sessions_redis.engine import SessionStore
from tests.proxy import Proxy
from tests.servers import Server


@pytest.fixture
def proxy(settings, session_redis, server):
    """A counting proxy, with a connection through it on which every script is known."""
    with Proxy(server.port) as proxy:
        settings.SESSION_REDIS = {**session_redis, "LOCATION": proxy.url}
        exercise(SessionStore())
        yield proxy


def exercise(session):
    """Use every operation of a session once."""
    session["color"] = "red"
    session.create()
    session["_auth_user_id"] = "1"
    session.save()
    SessionStore(session.session_key).load()
    session.exists(session.session_key)
    session.increment("counter")
    session.inspect()
    session.cycle_key()
    session.delete()


def saved(**entries):
    session = SessionStore()
    session.update(entries)
    session.save()
    return session


def loaded(session):
    other = SessionStore(session.session_key)
    other.load()
    other.get("color")
    return other


def changed(session):
    session["color"] = "blue"
    return session


def cleared(session):
    session.clear()
    return session


# The operations, their preparation, and the round trips that they take.
OPERATIONS = {
    "construct a store": (lambda s: SessionStore(s.session_key), loaded, 0),
    "no cookie, session not touched": (lambda _: SessionStore(None).is_empty(), loaded, 0),
    "load": (lambda s: SessionStore(s.session_key).get("color"), loaded, 1),
    "load an unknown key": (lambda _: SessionStore("x" * 32).get("color"), loaded, 1),
    "save one entry": (lambda s: s.save(), lambda s: changed(loaded(s)), 1),
    "touch": (lambda s: s.save(), loaded, 1),
    "clear and save": (lambda s: s.save(), lambda s: cleared(loaded(s)), 1),
    "create": (lambda _: SessionStore().create(), loaded, 1),
    "save a new session": (lambda _: changed(SessionStore()).save(), loaded, 1),
    "exists": (lambda s: s.exists(s.session_key), loaded, 1),
    "cycle": (lambda s: s.cycle_key(), loaded, 1),
    "login (cycle, then save)": (lambda s: (s.cycle_key(), changed(s).save()), loaded, 2),
    "increment": (lambda s: s.increment("counter"), lambda s: s, 1),
    "delete": (lambda s: SessionStore(s.session_key).delete(), loaded, 1),
    "flush": (lambda s: s.flush(), loaded, 1),
    "inspect": (lambda s: s.inspect(), loaded, 1),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_round_trips(proxy, operation):
    """Each operation takes as many round trips as the documentation promises."""
    operate, prepare, promised = OPERATIONS[operation]
    session = prepare(saved(color="red", _auth_user_id="1"))
    assert proxy.counted(operate, session) == promised


@pytest.mark.parametrize(
    ("method", "promised"),
    [("aload", 1), ("asave", 1), ("acreate", 1), ("acycle_key", 1), ("adelete", 1), ("aflush", 1)],
)
def test_async_round_trips(proxy, method, promised):
    """The asynchronous methods take as many round trips as the synchronous ones."""
    session = saved(color="red")

    async def count():
        other = SessionStore(session.session_key)
        await other.aget("color")
        before = proxy.round_trips
        await getattr(other, method)()
        return proxy.round_trips - before

    assert asyncio.run(count()) == promised


class Overriding(SessionStore):
    """Overrides every method that others call, as a site may do, and calls the original."""

    def load(self):
        return super().load()

    def create(self):
        super().create()

    def save(self, must_create=False):
        super().save(must_create)

    def delete(self, session_key=None):
        super().delete(session_key)

    async def aload(self):
        return await super().aload()

    async def acreate(self):
        await super().acreate()

    async def asave(self, must_create=False):
        await super().asave(must_create)

    async def adelete(self, session_key=None):
        await super().adelete(session_key)


@pytest.mark.parametrize(
    "operation", ["get", "save", "create", "cycle_key", "flush", "save a new session"]
)
def test_round_trips_of_a_subclass(proxy, operation):
    """Overridden methods are called without additional round trips."""
    stored = saved(color="red", _auth_user_id="1")
    session = Overriding(None if operation == "save a new session" else stored.session_key)
    if operation == "get":
        assert proxy.counted(session.get, "color") == 1
        return
    session["size"] = 1
    operate = session.save if operation == "save a new session" else getattr(session, operation)
    assert proxy.counted(operate) == 1


@pytest.mark.parametrize("method", ["asave", "acreate", "acycle_key", "aflush"])
def test_async_round_trips_of_a_subclass(proxy, method):
    """The asynchronous methods of a subclass take as many round trips."""
    stored = saved(color="red", _auth_user_id="1")

    async def count():
        await SessionStore(stored.session_key).aget("color")
        session = Overriding(stored.session_key)
        before = proxy.round_trips
        await session.aset("size", 1)
        loading = proxy.round_trips - before
        await getattr(session, method)()
        return loading, proxy.round_trips - before - loading

    assert asyncio.run(count()) == (1, 1)


def respond(view):
    return SessionMiddleware(lambda request: view(request) or HttpResponse())


@pytest.mark.parametrize("cookie", [None, "anything"])
def test_a_request_that_does_not_touch_the_session_asks_nothing(proxy, settings, cookie):
    """A request that does not touch its session takes no round trip, with or without a cookie."""
    request = RequestFactory().get("/")
    if cookie:
        request.COOKIES[settings.SESSION_COOKIE_NAME] = cookie
    assert proxy.counted(respond(lambda request: None), request) == 0


def test_requests_of_a_session(proxy, settings):
    """A request that reads takes one round trip. A request that also writes takes two."""
    request = RequestFactory().get("/")
    request.COOKIES[settings.SESSION_COOKIE_NAME] = saved(color="red").session_key
    reads = respond(lambda request: request.session["color"] and None)
    writes = respond(lambda request: request.session.update({"color": "blue"}))
    assert proxy.counted(reads, request) == 1
    assert proxy.counted(writes, request) == 2


def test_one_connection_is_enough(proxy):
    """
    The operations of one thread share one connection. Commands that are never sent twice have
    another.
    """
    exercise(SessionStore())
    assert proxy.connections == 2


def test_commands_that_do_not_scale_are_never_sent(settings, session_redis, tmp_path):
    """No KEYS, SCAN or CONFIG reaches the server in any operation."""
    own = Server(tmp_path)
    try:
        settings.SESSION_REDIS = {**session_redis, "LOCATION": own.url}
        with own.client() as client:
            client.config_resetstat()
            exercise(SessionStore())
            session = cleared(saved(color="red"))
            session.set_expiry(-1)
            session.save()
            sent = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
    finally:
        own.stop()
    assert {"hgetall", "evalsha", "hset", "zadd"} <= sent
    assert sent <= {
        "client|setinfo", "config|resetstat", "hello", "select",
        "eval", "evalsha", "time", "exists", "del", "pexpireat", "pttl",
        "hdel", "hexists", "hget", "hgetall", "hincrby", "hkeys", "hmget", "hset",
        "rename", "zadd", "zrange", "zrangebyscore", "zrem", "zscore",
        "info", "ping", "client|maint_notifications",
    }  # fmt: skip
