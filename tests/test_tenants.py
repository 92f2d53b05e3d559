"""A prefix for each tenant: one process serves them all, and never mixes their sessions."""

import asyncio
import copy
import gc
import json
import os
import pickle
import random
import re
import subprocess
import sys
import threading
from contextvars import copy_context
from io import StringIO
from types import ModuleType

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection
from django.http import Http404, HttpResponse, JsonResponse, StreamingHttpResponse
from django.test import AsyncClient, Client
from django.urls import include, path
from django.utils.deprecation import MiddlewareMixin

from sessions_redis import checks, conf, registry, testing_leftovers, testing_runs
from sessions_redis.clients import perform
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.registry import Selection, finding, listing, statistics
from sessions_redis.registry.live_sessions import LiveSession
from sessions_redis.signals import session_ended
from sessions_redis.storage.commands import session_id
from sessions_redis.tenants import using
from tests import tenancy
from tests.documents import blocks, text_of
from tests.section import url, use_section
from tests.site import id_of
from tests.tenancy import inside, tenant
from tests.test_testing import SITE, assert_passed, manage_py_test
from tests.workers import Worker, race

PATH = "tests.tenancy.key_prefix"

KEY = "k" * 32


@pytest.fixture(autouse=True)
def tenants(settings, session_redis):
    settings.SESSION_REDIS = {**session_redis, "KEY_PREFIX": PATH}


@pytest.fixture
def a(prefix):
    return f"{prefix}:acme"


@pytest.fixture
def b(prefix):
    return f"{prefix}:bravo"


@pytest.fixture
def returning(settings, session_redis):
    """Lets ``KEY_PREFIX`` be a function that returns, or raises, this."""

    def use(answer):
        def function():
            if isinstance(answer, BaseException):
                raise answer
            return answer

        settings.SESSION_REDIS = {**session_redis, "KEY_PREFIX": function}

    return use


@pytest.fixture(params=["plain", "async"])
def call(request):
    """Calls a function or a method by its name, or its asynchronous twin."""

    def call(of, name, *args, **options):
        if request.param == "plain":
            return getattr(of, name)(*args, **options)
        return asyncio.run(getattr(of, f"a{name}")(*args, **options))

    return call


def saved(user=None, **entries):
    session = SessionStore()
    session.update(entries | ({} if user is None else {"_auth_user_id": user}))
    session.save()
    return session


def same_key_in(*prefixes):
    """A session of user 1 in each tenant, all of them with one key."""
    for prefix in prefixes:
        with inside(prefix):
            session = SessionStore()
            session.update({"_auth_user_id": "1", "tenant": prefix})
            session._session_key = KEY
            session.save(must_create=True)
    return KEY


def visited(key):
    """The entries of a session that visits of these tests have written."""
    return [name for name in SessionStore(key).keys() if "/" in name]  # noqa: SIM118 - no mapping


# The setting


def test_a_path_and_a_function(raw, settings, session_redis, prefix):
    """Both give the prefix of each key."""
    for number, function in enumerate([PATH, tenancy.key_prefix, lambda: f"{prefix}:2"]):
        settings.SESSION_REDIS = {**session_redis, "KEY_PREFIX": function}
        with inside(f"{prefix}:{number}"):
            id = session_id(saved("1").session_key)
        for name in (id, "index", "index:signed-in", "user:1"):
            assert raw.exists(f"{prefix}:{number}:{name}")


MISTAKES = {
    "tests.tenancy.key_prefx": "cannot be imported: .*key_prefx",
    "tests.tennacy.key_prefix": "cannot be imported: .*tennacy",
    "shpo.tenants.key_prefix": "cannot be imported: .*shpo",
    "tests.tenancy.NOT_A_FUNCTION": "which is str, not a function",
    "tests.tenancy.asynchronous": "is asynchronous",
    "tests.tenancy.of_a_request": "without arguments: .*request",
    "tests.tenancy:key_prefix": "there is a function.*Write \"?'tests.tenancy.key_prefix",
    "tests.tenancy.key_prefix()": "there is a function",
    " tests.tenancy.key_prefix ": "there is a function",
    "example.com": "lambda: 'example.com'",
    "my.class.import": "cannot be imported",
}


@pytest.mark.parametrize("setting", MISTAKES)
def test_a_mistake_is_never_a_prefix(settings, session_redis, setting):
    """A path with a typing error does not become a prefix that all tenants share."""
    settings.SESSION_REDIS = {**session_redis, "KEY_PREFIX": setting}
    (found,) = checks.check_settings()
    assert found.id == "sessions_redis.E004"
    assert setting in found.msg
    assert re.search(MISTAKES[setting], f"{found.msg} {found.hint}")
    with pytest.raises(ImproperlyConfigured, match="KEY_PREFIX"):
        saved()
    with pytest.raises(ImproperlyConfigured, match="KEY_PREFIX"):
        registry.count()


@pytest.mark.parametrize(
    "function", [tenancy.asynchronous, tenancy.of_a_request, lambda one: one, tenancy.tenant.set]
)
def test_a_function_that_cannot_be_used(settings, session_redis, function):
    settings.SESSION_REDIS = {**session_redis, "KEY_PREFIX": function}
    (found,) = checks.check_settings()
    assert found.id == "sessions_redis.E004"
    assert "function" in found.hint


@pytest.mark.parametrize("setting", ["shop", "my-site.v1", "example.com:v1", "v1.2", "a b.c", ".x"])
def test_a_plain_prefix(raw, settings, session_redis, prefix, setting):
    """Text that is not a path is a prefix, as before."""
    settings.SESSION_REDIS = {**session_redis, "KEY_PREFIX": setting}
    assert checks.check_settings() == []
    assert conf.current().tenants is None
    assert conf.current().keyspace.index == f"{setting}:index"


def test_the_checks_call_nothing(returning):
    """They run where there is no tenant."""
    returning(AssertionError("called"))
    assert checks.check_settings() == []
    assert checks.check_password() == []
    assert "sessions_redis.E014" not in [one.id for one in checks.check_server()]


def test_a_function_without_a_signature(settings, session_redis):
    """Some functions that are written in C do not say what they take: the first call shows it."""
    settings.SESSION_REDIS = {**session_redis, "KEY_PREFIX": dict}
    assert checks.check_settings() == []
    with pytest.raises(ImproperlyConfigured, match=r"builtins\.dict, returned {}"):
        registry.count()


def test_what_is_shown(session_redis):
    """Messages and logs show the function, not a tenant."""
    assert repr(conf.current()) == f"<Conf {conf.current().shown_location} {PATH!r}>"


# What the function returns and raises


@pytest.mark.parametrize("answer", ["", None, b"acme", 7, ["acme"]])
def test_what_is_not_a_prefix(call, returning, answer):
    returning(answer)
    expected = rf'"KEY_PREFIX"\], .*function, returned {re.escape(repr(answer))}'
    for of, name, *args in (
        (SessionStore(), "create"),
        (registry, "count"),
        (registry, "of_user", 1),
    ):
        with pytest.raises(ImproperlyConfigured, match=expected):
            call(of, name, *args)


@pytest.mark.parametrize("answer", ["shop:user", "shop:user:1", "shop:index", "a:b:index:c"])
def test_a_prefix_inside_the_indexes_of_another(returning, answer):
    """A tenant "shop" has indexes under these names."""
    returning(answer)
    with pytest.raises(ImproperlyConfigured, match='neither "user" nor "index"'):
        saved()


@pytest.mark.parametrize("answer", ["users", "shop:users", "index", "shop:indexes"])
def test_a_prefix_that_only_looks_like_one(returning, answer):
    returning(answer)
    assert conf.current().keyspace.prefix == answer


@pytest.mark.parametrize("error", [LookupError("none"), Http404("none"), RuntimeError("none")])
def test_what_the_function_raises(call, returning, error):
    """It passes through, with one note, however often it is raised."""
    returning(error)
    for of, name, *args in (
        (SessionStore(KEY), "load"),
        (SessionStore(), "get", "x"),
        (registry, "count"),
    ):
        with pytest.raises(type(error)) as raised:
            call(of, name, *args)
        assert raised.value is error
    (note,) = error.__notes__
    assert 'SESSION_REDIS["KEY_PREFIX"]' in note


@pytest.mark.parametrize("error", [KeyError("acme"), AttributeError("schema_name")])
def test_what_would_look_like_a_missing_entry(returning, error):
    """Code that reads a session must not take it for one."""
    returning(error)
    for read in (
        lambda: SessionStore(KEY).get("color"),
        lambda: SessionStore(KEY).scope("cart").get("book"),
        lambda: getattr(SessionStore(KEY), "_session", None),
        lambda: "x" in SessionStore(),
    ):
        with pytest.raises(ImproperlyConfigured, match=r"raised .*(acme|schema_name)"):
            read()


def test_no_tenant(call):
    with pytest.raises(LookupError) as raised:
        call(SessionStore(KEY), "load")
    assert PATH in raised.value.__notes__[0]


def test_a_damaged_index(raw, a):
    """The message does not ask for the prefix, which may fail."""
    raw.set(f"{a}:index", "text", ex=60)
    with inside(a), pytest.raises(SessionStoreUnavailable, match="<prefix>:index, "):
        registry.count()


# A store keeps its tenant

OPERATIONS = {
    "load": lambda call, store: call(store, "load"),
    "save": lambda call, store: call(store, "save"),
    "cycle": lambda call, store: call(store, "cycle_key"),
    "increment": lambda call, store: call(store, "increment", "visits"),
    "delete": lambda call, store: call(store, "delete"),
    "flush": lambda call, store: call(store, "flush"),
    "create": lambda call, store: call(store, "create"),
    "exists": lambda call, store: call(store, "exists", store.session_key),
    "inspect": lambda call, store: call(store, "inspect"),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_store_keeps_its_tenant(call, raw, name, a, b):
    """The store and its copies stay with the tenant, whatever the current one is by then."""
    key = same_key_in(a, b)
    with inside(b):
        before = {name: raw.dump(name) for name in raw.scan_iter(f"{b}:*")}
    with inside(a):
        store = SessionStore(key)
        store["color"] = "red"
    store = pickle.loads(pickle.dumps(copy.copy(store)))
    with inside(b):
        OPERATIONS[name](call, store)
    assert {name: raw.dump(name) for name in raw.scan_iter(f"{b}:*")} == before
    with inside(a):
        gone = name in {"delete", "flush", "cycle"}
        assert SessionStore(key).exists(key) is not gone
        if name == "save":
            assert SessionStore(key)["color"] == "red"
        if name == "cycle":
            assert SessionStore(store.session_key)["color"] == "red"


def test_a_new_session_stays_where_it_began(call, a):
    """An entry that was set in a tenant is saved there, after the request has left the tenant."""
    with inside(a):
        store = SessionStore()
        call(store, "get", "color")
    store["color"] = "red"
    call(store, "save")
    with inside(a):
        assert SessionStore(store.session_key)["color"] == "red"


def test_the_function_is_called_once_for_each_store(settings, session_redis, a):
    calls = []

    def counting():
        calls.append(a)
        return a

    settings.SESSION_REDIS = {**session_redis, "KEY_PREFIX": counting}
    store = SessionStore()
    assert calls == []
    store["color"] = "red"
    store.save()
    store.cycle_key()
    store.increment("visits")
    store.flush()
    assert calls == [a]
    SessionStore(KEY).load()
    assert calls == [a, a]


def test_a_setting_without_tenants(settings, session_redis, prefix, a):
    """If a test overrides the setting, a store that kept a tenant uses the new one, as all do."""
    with inside(a):
        store = saved()
        live = registry.find(session_id(store.session_key))
    settings.SESSION_REDIS = {**session_redis, "KEY_PREFIX": prefix}
    assert not store.exists(store.session_key)
    assert live.entries() == []


def test_expired_sessions_of_a_tenant(call, raw, a, b):
    for name in (a, b):
        raw.zadd(f"{name}:index", {"0" * 32: 1})
        raw.expire(f"{name}:index", 60)
    with inside(a):
        call(SessionStore, "clear_expired")
    assert (raw.exists(f"{a}:index"), raw.exists(f"{b}:index")) == (0, 1)


# The registry


@pytest.fixture
def people(a, b):
    """Two sessions of user 1 in one tenant, and three in the other."""
    ids = {}
    for name, number in ((a, 2), (b, 3)):
        with inside(name):
            ids[name] = {session_id(saved("1").session_key) for _ in range(number)}
    return ids


def test_the_user_1_of_two_tenants(call, people, a, b, ended):
    """Lists, counts and searches have the tenant's sessions, and end only these."""
    for name in (a, b):
        with inside(name):
            own = people[name]
            other = next(iter(people[b if name == a else a]))
            of_two = Selection(users=("1", "2"))
            assert {live.id for live in call(registry, "of_user", 1)} == own
            assert {live.id for live in call(registry, "latest")} == own
            assert {live.id for live in call(registry, "latest", 0, 9, of_two)} == own
            assert call(registry, "count") == len(own)
            assert call(registry, "count", Selection(users=("1",), within=1e9)) == len(own)
            assert sum(call(registry, "by_time_left", [0, 1e9])[0]) == len(own)
            assert call(statistics, "measure", 10).live == len(own)
            assert call(registry, "find", other) is None
            assert call(registry, "starting_with", other[:8]).sessions == ()
            assert call(registry, "end", other) is False
            assert call(registry, "end_many", [other]) == []
    with inside(a):
        assert call(registry, "end_all_of", 1) == 2
    with inside(b):
        assert {live.id for live in call(registry, "of_user", 1)} == people[b]
    assert {id for id, _, _ in ended} == people[a]


@pytest.fixture
def signals():
    """The tenant of each signal."""
    received = []

    def receive(*, tenant, **kwargs):
        received.append(tenant)

    session_ended.connect(receive)
    yield received
    session_ended.disconnect(receive)


@pytest.mark.parametrize("function", ["end", "end_many"])
def test_a_session_that_was_found_ends_where_it_was_found(call, signals, a, b, function):
    """Never does a session of the current tenant end that has the same key."""
    key = same_key_in(a, b)
    with inside(a):
        live = registry.find(session_id(key))
    assert live.tenant == a
    with inside(b):
        assert {entry.value for entry in live.entries()} == {"1", a}
        assert call(registry, function, live if function == "end" else [live])
        assert call(registry, function, live if function == "end" else [live]) in (False, [])
        assert SessionStore(key)["tenant"] == b
    with inside(a):
        assert not SessionStore(key).exists(key)
    assert signals == [a]


def test_sessions_of_several_tenants(call, signals, people, a, b):
    found = []
    for name in (a, b):
        with inside(name):
            found += registry.of_user(1)
    random.Random(7).shuffle(found)
    with inside(b):
        # In the current tenant, there is no session with this ID.
        foreign = next(live.id for live in found if live.tenant == a)
        ended = call(registry, "end_many", [*found, foreign, "not an ID"])
    assert set(ended) == people[a] | people[b]
    assert sorted(signals) == [a] * 2 + [b] * 3


def test_without_tenants(call, signals, settings, session_redis):
    """Objects of the registry can be ended as well, and their tenant is None."""
    settings.SESSION_REDIS = session_redis
    one, two = (registry.find(session_id(saved("1").session_key)) for _ in range(2))
    assert isinstance(one, LiveSession)
    assert one.tenant is None
    assert call(registry, "end", one) is True
    assert call(registry, "end_many", [one, two]) == [two.id]
    assert signals == [None, None]


CALLS = {
    "count": [Selection(users=("1",), within=1e9)],
    "latest": [],
    "of_user": [1],
    "by_time_left": [[0, 1e9]],
    "find": [session_id(KEY)],
    "find_many": [[session_id(KEY)]],
    "starting_with": ["0" * 6],
    "end": [session_id(KEY)],
    "end_many": [[session_id(KEY)]],
    "end_all_of": [1],
    "trim": [],
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.usefixtures("people")
def test_a_function_of_the_registry_asks_once(call, settings, session_redis, a, name):
    asked = []

    def asking():
        asked.append(name)
        return a

    settings.SESSION_REDIS = {**session_redis, "KEY_PREFIX": asking}
    call(registry, name, *CALLS[name])
    assert asked == [name]


STEPS = {
    "count": lambda: listing._count(Selection(users=("1", "2"), within=1e9)),
    "latest": lambda: listing._latest(0, 10, Selection()),
    "latest of users": lambda: listing._latest(0, 10, Selection(users=("1", "2"))),
    "soonest of users": lambda: listing._latest(0, 10, Selection(users=("1", "2"), within=1e9)),
    "of a user": lambda: listing._of_user(1, 0, None),
    "by time left": lambda: listing._by_time_left([0, 1e9]),
    "trim": listing._trim,
    "starting with": lambda: finding._starting_with("0" * 6),
    "statistics": lambda: statistics._measure(10),
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.usefixtures("people")
def test_the_tenant_changes_between_two_steps(raw, a, b, name):
    """What takes several round trips stays in the tenant in which it began."""
    for one in (a, b):
        # Members without a session, which lists remove in further steps.
        for index in ("index", "index:signed-in", "user:1"):
            raw.zadd(f"{one}:{index}", {f"{number:032x}": 9e9 for number in range(5)})
            raw.zadd(f"{one}:{index}", {"f" * 32: 1})
    before = {key: raw.dump(key) for key in raw.scan_iter(f"{b}:*")}

    def leaving(steps):
        """The same steps. After the first one is made, the tenant changes."""
        asked = next(steps)
        tenant.set(b)
        try:
            while True:
                several = asked if isinstance(asked, list) else [asked]
                keys.extend(part for one in several for part in one.parts if b in str(part))
                asked = steps.send((yield asked))
        except StopIteration as stop:
            return stop.value

    keys = []
    with inside(a):
        found = perform(leaving(STEPS[name]()))
    assert keys == []
    assert {key: raw.dump(key) for key in raw.scan_iter(f"{b}:*")} == before
    if isinstance(found, list):
        assert {live.tenant for live in found} == {a}


@pytest.fixture
def leaving(b):
    """A receiver of the signal changes the tenant."""

    def leave(**kwargs):
        tenant.set(b)

    session_ended.connect(leave)
    yield
    session_ended.disconnect(leave)


@pytest.mark.parametrize("way", ["end_all_of", "end_many"])
@pytest.mark.usefixtures("leaving")
def test_a_receiver_that_changes_the_tenant(call, monkeypatch, people, a, b, way):
    """Ending goes on in the tenant in which it began."""
    monkeypatch.setattr("sessions_redis.storage.listings.END_ALL_BATCH_SIZE", 1)
    monkeypatch.setattr("sessions_redis.storage.listings.END_MANY_BATCH_SIZE", 1)

    with inside(a):
        asked = 1 if way == "end_all_of" else [*people[a]]
        assert call(registry, way, asked) in (2, [*people[a]])
    with inside(b):
        assert registry.count() == 3


@pytest.mark.usefixtures("leaving")
def test_a_receiver_that_changes_the_tenant_of_ids(call, people, a, b):
    """IDs belong to the tenant that was current at the start, whatever ends before them."""
    with inside(b):
        first = registry.latest(0, 1)
    with inside(a):
        ids = [first[0].id, *people[a]]
        assert call(registry, "end_many", [*first, *people[a]]) == ids


# Races


def test_threads(a, b):
    """Threads of two tenants use one key at the same time, and never meet."""
    key = same_key_in(a, b)
    found = {a: set(), b: set()}

    def visit(name, number):
        with inside(name):
            for turn in range(20):
                store = SessionStore(key)
                found[name].add(store["tenant"])
                store[f"{name}/{number}/{turn}"] = turn
                store.save()

    threads = [
        threading.Thread(target=visit, args=(name, number))
        for number in range(4)
        for name in (a, b)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {a: {a}, b: {b}}
    for name in (a, b):
        with inside(name):
            names = visited(key)
        assert len(names) == 80
        assert all(one.startswith(f"{name}/") for one in names)


def test_two_threads_that_first_use_a_store(a, b):
    """Both write to the tenant of the first."""
    for _ in range(20):
        store, barrier = SessionStore(), threading.Barrier(2)
        kept = []

        def use(name, store=store, barrier=barrier, kept=kept):
            with inside(name):
                barrier.wait(timeout=60)
                kept.append(conf.keyspace_of(store).prefix)

        threads = [threading.Thread(target=use, args=(name,)) for name in (a, b)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(kept) == 2
        assert len(set(kept)) == 1


def test_tasks(a, b):
    """Tasks of two tenants take turns, and their commands share exchanges."""
    key = same_key_in(a, b)

    async def visit(name, number):
        tenant.set(name)
        found = set()
        for turn in range(5):
            store = SessionStore(key)
            found.add(await store.aget("tenant"))
            await asyncio.sleep(0)
            await store.aset(f"{name}/{number}/{turn}", turn)
            await store.asave()
            found |= {live.tenant for live in await registry.aof_user(1)}
        new = SessionStore()
        await new.aset("_auth_user_id", "1")
        await asyncio.sleep(0)
        await new.asave()
        assert found == {name}

    async def visits():
        await asyncio.gather(*(visit(name, number) for number in range(20) for name in (a, b)))
        tenant.set(a)
        # The tenant changes between two steps of one task.
        counting = asyncio.ensure_future(registry.aend_all_of(1))
        await asyncio.sleep(0)
        tenant.set(b)
        assert await counting == 21
        assert await registry.acount() == 21

    copy_context().run(asyncio.run, visits())
    with inside(b):
        names = visited(key)
    assert len(names) == 100
    assert all(one.startswith(f"{b}/") for one in names)


def test_from_async_to_sync_and_back(a, b):
    """A context variable passes through asgiref's threads and loops."""

    async def visit(name):
        tenant.set(name)
        key = (await sync_to_async(saved)("1", tenant=name)).session_key

        def through():
            return async_to_sync(SessionStore(key).aget)("tenant")

        assert await sync_to_async(through, thread_sensitive=False)() == name
        assert await SessionStore(key).aget("tenant") == name
        return await registry.acount()

    async def visits():
        return await asyncio.gather(visit(a), visit(b))

    assert asyncio.run(visits()) == [1, 1]


@pytest.fixture
def workers(monkeypatch, session_redis):
    started = []

    def start(name, job, **arguments):
        monkeypatch.setenv("TENANT", name)
        setting = {**session_redis, "KEY_PREFIX": "tests.tenancy.of_process"}
        started.append(Worker(setting, job, **arguments))
        return started[-1]

    yield start
    for worker in started:
        worker.end()


def test_processes(workers, a, b):
    """While one tenant ends all sessions of its user 1, that of the other signs in."""
    together = [
        workers(a, "sign_in", user="1", times=60),
        workers(a, "end_all", user="1", times=60),
        workers(b, "sign_in", user="1", times=60),
    ]
    of_a, ended, of_b = race(together)
    with inside(a):
        assert len(registry.of_user(1)) == 60 - ended
        assert {live.id for live in registry.of_user(1)} <= {session_id(key) for key in of_a}
    with inside(b):
        assert {live.id for live in registry.of_user(1)} == {session_id(key) for key in of_b}


# A site, with the example of the docs

DOCS = text_of("docs/tenants.md")
SET_UP, SETTINGS = blocks(DOCS, "python")[:2]


def whoami(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JsonResponse({"user": request.user.username, "visits": request.session["visits"]})


async def awhoami(request):
    await request.session.aset("visits", await request.session.aget("visits", 0) + 1)
    user = await request.auser()
    return JsonResponse({"user": user.username, "visits": await request.session.aget("visits")})


def streamed(request):
    request.session["color"] = "red"

    def pieces():
        yield SessionStore.__name__
        request.session.save()

    return StreamingHttpResponse(pieces())


urlpatterns = [
    path("whoami", whoami),
    path("awhoami", awhoami),
    path("streamed", streamed),
    path("account/sessions/", include("sessions_redis.urls")),
]


@pytest.fixture
def shop(monkeypatch, settings, session_redis, prefix):
    """The module ``shop.tenants`` of the docs, whose prefixes start with that of the test."""
    module = ModuleType("shop.tenants")
    exec(SET_UP.replace('f"shop-', f'f"{prefix}:shop-'), vars(module))
    package = ModuleType("shop")
    package.tenants = module
    monkeypatch.setitem(sys.modules, "shop", package)
    monkeypatch.setitem(sys.modules, "shop.tenants", module)
    written = {}
    exec(SETTINGS, written)
    settings.SESSION_REDIS = written["SESSION_REDIS"] | {"LOCATION": session_redis["LOCATION"]}
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = ["*"]
    settings.MIDDLEWARE = [
        *written["MIDDLEWARE"],
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ]
    return module


def handler404(request, exception):
    return HttpResponse(status=404)


class AtAHost(AsyncClient):
    """An ``AsyncClient`` that sends one header ``Host``."""

    async def request(self, **request):
        request["headers"].remove((b"host", b"testserver"))
        return await super().request(**request)


class Browser:
    """A browser at one tenant's host, under WSGI or ASGI."""

    def __init__(self, world, host):
        self.client = (Client if world == "WSGI" else AtAHost)()
        self.world, self.host = world, host

    def get(self, path, **headers):
        headers = {"host": self.host} | headers
        answer = self.client.get(path, headers=headers)
        return answer if self.world == "WSGI" else asyncio.run(answer)

    def post(self, path):
        answer = self.client.post(path, headers={"host": self.host})
        return answer if self.world == "WSGI" else asyncio.run(answer)

    def sign_in(self, shop, user):
        token = shop.current.set(self.host.partition(".")[0])
        self.client.force_login(user)
        shop.current.reset(token)


@pytest.fixture(params=["WSGI", "ASGI"])
def world(request):
    return request.param


@pytest.mark.django_db(transaction=True)
def test_the_example_of_the_docs(world, raw, shop, prefix):
    """Two tenants at two hosts: a cookie of one of them is nothing to the other."""
    user = User.objects.create_user("ada")
    acme, bravo = Browser(world, "acme.example.com"), Browser(world, "bravo.example.com:8000")
    acme.sign_in(shop, user)
    for page in ("/whoami", "/awhoami"):
        assert acme.get(page).json()["user"] == "ada"
    key = acme.client.cookies["sessionid"].value
    assert raw.exists(f"{prefix}:shop-acme:{session_id(key)}")
    bravo.client.cookies["sessionid"] = key
    for page in ("/whoami", "/awhoami"):
        answer = bravo.get(page)
        assert answer.json() == {"user": "", "visits": 1 if page == "/whoami" else 2}
    other = bravo.client.cookies["sessionid"].value
    assert other != key  # an unknown key is not adopted
    assert not raw.exists(f"{prefix}:shop-bravo:{session_id(key)}")
    assert raw.exists(f"{prefix}:shop-bravo:{session_id(other)}")
    assert acme.get("/whoami").json() == {"user": "ada", "visits": 3}
    assert acme.get("/whoami", host="nobody.example.com").status_code == 404


def test_a_streamed_response(shop, raw, prefix):
    """The session is saved in its tenant, after the middleware has left that."""
    acme = Browser("WSGI", "acme.example.com")
    answer = acme.get("/streamed")
    assert answer.getvalue() == b"SessionStore"
    key = acme.client.cookies["sessionid"].value
    assert raw.hget(f"{prefix}:shop-acme:{session_id(key)}", "color") == b'"red"'


@pytest.mark.django_db(transaction=True)
def test_the_page_of_a_users_sessions(world, shop):
    """It shows, and ends, the sessions of the tenant alone."""
    user = User.objects.create_user("ada")
    browsers = [Browser(world, f"{name}.example.com") for name in ("acme", "acme", "bravo")]
    for browser in browsers:
        browser.sign_in(shop, user)
    one, two, other = browsers
    page = one.get("/account/sessions/")
    assert len(page.context["others"]) == 1
    assert other.get("/account/sessions/").context["others"] == []
    foreign = session_id(other.client.cookies["sessionid"].value)
    assert one.get(f"/account/sessions/{foreign}/end/").status_code == 404
    one.post("/account/sessions/others/end/")
    assert two.get("/whoami").json()["user"] == ""
    assert other.get("/whoami").json()["user"] == "ada"


class TenantMainMiddleware(MiddlewareMixin):
    """As that of django-tenants: it notes the schema on the connection of the thread."""

    def process_request(self, request):
        connection.schema_name = request.get_host().partition(".")[0]


@pytest.fixture
def schemas(monkeypatch, settings, session_redis, prefix):
    """The site uses the example for django-tenants."""
    monkeypatch.setattr(connection, "schema_name", "public", raising=False)
    main = ModuleType("django_tenants.middleware.main")
    main.TenantMainMiddleware = TenantMainMiddleware
    for name in ("django_tenants", "django_tenants.middleware"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, main.__name__, main)

    module = ModuleType("shop.tenants")
    code = blocks(DOCS, "python")[-1]
    exec(code.replace('f"shop-', f'f"{prefix}:shop-'), vars(module))
    monkeypatch.setitem(sys.modules, "shop", ModuleType("shop"))
    monkeypatch.setitem(sys.modules, "shop.tenants", module)
    settings.SESSION_REDIS = {**session_redis, "KEY_PREFIX": "shop.tenants.key_prefix"}
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = ["*"]
    settings.MIDDLEWARE = [
        "shop.tenants.TenantMiddleware",
        "sessions_redis.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("schemas")
def test_the_example_for_django_tenants(world, raw, prefix):
    """The middleware, and the threads and the event loop of views, have the same tenant."""
    browsers = [Browser(world, f"{name}.example.com") for name in ("acme", "bravo", "acme")]
    for visits in range(1, 7):
        for browser in browsers:
            page = "/whoami" if visits % 2 else "/awhoami"
            assert browser.get(page).json()["visits"] == visits
    ids = [session_id(browser.client.cookies["sessionid"].value) for browser in browsers]
    for name, own in ("acme", {ids[0], ids[2]}), ("bravo", {ids[1]}), ("public", set()):
        keys = raw.scan_iter(f"{prefix}:shop-{name}:{'[0-9a-f]' * 32}")
        assert {key.decode()[-32:] for key in keys} == own


# Commands, and choosing a tenant


def output_of(name, *arguments, **options):
    out = StringIO()
    call_command(name, *arguments, stdout=out, **options)
    return out.getvalue()


@pytest.mark.django_db
@pytest.mark.usefixtures("people")
def test_commands(a, b):
    """They work on one tenant: the chosen one, or that of the function."""
    User.objects.create_user("ada", pk=1)
    with inside(a):
        assert json.loads(output_of("sessionstats", json=True))["live"] == 2
        assert json.loads(output_of("sessionstats", json=True, prefix=b))["live"] == 3
        assert output_of("rebuildindex", "--prefix", b) == "3 sessions found, none unlisted.\n"
    assert output_of("endsessions", "ada", "--prefix", b) == "ada: 3 sessions ended\n"
    with inside(a):
        assert output_of("endsessions", "ada") == "ada: 2 sessions ended\n"


@pytest.mark.parametrize(
    "name", ["endsessions", "rebuildindex", "reencryptsessions", "sessionstats"]
)
def test_a_command_without_a_tenant(settings, session_redis, name):
    """The error says what failed, and what to do."""
    arguments = ["ada"] if name == "endsessions" else []
    with pytest.raises(CommandError, match=rf"{PATH}, does not know .* LookupError.* --prefix"):
        call_command(name, *arguments)
    with pytest.raises(CommandError, match=r"chosen prefix is ''"):
        call_command(name, *arguments, prefix="")
    settings.SESSION_REDIS = session_redis
    with pytest.raises(CommandError, match="one prefix for the whole site"):
        call_command(name, *arguments, prefix="acme")


@pytest.mark.usefixtures("people")
def test_choosing_a_tenant(call, a, b):
    """It goes before the function, and ends with its block."""
    with inside(a):
        with using(b):
            assert call(registry, "count") == 3
            store = saved()
            with using(a):
                assert call(registry, "count") == 2
            assert call(registry, "count") == 4
        assert call(registry, "count") == 2
        assert store.exists(store.session_key)
    with using(a):
        assert call(registry, "count") == 2


@pytest.mark.parametrize("prefix", ["", None, "shop:user:1"])
def test_choosing_what_is_not_a_prefix(prefix):
    with pytest.raises(ImproperlyConfigured, match="The chosen prefix is"):
        using(prefix).__enter__()


# The admin


@pytest.mark.django_db
def test_the_admin(settings, a, b, ended):
    """It lists and ends the sessions of the tenant, and of no other."""
    use_section(settings)
    ada = User.objects.create_superuser("ada", pk=1)
    with inside(b):
        foreign = {session_id(saved("1").session_key) for _ in range(3)}
        other = next(iter(foreign))
    with inside(a):
        own = [session_id(saved("1").session_key) for _ in range(3)]
        browser = Client()
        browser.force_login(ada)
        browsing = id_of(browser)
        shown = browser.get(url()).context["cl"].result_list
        assert {session.pk for session in shown} == {*own, browsing}
        assert browser.get(url("change", other)).status_code == 302
        browser.post(url("delete", own[0]), {"post": "yes"})
        selected = {"action": "delete_selected", "_selected_action": [own[1], other], "post": "yes"}
        browser.post(url(), selected)
        browser.post(url("end_all", "1"), {"post": "yes", "own": "yes"})
    assert {id for id, _, _ in ended} == {*own, browsing}
    with inside(b):
        assert {live.id for live in registry.of_user(1)} == foreign


# The tests of a site


def test_a_run_of_tests(raw, prefix, a, b):
    """Each tenant has a prefix for tests. The end of the run removes the keys of all of them."""
    machine = testing_leftovers.machine()
    site = conf._read()
    run = testing_runs.Run(site)
    own, names = run.conf_of(site), []
    assert not run.is_used[0]
    for name in (a, b):
        with inside(name):
            keyspace = own.keyspace
        assert own.keyspace_of_tenant(name) == keyspace
        assert keyspace.prefix.startswith(f"test_{name}:{machine}-{os.getpid()}-")
        names += [keyspace.index, keyspace.session("a" * 32), keyspace.user("1")]
    assert run.is_used[0]
    with subprocess.Popen([sys.executable, "-c", ""]) as killed:
        killed.wait()
    names.append(f"test_{prefix}:killed:{machine}-{killed.pid}-abcdef-0.0:index")
    others = [
        f"{a}:index",
        f"test_{a}:index",
        f"test_{a}:user:{machine}-1",
        f"test_{a}:user:{machine}-{killed.pid}-4711-aaaa-bbbbbbbbbbbb",
        f"test_{a}:{machine}-{os.getppid()}-abcdef-0.0:index",
        f"test_{a}:{'0' * 8}-{os.getpid()}-abcdef-0.0:index",
        f"a-test_{a}:{machine}-{os.getpid()}-abcdef-0.0:index",
    ]
    for name in [*names, *others]:
        raw.set(name, "", ex=60)
    del run
    gc.collect()
    assert {key.decode() for key in raw.scan_iter(f"*{prefix}*")} == set(others)
    for name in others:
        raw.delete(name)


def test_the_tests_of_a_site(raw, session_redis, prefix, a):
    """A site's tests run under the tenants' prefixes for tests, and leave real sessions alone."""
    with inside(a):
        real = session_id(saved("1").session_key)
    before = {key: raw.dump(key) for key in raw.scan_iter(f"*{prefix}*")}
    setting = {**session_redis, "KEY_PREFIX": f"{SITE}.tenants.key_prefix"}
    done = manage_py_test(setting, "OfTenants", real=real, TESTED_SITE_PREFIX=prefix)
    assert_passed(done)
    assert "Ran 2 tests" in done.stderr
    assert {key: raw.dump(key) for key in raw.scan_iter(f"*{prefix}*")} == before
