"""
A session is a dictionary: each use of a dictionary gives the same with this engine and Django's.
"""

import ast
import copy
import json
import marshal
import pickle
import xmlrpc.client

import orjson
import pytest
import redis
import ujson
from asgiref.sync import async_to_sync
from django.conf import settings
from django.contrib.sessions.backends import db
from django.template import engines
from django.test import RequestFactory

from sessions_redis.engine import SessionStore
from sessions_redis.storage.commands import session_id
from tests.idioms import ENTRIES, IDIOMS, METHODS
from tests.side_by_side import comparable, kind_of, outcome

pytestmark = pytest.mark.django_db


# The states in which a session may be when code uses it as a dictionary.


def new(engine):
    store = engine()
    store.update(copy.deepcopy(ENTRIES))
    return store


def saved(engine):
    store = new(engine)
    store.save()
    return store


def fresh(engine):
    """A session that was not loaded yet."""
    return engine(saved(engine).session_key)


def half_read(engine):
    store = fresh(engine)
    store["nested"]["x"].append(3)
    assert store.get("b")
    return store


def changed(engine):
    store = fresh(engine)
    store["b"] = "changed"
    del store["none"]
    store["more"] = {"1": 2}
    return store


def replaced(engine):
    store = fresh(engine)
    store._session_cache = copy.deepcopy(ENTRIES)
    return store


def empty(engine):
    return engine()


def gone(engine):
    store = fresh(engine)
    store.delete()
    return store


def damaged(engine):
    """A session with two fields in Redis that cannot be read. These entries are missing."""
    store = fresh(engine)
    if engine is SessionStore:
        location, prefix = (settings.SESSION_REDIS[name] for name in ("LOCATION", "KEY_PREFIX"))
        with redis.Redis.from_url(location) as client:
            name = f"{prefix}:{session_id(store.session_key)}"
            client.hset(name, mapping={b"torn": b'["x', b"\xff": b"1"})
    return store


STATES = [damaged, new, saved, fresh, half_read, changed, replaced, empty, gone]

# Ways to get the mapping of a session.
WAYS = {
    "_session": lambda store: store._session,
    "load()": lambda store: store.load(),
    "_aget_session()": lambda store: async_to_sync(store._aget_session)(),
    "aload()": lambda store: async_to_sync(store.aload)(),
}


def sessions():
    """One session of each engine, in each state, and a way to get its mapping."""
    for state in STATES:
        yield state.__name__, WAYS["_session"], state(db.SessionStore), state(SessionStore)
    for name in ("load()", "_aget_session()", "aload()"):
        yield name, WAYS[name], fresh(db.SessionStore), fresh(SessionStore)


def stored_after(store):
    """
    The entries that a new store finds when this one was saved, or the reason why saving failed.
    """
    try:
        store.save()
    except Exception as error:  # noqa: BLE001 - the other engine may raise any error
        return kind_of(error)
    return comparable(type(store)(store.session_key)._session)


def differences(compare):
    """The states in which this engine gives other results than Django's, with these results."""
    results = {
        state: {
            "expected": compare(theirs, mapping_of),
            "given": compare(ours, mapping_of),
        }
        for state, mapping_of, theirs, ours in sessions()
    }
    return {state: one for state, one in results.items() if one["given"] != one["expected"]}


@pytest.mark.parametrize("idiom", IDIOMS)
def test_idiom(idiom):
    """It returns the same, leaves the same entries, and the same is saved afterwards."""

    def compare(store, mapping_of):
        mapping = mapping_of(store)
        return outcome(IDIOMS[idiom], mapping), comparable(mapping), stored_after(store)

    assert differences(compare) == {}


def test_no_method_of_a_dictionary_is_left_out():
    """
    A later Python may add a method to dict. Then it needs a test here, and perhaps an override.
    """
    assert set(dir(dict)) <= set(METHODS)


# Uses of a store


def copied_and_saved(function):
    def idiom(store):
        other = function(store)
        other["only here"] = 1
        other.save()
        found = [store._session, type(store)(store.session_key)._session, other._session]
        # Otherwise this engine would keep the changes of both, and Django's only those that are
        # saved last.
        del store._session_cache
        return found

    return idiom


def copied_created(store):
    copied = copy.copy(store)
    copied.create()
    copied["z"] = 1
    copied.save()
    found = [store._session, type(store)(copied.session_key)._session]
    store.save()
    return [*found, type(store)(store.session_key)._session]


def given_to_another(store, mapping):
    other = type(store)()
    other._session_cache = mapping
    other.save()
    return type(store)(other.session_key)._session


def restored(store):
    keep = copy.deepcopy(store._session)
    store["a"] = 99
    store.save()
    store._session_cache = keep
    store.save()
    return type(store)(store.session_key)._session


def restored_after_load(store):
    keep = store.load()
    store["a"] = 99
    store.save()
    store._session_cache = keep
    store.save()
    return type(store)(store.session_key)._session


def held_dict(store):
    entries = {}
    store._session_cache = entries
    entries["late"] = 1
    store.save()
    return type(store)(store.session_key)._session


def another_key(store):
    other = type(store)()
    other.update({"only there": 1, "a": 2})
    other.save()
    assert store.get("zz") is None
    store._session_key = other.session_key
    store.save()
    return type(store)(other.session_key)._session


def another_key_cycled(store):
    other = type(store)()
    other.update({"only there": 1, "a": 2})
    other.save()
    assert store.get("zz") is None
    store._session_key = other.session_key
    store.cycle_key()
    found = type(store)(store.session_key)._session
    return [found, type(store)(other.session_key).load()]


def no_key(store):
    assert store.get("zz") is None
    store._session_key = None
    store.save()
    return type(store)(store.session_key)._session


def rendered(store):
    request = RequestFactory().get("/")
    request.session = store
    template = engines["django"].from_string(
        "{{ request.session.a }}{% for key, value in request.session.items %}[{{ value }}]"
        "{% endfor %}{{ request.session.nested.x }}"
    )
    return sorted(template.render({"request": request}).split("["))


def number_removed(store):
    """JSON makes one key of a number and a text. When the number is removed, the text is back."""
    store["1"] = "text"
    store.save()
    store = type(store)(store.session_key)
    store[1] = "number"
    store.save()
    del store[1]
    store.save()
    return type(store)(store.session_key)._session


def hidden_refused(store):
    """
    A value that no serializer accepts is refused, even if another value would be stored in its
    place.
    """
    store[1] = {1}
    store["1"] = "text"
    try:
        store.save()
    finally:
        del store[1]
        if store.session_key and not store.exists(store.session_key):
            store._session_key = None  # Django's engine may keep a key that it has not stored.


STORES = {
    "number removed": number_removed,
    "hidden value refused": hidden_refused,
    "dict(store)": dict,
    "{**store}": lambda s: {**s},
    "items()": lambda s: list(map(comparable, sorted(s.items()))),
    "keys() and values()": lambda s: [s.keys(), s.values(), len(s.keys()), len(s.values())],
    "encode and decode": lambda s: s.decode(s.encode(s._session)),
    "encode load()": lambda s: s.decode(s.encode(s.load())),
    "json of items()": lambda s: json.loads(json.dumps(dict(s.items()))),
    "rendered": rendered,
    "the mapping stays": lambda s: s._session is s._session and s._session_cache is s._session,
    "copy.copy, saved": copied_and_saved(copy.copy),
    "copy.deepcopy, saved": copied_and_saved(copy.deepcopy),
    "pickle, saved": copied_and_saved(lambda s: pickle.loads(pickle.dumps(s))),
    "copy.copy, created": copied_created,
    "load() of another": lambda s: given_to_another(s, s.load()),
    "mapping of another": lambda s: given_to_another(s, s._session),
    "copy of another's": lambda s: given_to_another(s, copy.copy(s._session)),
    "deep copy of another's": lambda s: given_to_another(s, copy.deepcopy(s._session)),
    "pickle of another's": lambda s: given_to_another(s, pickle.loads(pickle.dumps(s._session))),
    "dict of another's": lambda s: given_to_another(s, dict(s._session)),
    "restored": restored,
    "restored after load()": restored_after_load,
    "a dictionary held on to": held_dict,
    "another key": another_key,
    "another key, cycled": another_key_cycled,
    "no key": no_key,
}


@pytest.mark.parametrize("idiom", STORES)
def test_idiom_of_a_store(idiom):
    """Such a use of a store returns the same, and the same is saved afterwards."""

    def compare(store, _):
        return outcome(STORES[idiom], store), stored_after(store)

    assert differences(compare) == {}


# Order


@pytest.mark.parametrize(
    "idiom",
    [
        list,
        lambda m: list(reversed(m)),
        lambda m: list(m.items()),
        lambda m: m.popitem(),
        json.dumps,
        repr,
        lambda m: [m.update(a=5), m.pop("b"), m.update(b=1, c=2), m.__setitem__(1, 2), list(m)],
    ],
)
@pytest.mark.parametrize("state", [new, saved, replaced])
def test_order_in_memory(state, idiom):
    """Entries that were not loaded come in the order in which they were set."""
    theirs, ours = [idiom(state(engine)._session) for engine in (db.SessionStore, SessionStore)]
    assert ours == theirs


# Code that reads a dictionary without its methods


def text_of(value):
    assert str(value)
    return value


def next_items(mapping):
    """Iterate as C code does that writes the items as JSON."""
    return json.loads(json.dumps(dict(dict.items(mapping))))


PAST_THE_METHODS = {
    "orjson": lambda m: orjson.loads(orjson.dumps(m)),
    "orjson default": lambda m: orjson.loads(orjson.dumps(m, default=str)),
    "orjson default repr": lambda m: orjson.loads(orjson.dumps(m, default=repr)),
    "orjson nested": lambda m: orjson.loads(orjson.dumps([{"session": m}]))[0]["session"],
    "orjson sorted": lambda m: orjson.loads(orjson.dumps(m, option=orjson.OPT_SORT_KEYS)),
    "orjson keys": lambda m: orjson.loads(orjson.dumps(m, option=orjson.OPT_NON_STR_KEYS)),
    "orjson subclass": lambda m: orjson.loads(
        orjson.dumps(m, option=orjson.OPT_PASSTHROUGH_SUBCLASS, default=dict)
    ),
    "ujson": lambda m: ujson.loads(ujson.dumps(m)),
    "ujson default": lambda m: ujson.loads(ujson.dumps(m, default=str)),
    "ujson sorted": lambda m: ujson.loads(ujson.dumps(m, sort_keys=True)),
    "marshal": lambda m: marshal.loads(marshal.dumps(m)),
    "xmlrpc": lambda m: xmlrpc.client.loads(xmlrpc.client.dumps((m,), allow_none=True))[0][0],
    "PyDict_Next": next_items,
    "PyObject_Str": lambda m: {key: text_of(value) for key, value in dict.items(m)},
    "PyObject_Repr": lambda m: {key: ast.literal_eval(repr(v)) for key, v in dict.items(m)},
}


@pytest.mark.parametrize("way", PAST_THE_METHODS)
def test_code_that_looks_past_the_methods(way):
    """It gets the right entries, or raises. It never sees an empty session or a wrong value."""
    results = {
        state: (
            comparable(dict(mapping_of(theirs))),
            *outcome(PAST_THE_METHODS[way], mapping_of(ours)),
        )
        for state, mapping_of, theirs, ours in sessions()
    }
    wrong = {
        state: given
        for state, (expected, result, given) in results.items()
        if result != "raised" and given != expected
    }
    assert wrong == {}
