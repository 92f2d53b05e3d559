"""Engines that keep sessions in a table."""

from importlib import import_module

import pytest

from sessions_redis import former
from sessions_redis.keys import Key

DB = "django.contrib.sessions.backends.db"
CACHED_DB = "django.contrib.sessions.backends.cached_db"
QSESSIONS = ("qsessions.backends.db", "qsessions.backends.cached_db")
USER_SESSIONS = "user_sessions.backends.db"
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
