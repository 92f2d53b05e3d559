"""The engine: Django's contract over a real server and in memory, and what goes beyond it."""

import asyncio
import json
import logging
import re
from collections import Counter

import pytest
from django.contrib.sessions.backends.base import (
    VALID_KEY_CHARS,
    CreateError,
    UpdateError,
)
from django.core.exceptions import ImproperlyConfigured

from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage.commands import session_id
from tests.contract import SECURITY_LOG, EngineContract
from tests.proxy import Relay


class TestOnTheServer(EngineContract):
    engine = SessionStore


class TestInMemory(EngineContract):
    engine = SessionStore

    @pytest.fixture(autouse=True)
    def in_memory(self, settings, session_redis):
        settings.SESSION_REDIS = {**session_redis, "LOCATION": "memory://"}


class TestWithoutIndexes(EngineContract):
    engine = SessionStore

    @pytest.fixture(autouse=True)
    def without_indexes(self, settings, session_redis):
        settings.SESSION_REDIS = {**session_redis, "INDEX": False}


class TestWithPickle(EngineContract):
    engine = SessionStore

    @pytest.fixture(autouse=True)
    def with_pickle(self, settings):
        settings.SESSION_SERIALIZER = "tests.pickling.PickleSerializer"

    # A field's name is text, so a key that the serializer makes no text of cannot be kept.

    @pytest.mark.parametrize("name", [1, 1.5, True, None, (1, 2)])
    async def test_a_name_that_is_no_string(self, session, name):
        """It raises TypeError that says so, and nothing is written."""
        await session.save_with(color="red")
        await session.set(name, "value")
        with pytest.raises(TypeError, match="its key is not a string, and PickleSerializer"):
            await session.save()
        assert await session.reopen().entries() == {"color": "red"}

    test_two_names_that_the_serializer_makes_one = None


def hash_of(session, prefix):
    return f"{prefix}:{session_id(session.session_key)}"


def reopened(session):
    return SessionStore(session.session_key)


# In Redis


def test_what_another_store_loaded_replaces_all(live):
    """It is not taken for what this store loaded, also if both have the same key."""
    loaded = SessionStore(live.session_key).load()
    live["color"] = "blue"
    live["size"] = 1
    live.save()
    session = SessionStore(live.session_key)
    session.get("color")
    session._session_cache = loaded
    session.save()
    assert dict(SessionStore(live.session_key)) == {"color": "red"}


def test_what_a_store_loaded_once_more_is_no_copy(live):
    """It writes differences from it, as long as it has written nothing in between."""
    session = SessionStore(live.session_key)
    session.get("color")
    loaded = session.load()
    live["size"] = 1
    live.save()
    session._session_cache = loaded
    session["color"] = "blue"
    session.save()
    assert dict(SessionStore(live.session_key)) == {"color": "blue", "size": 1}


def test_a_session_is_a_hash_of_its_entries(live, raw, prefix):
    """Each entry is a field in the serializer's text, beside the metadata, under a digest."""
    live["cart"] = {"pears": 2}
    live["@odd"] = None
    live.save()
    now = int(raw.time()[0])
    fields = raw.hgetall(hash_of(live, prefix))
    assert fields.pop(b"@listed").isdigit()
    assert now - 60 <= int(fields.pop(b"@created")) <= int(fields.pop(b"@updated")) <= now
    assert fields == {b"color": b'"red"', b"cart": b'{"pears":2}', b"@@odd": b"null"}


def test_the_session_key_is_nowhere_in_redis(live, raw, prefix, caplog):
    """Neither names nor values in Redis, nor the log, hold the key that the cookie carries."""
    caplog.set_level(logging.DEBUG)
    live["_auth_user_id"] = "7"
    live.save()
    reopened(live).increment("counter")
    live.cycle_key()
    key = live.session_key.encode()
    names = list(raw.scan_iter(f"{prefix}:*"))
    members = [
        member for name in names if raw.type(name) == b"zset" for member in raw.zrange(name, 0, -1)
    ]
    fields = raw.hgetall(hash_of(live, prefix))
    assert len(names) == 5  # the session, the marker at its former name, and three indexes
    assert not any(key in raw_text for raw_text in [*names, *members, *fields, *fields.values()])
    assert live.session_key not in caplog.text
    assert live.session_key not in repr(live.inspect())


def test_the_digest_is_no_key(live):
    """Who presents a session's id from Redis, or its Redis key, gets no session."""
    for stolen in (session_id(live.session_key), live.inspect().redis_key):
        assert dict(SessionStore(stolen).items()) == {}


def test_only_what_changed_is_written(live, raw, prefix):
    """A request that changed one entry leaves alone what others wrote, though it read it."""
    live["size"] = "M"
    live.save()
    mine = reopened(live)
    assert dict(mine.items()) == {"color": "red", "size": "M"}
    raw.hset(hash_of(live, prefix), "color", '"blue"')
    mine["size"] = "L"
    mine.save()
    assert dict(reopened(live).items()) == {"color": "blue", "size": "L"}


def test_nested_changes_are_found(live):
    """An entry changed in place is written when the session is saved."""
    live["cart"] = {"pears": [1]}
    live.save()
    session = reopened(live)
    session["cart"]["pears"].append(2)
    session.modified = True
    session.save()
    assert reopened(live)["cart"] == {"pears": [1, 2]}


def test_removed_entries_are_removed(live, raw, prefix):
    """An entry that was deleted is gone from the hash; one that another request wrote stays."""
    session = reopened(live)
    del session["color"]
    raw.hset(hash_of(live, prefix), "size", '"M"')
    session.save()
    assert dict(reopened(live).items()) == {"size": "M"}


def test_clear_removes_what_other_requests_wrote(live, raw, prefix):
    """After clear() the session holds what was put in since, and its metadata, nothing else."""
    session = reopened(live)
    session.get("color")
    created = raw.hget(hash_of(live, prefix), "@created")
    raw.hset(hash_of(live, prefix), mapping={"theirs": "1", "@ip": "127.0.0.1", "@@odd": "1"})
    session.clear()
    session["mine"] = 1
    session.save()
    fields = raw.hgetall(hash_of(live, prefix))
    assert fields.keys() == {b"mine", b"@created", b"@updated", b"@listed", b"@ip"}
    assert fields[b"@created"] == created
    session["more"] = 2
    raw.hset(hash_of(live, prefix), "theirs", "1")
    session.save()
    assert dict(reopened(live).items()) == {"mine": 1, "more": 2, "theirs": 1}


def test_cycling_keeps_what_others_wrote(live, raw, prefix):
    """The new session holds the old one's entries as they are on the server, and its birthday."""
    raw.hset(hash_of(live, prefix), mapping={"theirs": "1", "@created": "1000000000"})
    old = reopened(live)
    live["mine"] = 2
    live.cycle_key()
    assert dict(reopened(live).items()) == {"color": "red", "theirs": 1, "mine": 2}
    assert live.inspect().fields["@created"] == "1000000000"
    assert dict(old.items()) == {}
    assert raw.zrange(f"{prefix}:index", 0, -1) == [session_id(live.session_key).encode()]


# Cycling a session that is not there any more: the rest is in test_login_races.py


def test_cycling_a_session_that_is_gone(live, raw, prefix):
    """What was loaded without a user becomes a session of its own, with the changes since."""
    session = reopened(live)
    session["size"] = "M"
    old_key = session.session_key
    live.delete()
    session.cycle_key()
    assert session.session_key != old_key
    assert session.modified
    assert not session.exists(old_key)
    assert dict(reopened(session).items()) == {"color": "red", "size": "M"}


def test_must_create_does_not_overwrite(live):
    """A key that is taken is refused, and what is stored there stays."""
    with pytest.raises(CreateError):
        reopened(live).save(must_create=True)
    assert dict(reopened(live).items()) == {"color": "red"}


class SameKeyStore(SessionStore):
    """A store whose source of randomness is broken."""

    def _get_new_session_key(self):
        return "always-the-same-key"


def test_create_gives_up_on_keys_that_are_taken():
    """With a source of randomness that repeats itself nobody gets somebody else's session."""
    first = SameKeyStore()
    first["secret"] = 1
    first.create()
    second = SameKeyStore()
    with pytest.raises(SessionStoreUnavailable, match="randomness"):
        second.create()
    assert second.session_key is None
    assert first["secret"] == 1
    first.delete()


def test_create_gives_up_when_replies_are_lost_repeatedly(settings, session_redis, server):
    """If the first reply to every creation is lost, each new key is taken. The site answers 503."""
    with Relay(server.port) as relay:
        settings.SESSION_REDIS = {**session_redis, "LOCATION": relay.url}
        # The same creation is sent again, and answered 0.
        relay.pass_reply = lambda client, reply: client.sendall(
            b"lost\r\n" if reply == b":1\r\n" else reply
        )
        with pytest.raises(SessionStoreUnavailable, match="replies were lost"):
            SessionStore().create()


def test_an_unserialisable_value_writes_nothing(live):
    """A value that the serializer refuses raises before any entry is written, also on cycling."""
    live["size"] = "M"
    live["lock"] = object()
    for write in (live.save, live.cycle_key, live.create):
        key = live.session_key
        with pytest.raises(TypeError, match="not JSON serializable"):
            write()
        assert live.session_key == key
    assert dict(reopened(live).items()) == {"color": "red"}


def test_half_a_session_is_none(raw, prefix):
    """A hash without its date of creation, as a half-done deletion leaves, is no session."""
    key = "k" * 32
    raw.hset(f"{prefix}:{session_id(key)}", "color", '"red"')
    raw.expire(f"{prefix}:{session_id(key)}", 60)
    session = SessionStore(key)
    assert session.exists(key) is False
    assert session.inspect() is None
    assert dict(session.items()) == {}
    assert session.session_key is None
    stale = SessionStore(key)
    stale.clear()
    with pytest.raises(UpdateError):
        stale.save()


# Damage


def test_a_damaged_entry_costs_that_entry_only(live, raw, prefix, caplog):
    """It is logged with the id and the field's name, reads as missing, and stays until written."""
    live["size"] = "M"
    live.save()
    raw.hset(hash_of(live, prefix), "color", b"\xff{")
    session = reopened(live)
    assert session.get("color") is None
    assert "color" not in session
    assert dict(session.items()) == {"size": "M"}
    (record,) = [record for record in caplog.records if record.name == SECURITY_LOG]
    assert session_id(live.session_key) in record.getMessage()
    assert "color" in record.getMessage()

    session["size"] = "L"
    session.save()
    assert raw.hget(hash_of(live, prefix), "color") == b"\xff{"
    session["color"] = "blue"
    session.save()
    assert dict(reopened(live).items()) == {"color": "blue", "size": "L"}


def test_a_key_of_the_wrong_type_is_no_session(raw, prefix, caplog):
    """What is no hash is logged and loads as nothing, is never written to, and can be deleted."""
    key = "k" * 32
    name = f"{prefix}:{session_id(key)}"
    raw.set(name, "not a hash", ex=60)
    session = SessionStore(key)
    assert dict(session.items()) == {}
    assert session.session_key is None
    assert session_id(key) in caplog.text
    assert session.exists(key) is False
    assert SessionStore(key).inspect() is None
    stale = SessionStore(key)
    stale.clear()
    with pytest.raises(UpdateError):
        stale.save()
    with pytest.raises(UpdateError):
        SessionStore(key).increment("counter")
    assert raw.get(name) == b"not a hash"
    stale.delete()
    assert raw.exists(name) == 0


# increment()


@pytest.fixture(params=["sync", "async"])
def increment(request):
    """``increment(session, key, by)`` by the plain method or by its async twin."""
    if request.param == "sync":
        return SessionStore.increment
    return lambda *arguments: asyncio.run(SessionStore.aincrement(*arguments))


def test_increment_adds_on_the_server(live, increment):
    """It returns the sum of what the server holds, and is not overwritten by the save after it."""
    mine = reopened(live)
    assert mine.get("counter") is None
    assert increment(reopened(live), "counter") == 1
    assert increment(mine, "counter", 10) == 11
    assert increment(reopened(live), "counter", -1) == 10
    mine["color"] = "blue"
    mine.save()
    assert dict(reopened(live).items()) == {"color": "blue", "counter": 10}


def test_increment_marks_the_session_modified(live, increment):
    """The middleware saves such a session, which extends its lifetime and its cookie's."""
    session = reopened(live)
    increment(session, "counter")
    assert session.modified
    assert session.accessed
    assert session["counter"] == 1


def test_increment_of_an_entry_whose_name_starts_with_at(live, increment):
    """The entry is counted, not a field of metadata of that name."""
    increment(live, "@created", 5)
    assert reopened(live)["@created"] == 5
    assert reopened(live).exists(live.session_key)


def test_increment_of_a_session_that_is_gone(live, increment, raw, prefix):
    """It raises UpdateError and writes nothing, whether the session had been loaded or not."""
    loaded, fresh = reopened(live), reopened(live)
    loaded.get("color")
    live.delete()
    for session in (loaded, fresh):
        with pytest.raises(UpdateError):
            increment(session, "counter")
    assert list(raw.scan_iter(f"{prefix}:*")) == []


def test_a_stale_key_is_forgotten_by_increment(live, increment):
    """A session that was not loaded before is empty then, as an unknown one when it is loaded."""
    session = reopened(live)
    live.delete()
    with pytest.raises(UpdateError):
        increment(session, "counter")
    assert session.session_key is None
    assert session.is_empty()
    assert increment(session, "counter") == 1


@pytest.mark.parametrize("key", [1, None, b"counter"])
def test_increment_of_a_key_that_is_no_string(live, increment, key):
    """It is told, and nothing is added."""
    with pytest.raises(TypeError, match="is a string"):
        increment(live, key)


@pytest.mark.parametrize("value", ["red", 1.5, True, None, [1]])
def test_increment_of_what_is_no_integer(live, increment, value):
    """It raises TypeError, saved or not, and the entry stays."""
    live["color"] = value
    with pytest.raises(TypeError, match="'color' is not an integer"):
        increment(live, "color")
    live.save()
    with pytest.raises(TypeError, match="'color' is not an integer"):
        increment(live, "color")
    with pytest.raises(TypeError, match="'color' is not an integer"):
        increment(reopened(live), "color")
    assert reopened(live)["color"] == value


@pytest.mark.parametrize("by", ["1", 1.0, None, True])
def test_increment_by_what_is_no_integer(live, increment, by):
    """It raises TypeError and asks nobody."""
    with pytest.raises(TypeError, match="by an integer"):
        increment(live, "counter", by)


def test_increment_past_64_bits(live, increment):
    """It raises OverflowError, wherever the addition is made, and the entry stays."""
    largest = 2**63 - 1
    assert increment(live, "counter", largest) == largest
    with pytest.raises(OverflowError):
        increment(reopened(live), "counter", 1)
    with pytest.raises(OverflowError):
        increment(live, "other", 2**63)
    live["pending"] = largest
    with pytest.raises(OverflowError):
        increment(live, "pending", 1)
    assert reopened(live)["counter"] == largest
    assert live["pending"] == largest


def test_increment_of_an_unsaved_change(live, increment):
    """An entry that was set or removed and not saved yet is counted on from there."""
    live["counter"] = 5
    assert increment(live, "counter") == 6
    assert "counter" not in reopened(live)
    live.save()
    assert reopened(live)["counter"] == 6
    del live["counter"]
    assert increment(live, "counter", 2) == 2
    live.save()
    assert reopened(live)["counter"] == 2
    live.clear()
    assert increment(live, "counter") == 1
    live.save()
    assert dict(reopened(live).items()) == {"counter": 1}


def test_increment_without_a_session(increment):
    """A visitor without a session gets the entry, and the session when it is saved."""
    session = SessionStore()
    assert increment(session, "counter") == 1
    assert increment(session, "counter") == 2
    assert session.session_key is None
    session.save()
    assert reopened(session)["counter"] == 2


def test_increment_needs_a_decimal_serializer(settings, live):
    """With a serializer that writes integers otherwise it says so instead of breaking entries."""
    settings.SESSION_SERIALIZER = "tests.pickling.PickleSerializer"
    with pytest.raises(ImproperlyConfigured, match="PickleSerializer does not"):
        reopened(live).increment("counter")


# inspect()


def test_inspect_shows_what_is_stored(live, prefix):
    """The hash's name, seconds left and fields in text, without the unsaved changes."""
    live["unsaved"] = 1
    stored = live.inspect()
    assert stored == asyncio.run(live.ainspect()) or stored.ttl > 0
    assert stored.redis_key == hash_of(live, prefix)
    assert 1209500 < stored.ttl <= 1209600
    assert json.loads(stored.fields["color"]) == "red"
    assert stored.fields.keys() == {"@created", "@updated", "@listed", "color"}


def test_inspect_without_a_session(live):
    """It answers None without a key and for a session that is gone, and shows bytes as bytes."""
    assert SessionStore().inspect() is None
    live.delete()
    assert live.inspect() is None


def test_inspect_shows_bytes_that_are_no_text(live, raw, prefix):
    """Bytes that are no UTF-8 are shown by their numbers."""
    raw.hset(hash_of(live, prefix), b"\xff", b"\xfe!")
    assert live.inspect().fields["\\xff"] == "\\xfe!"


def test_inspecting_changes_nothing(live):
    """A session that was only looked at is not modified."""
    session = reopened(live)
    session.inspect()
    assert not session.modified
    assert dict(session.items()) == {"color": "red"}


def test_forgetting_what_was_loaded(live):
    """Code that deletes a session's cache, as Django's own tests do, has it loaded again."""
    other = SessionStore(live.session_key)
    other["color"] = "blue"
    other.save()
    assert live["color"] == "red"
    del live._session_cache
    assert live["color"] == "blue"


def test_a_new_key_asks_nobody(monkeypatch):
    """What SessionBase makes keys for, in either world, gets one of Django's form."""
    monkeypatch.setattr(SessionStore, "exists", None)
    monkeypatch.setattr(SessionStore, "aexists", None)
    keys = [
        SessionStore()._get_or_create_session_key(),
        asyncio.run(SessionStore()._aget_or_create_session_key()),
    ]
    assert all(re.fullmatch("[a-z0-9]{32}", key) for key in keys)


def test_new_keys_have_each_character_as_often():
    """As random as Django's: over many keys no character is preferred, at any place."""
    keys = [SessionStore()._get_new_session_key() for _ in range(3600)]
    assert len(set(keys)) == len(keys)
    for place in range(32):
        counts = Counter(key[place] for key in keys)
        # 100 each are expected; the chance of a character beyond these bounds is 1 in 10 million.
        assert set(counts) == set(VALID_KEY_CHARS)
        assert 45 < min(counts.values()) <= max(counts.values()) < 160
