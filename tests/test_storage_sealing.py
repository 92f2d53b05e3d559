"""
How changes are sealed, with a serializer whose seals a person can read.

It is also one of a site's own: the engine needs nothing else.
"""

import pytest
from django.contrib.sessions.serializers import JSONSerializer

from sessions_redis.engine import SessionStore
from sessions_redis.json_serializer import made
from sessions_redis.storage.changes import Changes, Known, whole
from sessions_redis.storage.commands import session_id
from sessions_redis.storage.entries import (
    SALT,
    SealingSerializer,
    StoredEntry,
    opened,
    stored_entries,
)
from sessions_redis.storage.lazy_entries import entries_in
from sessions_redis.storage.sealing import outdated, resealed, sealed


class Boxes(SealingSerializer):
    """Puts salt and name in front of a value. Each seal differs."""

    def __init__(self):
        self.number = 0

    def dumps(self, obj):
        return JSONSerializer().dumps(obj)

    def loads(self, data):
        return JSONSerializer().loads(data)

    def seal(self, encoded, salt, name):
        self.number += 1
        return b"%d|%b|%b|%b" % (self.number, salt, name, encoded)

    def open(self, sealed, salt, name):
        _, *place, encoded = sealed.split(b"|", 3)
        if place != [salt, name]:
            raise ValueError(sealed)
        return encoded

    def is_current(self, stored):
        return stored.count(b"|") == 3


class BoxedSerializer(JSONSerializer):
    """What a site names in SESSION_SERIALIZER."""

    @classmethod
    def for_entries(cls):
        return Boxes()


FIELDS = {
    b"@created": b"1",
    SALT: b"salt",
    b"color": b'1|salt|color|"red"',
    b"size": b"2|salt|size|7",
    b"moved": b"3|salt|size|7",
    b"plain": b"7",
}


@pytest.fixture
def boxes():
    return Boxes()


def entries(boxes):
    return entries_in(FIELDS, boxes, lambda _: None)


def test_changes_are_found_in_the_open_value(boxes):
    """An entry that was read, or set to an equal value, is not written. Nothing is sealed yet."""
    session = entries(boxes)
    session["color"] = "red"
    assert session["size"] == 7
    session["cart"] = [1]
    assert Known("id", FIELDS).changes(session, boxes).written == {b"cart": b"[1]"}
    assert not Known("id", FIELDS).is_changed("color", session, boxes)


def test_a_damaged_entry_that_is_set(boxes):
    """It is written even if its bytes are those of the new value."""
    session = entries(boxes)
    session["plain"] = 7
    assert Known("id", FIELDS).changes(session, boxes).written == {b"plain": b"7"}


def test_all_entries_for_another_session(boxes):
    """Entries are opened, also those that nobody read. Damaged ones are left out."""
    assert whole(entries(boxes), boxes).written == {b"color": b'"red"', b"size": b"7"}


def test_opening(boxes):
    """What is damaged, or not there, opens as None."""
    names = (b"color", b"size", b"moved", b"plain", b"missing")
    assert [opened(boxes, FIELDS, name) for name in names] == [b'"red"', b"7", None, None, None]
    assert opened(JSONSerializer(), FIELDS, b"plain") == b"7"


def test_sealing_for_a_known_salt(boxes):
    """The server is asked whether the session still has this salt."""
    changes = Changes({b"size": b"8", b"@ip": b"::1"}, (b"color",), rules={"other": 1})
    written = sealed(changes, boxes, b"salt", b"new")
    assert written == Changes(
        {b"size": b"1|salt|size|8", b"@ip": b"::1"},
        (b"color",),
        rules={"expects:@salt": b"salt", "other": 1},
    )
    assert list(written.rules) == ["expects:@salt", "other"]


def test_sealing_for_a_session_without_salt(boxes):
    """It gets the new one, if it still has none."""
    assert sealed(Changes({b"size": b"8"}), boxes, b"", b"new") == Changes(
        {b"size": b"1|new|size|8", SALT: b"new"}, rules={"lacks:@salt": ""}
    )


def test_sealing_all_entries(boxes):
    """If they replace all others, they can have a new salt, whatever the session's is."""
    changes = Changes({b"size": b"8"}, replaces=True)
    written = {b"size": b"1|new|size|8", SALT: b"new"}
    assert sealed(changes, boxes, b"salt", b"new") == changes._replace(written=written)


def test_nothing_to_seal(boxes):
    """Metadata is not sealed, and a serializer that only opens seals nothing."""
    for changes in (Changes({b"@ip": b"::1"}), Changes(), Changes(removed=(b"color",))):
        assert sealed(changes, boxes, b"", b"new") is changes
    boxes.seals = False
    changes = Changes({b"size": b"8"})
    assert sealed(changes, boxes, b"", b"new") is changes


def test_what_is_known_with_another_salt(boxes):
    """What was loaded can be compared after the session got another salt. Damage stays damage."""
    known, session = Known("id", FIELDS), entries(boxes)
    session["color"], session["size"] = "red", 8
    after = resealed(known, boxes, b"other")
    assert after.fields[SALT] == b"other"
    assert opened(boxes, after.fields, b"color") == b'"red"'
    assert opened(boxes, after.fields, b"moved") is None
    assert after.changes(session, boxes).written == {b"size": b"8"}


def test_outdated_entries(boxes):
    """Those that the serializer would store otherwise now."""
    assert outdated(boxes, FIELDS) == [b"plain"]


def test_what_people_see(boxes):
    """Entries are opened for people as well."""
    assert stored_entries(boxes, FIELDS) == [
        StoredEntry("color", "red", 18),
        StoredEntry("moved", None, 13, damaged=True),
        StoredEntry("plain", None, 1, damaged=True),
        StoredEntry("size", 7, 13),
    ]


def test_a_serializer_of_a_site(settings, raw, prefix):
    """The engine uses what for_entries() returns."""
    settings.SESSION_SERIALIZER = f"{__name__}.BoxedSerializer"
    assert isinstance(made(BoxedSerializer), Boxes)
    session = SessionStore()
    session["color"] = "red"
    session.save()
    stored = raw.hgetall(f"{prefix}:{session_id(session.session_key)}")
    assert stored[b"color"] == b'1|%b|color|"red"' % stored[SALT]
    assert SessionStore(session.session_key)["color"] == "red"
