"""Tests failures during a request: the response and the cookie, for any session store."""

import asyncio

import pytest
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView, PasswordChangeView
from django.contrib.sessions.backends.base import UpdateError
from django.http import Http404, HttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.test import Client
from django.urls import path
from django.utils.functional import SimpleLazyObject

from sessions_redis import registry
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionGone, SessionStoreUnavailable
from sessions_redis.storage.commands import session_id
from sessions_redis.web.unavailable import failure_behind
from tests.visits import Mortal, visit

OURS = "sessions_redis.middleware.SessionMiddleware"
DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"


class Redis:
    """What the views do with Redis."""

    here: Mortal

    @classmethod
    def go_away(cls):
        cls.here.go_away()


class Beside(SessionStore):
    """Another store that the site uses besides the request's session."""


def both(sync, asynchronous):
    """Make a sync and an async version of a view."""
    return {"WSGI": sync, "ASGI": asynchronous}


# Views that run into an outage.


def another_store(request):
    Beside("x" * 32).get("color")


async def aanother_store(request):
    await Beside("x" * 32).aget("color")


def swapped(request):
    request.session = SessionStore("k" * 32)
    return HttpResponse(request.session.get("color"))


async def aswapped(request):
    request.session = SessionStore("k" * 32)
    return HttpResponse(await request.session.aget("color"))


def template(request):
    page = engines["django"].from_string("{{ request.session.color }}")
    return HttpResponse(page.render({"request": request}))


def template_response(request):
    page = engines["django"].from_string("{{ request.session.color }}")
    return TemplateResponse(request, page, {"request": request})


def lazy_user(request):
    user = SimpleLazyObject(lambda: request.session["color"])
    return HttpResponse(f"Hello, {user}")


def wrapped(request):
    try:
        request.session.get("color")
    except SessionStoreUnavailable as error:
        raise RuntimeError("no color") from error


async def awrapped(request):
    try:
        await request.session.aget("color")
    except SessionStoreUnavailable as error:
        raise RuntimeError("no color") from error


async def tasks(request):
    async with asyncio.TaskGroup() as group:
        group.create_task(Beside("x" * 32).aget("color"))
        group.create_task(Beside("y" * 32).aget("color"))


def listing(request):
    registry.count()


async def alisting(request):
    await registry.acount()


def not_found(request):
    raise Http404


def page(request):
    raise ZeroDivisionError


MEETS = {
    "another_store": both(another_store, aanother_store),
    "swapped": both(swapped, aswapped),
    "template": both(template, template),
    "template_response": both(template_response, template_response),
    "lazy_user": both(lazy_user, lazy_user),
    "wrapped": both(wrapped, awrapped),
    "tasks": both(wrapped, tasks),
    "listing": both(listing, alisting),
    # The site's own error pages read the session.
    "not_found": both(not_found, not_found),
    "page": both(page, page),
}


# Views that fail for another reason during an outage.


def fallback(request):
    try:
        request.session.get("color")
    except SessionStoreUnavailable:
        raise ZeroDivisionError  # noqa: B904 - a separate error


async def afallback(request):
    try:
        await request.session.aget("color")
    except SessionStoreUnavailable:
        raise ZeroDivisionError  # noqa: B904


async def mixed(request):
    async def fail():
        await asyncio.sleep(0)
        raise ZeroDivisionError

    async with asyncio.TaskGroup() as group:
        group.create_task(fail())


def refuse(request):
    try:
        request.session.get("color")
    except SessionStoreUnavailable as error:
        raise Http404 from error


async def arefuse(request):
    try:
        await request.session.aget("color")
    except SessionStoreUnavailable as error:
        raise Http404 from error


FAILS = {
    "fallback": (both(fallback, afallback), 500),
    "mixed": (both(fallback, mixed), 500),
    "refuse": (both(refuse, arefuse), 404),
}


# Views that change the session key, followed by a failure.


def cycle_and_lose(request):
    request.session.cycle_key()
    request.session["color"] = "blue"
    Redis.go_away()
    return HttpResponse()


async def acycle_and_lose(request):
    await request.session.acycle_key()
    await request.session.aset("color", "blue")
    Redis.go_away()
    return HttpResponse()


def cycle_and_save(request):
    cycle_and_lose(request)
    request.session.save()


async def acycle_and_save(request):
    await acycle_and_lose(request)
    await request.session.asave()


def cycle_and_read_beside(request):
    cycle_and_lose(request)
    another_store(request)


async def acycle_and_read_beside(request):
    await acycle_and_lose(request)
    await aanother_store(request)


def cycle_and_raise(request):
    request.session.cycle_key()
    raise ZeroDivisionError


async def acycle_and_raise(request):
    await request.session.acycle_key()
    raise ZeroDivisionError


def cycle_and_answer(request):
    request.session.cycle_key()
    return HttpResponse(status=502)


async def acycle_and_answer(request):
    await request.session.acycle_key()
    return HttpResponse(status=502)


def cycle_and_keep_what_cannot_be_kept(request):
    request.session.cycle_key()
    request.session["thing"] = object()
    return HttpResponse()


async def acycle_and_keep_what_cannot_be_kept(request):
    await request.session.acycle_key()
    await request.session.aset("thing", object())
    return HttpResponse()


MOVES = {
    "cycle_and_lose": (both(cycle_and_lose, acycle_and_lose), 503),
    "cycle_and_save": (both(cycle_and_save, acycle_and_save), 503),
    "cycle_and_read_beside": (both(cycle_and_read_beside, acycle_and_read_beside), 503),
    "cycle_and_raise": (both(cycle_and_raise, acycle_and_raise), 500),
    "cycle_and_answer": (both(cycle_and_answer, acycle_and_answer), 502),
    "cycle_and_keep": (
        both(cycle_and_keep_what_cannot_be_kept, acycle_and_keep_what_cannot_be_kept),
        500,
    ),
}


class LosesRedis:
    """Redis goes away after the view changed the key, before the save."""

    success_url = "/"

    def form_valid(self, form):
        response = super().form_valid(form)
        Redis.go_away()
        return response


class SignIn(LosesRedis, LoginView):
    next_page = "/"


class ChangePassword(LosesRedis, PasswordChangeView):
    pass


# Views whose session ends while they run.


def end(request):
    SessionStore().delete(request.session.session_key)


async def aend(request):
    await SessionStore().adelete(request.session.session_key)


def save_after_the_end(request):
    request.session["color"] = "blue"
    end(request)
    request.session.save()


async def asave_after_the_end(request):
    await request.session.aset("color", "blue")
    await aend(request)
    await request.session.asave()


def increment_after_the_end(request):
    request.session.get("color")
    end(request)
    request.session.increment("visits")


async def aincrement_after_the_end(request):
    await request.session.aget("color")
    await aend(request)
    await request.session.aincrement("visits")


def a_store_that_says_it_in_djangos_words(request):
    request.session["color"] = "blue"
    end(request)
    raise UpdateError


async def aa_store_that_says_it_in_djangos_words(request):
    await request.session.aset("color", "blue")
    await aend(request)
    raise UpdateError


def change_and_end(request):
    request.session["color"] = "blue"
    end(request)
    return HttpResponse()


async def achange_and_end(request):
    await request.session.aset("color", "blue")
    await aend(request)
    return HttpResponse()


ENDS = {
    "save": both(save_after_the_end, asave_after_the_end),
    "increment": both(increment_after_the_end, aincrement_after_the_end),
    "change": both(change_and_end, achange_and_end),
}
PLAIN = both(a_store_that_says_it_in_djangos_words, aa_store_that_says_it_in_djangos_words)


def increment(request):
    return HttpResponse(request.session.increment("visits"))


async def aincrement(request):
    return HttpResponse(await request.session.aincrement("visits"))


async def read(request):
    return HttpResponse(await request.session.aget("color", "none"))


def handler404(request, exception):
    color = request.session.get("color") if request.path.endswith("not_found") else "any"
    return HttpResponse(f"No such page, in {color}.", status=404)


def handler500(request):
    color = request.session.get("color") if request.path.endswith("page") else "any"
    return HttpResponse(f"Something is wrong, in {color}.", status=500)


ALL = {
    **MEETS,
    **{name: views for name, (views, _) in {**FAILS, **MOVES}.items()},
    **{f"end_{name}": views for name, views in ENDS.items()},
    "plain": PLAIN,
    "increment": both(increment, aincrement),
    "read": both(read, read),
}
urlpatterns = [
    path(f"{world}/{name}", view) for name, views in ALL.items() for world, view in views.items()
]
urlpatterns += [
    path("sign-in", SignIn.as_view()),
    path("password", ChangePassword.as_view()),
]


def needs_another_store(get_response):
    """A site's own middleware, sync and async."""

    async def aneeding(request):
        await aanother_store(request)
        return await get_response(request)

    def needing(request):
        another_store(request)
        return get_response(request)

    return markcoroutinefunction(aneeding) if iscoroutinefunction(get_response) else needing


needs_another_store.async_capable = needs_another_store.sync_capable = True


@pytest.fixture(autouse=True)
def site(settings, session_redis, tmp_path):
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [OURS]
    Redis.here = Mortal(tmp_path, session_redis)
    settings.SESSION_REDIS = Redis.here.settings
    yield settings
    Redis.here.end()


@pytest.fixture(params=["WSGI", "ASGI"])
def world(request):
    return request.param


@pytest.fixture
def red(site):
    session = SessionStore()
    session["color"] = "red"
    session.save()
    return session.session_key


@pytest.fixture
def get(world, red):
    """``get(name)``: the response of that view to the visitor with that session."""
    return lambda name: visit(world, f"/{world}/{name}", red)


@pytest.mark.parametrize("name", MEETS)
def test_whatever_store_it_is(get, name):
    """While Redis is away: 503 and no cookie changes, for whichever store fails."""
    Redis.go_away()
    response = get(name)
    assert response.status_code == 503
    assert response["Retry-After"] == "5"
    assert not response.cookies


@pytest.mark.parametrize("debug", [True, False])
def test_a_middleware_with_a_store_of_its_own(get, site, debug):
    """A middleware after this one gets the 503 as well."""
    site.DEBUG = debug
    site.MIDDLEWARE = [OURS, f"{__name__}.needs_another_store"]
    assert get("read").text == "red"
    Redis.go_away()
    response = get("read")
    assert response.status_code == 503
    assert not response.cookies


def test_a_middleware_that_stands_outside(get, site):
    """A failure in a middleware before this one stays Django's 500, and no cookie changes."""
    site.MIDDLEWARE = [f"{__name__}.needs_another_store", OURS]
    Redis.go_away()
    response = get("read")
    assert response.status_code == 500
    assert not response.cookies


@pytest.mark.parametrize("name", FAILS)
def test_a_failure_of_its_own(get, name):
    """Other failures during an outage stay what they are."""
    Redis.go_away()
    response = get(name)
    assert response.status_code == FAILS[name][1]
    assert not response.cookies


@pytest.mark.parametrize("name", MOVES)
def test_the_cookie_follows_the_session(get, red, site, name):
    """If a request fails after the key changed, the response still sets the new cookie."""
    site.SESSION_COOKIE_PATH = "/here"
    site.SESSION_COOKIE_SAMESITE = "Strict"
    site.SESSION_COOKIE_SECURE = True
    response = get(name)
    assert response.status_code == MOVES[name][1]
    cookie = response.cookies["sessionid"]
    assert (cookie["path"], cookie["samesite"]) == ("/here", "Strict")
    assert cookie["secure"]
    assert cookie["httponly"]
    assert cookie["max-age"] == site.SESSION_COOKIE_AGE
    assert response["Vary"] == "Cookie"
    Redis.here.come_back()
    assert SessionStore(cookie.value)["color"] == "red"
    assert not SessionStore().exists(red)


def test_a_cookie_that_ends_with_the_browser(get, site):
    """A browser-length cookie stays one when it gets the new key."""
    site.SESSION_EXPIRE_AT_BROWSER_CLOSE = True
    cookie = get("cycle_and_lose").cookies["sessionid"]
    assert (cookie["max-age"], cookie["expires"]) == ("", "")


@pytest.fixture
def ada(site):
    site.MIDDLEWARE = [OURS, "django.contrib.auth.middleware.AuthenticationMiddleware"]
    return User.objects.create_user("ada", password="an analytical engine")


@pytest.mark.django_db(transaction=True)
def test_signing_in(world, red, ada):
    """If Redis goes away during sign-in, the data of the earlier session is kept."""
    form = {"username": "ada", "password": "an analytical engine"}
    response = visit(world, "/sign-in", red, form=form)
    assert response.status_code == 503
    Redis.here.come_back()
    assert SessionStore(response.cookies["sessionid"].value)["color"] == "red"
    assert not SessionStore().exists(red)


@pytest.mark.django_db(transaction=True)
def test_changing_the_password(world, ada):
    """If Redis goes away during a password change, the user's cookie still works."""
    browser = Client()
    browser.force_login(ada)
    old, new = "an analytical engine", "a difference engine"
    form = {"old_password": old, "new_password1": new, "new_password2": new}
    response = visit(world, "/password", browser.cookies["sessionid"].value, form=form)
    assert response.status_code == 503
    Redis.here.come_back()
    session = SessionStore(response.cookies["sessionid"].value)
    assert session["_auth_user_id"] == str(ada.pk)


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("middleware", [OURS, DJANGOS])
@pytest.mark.parametrize("name", ENDS)
def test_a_session_that_is_ended_meanwhile(get, site, red, middleware, debug, name):
    """The response is 400, as for Django's SessionInterrupted, and the cookie stays."""
    site.MIDDLEWARE = [middleware]
    site.DEBUG = debug
    response = get(f"end_{name}")
    assert response.status_code == 400
    assert not response.cookies
    assert not SessionStore().exists(red)


@pytest.mark.parametrize("debug", [True, False])
def test_djangos_own_exception(get, site, debug):
    """Another UpdateError that a view raises gets the same response."""
    site.DEBUG = debug
    response = get("plain")
    assert response.status_code == 400
    assert not response.cookies


def test_both_exceptions_in_one():
    """Code that catches UpdateError still works."""
    session = SessionStore()
    session.save()
    session.delete()
    with pytest.raises(UpdateError) as raised:
        session.save()
    assert raised.type is SessionGone


@pytest.mark.parametrize("middleware", [OURS, DJANGOS])
def test_a_dead_cookie_is_dropped(get, site, red, middleware):
    """
    A view that increments without reading first is refused once, and works on the next request.
    """
    site.MIDDLEWARE = [middleware]
    SessionStore().delete(red)
    response = get("increment")
    assert response.status_code == 400
    assert response.cookies["sessionid"]["max-age"] == 0


def test_a_session_that_is_still_there(get, red):
    """A session that still exists is not affected."""
    assert get("increment").text == "1"
    assert session_id(red) in {live.id for live in registry.latest()}


def test_a_circle_of_causes():
    """An error whose cause has that error as its own cause is not a failure of Redis."""
    first, second = RuntimeError("first"), RuntimeError("second")
    first.__cause__, second.__cause__ = second, first
    assert failure_behind(first) is None
    first.__cause__ = group = ExceptionGroup("of tasks", [first, second])
    assert failure_behind(group) is None
    second.__cause__ = failure = SessionStoreUnavailable("Redis is away.")
    assert failure_behind(second) is failure
