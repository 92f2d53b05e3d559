"""The engine of django-redis-sessions."""

import pytest
from redis_sessions import session as module
from redis_sessions import settings as package_settings
from redis_sessions.session import SessionStore

from sessions_redis import former
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.keys import Key
from tests.servers import Server

ENGINE = "redis_sessions.session"


@pytest.fixture(params=["with a prefix", "without"])
def store(request, server, prefix, monkeypatch, raw):
    """The package reads its settings once, so tests change its module."""
    use(monkeypatch, server.client(socket_timeout=5), prefix if "with a" in request.param else "")
    yield former.of(ENGINE)
    raw.delete(*(stored(Key(text)) for text in KEYS))
    KEYS.clear()


# The session keys of the test, which are keys of the server if there is no prefix.
KEYS = []


def stored(key):
    return SessionStore(key.session_key).get_real_stored_key(key.session_key)


def use(monkeypatch, client, prefix):
    monkeypatch.setattr(package_settings, "SESSION_REDIS_CONNECTION_OBJECT", client)
    monkeypatch.setattr(package_settings, "SESSION_REDIS_PREFIX", prefix)
    monkeypatch.setattr(module.RedisServer, "_RedisServer__redis", {})


@pytest.fixture
def key(key):
    return kept(key)


def kept(key):
    KEYS.append(key.session_key)
    return key


def written(**entries):
    session = SessionStore()
    session.create()
    session.update(entries)
    session.save()
    return kept(Key(session.session_key))


def test_a_session_of_the_engine(store, call):
    """A session comes with its entries and its remaining lifetime."""
    found = call(store, "load", written(color="red", _session_expiry=300))
    assert found.entries == {"color": "red", "_session_expiry": 300}
    assert 200 < found.ttl <= 300


def test_no_such_session(store, call, key):
    """An unknown key is absent."""
    assert call(store, "load", key) is None


def test_create(store, call, key):
    """A created session has exactly its lifetime, and the engine finds it."""
    assert call(store, "create", key, {"color": "red"}, 77.5) is True
    assert 0 < store.load(key).ttl <= 77.5
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


def test_saving_never_creates(store, call, key, raw):
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


@pytest.mark.parametrize("kind", ["text", "list"])
def test_another_key_of_the_database(store, call, key, raw, prefix, kind):
    """A visitor who names a key of something else neither reads nor deletes it."""
    name = stored(key)
    raw.set(name, "precious") if kind == "text" else raw.rpush(name, "precious")
    raw.expire(name, 100)
    assert call(store, "load", key) is None
    assert call(store, "save", key, {"size": 1}, 50) is False
    assert call(store, "create", key, {"size": 1}, 50) is False
    call(store, "delete", key)
    store.delete_many([key])
    assert raw.exists(name)


def test_a_session_without_a_lifetime_in_redis(store, raw):
    """A session that Redis keeps for ever lives as long as it says itself."""
    key = written(_session_expiry=300)
    raw.persist(stored(key))
    assert store.load(key).ttl == 300
    raw.set(
        stored(key),
        SessionStore().encode({"_session_expiry": "2001-01-01T00:00:00+00:00"}),
    )
    assert store.load(key) is None


def test_all_sessions(store, raw, prefix):
    """A list has every session, and what is damaged."""
    ids = {written(number=number).id for number in range(5)}
    damaged = written()
    name = stored(damaged)
    raw.set(name, "damaged", ex=100)
    found = [one for batch in store.batches(2) for one in batch]
    assert ids <= {one.key.id for one in found if one.session}
    assert damaged.id in {one.key.id for one in found if one.problem == "not decodable"}
    store.delete_many([one.key for one in found if one.key.id in ids])
    assert ids.isdisjoint(one.key.id for batch in store.batches(2) for one in batch)


def test_redis_is_away(tmp_path, monkeypatch, call, key):
    """The engine takes an outage for an unknown session. This does not."""
    server = Server(tmp_path)
    use(monkeypatch, server.client(), "")
    store = former.of(ENGINE)
    server.stop()
    for method, arguments in (
        ("load", ()),
        ("create", ({}, 10)),
        ("save", ({}, 10)),
        ("delete", ()),
    ):
        with pytest.raises(SessionStoreUnavailable, match=ENGINE) as caught:
            call(store, method, key, *arguments)
        assert key.session_key not in str(caught.value)
    with pytest.raises(SessionStoreUnavailable):
        next(store.batches(10))
