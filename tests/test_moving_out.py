"""Sessions move from Redis to another engine, as requests bring their keys."""

import asyncio
import sys
import threading
import time
from importlib import import_module
from types import ModuleType

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.contrib.sessions.backends import cache, file
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.db import connection, transaction
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from django.utils import timezone

from sessions_redis import conf, former, moving_out, registry
from sessions_redis import engine as ours
from sessions_redis.clients import run
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.keys import Key
from sessions_redis.storage import departure
from sessions_redis.storage.steps import Command
from tests.next_engines import ENGINES, MOVING_OUT, HeldCache
from tests.servers import free_port
from tests.spread import spread  # noqa: F401 - fixture
from tests.test_secrets import assert_no_secret

LOCMEM = "django.core.cache.backends.locmem.LocMemCache"


@pytest.fixture
def move_to(settings, session_redis, tmp_path, monkeypatch, prefix):
    """Lets the site move sessions out to the engine with this name."""

    def use(name, backend=LOCMEM, location=prefix):
        settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": location}}
        monkeypatch.setattr(file.SessionStore, "_storage_path", str(tmp_path), raising=False)
        settings.SESSION_REDIS = {**settings.SESSION_REDIS, "NEXT_ENGINE": ENGINES[name]}
        settings.SESSION_ENGINE = MOVING_OUT

    return use


# An open transaction would keep a session from leaving Redis, so these tests run in none.
in_no_transaction = pytest.mark.django_db(transaction=True)


@pytest.fixture(
    params=[
        pytest.param("db", marks=in_no_transaction),
        pytest.param("cached_db", marks=in_no_transaction),
        *("cache", "file"),
    ]
)
def next_engine(request, move_to):
    """Each engine that sessions move to: the module."""
    move_to(request.param)
    return import_module(ENGINES[request.param])


# Where a rule does not depend on the engine.
two_engines = pytest.mark.parametrize(
    "next_engine", [pytest.param("db", marks=in_no_transaction), "cache"], indirect=True
)
other_engines = pytest.mark.parametrize(
    "next_engine", [pytest.param("cached_db", marks=in_no_transaction), "file"], indirect=True
)


@pytest.fixture(params=["sync", "async"])
def world(request):
    return request.param


@pytest.fixture
def call(world):
    """Calls a method of a store, or its asynchronous twin in an event loop."""

    def of(store, name, *args):
        if world == "sync":
            return getattr(store, name)(*args)
        # The next engine's synchronous code runs in this thread then, with this thread's database.
        return async_to_sync(getattr(store, f"a{name}"))(*args)

    return of


@pytest.fixture
def signed_in():
    """The key of a session in Redis, of user 7."""
    session = ours.SessionStore()
    session.update({"_auth_user_id": "7", "cart": [1, 2, {"pears": "3"}], "color": "red"})
    session.set_expiry(5000)
    session.save()
    return session.session_key


ENTRIES = {
    "_auth_user_id": "7", "cart": [1, 2, {"pears": "3"}], "color": "red", "_session_expiry": 5000,
}  # fmt: skip


def store(key=None):
    return moving_out.SessionStore(key)


def copy_of(key):
    """The session in the next engine, read from beneath; None if it is not there."""
    return former.of(conf.current().next_engine).load(Key(key))


def leave_copy_in_redis(key):
    """What a process leaves behind that is killed between the creation there and the end here."""
    keyspace, one = conf.current().keyspace, Key(key)
    left = run(departure.look(keyspace, one.id))
    entries = left.entries(ours.SessionStore()._made_serializer(), print)
    assert former.of(conf.current().next_engine).create(one, entries, left.ttl)


def test_a_session_moves(next_engine, call, signed_in, contents):
    """The first request moves a session: its entries, its key and its lifetime. Redis is empty."""
    ours.SessionStore(signed_in).inspect()
    session = store(signed_in)
    assert dict(call(session, "load")) == ENTRIES
    assert session.session_key == signed_in
    assert contents() == {}
    assert registry.of_user(7) == []
    assert dict(next_engine.SessionStore(signed_in).load()) == ENTRIES


@in_no_transaction
def test_a_session_keeps_its_lifetime(move_to, call, live):
    """A session is created in the next engine with the seconds that it has left, no more."""
    move_to("db")
    live.set_expiry(5000)
    live.save()
    left = live.inspect().ttl
    before = time.monotonic()
    live["_session_expiry"] = 100_000  # the entry says nothing of the seconds that are left
    run(lifetime_of(live, 3000))
    call(store(live.session_key), "load")
    took = time.monotonic() - before
    assert left > 3000
    assert 3000 - took - 1 <= copy_of(live.session_key).ttl <= 3000


def lifetime_of(session, seconds):
    return Command(("PEXPIRE", conf.current().keyspace.session(session._id), seconds * 1000), int)


def test_a_moved_session_is_the_next_engines(next_engine, call, signed_in):
    """What is saved after the move, the next engine alone reads, and the other way around."""
    session = store(signed_in)
    call(session, "load")
    session["color"] = "blue"
    call(session, "save")
    plain = next_engine.SessionStore(signed_in)
    assert plain["color"] == "blue"
    plain["color"] = "green"
    plain.save()
    assert dict(call(store(signed_in), "load"))["color"] == "green"


def test_an_unknown_key(next_engine, call, contents):
    """A key that neither Redis nor the next engine knows loads no session, and creates none."""
    session = store("unknown0" * 4)
    assert dict(call(session, "load")) == {}
    assert session.session_key is None
    assert contents() == {}
    assert copy_of("unknown0" * 4) is None


@other_engines
def test_existence(next_engine, call, signed_in):
    """A session exists before and after it moves."""
    assert call(store(), "exists", signed_in) is True
    store(signed_in).load()
    assert call(store(), "exists", signed_in) is True
    assert call(store(), "exists", "unknown0" * 4) is False
    assert call(store(), "exists", None) is False


@pytest.mark.parametrize("is_moved", [True, False])
def test_a_deleted_session(next_engine, call, signed_in, contents, is_moved):
    """Deleting a session deletes it in both places, whether it has moved or not."""
    if is_moved:
        store(signed_in).load()
    call(store(), "delete", signed_in)
    call(store(), "delete")
    assert contents() == {}
    assert dict(call(store(signed_in), "load")) == {}
    assert next_engine.SessionStore(signed_in).exists(signed_in) is False


def test_a_session_that_was_left_in_both_places(next_engine, call, signed_in):
    """
    After a process was killed in the middle of a move, the copy in the next engine counts. When
    the visitor signs out, the copy in Redis ends as well.
    """
    leave_copy_in_redis(signed_in)
    session = store(signed_in)
    session["color"] = "blue"
    call(session, "save")
    assert dict(call(store(signed_in), "load"))["color"] == "blue"
    call(store(signed_in), "flush")
    assert dict(call(store(signed_in), "load")) == {}
    assert ours.SessionStore().exists(signed_in) is False


@other_engines
def test_a_new_key(next_engine, call, signed_in, contents):
    """Signing in gives a moved session a new key. The old one is unknown in both places."""
    session = store(signed_in)
    call(session, "cycle_key")
    assert session.session_key != signed_in
    session["color"] = "blue"
    call(session, "save")
    assert dict(call(store(session.session_key), "load")) == {**ENTRIES, "color": "blue"}
    assert dict(call(store(signed_in), "load")) == {}
    assert contents() == {}


def test_a_new_session_needs_no_redis(next_engine, call, settings):
    """A visitor whose session is new, or in the next engine, does not need Redis."""
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "LOCATION": away()}
    session = store()
    session["color"] = "red"
    call(session, "save")
    again = store(session.session_key)
    assert dict(call(again, "load")) == {"color": "red"}
    again["color"] = "blue"
    call(again, "save")


def away():
    return f"redis://127.0.0.1:{free_port()}/0"


@other_engines
def test_redis_is_away(next_engine, call, signed_in, settings):
    """
    While Redis is away, a session that the next engine does not have is not taken for unknown, and
    nobody is signed out.
    """
    here = settings.SESSION_REDIS
    store(signed_in).load()
    settings.SESSION_REDIS = {**here, "LOCATION": away()}
    session = store("notmoved" * 4)
    with pytest.raises(SessionStoreUnavailable):
        call(session, "load")
    assert session.session_key == "notmoved" * 4
    with pytest.raises(SessionStoreUnavailable):
        call(store(), "delete", signed_in)
    settings.SESSION_REDIS = here
    assert dict(call(store(signed_in), "load")) == ENTRIES


@pytest.mark.parametrize("is_moved", [True, False])
def test_the_next_cache_is_away(move_to, call, signed_in, is_moved, server, prefix, raw):
    """Django's cache engine hides that its cache is away. The session is not taken for unknown."""
    redis_cache = "django.core.cache.backends.redis.RedisCache"
    move_to("cache", redis_cache, server.url)
    if is_moved:
        store(signed_in).load()
    move_to("cache", redis_cache, away())
    session = store(signed_in)
    with pytest.raises(SessionStoreUnavailable):
        call(session, "load")
    assert session.session_key == signed_in
    move_to("cache", redis_cache, server.url)
    assert dict(call(store(signed_in), "load")) == ENTRIES
    store(signed_in).delete()


def rename_table(name, new_name):
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {name} RENAME TO {new_name}")


@in_no_transaction
def test_the_next_database_is_away(move_to, call, signed_in, settings):
    """A database that fails is not taken for one that does not know the session."""
    move_to("db")
    session = store(signed_in)
    rename_table("django_session", "away")
    try:
        with pytest.raises(SessionStoreUnavailable):
            call(session, "load")
    finally:
        rename_table("away", "django_session")
    assert session.session_key == signed_in
    assert dict(call(store(signed_in), "load")) == ENTRIES


def test_a_slow_request_does_not_undo_signing_out(move_to, signed_in, contents):
    """
    A request that has read the session in Redis, and is slow, does not bring it back after another
    request moved it and its visitor signed out.
    """
    move_to("cache", f"{HeldCache.__module__}.{HeldCache.__name__}")
    HeldCache.reached.clear()
    HeldCache.go.clear()
    loaded = []
    slow_session = store(signed_in)
    slow = threading.Thread(name="slow", target=lambda: loaded.append(dict(slow_session.load())))
    slow.start()
    assert HeldCache.reached.wait(60)
    quick = store(signed_in)
    assert dict(quick.load()) == ENTRIES
    quick.flush()
    HeldCache.go.set()
    slow.join()
    assert loaded == [{}]
    assert slow_session.session_key is None
    assert copy_of(signed_in) is None
    assert contents() == {}
    assert dict(store(signed_in).load()) == {}


def test_a_session_that_ends_in_redis_meanwhile(move_to, signed_in):
    """Ending a session through the registry while it moves ends it."""
    move_to("cache", f"{HeldCache.__module__}.{HeldCache.__name__}")
    HeldCache.reached.clear()
    HeldCache.go.clear()
    slow = threading.Thread(name="slow", target=store(signed_in).load)
    slow.start()
    assert HeldCache.reached.wait(60)
    assert registry.end_all_of(7) == 1
    HeldCache.go.set()
    slow.join()
    assert dict(store(signed_in).load()) == {}
    assert copy_of(signed_in) is None


@pytest.mark.parametrize("name", ["cache", "file"])
def test_twenty_first_requests(move_to, name, signed_in, contents):
    """Twenty threads load a session at once. It moves once, and each of them gets all of it."""
    move_to(name)
    together, loaded = threading.Barrier(20), []

    def visit():
        session = store(signed_in)
        together.wait(60)
        loaded.append((dict(session.load()), session.session_key))

    threads = [threading.Thread(target=visit) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loaded == [(ENTRIES, signed_in)] * 20
    assert contents() == {}


@pytest.mark.parametrize("name", ["cache", "file"])
def test_twenty_first_tasks(move_to, name, signed_in, contents):
    """The same with twenty tasks of one event loop."""
    move_to(name)

    async def visit():
        return [
            dict(one)
            for one in await asyncio.gather(*[store(signed_in).aload() for _ in range(20)])
        ]

    assert asyncio.run(visit()) == [ENTRIES] * 20
    assert contents() == {}


# While workers of sessions_redis.engine still run, which share their sessions with the next engine


@pytest.fixture
def shared(move_to, settings):
    """The site goes from one to the other, worker by worker."""
    move_to("cache")
    settings.SESSION_REDIS = {
        **settings.SESSION_REDIS,
        "FORMER_ENGINE": ENGINES["cache"],
        "FORMER_ENGINE_SHARED": True,
    }


def test_workers_of_both(signed_in, shared, call):
    """A session can change between old and new workers with each request."""
    for number in range(3):
        new = store(signed_in)
        assert call(new, "get", "old", 0) == number
        new["new"] = number
        call(new, "save")
        old = ours.SessionStore(signed_in)
        assert old["new"] == number
        old["old"] = number + 1
        old.save()
    assert dict(store(signed_in).items()) == {**ENTRIES, "new": 2, "old": 3}


@pytest.mark.parametrize("is_used", [True, False])
def test_signing_out_on_an_old_worker(signed_in, shared, call, is_used):
    """A session that ends on an old worker is unknown to new ones."""
    if is_used:
        call(store(signed_in), "load")
    ours.SessionStore(signed_in).flush()
    assert dict(call(store(signed_in), "load")) == {}
    assert dict(ours.SessionStore(signed_in).items()) == {}


def test_signing_out_on_a_new_worker(signed_in, shared, call):
    """A session that ends on a new worker is unknown to old ones."""
    assert ours.SessionStore(signed_in)["color"] == "red"
    call(store(signed_in), "flush")
    assert dict(ours.SessionStore(signed_in).items()) == {}
    assert dict(call(store(signed_in), "load")) == {}


def test_an_old_worker_uses_the_session_while_it_moves(signed_in, shared, call):
    """A new worker moves a session that an old one has just read. The old one can save it."""
    old = ours.SessionStore(signed_in)
    assert old["color"] == "red"
    former.of(ENGINES["cache"]).delete(Key(signed_in))  # as before the old worker shared it
    run(unshared(signed_in))
    assert dict(call(store(signed_in), "load")) == ENTRIES
    old["color"] = "blue"
    old.save()
    assert dict(call(store(signed_in), "load")) == {**ENTRIES, "color": "blue"}


def unshared(key):
    name = conf.current().keyspace.session(Key(key).id)
    return Command(("HDEL", name, "@copied"), int)


def test_a_shared_session_that_has_ended_there(signed_in, shared, call):
    """A copy in Redis does not bring a session back that was deleted in the next engine itself."""
    assert ours.SessionStore(signed_in)["color"] == "red"
    former.of(ENGINES["cache"]).delete(Key(signed_in))
    assert dict(call(store(signed_in), "load")) == {}
    assert ours.SessionStore().exists(signed_in) is False


def test_back_to_redis(signed_in, shared, call, settings):
    """A site that changes its mind at once moves its sessions back, and nobody is signed out."""
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "FORMER_ENGINE_SHARED": False}
    for number in range(2):
        moved = store(signed_in)
        assert dict(call(moved, "load")) == {**ENTRIES, **({"number": 0} if number else {})}
        assert registry.of_user(7) == []
        back = ours.SessionStore(signed_in)
        back["number"] = number
        back.save()
        assert copy_of(signed_in) is None


# Transactions


@in_no_transaction
@pytest.mark.parametrize("name", ["db", "cached_db"])
def test_a_rollback(move_to, name, signed_in):
    """If the transaction in which a session moves is rolled back, the session stays in Redis."""
    move_to(name)
    with transaction.atomic():
        assert dict(store(signed_in).load()) == ENTRIES
        transaction.set_rollback(True)
    assert copy_of(signed_in) is None
    assert ours.SessionStore(signed_in)["color"] == "red"
    moved = store(signed_in)
    assert dict(moved.load()) == ENTRIES
    assert ours.SessionStore().exists(signed_in) is False
    moved["color"] = "blue"
    moved.save()


@in_no_transaction
def test_a_commit(move_to, signed_in, contents):
    """A session that moves in a transaction leaves Redis when that is committed."""
    move_to("db")
    with transaction.atomic():
        session = store(signed_in)
        session["color"] = "blue"
        session.save()
        assert contents() != {}
    assert contents() == {}
    session["color"] = "green"
    session.save()
    assert copy_of(signed_in).entries["color"] == "green"


@in_no_transaction
def test_a_save_after_a_rollback(move_to, signed_in, contents):
    """As the middleware does if a view answers, and has rolled its transaction back."""
    move_to("db")
    session = store(signed_in)
    with transaction.atomic():
        session["color"] = "blue"
        transaction.set_rollback(True)
    session.save()
    assert copy_of(signed_in).entries["color"] == "blue"
    assert contents() == {}


@in_no_transaction
def test_signing_out_in_the_transaction(move_to, signed_in, contents):
    """A session that moves and ends in the same transaction is gone in both places."""
    move_to("db")
    with transaction.atomic():
        session = store(signed_in)
        session.load()
        session.flush()
    assert copy_of(signed_in) is None
    assert contents() == {}


# What can be wrong with a session


@in_no_transaction
def test_an_old_row_there(move_to, call, signed_in, contents):
    """An expired row, left from before the site moved to Redis, does not keep a session there."""
    move_to("db")
    assert former.of(ENGINES["db"]).create(Key(signed_in), {"color": "old"}, 1000)
    model = import_module(ENGINES["db"]).SessionStore.get_model_class()
    model.objects.update(expire_date=timezone.now())
    assert dict(call(store(signed_in), "load")) == ENTRIES
    assert contents() == {}


@other_engines
def test_a_session_ends_while_it_is_saved(next_engine, call, signed_in):
    """Saving a session that was ended meanwhile raises UpdateError, as in the next engine."""
    session = store(signed_in)
    session["color"] = "blue"
    store(signed_in).delete()
    with pytest.raises(UpdateError):
        call(session, "save")
    assert copy_of(signed_in) is None


def test_error_reports_contain_no_session_key(move_to, call, signed_in, settings):
    """While Redis is away, no variable of a frame that Django's error reports print has the key."""
    move_to("cache")
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "LOCATION": away()}
    for method in ("delete", "exists"):
        with pytest.raises(SessionStoreUnavailable) as raised:
            call(store(), method, signed_in)
        assert_no_secret(raised.value, signed_in)
    with pytest.raises(SessionStoreUnavailable) as raised:
        call(store(signed_in), "load")
    assert_no_secret(raised.value, signed_in)


@other_engines
def test_a_damaged_entry_stays_behind(next_engine, call, signed_in, raw, caplog):
    """An entry that cannot be read does not move. The others do, and the log names it."""
    raw.hset(conf.current().keyspace.session(Key(signed_in).id), "cart", b"\xff")
    assert "cart" not in call(store(signed_in), "load")
    assert "'cart'" in caplog.text
    assert signed_in not in caplog.text


@other_engines
def test_another_key_with_the_name_of_a_session(next_engine, call, signed_in, raw):
    """A key of another type is not a session."""
    name = conf.current().keyspace.session(Key(signed_in).id)
    raw.delete(name)
    raw.set(name, "text", ex=60)
    assert dict(call(store(signed_in), "load")) == {}


# The rest of the engine's methods


@other_engines
def test_a_scope(next_engine, signed_in):
    """Code that uses scopes goes on as before."""
    session = ours.SessionStore(signed_in)
    session.scope("shop")["cart"] = "pears"
    session.save()
    moved = store(signed_in)
    assert moved.scope("shop")["cart"] == "pears"
    moved.scope("shop")["cart"] = "plums"
    moved.save()
    assert asyncio.run(store(signed_in).scope("shop").aget("cart")) == "plums"


@other_engines
def test_increment(next_engine, call, signed_in):
    """Code that counts goes on, though two requests at once may count once."""
    session = store(signed_in)
    assert call(session, "increment", "visits") == 1
    assert call(session, "increment", "visits", 2) == 3
    call(session, "save")
    assert store(signed_in)["visits"] == 3
    assert call(session, "inspect") is None


def test_the_class(next_engine):
    """The class has the name of the next engine's, with which Django signs sessions."""
    made, theirs = moving_out.SessionStore, next_engine.SessionStore
    assert issubclass(made, theirs)
    assert made is moving_out.SessionStore
    assert made().key_salt == theirs().key_salt
    with pytest.raises(AttributeError, match="has no attribute 'Session'"):
        moving_out.Session  # noqa: B018


def test_the_class_follows_the_settings(move_to, settings, tmp_path, monkeypatch):
    """Django's `file` engine keeps its directory in its class."""
    move_to("file")
    monkeypatch.delattr(file.SessionStore, "_storage_path")
    for name in ("first", "second"):
        settings.SESSION_FILE_PATH = str(tmp_path / name)
        (tmp_path / name).mkdir()
        assert moving_out.SessionStore().storage_path == settings.SESSION_FILE_PATH


class Beginning(cache.SessionStore):
    """Begins a session in place of an unknown one, as old engines do."""

    def load(self):
        entries = super().load()
        if self.session_key is None:
            self.create()
        return entries

    async def aload(self):
        return self.load()


class Forgetful(cache.SessionStore):
    """Loads no session, as if its cache were away, and can tell nobody."""

    def load(self):
        self._session_key = None
        return {}

    async def aload(self):
        return self.load()


@pytest.fixture
def move_to_own(move_to, settings, monkeypatch):
    """Lets the site move sessions to a store of its own."""

    def use(store):
        move_to("cache")
        module = ModuleType("engine_of_a_test")
        module.SessionStore = store
        monkeypatch.setitem(sys.modules, module.__name__, module)
        settings.SESSION_REDIS = {**settings.SESSION_REDIS, "NEXT_ENGINE": module.__name__}

    return use


def test_an_engine_that_begins_another_session(move_to_own, call, signed_in):
    """The session that such an engine begins does not replace the one that moves, and ends."""
    move_to_own(Beginning)
    begun = []
    monitored = store(signed_in)
    keep = monitored._get_new_session_key
    monitored._get_new_session_key = lambda: begun.append(keep()) or begun[-1]
    assert dict(call(monitored, "load")) == ENTRIES
    assert monitored.session_key == signed_in
    assert [copy_of(key) for key in begun] == [None]

    unknown = store("unknown0" * 4)
    assert dict(call(unknown, "load")) == {}
    assert unknown.session_key not in {None, "unknown0" * 4}


def test_an_engine_that_does_not_load_what_it_has(move_to_own, call, signed_in):
    """A session is not taken for unknown if the next engine has it, and does not load it."""
    move_to_own(Forgetful)
    session = store(signed_in)
    with pytest.raises(SessionStoreUnavailable, match="has a session that it does not load"):
        call(session, "load")
    assert session.session_key == signed_in


@other_engines
def test_a_key_that_is_taken(next_engine, call, signed_in):
    """Creating a session under a key that the next engine has raises its CreateError."""
    session = store(signed_in)
    call(session, "load")
    with pytest.raises(CreateError):
        call(session, "save", True)


def test_sessions_of_tenants(move_to, call, settings):
    """With a function as KEY_PREFIX, a session moves out of the keys of its tenant."""
    prefix = settings.SESSION_REDIS["KEY_PREFIX"]
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "KEY_PREFIX": lambda: f"{prefix}:shop"}
    move_to("cache")
    session = ours.SessionStore()
    session["color"] = "red"
    session.save()
    assert dict(call(store(session.session_key), "load")) == {"color": "red"}
    assert registry.count() == 0


def test_keys_in_different_slots(spread, move_to, call, signed_in, contents):  # noqa: F811
    """In a Cluster, a session leaves its indexes, which are in other slots, as well."""
    move_to("cache")
    assert registry.count() == 1
    assert dict(call(store(signed_in), "load")) == ENTRIES
    assert registry.count() == 0
    call(store(signed_in), "flush")
    assert dict(call(store(signed_in), "load")) == {}


# Whole requests


def read(request):
    return HttpResponse(request.user.username or "nobody")


async def aread(request):
    return HttpResponse((await request.auser()).username or "nobody")


def write(request):
    request.session["color"] = "blue"
    return HttpResponse()


urlpatterns = [path("read", read), path("aread", aread), path("write", write)]

MIDDLEWARES = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "sessions_redis.middleware.SessionMiddleware",
]


@pytest.fixture(params=MIDDLEWARES, ids=["django", "ours"])
def middleware(request, settings):
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [request.param, "django.contrib.auth.middleware.AuthenticationMiddleware"]
    return request.param


@pytest.fixture
def ada(transactional_db):
    return User.objects.create_user("ada")


@pytest.fixture
def cookie(settings, middleware, ada):
    """The cookie of a visitor who signed in while the site kept its sessions in Redis."""
    client = Client()
    client.force_login(ada)
    assert client.get("/read").content == b"ada"
    return client.cookies["sessionid"].value


def visit(world, path, cookie):
    client = (Client if world == "sync" else AsyncClient)(raise_request_exception=False)
    client.cookies["sessionid"] = cookie
    answer = client.get(path)
    return answer if world == "sync" else async_to_sync(awaited)(answer)


async def awaited(answer):
    return await answer


@two_engines
def test_a_visitor_comes_back(cookie, next_engine, world, settings):
    """A visitor stays signed in while sessions move, and afterwards on the next engine alone."""
    for where in ("read", "write", "aread", "read"):
        answer = visit(world, f"/{where}", cookie)
        assert answer.status_code == 200
        assert where == "write" or answer.content == b"ada"
    assert ours.SessionStore().exists(cookie) is False
    settings.SESSION_ENGINE = next_engine.__name__
    assert visit(world, "/read", cookie).content == b"ada"


@two_engines
def test_a_visitor_comes_back_while_redis_is_away(cookie, next_engine, world, settings, middleware):
    """The visitor gets an error, keeps the cookie, and is signed in when Redis is back."""
    here = settings.SESSION_REDIS
    settings.SESSION_REDIS = {**here, "LOCATION": away()}
    for where in ("read", "write", "aread"):
        answer = visit(world, f"/{where}", cookie)
        assert answer.status_code == (503 if middleware.startswith("sessions_redis") else 500)
        assert "sessionid" not in answer.cookies
    settings.SESSION_REDIS = here
    assert visit(world, "/read", cookie).content == b"ada"


@two_engines
def test_a_visitor_who_has_moved_does_not_need_redis(cookie, next_engine, world, settings):
    """While Redis is away, the site works for everybody who has moved."""
    visit(world, "/read", cookie)
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "LOCATION": away()}
    assert visit(world, "/write", cookie).status_code == 200
    assert visit(world, "/read", cookie).content == b"ada"
