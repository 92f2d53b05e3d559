"""Tests that visitors get a 503 while Redis is away, and keep their session."""

import asyncio

import pytest
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.contrib import admin
from django.http import HttpResponse, JsonResponse
from django.test import AsyncClient, Client
from django.urls import path

from sessions_redis.clients.pools import RETRIES
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from tests.visits import Mortal


class Redis:
    """What the views do with Redis."""

    here: Mortal

    @classmethod
    def go_away(cls):
        cls.here.go_away()

    @classmethod
    def come_back(cls):
        cls.here.come_back()


def read(request):
    return HttpResponse(request.session.get("color"))


async def aread(request):
    return HttpResponse(await request.session.aget("color"))


def write(request):
    """Redis goes away between the view and the save."""
    request.session["color"] = "blue"
    Redis.go_away()
    return HttpResponse()


async def awrite(request):
    await request.session.aset("color", "blue")
    Redis.go_away()
    return HttpResponse()


def api(request):
    """Like `write`, with a JSON response."""
    write(request)
    return JsonResponse({"color": "blue"})


async def aapi(request):
    await awrite(request)
    return JsonResponse({"color": "blue"})


def recover(request):
    """Handles an outage of Redis, then fails for another reason."""
    Redis.go_away()
    try:
        request.session.get("color")
    except SessionStoreUnavailable:
        Redis.come_back()
    assert request.session["color"] == "red"
    raise ZeroDivisionError


async def arecover(request):
    Redis.go_away()
    try:
        await request.session.aget("color")
    except SessionStoreUnavailable:
        Redis.come_back()
    assert await request.session.aget("color") == "red"
    raise ZeroDivisionError


def fail(request):
    raise ZeroDivisionError


async def afail(request):
    raise ZeroDivisionError


def lose(request):
    """Like a view in another app that catches the exception."""
    del request.session
    return HttpResponse("lost")


async def alose(request):
    del request.session
    return HttpResponse("lost")


urlpatterns = [
    path(name, view)
    for name, view in [
        *(("WSGI/read", read), ("WSGI/write", write), ("WSGI/fail", fail), ("WSGI/lose", lose)),
        *(("ASGI/read", aread), ("ASGI/write", awrite), ("ASGI/fail", afail)),
        *(("ASGI/lose", alose), ("WSGI/api", api), ("ASGI/api", aapi)),
        *(("WSGI/recover", recover), ("ASGI/recover", arecover)),
    ]
]
urlpatterns.append(path("admin/", admin.site.urls))


def reads_first(get_response):
    """A middleware that reads the session first, as those for languages or users do."""

    async def areading(request):
        await request.session.aget("color")
        return await get_response(request)

    def reading(request):
        request.session.get("color")
        return get_response(request)

    return markcoroutinefunction(areading) if iscoroutinefunction(get_response) else reading


reads_first.async_capable = reads_first.sync_capable = True


@pytest.fixture(autouse=True)
def site(settings, session_redis, tmp_path):
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["sessions_redis.middleware.SessionMiddleware"]
    Redis.here = Mortal(tmp_path, session_redis)
    settings.SESSION_REDIS = Redis.here.settings
    yield settings
    Redis.here.end()


@pytest.fixture
def red(site):
    """The key of a session."""
    session = SessionStore()
    session["color"] = "red"
    session.save()
    return session.session_key


@pytest.fixture(params=["WSGI", "ASGI"])
def get(request, red):
    """``get(name)``: the response of that view, to a visitor with a session."""

    def get(name):
        plain = request.param == "WSGI"
        client = (Client if plain else AsyncClient)(raise_request_exception=False)
        client.cookies["sessionid"] = red
        answer = client.get(f"/{request.param}/{name}")
        return answer if plain else asyncio.run(answer)

    return get


def assert_unavailable(response):
    assert response.status_code == 503
    assert response["Retry-After"] == "5"
    assert not response.cookies


def test_in_json(get):
    """If the view returned JSON, the 503 is JSON."""
    response = get("api")
    assert_unavailable(response)
    assert response.json() == {"error": "Sessions cannot be reached. Try again in a moment."}


def test_in_the_admin(site, red):
    """In the admin, the page has the admin's layout, but no user name."""
    site.STATIC_URL = "static/"
    site.INSTALLED_APPS = [
        *("django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes"),
        *("django.contrib.messages", "django.contrib.staticfiles", "sessions_redis"),
    ]
    site.MIDDLEWARE = [
        *site.MIDDLEWARE,
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ]
    site.TEMPLATES = [
        {"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}
    ]
    Redis.go_away()
    client = Client()
    client.cookies["sessionid"] = red
    for page in ("/admin/", "/admin/login/", "/admin/auth/user/"):
        response = client.get(page)
        assert_unavailable(response)
        assert (
            "The site cannot read your session from Redis, so it cannot see whether you are signed "
            "in." in response.text
        )
        assert "<title>Sessions cannot be reached | " in response.text
        assert "admin/css/base.css" in response.text
        assert "Log out" not in response.text


@pytest.mark.parametrize("name", ["read", "write"])
def test_redis_is_away(get, red, caplog, name):
    """503, the same cookie, a log line without the key. When Redis is back, all works as before."""
    if name == "read":
        Redis.go_away()
    response = get(name)
    assert_unavailable(response)
    assert "You have not been signed out." in response.text
    assert f"{name}: Redis at redis://127.0.0.1" in caplog.text
    assert red not in caplog.text
    Redis.come_back()
    assert get("read").text == "red"


def test_redis_is_not_asked_again_for_the_answer(get, site):
    """A request that already waited for Redis does not wait again at its end."""
    site.SESSION_SAVE_EVERY_REQUEST = True
    with Redis.here.server.client() as client:
        before = client.info("stats")["total_connections_received"]
        Redis.go_away()
        response = get("read")
        Redis.come_back()
        made = client.info("stats")["total_connections_received"] - before
    assert_unavailable(response)
    assert response["Vary"] == "Cookie"
    assert made <= 1 + RETRIES


def test_another_middleware_meets_it(get, site):
    """If a later middleware fails because of the outage, the response is a 503, not a 500."""
    site.MIDDLEWARE = [*site.MIDDLEWARE, f"{__name__}.reads_first"]
    assert get("read").text == "red"
    Redis.go_away()
    assert_unavailable(get("read"))


def test_the_sites_own_page(get, site):
    """The site's template 503.html is used, if there is one."""
    page = {"503.html": "Come back in {{ retry_after }} seconds."}
    site.TEMPLATES = [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {"loaders": [("django.template.loaders.locmem.Loader", page)]},
        }
    ]
    Redis.go_away()
    response = get("read")
    assert_unavailable(response)
    assert response.text == "Come back in 5 seconds."


def test_other_failures_are_not_ours(get):
    """Other failures in a view stay a 500."""
    assert get("fail").status_code == 500


def test_an_outage_that_is_over(get):
    """A failure after Redis is back is not blamed on the outage."""
    assert get("recover").status_code == 500


def test_a_view_that_loses_the_session(get):
    """The view's own response is sent unchanged."""
    assert get("lose").text == "lost"
