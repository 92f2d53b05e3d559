"""Tests finding the users of sessions, for several kinds of user models."""

import uuid

import pytest
from django.contrib import admin
from django.contrib.auth.models import User

from sessions_redis import registry
from sessions_redis.admin import users
from sessions_redis.admin.viewers import Viewer
from sessions_redis.engine import SessionStore
from sessions_redis.models import Session
from tests.people.models import Employee, Guest, Member, Person
from tests.section import signed_in

pytestmark = pytest.mark.django_db

NAMES = ["a:b", "with spaces", "é\n*", "1"]


@pytest.fixture
def person(settings):
    settings.AUTH_USER_MODEL = "people.Person"
    return Person.objects.create(email="Ada@example.com")


def test_many_users_in_one_query(django_assert_num_queries):
    """Many users take one query. Keys without a user, and invalid keys, are left out."""
    found = {str(user.pk): user for user in (User.objects.create_user(n) for n in "abc")}
    with django_assert_num_queries(1):
        assert users.users_of([*found, "4711", "junk", "-1", "9" * 30, ""]) == found
    with django_assert_num_queries(0):
        assert users.users_of(["junk", "9" * 30]) == users.users_of([]) == {}


def test_users_with_uuids(person):
    """A UUID is found in the form that sessions store."""
    assert registry.user_pk_of(person) == str(person.pk)
    assert users.users_of([str(person.pk), str(uuid.uuid4()), "1"]) == {str(person.pk): person}
    assert users.search(person.pk.hex).pks == (str(person.pk),)
    assert users.search("ada@").pks == (str(person.pk),)


def test_users_known_by_name(settings):
    """A primary key may be any text. A model without an e-mail address is searched by name."""
    settings.AUTH_USER_MODEL = "people.Member"
    members = {name: Member.objects.create(name=name) for name in NAMES}
    assert users.users_of(NAMES) == members
    assert users.search("spaces").pks == ("spaces", "with spaces")


def test_users_known_by_another_object(settings, person, django_assert_num_queries):
    """The primary key and the user name field may be relations."""
    settings.AUTH_USER_MODEL = "people.Employee"
    employee = Employee.objects.create(person=person)
    with django_assert_num_queries(1):
        assert users.users_of([str(person.pk), "junk"]) == {str(person.pk): employee}
    with django_assert_num_queries(0):
        assert users.search(str(person.pk)).pks == (str(person.pk),)
        assert users.search("junk").pks == ()


def test_primary_keys_that_are_none(settings, django_assert_num_queries):
    """Other users are found even if a field raises unusual errors or a database refuses NUL."""
    settings.AUTH_USER_MODEL = "people.Guest"
    guest = Guest.objects.create(badge="b1", name="Ada")
    Guest.objects.create(badge="s1", name="Adam")
    wrong = ["v1", "t1", "p1", "a\x00b", "9" * 100_000]
    with django_assert_num_queries(1):
        assert users.users_of(["b1", "s1", *wrong]) == {"b1": guest}
    with django_assert_num_queries(0):
        assert users.users_of(wrong) == {}
    assert users.search("ada").pks == ("ada", "b1")
    for pk in [*wrong[:3], "s1"]:
        assert users.search(pk).pks == ()


def test_a_search_is_capped(monkeypatch):
    """Finds at most `MAX_USERS` by name, and also the user with that primary key."""
    monkeypatch.setattr(users, "MAX_USERS", 3)
    created = [User.objects.create_user(f"user {number}") for number in range(5)]
    last = str(created[-1].pk)
    found = users.search("user")
    assert (len(found.pks), found.capped) == (3, True)
    assert users.search("user 1") == users.Matches((str(created[1].pk),))
    User.objects.filter(pk__in=[user.pk for user in created[:3]]).update(
        email=f"{last}@example.com"
    )
    assert users.search(f"{last}@").capped is False
    assert users.search(last).pks[0] == last


def test_sessions_are_told_whose_they_are(rf, person, django_assert_num_queries):
    """Sessions get the user name as label, and no link if the admin has no page for the user."""
    ids = [signed_in(str(person.pk)), signed_in(), signed_in(str(uuid.uuid4()))]
    request = rf.get("/")
    request.session = SessionStore()
    request.user = User(is_superuser=True)
    found = [Session.of(live) for live in registry.find_many(ids)]
    viewer = Viewer(request, admin.site.get_model_admin(Session))
    with django_assert_num_queries(1):
        viewer.label_users(found)
    assert {session.user_url for session in found} == {None}
    assert [session.owner for session in found] == [
        "Ada@example.com",
        "anonymous",
        f"{found[2].user_pk} (deleted)",
    ]
