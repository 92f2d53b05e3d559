"""What has to be written: by what a session holds, and what Redis is known to hold."""

import json

import hypothesis
import pytest
from django.contrib.sessions.serializers import JSONSerializer
from hypothesis import example, given
from hypothesis import strategies as st

from sessions_redis.storage import entries as fields
from sessions_redis.storage.changes import Changes
from tests.held import USER, Held, keys, stored_as, texts, unhurried, values
from tests.pickling import PickleSerializer

# Any session


@unhurried
@given(st.dictionaries(keys, values))
def test_what_is_written_is_what_json_keeps(session):
    """What is read again equals what Django's serializer makes of the session in one document."""
    serializer = JSONSerializer()
    entries = Held(serializer, on_damaged=pytest.fail)
    entries.update(session)
    stored = {**entries.whole().written, fields.CREATED: b"1"}

    expected = serializer.loads(serializer.dumps(session))
    assert dict(Held(serializer, stored, on_damaged=pytest.fail)) == expected


@unhurried
@given(st.dictionaries(texts, values), st.dictionaries(texts, values), st.sets(texts))
def test_changes_lead_from_what_was_to_what_is(before, put, removed):
    """Writing the changes to what was loaded gives what the session holds now."""
    serializer = JSONSerializer()
    stored = stored_as(before)
    entries = Held(serializer, stored, on_damaged=pytest.fail)
    entries.update(put)
    for key in removed & set(entries):
        del entries[key]

    changes = entries.changes()

    after = {name: value for name, value in stored.items() if name not in changes.removed}
    after.update(changes.written)
    assert dict(Held(serializer, after, on_damaged=pytest.fail)) == dict(entries)
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
        entries = Held(serializer, stored, on_damaged=pytest.fail)
        session = json.loads(document)
        for step, *arguments in request:
            assert DO[step](entries, *arguments) == DO[step](session, *arguments)
        changes = entries.changes()
        stored = {name: stored[name] for name in stored if name not in changes.removed}
        stored.update(changes.written)
        document = json.dumps(session)
    assert dict(Held(serializer, stored, on_damaged=pytest.fail)) == json.loads(document)


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


def test_a_whole_session_without_a_damaged_entry(entries_of, damaged):
    """If the serializer changed, entries are decoded first. A damaged one is left out."""
    entries = entries_of({**stored_as({"color": "red"}), b"size": b"{"})
    entries.serializer = PickleSerializer()
    assert entries.whole().written.keys() == {b"color"}
    assert damaged == [b"size"]


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
    entries = Held(PickleSerializer(), on_damaged=damaged.append)
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


def test_what_cannot_be_a_field_can_be_removed(entries_of):
    """A key that could not have been saved is removed again without a trace."""
    entries = entries_of({})
    entries[1, 2] = "value"
    del entries[1, 2]
    assert (1, 2) not in entries
    assert entries.changes() == Changes()
