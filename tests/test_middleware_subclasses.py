"""Tests that a subclass of the middleware runs as a subclass of Django's does."""

import asyncio
import threading

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import AsyncRequestFactory
from django.urls import path

from sessions_redis import engine
from sessions_redis.middleware import SessionMiddleware
from tests.visits import Mortal, visit


def users():
    """The ORM raises an error in a thread that runs an event loop."""
    return User.objects.count()


class AsksAtFirst(SessionMiddleware):
    def process_request(self, request):
        users()
        super().process_request(request)


class AsksAtLast(SessionMiddleware):
    def process_response(self, request, response):
        response = super().process_response(request, response)
        response["X-Users"] = str(users())
        return response


class AsksOnError(SessionMiddleware):
    def process_exception(self, request, exception):
        return HttpResponse(f"{type(exception).__name__}, {users()} users", status=409)


class Mixed:
    def process_request(self, request):
        users()
        return super().process_request(request)


class AsksByMixin(Mixed, SessionMiddleware):
    pass


class AsksByAttribute(SessionMiddleware):
    def __init__(self, get_response):
        super().__init__(get_response)
        begin = self.process_request

        def process_request(request):
            users()
            begin(request)

        self.process_request = process_request


class AnswersAtOnce(SessionMiddleware):
    def process_request(self, request):
        super().process_request(request)
        request.session["color"] = "blue"
        return HttpResponse(f"{users()} users", status=202)


class AsksAroundAll(SessionMiddleware):
    async def __acall__(self, request):
        await sync_to_async(users)()
        return await super().__acall__(request)


class ReadsAtFirst(SessionMiddleware):
    """Reads the session itself, which needs Redis."""

    def process_request(self, request):
        super().process_request(request)
        request.session.get("color")


class ReadsAtLast(SessionMiddleware):
    def process_response(self, request, response):
        response = super().process_response(request, response)
        SessionStore("x" * 32).get("color")
        return response


# What the site's engine did in a thread.
IN_THREADS = []


class SessionStore(engine.SessionStore):
    """The engine of this site. It records calls in threads other than the event loop's."""

    def __init__(self, session_key=None):
        super().__init__(session_key)
        self.say("made")

    def save(self, must_create=False):
        super().save(must_create)
        self.say("saved")

    async def asave(self, must_create=False):
        await super().asave(must_create)
        self.say("saved")

    def say(self, what):
        if threading.current_thread() is not threading.main_thread():
            IN_THREADS.append(what)


async def write(request):
    await request.session.aset("color", "blue")
    return HttpResponse(await request.session.aget("color"))


async def fail(request):
    raise ZeroDivisionError


urlpatterns = [path("write", write), path("fail", fail)]


@pytest.fixture(params=["WSGI", "ASGI"])
def get(request, settings):
    settings.ROOT_URLCONF = __name__

    def get(middleware, name="write"):
        settings.MIDDLEWARE = [f"{__name__}.{middleware.__name__}"]
        return visit(request.param, f"/{name}")

    return get


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "middleware", [AsksAtFirst, AsksAtLast, AsksByMixin, AsksByAttribute, AsksAroundAll]
)
def test_the_orm(get, middleware):
    """Any method may query the database, and the session is saved."""
    response = get(middleware)
    assert response.text == "blue"
    assert SessionStore(response.cookies["sessionid"].value)["color"] == "blue"


@pytest.mark.django_db(transaction=True)
def test_the_orm_when_a_view_fails(get):
    response = get(AsksOnError, "fail")
    assert (response.status_code, response.text) == (409, "ZeroDivisionError, 0 users")


@pytest.mark.django_db(transaction=True)
def test_an_answer_of_its_own(get):
    """A response from process_request is sent, and the session is saved."""
    response = get(AnswersAtOnce)
    assert (response.status_code, response.text) == (202, "0 users")
    assert SessionStore(response.cookies["sessionid"].value)["color"] == "blue"


@pytest.mark.parametrize("middleware", [ReadsAtFirst, ReadsAtLast])
def test_redis_is_away(get, settings, session_redis, tmp_path, middleware):
    """If a subclass needs Redis during an outage, the response is a 503 as well."""
    mortal = Mortal(tmp_path, session_redis)
    try:
        settings.SESSION_REDIS = mortal.settings
        assert get(middleware).status_code == 200
        mortal.go_away()
        response = get(middleware)
        assert response.status_code == 503
        assert not response.cookies
    finally:
        mortal.end()


@pytest.mark.parametrize(
    ("middleware", "in_threads"),
    [
        (SessionMiddleware, []),
        (AsksOnError, []),
        (AsksAtFirst, ["made"]),
        (AsksAtLast, ["saved", "saved"]),  # save() of a new session calls create(), which saves
    ],
)
@pytest.mark.django_db(transaction=True)
def test_what_runs_in_a_thread(settings, middleware, in_threads):
    """Under ASGI, only overridden methods run in a thread."""
    settings.SESSION_ENGINE = __name__
    IN_THREADS.clear()

    async def ask():
        return await middleware(write)(AsyncRequestFactory().get("/"))

    assert asyncio.run(ask()).text == "blue"
    assert in_threads == IN_THREADS
