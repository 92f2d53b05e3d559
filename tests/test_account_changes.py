"""If the site wants it, sessions end when their user is deactivated or gets another password."""

import asyncio
import logging

import pytest
from django.conf import settings
from django.contrib.auth import aauthenticate, aupdate_session_auth_hash, authenticate, logout
from django.contrib.auth.hashers import PBKDF2SHA1PasswordHasher, make_password
from django.contrib.auth.models import User
from django.contrib.auth.views import PasswordChangeView
from django.core.management import call_command
from django.db import connection, transaction
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import path

from config.urls import urlpatterns as of_the_site
from sessions_redis import registry
from sessions_redis.storage.commands import session_id
from tests.people.models import Employee, Person, Staffer
from tests.section import signed_in, use_section
from tests.servers import free_port
from tests.tenancy import inside

pytestmark = pytest.mark.django_db(transaction=True)

NEW = "k3zR-x9-lovelace"


class Newer(PBKDF2SHA1PasswordHasher):
    """The hasher that the site prefers by now."""

    iterations = 1


async def change_own(request):
    """An asynchronous view that changes the user's own password."""
    user = await request.auser()
    user.set_password("another")
    await user.asave()
    request.user = user  # Django would read it with blocking code
    await aupdate_session_auth_hash(request, user)
    return HttpResponse()


def leave(request):
    """A view in which users delete their own account."""
    request.user.delete()
    if "farewell" in request.GET:
        logout(request)
        request.session["farewell"] = "Come back soon."
    return HttpResponse()


def who(request):
    return HttpResponse(request.user.get_username())


urlpatterns = [
    *of_the_site,
    path("password/", PasswordChangeView.as_view(success_url="/", template_name="x.html")),
    path("apassword/", change_own),
    path("leave/", leave),
    path("who/", who),
]


@pytest.fixture(autouse=True)
def site(settings, session_redis):
    """A site with both settings on."""
    use_section(settings)
    settings.ROOT_URLCONF = __name__
    ending = {"END_ON_DEACTIVATION": True, "END_ON_PASSWORD_CHANGE": True}
    settings.SESSION_REDIS = {**session_redis, **ending}


@pytest.fixture
def ada():
    return User.objects.create_user("ada", password="engine")


@pytest.fixture
def theirs(ada):
    """Two sessions of Ada, and one of another user, which never ends."""
    ids = {signed_in(ada), signed_in(ada)}
    other = signed_in(User.objects.create_user("bob"))
    yield ids
    assert registry.find(other)


def live():
    return {session.id for session in registry.latest(0, 100)}


def client_of(user, kind=Client):
    client = kind()
    client.force_login(user, "django.contrib.auth.backends.ModelBackend")
    return client


def own(client):
    return session_id(client.cookies[settings.SESSION_COOKIE_NAME].value)


# Deactivated or deleted


def test_deactivated(ada, theirs, ended):
    """All sessions of a user who is deactivated end."""
    ada.is_active = False
    ada.save()
    assert not live() & theirs
    assert sorted(ended) == sorted((id, str(ada.pk), "deactivated") for id in theirs)
    ada.save()
    ada.is_active = True
    ada.save()
    assert len(ended) == 2


@pytest.mark.parametrize("fields", [["is_active"], ["is_active", "password"]])
def test_deactivated_by_its_field(ada, theirs, fields):
    """Also if only this field is saved."""
    ada.is_active = False
    ada.save(update_fields=fields)
    assert not live() & theirs


def test_deleted(ada, theirs, ended):
    """All sessions of a user who is deleted end, one by one or by a queryset."""
    ada.delete()
    assert not live() & theirs
    assert {reason for _, _, reason in ended} == {"deactivated"}
    eve = User.objects.create_user("eve")
    id = signed_in(eve)
    User.objects.filter(pk=eve.pk).delete()
    assert id not in live()


def test_by_another_model(settings):
    """A change through a proxy of the user model counts as well."""
    settings.AUTH_USER_MODEL = "people.Person"
    user = Staffer.objects.create(email="ada@example.com")
    id = signed_in(str(user.pk))
    user.set_password("another")
    user.save()
    assert id not in live()
    id = signed_in(str(user.pk))
    user.delete()
    assert id not in live()


@pytest.mark.parametrize("query", ["", "?farewell=1"])
def test_their_own_account(ended, query):
    """Users who delete their own account get the answer of the view, and are signed out."""
    eve = User.objects.create_user("eve")
    client, elsewhere = client_of(eve), client_of(eve)
    ids = {own(client), own(elsewhere)}
    assert client.get(f"/leave/{query}").status_code == 200
    assert not live() & ids
    assert client.get("/who/").content == b""
    assert sorted(ended) == sorted((id, str(eve.pk or 0), "deactivated") for id in ids)


# Password


def test_a_password_that_code_changes(ada, theirs, ended):
    """Outside of a request, all sessions of the user end."""
    ada.set_password("another")
    ada.save()
    assert not live() & theirs
    assert {reason for _, _, reason in ended} == {"password"}


@pytest.mark.parametrize("fields", [None, ["password"]])
def test_a_hash_that_code_stores(ada, theirs, fields):
    """A password counts also if the hash is assigned, as when accounts are imported."""
    ada = User.objects.get(pk=ada.pk)
    ada.password = make_password("another")
    ada.save(update_fields=fields)
    assert not live() & theirs


def test_by_the_command(ada, theirs, monkeypatch):
    """``manage.py changepassword`` ends all sessions of the user."""
    monkeypatch.setattr("getpass.getpass", lambda *args, **options: "k3zR-lovelace")
    call_command("changepassword", "ada")
    assert not live() & theirs


def test_their_own_password(ada, theirs, ended):
    """A user who changes the password stays signed in where she does it, and only there."""
    client = client_of(ada)
    before = own(client)
    words = {"old_password": "engine", "new_password1": NEW, "new_password2": NEW}
    assert client.post("/password/", words).url == "/"
    assert own(client) != before
    assert own(client) in live()
    assert not live() & theirs
    assert {id for id, _, _ in ended} == theirs
    assert client.get("/who/").content == b"ada"


def test_their_own_password_in_one_transaction(ada, theirs, monkeypatch):
    """The same in a site whose requests are transactions: there, sessions end after the view."""
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    client = client_of(ada)
    words = {"old_password": "engine", "new_password1": NEW, "new_password2": NEW}
    assert client.post("/password/", words).url == "/"
    assert own(client) in live()
    assert not live() & theirs


def test_their_own_password_in_an_async_view(ada, theirs):
    """The same in an asynchronous view."""
    client = client_of(ada, AsyncClient)
    assert asyncio.run(client.get("/apassword/")).status_code == 200
    assert own(client) in live()
    assert not live() & theirs


def test_by_staff(ada, theirs):
    """If a staff member changes a user's password, all sessions of that user end."""
    client = client_of(User.objects.create_superuser("admin"))
    words = {"password1": "k3zR-x9-lovelace", "password2": "k3zR-x9-lovelace"}
    page = f"/admin/auth/user/{ada.pk}/password/"
    assert client.post(page, {**words, "usable_password": "true"}).status_code == 302
    assert not live() & theirs
    assert own(client) in live()


def test_staff_change_their_own(theirs):
    """A staff member who changes the own password in the admin stays signed in there."""
    admin = User.objects.create_superuser("admin", password="engine")
    client, elsewhere = client_of(admin), client_of(admin)
    words = {"old_password": "engine", "new_password1": NEW, "new_password2": NEW}
    assert client.post("/admin/password_change/", words).status_code == 302
    assert own(client) in live()
    assert own(elsewhere) not in live()


# What is no change


@pytest.mark.parametrize("world", ["sync", "async"])
def test_a_hash_that_is_upgraded(ada, theirs, settings, ended, world):
    """A sign-in that stores the same password with another hasher ends nothing."""
    settings.PASSWORD_HASHERS = [f"{__name__}.Newer", *settings.PASSWORD_HASHERS]
    before = ada.password
    if world == "sync":
        assert authenticate(username="ada", password="engine") == ada
    else:
        assert asyncio.run(aauthenticate(username="ada", password="engine")) == ada
    ada.refresh_from_db()
    assert ada.password != before
    assert theirs <= live()
    assert ended == []


def test_what_looks_like_an_upgrade(ada, theirs):
    """Another password is a change, even if it is stored as an upgrade is."""
    ada.set_password("one")
    ada.save()
    id = signed_in(ada)
    ada.password = make_password("two")
    ada.save(update_fields=["password"])
    assert id not in live()
    ada.password = "of a hasher that is not installed"
    User.objects.filter(pk=ada.pk).update(password=ada.password)
    id = signed_in(str(ada.pk))
    ada.password = make_password("three")
    ada.save(update_fields=["password"])
    assert id not in live()


def test_unusable_passwords(ada, theirs):
    """An account without a usable password that gets another one of these did not change."""
    ada.set_unusable_password()
    ada.save()
    assert not live() & theirs
    id = signed_in(ada)
    ada.set_unusable_password()
    ada.save()
    assert id in live()
    ada.set_password("engine")
    ada.save()
    assert id not in live()


def test_other_fields(ada, theirs, django_assert_num_queries):
    """Saving anything else ends nothing, and looks nothing up if it names the fields."""
    ada.first_name = "Ada"
    ada.save()
    ada.set_password("not saved")
    ada.is_active = False
    with django_assert_num_queries(1):
        ada.save(update_fields=["last_login"])
    assert theirs <= live()
    ada.refresh_from_db()
    ada.is_active, ada.password = False, make_password("not saved")
    ada.save(update_fields=["is_active"])
    assert not live() & theirs


def test_only_one_of_both_is_saved(ada, theirs):
    """A value that is not saved counts as no change."""
    ada.is_active = False
    ada.save(update_fields=["password"])
    assert theirs <= live()


def test_new_users(ended):
    """A new user has no sessions to end, also with a primary key that is given."""
    User.objects.create_user("eve", password="x")
    User(pk=4711, username="mallory", is_active=False).save()
    assert ended == []


def test_fixtures(ada, theirs, tmp_path):
    """``loaddata`` restores rows as they are, and ends nothing."""
    call_command("dumpdata", "auth.user", output=str(tmp_path / "users.json"))
    User.objects.filter(pk=ada.pk).update(is_active=False, password="x")
    call_command("loaddata", str(tmp_path / "users.json"))
    assert theirs <= live()


def test_bulk_changes(ada, theirs):
    """A change in the database sends no signal. Then the site ends the sessions itself."""
    User.objects.filter(pk=ada.pk).update(is_active=False)
    assert theirs <= live()
    assert registry.end_all_of(ada, reason="deactivated") == 2


def test_a_rollback(ada, theirs):
    """A change that is rolled back ends nothing. Nothing ends before the commit."""

    ada.set_password("another")
    with transaction.atomic():
        ada.save()
        transaction.set_rollback(True)
    assert theirs <= live()
    with transaction.atomic():
        User.objects.get(pk=ada.pk).delete()
        assert theirs <= live()
    assert not live() & theirs


# Settings and failures


def test_off(ada, theirs, settings, session_redis, django_assert_num_queries):
    """By default nothing ends, and saving a user takes no further query."""
    settings.SESSION_REDIS = session_redis
    ada.set_password("another")
    ada.is_active = False
    with django_assert_num_queries(1):
        ada.save()
    id = signed_in("4711")
    ada.delete()
    assert theirs | {id} <= live()


@pytest.mark.parametrize("name", ["END_ON_DEACTIVATION", "END_ON_PASSWORD_CHANGE"])
def test_one_setting(ada, theirs, settings, session_redis, name):
    """Each setting is about its own kind of change."""
    settings.SESSION_REDIS = {**session_redis, name: True}
    is_other = name == "END_ON_DEACTIVATION"
    if is_other:
        ada.set_password("another")
    else:
        ada.is_active = False
    ada.save()
    assert theirs <= live()
    if is_other:
        ada.is_active = False
    else:
        ada.set_password("another")
    ada.save()
    assert not live() & theirs


def test_wrong_settings(ada, settings):
    """A setting with other mistakes does not keep users from being saved."""
    for wrong in (None, {"LOCATION": "nowhere"}, {}):
        settings.SESSION_REDIS = wrong
        ada.save()


def test_another_user_model(settings):
    """The user model can be any, with fields or without."""
    settings.AUTH_USER_MODEL = "people.Person"
    person = Person.objects.create(email="ada@example.com", password=make_password("one"))
    id = signed_in(str(person.pk))
    person.set_password("two")
    person.save()
    assert id not in live()
    id = signed_in(str(person.pk))
    person.is_active = False
    person.save(update_fields=["email"])  # is_active is not a field of this model
    assert id in live()
    settings.AUTH_USER_MODEL = "people.Employee"
    Employee.objects.create(person=person)
    person.delete()  # and with it the employee
    assert id not in live()


def test_users_of_a_former_model(ada, settings, ended):
    """A model that is not the site's user model has no sessions to end."""
    settings.AUTH_USER_MODEL = "people.Person"
    ada.set_password("another")
    ada.is_active = False
    ada.save()
    ada.delete()
    assert ended == []


def test_a_site_without_users(settings):
    """A site without a user model starts all the same."""
    settings.AUTH_USER_MODEL = "nowhere.User"


def test_redis_is_away(ada, theirs, settings, session_redis, caplog):
    """The change stands. The log says whose sessions could not be ended."""
    location = f"redis://127.0.0.1:{free_port()}"
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "LOCATION": location}
    ada.set_password("another")
    with caplog.at_level(logging.ERROR, "sessions_redis"):
        ada.save()
    settings.SESSION_REDIS = session_redis
    (record,) = [one for one in caplog.records if "User" in one.getMessage()]
    assert f"User {ada.pk} got another password, but not all" in record.getMessage()
    assert User.objects.get(pk=ada.pk).check_password("another")
    assert theirs <= live()


def test_tenants(ada, settings, session_redis, caplog):
    """Sessions end in the current tenant. Without one, the log says that none ended."""
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "KEY_PREFIX": "tests.tenancy.key_prefix"}
    prefix, ids = session_redis["KEY_PREFIX"], {}
    for name in ("a", "b"):
        with inside(f"{prefix}:{name}"):
            ids[name] = signed_in(ada)
    with inside(f"{prefix}:a"), transaction.atomic():
        ada.set_password("another")
        ada.save()
    ada.set_password("one more")
    with caplog.at_level(logging.ERROR, "sessions_redis"):
        ada.save()
    assert "not all of the user's sessions could be ended" in caplog.text
    assert "LookupError" in caplog.text
    for name, lives in (("a", False), ("b", True)):
        with inside(f"{prefix}:{name}"):
            assert (registry.find(ids[name]) is not None) is lives
