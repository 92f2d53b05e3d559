"""The mixin of docs/events.md for consumers of channels closes the sockets of ended sessions."""

import asyncio
import sys
from types import ModuleType

import pytest
from asgiref.testing import ApplicationCommunicator
from channels.generic.websocket import WebsocketConsumer
from channels.sessions import SessionMiddlewareStack

from sessions_redis import registry
from sessions_redis.engine import SessionStore
from tests.documents import blocks, text_of
from tests.hearing import id_of, signed_in
from tests.servers import Server, wait_until
from tests.workers import Worker

CODE = blocks(text_of("docs/events.md"), "python")
(MIXIN,) = [block for block in CODE if "class EndsWithSession" in block]
(SITE,) = [block for block in CODE if "class ChatConsumer" in block]
CLOSED = {"type": "websocket.close", "code": 4401}

# channels closes old connections to the database. Its thread may have one, from another test.
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def session_redis(settings, session_redis):
    settings.SESSION_REDIS = {**session_redis, "EVENTS": True}
    return settings.SESSION_REDIS


@pytest.fixture
def sockets(monkeypatch):
    """The module of the docs."""
    module = ModuleType("chat.sockets")
    exec(MIXIN, vars(module))
    monkeypatch.setitem(sys.modules, "chat", ModuleType("chat"))
    monkeypatch.setitem(sys.modules, "chat.sockets", module)
    return module


@pytest.fixture
def application(sockets):
    """The application of the docs."""
    names = {}
    exec(SITE, names)
    return names["application"]


class Socket:
    """A browser's WebSocket."""

    def __init__(self, application, session):
        cookie = f"sessionid={session.session_key}" if session.session_key else "a=b"
        scope = {"type": "websocket", "path": "/", "headers": [(b"cookie", cookie.encode())]}
        self.communicator = ApplicationCommunicator(application, scope)

    async def send(self, **message):
        await self.communicator.send_input(message)

    async def heard(self):
        return await self.communicator.receive_output(20)

    async def opened(self):
        await self.send(type="websocket.connect")
        assert (await self.heard())["type"] == "websocket.accept"
        return self

    async def echoes(self):
        """Whether the socket is open."""
        await self.send(type="websocket.receive", text="hello")
        return (await self.heard()).get("text") == "hello"

    async def left(self):
        await self.send(type="websocket.disconnect", code=1000)
        await self.communicator.wait(20)


async def open_sockets(application, *sessions):
    return [await Socket(application, session).opened() for session in sessions]


def test_sessions_that_end_elsewhere(application, sockets, session_redis, server, prefix):
    """All sockets of a session close, with the code. Others stay. They share one connection."""
    ending, other = signed_in(), signed_in()
    worker = Worker(session_redis, "end_each", ids=[id_of(ending)], reason="a test")
    worker.wait_ready()

    async def visit():
        two = await open_sockets(application, ending, ending)
        rest = await open_sockets(application, other, SessionStore())
        with server.client() as client:
            assert client.pubsub_numsub(f"{prefix}:ended")[0][1] == 1
        worker.begin()
        assert [await one.heard() for one in two] == [CLOSED] * 2
        assert all([await one.echoes() for one in rest])
        for one in [*two, *rest]:
            await one.left()
        assert sockets.sockets_of_this_loop().tasks == []

    asyncio.run(visit())
    assert worker.result() == 1


def test_a_session_that_ended_before(application):
    """Its socket does not open."""
    session = signed_in()
    registry.end(id_of(session))

    async def visit():
        socket = Socket(application, session)
        await socket.send(type="websocket.connect")
        assert await socket.heard() == CLOSED
        await socket.communicator.wait(20)

    asyncio.run(visit())


def test_a_gap(application, server, raw):
    """After a lost connection, it finds the session that is gone, of which nobody told it."""
    gone, other = signed_in(), signed_in()

    async def visit():
        first, second = await open_sockets(application, gone, other)
        raw.delete(*raw.keys(f"*:{id_of(gone)}"))
        raw.client_kill_filter(_type="pubsub")
        assert await first.heard() == CLOSED
        assert await second.echoes()
        for one in (first, second):
            await one.left()

    asyncio.run(visit())


@pytest.mark.parametrize("how", ["expired", "cycled"])
def test_what_is_not_published(application, sockets, monkeypatch, raw, how):
    """It looks for sessions that have expired, and for those with another ID, from time to time."""
    monkeypatch.setattr(sockets, "LOOK_EACH", 0.05)
    session = signed_in()
    former = SessionStore(session.session_key)

    async def visit():
        (socket,) = await open_sockets(application, former)
        await asyncio.to_thread(act)
        assert await socket.heard() == CLOSED
        await socket.left()

    def act():
        if how == "cycled":
            session.cycle_key()
        else:
            raw.delete(*raw.keys(f"*:{id_of(session)}"))

    asyncio.run(visit())


def test_an_outage(application, sockets, monkeypatch, settings, session_redis, tmp_path, caplog):
    """While Redis is away, the socket stays. It closes when the session turns out to be lost."""
    monkeypatch.setattr(sockets, "LOOK_EACH", 0.05)
    server = Server(tmp_path)
    settings.SESSION_REDIS = {**session_redis, "LOCATION": server.url}

    async def visit():
        (socket,) = await open_sockets(application, signed_in())
        server.process.kill()
        server.process.wait()
        await asyncio.to_thread(wait_until, lambda: "cannot be reached" in caplog.text, "an outage")
        assert await socket.echoes()
        await asyncio.to_thread(server.start)
        assert await socket.heard() == CLOSED
        await socket.left()

    asyncio.run(visit())
    server.stop()


def test_synchronous_consumers(sockets):
    """The mixin works in front of their class, too."""

    class Consumer(sockets.EndsWithSession, WebsocketConsumer): ...

    session = signed_in()

    async def visit():
        (socket,) = await open_sockets(SessionMiddlewareStack(Consumer.as_asgi()), session)
        await registry.aend(id_of(session))
        assert await socket.heard() == CLOSED
        await socket.left()

    asyncio.run(visit())
