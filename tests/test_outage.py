"""Promise 5: absence is a value, failure is an exception, and an outage signs nobody out."""

import asyncio
import signal

import pytest
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpResponse
from django.test import AsyncRequestFactory, RequestFactory

from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from tests.servers import Server, wait_until

VISITORS = 20

CALLS = {
    "load": lambda session: SessionStore(session.session_key).load(),
    "save": lambda session: session.save(),
    "create": lambda session: SessionStore().create(),
    "exists": lambda session: session.exists(session.session_key),
    "cycle": lambda session: session.cycle_key(),
    "delete": lambda session: session.delete(),
    "flush": lambda session: SessionStore(session.session_key).flush(),
    "increment": lambda session: session.increment("counter"),
    "inspect": lambda session: session.inspect(),
}


@pytest.fixture
def mortal(settings, session_redis, tmp_path):
    """A server of the test's own. Its data survives a restart."""
    server = Server(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    settings.SESSION_REDIS = {**session_redis, "LOCATION": server.url}
    yield server
    server.process.send_signal(signal.SIGCONT)
    server.stop()


@pytest.fixture(params=["stopped", "hanging"])
def outage(request, settings, mortal):
    """``outage.begin()`` and ``outage.end()``: the server is away, or does not answer."""
    patience = {"socket_timeout": 0.2, "socket_connect_timeout": 0.2}

    class Outage:
        def begin(self):
            settings.SESSION_REDIS = {**settings.SESSION_REDIS, "OPTIONS": patience}
            SessionStore().exists("connects" * 4)
            if request.param == "stopped":
                mortal.stop()
            else:
                mortal.process.send_signal(signal.SIGSTOP)

        def end(self):
            if request.param == "stopped":
                mortal.start()
            else:
                mortal.process.send_signal(signal.SIGCONT)
                wait_until(answers, "the site notices that Redis is back")

    return Outage()


def answers():
    try:
        return SessionStore().exists("connects" * 4) is False
    except SessionStoreUnavailable:
        return False


def visit(session_key, view):
    request = RequestFactory().get("/")
    request.COOKIES["sessionid"] = session_key
    return SessionMiddleware(view)(request)


def whoami(request):
    return HttpResponse(request.session.get("_auth_user_id", "nobody"))


def test_an_outage_signs_nobody_out(outage):
    """
    During an outage no response comes from an empty session. Afterwards all users are still signed
    in.
    """
    visitors = []
    for number in range(VISITORS):
        session = SessionStore()
        session["_auth_user_id"] = str(number)
        session.save()
        visitors.append(session.session_key)

    outage.begin()
    for key in visitors[:4]:
        with pytest.raises(SessionStoreUnavailable):
            visit(key, whoami)
    outage.end()

    answers = [visit(key, whoami) for key in visitors]
    assert [answer.content.decode() for answer in answers] == [str(n) for n in range(VISITORS)]
    assert not any(answer.cookies for answer in answers)


@pytest.mark.parametrize("call", CALLS)
def test_every_call_says_that_redis_is_away(mortal, call):
    """No method takes an outage for a missing session, and the session keeps its entries."""
    session = SessionStore()
    session["color"] = "red"
    session.save()
    session["color"] = "blue"
    key = session.session_key
    mortal.stop()
    with pytest.raises(SessionStoreUnavailable, match=f"127.0.0.1:{mortal.port}.*Is it running"):
        CALLS[call](session)
    assert session.session_key == key
    mortal.start()
    session.save()
    assert SessionStore(key)["color"] == "blue"


def test_a_session_that_could_not_be_created_has_no_key(mortal):
    """After a failed creation, the session has no key, because no session would belong to it."""
    mortal.stop()
    session = SessionStore()
    session["color"] = "red"
    with pytest.raises(SessionStoreUnavailable):
        session.save()
    assert session.session_key is None
    mortal.start()
    session.save()
    assert SessionStore(session.session_key)["color"] == "red"


def test_an_outage_under_asgi(mortal):
    """
    The asynchronous middleware and methods raise the same error, and work again in the same loop.
    """

    async def view(request):
        return HttpResponse(await request.session.aget("_auth_user_id", "nobody"))

    async def get(session_key):
        request = AsyncRequestFactory().get("/")
        request.COOKIES["sessionid"] = session_key
        return await SessionMiddleware(view)(request)

    async def visit_throughout():
        session = SessionStore()
        await session.aset("_auth_user_id", "1")
        await session.asave()
        mortal.stop()
        with pytest.raises(SessionStoreUnavailable):
            await get(session.session_key)
        mortal.start()
        return await get(session.session_key)

    response = asyncio.run(visit_throughout())
    assert response.content == b"1"
    assert not response.cookies


def test_a_server_that_refuses_to_write(settings, session_redis, tmp_path):
    """A full server refuses a write completely: the session stays as it was, with its TTL."""
    server = Server(tmp_path)
    try:
        settings.SESSION_REDIS = {**session_redis, "LOCATION": server.url}
        session = SessionStore()
        session["color"] = "red"
        session.save()
        with server.client() as client:
            client.config_set("maxmemory", "1")
            session["color"] = "blue"
            with pytest.raises(SessionStoreUnavailable, match=r"refused a command: .*maxmemory"):
                session.save()
            assert session.inspect().fields["color"] == '"red"'
            client.config_set("maxmemory", "0")
        session.save()
        assert SessionStore(session.session_key)["color"] == "blue"
    finally:
        server.stop()
