"""Random sessions, and their entries in a store. For the tests of `entries` and `changes`."""

import hypothesis
from django.contrib.sessions.serializers import JSONSerializer
from hypothesis import strategies as st

from sessions_redis.storage import entries as fields
from sessions_redis.storage.changes import UNKNOWN, Changes, Known, whole
from sessions_redis.storage.entries import NOTHING, field_of
from sessions_redis.storage.lazy_entries import Entries, entries_in, keys_starting_with

# Any text of Python, also lone surrogates, often with characters that have a meaning.
texts = st.text(st.characters() | st.sampled_from("@:%\ud800\udfff"))
# The keys of an object that JSON accepts.
keys = texts | st.integers() | st.booleans() | st.none() | st.floats()
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=3
)

# A slow machine is not a failure.
unhurried = hypothesis.settings(
    deadline=None, max_examples=40, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)

USER = field_of(fields.USER_KEY)


class Held(Entries):
    """Entries, and the known content of Redis."""

    def __init__(self, serializer, stored=NOTHING, *, on_damaged, replaces=False):
        entries = entries_in(stored, serializer, on_damaged)
        super().__init__(dict.items(entries))
        vars(self).update(vars(entries))
        self.serializer = serializer
        self.in_redis = UNKNOWN if replaces else Known("id", stored)

    def changes(self, metadata=NOTHING):
        return self.in_redis.changes(self, self.serializer, metadata)

    def whole(self, metadata=NOTHING):
        return whole(self, self.serializer, metadata)

    def settle(self, changes):
        self.in_redis = self.in_redis.after(changes, "id")

    def settle_entry(self, key, value):
        self[key] = value
        self.settle(Changes({field_of(key): self.serializer.dumps(value)}))

    def is_pending(self, key):
        return self.in_redis.is_changed(key, self, self.serializer)

    def new_metadata(self, metadata):
        return self.in_redis.new_metadata(metadata)

    def keys_starting_with(self, prefix):
        return keys_starting_with(self, prefix)


class CountingSerializer(JSONSerializer):
    """Django's serializer. It records what it reads and writes."""

    def __init__(self):
        self.dumped = []
        self.loaded = []

    def dumps(self, obj):
        self.dumped.append(obj)
        return super().dumps(obj)

    def loads(self, data):
        self.loaded.append(bytes(data))
        return super().loads(data)


def stored_as(session, serializer=None):
    """The hash with the entries of ``session`` and with metadata."""
    serializer = serializer or JSONSerializer()
    encoded = {field_of(key): serializer.dumps(value) for key, value in session.items()}
    return {**encoded, fields.CREATED: b"1700000000"}


class Point:
    """An object that JSON cannot write."""

    def __init__(self, x):
        self.x = x
