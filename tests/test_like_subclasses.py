"""A subclass's methods are called wherever Django's engines call them, so its rules apply."""

import asyncio

import pytest
from django.contrib.auth import (
    alogin,
    alogout,
    aupdate_session_auth_hash,
    login,
    logout,
    update_session_auth_hash,
)
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends import cache, db
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.core.exceptions import PermissionDenied
from django.http import JsonResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import path

from sessions_redis.engine import SessionStore
from sessions_redis.keys import session_id
from tests.ruled_engine import SessionStore as Ruled
from tests.side_by_side import Async, Sync

pytestmark = pytest.mark.django_db

WORLDS = {"sync": Sync(), "async": Async()}

# Methods that a subclass may override and that Django's engines call themselves.
OVERRIDDEN = ["load", "create", "save", "delete", "clear", "flush", "cycle_key"]


def recording(base, names, calls):
    """
    A subclass of ``base`` that overrides the methods ``names``. Each records its call and then
    calls the original.
    """

    class SessionStore(base):
        pass

    def shown(args, options):
        # The engines differ in the key itself, but not in whether there is a key.
        given = [*args, *options.values()]
        return ["a key" if isinstance(value, str) else value for value in given]

    def override(name):
        original = getattr(base, name)

        def method(self, *args, **options):
            calls.append((name, *shown(args, options)))
            return original(self, *args, **options)

        async def amethod(self, *args, **options):
            calls.append((name, *shown(args, options)))
            return await original(self, *args, **options)

        setattr(SessionStore, name, amethod if asyncio.iscoroutinefunction(original) else method)

    for name in names:
        override(name)
    return SessionStore


# Operations of a store whose session is stored and not loaded yet.


async def read(world, store):
    await world.call(store, "get", "color")


async def load(world, store):
    await world.call(store, "load")


async def write(world, store):
    await world.call(store, "__setitem__", "color", "blue")
    await world.call(store, "save")


async def write_twice(world, store):
    await write(world, store)
    await write(world, store)


async def save(world, store):
    await world.call(store, "save")


async def save_must_create(world, store):
    await world.call(store, "delete")
    await world.call(store, "save", True)


async def save_taken(world, store):
    with pytest.raises(CreateError):
        await world.call(store, "save", True)


async def save_new(world, store):
    store = type(store)()
    await world.call(store, "__setitem__", "color", "blue")
    await world.call(store, "save")


async def save_gone(world, store):
    await world.call(store, "get", "color")
    await world.call(store, "delete")
    with pytest.raises(UpdateError):
        await world.call(store, "save")


async def create(world, store):
    await world.call(store, "create")


async def create_new(world, store):
    await world.call(type(store)(), "create")


async def cycle(world, store):
    await world.call(store, "cycle_key")


async def cycle_loaded(world, store):
    await world.call(store, "__setitem__", "color", "blue")
    await world.call(store, "cycle_key")


async def cycle_new(world, store):
    await world.call(type(store)(), "cycle_key")


async def cycle_gone(world, store):
    await world.call(store, "get", "color")
    await world.call(store, "delete")
    await world.call(store, "cycle_key")


async def flush(world, store):
    await world.call(store, "flush")


async def flush_new(world, store):
    await world.call(type(store)(), "flush")


async def delete(world, store):
    await world.call(store, "delete")


async def delete_by_key(world, store):
    await world.call(type(store)(), "delete", store.session_key)


async def exists(world, store):
    await world.call(store, "exists", store.session_key)


async def expire(world, store):
    await world.call(store, "set_expiry", 300)
    await world.call(store, "save")
    await world.call(store, "get_expiry_age")


async def reload(world, store):
    await world.call(store, "get", "color")
    del store._session_cache
    await world.call(store, "get", "color")


def request_with(store, user=None):
    async def auser():
        return user

    request = RequestFactory().get("/")
    request.session, request.user, request.auser = store, user, auser
    return request


async def in_world(world, plain, twin, *args):
    return await twin(*args) if isinstance(world, Async) else plain(*args)


async def sign_in(world, store):
    user = User(pk=1, username="ada", password="hashed")
    request = request_with(store)
    backend = "django.contrib.auth.backends.ModelBackend"
    await in_world(world, login, alogin, request, user, backend)
    await world.call(store, "save")


async def change_password(world, store):
    user = User(pk=1, username="ada", password="hashed")
    request = request_with(store, user)
    await in_world(world, update_session_auth_hash, aupdate_session_auth_hash, request, user)
    await world.call(store, "save")


async def sign_out(world, store):
    await in_world(world, logout, alogout, request_with(store))


OPERATIONS = [
    read, load, write, write_twice, save, save_must_create, save_taken, save_new, save_gone,
    create, create_new, cycle, cycle_loaded, cycle_new, cycle_gone, flush, flush_new, delete,
    delete_by_key, exists, expire, reload, sign_in, change_password, sign_out,
]  # fmt: skip


@pytest.fixture(autouse=True)
def _do_not_update_last_login(monkeypatch):
    """Signing in does not write the time into a user's row, because there is no such row."""
    monkeypatch.setattr(user_logged_in, "receivers", [])


def calls_of(world, base, names, operation):
    calls = []
    store = saved_of(recording(base, names, calls))
    del calls[:]
    world.run(operation, world, store)
    return calls


def saved_of(engine):
    store = engine()
    store["color"] = "red"
    store.save()
    return engine(store.session_key)


def twins(world, names):
    if world == "sync":
        return names
    return [f"a{name}" if hasattr(db.SessionStore, f"a{name}") else name for name in names]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
@pytest.mark.parametrize("world", WORLDS)
def test_overridden_methods_are_called(world, operation):
    """
    Overridden methods, one at a time and all together, are called as often and with the same
    arguments as by Django's engine.
    """
    ours, theirs = {}, {}
    for names in [*([name] for name in OVERRIDDEN), OVERRIDDEN]:
        overridden = twins(world, names)
        for engine, found in ((db.SessionStore, theirs), (SessionStore, ours)):
            found[",".join(names)] = calls_of(WORLDS[world], engine, overridden, operation)
    assert ours == theirs


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("operation", [save_new, create, cycle])
def test_no_key_is_looked_up_before_it_is_taken(world, operation):
    """Django's engines call ``exists()`` for each new key. Here, that would be a round trip."""
    names = twins(world, ["exists"])
    assert len(calls_of(WORLDS[world], db.SessionStore, names, operation)) == 1
    assert calls_of(WORLDS[world], SessionStore, names, operation) == []


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", ["get_expiry_age", "get_session_cookie_age"])
@pytest.mark.parametrize("operation", [write, save_new, create, cycle])
def test_the_lifetime_is_asked_for(world, name, operation):
    """This engine asks for the session's lifetime in the same places as Django's cache engine."""
    calls = [
        calls_of(WORLDS[world], engine, twins(world, [name]), operation)
        for engine in (cache.SessionStore, SessionStore)
    ]
    assert set(map(str, calls[1])) == set(map(str, calls[0])) != set()


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("operation", [save_new, create, cycle])
def test_a_subclass_that_chooses_keys(world, operation):
    """
    A subclass can choose new keys, for synchronous and asynchronous code, as with Django's engines.
    """
    names = {"sync": ["_get_new_session_key"], "async": ["_aget_new_session_key"]}[world]
    calls = [
        calls_of(WORLDS[world], engine, names, operation)
        for engine in (db.SessionStore, SessionStore)
    ]
    assert calls[1] == calls[0] == [(names[0],)]


# Rules of a subclass


class ARuled(SessionStore):
    """The same rules in the asynchronous methods."""

    deleted = Ruled.deleted

    async def aload(self):
        entries = await super().aload()
        if entries.get("tenant") == "another":
            self._session_key = None
            return {}
        return entries

    async def acreate(self):
        await self.aset("stamp", "created")
        await super().acreate()

    async def asave(self, must_create=False):
        if await self.aget("frozen"):
            raise PermissionDenied
        await super().asave(must_create)

    async def adelete(self, session_key=None):
        self.deleted.append(session_key or self.session_key)
        await super().adelete(session_key)


@pytest.fixture(params=["sync", "async", "async by sync"])
def ruled(request):
    """A function that calls a store with rules, and the store's class."""
    Ruled.deleted.clear()
    world = WORLDS[request.param.split()[0]]
    return world, ARuled if request.param == "async" else Ruled


def saved_with(**entries):
    store = SessionStore()
    store.update(entries)
    store.save()
    return store.session_key


def entries_of(store):
    return dict(SessionStore(store.session_key).items())


USES = {
    "get": lambda call: call("get", "color"),
    "items": lambda call: call("items"),
    "set": lambda call: call("__setitem__", "a", 1),
    "expiry": lambda call: call("get_expiry_age"),
    "increment": lambda call: call("increment", "hits"),
    "save": lambda call: call("save"),
    "cycle": lambda call: call("cycle_key"),
    "inspect": lambda call: call("inspect"),
    "scope": lambda call: call("scope", "a"),
}


@pytest.mark.parametrize("use", USES)
def test_a_rule_in_load(ruled, use, contents, prefix):
    """No operation reads or changes a session that ``load()`` refuses."""
    world, engine = ruled
    key = saved_with(tenant="another", color="red", hits=1)
    name = f"{prefix}:{session_id(key)}".encode()
    before = contents()[name]
    store = engine(key)

    async def take():
        given = await USES[use](lambda *args: world.call(store, *args))
        if use == "scope":
            given = await world.call(given, "keys")
        assert "another" not in f"{given}"
        await world.call(store, "__setitem__", "mine", 1)
        await world.call(store, "save")

    world.run(take)
    assert store.session_key not in {None, key}
    assert contents()[name] == before
    assert entries_of(store).keys() & {"tenant", "color"} == set()


def test_a_rule_in_create(ruled):
    """``create()`` has marked every session that was created in any way."""
    world, engine = ruled

    async def take():
        stores = [engine(), engine(), engine(), engine(saved_with(color="red"))]
        await world.call(stores[0], "create")
        await world.call(stores[1], "save")
        await world.call(stores[2], "cycle_key")
        await world.call(stores[3], "cycle_key")
        return stores

    stores = world.run(take)
    assert [entries_of(store).get("stamp") for store in stores] == ["created"] * 4
    assert entries_of(stores[3])["color"] == "red"


def test_a_rule_in_save(ruled):
    """A session that ``save()`` refuses is not saved, created or cycled."""
    world, engine = ruled
    key = saved_with(color="red", frozen=True)

    async def refused(store, *args):
        with pytest.raises(PermissionDenied):
            await world.call(store, *args)

    async def take():
        store = engine(key)
        await world.call(store, "__setitem__", "color", "blue")
        await refused(store, "save")
        await refused(store, "cycle_key")
        store = engine()
        await world.call(store, "__setitem__", "frozen", True)
        await refused(store, "save")
        await refused(store, "create")
        return store

    store = world.run(take)
    assert dict(SessionStore(key).items()) == {"color": "red", "frozen": True}
    assert not entries_of(store)


def test_a_rule_in_delete(ruled):
    """``delete()`` has recorded each session that ends, with its key."""
    world, engine = ruled
    keys = [saved_with(color="red") for _ in range(4)]

    async def take():
        await world.call(engine(keys[0]), "delete")
        await world.call(engine(), "delete", keys[1])
        await world.call(engine(keys[2]), "flush")
        await world.call(engine(keys[3]), "cycle_key")

    world.run(take)
    assert Ruled.deleted == keys
    assert not any(SessionStore().exists(key) for key in keys)


# In requests


def show(request):
    request.session["seen"] = True
    return JsonResponse(dict(request.session.items()))


async def ashow(request):
    await request.session.aset("seen", True)
    return JsonResponse(dict(await request.session.aitems()))


urlpatterns = [path("show/", show), path("ashow/", ashow)]


@pytest.mark.parametrize("page", ["/show/", "/ashow/"])
@pytest.mark.parametrize("interface", ["WSGI", "ASGI"])
@pytest.mark.parametrize(
    "middleware",
    [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "sessions_redis.middleware.SessionMiddleware",
    ],
)
def test_rules_in_requests(settings, middleware, interface, page):
    """
    A refused session is neither shown nor changed, and ``create()`` marks the session that replaces
    it.
    """
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [middleware]
    settings.SESSION_ENGINE = "tests.ruled_engine"
    key = saved_with(tenant="another")
    client = Client() if interface == "WSGI" else AsyncClient()
    client.cookies["sessionid"] = key
    answer = client.get(page)
    if interface == "ASGI":
        answer = asyncio.run(answer)
    assert answer.json() == {"seen": True}
    new = answer.cookies["sessionid"].value
    assert dict(SessionStore(new).items()) == {"seen": True, "stamp": "created"}
    assert dict(SessionStore(key).items()) == {"tenant": "another"}
