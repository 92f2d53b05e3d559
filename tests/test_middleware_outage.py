"""What visitors get while Redis is away: 503, and their session when it is back."""

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
    """What the views do with it."""

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
    """As `write`, in JSON."""
    write(request)
    return JsonResponse({"color": "blue"})


async def aapi(request):
    await awrite(request)
    return JsonResponse({"color": "blue"})


def recover(request):
    """Does without Redis for a moment, and fails later at something else."""
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
    """As a view of somebody else's may do."""
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
    """A middleware that looks into the session, as those for languages or users do."""

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
    """``get(name)``: the answer of that view, to a visitor with a session."""

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
    """Who would have got JSON gets JSON."""
    response = get("api")
    assert_unavailable(response)
    assert response.json() == {"error": "Sessions cannot be reached. Try again in a moment."}


def test_in_the_admin(site, red):
    """There the page looks like the admin, knows nobody, and names no user."""
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
            "The site cannot reach Redis, so it cannot see whether you are signed in."
            in response.text
        )
        assert "<title>Sessions cannot be reached | " in response.text
        assert "admin/css/base.css" in response.text
        assert "Log out" not in response.text


@pytest.mark.parametrize("name", ["read", "write"])
def test_redis_is_away(get, red, caplog, name):
    """503, the cookie as it is, a line in the log without the key; and then all is as before."""
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
    """Who waited in vain for the session does not wait for it once more at the request's end."""
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
    """Django makes a 500 of what is raised in a middleware behind ours; ours says what it is."""
    site.MIDDLEWARE = [*site.MIDDLEWARE, f"{__name__}.reads_first"]
    assert get("read").text == "red"
    Redis.go_away()
    assert_unavailable(get("read"))


def test_the_sites_own_page(get, site):
    """The template 503.html, if there is one."""
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
    """What else goes wrong in a view stays a 500."""
    assert get("fail").status_code == 500


def test_an_outage_that_is_over(get):
    """What goes wrong after Redis has answered again is not put down to it."""
    assert get("recover").status_code == 500


def test_a_view_that_loses_the_session(get):
    """Its answer goes out as it is."""
    assert get("lose").text == "lost"
