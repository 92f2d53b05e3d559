"""A session's entries: decoded when touched, compared when saved."""

import json
import pickle

import hypothesis
import pytest
from django.contrib.sessions.serializers import JSONSerializer
from hypothesis import example, given
from hypothesis import strategies as st

from sessions_redis import fields
from sessions_redis.fields import (
    Changes,
    Entries,
    StoredEntry,
    field_of,
    is_metadata,
    key_of,
    stored_entries,
)

# Any text that Python knows, lone surrogates too, and often the characters that mean something.
texts = st.text(st.characters() | st.sampled_from("@:%\ud800\udfff"))
# What JSON takes for the keys of an object.
keys = texts | st.integers() | st.booleans() | st.none() | st.floats()
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=3
)

# A busy machine is no failure.
unhurried = hypothesis.settings(
    deadline=None, max_examples=40, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)

USER = field_of(fields.USER_KEY)


class CountingSerializer(JSONSerializer):
    """Django's, noting what it reads and writes."""

    def __init__(self):
        self.dumped = []
        self.loaded = []

    def dumps(self, obj):
        self.dumped.append(obj)
        return super().dumps(obj)

    def loads(self, data):
        self.loaded.append(bytes(data))
        return super().loads(data)


class PickleSerializer:
    """What Django had until 5.0."""

    def dumps(self, obj):
        return pickle.dumps(obj)

    def loads(self, data):
        return pickle.loads(data)


def stored_as(session, serializer=None):
    """The hash that the entries of ``session`` lie in, with metadata."""
    serializer = serializer or JSONSerializer()
    encoded = {field_of(key): serializer.dumps(value) for key, value in session.items()}
    return {**encoded, fields.CREATED: b"1700000000"}


@pytest.fixture
def serializer():
    return CountingSerializer()


@pytest.fixture
def damaged():
    """The names of the fields that were reported as damaged."""
    return []


@pytest.fixture
def entries_of(serializer, damaged):
    """The entries that lie in a hash, given its fields."""
    return lambda stored: Entries(serializer, stored, on_damaged=damaged.append)


@pytest.fixture
def fresh(serializer, damaged):
    """Entries that replace whatever there is, as after ``clear()``."""
    return Entries(serializer, replaces=True, on_damaged=damaged.append)


# Names


@unhurried
@given(texts)
def test_a_key_is_found_again_in_its_field(key):
    """The name of a field tells the key of its entry, whatever the key."""
    assert key_of(field_of(key)) == key


@unhurried
@given(texts)
@example("@")
@example("@created")
@example("@@created")
def test_no_key_collides_with_metadata(key):
    """No entry lies in a metadata field, whatever its key."""
    assert not is_metadata(field_of(key))


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("color", b"color"),
        ("", b""),
        ("caf\xe9", b"caf\xc3\xa9"),
        ("@", b"@@"),
        ("@created", b"@@created"),
        ("@@", b"@@@"),
        ("a@b", b"a@b"),
        ("\ud800", b"\xed\xa0\x80"),
    ],
)
def test_a_field_is_named_as_its_entry(key, name):
    """A field has the name of its entry in UTF-8; a leading @ is doubled."""
    assert field_of(key) == name


@pytest.mark.parametrize("name", [b"\xff", b"@@\xff", b"caf\xe9", b"\xc0\x80"])
def test_a_name_that_is_no_key(name):
    """A name that is made of no key is told by UnicodeDecodeError."""
    with pytest.raises(UnicodeDecodeError):
        key_of(name)


def test_the_names_of_metadata():
    """Metadata is found again under the names it has on running servers."""
    names = [fields.CREATED, fields.UPDATED, fields.USER, fields.IP, fields.AGENT]
    assert names == [b"@created", b"@updated", b"@user", b"@ip", b"@agent"]


@pytest.mark.parametrize("name", [fields.CREATED, fields.UPDATED, fields.USER, b"@ip", b"@"])
def test_metadata_are_no_entries(entries_of, name):
    """Metadata fields show in no way among the entries."""
    entries = entries_of({name: b'"text"', b"color": b'"red"'})
    assert is_metadata(name)
    assert dict(entries) == {"color": "red"}
    assert entries.whole().written == {b"color": b'"red"'}
    assert entries.changes() == Changes()


# Any session


@unhurried
@given(st.dictionaries(keys, values))
def test_what_is_written_is_what_json_keeps(session):
    """What is read again equals what Django's serializer makes of the session in one document."""
    serializer = JSONSerializer()
    entries = Entries(serializer, on_damaged=pytest.fail)
    entries.update(session)
    stored = {**entries.whole().written, fields.CREATED: b"1"}

    expected = serializer.loads(serializer.dumps(session))
    assert dict(Entries(serializer, stored, on_damaged=pytest.fail)) == expected


@unhurried
@given(st.dictionaries(texts, values), st.dictionaries(texts, values), st.sets(texts))
def test_changes_lead_from_what_was_to_what_is(before, put, removed):
    """Writing the changes to what was loaded gives what the session holds now."""
    serializer = JSONSerializer()
    stored = stored_as(before)
    entries = Entries(serializer, stored, on_damaged=pytest.fail)
    entries.update(put)
    for key in removed & set(entries):
        del entries[key]

    changes = entries.changes()

    after = {name: value for name, value in stored.items() if name not in changes.removed}
    after.update(changes.written)
    assert dict(Entries(serializer, after, on_damaged=pytest.fail)) == dict(entries)
    assert not changes.written.keys() & set(changes.removed)
    entries.settle(changes)
    assert entries.changes() == Changes()


# Keys of which JSON makes one text, in pairs, and one that looks like metadata.
twins = st.sampled_from(["1", 1, "null", None, "@created"])
steps = st.lists(
    st.tuples(st.just("set"), twins, st.integers(0, 9))
    | st.tuples(st.just("read"), twins)
    | st.tuples(st.just("remove"), twins.filter(lambda key: isinstance(key, str)))
    | st.tuples(st.sampled_from(["walk", "save"]))
)


@hypothesis.settings(unhurried, max_examples=100)
@given(steps)
@example([("set", "1", 0), ("save",), ("set", 1, 1), ("walk",)])
@example([("set", "1", 0), ("save",), ("set", 1, 1), ("remove", "1")])
def test_any_use_leads_to_what_django_keeps(steps):
    """Whatever is done to a session, it is found again as from Django's own engines."""
    serializer = JSONSerializer()
    stored, document = stored_as({}), "{}"
    for request in split(steps, "save"):
        entries = Entries(serializer, stored, on_damaged=pytest.fail)
        session = json.loads(document)
        for step, *arguments in request:
            assert DO[step](entries, *arguments) == DO[step](session, *arguments)
        changes = entries.changes()
        stored = {name: stored[name] for name in stored if name not in changes.removed}
        stored.update(changes.written)
        document = json.dumps(session)
    assert dict(Entries(serializer, stored, on_damaged=pytest.fail)) == json.loads(document)


DO = {
    "set": lambda session, key, value: session.update({key: value}),
    "read": lambda session, key: session.get(key),
    "remove": lambda session, key: session.pop(key, "missing"),
    "walk": dict,
}


def split(steps, word):
    """The steps in groups, each up to ``word``."""
    groups = [[]]
    for step in steps:
        if step[0] == word:
            groups.append([])
        else:
            groups[-1].append(step)
    return groups


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
    for key in entries:
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


# Changes


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(lambda e: None, Changes(), id="untouched"),
        pytest.param(dict, Changes(), id="read"),
        pytest.param(lambda e: e.update(new=1), Changes({b"new": b"1"}), id="added"),
        pytest.param(lambda e: e.update(color="blue"), Changes({b"color": b'"blue"'}), id="set"),
        pytest.param(lambda e: e.update(color="red"), Changes(), id="set to the same"),
        pytest.param(lambda e: e.update(cart=([1],)), Changes(), id="set to what JSON holds same"),
        pytest.param(lambda e: e["cart"][0].append(2), Changes({b"cart": b"[[1,2]]"}), id="nested"),
        pytest.param(
            lambda e: (e["cart"].append(2), e["cart"].remove(2)), Changes(), id="nested and undone"
        ),
        pytest.param(lambda e: e.pop("color"), Changes(removed=(b"color",)), id="removed"),
        pytest.param(lambda e: e.pop("@at"), Changes(removed=(b"@@at",)), id="removed @"),
        pytest.param(lambda e: e.update({"@at": 2}), Changes({b"@@at": b"2"}), id="set @"),
        pytest.param(
            lambda e: e.update(color=e.pop("color")), Changes(), id="removed and put back"
        ),
        pytest.param(lambda e: (e.update(new=1), e.pop("new")), Changes(), id="added and removed"),
        pytest.param(
            lambda e: (e.pop("color"), e.update(new=1)),
            Changes({b"new": b"1"}, removed=(b"color",)),
            id="one removed, one added",
        ),
    ],
)
def test_changes(entries_of, change, expected):
    """What has to be written is what differs from what was loaded, and nothing else."""
    entries = entries_of(stored_as({"color": "red", "cart": [[1]], "@at": 1}))
    change(entries)
    assert entries.changes() == expected
    entries.settle(expected)
    assert entries.changes() == Changes()


@pytest.mark.parametrize("spelling", [b'{"b": 1,  "a": 2}', b'{"a":2,"b":1.0e0}', b'{"\\u0061":2}'])
def test_a_foreign_spelling_is_not_written_back(entries_of, spelling):
    """An entry that another writer spelt differently is not written because it was read."""
    entries = entries_of({b"bag": spelling, fields.CREATED: b"1"})
    bag = entries["bag"]
    assert entries.changes() == Changes()
    entries["bag"] = dict(bag)
    assert entries.changes() == Changes()
    bag["c"] = entries["bag"]["c"] = 3
    assert json.loads(entries.changes().written[b"bag"]) == bag


def test_the_same_in_another_order_is_a_change(entries_of):
    """An entry that the application put in another order is written so."""
    entries = entries_of(stored_as({"bag": {"a": 1, "b": 2}}))
    entries["bag"] = {"b": 2, "a": 1}
    assert entries.changes().written == {b"bag": b'{"b":2,"a":1}'}


def test_what_cannot_be_serialized_raises(entries_of):
    """A value that the serializer refuses raises, and the entry can be mended."""
    entries = entries_of(stored_as({"color": "red"}))
    entries["other"] = 1
    entries["color"] = object()
    with pytest.raises(TypeError, match="not JSON serializable"):
        entries.changes()
    with pytest.raises(TypeError, match="not JSON serializable"):
        entries.whole()
    entries["color"] = "blue"
    assert entries.changes() == Changes({b"color": b'"blue"', b"other": b"1"})


# Replacing


def test_replacing_writes_all(fresh):
    """What replaces is written whole, once; after that changes count again."""
    fresh["color"] = "red"
    fresh["size"] = 1
    changes = fresh.changes()
    assert changes == Changes({b"color": b'"red"', b"size": b"1"}, replaces=True, user="")

    fresh.settle(changes)
    assert fresh.changes() == Changes()
    fresh["size"] = 2
    del fresh["color"]
    assert fresh.changes() == Changes({b"size": b"2"}, removed=(b"color",))


def test_replacing_by_nothing(fresh):
    """Nothing replaces everything too."""
    assert fresh.changes() == Changes(replaces=True, user="")


def test_a_whole_session_replaces(entries_of):
    """A session that is written whole is so once; after that only changes are."""
    entries = entries_of(stored_as({"color": "red"}))
    entries["size"] = 1
    whole = entries.whole()
    assert whole == Changes({b"color": b'"red"', b"size": b"1"}, replaces=True, user="")
    entries.settle(whole)
    assert entries.changes() == Changes()
    del entries["color"]
    assert entries.changes() == Changes(removed=(b"color",))


def test_a_whole_session_forgets_what_was_removed_before(entries_of):
    """What was removed before the session was written whole is not removed once more."""
    entries = entries_of(stored_as({"color": "red", "size": 1}))
    del entries["color"]
    whole = entries.whole()
    assert whole.written == {b"size": b"1"}
    entries.settle(whole)
    assert entries.changes() == Changes()


# Whose session it is


@pytest.mark.parametrize(
    ("change", "user"),
    [
        pytest.param(lambda e: None, None, id="untouched"),
        pytest.param(lambda e: e["_auth_user_id"], None, id="read"),
        pytest.param(lambda e: e.update(color="blue"), None, id="another entry changed"),
        pytest.param(lambda e: e.update(_auth_user_id="7"), None, id="set to the same"),
        pytest.param(lambda e: e.update(_auth_user_id="8"), "8", id="another user"),
        pytest.param(lambda e: e.update(_auth_user_id=8), "8", id="a number"),
        pytest.param(lambda e: e.pop("_auth_user_id"), "", id="removed"),
    ],
)
def test_the_user_in_changes(entries_of, change, user):
    """Changes tell the user if that changed: who, or that it is nobody any more."""
    entries = entries_of(stored_as({"_auth_user_id": "7", "color": "red"}))
    change(entries)
    changes = entries.changes()
    assert changes.user == user
    entries.settle(changes)
    assert entries.changes().user is None


def test_a_user_without_a_primary_key(entries_of, fresh):
    """Nobody is signed in as ``None``."""
    entries = entries_of(stored_as({"_auth_user_id": "7"}))
    entries["_auth_user_id"] = None
    assert entries.changes() == Changes({USER: b"null"}, user="")
    assert entries.whole().user == ""


def test_a_user_who_signs_in(entries_of):
    """The user is told when there was none before."""
    entries = entries_of(stored_as({"color": "red"}))
    entries["_auth_user_id"] = "7"
    assert entries.changes() == Changes({USER: b'"7"'}, user="7")


def test_the_user_of_what_replaces(fresh):
    """What replaces has the user that it holds."""
    fresh["_auth_user_id"] = "7"
    assert fresh.changes().user == "7"


@pytest.mark.parametrize(
    ("session", "user"), [({"_auth_user_id": "7"}, "7"), ({"_auth_user_id": 7}, "7"), ({}, "")]
)
def test_the_user_of_a_whole_session(entries_of, fresh, session, user):
    """A session that is written whole says whose it is, or that it is nobody's."""
    fresh.update(session)
    assert fresh.whole().user == user
    assert entries_of(stored_as(session)).whole().user == user


def test_a_damaged_user_is_nobody(entries_of, damaged):
    """A user that cannot be decoded is nobody in a whole session, and otherwise unchanged."""
    entries = entries_of({USER: b"{", fields.CREATED: b"1"})
    assert entries.get("_auth_user_id") is None
    assert entries.changes().user is None
    assert entries.whole() == Changes(replaces=True, user="")
    assert damaged == [USER]


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


# Keys that are no text


@pytest.mark.parametrize(
    ("key", "name"),
    [(1, b"1"), (True, b"true"), (False, b"false"), (None, b"null"), (1.5, b"1.5")],
)
def test_a_key_is_coerced_as_json_does(entries_of, key, name):
    """A key that is no text is written as JSON writes it, and removed by that name."""
    entries = entries_of(stored_as({"color": "red"}))
    entries[key] = 1
    assert entries[key] == 1
    changes = entries.changes()
    assert changes == Changes({name: b"1"})
    entries.settle(changes)
    assert entries.changes() == Changes()
    del entries[key]
    assert entries.changes() == Changes(removed=(name,))


def test_a_coerced_key_takes_the_place_of_its_text(entries_of):
    """Of a key and its text, what was put in last is written."""
    entries = entries_of(stored_as({"1": "old"}))
    entries[1] = "new"
    assert entries.changes() == Changes({b"1": b'"new"'})
    assert entries.whole().written == {b"1": b'"new"'}


@pytest.mark.parametrize("read", [dict, len, lambda entries: entries["1"]])
def test_reading_does_not_undo_a_coerced_key(entries_of, read):
    """What was put in by a key that is no text is written, whatever is read after it."""
    entries = entries_of(stored_as({"1": "old"}))
    entries[1] = "new"
    read(entries)
    assert entries.changes() == Changes({b"1": b'"new"'})
    assert entries.whole().written == {b"1": b'"new"'}


def test_a_key_and_its_text_settle(entries_of):
    """Of a key and its text, what was written stays written when the session is saved again."""
    entries = entries_of(stored_as({"1": "old"}))
    entries["1"]
    entries[1] = "new"
    entries.settle(entries.changes())
    assert entries.changes() == Changes()


def test_a_key_that_json_refuses(entries_of):
    """A key that JSON has no text for raises what the serializer raises."""
    entries = entries_of({})
    entries[1, 2] = 1
    with pytest.raises(TypeError, match="keys must be str"):
        entries.changes()
    with pytest.raises(TypeError, match="keys must be str"):
        entries.whole()


def test_a_key_that_stays_no_text(damaged):
    """A key that the serializer makes no text of is refused, with the remedy."""
    entries = Entries(PickleSerializer(), on_damaged=damaged.append)
    entries[1] = 1
    for write in (entries.changes, entries.whole):
        with pytest.raises(TypeError, match=r"entry 1 cannot.*PickleSerializer.*Use a string"):
            write()


# Metadata to write

METADATA = {fields.IP: b"::1", fields.AGENT: b"a browser"}


def test_metadata_is_written_where_it_differs(entries_of):
    """Metadata is written with the changes, each field if Redis holds another, and once."""
    entries = entries_of({**stored_as({"color": "red"}), fields.IP: b"10.0.0.1"})
    assert entries.new_metadata(METADATA) == METADATA
    changes = entries.changes(METADATA)
    assert changes == Changes(METADATA)
    entries.settle(changes)
    assert entries.changes(METADATA) == Changes()
    assert entries.changes({**METADATA, fields.IP: b"::2"}) == Changes({fields.IP: b"::2"})
    assert dict(entries) == {"color": "red"}


def test_metadata_that_redis_holds_is_not_written(entries_of):
    """Metadata is not written again when it is what was loaded, nor ever removed."""
    entries = entries_of({**stored_as({"color": "red"}), **METADATA})
    assert entries.changes(METADATA) == Changes()
    assert entries.changes() == Changes()
    assert entries.new_metadata({fields.IP: b"::1"}) == {}


def test_metadata_that_shall_not_be_kept(entries_of, fresh):
    """Empty metadata is removed where Redis holds some, and never written."""
    none = {fields.IP: b"", fields.AGENT: b""}
    entries = entries_of({**stored_as({"color": "red"}), **METADATA})
    assert entries.new_metadata(none) == {}
    changes = entries.changes(none)
    assert changes == Changes(removed=(fields.IP, fields.AGENT))
    entries.settle(changes)
    assert entries.changes(none) == Changes()
    assert fresh.changes(none) == Changes(replaces=True, user="")
    assert entries_of(stored_as({"color": "red"})).whole(none).written == {b"color": b'"red"'}


def test_metadata_of_a_whole_session(entries_of, fresh):
    """A session that is written whole, and what replaces one, bring their metadata."""
    whole = entries_of({**stored_as({"color": "red"}), **METADATA}).whole(METADATA)
    assert whole.written == {b"color": b'"red"', **METADATA}
    changes = fresh.changes(METADATA)
    assert changes == Changes(METADATA, replaces=True, user="")
    fresh.settle(changes)
    assert fresh.changes(METADATA) == Changes()


# Settling


def test_what_changes_while_it_is_written_is_still_a_change(entries_of):
    """Settling takes what was written as lying in Redis, not what came after."""
    entries = entries_of(stored_as({"color": "red", "size": 1}))
    entries["color"] = "blue"
    changes = entries.changes()
    entries["color"] = "green"
    del entries["size"]
    entries.settle(changes)
    assert entries.changes() == Changes({b"color": b'"green"'}, removed=(b"size",))


def test_what_is_removed_can_be_written_again(entries_of):
    """An entry that was removed and saved is written when it comes back, though the same."""
    entries = entries_of(stored_as({"color": "red"}))
    del entries["color"]
    entries.settle(entries.changes())
    entries["color"] = "red"
    assert entries.changes() == Changes({b"color": b'"red"'})


def test_an_entry_set_on_the_server(entries_of):
    """An entry that was set past the save is known here and needs no writing."""
    entries = entries_of(stored_as({"counter": 1}))
    assert entries["counter"] == 1
    entries.settle_entry("counter", 5)
    entries.settle_entry("@other", 1)
    assert entries == {"counter": 5, "@other": 1}
    assert entries.changes() == Changes()
    del entries["@other"]
    assert entries.changes() == Changes(removed=(b"@@other",))


@pytest.mark.parametrize(
    ("change", "pending"),
    [
        pytest.param(lambda e: None, False, id="untouched"),
        pytest.param(lambda e: e["counter"], False, id="read"),
        pytest.param(lambda e: e.update(counter=1), False, id="set to the same"),
        pytest.param(lambda e: e.update(counter=2), True, id="set"),
        pytest.param(lambda e: e.pop("counter"), True, id="removed"),
        pytest.param(lambda e: e.update(other=2), False, id="another set"),
        pytest.param(
            lambda e: (e.update(counter=2), e.settle(e.changes())), False, id="set and saved"
        ),
        pytest.param(
            lambda e: (e.pop("counter"), e.settle(e.changes())), False, id="removed and saved"
        ),
    ],
)
def test_a_pending_change(entries_of, change, pending):
    """A change is pending until it is saved."""
    entries = entries_of(stored_as({"counter": 1}))
    change(entries)
    assert entries.is_pending("counter") is pending


def test_pending_without_an_entry(entries_of, fresh):
    """An entry that is nowhere is not pending, unless everything is to be replaced."""
    assert entries_of({}).is_pending("counter") is False
    assert fresh.is_pending("counter") is True
    fresh.settle(fresh.changes())
    assert fresh.is_pending("counter") is False


def test_a_damaged_entry_is_not_pending(entries_of):
    """An entry that cannot be decoded has no change that waits."""
    entries = entries_of({b"counter": b"{", fields.CREATED: b"1"})
    assert entries.is_pending("counter") is False
    entries["counter"] = 1
    assert entries.is_pending("counter") is True


# Another serializer


class Point:
    """Something that JSON cannot write."""

    def __init__(self, x):
        self.x = x


def test_another_serializer(damaged):
    """Entries are kept by whatever serializer the site names."""
    serializer = PickleSerializer()
    shared = ["text"]
    session = {"point": Point(1), "pair": [shared, shared], "user": {1: (2, 3)}}
    entries = Entries(serializer, stored_as(session, serializer), on_damaged=damaged.append)
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
    entries = Entries(PickleSerializer(), stored, on_damaged=damaged.append)
    assert dict(entries) == {}
    assert sorted(damaged) == sorted(stored)


# For people to look at


def test_stored_entries():
    """Entries are shown by name, decoded, with the size they have in Redis."""
    stored = {b"size": b"[1, 2]", b"color": b'"red"', b"@@at": b"null", fields.CREATED: b"1"}
    assert stored_entries(JSONSerializer(), stored) == [
        StoredEntry("@at", None, 4),
        StoredEntry("color", "red", 5),
        StoredEntry("size", [1, 2], 6),
    ]


def test_stored_entries_that_are_damaged():
    """What cannot be decoded is shown as such, by a name that can be read."""
    stored = {b"bad": b"{", b"\xff": b"1", b"@@\xff": b"1", b"good": b"1"}
    assert stored_entries(JSONSerializer(), stored) == [
        StoredEntry("@\\xff", None, 1, damaged=True),
        StoredEntry("bad", None, 1, damaged=True),
        StoredEntry("good", 1, 1),
        StoredEntry("\\xff", None, 1, damaged=True),
    ]


def test_no_stored_entries():
    """A session that holds nothing shows nothing."""
    assert stored_entries(JSONSerializer(), {fields.CREATED: b"1", fields.IP: b"::1"}) == []


def test_what_cannot_be_a_field_can_be_removed(entries_of):
    """A key that could not have been saved is removed again without a trace."""
    entries = entries_of({})
    entries[1, 2] = "value"
    del entries[1, 2]
    assert (1, 2) not in entries
    assert entries.changes() == Changes()
