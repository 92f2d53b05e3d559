"""Django's db engine and this one, side by side: both must behave in the same way."""

import ast
import copy
import inspect
import json
import pickle
from collections.abc import ItemsView, KeysView, Mapping, ValuesView
from typing import Any, ClassVar

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.sessions.backends.base import CreateError, UpdateError

PLAIN = (bool, int, float, str, bytes, type(None))


def comparable(value: Any) -> Any:
    """
    The value as nested tuples of plain values. They are the same for both engines, or the engines
    differ.

    The class and the order of a mapping do not count. An object that no session contains fails the
    test: it is an internal placeholder of the engine.
    """
    if isinstance(value, Mapping):
        pairs = [(repr(key), comparable(key), comparable(value[key])) for key in value]
        return "mapping", tuple(sorted(pairs))
    if isinstance(value, KeysView | ItemsView | ValuesView | set | frozenset):
        return "view", tuple(sorted(map(repr, map(comparable, value))))
    if isinstance(value, list | tuple):
        return type(value).__name__, tuple(map(comparable, value))
    assert isinstance(value, PLAIN), f"this is no value of a session: {type(value)}"
    return type(value).__name__, repr(value)


def kind_of(error: Exception) -> Any:
    """The kind of an error. For a KeyError, also its key."""
    for kind in (UpdateError, CreateError):
        if isinstance(error, kind):
            return kind.__name__
    return type(error).__name__, comparable(error.args) if isinstance(error, KeyError) else ()


def outcome(function, *args):
    """The result of the call, or the kind of its exception."""
    try:
        return "returned", comparable(function(*args))
    except Exception as error:  # noqa: BLE001 - the other engine may raise any error
        return "raised", kind_of(error)


async def awaited_outcome(awaitable):
    try:
        return "returned", comparable(await awaitable)
    except Exception as error:  # noqa: BLE001
        return "raised", kind_of(error)


class Sync:
    """Calls the methods of a store as synchronous code does."""

    async def call(self, store, name, *args):
        return getattr(store, name)(*args)

    async def mapping_of(self, store):
        return store._session

    def run(self, function, *args):
        # It never waits, so one step completes it. No event loop runs during that.
        with pytest.raises(StopIteration) as completed:
            function(*args).send(None)
        return completed.value.value


class Async:
    """
    Calls the asynchronous methods within one event loop. A method that has none is called directly.
    """

    names: ClassVar = {"__setitem__": "aset", "__contains__": "ahas_key", "__delitem__": "apop"}

    async def call(self, store, name, *args):
        twin = getattr(store, self.names.get(name, f"a{name}"), None)
        result = twin(*args) if twin else getattr(store, name)(*args)
        if not inspect.isawaitable(result):
            return result
        result = await result
        return None if name == "__delitem__" else result

    async def mapping_of(self, store):
        return await store._aget_session()

    def run(self, function, *args):
        return async_to_sync(function)(*args)


class InThread(Async):
    """Calls synchronous code from an event loop, as Django does with a synchronous view."""

    async def call(self, store, name, *args):
        return await sync_to_async(getattr(store, name))(*args)

    async def mapping_of(self, store):
        return await sync_to_async(lambda: store._session)()


def changed_copy(mapping, key, value):
    """Change a shallow copy. The mapping itself stays the same."""
    copied = copy.copy(mapping)
    copied[key] = value
    copied.pop("a", None)
    return [mapping, copied]


def changed_nested(mapping, key, value):
    """Change a nested value in place, without marking the session as modified."""
    nested = mapping.get(key)
    if isinstance(nested, list):
        nested.append(value)
    if isinstance(nested, dict):
        nested["more"] = value
    return nested


def united(mapping, key, value):
    mapping |= {key: value}
    return mapping


def as_json(mapping, **options):
    return json.loads(json.dumps(mapping, **options))


# Operations on the mapping that a session is. They also receive a key and a value.
ON_MAPPINGS = {
    "[]": lambda m, k, v: m[k],
    "[]=": lambda m, k, v: m.__setitem__(k, v),
    "del": lambda m, k, v: m.__delitem__(k),
    "get": lambda m, k, v: m.get(k),
    "get default": lambda m, k, v: m.get(k, v),
    "in": lambda m, k, v: k in m,
    "pop": lambda m, k, v: m.pop(k),
    "pop default": lambda m, k, v: m.pop(k, v),
    "setdefault": lambda m, k, v: m.setdefault(k, v),
    "update": lambda m, k, v: m.update({k: v, "c": v}),
    "update pairs": lambda m, k, v: m.update([(k, v)], a=v),
    "clear": lambda m, k, v: m.clear(),
    "keys": lambda m, k, v: m.keys(),
    "values": lambda m, k, v: m.values(),
    "items": lambda m, k, v: m.items(),
    "len": lambda m, k, v: [len(m), bool(m), len(m.keys()), len(m.items())],
    "iter": lambda m, k, v: set(m),
    "reversed": lambda m, k, v: [*reversed(m)] == [*m][::-1],
    "==": lambda m, k, v: [m == dict(m), dict(m) == m, m != {k: v}, m == {k: v}, m == 1],
    "|": lambda m, k, v: m | {k: v},
    "| of a dict": lambda m, k, v: {k: v} | m,
    "|=": united,
    "dict": lambda m, k, v: dict(m),
    "**": lambda m, k, v: {**m},
    "copy()": lambda m, k, v: m.copy(),
    "copy.copy": changed_copy,
    "copy.deepcopy": lambda m, k, v: copy.deepcopy(m),
    "pickle": lambda m, k, v: pickle.loads(pickle.dumps(m)),
    "nested": changed_nested,
    "fromkeys": lambda m, k, v: m.fromkeys([k, "a"], v),
    "isinstance": lambda m, k, v: [isinstance(m, dict), isinstance(m, Mapping)],
    "json": lambda m, k, v: as_json(m),
    "json sorted": lambda m, k, v: json.dumps(m, sort_keys=True, indent=1),
    "repr": lambda m, k, v: ast.literal_eval(repr(m)),
    "format": lambda m, k, v: ast.literal_eval(f"{m}"),
}
