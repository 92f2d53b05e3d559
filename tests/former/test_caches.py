"""Django's cache engine, on each cache that Django and others have."""

import pickle
import traceback
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import ClassVar

import pytest
from django.contrib.sessions.backends.cache import SessionStore
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command

from sessions_redis import former
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.keys import Key
from tests.former.hostile import HOSTILE
from tests.servers import Server

ENGINE = "django.contrib.sessions.backends.cache"

BACKENDS = {
    "redis": "django.core.cache.backends.redis.RedisCache",
    "django-redis": "django_redis.cache.RedisCache",
    "django-valkey": "django_valkey.cache.ValkeyCache",
    "memory": "django.core.cache.backends.locmem.LocMemCache",
    "table": "django.core.cache.backends.db.DatabaseCache",
    "files": "django.core.cache.backends.filebased.FileBasedCache",
}

REDIS = ("redis", "django-redis", "django-valkey")

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
    assert found.is_exact is True
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


@pytest.mark.parametrize("backend", [*REDIS, "memory"], indirect=True)
def test_many_create_the_same_session(store, key):
    """Of threads that create the same session at once, one creates it."""
    with ThreadPoolExecutor(8) as threads:
        created = list(
            threads.map(lambda number: store.create(key, {"number": number}, 50), range(40))
        )
    assert created.count(True) == 1
    assert store.load(key).entries == {"number": created.index(True)}


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


def raw_name(key):
    store = SessionStore(key.session_key)
    return store._cache.make_key(store.cache_key)


def test_no_key_from_outside_raises(store, call, recwarn):
    """A key may be any text. What no engine gives out is absent, and causes no warning."""
    for text in HOSTILE:
        key = Key(text)
        assert call(store, "load", key) is None
        assert call(store, "save", key, {"size": 1}, 50) is False
        call(store, "delete", key)
        store.delete_many([key])
        call(store, "create", key, {"size": 1}, 50)
        found = store.load(key)
        assert found is None or found.entries["size"] == 1
    assert list(recwarn) == []


@pytest.mark.parametrize("backend", ["memory", "table", "files"], indirect=True)
def test_an_expired_session(store, call, key):
    """An expired session is absent, is never saved, and does not keep its key."""
    store.create(key, {"color": "red"}, 1)
    age(key, -3600)
    assert call(store, "load", key) is None
    assert call(store, "save", key, {"size": 1}, 50) is False
    assert call(store, "create", key, {"size": 1}, 50) is True


def age(key, seconds):
    """Change how long the cache keeps the session."""
    store = SessionStore(key.session_key)
    data = store._cache.get(store.cache_key)
    store._cache.set(store.cache_key, data, seconds)


class Gone:
    """A class that a later version of the site does not have."""


def test_a_value_whose_class_is_gone(store, call, key, monkeypatch):
    """A session that cannot be unpickled is no session, and its key stays taken."""
    store.create(key, {"value": Gone()}, 50)
    monkeypatch.delitem(globals(), "Gone")
    assert call(store, "load", key) is None
    assert call(store, "create", key, {"size": 1}, 50) is False


def test_a_value_that_is_no_session(store, call, key):
    """What is not a dictionary of entries is no session."""
    session = SessionStore(key.session_key)
    session._cache.set(session.cache_key, ["a"], 50)
    assert call(store, "load", key) is None
    session._cache.set(session.cache_key, {}, 50)
    assert call(store, "load", key).entries == {}


@pytest.mark.parametrize("backend", REDIS, indirect=True)
def test_a_key_of_another_type(store, call, key, raw):
    """A list where a session should be is no session."""
    raw.rpush(raw_name(key), "value")
    raw.expire(raw_name(key), 50)
    assert call(store, "load", key) is None
    assert call(store, "create", key, {"size": 1}, 50) is False


@pytest.mark.parametrize("backend", [*REDIS, "memory", "files"], indirect=True)
@pytest.mark.parametrize("expiry", [300, "damaged", {"a": "b"}, "2001-01-01T00:00:00+00:00"])
def test_a_session_that_the_cache_keeps_for_ever(store, key, settings, expiry):
    """The session then lives as long as it says itself. If that is damaged, as long as others."""
    session = SessionStore(key.session_key)
    session._cache.set(session.cache_key, {"_session_expiry": expiry}, None)
    found = store.load(key)
    if expiry == "2001-01-01T00:00:00+00:00":
        assert found is None
    else:
        assert found.ttl == (300 if expiry == 300 else settings.SESSION_COOKIE_AGE)
        assert found.is_exact is False
    store.delete(key)


@pytest.mark.parametrize("backend", REDIS, indirect=True)
def test_exact_lifetimes(store, key, raw):
    """Redis keeps lifetimes to the millisecond."""
    store.create(key, {"color": "red"}, 77.777)
    assert 70_000 < raw.pttl(raw_name(key)) <= 77_777
    store.save(key, {"color": "red"}, 0.5)
    assert raw.pttl(raw_name(key)) <= 500


@pytest.mark.parametrize("backend", REDIS, indirect=True)
def test_all_sessions(store, raw, prefix):
    """A list has every session, and nothing else in the cache."""
    ids = {written(number=number).id: number for number in range(7)}
    damaged = written()
    raw.set(raw_name(damaged), b"damaged", ex=100)
    caches["default"].set("other", "value", 100)
    raw.set(raw_name(Key("django.contrib.sessions\x00")), "x", ex=100)
    batches = list(store.batches(3))
    assert all(len(batch) <= 3 for batch in batches)
    found = {one.key.id: one for batch in batches for one in batch}
    assert found.pop(damaged.id).problem == "not decodable"
    assert {id: one.session.entries["number"] for id, one in found.items()} == ids
    assert store.count() is None
    store.delete_many([one.key for one in found.values()])
    assert {one.key.id for batch in store.batches(100) for one in batch} == {damaged.id}


@pytest.mark.parametrize("backend", ["redis"], indirect=True)
def test_a_list_of_many_sessions(store, raw):
    """All sessions are found, however many they are."""
    with raw.pipeline() as pipeline:
        for number in range(1_500):
            pipeline.set(raw_name(Key(f"session-number-{number}")), pickle.dumps({"a": 1}), ex=100)
        pipeline.execute()
    found = [one.key.session_key for batch in store.batches(200) for one in batch]
    assert set(found) == {f"session-number-{number}" for number in range(1_500)}


@pytest.mark.parametrize("backend", ["memory", "table", "files"], indirect=True)
def test_a_cache_that_cannot_list(store):
    """Other caches cannot be asked what they hold."""
    with pytest.raises(ImproperlyConfigured, match="cannot list"):
        next(store.batches(10))


def hidden(key, prefix, version):
    return f"{prefix}:{sha256(key.encode()).hexdigest()}"


@pytest.mark.parametrize("backend", REDIS, indirect=True)
def test_a_cache_that_hides_the_keys(store, settings, key):
    """A KEY_FUNCTION may hide the keys. Then sessions move one by one only."""
    entry = settings.CACHES["default"]
    settings.CACHES = {"default": {**entry, "KEY_FUNCTION": f"{__name__}.hidden"}}
    store = former.of(ENGINE)
    assert store.create(key, {"color": "red"}, 50) is True
    assert store.load(key).entries == {"color": "red"}
    with pytest.raises(ImproperlyConfigured, match="KEY_FUNCTION"):
        next(store.batches(10))


CALLS = {
    "load": (),
    "create": ({"color": "red"}, 50),
    "save": ({"color": "red"}, 50),
    "delete": (),
}


@pytest.mark.parametrize("kind", [*REDIS, "ignoring django-redis", "ignoring django-valkey"])
def test_the_cache_is_away(kind, tmp_path, cache_at, key):
    """
    A cache that is away is an outage, even if it is told to ignore that. No report has the key.
    """
    server = Server(tmp_path)
    options = {"IGNORE_EXCEPTIONS": True} if kind.startswith("ignoring") else {}
    cache_at(kind.removeprefix("ignoring "), server.url, **options)
    store = former.of(ENGINE)
    assert store.create(key, {"color": "red"}, 50) is True
    server.stop()
    for method, arguments in CALLS.items():
        with pytest.raises(SessionStoreUnavailable, match=ENGINE) as caught:
            getattr(store, method)(key, *arguments)
        shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        assert key.session_key not in "".join(shown.format())
    for listing in (lambda: next(store.batches(3)), lambda: store.delete_many([key])):
        with pytest.raises(SessionStoreUnavailable, match=ENGINE):
            listing()


@pytest.mark.parametrize("backend", REDIS, indirect=True)
def test_a_cache_that_refuses(store, server, raw, key, cache_at, backend, prefix):
    """A command that the server refuses is an outage too, and its text has no session key."""
    raw.execute_command("ACL", "SETUSER", prefix, "on", ">secret", "~*", "+@all", "-get", "-set")
    raw.execute_command("ACL", "SETUSER", prefix, "-del")
    cache_at(backend, server.url.replace("://", f"://{prefix}:secret@"))
    for method, arguments in CALLS.items():
        with pytest.raises(SessionStoreUnavailable, match="permissions") as caught:
            getattr(former.of(ENGINE), method)(key, *arguments)
        assert key.session_key not in str(caught.value)
    raw.execute_command("ACL", "DELUSER", prefix)


@pytest.mark.filterwarnings("ignore:.*sharded client should not specify client")
@pytest.mark.parametrize("package", ["django_redis", "django_valkey"])
def test_a_cache_on_several_servers(package, server, cache_at, call, key, prefix):
    """Sessions that are spread over several servers are read, and listed."""
    backend = package.replace("_", "-")
    locations = [server.url, server.url.replace("/0", "/1")]
    cache_at(backend, locations, CLIENT_CLASS=f"{package}.client.ShardClient")
    store = former.of(ENGINE)
    keys = {}
    for number in range(20):
        one = Key(f"session-number-{number}")
        keys[one.id] = number
        assert store.create(one, {"number": number}, 50) is True
    batches = [one for batch in store.batches(5) for one in batch]
    assert {one.key.id: one.session.entries["number"] for one in batches} == keys
    assert call(store, "create", key, {"color": "red"}, 50) is True
    assert call(store, "load", key).entries == {"color": "red"}
    assert call(store, "save", key, {"color": "blue"}, 50) is True
    assert SessionStore(key.session_key)["color"] == "blue"
    store.delete_many([one.key for one in batches])
    call(store, "delete", key)
    assert list(store.batches(5)) == []


class SilentCache(LocMemCache):
    """A cache that says nothing when it stores nothing, as memcached does when it is away."""

    def add(self, key, value, timeout=None, version=None):
        return False


@pytest.mark.parametrize("backend", ["memory"], indirect=True)
def test_a_cache_that_stores_nothing(backend, settings, key):
    """A key is only taken if something is there."""
    settings.CACHES = {"default": {"BACKEND": f"{__name__}.SilentCache", "LOCATION": key.id}}
    with pytest.raises(SessionStoreUnavailable, match="stored nothing"):
        former.of(ENGINE).create(key, {"color": "red"}, 50)


class OwnCache(BaseCache):
    """A cache of a site's own, of which nothing is known."""

    held: ClassVar = {}

    def __init__(self, location, params):
        super().__init__(params)

    def get(self, key, default=None, version=None):
        return pickle.loads(self.held[key]) if key in self.held else default

    def set(self, key, value, timeout=None, version=None):
        self.held[key] = pickle.dumps(value)

    def add(self, key, value, timeout=None, version=None):
        return self.held.setdefault(key, pickle.dumps(value)) == pickle.dumps(value)

    def delete(self, key, version=None):
        return self.held.pop(key, None) is not None


def test_any_other_cache(settings, key, call):
    """A cache that is not known is used as Django uses it."""
    settings.CACHES = {"default": {"BACKEND": f"{__name__}.OwnCache"}}
    store = former.of(ENGINE)
    assert call(store, "create", key, {"_session_expiry": 300}, 50) is True
    assert call(store, "load", key).ttl == 300
    assert call(store, "load", key).is_exact is False
    assert call(store, "save", key, {"size": 1}, 50) is True
    assert call(store, "create", key, {"size": 2}, 50) is False
    OwnCache.held = dict.fromkeys(OwnCache.held, b"damaged")
    assert call(store, "load", key) is None
    call(store, "delete", key)
    assert OwnCache.held == {}


@pytest.mark.parametrize("package", ["django_redis", "django_valkey"])
def test_a_cache_that_keeps_values_longer(package, server, cache_at, call, key, raw):
    """The HerdClient of these packages keeps a session for another minute, in which it is gone."""
    cache_at(package.replace("_", "-"), server.url, CLIENT_CLASS=f"{package}.client.HerdClient")
    store = former.of(ENGINE)
    assert 200 < store.load(written(_session_expiry=300)).ttl <= 300
    assert call(store, "create", key, {"color": "red"}, 50) is True
    assert SessionStore(key.session_key)["color"] == "red"
    assert 0 < call(store, "load", key).ttl <= 50
    assert call(store, "save", key, {"color": "blue"}, 50) is True
    assert SessionStore(key.session_key)["color"] == "blue"
    raw.expire(raw_name(key), 59)
    assert call(store, "load", key) is None
    raw.persist(raw_name(key))
    assert call(store, "load", key).entries == {"color": "blue"}
    call(store, "delete", key)


@pytest.mark.parametrize("use_tz", [True, False])
@pytest.mark.parametrize("backend", ["table"], indirect=True)
def test_times_in_a_table(store, key, settings, use_tz):
    """The table of Django's cache has times as the site has them, also the latest of all."""
    settings.USE_TZ, settings.TIME_ZONE = use_tz, "Europe/Berlin"
    assert store.create(key, {"color": "red"}, 200 * 86400) is True
    assert 200 * 86400 - 100 < store.load(key).ttl <= 200 * 86400
    session = SessionStore(key.session_key)
    session._cache.set(session.cache_key, {"color": "red"}, None)
    assert store.load(key).ttl > 10**10


def test_after_the_commit(call):
    """A cache is in no transaction, so the callback runs at once."""
    called = []
    call(former.of(ENGINE), "after_commit", lambda: called.append("now"))
    assert called == ["now"]


def test_replicas_are_not_asked(server, cache_at, key):
    """Sessions are read where they are written: a replica may not have them yet."""
    nowhere = "redis://127.0.0.1:1/0"
    for backend in REDIS:
        cache_at(backend, [server.url, nowhere])
        store = former.of(ENGINE)
        assert store.create(key, {"color": "red"}, 50) is True
        assert store.load(key).entries == {"color": "red"}
        store.delete(key)
