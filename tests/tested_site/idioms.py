"""
What Django's documentation shows about tests with sessions, and settings that concern sessions.

`tests.test_site_tests` runs it on this engine, and on Django's `db` engine, which is right.
"""

import json
import urllib.request
from http.cookies import SimpleCookie
from typing import ClassVar

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.backends import db
from django.contrib.sessions.middleware import SessionMiddleware as DjangosMiddleware
from django.contrib.staticfiles.testing import StaticLiveServerTestCase
from django.http import HttpResponse
from django.test import (
    AsyncClient,
    Client,
    RequestFactory,
    TestCase,
    TransactionTestCase,
    override_settings,
)
from django.utils.module_loading import import_string

from sessions_redis import engine, registry
from sessions_redis.test import FreshSessionsMixin

OURS = "sessions_redis.engine"
DB = "django.contrib.sessions.backends.db"
CSRF = "django.middleware.csrf.CsrfViewMiddleware"
PAGES = "tests.tested_site.pages"


@override_settings(
    ROOT_URLCONF=PAGES, CSRF_USE_SESSIONS=True, MIDDLEWARE=[*settings.MIDDLEWARE, CSRF]
)
class CsrfTokensInSessions(TestCase):
    @classmethod
    def setUpTestData(cls):
        User.objects.create_user("ada")

    def test_a_form(self):
        browser = Client(enforce_csrf_checks=True)
        token = browser.get("/form/").content.decode()
        assert "_csrftoken" in browser.session
        assert list(browser.cookies) == ["sessionid"]
        assert browser.post("/form/").status_code == 403
        assert browser.post("/form/", {"csrfmiddlewaretoken": token}).content == b"sent"
        stranger = Client(enforce_csrf_checks=True)
        assert stranger.post("/form/", {"csrfmiddlewaretoken": token}).status_code == 403

    def test_signing_in(self):
        """A token from before the sign-in is worth nothing after it."""
        browser = Client(enforce_csrf_checks=True)
        old = browser.get("/form/").content.decode()
        sent = {"csrfmiddlewaretoken": old, "name": "ada"}
        new = browser.post("/sign-in/", sent).content.decode()
        assert browser.get("/who/").json() == {"user": "ada"}
        assert browser.post("/form/", {"csrfmiddlewaretoken": old}).status_code == 403
        assert browser.post("/form/", {"csrfmiddlewaretoken": new}).content == b"sent"

    async def test_async(self):
        browser = AsyncClient(enforce_csrf_checks=True)
        token = (await browser.get("/form/")).content.decode()
        sent = {"csrfmiddlewaretoken": token}
        assert (await browser.post("/form/")).status_code == 403
        assert (await browser.post("/form/", sent)).content == b"sent"


@override_settings(
    ROOT_URLCONF=PAGES, MESSAGE_STORAGE="django.contrib.messages.storage.session.SessionStorage"
)
class MessagesInSessions(TestCase):
    shown: ClassVar = {"shown": [["large success", "Thank you."], ["info", "It takes 2 days."]]}

    def test_they_are_shown_once(self):
        assert self.client.get("/order/").status_code == 302
        assert "_messages" in self.client.session
        assert self.client.get("/messages/").json() == self.shown
        assert "_messages" not in self.client.session
        assert self.client.get("/messages/").json() == {"shown": []}

    def test_they_add_up(self):
        self.client.get("/order/")
        self.client.get("/order/", follow=False)
        assert len(self.client.get("/messages/").json()["shown"]) == 4

    async def test_async(self):
        await self.async_client.get("/order/")
        assert (await self.async_client.get("/messages/")).json() == self.shown
        assert (await self.async_client.get("/messages/")).json() == {"shown": []}


@override_settings(ROOT_URLCONF=PAGES, SESSION_SAVE_EVERY_REQUEST=True, SESSION_COOKIE_AGE=3600)
class SavingEveryRequest(TestCase):
    def test_a_page_that_only_reads(self):
        session = self.client.session
        session["color"] = "red"
        session.save()
        answer = self.client.get("/color/")
        assert answer.json() == {"color": "red"}
        assert answer.cookies["sessionid"].value == session.session_key
        assert answer.cookies["sessionid"]["max-age"] == 3600

    def test_a_visitor_without_a_session(self):
        assert self.client.get("/color/").cookies == SimpleCookie()
        assert not self.client.cookies

    async def test_async(self):
        await self.async_client.get("/paint/")
        answer = await self.async_client.get("/color/")
        assert answer.cookies["sessionid"]["max-age"] == 3600


@override_settings(ROOT_URLCONF=PAGES)
class AnotherEngine(FreshSessionsMixin, TestCase):
    """Tests that replace ``SESSION_ENGINE``, with this middleware and with Django's."""

    def signed_in(self):
        """A browser with a user in it, and how many sessions the db engine and this one have."""
        browser = Client()
        browser.force_login(User.objects.get_or_create(username="ada")[0])
        assert browser.get("/who/").json() == {"user": "ada"}
        assert browser.get("/paint/").json() == {"color": "red"}
        return browser, (db.SessionStore.get_model_class().objects.count(), registry.count())

    def test_a_context_manager(self):
        _, before = self.signed_in()
        for name, store in {DB: db.SessionStore, OURS: engine.SessionStore}.items():
            with self.settings(SESSION_ENGINE=name):
                browser, _ = self.signed_in()
                assert type(browser.session) is store
        _, after = self.signed_in()
        assert sum(after) - sum(before) == 3
        assert min(after) >= 1

    @override_settings(SESSION_ENGINE=DB)
    def test_a_decorator(self):
        assert self.signed_in()[1] == (1, 0)

    @override_settings(SESSION_ENGINE=OURS)
    def test_a_decorator_with_this_engine(self):
        assert self.signed_in()[1] == (0, 1)

    @override_settings(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies")
    def test_cookies(self):
        assert self.signed_in()[1] == (0, 0)

    def test_keys_of_another_engine(self):
        """A key that the current engine does not know is worth nothing, and is not adopted."""
        with self.settings(SESSION_ENGINE=DB):
            there, _ = self.signed_in()
            key = there.session.session_key
        with self.settings(SESSION_ENGINE=OURS):
            here = Client()
            here.cookies["sessionid"] = key
            assert here.get("/color/").json() == {"color": None}
            assert here.get("/who/").json() == {"user": ""}
            here.get("/paint/")
            assert here.session.session_key != key
        with self.settings(SESSION_ENGINE=DB):
            assert there.get("/who/").json() == {"user": "ada"}

    async def test_async(self):
        for name in (DB, OURS):
            with self.settings(SESSION_ENGINE=name):
                browser = AsyncClient()
                await browser.aforce_login((await User.objects.aget_or_create(username="ada"))[0])
                assert (await browser.get("/who/")).json() == {"user": "ada"}
                assert (await browser.asession()).__module__ == name


@override_settings(ROOT_URLCONF=PAGES)
class WithTheClient(FreshSessionsMixin, TestCase):
    """What a site's tests do with a client. The class's data is copied for each test."""

    @classmethod
    def setUpTestData(cls):
        cls.ada = User.objects.create_user("ada", password="secret")
        cls.opened = import_string(f"{settings.SESSION_ENGINE}.SessionStore")()
        cls.opened["color"] = "red"

    def test_setting_entries(self):
        session = self.client.session
        session["color"] = "red"
        session.save()
        assert self.client.get("/color/").json() == {"color": "red"}
        assert self.client.session["color"] == "red"

    def test_entries_stay_when_a_user_signs_in_and_go_when_she_signs_out(self):
        self.test_setting_entries()
        assert self.client.login(username="ada", password="secret")
        assert self.client.get("/color/").json() == {"color": "red"}
        assert self.client.get("/who/").json() == {"user": "ada"}
        self.client.logout()
        assert self.client.get("/color/").json() == {"color": None}

    def test_data_of_the_class(self):
        self.opened["color"] = "blue"
        self.opened.save()
        self.client.cookies["sessionid"] = self.opened.session_key
        assert self.client.get("/color/").json() == {"color": "blue"}

    def test_data_of_the_class_again(self):
        assert self.opened["color"] == "red"
        assert self.opened.session_key is None

    async def test_async(self):
        session = await self.async_client.asession()
        await session.aset("color", "red")
        await session.asave()
        assert await self.async_client.alogin(username="ada", password="secret")
        assert (await self.async_client.get("/color/")).json() == {"color": "red"}
        await self.async_client.alogout()
        assert (await self.async_client.get("/who/")).json() == {"user": ""}

    def test_a_request_of_the_factory(self):
        for middleware in (DjangosMiddleware, import_string(settings.MIDDLEWARE[0])):
            request = RequestFactory().get("/")
            middleware(lambda request: HttpResponse()).process_request(request)
            request.session["color"] = "red"
            request.session.save()
            assert request.session.session_key

    def test_queries(self):
        """The engine asks the database nothing, so tests that count queries count their own."""
        own = 0 if settings.SESSION_ENGINE == OURS else 1  # to load the session
        self.client.force_login(self.ada)
        with self.assertNumQueries(own):
            self.client.get("/color/")
        with self.assertNumQueries(own + 1):
            self.client.get("/who/")


@override_settings(ROOT_URLCONF=PAGES)
class FromFixtures(TransactionTestCase):
    fixtures: ClassVar = ["tests/tested_site/fixtures/people.json"]
    serialized_rollback = True

    def test_a_user(self):
        self.client.force_login(User.objects.get(pk=7))
        assert self.client.get("/who/").json() == {"user": "grace"}

    test_again = test_a_user


@override_settings(ROOT_URLCONF=PAGES)
class OverHttp(StaticLiveServerTestCase):
    """A browser gets the cookie of a client that signed in, as tests with Selenium do it."""

    def test_it(self):
        self.client.force_login(User.objects.create_user("ada"))
        cookie = f"sessionid={self.client.cookies['sessionid'].value}"
        asked = urllib.request.Request(f"{self.live_server_url}/who/", headers={"Cookie": cookie})
        with urllib.request.urlopen(asked) as answer:
            assert json.load(answer) == {"user": "ada"}
        self.client.logout()
        with urllib.request.urlopen(asked) as answer:
            assert json.load(answer) == {"user": ""}
        with urllib.request.urlopen(f"{self.live_server_url}/static/admin/css/base.css") as style:
            assert style.status == 200
