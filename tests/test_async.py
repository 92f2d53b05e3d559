"""Promise 12: async is native, from the middleware to the socket."""

import asyncio
import threading
from concurrent.futures import Executor
from unittest.mock import Mock

import pytest
from asgiref.sync import SyncToAsync
from django.http import HttpResponse
from django.test import AsyncRequestFactory

from sessions_redis import registry
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.middleware import SessionMiddleware
from sessions_redis.registry import LiveSession
from sessions_redis.storage.commands import session_id
from tests.proxy import Proxy
from tests.test_round_trips import exercise

LOOPS = 200
REQUESTS = 100


@pytest.fixture
def no_threads(monkeypatch):
    """Whoever starts a thread, or hands work to one, fails the test."""

    refuse = Mock(side_effect=AssertionError("a thread in an asynchronous path"))
    monkeypatch.setattr(SyncToAsync, "__call__", refuse)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(Executor, "submit", refuse)
    monkeypatch.setattr(asyncio.BaseEventLoop, "run_in_executor", refuse)


async def aexercise(session):
    """Everything a session does, once."""
    await session.aset("color", "red")
    await session.acreate()
    await session.aset("_auth_user_id", "1")
    await session.asave()
    await SessionStore(session.session_key).aload()
    await session.aexists(session.session_key)
    await session.aincrement("counter")
    await session.ainspect()
    await session.anote_metadata()
    await session.scope("noah").aset("color", "blue")
    await session.acycle_key()
    await SessionStore.aclear_expired()
    await session.adelete()
    await session.aflush()


def request_of(session_key=None):
    request = AsyncRequestFactory().get("/", REMOTE_ADDR="192.0.2.1")
    if session_key:
        request.COOKIES["sessionid"] = session_key
    return request


def test_the_engine_uses_no_thread(session_redis, server, no_threads):
    """No asynchronous method of the engine starts a thread or hands work to one."""
    asyncio.run(aexercise(SessionStore()))


@pytest.mark.parametrize("location", ["server", "memory"])
def test_the_middleware_uses_no_thread(settings, session_redis, no_threads, location):
    """No request under ASGI does, one that writes no more than one that touches nothing."""
    if location == "memory":
        settings.SESSION_REDIS = {**session_redis, "LOCATION": "memory://"}

    async def write(request):
        await request.session.aset("color", "red")
        return HttpResponse()

    async def read(request):
        return HttpResponse(await request.session.aget("color", "none"))

    async def visit():
        written = await SessionMiddleware(write)(request_of())
        key = written.cookies["sessionid"].value
        answer = await SessionMiddleware(read)(request_of(key))
        assert answer.content == b"red"
        return key

    assert asyncio.run(visit())


def test_event_loops_by_the_hundred(live, raw):
    """A loop's connection is closed with the loop: none is left of hundreds."""
    before = len(raw.client_list())
    for _ in range(LOOPS):
        assert asyncio.run(SessionStore(live.session_key).aget("color")) == "red"
    assert len(raw.client_list()) <= before + 1


def test_many_requests_of_one_session_at_once(live):
    """Of entries that as many concurrent requests write, none is lost."""

    async def visit(number):
        async def write(request):
            await request.session.aset(f"entry-{number}", number)
            return HttpResponse()

        return await SessionMiddleware(write)(request_of(live.session_key))

    async def visit_all():
        return await asyncio.gather(*(visit(number) for number in range(REQUESTS)))

    responses = asyncio.run(visit_all())
    assert all(response.status_code == 200 for response in responses)
    entries = dict(SessionStore(live.session_key).items())
    assert entries == {"color": "red"} | {f"entry-{n}": n for n in range(REQUESTS)}


def test_tasks_of_one_request(live):
    """Tasks that share a request's session share what they load: none undoes another's change."""

    async def visit():
        session = SessionStore(live.session_key)
        colors = await asyncio.gather(
            *(session.aset(f"entry-{number}", number) for number in range(REQUESTS)),
            session.aget("color"),
        )
        await session.asave()
        return colors[-1]

    assert asyncio.run(visit()) == "red"
    entries = dict(SessionStore(live.session_key).items())
    assert entries == {"color": "red"} | {f"entry-{n}": n for n in range(REQUESTS)}


def test_one_store_in_both_worlds(live):
    """What a store was told by plain calls, its asynchronous ones know, and the other way round."""

    async def go_on(session):
        assert await session.aget("color") == "red"
        await session.aset("size", "M")
        await session.asave()

    session = SessionStore(live.session_key)
    session["mine"] = 1
    asyncio.run(go_on(session))
    session["mine"] = 2
    session.save()
    assert dict(SessionStore(live.session_key).items()) == {"color": "red", "size": "M", "mine": 2}


def test_a_request_that_touches_nothing_asks_nothing(settings, session_redis, server):
    """Without a cookie, or with one that nobody looks at, no round trip is made under ASGI."""

    async def touch_nothing(request):
        return HttpResponse()

    async def visit(proxy):
        await SessionStore().aexists("connects")
        before = proxy.round_trips
        await SessionMiddleware(touch_nothing)(request_of())
        await SessionMiddleware(touch_nothing)(request_of("x" * 32))
        return proxy.round_trips - before

    with Proxy(server.port) as proxy:
        settings.SESSION_REDIS = {**session_redis, "LOCATION": proxy.url}
        assert asyncio.run(visit(proxy)) == 0


def assert_left_well(live, raw, prefix, connections):
    """The session has its time to live, and no connection is left over."""
    assert raw.pttl(f"{prefix}:{session_id(live.session_key)}") > 0
    assert len(raw.client_list()) <= connections + 1


def test_cancelled_requests(live, raw, prefix):
    """Requests cancelled at any moment leave whole sessions, and connections that work."""

    async def write(request):
        await request.session.aset("pair", ["a", "b"])
        await request.session.aset("twin", ["a", "b"])
        return HttpResponse()

    async def cancel_some():
        for step in range(60):
            task = asyncio.create_task(SessionMiddleware(write)(request_of(live.session_key)))
            for _ in range(step % 20):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert await SessionStore(live.session_key).aget("color") == "red"

    before = len(raw.client_list())
    asyncio.run(cancel_some())
    entries = dict(SessionStore(live.session_key).items())
    assert entries.get("pair") == entries.get("twin")
    assert_left_well(live, raw, prefix, before)


def test_a_full_pool_waits_then_refuses(settings, session_redis, live, server):
    """Connections are bounded; who waits too long for one is told so, and the others are served."""
    settings.SESSION_REDIS = {
        **session_redis,
        "OPTIONS": {"max_connections": 2, "timeout": 0.2, "socket_timeout": 5},
    }

    async def many():
        names = ["color"] * 50
        served = await asyncio.gather(
            *(SessionStore(live.session_key).aget(name) for name in names)
        )
        assert served == ["red"] * 50
        with server.client() as client:
            client.client_pause(1000)
            # Each takes a connection of its own, for it asks more than one thing at a time.
            calls = [registry.afind(session_id(live.session_key)) for _ in range(4)]
            answers = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(one, LiveSession) for one in answers) == 2
        refused = [one for one in answers if isinstance(one, SessionStoreUnavailable)]
        assert len(refused) == 2
        # Redis answers nobody meanwhile, so more connections would be of no use.
        assert "does not answer: all 2 connections" in str(refused[0])
        assert "max_connections" not in str(refused[0])

    asyncio.run(many())


def test_exercise_covers_the_same_calls(live):
    """The plain methods go through the same steps."""
    exercise(SessionStore())
