"""JSON with types: what it carries comes back, and everything else is refused."""

import json
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.contrib.sessions.serializers import JSONSerializer
from django.core import signing
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st

from sessions_redis.engine import SessionStore
from sessions_redis.serializer_probes import executes_code
from sessions_redis.serializers import TypedJSONSerializer
from tests.held import scalars, texts, unhurried
from tests.held import values as json_values
from tests.people.models import Person

TYPED = TypedJSONSerializer()

offsets = st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone)
names = texts | st.sampled_from(["py:", "py:set", "py:py:set", "py:datetime", "py:unknown"])
hashables = st.recursive(
    scalars
    | st.datetimes(timezones=st.none() | offsets)
    | st.dates()
    | st.times(timezones=st.none() | offsets)
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.binary(max_size=20),
    lambda inner: st.frozensets(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple),
    max_leaves=4,
)
typed_values = st.recursive(
    hashables | st.sets(hashables, max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(names, inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=5,
)


def types_in(value):
    """The value's type, with those of the parts whose order is fixed."""
    if isinstance(value, dict):
        return {key: types_in(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [types_in(part) for part in value]
    return type(value)


@unhurried
@given(value=typed_values)
def test_values_come_back(value):
    """A value comes back equal, with its types, and is written the same way again."""
    written = TYPED.dumps(value)
    read = TYPED.loads(written)
    assert (read, types_in(read)) == (value, types_in(value))
    assert TYPED.dumps(read) == written


@unhurried
@given(value=json_values)
def test_plain_values_are_those_of_django(value):
    """It reads what Django's serializer wrote, and writes the same bytes."""
    written = JSONSerializer().dumps(value)
    assert TYPED.loads(written) == JSONSerializer().loads(written)
    assert TYPED.dumps(value) == written


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (datetime(2026, 11, 27, 9, 30, tzinfo=UTC), '{"py:datetime":"2026-11-27T09:30:00+00:00"}'),
        (date(2026, 11, 27), '{"py:date":"2026-11-27"}'),
        (time(9, 30), '{"py:time":"09:30:00"}'),
        (timedelta(days=1, seconds=90), '{"py:timedelta":"P1DT00H01M30S"}'),
        (Decimal("9.90"), '{"py:decimal":"9.90"}'),
        (UUID(int=1), '{"py:uuid":"00000000-0000-0000-0000-000000000001"}'),
        (b"\x00\xff", '{"py:bytes":"AP8="}'),
        ({"b", "a"}, '{"py:set":["a","b"]}'),
        (frozenset([1]), '{"py:frozenset":[1]}'),
        ((1, "a"), '{"py:tuple":[1,"a"]}'),
        ({"py:set": [1]}, '{"py:py:set":[1]}'),
        ({"price": Decimal(1)}, '{"price":{"py:decimal":"1"}}'),
        (7, "7"),
        (-12, "-12"),
    ],
)
def test_values_in_redis(value, stored):
    """A person can read in Redis what an entry holds."""
    assert TYPED.dumps(value).decode() == stored


class Color(IntEnum):
    RED = 1


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ({1: "a", None: "b", False: "c"}, {"1": "a", "null": "b", "false": "c"}),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (Color.RED, 1),
        (
            datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin")),
            datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=2))),
        ),
        (Decimal("Infinity"), Decimal("Infinity")),
        (timedelta.min, timedelta.min),
        (timedelta.max, timedelta.max),
    ],
)
def test_what_comes_back_in_another_form(value, read):
    """Keys become text, as in JSON; subclasses become the class above, time zones their offset."""
    assert TYPED.loads(TYPED.dumps(value)) == read


def test_another_writer_of_json():
    """An object with more names, or with a name that is not a type, is an ordinary dictionary."""
    for stored in ('{"py:set":[1],"py:date":2}', '{"py:unknown":1}', ' {"a": [{"py:new": 1}]} '):
        assert TYPED.loads(stored.encode()) == json.loads(stored)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "builtins.object cannot be stored"),
        (1j, "builtins.complex cannot be stored"),
        (bytearray(b"a"), "builtins.bytearray cannot be stored"),
        (Person(), "such as its primary key"),
        (gettext_lazy("Home"), "Store str"),
        ([{"deep": {1: gettext_lazy("Home")}}], "Store str"),
        (time(9, tzinfo=ZoneInfo("Europe/Berlin")), "depends on the date"),
        ({(1, 2): "a"}, "keys must be str"),
        ({b"a": 1}, "keys must be str"),
        ({range(3)}, "builtins.range cannot be stored"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_that_are_refused(value, message):
    """A value that it cannot carry raises TypeError, which says why."""
    with pytest.raises(TypeError, match=message):
        TYPED.dumps(value)


def test_a_value_that_contains_itself():
    """It raises ValueError, as in JSON, and not RecursionError."""
    value = []
    value.append(value)
    with pytest.raises(ValueError, match="contains itself"):
        TYPED.dumps(value)


@pytest.mark.parametrize(
    "stored",
    [
        '{"py:datetime":"yesterday"}',
        '{"py:timedelta":"long"}',
        '{"py:bytes":"?"}',
        '{"py:set":"abc"}',
        '{"py:tuple":{}}',
        '{"py:uuid":"1"}',
    ],
)
def test_damaged_values(stored):
    """A value whose text does not fit its type is damaged."""
    with pytest.raises(ValueError, match=r".+"):
        TYPED.loads(stored.encode())


def test_signing():
    """Django can sign with it, as its other session engines do."""
    value = {"price": Decimal("9.90")}
    signed = signing.dumps(value, serializer=TypedJSONSerializer, compress=True)
    assert signing.loads(signed, serializer=TypedJSONSerializer) == value


def test_it_executes_nothing():
    """The check of SESSION_SERIALIZER takes it for safe."""
    assert not executes_code(TypedJSONSerializer)


def test_a_session(settings):
    """The engine stores typed entries, finds what changed in them, and increments integers."""
    settings.SESSION_SERIALIZER = "sessions_redis.serializers.TypedJSONSerializer"
    session = SessionStore()
    session.update({"since": datetime(2026, 1, 1, tzinfo=UTC), "seen": {"b", "a"}, "count": 1})
    session.save()
    one, other = SessionStore(session.session_key), SessionStore(session.session_key)
    assert one["since"] == datetime(2026, 1, 1, tzinfo=UTC)
    assert (one["seen"], other["seen"]) == ({"a", "b"}, {"a", "b"})
    one["seen"].add("c")
    one.save()
    other.save()  # it has only read the set
    assert SessionStore(session.session_key)["seen"] == {"a", "b", "c"}
    assert one.increment("count") == 2
