"""Tests that a page that depends on the session is not cached for all: it has `Vary: Cookie`."""

import asyncio

import pytest
from django.contrib.sessions.backends.base import UpdateError
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import path

from sessions_redis.engine import SessionStore

MIDDLEWARES = [
    "sessions_redis.middleware.SessionMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
]


def caught(method, *arguments):
    try:
        return method(*arguments)
    except (TypeError, KeyError, OverflowError, UpdateError) as error:
        return error


async def acaught(method, *arguments):
    try:
        return await method(*arguments)
    except (TypeError, KeyError, OverflowError, UpdateError) as error:
        return error


# All ways to read from a visitor's session. Exceptions that they raise are caught.
READS = {
    "inspect": lambda s: s.inspect(),
    "load": lambda s: s.load(),
    "exists": lambda s: s.exists(s.session_key),
    "get": lambda s: s.get("color"),
    "increment what holds no integer": lambda s: caught(s.increment, "color"),
    "increment by what is no integer": lambda s: caught(s.increment, "color", "x"),
    "increment past 64 bits": lambda s: caught(s.increment, "number", 2**63 - 1),
    "increment a key that is no string": lambda s: caught(s.increment, 1),
    "append to what holds no list": lambda s: caught(s.append, "color", 1),
    "update what fails": lambda s: caught(s.update_entry, "color", lambda value: value - 1),
    "lock": lambda s: s.lock().__enter__().get("color"),
    "scope's entry": lambda s: caught(s.scope("cart").__getitem__, "none"),
    "scope's get": lambda s: s.scope("cart").get("pears"),
    "scope's keys": lambda s: list(s.scope("cart")),
    "scope's length": lambda s: len(s.scope("cart")),
    "scope's repr": lambda s: repr(s.scope("cart")),
    "scope's membership": lambda s: "pears" in s.scope("cart"),
    "scope's removal": lambda s: caught(s.scope("cart").__delitem__, "none"),
    "expiry": lambda s: s.get_expiry_age(),
}
AREADS = {
    "inspect": lambda s: s.ainspect(),
    "load": lambda s: s.aload(),
    "exists": lambda s: s.aexists(s.session_key),
    "get": lambda s: s.aget("color"),
    "increment what holds no integer": lambda s: acaught(s.aincrement, "color"),
    "increment by what is no integer": lambda s: acaught(s.aincrement, "color", "x"),
    "increment a key that is no string": lambda s: acaught(s.aincrement, 1),
    "append to what holds no list": lambda s: acaught(s.aappend, "color", 1),
    "lock": lambda s: s.alock().__aenter__(),
    "scope's get": lambda s: s.scope("cart").aget("pears"),
    "scope's keys": lambda s: s.scope("cart").akeys(),
    "scope's items": lambda s: s.scope("cart").aitems(),
    "scope's membership": lambda s: s.scope("cart").ahas_key("pears"),
    "scope's removal": lambda s: acaught(s.scope("cart").apop, "none"),
    "expiry": lambda s: s.aget_expiry_age(),
}


def look(request, read):
    return HttpResponse(repr(READS[read](request.session)))


async def alook(request, read):
    return HttpResponse(repr(await AREADS[read](request.session)))


urlpatterns = [path("<str:read>", look), path("async/<str:read>", alook)]


@pytest.fixture(params=MIDDLEWARES, ids=["ours", "Django's"])
def site(request, settings):
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [
        "django.middleware.cache.UpdateCacheMiddleware",
        request.param,
        "django.middleware.cache.FetchFromCacheMiddleware",
    ]
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    return settings


def visitor(color):
    session = SessionStore()
    session.update({"color": color, "number": 1})
    session.create()
    return session.session_key


@pytest.mark.parametrize("read", READS)
def test_reading_varies_with_the_cookie(site, read):
    """Any read of the session adds the header, so caches keep the page for this visitor only."""
    client = Client()
    client.cookies[site.SESSION_COOKIE_NAME] = visitor("crimson")
    assert client.get(f"/{read}").headers["Vary"] == "Cookie"


@pytest.mark.parametrize("read", AREADS)
def test_reading_varies_with_the_cookie_in_asynchronous_views(site, read):
    """The same for the async methods, under ASGI."""
    client = AsyncClient()
    client.cookies[site.SESSION_COOKIE_NAME] = visitor("crimson")
    assert asyncio.run(client.get(f"/async/{read}")).headers["Vary"] == "Cookie"


def test_the_next_visitor_sees_her_own_session(site):
    """With Django's whole-site cache, no visitor gets another visitor's page."""
    shown = []
    for color in ("crimson", "blue"):
        client = Client()
        client.cookies[site.SESSION_COOKIE_NAME] = visitor(color)
        shown.append(client.get("/inspect").content)
    assert b"crimson" in shown[0]
    assert b"crimson" not in shown[1]
    assert b"blue" in shown[1]
