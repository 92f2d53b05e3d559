"""Django's own serializer with an encoder that is prepared: the same bytes, values and errors."""

import json
import tracemalloc

import pytest
from django.contrib.sessions.serializers import JSONSerializer
from hypothesis import example, given
from hypothesis import strategies as st

from sessions_redis import json_serializer
from sessions_redis.json_serializer import LONG, PreparedJSONSerializer, made
from tests.held import keys, texts, unhurried
from tests.pickling import PickleSerializer

PREPARED, DJANGOS = PreparedJSONSerializer(), JSONSerializer()


class Text(str):
    """A string of another class, which JSON takes for one."""

    __slots__ = ()


class Number(int):
    __slots__ = ()


class Bag(dict):
    __slots__ = ()


def outcome(function, argument):
    """What it returns, with the type of each part, or the error's type and words."""
    try:
        return "returned", repr(function(argument))
    except Exception as error:  # noqa: BLE001 - whatever Django's raises
        return type(error), str(error)


# Long enough, often, to be looked through first, with the characters at which that matters.
long_texts = st.text(
    st.characters() | st.sampled_from('"\\/\x00\x1f\x20\x7e\x7f\x80\xff\u2028\ud800\U0001f600'),
    min_size=LONG - 2,
    max_size=LONG + 40,
)
ascii_texts = st.text(st.characters(max_codepoint=127), min_size=LONG - 2, max_size=LONG + 40)
refused = st.sampled_from([b"bytes", {1}, 1j, object, (1,), Text("a"), Number(1), Bag(a=1)])
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | long_texts
    | ascii_texts
    | refused
    | texts.map(Text)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner)
        | st.dictionaries(keys, inner)
        | st.dictionaries(st.tuples(st.integers()), inner)
    ),
    max_leaves=5,
)


@unhurried
@given(values)
@example("")
@example("a" * LONG)
@example("a" * LONG + '"')
@example("a" * LONG + "\x7f")
@example(Text("a" * LONG * 2))
@example(10**5000)
@example(float("nan"))
def test_the_same_is_written(value):
    """What Django's writes, or raises, is written, or raised."""
    assert outcome(PREPARED.dumps, value) == outcome(DJANGOS.dumps, value)


@pytest.mark.parametrize("number", range(256))
def test_each_character_of_a_long_string(number):
    """Each character is written as Django's writes it, also within a long string."""
    text = "a" * LONG + chr(number)
    assert PREPARED.dumps(text) == DJANGOS.dumps(text)


def test_values_that_hold_themselves():
    """A list that holds itself raises as with Django's, and the next value is written."""
    endless = []
    endless.append(endless)
    deep = None
    for _ in range(100_000):
        deep = [deep]
    for value in (endless, deep, endless):
        expected, _ = outcome(DJANGOS.dumps, value)
        with pytest.raises(expected):
            PREPARED.dumps(value)
    assert PREPARED.dumps([1]) == b"[1]"


def written_by_djangos(value):
    try:
        return DJANGOS.dumps(value)
    except (TypeError, ValueError):
        return b"refused"


json_texts = st.recursive(
    st.sampled_from(["1", "-0.0", "1e400", '"a"', '"\\ud800"', "NaN", "null", "true", "nul", "{"]),
    lambda inner: (
        st.lists(inner).map(lambda parts: f"[{', '.join(parts)}]")
        | inner.map(lambda part: f'{{"a": {part}, "a":1}}')
        | st.tuples(inner, inner).map(" ".join)
        | inner.map(lambda part: f" \t{part}\r\n")
    ),
    max_leaves=4,
)


@unhurried
@given(json_texts.map(str.encode) | st.binary() | values.map(written_by_djangos))
@example(b"")
@example(b" ")
@example(b'"\xff"')
@example(b"\xef\xbb\xbf1")
@example(b"1 2")
@example(b"[" * 100_000)
@example(b"9" * 5000)
def test_the_same_is_read(stored):
    """What Django's reads, or raises, is read, or raised."""
    assert outcome(PREPARED.loads, stored) == outcome(DJANGOS.loads, stored)


class Own(JSONSerializer):
    """A site's own, by inheritance."""


@pytest.mark.parametrize("kind", [Own, PickleSerializer, PreparedJSONSerializer])
def test_another_serializer_is_used_as_it_is(kind):
    """Only Django's own class is replaced, not one that inherits from it."""
    assert type(made(kind)) is kind


def test_djangos_is_replaced():
    """Of Django's own class there is one quicker instance, which is a JSONSerializer too."""
    serializer = made(JSONSerializer)
    assert serializer is made(JSONSerializer)
    assert isinstance(serializer, PreparedJSONSerializer)
    assert isinstance(serializer, JSONSerializer)


def test_a_python_without_the_encoder_in_c(monkeypatch):
    """Where the json module has no encoder in C, values are written the same."""
    monkeypatch.setattr(json.encoder, "c_make_encoder", None)
    assert json_serializer._prepared()([1, {"a": None}]) == '[1,{"a":null}]'


def test_a_replaced_default(monkeypatch):
    """A site may teach the class JSONEncoder further types, before and after the first session."""
    monkeypatch.setattr(json.JSONEncoder, "default", lambda self, value: str(value))
    for value in (1j, [1j]):
        assert PREPARED.dumps(value) == DJANGOS.dumps(value)


def test_a_container_that_holds_itself():
    """It is found at once, before it takes memory."""
    bag = {"a": "x" * 1_000_000}
    bag["itself"] = bag
    tracemalloc.start()
    try:
        assert outcome(PREPARED.dumps, bag) == outcome(DJANGOS.dumps, bag)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000
