"""Whether a serializer can execute code when it loads."""

import ast
import base64
import json
import pickle

import pytest
from django.contrib.sessions.serializers import JSONSerializer

from sessions_redis import registry, serializer_probes
from sessions_redis.engine import SessionStore
from sessions_redis.serializer_probes import executes_code, record
from sessions_redis.storage.commands import session_id
from sessions_redis.storage.entries import StoredEntry
from tests import pickling
from tests.pickling import Trap

DANGEROUS = [kind for name, kind in vars(pickling).items() if name.endswith("Serializer")]


class EncodedSerializer(JSONSerializer):
    """JSON in another encoding."""

    def dumps(self, obj):
        return base64.b64encode(super().dumps(obj))

    def loads(self, data):
        return super().loads(base64.b64decode(data))


class LiteralSerializer:
    """Python's literals, which execute nothing."""

    def dumps(self, obj):
        return repr(obj).encode()

    def loads(self, data):
        return ast.literal_eval(data.decode())


class RestrictedSerializer:
    """Pickle that finds no class and no function."""

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            raise pickle.UnpicklingError(name)

    def dumps(self, obj):
        return pickle.dumps(obj)

    def loads(self, data):
        import io

        return self.Unpickler(io.BytesIO(data)).load()


class TextSerializer(JSONSerializer):
    """Turns values that JSON does not know into text."""

    def dumps(self, obj):
        return json.dumps(obj, default=str).encode()


class RandomSerializer(TextSerializer):
    """Writes other bytes each time, as encryption does, and often some that look like a pickle."""

    starts = (b"", b"\x80\x04", b"8004")

    def __init__(self):
        self.number = 0

    def dumps(self, obj):
        self.number += 1
        padding = b" " * (self.number % 5)
        return b"%b%b%b" % (padding, self.starts[self.number % 3], super().dumps(obj))


class FailingSerializer:
    """Raises an unexpected error."""

    def dumps(self, obj):
        raise ArithmeticError

    def loads(self, data):
        raise LookupError


@pytest.mark.parametrize("kind", DANGEROUS)
def test_serializers_that_execute(kind):
    """Trying it out finds such a serializer, with any name and any compression."""
    assert executes_code(kind)


@pytest.mark.parametrize(
    "kind",
    [
        JSONSerializer,
        EncodedSerializer,
        LiteralSerializer,
        RestrictedSerializer,
        TextSerializer,
        RandomSerializer,
        FailingSerializer,
    ],
)
def test_serializers_that_do_not_execute(kind):
    """A serializer that raises, or returns something else, executes nothing."""
    assert not executes_code(kind)


def test_nothing_is_left_of_a_probe():
    """When the test of a serializer is over, code in its probe has no effect."""
    assert executes_code.__wrapped__(pickling.PickleSerializer)
    record("0123")
    assert serializer_probes._was_executed == {}


def test_entries_are_not_read(settings, raw, prefix, tmp_path):
    """With such a serializer, the registry decodes no value. It still knows names and sizes."""
    settings.SESSION_SERIALIZER = "tests.pickling.CompressedSerializer"
    trace = tmp_path / "trace"
    session = SessionStore()
    session["trap"] = Trap(trace)
    session.save()
    id = session_id(session.session_key)
    size = raw.hstrlen(f"{prefix}:{id}", "trap")
    expected = [StoredEntry("trap", None, size, unread=True)]
    assert registry.find(id).entries() == expected
    assert not trace.exists()
    assert SessionStore(session.session_key)["trap"] is None  # The engine itself reads it.
    assert trace.exists()
