"""
The tests of a site, as its developers write them. `tests.test_testing` runs them.

``TESTED_SITE_REAL``: the ID of a session of the real user 1.
"""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from io import StringIO

import redis
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.http import HttpResponse
from django.test import (
    LiveServerTestCase,
    RequestFactory,
    SimpleTestCase,
    TestCase,
    TransactionTestCase,
    override_settings,
)

from sessions_redis import conf, registry
from sessions_redis.engine import SessionStore
from sessions_redis.middleware import SessionMiddleware
from sessions_redis.storage.commands import session_id
from sessions_redis.test import FreshSessionsMixin, key_prefix
from tests.tested_site import tenants
from tests.tested_site.forks import in_a_fork

REAL = os.environ["TESTED_SITE_REAL"]


def new_session() -> SessionStore:
    session = SessionStore()
    session["color"] = "red"
    session.save()
    return session


class WithTheRealOnesInRedis(FreshSessionsMixin, TestCase):
    """
    The user 1 of these tests does not have the sessions of the site's user 1, and does not end
    them.
    """

    def setUp(self):
        self.ada = User.objects.create_superuser("ada", pk=1)
        self.client.force_login(self.ada)

    def own(self):
        return session_id(self.client.session.session_key)

    def test_the_registry(self):
        assert [session.id for session in registry.of_user(self.ada)] == [self.own()]
        assert [session.id for session in registry.latest()] == [self.own()]
        assert registry.count() == 1
        assert registry.find(REAL) is None
        assert not registry.end(REAL)
        assert registry.end_all_of(self.ada) == 1

    def test_the_admin(self):
        page = self.client.get("/admin/sessions_redis/session/")
        assert [session.pk for session in page.context["cl"].result_list] == [self.own()]

    def test_the_commands(self):
        said = StringIO()
        call_command("endsessions", "ada", stdout=said)
        call_command("clearsessions", stdout=said)
        call_command("sessionstats", "--json", stdout=said)
        assert "ada: 1 session ended" in said.getvalue()

    async def test_async(self):
        await self.async_client.aforce_login(self.ada)
        answer = await self.async_client.get("/count/")
        assert answer.json() == {"visits": 1}
        assert await registry.acount() == 2

    def test_a_signing_in_again(self):
        self.client.logout()
        assert registry.count() == 0


class Leaving(TestCase):
    """
    Without the mixin, each test leaves its sessions to the next one. The end of the run removes
    them.
    """

    def test_one(self):
        new_session()

    def test_another(self):
        new_session()
        assert registry.count() >= 1


@override_settings(SESSION_REDIS={"LOCATION": "memory://"})
class InMemory(FreshSessionsMixin, SimpleTestCase):
    def test_one(self):
        new_session()
        assert registry.count() == 1

    test_another = test_one


class MixinLast(SimpleTestCase, FreshSessionsMixin):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        new_session()

    def setUp(self):  # the child forgets its parent's connections
        self.found = registry.count()

    def test_one(self):
        new_session()
        assert self.found == 0

    test_another = test_one


class Overridden(SimpleTestCase):
    """If a test overrides the location or the prefix, its setting is used without changes."""

    def test_other_options_alone(self):
        before = conf.current()
        for more in {"INDEX": False}, {"METADATA": False, "OPTIONS": {"timeout": 2}}:
            with self.settings(SESSION_REDIS={**settings.SESSION_REDIS, **more}):
                assert conf.current().key_prefix == before.key_prefix
                assert conf.current() != before
        assert conf.current() == before

    def test_a_prefix(self):
        name = settings.SESSION_REDIS["KEY_PREFIX"] + "-as-written"
        with self.settings(SESSION_REDIS={**settings.SESSION_REDIS, "KEY_PREFIX": name}):
            session = new_session()
            assert session.inspect().redis_key == f"{name}:{session_id(session.session_key)}"
            session.delete()
        assert not session.exists(session.session_key)

    def test_a_location(self):
        with self.settings(SESSION_REDIS={"LOCATION": "memory://elsewhere"}, DEBUG=True):
            assert conf.current().key_prefix == "session"
            with self.settings(DEBUG=False):
                assert new_session().inspect().redis_key.startswith("session:")


class InATransaction(FreshSessionsMixin, TransactionTestCase):
    def test_it(self):
        assert self.client.get("/count/").json() == {"visits": 1}
        assert registry.count() == 1


class OverHttp(FreshSessionsMixin, LiveServerTestCase):
    def test_it(self):
        with urllib.request.urlopen(f"{self.live_server_url}/count/") as answer:
            assert json.load(answer) == {"visits": 1}
        assert registry.count() == 1


class WithoutASite(FreshSessionsMixin, SimpleTestCase):
    def test_a_request_of_the_factory(self):
        def view(request):
            request.session["color"] = "red"
            return HttpResponse()

        response = SessionMiddleware(view)(RequestFactory().get("/"))
        assert SessionStore(response.cookies["sessionid"].value)["color"] == "red"


class Forking(SimpleTestCase):
    """A process that a test forks finds the test's sessions, and the test finds that process's."""

    def test_it(self):
        session = new_session()
        in_a_fork(lambda: session.increment("forks"))
        assert SessionStore(session.session_key)["forks"] == 1


class Starting(FreshSessionsMixin, SimpleTestCase):
    """A program that a test starts finds the test's sessions if it gets the test's prefix."""

    def test_it(self):
        new_session()
        setting = {**settings.SESSION_REDIS, "KEY_PREFIX": key_prefix()}
        done = subprocess.run(
            [sys.executable, "manage.py", "sessionstats", "--json"],
            env={**os.environ, "TESTED_SITE_REDIS": json.dumps(setting)},
            capture_output=True,
            check=True,
        )
        assert json.loads(done.stdout)["live"] == 1


class OfTenants(FreshSessionsMixin, TestCase):
    """The tests of each tenant find neither real sessions nor those of another tenant."""

    def setUp(self):
        self.addCleanup(tenants.current.reset, tenants.current.set("acme"))
        self.ada = User.objects.create_user("ada", pk=1)
        self.client.force_login(self.ada)

    def test_the_registry(self):
        assert registry.find(REAL) is None
        assert len(registry.of_user(1)) == 1
        tenants.current.set("bravo")
        assert registry.of_user(1) == []
        self.client.force_login(self.ada)
        assert registry.end_all_of(1) == 1
        tenants.current.set("acme")
        assert registry.count() == 1

    def test_the_prefix(self):
        start = f"test_{os.environ['TESTED_SITE_PREFIX']}:acme:"
        assert key_prefix().startswith(start)
        assert self.client.session.inspect().redis_key.startswith(start)


class Ending(SimpleTestCase):
    """Each of these tests runs alone."""

    def test_by_being_killed(self):  # pragma: no cover - it ends the process, and coverage with it
        new_session()
        os.kill(os.getpid(), signal.SIGKILL)

    def test_by_failing(self):  # pragma: no cover - it runs in a worker that is terminated
        new_session()
        self.fail("as it should")

    def test_when_redis_is_gone(self):
        new_session()
        with redis.Redis.from_url(settings.SESSION_REDIS["LOCATION"]) as client:
            client.shutdown(nosave=True)
