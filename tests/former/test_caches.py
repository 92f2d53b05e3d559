"""Django's cache engine, on each cache that Django and others have."""

import pytest
from django.contrib.sessions.backends.cache import SessionStore
from django.core.cache import caches
from django.core.management import call_command

from sessions_redis import former
from sessions_redis.keys import Key

ENGINE = "django.contrib.sessions.backends.cache"

BACKENDS = {
    "redis": "django.core.cache.backends.redis.RedisCache",
    "django-redis": "django_redis.cache.RedisCache",
    "django-valkey": "django_valkey.cache.ValkeyCache",
    "memory": "django.core.cache.backends.locmem.LocMemCache",
    "table": "django.core.cache.backends.db.DatabaseCache",
    "files": "django.core.cache.backends.filebased.FileBasedCache",
}

pytestmark = pytest.mark.django_db


@pytest.fixture
def cache_at(settings, prefix):
    def change(backend, location, **options):
        settings.CACHES = {
            "default": {
                "BACKEND": BACKENDS[backend],
                "LOCATION": location,
                "KEY_PREFIX": f"{prefix}:c",
                "OPTIONS": options,
            }
        }

    return change


@pytest.fixture(params=BACKENDS)
def backend(request, server, cache_at, tmp_path, prefix):
    locations = {"memory": prefix, "table": "cached", "files": str(tmp_path)}
    cache_at(request.param, locations.get(request.param, server.url))
    if request.param == "table":
        call_command("createcachetable", verbosity=0)
    return request.param


@pytest.fixture
def store(backend):
    return former.of(ENGINE)


def written(**entries):
    session = SessionStore()
    session.create()
    session.update(entries)
    session.save()
    return Key(session.session_key)


def test_a_session_of_the_engine(store, call):
    """A session comes with its entries and its remaining lifetime."""
    key = written(color="red", when={1, 2}, _session_expiry=300)
    found = call(store, "load", key)
    assert found.entries == {"color": "red", "when": {1, 2}, "_session_expiry": 300}
    assert 200 < found.ttl <= 300


def test_the_lifetime_that_the_cache_has(store):
    """The lifetime is what the cache still keeps the session for, not what it began with."""
    key = written(color="red", _session_expiry=300)
    caches["default"].touch(SessionStore(key.session_key).cache_key, 100)
    assert 50 < store.load(key).ttl <= 100


def test_no_such_session(store, call, key):
    """An unknown key is absent."""
    assert call(store, "load", key) is None


def test_create(store, call, key):
    """A created session has its lifetime, and the engine finds it."""
    assert call(store, "create", key, {"color": "red"}, 77.5) is True
    assert 50 < store.load(key).ttl <= 78
    assert SessionStore(key.session_key)["color"] == "red"
    assert call(store, "create", key, {"color": "blue"}, 60) is False
    assert SessionStore(key.session_key)["color"] == "red"


def test_save(store, call):
    """Saving replaces entries and lifetime."""
    key = written(color="red")
    assert call(store, "save", key, {"size": 1}, 50) is True
    found = store.load(key)
    assert found.entries == {"size": 1}
    assert 0 < found.ttl <= 50
    assert dict(SessionStore(key.session_key).items()) == {"size": 1}


def test_saving_never_creates(store, call, key):
    """Saving an unknown session writes nothing."""
    assert call(store, "save", key, {"size": 1}, 50) is False
    assert store.load(key) is None


def test_delete(store, call):
    """A deleted session is gone for the engine too. Deleting it again is silent."""
    key = written(color="red")
    call(store, "delete", key)
    assert store.load(key) is None
    assert "color" not in SessionStore(key.session_key)
    call(store, "delete", key)
