"""Engines that keep sessions in a table."""

from datetime import UTC, datetime, timedelta
from importlib import import_module

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore as DbStore
from django.contrib.sessions.models import Session
from django.core import signing
from django.utils import timezone

from sessions_redis import former
from sessions_redis.keys import Key
from tests.former.hostile import HOSTILE

DB = "django.contrib.sessions.backends.db"
CACHED_DB = "django.contrib.sessions.backends.cached_db"
QSESSIONS = ("qsessions.backends.db", "qsessions.backends.cached_db")
USER_SESSIONS = "user_sessions.backends.db"
PLAIN_JSON = "tests.former.engines.plain_json"
WITHOUT_CASE = "tests.former.engines.without_case"
ALL = (DB, CACHED_DB, *QSESSIONS, USER_SESSIONS)

pytestmark = pytest.mark.django_db


@pytest.fixture(params=ALL)
def path(request, package_models):
    return request.param


@pytest.fixture
def store(path):
    return former.of(path)


def written(path, **entries):
    """A session that the engine itself has written."""
    session = import_module(path).SessionStore(None)
    session.create()
    session.update(entries)
    session.save()
    return session


def test_a_session_of_the_engine(path, store, call):
    """A session comes with its entries and its remaining lifetime."""
    session = written(path, color="red", _session_expiry=300)
    found = call(store, "load", Key(session.session_key))
    assert found.entries["color"] == "red"
    assert 200 < found.ttl <= 300


def test_no_such_session(store, call, key):
    """An unknown key is absent."""
    assert call(store, "load", key) is None


def test_create(path, store, call, key):
    """A created session has exactly its lifetime, and the engine finds it."""
    assert call(store, "create", key, {"color": "red"}, 77.5) is True
    found = store.load(key)
    assert 0 < found.ttl <= 77.5
    engine = import_module(path).SessionStore(key.session_key)
    assert engine["color"] == "red"
    assert call(store, "create", key, {"color": "blue"}, 60) is False
    assert store.load(key).entries["color"] == "red"


def test_save(path, store, call):
    """Saving replaces entries and lifetime."""
    session = written(path, color="red")
    key = Key(session.session_key)
    assert call(store, "save", key, {"size": 1}, 50) is True
    found = store.load(key)
    assert "color" not in found.entries
    assert found.entries["size"] == 1
    assert 0 < found.ttl <= 50
    assert import_module(path).SessionStore(key.session_key)["size"] == 1


def test_saving_never_creates(store, call, key):
    """Saving an unknown session writes nothing."""
    assert call(store, "save", key, {"size": 1}, 50) is False
    assert store.load(key) is None
    assert store.count() == 0


def test_delete(path, store, call):
    """A deleted session is gone for the engine too."""
    session = written(path, color="red")
    key = Key(session.session_key)
    call(store, "delete", key)
    assert store.load(key) is None
    assert "color" not in import_module(path).SessionStore(key.session_key)
    call(store, "delete", key)


def cached(path, key):
    engine = import_module(path).SessionStore(key.session_key)
    return engine._cache.get(engine.cache_key)


def model_of(path):
    return former.of(path).model


def test_no_key_from_outside_raises(store, call):
    """A key may be any text. What no engine gives out is absent, and cannot be written."""
    for text in HOSTILE:
        key = Key(text)
        assert call(store, "load", key) is None
        assert call(store, "save", key, {"size": 1}, 50) is False
        call(store, "delete", key)
        store.delete_many([key])
        call(store, "create", key, {"size": 1}, 50)
        found = store.load(key)
        assert found is None or found.entries["size"] == 1


def test_an_expired_session(path, store, call):
    """An expired row is absent, is never saved, and does not keep its key."""
    key = Key(written(path, color="red").session_key)
    model_of(path).objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    assert call(store, "load", key) is None
    assert call(store, "save", key, {"size": 1}, 50) is False
    assert [found.problem for found in next(store.batches(10))] == ["expired"]
    assert call(store, "create", key, {"size": 1}, 50) is True
    assert store.load(key).entries["size"] == 1


@pytest.mark.parametrize("text", ["", "damaged", "a:b:c", "\x00", "e30:1vXq6M:x"])
def test_a_damaged_session(path, store, call, text):
    """A row that does not decode is no session, and the list says so."""
    key = Key(written(path, color="red").session_key)
    model_of(path).objects.update(session_data=text)
    assert call(store, "load", key) is None
    assert [found.problem for found in next(store.batches(10))] == ["not decodable"]
    assert call(store, "create", key, {"size": 1}, 50) is False


def test_what_decodes_but_is_no_session(store):
    """A signed list is no session."""
    key = Key(written(DB).session_key)
    Session.objects.update(session_data=signing.dumps(["a"], salt=DbStore().key_salt))
    assert former.of(DB).load(key) is None


def test_an_empty_session():
    """A session without entries is a session."""
    key = Key(written(DB).session_key)
    assert former.of(DB).load(key).entries == {}


def test_an_engine_that_decodes_by_itself():
    """An engine with a decode() of its own says itself what is in a row."""
    key = Key(written(PLAIN_JSON, color="red").session_key)
    assert former.of(PLAIN_JSON).load(key).entries == {"color": "red"}
    Session.objects.update(session_data="{}")
    assert former.of(PLAIN_JSON).load(key).entries == {}


def test_all_sessions(path, store):
    """A list has every session, in batches of the size that was asked for."""
    ids = {Key(written(path, number=number).session_key).id: number for number in range(7)}
    batches = list(store.batches(3))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    found = {one.key.id: one.session.entries["number"] for batch in batches for one in batch}
    assert found == ids
    assert store.count() == 7
    store.delete_many([one.key for batch in batches for one in batch])
    assert store.count() == 0
    assert list(store.batches(3)) == []


@pytest.mark.parametrize("path", [CACHED_DB, QSESSIONS[1]])
def test_the_cache_follows_the_rows(path, store):
    """After a session was saved or deleted, its copy in the engine's cache is gone or the same."""
    keys = [Key(written(path, color="red").session_key) for _ in range(4)]
    assert store.save(keys[0], {"color": "blue"}, 50) is True
    assert cached(path, keys[0])["color"] == "blue"
    store.delete(keys[1])
    store.delete_many(keys[2:])
    for key in keys[1:]:
        assert cached(path, key) is None


@pytest.mark.parametrize("path", [CACHED_DB, QSESSIONS[1]])
def test_a_session_that_only_the_cache_has(path, store):
    """The row says whether the session lives. A copy in the cache may be late."""
    key = Key(written(path, color="red").session_key)
    model_of(path).objects.all()._raw_delete("default")
    assert "color" in import_module(path).SessionStore(key.session_key)
    assert store.load(key) is None
    assert store.save(key, {"size": 1}, 50) is False


@pytest.mark.parametrize("path", [QSESSIONS[0], USER_SESSIONS])
def test_where_the_session_was_used(path, store, call, key):
    """Address and user agent of these packages come along, and stay when the session is saved."""
    assert call(store, "create", key, {"a": 1}, 50, ip="198.51.100.7", agent="Firefox") is True
    found = call(store, "load", key)
    assert (found.ip, found.agent) == ("198.51.100.7", "Firefox")
    assert call(store, "save", key, {"a": 2}, 50) is True
    found = next(store.batches(1))[0].session
    assert (found.ip, found.agent) == ("198.51.100.7", "Firefox")


def test_when_the_session_was_created(key):
    """django-qsessions knows when a session was created."""
    store = former.of(QSESSIONS[0])
    store.create(key, {"a": 1}, 50)
    created = timezone.now() - timedelta(days=3)
    store.model.objects.filter(pk=key.session_key).update(created_at=created)
    assert store.load(key).created == int(created.timestamp())


def test_other_engines_know_no_visitor(key):
    """Django's own table has no such columns."""
    assert former.of(DB).create(key, {"a": 1}, 50, ip="198.51.100.7", agent="Firefox") is True
    found = former.of(DB).load(key)
    assert (found.ip, found.agent, found.created) == ("", "", None)


@pytest.mark.parametrize("path", [*QSESSIONS, USER_SESSIONS])
def test_the_user_of_a_session(path, store, key, django_user_model):
    """These packages have a column for the user. It is written from the session's entries."""
    user = django_user_model.objects.create_user("ada")
    assert store.create(key, {SESSION_KEY: str(user.pk)}, 50) is True
    assert store.model.objects.get(pk=key.session_key).user_id == user.pk
    other = django_user_model.objects.create_user("grace")
    assert store.save(key, {SESSION_KEY: str(other.pk)}, 50) is True
    assert store.model.objects.get(pk=key.session_key).user_id == other.pk


def test_a_row_of_another_case(package_models):
    """A database that compares without case does not let in a key that was never given out."""
    store = former.of(WITHOUT_CASE)
    store.create(Key("abcdefgh"), {"color": "red"}, 50)
    assert store.load(Key("abcdefgh")).entries == {"color": "red"}
    assert store.load(Key("ABCDEFGH")) is None
    assert store.save(Key("ABCDEFGH"), {"color": "blue"}, 50) is False
    store.delete(Key("ABCDEFGH"))
    assert store.load(Key("abcdefgh")).entries == {"color": "red"}


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Caracas"])
@pytest.mark.parametrize("use_tz", [True, False])
def test_time_zones(path, store, key, settings, zone, use_tz):
    """Lifetimes are exact in every time zone, also over a change to summer time."""
    settings.USE_TZ, settings.TIME_ZONE = use_tz, zone
    for days in (100, 200, 300):
        store.create(key, {"color": "red"}, days * 86400)
        assert days * 86400 - 100 < store.load(key).ttl <= days * 86400
        assert import_module(path).SessionStore(key.session_key)["color"] == "red"
        assert store.save(key, {"color": "red"}, 60) is True
        assert 0 < store.load(key).ttl <= 60
        store.delete(key)


def test_a_lifetime_beyond_all_times(store, key):
    """A database knows no time after the year 9999."""
    assert store.create(key, {"color": "red"}, 10.0**15) is True
    assert store.load(key).ttl > 10**10


@pytest.mark.parametrize("use_tz", [True, False])
def test_times_at_the_ends(key, settings, use_tz):
    """A row may have the latest or the earliest of all times."""
    settings.USE_TZ, settings.TIME_ZONE = use_tz, "Europe/Berlin"
    store = former.of(DB)
    store.create(key, {"color": "red"}, 50)
    zone = UTC if use_tz else None
    for year, day, lives in ((9999, (12, 31), True), (1, (1, 1), False)):
        Session.objects.update(expire_date=datetime(year, *day, 12, tzinfo=zone))
        assert (store.load(key) is not None) is lives
