"""A session's entries: a dictionary whose values are decoded when they are read."""

import pickle

import pytest

from sessions_redis.storage import entries as fields
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.entries import is_metadata
from tests.held import Held, Point, stored_as
from tests.pickling import PickleSerializer


@pytest.mark.parametrize("name", [fields.CREATED, fields.UPDATED, fields.USER, b"@ip", b"@"])
def test_metadata_are_no_entries(entries_of, name):
    """Metadata fields show in no way among the entries."""
    entries = entries_of({name: b'"text"', b"color": b'"red"'})
    assert is_metadata(name)
    assert dict(entries) == {"color": "red"}
    assert entries.whole().written == {b"color": b'"red"'}
    assert entries.changes() == Changes()


# Decoding


def test_reading_one_entry_decodes_that_one(entries_of, serializer):
    """Of a hundred entries, only the one that is read is decoded, and only once."""
    entries = entries_of(stored_as({f"entry-{number}": number for number in range(100)}))
    serializer.dumped.clear()
    assert serializer.loaded == []

    assert entries["entry-42"] == 42
    assert entries["entry-42"] == 42
    assert entries.get("entry-42") == 42
    assert "entry-42" in entries
    assert serializer.loaded == [b"42"]


def test_saving_looks_at_touched_entries_alone(entries_of, serializer):
    """Saving neither decodes nor encodes what was not touched."""
    entries = entries_of(stored_as({f"entry-{number}": number for number in range(100)}))
    entries["entry-1"]
    entries["entry-2"] = "changed"
    serializer.loaded.clear()
    serializer.dumped.clear()

    assert entries.changes() == Changes({b"entry-2": b'"changed"'})
    assert serializer.dumped == [1, "changed", 2]
    assert serializer.loaded == [b"2"]


def test_entries_that_start_with_a_prefix(entries_of, serializer):
    """Keys are found by what they start with; no other entry is decoded."""
    entries = entries_of(stored_as({"a:1": 1, "a:2": 2, "b:1": 3, "a": 4, "": 5}))
    entries.update({7: "no text", "a:3": 6, "b:2": 7})
    assert entries.keys_starting_with("a:") == ["a:1", "a:2", "a:3"]
    assert serializer.loaded == [b"1", b"2"]


def test_a_copy_is_written_without_decoding(entries_of, serializer):
    """All entries are written anew as they came, but for the one that says whose they are."""
    entries = entries_of(
        {**stored_as({"color": "red"}), b"loose": b"[ 1,2 ]", fields.CREATED: b"1"}
    )
    assert entries.whole().written == {b"color": b'"red"', b"loose": b"[ 1,2 ]"}
    assert serializer.loaded == []


# The mapping


def test_entries_are_a_mapping(entries_of):
    """Entries behave as the dict that Django keeps a session in."""
    entries = entries_of(stored_as({"a": 1, "b": [2]}))
    assert entries == {"a": 1, "b": [2]}
    assert len(entries) == 2
    assert list(entries) == ["a", "b"]
    assert repr(entries) == "{'a': 1, 'b': [2]}"
    assert entries.pop("a") == 1
    assert entries.setdefault("c", 3) == 3
    assert list(entries.items()) == [("b", [2]), ("c", 3)]
    assert "a" not in entries
    assert entries.get("a") is None
    for key in list(entries):
        del entries[key]
    assert not entries


@pytest.mark.parametrize("key", ["missing", "@created", 1, None])
def test_a_missing_entry(entries_of, key):
    """Reading or removing what is not there raises KeyError with the key."""
    entries = entries_of(stored_as({"a": 1}))
    with pytest.raises(KeyError) as caught:
        entries[key]
    assert caught.value.args == (key,)
    with pytest.raises(KeyError):
        del entries[key]
    assert entries.changes() == Changes()


# Damage


READINGS = [
    pytest.param(lambda e: e.get("bad"), None, id="get"),
    pytest.param(lambda e: "bad" in e, False, id="in"),
    pytest.param(lambda e: e.pop("bad", "default"), "default", id="pop"),
    pytest.param(list, ["good"], id="iter"),
    pytest.param(len, 1, id="len"),
    pytest.param(lambda e: dict(e.items()), {"good": 1}, id="items"),
    pytest.param(lambda e: e.keys_starting_with("b"), [], id="prefix"),
    pytest.param(lambda e: e == {"good": 1}, True, id="eq"),
]


@pytest.mark.parametrize("value", [b"", b"{", b"\xff\xfe", b"nul", b"1 2", b"[" * 100_000])
def test_a_damaged_value(entries_of, damaged, value):
    """Whatever the serializer cannot decode is missing."""
    entries = entries_of({b"bad": value, fields.CREATED: b"1"})
    assert dict(entries) == {}
    assert damaged == [b"bad"]


@pytest.mark.parametrize(("read", "expected"), READINGS)
def test_a_damaged_value_reads_as_missing(entries_of, damaged, read, expected):
    """An entry that cannot be decoded is missing, is reported once, and stays as it lies."""
    entries = entries_of({b"bad": b"{", b"good": b"1", fields.CREATED: b"1"})
    assert damaged == []
    for _ in range(2):
        assert read(entries) == expected
    assert damaged == [b"bad"]
    assert entries.changes() == Changes()


def test_a_damaged_value_cannot_be_removed(entries_of, damaged):
    """Removing an entry that cannot be decoded raises KeyError, and its field stays."""
    entries = entries_of({b"@@bad": b"{", fields.CREATED: b"1"})
    with pytest.raises(KeyError) as caught:
        del entries["@bad"]
    assert caught.value.args == ("@bad",)
    assert entries.changes() == Changes()
    assert damaged == [b"@@bad"]


@pytest.mark.parametrize("read", [True, False])
def test_a_damaged_value_is_overwritten(entries_of, damaged, read):
    """What the application writes in place of a damaged entry is written."""
    entries = entries_of({b"bad": b"{", fields.CREATED: b"1"})
    if read:
        assert "bad" not in entries
    entries["bad"] = 1
    changes = entries.changes()
    assert changes == Changes({b"bad": b"1"})
    entries.settle(changes)
    assert entries.changes() == Changes()
    assert entries["bad"] == 1
    assert damaged == [b"bad"] * read


def test_an_untouched_damaged_value_is_not_reported(entries_of, damaged):
    """Nothing is said about what nobody reads."""
    entries = entries_of({b"bad": b"{", b"good": b"1", fields.CREATED: b"1"})
    entries["good"] = 2
    entries.settle(entries.changes())
    assert damaged == []


@pytest.mark.parametrize("name", [b"\xff", b"@@\xff"])
def test_a_damaged_name(entries_of, damaged, name):
    """A field whose name is no key is reported once, is no entry, and stays as it lies."""
    entries = entries_of({name: b"1", b"good": b"1", fields.CREATED: b"1"})
    assert dict(entries) == {"good": 1}
    del entries["good"]
    entries["new"] = 1
    changes = entries.changes()
    assert changes == Changes({b"new": b"1"}, removed=(b"good",))
    entries.settle(changes)
    assert entries.changes() == Changes()
    assert damaged == [name]


# Another serializer


def test_another_serializer(damaged):
    """Entries are kept by whatever serializer the site names."""
    serializer = PickleSerializer()
    shared = ["text"]
    session = {"point": Point(1), "pair": [shared, shared], "user": {1: (2, 3)}}
    entries = Held(serializer, stored_as(session, serializer), on_damaged=damaged.append)
    assert entries["point"].x == 1
    assert entries["pair"][0] is entries["pair"][1]
    assert entries["user"] == {1: (2, 3)}
    assert entries.changes() == Changes()

    entries["point"].x = 2
    changes = entries.changes()
    assert set(changes.written) == {b"point"}
    assert serializer.loads(changes.written[b"point"]).x == 2
    entries.settle(changes)
    assert entries.changes() == Changes()


def test_damage_in_another_serializer(damaged):
    """Whatever a serializer raises on bytes that it did not write, the entry is missing."""
    bad = [b"", b"x", b"cno_such_module\nname\n.", b"\x80\x04\x95" + b"\xff" * 8]
    stored = {f"bad-{number}".encode(): value for number, value in enumerate(bad)}
    entries = Held(PickleSerializer(), stored, on_damaged=damaged.append)
    assert dict(entries) == {}
    assert sorted(damaged) == sorted(stored)


def test_a_placeholder_is_never_read(entries_of):
    """Code that reads the dictionary without its methods fails, and does not see a placeholder."""
    entries = entries_of(stored_as({"color": "red"}))
    for read in (dict.__repr__, lambda entries: pickle.dumps(list(dict.values(entries)))):
        with pytest.raises(TypeError, match="not decoded yet"):
            read(entries)
