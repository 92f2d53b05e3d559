"""Engines of which nothing is known, and the choice of a store for an engine."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from sessions_redis import former
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.former.caches import CacheStore
from sessions_redis.former.database import DatabaseStore, UserSessionsStore
from sessions_redis.former.files import FileStore
from sessions_redis.former.other import OtherStore
from sessions_redis.former.redis_sessions import RedisSessionsStore
from sessions_redis.keys import Key
from tests.former.engines import in_memory
from tests.former.hostile import HOSTILE

ENGINE = "tests.former.engines.in_memory"
BACKENDS = "django.contrib.sessions.backends"


@pytest.fixture
def store():
    yield former.of(ENGINE)
    in_memory.SESSIONS.clear()


def test_a_session(store, call, key):
    """A session is created once, saved, and deleted, by the methods that every engine has."""
    assert call(store, "load", key) is None
    assert call(store, "save", key, {"size": 1}, 50) is False
    assert call(store, "create", key, {"_session_expiry": 300}, 50) is True
    assert call(store, "create", key, {"size": 1}, 50) is False
    found = call(store, "load", key)
    assert found.entries == {"_session_expiry": 300}
    assert found.ttl == 300
    assert call(store, "save", key, {"size": 1}, 50) is True
    assert call(store, "load", key).entries == {"size": 1}
    assert call(store, "save", key, {}, 50) is True
    assert call(store, "load", key).entries == {}
    call(store, "delete", key)
    assert in_memory.SESSIONS == {}
    call(store, "delete", key)


def test_an_expired_session(store, key):
    """A session that says itself that it is over is absent."""
    store.create(key, {"_session_expiry": "2001-01-01T00:00:00+00:00"}, 50)
    assert store.load(key) is None


def test_loading_never_creates(store, key):
    """Some engines begin a new session where they find none. That does not happen here."""
    assert store.load(key) is None
    assert in_memory.SESSIONS == {}
    in_memory.SessionStore(key.session_key).load()
    assert len(in_memory.SESSIONS) == 1


def test_no_key_from_outside_raises(store, call):
    """A key may be any text."""
    for text in HOSTILE:
        assert call(store, "load", Key(text)) is None
        call(store, "delete", Key(text))
    store.delete_many([Key(text) for text in HOSTILE])


def test_another_process_was_faster(store, key, monkeypatch):
    """An engine that refuses to create or to save has the session, or has it no longer."""
    monkeypatch.setattr(in_memory.SessionStore, "exists", lambda self, session_key: False)
    in_memory.SESSIONS[key.session_key] = in_memory.SessionStore().encode({"color": "red"})
    assert store.create(key, {"color": "blue"}, 50) is False
    monkeypatch.setattr(in_memory.SessionStore, "exists", lambda self, session_key: True)
    assert store.save(key, {"is refused": True}, 50) is False


def test_an_outage(store, key):
    """An outage that the engine takes for another refusal is still an outage."""
    with pytest.raises(SessionStoreUnavailable, match="not there"):
        store.create(key, {"is away": True}, 50)
    store.create(key, {"color": "red"}, 50)
    with pytest.raises(SessionStoreUnavailable, match="not there"):
        store.save(key, {"is away": True}, 50)


def test_all_sessions(store):
    """Nothing says how such an engine lists its sessions."""
    assert store.count() is None
    with pytest.raises(ImproperlyConfigured, match=ENGINE):
        next(store.batches(10))


def test_the_store_of_an_engine():
    """What reads an engine's sessions follows from the classes that it is made of."""
    assert type(former.of(f"{BACKENDS}.db")) is DatabaseStore
    assert type(former.of(f"{BACKENDS}.cached_db")) is DatabaseStore
    assert type(former.of(f"{BACKENDS}.cache")) is CacheStore
    assert type(former.of("redis_sessions.session")) is RedisSessionsStore
    assert type(former.of(ENGINE)) is OtherStore
    assert former.of(ENGINE) is former.of(ENGINE)


def test_the_store_of_an_engine_with_models(package_models):
    """The same holds for engines that bring their own table."""
    assert type(former.of("qsessions.backends.cached_db")) is DatabaseStore
    assert type(former.of("user_sessions.backends.db")) is UserSessionsStore
    assert type(former.of("tests.former.engines.without_case")) is DatabaseStore


def test_other_settings(settings, tmp_path):
    """A test that changes settings which an engine reads gets a new store."""
    before = former.of(f"{BACKENDS}.file")
    assert type(before) is FileStore
    settings.SESSION_COOKIE_AGE = 60
    assert former.of(f"{BACKENDS}.file") is not before
    before = former.of(f"{BACKENDS}.file")
    settings.TIME_ZONE = "Europe/Berlin"
    assert former.of(f"{BACKENDS}.file") is before


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (f"{BACKENDS}.signed_cookies", "no key"),
        ("sessions_redis.engine", "this engine"),
        ("tests.ruled_engine", "this engine"),
        ("no.such.module", "not the module"),
        ("json", "not the module"),
        ("", "not the module"),
        (".relative", "not the module"),
        (f"{__name__}", "not the module"),
        ("tests.former.engines.not_installed", "INSTALLED_APPS"),
        ("tests.former.engines.broken", "not the module"),
    ],
)
def test_an_engine_that_cannot_be_used(path, reason):
    """An engine that has no sessions to move is refused with the reason."""
    assert reason in former.refusal(path)
    with pytest.raises(ImproperlyConfigured, match=reason):
        former.of(path)


SessionStore = "not a class"


def test_an_engine_that_can_be_used():
    """There is nothing to say about other engines."""
    assert former.refusal(f"{BACKENDS}.db") is None
    assert former.refusal(ENGINE) is None


def test_what_is_shown_of_a_session(store, key):
    """Neither a session nor a row of a list shows what is in it."""
    store.create(key, {"password": "secret"}, 50)
    found = former.Found(key, store.load(key))
    for shown in (repr(found), repr(found.session), str(found)):
        assert "secret" not in shown
        assert key.session_key not in shown
