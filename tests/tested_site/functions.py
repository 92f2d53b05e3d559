"""The same site's tests, as functions for pytest, with the fixtures of pytest-django."""

import json
import urllib.request

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User

from sessions_redis import registry
from tests.tested_site.cases import new_session

DB = "django.contrib.sessions.backends.db"

on_pages = pytest.mark.urls("tests.tested_site.pages")


@pytest.mark.django_db
@pytest.mark.usefixtures("fresh_sessions")
@pytest.mark.parametrize("time", [1, 2])
def test_fresh(admin_client, time):
    assert registry.count() == 1
    assert admin_client.get("/admin/").status_code == 200


def test_left(fresh_sessions):
    new_session()
    assert registry.count() == 1


@on_pages
def test_live_server(live_server, client):
    client.force_login(User.objects.create_user("ada"))
    cookie = f"sessionid={client.cookies['sessionid'].value}"
    asked = urllib.request.Request(f"{live_server}/who/", headers={"Cookie": cookie})
    with urllib.request.urlopen(asked) as answer:
        assert json.load(answer) == {"user": "ada"}


@on_pages
@pytest.mark.usefixtures("fresh_sessions", "transactional_db")
@pytest.mark.parametrize("time", [1, 2])
def test_transactions(client, time):
    ada = User.objects.create_user("ada")
    client.force_login(ada)
    assert client.get("/who/").json() == {"user": "ada"}
    assert len(registry.of_user(ada)) == 1


@on_pages
@pytest.mark.django_db
def test_queries(client, django_assert_num_queries):
    client.force_login(User.objects.create_user("ada"))
    with django_assert_num_queries(1):
        assert client.get("/who/").json() == {"user": "ada"}


@on_pages
@pytest.mark.django_db
@pytest.mark.usefixtures("fresh_sessions")
def test_another_engine(settings, client):
    settings.SESSION_ENGINE = DB
    client.force_login(User.objects.create_user("ada"))
    assert client.get("/who/").json() == {"user": "ada"}
    assert registry.count() == 0


@on_pages
@pytest.mark.django_db(transaction=True)
def test_async(async_client):
    async_to_sync(signing_in)(async_client)


async def signing_in(browser):
    await browser.aforce_login(await User.objects.acreate(username="ada"))
    assert (await browser.get("/who/")).json() == {"user": "ada"}
    await browser.alogout()
    assert (await browser.get("/who/")).json() == {"user": ""}
