"""
Ways to use a dictionary, and so the mapping that a session is.

Each is a function of the mapping. It returns plain values to compare.
"""

import ast
import collections
import contextlib
import copy
import csv
import dataclasses
import functools
import inspect
import io
import itertools
import json
import logging
import operator
import pickle
import pprint
import sqlite3
import string
import types
import unittest
from collections.abc import Mapping, MutableMapping
from multiprocessing.reduction import ForkingPickler
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

from django.contrib.sessions.models import Session
from django.core import signing
from django.core.cache import caches
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import JSONField, Q
from django.forms import CharField, Form
from django.http import JsonResponse, QueryDict
from django.template import Context, Template, engines
from django.utils.datastructures import CaseInsensitiveMapping, MultiValueDict
from django.utils.hashable import make_hashable
from django.utils.html import format_html
from django.views.debug import SafeExceptionReporterFilter

ENTRIES = {
    "a": 1,
    "b": "text",
    "nested": {"x": [1, 2], "1": None},
    "list": [1, "two"],
    "none": None,
    "long": "v" * 100,
    "@at": True,
}


def done(*_):
    """Ignore the result of a statement. The mapping itself is compared afterwards."""


def shown(view):
    """The text of a view, without the name of its class."""
    text = repr(view)
    found = ast.literal_eval(text[text.index("(") + 1 : -1])
    return sorted(map(repr, found))


def parsed(function):
    return lambda m: json.loads(function(m))


def pickled(m, protocol):
    return [pickle.loads(dumps(m, protocol)) for dumps in (pickle.dumps, pickle._dumps)]


def ior(m, other):
    m |= other
    return m


def attempts(*calls):
    """The result or error of each of several calls."""
    found = []
    for call in calls:
        try:
            found.append(call())
        except Exception as error:  # noqa: BLE001 - a dict may raise any of these
            found.append(type(error).__name__)
    return found


def changed_while_iterated(m):
    for key in m:
        m[f"{key} too"] = 1


def subclassed(m):
    class Subclass(type(m)):
        pass

    return issubclass(Subclass, dict)


# By the name of the method. A test checks that no method of dict is missing.
METHODS = {
    "__class__": lambda m: [isinstance(m, c) for c in (dict, m.__class__, MutableMapping)],
    "__class_getitem__": lambda m: type(m)[str, int] is not None,
    "__contains__": lambda m: attempts(
        *(functools.partial(m.__contains__, key) for key in ("a", "zz", 1, None, [], "@at", "at"))
    ),
    "__delattr__": lambda m: attempts(lambda: delattr(m, "no_such_attribute")),
    "__delitem__": lambda m: attempts(lambda: m.__delitem__("a"), lambda: m.__delitem__("zz")),
    "__dir__": lambda m: set(dir({})) <= set(dir(m)),
    "__doc__": lambda m: isinstance(m.__doc__, str),
    "__eq__": lambda m: [
        m == dict(m), dict(m) == m, m == m.copy(), m == {}, m == [], m == {**m, "a": 2},
        m == collections.OrderedDict(m), collections.UserDict(m) == m,
        m.__eq__(1) is NotImplemented, m.__eq__(m),
    ],
    "__format__": lambda m: [ast.literal_eval(f"{m}"), *attempts(lambda: f"{m:5}")],
    "__ge__": lambda m: attempts(lambda: m >= {}),
    "__getattribute__": lambda m: attempts(lambda: m.no_such_attribute),
    "__getitem__": lambda m: attempts(
        *(functools.partial(m.__getitem__, key) for key in ("a", "zz", 1, None, [], "@at", "at"))
    ),
    "__getstate__": lambda m: pickle.loads(pickle.dumps(m)),
    "__gt__": lambda m: attempts(lambda: m > {}),
    "__hash__": lambda m: attempts(lambda: hash(m)),
    "__init__": lambda m: [type(m)(), type(m)({"a": 1}), type(m)([("a", 1)]), type(m)(m, b=2)],
    "__init_subclass__": subclassed,
    "__ior__": lambda m: [
        ior(m, {"a": 2, "new": 1}) is m, ior(m, [("b", 3)]) is m, *attempts(lambda: ior(m, 1)),
    ],
    "__iter__": lambda m: [set(m), len(list(iter(m))), next(iter(m), None) in {*m, None}],
    "__le__": lambda m: attempts(lambda: m <= {}),
    "__len__": lambda m: [len(m), bool(m), not m, operator.length_hint(iter(m))],
    "__lt__": lambda m: attempts(lambda: m < {}),
    "__ne__": lambda m: [m != dict(m), dict(m) != m, m != {}, m != 1],
    "__new__": lambda m: type(m).__new__(type(m)),
    "__or__": lambda m: [m | {}, m | {"a": 2, "z": 1}, m | m, *attempts(lambda: m | [("a", 1)])],
    "__reduce__": lambda m: [pickled(m, protocol) for protocol in (0, 1)],
    "__reduce_ex__": lambda m: [pickled(m, protocol) for protocol in (2, 3, 4, 5)],
    "__repr__": lambda m: ast.literal_eval(repr(m)),
    "__reversed__": lambda m: [
        list(reversed(m)) == list(m)[::-1],
        list(reversed(m.keys())) == list(m.keys())[::-1],
        list(reversed(m.values())) == list(m.values())[::-1],
        list(reversed(m.items())) == list(m.items())[::-1],
    ],
    "__ror__": lambda m: [
        {} | m, {"a": 2, "z": 1} | m, collections.OrderedDict(z=1) | m,
        collections.defaultdict(list, z=1) | m, collections.ChainMap({"z": 1}) | m,
        collections.UserDict(z=1) | m, types.MappingProxyType({"z": 1}) | m,
    ],
    "__setattr__": lambda m: attempts(lambda: setattr(m, "__class__", 1)),
    "__setitem__": lambda m: attempts(
        lambda: m.__setitem__("a", 2), lambda: m.__setitem__("z", [1]), lambda: m.__setitem__([], 1)
    ),
    "__sizeof__": lambda m: m.__sizeof__() > 0,
    "__str__": lambda m: ast.literal_eval(str(m)),
    "__subclasshook__": lambda m: isinstance(m, Mapping),
    "clear": lambda m: [m.clear(), len(m), dict(m), list(m.items())],
    "copy": lambda m: [m.copy(), m.copy() is not m, m.copy() == m],
    "fromkeys": lambda m: [m.fromkeys("ab"), m.fromkeys(m, 1), type(m).fromkeys([1, "a"], None)],
    "get": lambda m: [m.get("a"), m.get("zz"), m.get("zz", 2), m.get("none", 3), m.get(1)],
    "items": lambda m: [
        m.items(), len(m.items()), ("a", 1) in m.items(), ("a", 2) in m.items(), "a" in m.items(),
        m.items() == dict(m).items(), shown(m.items()), m.items() <= dict(m).items(),
        *attempts(lambda: m.items() & {("a", 1)}, lambda: set(m.items())),
        list(m.items()) == list(zip(m.keys(), m.values(), strict=True)),
    ],
    "keys": lambda m: [
        m.keys(), len(m.keys()), m.keys() >= {"a"}, m.keys() & {"a", "zz"}, m.keys() | {"zz"},
        m.keys() - {"a"}, m.keys() ^ {"a", "zz"}, m.keys().isdisjoint({"zz"}), shown(m.keys()),
        m.keys() == dict(m).keys(), {"a", "zz"} - m.keys(), m.keys() <= {"a"}, m.keys().mapping,
    ],
    "pop": lambda m: attempts(
        lambda: m.pop("a"), lambda: m.pop("a"), lambda: m.pop("a", 5), lambda: m.pop("nested", 6)
    ),
    "popitem": lambda m: [sorted(map(repr, [m.popitem() for _ in dict(m)])), *attempts(m.popitem)],
    "setdefault": lambda m: [m.setdefault("a", 5), m.setdefault("z", []), m.setdefault("y")],
    "update": lambda m: attempts(
        lambda: m.update({"a": 2}, z=1), lambda: m.update([("b", 3)]), m.update,
        lambda: m.update(collections.UserDict(y=4)), lambda: m.update(1), lambda: m.update(m),
    ),
    "values": lambda m: [
        m.values(), len(m.values()), 1 in m.values(), "zz" in m.values(), shown(m.values()),
        sorted(map(repr, m.values())), m.values() == m.values(),
    ],
}  # fmt: skip


def live_views(m):
    keys, values, items = m.keys(), m.values(), m.items()
    m["late"] = "late"
    return ["late" in keys, "late" in values, ("late", "late") in items, len(items)]


def nested_change(m):
    for value in m.values():
        if isinstance(value, list):
            value.append("more")
    m.setdefault("cart", {})["book"] = 1


def copied_and_changed(m, copied):
    copied["a"] = 99
    copied.pop("b", None)
    copied["new"] = 1
    return copied


def shallow(m):
    """A shallow copy has the same value objects, not only equal ones."""
    copied = copy.copy(m)
    return all(copied[key] is m[key] for key in m)


def matched(m):
    match m:
        case {"a": 1, "nested": {"x": [first, *_]}, **rest}:
            return first, rest
        case _:
            return dict(m)


@dataclasses.dataclass
class Holder:
    entries: Any


dispatched = functools.singledispatch(lambda value: "not a dictionary")
dispatched.register(dict, sorted)


def in_sqlite(m):
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        return connection.execute("SELECT :a", m).fetchone()


def logged(m):
    return logging.LogRecord("", 0, "", 0, "%(a)s", (m,), None).getMessage()


def written_as_csv(m):
    with io.StringIO() as file:
        csv.DictWriter(file, ["a", "zz"], extrasaction="ignore").writerow(m)
        return file.getvalue()


def keywords(**entries):
    return entries


dict_equal = unittest.TestCase().assertDictEqual


def dumped(m):
    with io.StringIO() as file:
        json.dump(m, file)
        return json.loads(file.getvalue())


def attributes(m):
    holder = types.SimpleNamespace()
    vars(holder).update(m)
    return vars(holder)


# Uses of a mapping by the standard library and the language.
STANDARD = {
    "json.dumps": parsed(json.dumps),
    "json.dumps sort_keys": lambda m: json.dumps(m, sort_keys=True),
    "json.dumps indent": parsed(functools.partial(json.dumps, indent=2)),
    "json.dumps separators": parsed(functools.partial(json.dumps, separators=(",", ":"))),
    "json.dumps default": parsed(functools.partial(json.dumps, default=str)),
    "json.dumps nested": parsed(lambda m: json.dumps({"session": [m]})),
    "json.dump": dumped,
    "json iterencode": parsed(lambda m: "".join(json.JSONEncoder().iterencode(m))),
    "copy.copy": copy.copy,
    "copy.copy is shallow": shallow,
    "copy.copy, changed": lambda m: copied_and_changed(m, copy.copy(m)),
    "copy(), changed": lambda m: copied_and_changed(m, m.copy()),
    "copy.deepcopy": copy.deepcopy,
    "copy.deepcopy, changed": lambda m: copied_and_changed(m, copy.deepcopy(m)),
    "copy.deepcopy of a list": lambda m: [n := copy.deepcopy([m, m]), n[0] is n[1]],
    "change of a deep copy's value": lambda m: done(nested_change(copy.deepcopy(m))),
    "pickle, changed": lambda m: copied_and_changed(m, pickle.loads(pickle.dumps(m))),
    "ForkingPickler": lambda m: pickle.loads(ForkingPickler.dumps(m)),
    "str.format_map": "{b} {nested[x]}".format_map,
    "str.format": "{0[b]}".format,
    "%": functools.partial(operator.mod, "%(b)s %(list)s"),
    "string.Template": lambda m: string.Template("$a ${b}").substitute(m),
    "string.Formatter": lambda m: string.Formatter().vformat("{a}", (), m),
    "**": lambda m: keywords(**m),
    "{**}": lambda m: {**m, "z": 1},
    "dict": dict,
    "dict with more": lambda m: dict(m, z=1),
    "dict of items": lambda m: dict(m.items()),
    "dict.update": lambda m: [d := {"a": 2, "z": 1}, d.update(m)],
    "dict.update with entries": lambda m: [d := {}, d.update(m, z=2)],
    "dict |=": lambda m: ior({"a": 2, "z": 1}, m),
    "dict.fromkeys": dict.fromkeys,
    "OrderedDict": collections.OrderedDict,
    "defaultdict": functools.partial(collections.defaultdict, list),
    "Counter": collections.Counter,
    "ChainMap": lambda m: [c := collections.ChainMap({"z": 1}, m), len(c), c["a"]],
    "UserDict": collections.UserDict,
    "MappingProxyType": lambda m: [p := types.MappingProxyType(m), p | {"z": 1}, p.copy(), len(p)],
    "comprehension": lambda m: {key: value for key, value in m.items() if key != "a"},
    "list": lambda m: [sorted(m), [*m] == list(m)],
    "set": lambda m: [set(m), frozenset(m), {*m}],
    "tuple": lambda m: sorted((*m,)),
    "unpacked": lambda m: [sorted(m)[:1], *m.get("list", [])],
    "max": lambda m: [max(m), min(m), any(m.values()), all(m)],
    "sorted items": lambda m: sorted(m.items(), key=repr),
    "chain": lambda m: sorted(map(repr, itertools.chain(m.items(), m.values()))),
    "urlencode": lambda m: sorted(urlencode(m).split("&")),
    "urlencode doseq": lambda m: sorted(urlencode(m, doseq=True).split("&")),
    "dataclasses.asdict": lambda m: dataclasses.asdict(Holder(m)),
    "singledispatch": dispatched,
    "match": matched,
    "itemgetter": operator.itemgetter("a", "nested"),
    "methodcaller": operator.methodcaller("get", "a"),
    "partial": lambda m: functools.partial(keywords, **m)(),
    "signature.bind": lambda m: inspect.signature(lambda **e: e).bind(**m).kwargs,
    "SimpleNamespace": lambda m: vars(types.SimpleNamespace(**m)),
    "vars().update": attributes,
    "class namespace": lambda m: {k: v for k, v in vars(type("C", (), m)).items() if k in m},
    "eval locals": lambda m: eval("[a, nested]", {}, m),
    "sqlite3": in_sqlite,
    "logging": logged,
    "csv.DictWriter": written_as_csv,
    "ElementTree": lambda m: ET.Element("tag", m).attrib,
    "pprint": lambda m: ast.literal_eval(pprint.pformat(m)),
    "assertDictEqual": lambda m: dict_equal(dict(m.items()), m),
    "live views": live_views,
    "change while iterating": lambda m: attempts(lambda: changed_while_iterated(dict(m))),
    "change in place": lambda m: done(nested_change(m)),
    "del while iterating a list": lambda m: [m.pop(key) for key in sorted(m)],
    "keys that JSON coerces": lambda m: m.update({1: "x", None: "y", False: "z", 1.5: "w"}),
    "key of text and number": lambda m: [m.update({1: "x"}), m.update({"1": "y"})],
    "key of number and text": lambda m: [m.update({"1": "y"}), m.update({1: "x"})],
}


def rendered(template, **context):
    return engines["django"].from_string(template).render(context)


def in_cache(m):
    cache = caches["default"]
    cache.set("entries", m)
    return cache.get("entries")


def many_in_cache(m):
    cache = caches["default"]
    cache.set_many(m)
    return cache.get_many(m)


def updated_query(m):
    query = QueryDict(mutable=True)
    query.update(m)
    return sorted(query.lists(), key=repr)


class ColorForm(Form):
    b = CharField()


EVERY_ENTRY = "{% for key, value in m.items %}[{{ key }}={{ value }}]{% endfor %}"

# Uses of a mapping by Django.
DJANGO = {
    "template items": lambda m: sorted(rendered(EVERY_ENTRY, m=m).split("]")),
    "template lookup": lambda m: rendered("{{ m.a }} {{ m.nested.x.0 }} {{ m.zz }}", m=m),
    "template filters": lambda m: rendered("{{ m|length }}{% if 'a' in m %}!{% endif %}", m=m),
    "json_script": lambda m: sorted(rendered("{{ m|json_script:'x' }}", m=m)),
    "Context": lambda m: Template("{{ a }} {{ b }}").render(Context(m)),
    "render": lambda m: engines["django"].from_string("{{ a }}{{ b }}").render(m),
    "JsonResponse": parsed(lambda m: JsonResponse(m).content),
    "DjangoJSONEncoder": parsed(functools.partial(json.dumps, cls=DjangoJSONEncoder)),
    "signing.dumps": lambda m: signing.loads(signing.dumps(m)),
    "signing.dumps compress": lambda m: signing.loads(signing.dumps(m, compress=True)),
    "cache.set": in_cache,
    "cache.set_many": many_in_cache,
    "JSONField": parsed(lambda m: json.dumps(JSONField().to_python(m))),
    "Session.objects.encode": lambda m: Session(
        session_data=Session.objects.encode(m)
    ).get_decoded(),
    "Q": lambda m: sorted(Q(**m).children, key=repr),
    "QueryDict.update": updated_query,
    "MultiValueDict": lambda m: [d := MultiValueDict({"z": [1]}), d.update(m), len(d)],
    "CaseInsensitiveMapping": lambda m: CaseInsensitiveMapping(m).get("A"),
    "make_hashable": make_hashable,
    "format_html": lambda m: format_html("{a} {b}", **m),
    "Form": lambda m: [ColorForm(m).is_valid(), ColorForm(m).errors == {}],
    "cleanse_setting": lambda m: SafeExceptionReporterFilter().cleanse_setting("x", m),
}

IDIOMS = METHODS | STANDARD | DJANGO
