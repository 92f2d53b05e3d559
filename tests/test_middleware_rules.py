"""Tests that the middleware responds like Django's under ASGI."""

import asyncio
from itertools import product

import pytest
from django.contrib.sessions.exceptions import SessionInterrupted
from django.contrib.sessions.middleware import SessionMiddleware as DjangosMiddleware
from django.http import HttpResponse
from django.test import AsyncRequestFactory

from sessions_redis.engine import SessionStore
from sessions_redis.middleware import SessionMiddleware

STALE = "x" * 32


async def touch_nothing(session):
    pass


async def read(session):
    await session.aget("color")


async def write(session):
    await session.aset("color", "blue")


async def nest(session):
    (await session.aget("cart", [])).append(1)
    session.modified = True


async def flush(session):
    await session.aflush()


async def clear(session):
    session.clear()


async def cycle(session):
    await session.acycle_key()


async def create(session):
    await session.acreate()


async def end_with_the_browser(session):
    await session.aset_expiry(0)


async def expire_soon(session):
    await session.aset_expiry(50)


async def expire_now(session):
    await session.aset_expiry(-1)


async def lose(session):
    await session.aset("color", "blue")
    await SessionStore().adelete(session.session_key)


VIEWS = [
    touch_nothing, read, write, nest, flush, clear, cycle, create,
    end_with_the_browser, expire_soon, expire_now, lose,
]  # fmt: skip


def shape(response):
    """A response without the parts that always differ: keys and times."""
    cookie = response.cookies.get("sessionid")
    attributes = cookie and {name: value for name, value in cookie.items() if name != "expires"}
    return (
        response.status_code,
        dict(response.headers),
        cookie and (bool(cookie.value), bool(cookie["expires"]), attributes),
    )


def answer(middleware, view, cookie, status):
    """The middleware's response to a request, and what is left of its session."""

    async def respond(request):
        await view(request.session)
        return HttpResponse(status=status)

    async def ask():
        session = SessionStore()
        await session.aset("color", "red")
        await session.asave()
        request = AsyncRequestFactory().get("/")
        if cookie:
            request.COOKIES["sessionid"] = session.session_key if cookie == "live" else STALE
        try:
            made = shape(await middleware(respond)(request))
        except SessionInterrupted:
            made = SessionInterrupted
        left = SessionStore(session.session_key)
        return made, dict(await left.aitems()), left.session_key is None

    return asyncio.run(ask())


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.__name__)
@pytest.mark.parametrize("cookie", [None, "live", "stale"])
def test_the_answer_is_djangos(settings, view, cookie):
    """
    For every view, cookie, status and setting, the response equals that of Django's middleware. The
    exception: after a failure, the visitor gets the new session key.
    """
    settings.SESSION_COOKIE_PATH = "/here"
    for status, every, close in product((200, 404, 500, 503), (False, True), (False, True)):
        settings.SESSION_SAVE_EVERY_REQUEST = every
        settings.SESSION_EXPIRE_AT_BROWSER_CLOSE = close
        expected = answer(DjangosMiddleware, view, cookie, status)
        if status >= 500 and cookie and view in {cycle, create}:
            # The response sets the cookie with the new key, as after a success.
            (_, headers, follows), *left = answer(DjangosMiddleware, view, cookie, 200)
            expected = (status, headers, follows), *left
        assert answer(SessionMiddleware, view, cookie, status) == expected, (status, every, close)


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("left", [None, {}, "text"])
def test_what_is_no_session(left, status):
    """If a view replaces the session with something else, the response equals Django's."""

    async def respond(request):
        request.session = left
        return HttpResponse("answered", status=status)

    async def ask(middleware):
        return shape(await middleware(respond)(AsyncRequestFactory().get("/")))

    assert asyncio.run(ask(SessionMiddleware)) == asyncio.run(ask(DjangosMiddleware))


def test_a_status_that_http_does_not_know():
    """A status that is not in HTTP passes, as in Django: some servers accept it."""

    async def respond(request):
        response = HttpResponse("answered")
        response.status_code = 999
        await request.session.aset("color", "red")
        return response

    async def ask(middleware):
        return shape(await middleware(respond)(AsyncRequestFactory().get("/")))

    assert asyncio.run(ask(SessionMiddleware)) == asyncio.run(ask(DjangosMiddleware))


def test_a_subclass_with_rules_of_its_own():
    """A subclass's ``process_response`` also works under ASGI, as with Django's middleware."""

    class Marking(SessionMiddleware):
        def process_response(self, request, response):
            response = super().process_response(request, response)
            response["X-Session"] = "marked"
            return response

    async def respond(request):
        await request.session.aset("color", "red")
        return HttpResponse()

    async def ask():
        return await Marking(respond)(AsyncRequestFactory().get("/"))

    response = asyncio.run(ask())
    assert response["X-Session"] == "marked"
    key = response.cookies["sessionid"].value
    assert SessionStore(key)["color"] == "red"


@pytest.mark.parametrize("engine", ["db", "signed_cookies", "cache"])
@pytest.mark.django_db(transaction=True)
def test_with_another_engine(settings, engine):
    """The middleware also works with another engine."""
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"

    async def respond(request):
        await request.session.aset("color", "red")
        return HttpResponse()

    async def ask():
        return await SessionMiddleware(respond)(AsyncRequestFactory().get("/"))

    assert asyncio.run(ask()).cookies["sessionid"].value
