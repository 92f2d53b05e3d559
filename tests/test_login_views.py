"""Concurrent logins and password changes, as whole requests: no 500, and no lost cart."""

from inspect import iscoroutinefunction

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView, PasswordChangeView
from django.db.models.signals import pre_save
from django.http import JsonResponse
from django.test import AsyncClient, Client
from django.urls import path

from sessions_redis import registry
from sessions_redis.engine import SessionStore
from sessions_redis.storage.commands import session_id

MIDDLEWARES = [
    "sessions_redis.middleware.SessionMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
]

# What happens during a request, after it has loaded its session.
meanwhile = []


def happen(*args, **kwargs):
    if meanwhile:
        meanwhile.pop()()


class SlowBackend(ModelBackend):
    """An authentication backend that lets something else happen while it checks the password."""

    def authenticate(self, request, **credentials):
        happen()
        return super().authenticate(request, **credentials)


def page(request):
    request.session.get("cart")
    happen()
    return JsonResponse({"user": request.user.get_username(), "cart": request.session.get("cart")})


async def apage(request):
    await request.session.aget("cart")
    await sync_to_async(happen)()
    user = await request.auser()
    cart = await request.session.aget("cart")
    return JsonResponse({"user": user.get_username(), "cart": cart})


urlpatterns = [
    path("login", LoginView.as_view(redirect_authenticated_user=True, success_url="/page")),
    path("password", PasswordChangeView.as_view(success_url="/page")),
    path("page", page),
    path("apage", apage),
]


@pytest.fixture(params=MIDDLEWARES, ids=["ours", "Django's"])
def site(request, settings):
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [
        request.param,
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ]
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.SlowBackend"]
    settings.LOGIN_REDIRECT_URL = "/page"
    pre_save.connect(happen, sender=User)
    yield settings
    pre_save.disconnect(happen, sender=User)
    meanwhile.clear()


@pytest.fixture
def ada(db):
    return User.objects.create_user("ada", password="old")


class Visitor:
    """A browser with one cookie, which can send several requests at once."""

    def __init__(self, settings, session_key, world="sync"):
        self.world = world
        self.name = settings.SESSION_COOKIE_NAME
        self.session_key = session_key

    def ask(self, url, world=None, **form):
        """Returns the response and the cookie that it sets, or ``None``."""
        client = (AsyncClient if (world or self.world) == "async" else Client)(
            raise_request_exception=False
        )
        client.cookies[self.name] = self.session_key
        ask = client.post if form else client.get
        if iscoroutinefunction(ask):
            ask = async_to_sync(
                ask
            )  # Django's own test client: asyncio.run would use the database in a thread
        answer = ask(url, form) if form else ask(url)
        cookie = answer.cookies.get(self.name)
        return answer, cookie and cookie.value


def new_session(user=None):
    session = SessionStore()
    session["cart"] = ["pears"]
    session.create()
    if user is None:
        return session
    client = Client()
    client.force_login(user)
    signed_in = client.session
    signed_in["cart"] = ["pears"]
    signed_in.save()
    return signed_in


def assert_signed_in(site, session_key):
    answer, _ = Visitor(site, session_key).ask("/page")
    assert answer.json() == {"user": "ada", "cart": ["pears"]}


@pytest.fixture(params=["sync", "async"])
def world(request):
    return request.param


def test_a_double_click_on_log_in(site, ada, world):
    """Both responses redirect. The visitor is signed in with either cookie, and has the cart."""
    visitor = Visitor(site, new_session().session_key, world)
    form = {"username": "ada", "password": "old"}
    first = []
    meanwhile.append(lambda: first.append(visitor.ask("/login", "sync", **form)))
    late = visitor.ask("/login", **form)
    assert [answer.status_code for answer, _ in (*first, late)] == [302, 302]
    for _, session_key in (*first, late):
        assert_signed_in(site, session_key)
    assert len(registry.of_user(ada)) == 2


CHANGE = {"old_password": "old", "new_password1": "tr-43-ui", "new_password2": "tr-43-ui"}


def test_a_password_change_sent_twice(site, ada, world):
    """
    Both answers lead on, and the cookie of the later one is signed in.

    The other one's session holds the hash of the password as the first request saved it. Django
    takes that for an old password, also with its own engines.
    """
    visitor = Visitor(site, new_session(ada).session_key, world)
    first = []
    meanwhile.append(lambda: first.append(visitor.ask("/password", "sync", **CHANGE)))
    late = visitor.ask("/password", **CHANGE)
    assert [answer.status_code for answer, _ in (*first, late)] == [302, 302]
    assert_signed_in(site, late[1])


@pytest.mark.parametrize("url", ["/page", "/apage"])
def test_a_new_secret_key(site, ada, world, url):
    """
    With SECRET_KEY_FALLBACKS, concurrent requests each cycle the session, and all stay signed in.
    """
    visitor = Visitor(site, new_session(ada).session_key, world)
    site.SECRET_KEY_FALLBACKS = [site.SECRET_KEY]
    site.SECRET_KEY = "a new one"
    first = []
    meanwhile.extend([lambda: first.append(visitor.ask("/page", "sync"))] * 2)
    late = visitor.ask(url)
    assert [answer.status_code for answer, _ in (*first, late)] == [200] * 3
    assert {answer.json()["user"] for answer, _ in (*first, late)} == {"ada"}
    for _, session_key in (*first, late):
        assert_signed_in(site, session_key)


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("cycled", [True, False])
def test_a_session_that_was_ended_meanwhile(site, ada, world, debug, cycled):
    """A password change in a session that ends meanwhile gets a 400, and keeps the cookie."""
    site.DEBUG = debug
    session = new_session(ada)
    visitor = Visitor(site, session.session_key, world)

    def end():
        if cycled:
            session.cycle_key()
        registry.end_all_of(ada)

    meanwhile.append(end)
    answer, cookie = visitor.ask("/password", **CHANGE)
    assert answer.status_code == 400
    assert cookie is None
    assert registry.of_user(ada) == []
    assert registry.find(session_id(session.session_key)) is None


def test_a_login_in_a_session_that_was_ended_meanwhile(site, ada, world):
    """A visitor whose anonymous session ends during the login is still signed in, with the cart."""
    session = new_session()
    visitor = Visitor(site, session.session_key, world)
    meanwhile.append(session.delete)
    answer, session_key = visitor.ask("/login", username="ada", password="old")
    assert answer.status_code == 302
    assert_signed_in(site, session_key)
    assert SessionStore(session_key)[SESSION_KEY] == str(ada.pk)
