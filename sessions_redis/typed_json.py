"""
JSON that also carries dates, times, decimals, UUIDs, bytes, sets and tuples.

Such a value becomes an object with one name, which says its type: ``{"py:decimal": "9.90"}``. An
object that already looks like this gets a second ``py:``, which is removed again when it is read.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from django.contrib.sessions.serializers import JSONSerializer
from django.utils.dateparse import parse_duration
from django.utils.duration import duration_iso_string
from django.utils.functional import Promise

from sessions_redis.json_serializer import made

PREFIX = "py:"

# What a value with a type is found by, before it is decoded.
_SIGN = b'"py:'

_AS_THEY_ARE = frozenset({str, int, float, bool, type(None)})

_plain = made(JSONSerializer)


class TypedJSONSerializer:
    """
    A ``SESSION_SERIALIZER`` that also carries Python's common types. It never executes code.

    It carries what JSON does, and ``datetime``, ``date``, ``time``, ``timedelta``, ``Decimal``,
    ``UUID``, ``bytes``, ``set``, ``frozenset`` and ``tuple``, also inside each other. Anything else
    raises ``TypeError``. It reads what Django's ``JSONSerializer`` wrote.

    As in JSON, the key of a dictionary becomes a string, and an instance of a subclass comes back
    as one of the class above. A time zone comes back as its offset from UTC.
    """

    def dumps(self, obj: Any) -> bytes:
        if type(obj) in _AS_THEY_ARE:
            return _plain.dumps(obj)
        try:
            return _plain.dumps(_marked(obj))
        except RecursionError:
            raise ValueError(
                "This value contains itself, or is nested too deeply for JSON."
            ) from None

    def loads(self, data: bytes) -> Any:
        if _SIGN not in data:
            return _plain.loads(data)
        return json.loads(data.decode("latin-1"), object_hook=_unmarked)


class _Type(NamedTuple):
    """A type that JSON does not know: its name in JSON, and how a value becomes JSON and back."""

    kind: type
    name: str
    written: Callable[[Any], Any]
    read: Callable[[Any], Any]


def _items(value: Any) -> list[Any]:
    return [_marked(one) for one in value]


def _sorted_items(value: Any) -> list[Any]:
    # Equal sets must be written alike: what was only read must not look changed.
    return sorted(_items(value), key=_plain.dumps)


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("expected a list")  # noqa: TRY004 - what was stored is damaged
    return value


def _time(value: time) -> str:
    if value.tzinfo is not None and value.utcoffset() is None:
        raise TypeError(
            f"{value!r} cannot be stored: its offset from UTC depends on the date. Store a "
            "datetime."
        )
    return value.isoformat()


def _duration(text: str) -> timedelta:
    duration = parse_duration(text)
    if duration is None:
        raise ValueError("expected a duration")
    return duration


# A datetime is a date as well, so it comes first.
_TYPES = (
    _Type(datetime, "datetime", datetime.isoformat, datetime.fromisoformat),
    _Type(date, "date", date.isoformat, date.fromisoformat),
    _Type(time, "time", _time, time.fromisoformat),
    _Type(timedelta, "timedelta", duration_iso_string, _duration),
    _Type(Decimal, "decimal", str, Decimal),
    _Type(UUID, "uuid", str, UUID),
    _Type(
        bytes, "bytes", lambda value: b64encode(value).decode(), partial(b64decode, validate=True)
    ),
    _Type(set, "set", _sorted_items, lambda items: set(_listed(items))),
    _Type(frozenset, "frozenset", _sorted_items, lambda items: frozenset(_listed(items))),
    _Type(tuple, "tuple", _items, lambda items: tuple(_listed(items))),
)
_READ = {PREFIX + known.name: known.read for known in _TYPES}


def _marked(value: Any) -> Any:
    """The same value in what JSON knows."""
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, dict):
        return _marked_dict(value)
    if isinstance(value, list):
        return _items(value)
    if isinstance(value, str | int | float):
        return value
    for known in _TYPES:
        if isinstance(value, known.kind):
            return {PREFIX + known.name: known.written(value)}
    raise TypeError(_refusal(value))


def _marked_dict(value: dict[Any, Any]) -> dict[Any, Any]:
    marked = {key: _marked(one) for key, one in value.items()}
    if len(marked) == 1:
        ((key, one),) = marked.items()
        if isinstance(key, str) and key.startswith(PREFIX):
            return {PREFIX + key: one}
    return marked


def _unmarked(read: dict[str, Any]) -> Any:
    if len(read) != 1:
        return read
    ((key, value),) = read.items()
    if key in _READ:
        return _READ[key](value)
    if key.startswith(PREFIX + PREFIX):
        return {key.removeprefix(PREFIX): value}
    return read


def _refusal(value: Any) -> str:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, Promise):
        return (
            "A lazy translation cannot be stored, because its text depends on the language. Store "
            "str() of it."
        )
    names = ", ".join(known.kind.__name__ for known in _TYPES)
    return (
        f"{kind} cannot be stored: TypedJSONSerializer carries what JSON does, and {names}. Store "
        "what identifies the object, such as its primary key."
    )
