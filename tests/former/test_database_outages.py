"""Sessions in a database of their own: it goes away, is locked, and is in a transaction."""

import asyncio
import sqlite3
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import CreateError
from django.contrib.sessions.models import Session
from django.db import IntegrityError, connections, transaction

from sessions_redis import former
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.keys import Key
from tests.former.test_database import CACHED_DB, DB, QSESSIONS, USER_SESSIONS
from tests.servers import Server

CALLS = {
    "load": (),
    "create": ({"color": "red"}, 50),
    "save": ({"color": "red"}, 50),
    "delete": (),
}


class Router:
    """Everything is in the database "elsewhere"."""

    def db_for_read(self, model, **hints):
        return "elsewhere"

    db_for_write = db_for_read


@pytest.fixture
def elsewhere(tmp_path, settings, django_db_blocker, _package_models):
    """A database in a file, with the tables of the sessions."""
    path = tmp_path / "database"
    options = {"timeout": 20, "transaction_mode": "IMMEDIATE"}
    entry = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path), "OPTIONS": options}
    settings.DATABASE_ROUTERS = [Router()]
    with django_db_blocker.unblock():
        both = connections.configure_settings({"default": {}, "elsewhere": entry})
        connections.settings["elsewhere"] = both["elsewhere"]
        with connections["elsewhere"].schema_editor() as editor:
            for model in (User, Session, *_package_models.values()):
                editor.create_model(model)
        yield path
        connections["elsewhere"].close()
        del connections["elsewhere"], connections.settings["elsewhere"]


@pytest.fixture(params=[DB, CACHED_DB, *QSESSIONS, USER_SESSIONS])
def store(request, elsewhere):
    return former.of(request.param)


def test_the_database_is_locked(store, key, elsewhere, call):
    """A database that is busy for too long is an outage, not an absent session."""
    assert store.create(key, {"color": "red"}, 50)
    connections["elsewhere"].close()
    connections.settings["elsewhere"]["OPTIONS"]["timeout"] = 0
    other = sqlite3.connect(elsewhere)
    other.execute("BEGIN EXCLUSIVE")
    for method, arguments in CALLS.items():
        with pytest.raises(SessionStoreUnavailable, match=f"{store.path} .*locked"):
            call(store, method, key, *arguments)
    other.rollback()
    other.close()
    assert store.load(key).entries["color"] == "red"


@pytest.mark.parametrize("path", [DB])
def test_an_update_that_fails(path, elsewhere, key):
    """Django says that the session is gone when any update fails. Here an outage is an outage."""
    store = former.of(path)
    assert store.create(key, {"color": "red"}, 50)
    connections["elsewhere"].cursor().execute("PRAGMA query_only = on")
    with pytest.raises(SessionStoreUnavailable, match="readonly"):
        store.save(key, {"color": "blue"}, 50)


def test_the_database_cannot_be_opened(store, key, elsewhere, call):
    """A database that is away is an outage. No error report shows the session key."""
    connections["elsewhere"].close()
    connections.settings["elsewhere"]["NAME"] = str(elsewhere / "nowhere")
    for method, arguments in CALLS.items():
        with pytest.raises(SessionStoreUnavailable, match="unable to open") as caught:
            call(store, method, key, *arguments)
        shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        assert key.session_key not in "".join(shown.format())
    called = []
    call(store, "after_commit", lambda: called.append("without a connection"))
    assert called == ["without a connection"]
    for listing in (store.count, lambda: next(store.batches(3)), lambda: store.delete_many([key])):
        with pytest.raises(SessionStoreUnavailable, match="unable to open"):
            listing()


def test_after_the_commit(store, elsewhere):
    """A callback runs at once, or after the commit of the store's database, or never."""
    called = []
    store.after_commit(lambda: called.append("at once"))
    assert called == ["at once"]
    with transaction.atomic(using="elsewhere"):
        store.after_commit(lambda: called.append("committed"))
        assert called == ["at once"]
    assert called == ["at once", "committed"]
    with transaction.atomic(using="elsewhere"):
        store.after_commit(lambda: called.append("rolled back"))
        transaction.set_rollback(True, using="elsewhere")
    assert called == ["at once", "committed"]


def test_a_site_that_manages_its_transactions(elsewhere):
    """Where nobody says when the transaction ends, the callback never runs."""
    called = []
    transaction.set_autocommit(False, using="elsewhere")
    former.of(DB).after_commit(lambda: called.append("too early"))
    transaction.set_autocommit(True, using="elsewhere")
    assert called == []


def test_a_deletion_that_is_rolled_back(store, key, elsewhere):
    """Deleting is part of the site's transaction."""
    store.create(key, {"color": "red"}, 50)
    with transaction.atomic(using="elsewhere"):
        store.delete(key)
        transaction.set_rollback(True, using="elsewhere")
    assert store.load(key).entries["color"] == "red"


@pytest.mark.parametrize("store", [CACHED_DB, QSESSIONS[1]], indirect=True)
def test_a_creation_that_is_rolled_back(store, key, elsewhere):
    """After a rollback, the engine's cache has no session either, and no older copy of one."""
    engine = store.engine(key.session_key)
    engine._cache.set(engine.cache_key, {"color": "old"}, 50)
    with transaction.atomic(using="elsewhere"):
        assert store.create(key, {"color": "red"}, 50) is True
        transaction.set_rollback(True, using="elsewhere")
    assert store.engine(key.session_key).get("color") is None
    assert store.create(key, {"color": "red"}, 50) is True
    assert store.engine(key.session_key).get("color") == "red"


def test_many_create_the_same_session(store, key, elsewhere):
    """Of threads that create the same session at once, one creates it."""

    def create(number):
        try:
            return store.create(key, {"number": number}, 50)
        finally:
            connections["elsewhere"].close()

    with ThreadPoolExecutor(8) as threads:
        created = list(threads.map(create, range(20)))
    assert created.count(True) == 1
    assert store.load(key).entries["number"] == created.index(True)


def test_in_an_event_loop(store, key, elsewhere):
    """The asynchronous twins work in an event loop, whose thread may not use the database."""

    async def use():
        assert await store.acreate(key, {"color": "red"}, 50, agent="Firefox") is True
        assert (await store.aload(key)).entries["color"] == "red"
        assert await store.asave(key, {"color": "blue"}, 50) is True
        called = []
        await store.aafter_commit(lambda: called.append("now"))
        assert called == ["now"]
        await store.adelete(key)
        assert await store.aload(key) is None

    asyncio.run(use())


@pytest.mark.parametrize("store", [*QSESSIONS, USER_SESSIONS], indirect=True)
def test_a_user_who_was_deleted(store, key, elsewhere):
    """A session whose user was deleted cannot be in these stores. That is not an error."""
    entries = {SESSION_KEY: "4711", "color": "red"}
    assert store.create(key, entries, 50) is False
    assert store.load(key) is None
    assert store.create(key, {"color": "red"}, 50) is True
    assert store.save(key, entries, 50) is False
    assert SESSION_KEY not in store.load(key).entries


@pytest.mark.parametrize("method", ["create", "save"])
def test_a_row_that_the_table_refuses(elsewhere, key, method):
    """A table with rules of its own raises its error: the session is neither taken nor gone."""
    store = former.of(DB)
    other = Key("another-session-key")
    store.create(other, {"color": "red"}, 50)
    connections["elsewhere"].cursor().execute(
        "CREATE UNIQUE INDEX one_at_a_time ON django_session (expire_date IS NULL)"
    )
    connections["elsewhere"].cursor().execute(
        "CREATE TRIGGER no_change BEFORE UPDATE ON django_session "
        "BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    with pytest.raises((CreateError, IntegrityError)):
        getattr(store, method)(key if method == "create" else other, {"color": "blue"}, 50)


def test_a_session_that_is_deleted_while_it_is_saved(elsewhere, key):
    """A row that is gone when it is written is not created again."""
    store = former.of(DB)
    store.create(key, {"color": "red"}, 50)
    connections["elsewhere"].cursor().execute(
        "CREATE TRIGGER gone BEFORE UPDATE ON django_session BEGIN SELECT RAISE(IGNORE); END"
    )
    assert store.save(key, {"color": "blue"}, 50) is False


def test_the_cache_in_front_is_away(elsewhere, key, settings, tmp_path):
    """The rows are enough to read a session. A deletion also has to reach the cache."""
    server = Server(tmp_path)
    backend = "django.core.cache.backends.redis.RedisCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": server.url}}
    store = former.of(CACHED_DB)
    assert store.create(key, {"color": "red"}, 50) is True
    server.stop()
    assert store.load(key).entries == {"color": "red"}
    with pytest.raises(SessionStoreUnavailable):
        store.delete(key)
    with pytest.raises(SessionStoreUnavailable):
        store.delete_many([key])
    with pytest.raises(SessionStoreUnavailable):
        store.create(Key("another-session-key"), {"color": "red"}, 50)
