"""The fields of a session's hash: their names, and how they are shown."""

import pytest
from django.contrib.sessions.serializers import JSONSerializer
from hypothesis import example, given
from hypothesis import strategies as st

from sessions_redis.storage import entries as fields
from sessions_redis.storage.entries import (
    StoredEntry,
    field_of,
    fields_of,
    is_key,
    is_metadata,
    key_of,
    keys_with,
    stored_entries,
    unread_entries,
)
from tests.held import texts, unhurried

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


# Names that cannot be put together and taken apart again, among those that can.
several = st.lists(texts | st.sampled_from(["", "\0", "a\0b", "@", "@@a", "a@b"]), unique=True)


@unhurried
@given(several)
@example([])
@example([""])
@example(["a", "b"])
@example(["a", "\0"])
@example(["a", "\ud800"])
def test_keys_and_fields_of_many(keys):
    """The names of many entries are those of each, in turn."""
    names = fields_of(keys)
    assert names == [field_of(key) for key in keys]
    assert list(keys_with(1, names).items()) == [(key, 1) for key in keys]


@unhurried
@given(
    st.lists(
        st.binary(max_size=4) | st.sampled_from([b"@created", b"@@a", b"a", b"\0"]), unique=True
    )
)
@example([b"@created", b"a", b"@other"])
@example([b"a", b"\xff"])
def test_keys_of_many_fields(names):
    """Fields that hold no entry are left out."""
    assert list(keys_with(1, names)) == [key_of(name) for name in names if is_key(name)]


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


def test_unread_entries():
    """Their values are not decoded, whatever they are; names and sizes are the same."""
    stored = {b"b": b'"red"', b"@created": b"1", b"@@at": b"{", b"\xff": b"1"}
    assert unread_entries(stored) == [
        StoredEntry("@at", None, 1, unread=True),
        StoredEntry("b", None, 5, unread=True),
        StoredEntry("\\xff", None, 1, unread=True),
    ]


def test_no_stored_entries():
    """A session that holds nothing shows nothing."""
    assert stored_entries(JSONSerializer(), {fields.CREATED: b"1", fields.IP: b"::1"}) == []
