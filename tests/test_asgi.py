"""Tests whole requests under ASGI: streamed responses, and visitors who disconnect."""

import asyncio
import gc

import pytest
from asgiref.testing import ApplicationCommunicator
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

from sessions_redis.engine import SessionStore
from tests.servers import DEADLINE
from tests.test_async import assert_left_well

# Django leaves the file with a request's body to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Unclosed file <tempfile.SpooledTemporaryFile:ResourceWarning"
)

VISITS = 30
CHUNKS = 50


async def stream(request):
    """Changes two entries, and reads the session between the chunks of its response."""
    await request.session.aset("pair", "new")
    await request.session.aset("twin", "new")

    async def pieces():
        for _ in range(CHUNKS):
            yield await SessionStore(request.session.session_key).aget("pair")
            await asyncio.sleep(0)

    return StreamingHttpResponse(pieces())


async def linger(request):
    """Changes two entries and takes its time."""
    await request.session.aset("pair", "new")
    await request.session.aset("twin", "new")
    await asyncio.sleep(0.01)
    return HttpResponse(await request.session.aget("pair"))


urlpatterns = [path("stream", stream), path("linger", linger)]


@pytest.fixture(autouse=True)
def site(settings, session_redis):
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["sessions_redis.middleware.SessionMiddleware"]
    # With so few connections, one that a request did not return would be missing soon.
    settings.SESSION_REDIS = {**session_redis, "OPTIONS": {"max_connections": 2}}
    yield
    gc.collect()


def visit(name, session_key):
    """A request that is ready to be sent."""
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": f"/{name}",
        "raw_path": f"/{name}".encode(),
        "query_string": b"",
        "headers": [(b"host", b"testserver"), (b"cookie", f"sessionid={session_key}".encode())],
        "client": ["192.0.2.1", 50000],
        "server": ["testserver", 80],
    }
    return ApplicationCommunicator(ASGIHandler(), scope)


async def answer(visitor):
    """The status and the whole body of the response."""
    await visitor.send_input({"type": "http.request"})
    status = (await visitor.receive_output(DEADLINE))["status"]
    body = b""
    while True:
        message = await visitor.receive_output(DEADLINE)
        body += message.get("body", b"")
        if not message.get("more_body"):
            return status, body


async def go_away(visitor, after, turns):
    """Disconnect after ``after`` messages of the response, once the event loop has run."""
    await visitor.send_input({"type": "http.request"})
    for _ in range(after):
        await visitor.receive_output(DEADLINE)
    for _ in range(turns):
        await asyncio.sleep(0)
    await visitor.send_input({"type": "http.disconnect"})
    await visitor.wait(DEADLINE)


def test_a_streamed_answer(live):
    """The session is saved before the first chunk, and can be read between the chunks."""
    assert asyncio.run(answer(visit("stream", live.session_key))) == (200, b"new" * CHUNKS)


@pytest.mark.parametrize(("name", "messages"), [("stream", 5), ("linger", 0)])
def test_visitors_who_go_away(live, raw, prefix, name, messages):
    """A visitor who disconnects leaves an intact session, and connections for other visitors."""
    before = len(raw.client_list())

    async def visits():
        for number in range(VISITS):
            after = number % messages if messages else 0
            await go_away(visit(name, live.session_key), after, turns=number)
            entries = SessionStore(live.session_key)
            assert await entries.aget("pair") == await entries.aget("twin")
            assert await entries.aget("color") == "red"
        assert (
            await asyncio.gather(
                *(answer(visit("linger", live.session_key)) for _ in range(VISITS))
            )
            == [(200, b"new")] * VISITS
        )

    asyncio.run(visits())
    assert_left_well(live, raw, prefix, before)
