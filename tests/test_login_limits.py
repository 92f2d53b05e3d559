"""MAX_SESSIONS_POLICY "refuse", as whole requests: what the visitor sees, and what is left."""

import asyncio
from html import unescape

import pytest
from asgiref.sync import async_to_sync
from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth import aauthenticate, alogin, authenticate, login
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from django.http import JsonResponse
from django.test import AsyncClient, Client
from django.urls import path

from sessions_redis import registry
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionLimitReached
from sessions_redis.web.limits import LimitedAdminMixin, LimitedLoginMixin

MIDDLEWARES = [
    "sessions_redis.middleware.SessionMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
]
FORM = {"username": "ada", "password": "countess"}
TEXT = "You are signed in on 2 devices, which is the limit. Sign out on one of them first."

# The users for whom the site's function was asked.
asked = []


def cap_of(user):
    asked.append(user)
    return 2


class LimitedLoginView(LimitedLoginMixin, LoginView):
    pass


class LimitedSite(LimitedAdminMixin, admin.AdminSite):
    pass


class OtherForm(AdminAuthenticationForm):
    def clean(self):
        self.cleaned_data["seen"] = True
        return super().clean()


def page(request):
    user = request.user.get_username()
    return JsonResponse({"user": user, "cart": request.session.get("cart")})


async def apage(request):
    user = await request.auser()
    cart = await request.session.aget("cart")
    return JsonResponse({"user": user.get_username(), "cart": cart})


def own_login(request):
    """A view that catches the refusal, and looks at the request."""
    try:
        login(request, authenticate(request, **FORM))
    except SessionLimitReached as refusal:
        return JsonResponse({"limit": refusal.limit, "user": request.user.get_username()})
    return page(request)


async def aown_login(request):
    try:
        await alogin(request, await aauthenticate(request, **FORM))
    except SessionLimitReached as refusal:
        user = await request.auser()
        name = request.user.get_username()
        return JsonResponse({"limit": refusal.limit, "user": user.get_username() + name})
    return await apage(request)


def by_hand(request):
    """A view that sets the user without login()."""
    request.session.update({"_auth_user_id": str(User.objects.get().pk), "color": "red"})
    return JsonResponse({})


LOGIN = {"template_name": "admin/login.html", "next_page": "/page"}
limited, other = LimitedSite(name="limited"), LimitedSite(name="other")
other.login_form = OtherForm
urlpatterns = [
    path("login", LoginView.as_view(**LOGIN)),
    path("limited", LimitedLoginView.as_view(**LOGIN)),
    path("own", own_login),
    path("aown", aown_login),
    path("by-hand", by_hand),
    path("page", page),
    path("apage", apage),
    path("admin/", admin.site.urls),
    path("limited-admin/", limited.urls),
    path("other-admin/", other.urls),
]


@pytest.fixture(params=MIDDLEWARES, ids=["ours", "Django's"])
def middleware(request):
    return request.param


@pytest.fixture(autouse=True)
def site(middleware, settings, session_redis):
    settings.ROOT_URLCONF = __name__
    settings.STATIC_URL = "static/"
    settings.MIDDLEWARE = [
        middleware,
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ]
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.SESSION_REDIS = {
        **session_redis, "MAX_SESSIONS_PER_USER": 2, "MAX_SESSIONS_POLICY": "refuse",
    }  # fmt: skip
    return settings


@pytest.fixture
def ada(db):
    return User.objects.create_superuser("ada", password="countess")


@pytest.fixture
def devices(ada):
    """The browsers in which the user is signed in: as many as the cap."""
    browsers = [Browser(), Browser()]
    for browser in browsers:
        assert browser.ask("/login", **FORM).status_code == 302
    return browsers


class Browser:
    """A browser, which may have been there before."""

    def __init__(self, world="sync", *, has_cart=True):
        self.client = Client() if world == "sync" else AsyncClient()
        if has_cart:
            session = SessionStore()
            session["cart"] = ["pears"]
            session.create()
            self.client.cookies["sessionid"] = session.session_key

    def ask(self, url, **form):
        ask = self.client.post if form else self.client.get
        if asyncio.iscoroutinefunction(ask):
            ask = async_to_sync(ask)
        return ask(url, form) if form else ask(url)

    @property
    def session(self):
        return SessionStore(self.client.cookies["sessionid"].value)


@pytest.fixture(params=["sync", "async"])
def browser(request):
    return Browser(request.param)


def assert_visitor(browser):
    """The visitor is not signed in, and has the cart."""
    assert browser.ask("/page").json() == {"user": "", "cart": ["pears"]}
    assert dict(browser.session.items()) == {"cart": ["pears"]}


@pytest.mark.parametrize("url", ["/limited", "/limited-admin/login/", "/other-admin/login/"])
def test_the_form_says_so(devices, browser, url):
    """The form has the error, and the visitor's session goes on. After a sign-out, it works."""
    answer = browser.ask(url, **FORM)
    assert answer.status_code == 200
    assert TEXT in unescape(answer.content.decode())
    assert answer.context["form"].non_field_errors() == [TEXT]
    assert_visitor(browser)
    assert len(registry.of_user(User.objects.get())) == 2

    devices[0].session.delete()
    assert browser.ask(url, **FORM).status_code == 302
    assert browser.ask("/page").json() == {"user": "ada", "cart": ["pears"]}


@pytest.mark.parametrize("url", ["/limited", "/limited-admin/login/"])
def test_a_wrong_password(devices, browser, url):
    """Whoever does not know the password does not learn on how many devices the user is."""
    answer = browser.ask(url, username="ada", password="wrong")
    assert answer.status_code == 200
    assert TEXT not in unescape(answer.content.decode())


@pytest.mark.parametrize("url", ["/login", "/admin/login/"])
def test_elsewhere_it_is_a_403(devices, browser, url):
    """If a view does not catch the refusal, the answer is 403. The visitor's session goes on."""
    assert browser.ask(url, **FORM).status_code == 403
    assert_visitor(browser)


@pytest.mark.parametrize("url", ["/own", "/aown"])
def test_a_view_that_catches_it(devices, browser, url):
    """The request has no user any more, and login() has not signed in."""
    assert browser.ask(url).json() == {"limit": 2, "user": ""}
    assert_visitor(browser)
    devices[0].session.delete()
    assert browser.ask(url).json() == {"user": "ada", "cart": ["pears"]}


def test_a_browser_without_a_session(devices):
    """A visitor who was not there before is not signed in either."""
    browser = Browser(has_cart=False)
    assert browser.ask("/login", **FORM).status_code == 403
    assert browser.ask("/page").json() == {"user": "", "cart": None}


def test_a_test_client(devices, ada):
    """``force_login()`` of Django's test client raises as well, and does not sign in."""
    client = Client()
    with pytest.raises(SessionLimitReached):
        client.force_login(ada)
    assert client.get("/page").json() == {"user": "", "cart": None}


def test_the_same_browser_again(devices):
    """A user who signs in again in the same browser keeps the session, and is not refused."""
    for url in ("/login", "/limited-admin/login/", "/own"):
        assert devices[1].ask(url, **FORM).status_code in {200, 302}
        assert devices[1].ask("/page").json() == {"user": "ada", "cart": ["pears"]}
    assert len(registry.of_user(User.objects.get())) == 2


def test_another_user_in_the_same_browser(devices, site):
    """The session of another user was deleted before, as at every change of the user."""
    User.objects.create_user("eve", password="secret")
    browser = Browser()
    assert browser.ask("/login", username="eve", password="secret").status_code == 302
    assert browser.ask("/login", **FORM).status_code == 403
    assert browser.ask("/page").json() == {"user": "", "cart": None}


def test_a_user_that_is_set_by_hand(devices, browser, middleware):
    """A 403 as well. Our middleware saves the other changes of the session."""
    assert browser.ask("/by-hand").status_code == 403
    kept = {"color": "red"} if middleware == MIDDLEWARES[0] else {}
    assert dict(browser.session.items()) == {"cart": ["pears"], **kept}
    assert browser.ask("/page").json() == {"user": "", "cart": ["pears"]}


def test_the_function_gets_the_user_of_the_login(ada, site, django_assert_num_queries):
    """login() gives the function the user object, so it is not loaded once more."""
    site.SESSION_REDIS = {**site.SESSION_REDIS, "MAX_SESSIONS_PER_USER": f"{__name__}.cap_of"}
    browser = Browser()
    asked.clear()
    with django_assert_num_queries(2):  # the user by name, and last_login
        assert browser.ask("/limited", **FORM).status_code == 302
    assert [user.pk for user in asked] == [ada.pk]


def test_without_the_policy(ada, site):
    """With "end_oldest", the oldest session ends, and the new one is signed in."""
    site.SESSION_REDIS = {**site.SESSION_REDIS, "MAX_SESSIONS_POLICY": "end_oldest"}
    browsers = [Browser() for _ in range(3)]
    for browser in browsers:
        assert browser.ask("/login", **FORM).status_code == 302
    users = [browser.ask("/page").json()["user"] for browser in browsers]
    assert sorted(users) == ["", "ada", "ada"]
    assert users[2] == "ada"
