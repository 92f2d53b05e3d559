"""Each thing asked of Redis: what is sent, what the scripts do on a real server, how it is read."""

from hashlib import sha256

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessions_redis.clients import run
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage import commands, listings
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.commands import StoredSession, WrongType, session_id
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.steps import Command
from tests.listed import expect_listed, indexes_of

# Lua's unpack() fails near 8,000 values.
MANY = 10_000

# Seconds, for sessions whose lifetime does not matter.
TTL = 1000

# No time to live is left: from the very smallest that Redis cannot count.
NO_TTL = [0, -1, 0.0004, -(10**12)]

# A busy machine is no failure.
unhurried = hypothesis.settings(
    deadline=None, max_examples=100, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)


@pytest.fixture(params=[True, False], ids=["indexed", "without index"])
def keyspace(prefix, request):
    return Keyspace(prefix, request.param)


@pytest.fixture
def indexed(prefix):
    return Keyspace(prefix)


@pytest.fixture
def hash_of(raw, prefix):
    """The hash of a session: its fields, without what a test cannot know beforehand."""

    def fields(id):
        return {
            name: value
            for name, value in raw.hgetall(f"{prefix}:{id}").items()
            if name not in {b"@created", b"@updated", b"@listed"}
        }

    return fields


def put(raw, key, kind):
    """Put something under a key that is no session."""
    if kind == "half a session":
        raw.hset(key, mapping={"color": "1", "counter": "1", "@user": "7"})
    elif kind == "string":
        raw.set(key, "@created")
    elif kind == "list":
        raw.rpush(key, "@created")
    raw.expire(key, 60)


@pytest.fixture(params=["nothing", "half a session", "string", "list"])
def gone(request, keyspace, raw):
    """The id of a session that is not there, whatever else may lie under its name."""
    put(raw, keyspace.session("gone"), request.param)
    return "gone"


@pytest.fixture(params=["half a session", "string", "list"])
def taken(request, keyspace, raw):
    """The id under which something lies that is no session."""
    put(raw, keyspace.session("taken"), request.param)
    return "taken"


def expiry(raw, key):
    """The key's expiry as the indexes score it: epoch seconds."""
    return raw.pexpiretime(key) / 1000


def many(value=b"1", start=0):
    return {f"entry-{number}".encode(): value for number in range(start, start + MANY)}


# What is sent and read


@unhurried
@given(st.text(st.characters()))
def test_the_session_id_is_a_digest(session_key):
    """Any session key has an id: the first 32 hex digits of its SHA-256."""
    digest = sha256(session_key.encode("utf-8", "surrogatepass")).hexdigest()
    assert session_id(session_key) == digest[:32]


def test_the_session_id_stays_what_it_was():
    """The sessions on running servers are found again by every version."""
    assert session_id("k" * 32) == "5e318f8cf9cbe249a30812b8ca132d69"


def test_names_in_redis():
    """A session, the index and the users' indexes have the names that the README shows."""
    keyspace = Keyspace("session")
    assert keyspace.session("abc") == "session:abc"
    assert keyspace.index == "session:index"
    assert keyspace.signed_in == "session:index:signed-in"
    assert keyspace.anonymous == "session:index:anonymous"
    assert keyspace.users == "session:user:"
    assert keyspace.user("7") == "session:user:7"


def all_commands(keyspace):
    changes = Changes({b"color": b'"red"'}, (b"size",), user="7")
    return {
        "load": commands.load(keyspace, "a"),
        "exists": commands.exists(keyspace, "a"),
        "create": commands.create(keyspace, "a", TTL, changes),
        "save": commands.save(keyspace, "a", TTL, changes),
        "cycle": commands.cycle(keyspace, "a", "b", TTL, changes),
        "delete": commands.delete(keyspace, "a"),
        "increment": commands.increment(keyspace, "a", b"counter", 1),
        "inspect": commands.inspect(keyspace, "a"),
        "note": commands.note(keyspace, "a", {b"@ip": b"::1"}),
    }


def test_only_increments_are_not_repeatable():
    """Everything can be sent again when its reply is lost, but for what adds."""
    once = [name for name, sent in all_commands(Keyspace("p")).items() if not sent.repeatable]
    assert once == ["increment"]


def test_a_script_can_be_sent_whole():
    """A script is sent by its name, and with its text to a server that does not know it."""
    for command in all_commands(Keyspace("p")).values():
        if command.source is not None:
            assert command.parts[0] == "EVALSHA"
            assert command.with_source == ("EVAL", command.source, *command.parts[2:])


def test_a_script_is_known_by_its_name(raw):
    """The server gives each script the name that it is sent by."""
    for command in all_commands(Keyspace("p")).values():
        if command.source is not None:
            assert raw.script_load(command.source) == command.parts[1]


@pytest.mark.parametrize(
    "reply",
    [
        {b"@created": b"1", b"color": b'"red"'},
        [b"@created", b"1", b"color", b'"red"'],
    ],
)
def test_reading_fields(reply):
    """A session's fields are read from a mapping, and from names and values in turn."""
    fields = commands.load(Keyspace("p"), "a").read(reply)
    assert fields == {b"@created": b"1", b"color": b'"red"'}


@pytest.mark.parametrize("reply", [{}, [], {b"color": b'"red"'}, [b"color", b'"red"']])
def test_reading_no_session(reply):
    """Without a date of creation there is no session."""
    assert commands.load(Keyspace("p"), "a").read(reply) is None
    assert commands.inspect(Keyspace("p"), "a").read([1000, reply]) is None


# Creating


def test_create(keyspace, raw, hash_of):
    """A created session holds what was given, and its times by the server's clock."""
    before = raw.time()[0]
    assert run(commands.create(keyspace, "a", TTL, Changes({b"color": b'"red"'}))) is True
    after = raw.time()[0]

    assert hash_of("a") == {b"color": b'"red"'}
    created, updated = raw.hmget(keyspace.session("a"), "@created", "@updated")
    assert created == updated
    assert before <= int(created) <= after
    assert before + TTL <= expiry(raw, keyspace.session("a")) <= after + TTL + 1


def test_create_an_empty_session(keyspace, raw):
    """A session without entries exists."""
    assert run(commands.create(keyspace, "a", TTL, Changes(replaces=True, user=""))) is True
    assert run(commands.exists(keyspace, "a")) is True
    fields = run(commands.load(keyspace, "a")).keys() - {b"@listed"}
    assert fields == {b"@created", b"@updated"}


def test_create_on_a_taken_name(keyspace, contents, taken):
    """Whatever lies under the name, nothing is created or changed then."""
    run(commands.create(keyspace, "a", TTL, Changes({b"color": b'"red"'}, user="7")))
    before = contents()
    for id in ("a", taken):
        assert run(commands.create(keyspace, id, TTL, Changes({b"color": b"2"}, user="8"))) is False
    assert contents() == before


@pytest.mark.parametrize("ttl", NO_TTL)
def test_create_with_no_time_left(keyspace, contents, ttl):
    """A session that has no time left is not written, and that is fine."""
    assert run(commands.create(keyspace, "a", ttl, Changes({b"color": b"1"}, user="7"))) is True
    assert contents() == {}


@pytest.mark.parametrize("ttl", [commands.MAX_TTL + 1, 10**30, float("inf")])
def test_an_absurd_lifetime(keyspace, raw, ttl):
    """No lifetime is too long to be set: it ends after 300 years."""
    assert run(commands.create(keyspace, "a", ttl, Changes())) is True
    left = raw.ttl(keyspace.session("a"))
    assert commands.MAX_TTL - 60 < left <= commands.MAX_TTL
    assert run(commands.save(keyspace, "a", ttl, Changes())) is True
    assert run(commands.cycle(keyspace, "a", "b", ttl, Changes())) is True
    assert commands.MAX_TTL - 60 < raw.ttl(keyspace.session("b")) <= left


# Saving


def test_save(keyspace, raw, hash_of):
    """Only what changed is written; what others wrote meanwhile stays."""
    changes = Changes({b"color": b'"red"', b"size": b"1", b"old": b"1"})
    run(commands.create(keyspace, "a", TTL, changes))
    raw.hset(keyspace.session("a"), mapping={"@created": 1, "@updated": 1, "@ip": "::1"})
    raw.hset(keyspace.session("a"), "other", "2")

    assert run(commands.save(keyspace, "a", TTL, Changes({b"color": b'"blue"'}, (b"old",)))) is True

    assert hash_of("a") == {
        b"color": b'"blue"',
        b"size": b"1",
        b"other": b"2",
        b"@ip": b"::1",
    }
    created, updated = raw.hmget(keyspace.session("a"), "@created", "@updated")
    assert created == b"1"
    assert raw.time()[0] - 60 < int(updated) <= raw.time()[0]


@pytest.mark.parametrize("ttl", [1.5, TTL, 10 * TTL])
def test_save_sets_the_lifetime(keyspace, raw, ttl):
    """A saved session lives as long as was said, be it shorter or longer than before."""
    run(commands.create(keyspace, "a", TTL, Changes()))
    assert run(commands.save(keyspace, "a", ttl, Changes())) is True
    assert 1000 * (ttl - 1) < raw.pttl(keyspace.session("a")) <= 1000 * ttl


def test_save_a_session_that_is_gone(keyspace, contents, gone):
    """Without a date of creation under the name there is no session, and nothing is written."""
    before = contents()
    assert run(commands.save(keyspace, gone, TTL, Changes({b"color": b"1"}, user="7"))) is False
    assert contents() == before


@pytest.mark.parametrize("ttl", NO_TTL)
def test_save_with_no_time_left(keyspace, contents, ttl):
    """Saving a session that has no time left deletes it, its index entries too."""
    run(commands.create(keyspace, "a", TTL, Changes({b"color": b"1"}, user="7")))
    assert run(commands.save(keyspace, "a", ttl, Changes({b"size": b"1"}, user="8"))) is True
    assert contents() == {}


def test_save_replaces(keyspace, raw, hash_of):
    """What replaces a session's entries leaves none of the others, and its metadata alone."""
    changes = Changes({b"color": b"1", b"@@color": b"2", b"@@": b"3"}, user="7")
    run(commands.create(keyspace, "a", TTL, changes))
    raw.hset(keyspace.session("a"), mapping={"@created": 1, "@ip": "::1", "": "4", "\n": "5"})

    run(commands.save(keyspace, "a", TTL, Changes({b"size": b"1"}, replaces=True, user="7")))

    assert hash_of("a") == {b"size": b"1", b"@ip": b"::1", b"@user": b"7"}
    assert raw.hget(keyspace.session("a"), "@created") == b"1"


@pytest.mark.parametrize(
    ("user", "stored"), [(None, b"7"), ("7", b"7"), ("8", b"8"), ("", None), ("\xe9", b"\xc3\xa9")]
)
def test_the_user_is_kept(keyspace, raw, user, stored):
    """The session knows whose it is, until it is said to be another's or nobody's."""
    run(commands.create(keyspace, "a", TTL, Changes(user="7")))
    assert raw.hget(keyspace.session("a"), "@user") == b"7"
    run(commands.save(keyspace, "a", TTL, Changes(user=user)))
    assert raw.hget(keyspace.session("a"), "@user") == stored
    run(commands.cycle(keyspace, "a", "b", TTL, Changes()))
    assert raw.hget(keyspace.session("b"), "@user") == stored


def test_more_fields_than_lua_can_unpack(keyspace, hash_of):
    """Any number of entries is written, removed, replaced and moved in one go."""
    written = many()
    assert run(commands.create(keyspace, "a", TTL, Changes(written))) is True
    assert hash_of("a") == written

    added = many(start=MANY)
    assert run(commands.save(keyspace, "a", TTL, Changes(added, tuple(written)))) is True
    assert hash_of("a") == added

    assert run(commands.cycle(keyspace, "a", "b", TTL, Changes(written))) is True
    assert hash_of("b") == written | added

    changed = {b"color": b"1"}
    assert run(commands.save(keyspace, "b", TTL, Changes(changed, replaces=True))) is True
    assert hash_of("b") == changed


@pytest.mark.parametrize("count", [499, 500, 501, 999, 1000, 1001, 2000])
def test_no_field_is_lost_between_chunks(keyspace, hash_of, count):
    """However many fields there are, each is written, moved and removed."""
    written = {f"entry-{number}".encode(): b"%d" % number for number in range(count)}
    run(commands.create(keyspace, "a", TTL, Changes(written)))
    run(commands.cycle(keyspace, "a", "b", TTL, Changes()))
    assert hash_of("b") == written
    run(commands.save(keyspace, "b", TTL, Changes(removed=tuple(written))))
    assert hash_of("b") == {}


# Cycling


def test_cycle(keyspace, raw, hash_of):
    """A cycled session has what others wrote and these changes, under the new name alone."""
    run(commands.create(keyspace, "a", TTL, Changes({b"color": b"1", b"old": b"1"}, user="7")))
    metadata = {"@created": "1", "@updated": "1", "@ip": "::1", "@later": "x"}
    raw.hset(keyspace.session("a"), mapping={**metadata, "other": "2"})

    changes = Changes({b"color": b"2"}, (b"old",))
    assert run(commands.cycle(keyspace, "a", "b", 2 * TTL, changes)) is True

    assert raw.hgetall(keyspace.session("a")) == {b"@cycled": b"b"}
    assert 0 < raw.pttl(keyspace.session("a")) <= 60_000
    assert run(commands.exists(keyspace, "a")) is False
    assert hash_of("b") == {
        b"color": b"2",
        b"other": b"2",
        b"@ip": b"::1",
        b"@later": b"x",
        b"@user": b"7",
    }
    assert raw.hget(keyspace.session("b"), "@created") == b"1"
    assert int(raw.hget(keyspace.session("b"), "@updated")) > raw.time()[0] - 60
    assert 1000 * (2 * TTL - 60) < raw.pttl(keyspace.session("b")) <= 1000 * 2 * TTL


def test_cycle_and_replace(keyspace, raw, hash_of):
    """A session that is emptied and cycled keeps its metadata alone."""
    run(commands.create(keyspace, "a", TTL, Changes({b"color": b"1"}, user="7")))
    raw.hset(keyspace.session("a"), mapping={"@created": "1", "@ip": "::1"})
    changes = Changes({b"size": b"1"}, replaces=True, user="")
    assert run(commands.cycle(keyspace, "a", "b", TTL, changes)) is True
    assert hash_of("b") == {b"size": b"1", b"@ip": b"::1"}
    assert raw.hget(keyspace.session("b"), "@created") == b"1"


def test_cycle_again_because_the_reply_was_lost(keyspace, contents):
    """A cycle that is carried out already is told to be done, and does nothing."""
    run(commands.create(keyspace, "a", TTL, Changes({b"color": b"1"}, user="7")))
    command = commands.cycle(keyspace, "a", "b", TTL, Changes({b"size": b"1"}, user="8"))
    assert run(command) is True
    before = contents()
    assert run(command) is True
    assert contents() == before
    run(commands.delete(keyspace, "b"))
    assert run(command) is False
    assert contents().keys() == {keyspace.session("a").encode()}  # the marker


def test_cycle_a_session_that_is_gone(keyspace, contents, gone):
    """Without a date of creation under the old name nothing is written under the new one."""
    before = contents()
    changes = Changes({b"color": b"1"}, user="7")
    assert run(commands.cycle(keyspace, gone, "b", TTL, changes)) is False
    assert contents() == before


@pytest.mark.parametrize("ttl", NO_TTL)
def test_cycle_with_no_time_left(keyspace, contents, ttl):
    """Cycling a session that has no time left deletes it, its index entries too."""
    run(commands.create(keyspace, "a", TTL, Changes({b"color": b"1"}, user="7")))
    assert run(commands.cycle(keyspace, "a", "b", ttl, Changes(user="8"))) is True
    assert contents() == {}


# Deleting


def test_delete(keyspace, contents):
    """Deleting a session takes its index entries along; a second time there is nothing."""
    run(commands.create(keyspace, "a", TTL, Changes({b"color": b"1"}, user="7")))
    assert run(commands.delete(keyspace, "a")) == "7"
    assert contents() == {}
    assert run(commands.delete(keyspace, "a")) is None
    assert contents() == {}


def test_delete_what_is_nobodys(keyspace, contents):
    """Deleting a session that has no user tells so, and is not mistaken for nothing deleted."""
    run(commands.create(keyspace, "a", TTL, Changes()))
    assert run(commands.delete(keyspace, "a")) == ""
    assert contents() == {}


def test_delete_whatever_is_there(keyspace, raw, contents, taken):
    """What lies under the name is deleted, also when it is no session."""
    user = "7" if raw.type(keyspace.session(taken)) == b"hash" else ""
    assert run(commands.delete(keyspace, taken)) == user
    assert contents() == {}


def test_delete_with_a_damaged_user(keyspace, raw):
    """A session whose user is no text can be deleted as any other."""
    run(commands.create(keyspace, "a", TTL, Changes()))
    raw.hset(keyspace.session("a"), "@user", b"\xff")
    assert run(commands.delete(keyspace, "a")) is not None
    assert not raw.exists(keyspace.session("a"))


def test_delete_drops_an_expired_session_from_the_index(indexed, raw, contents):
    """Of a session that has expired, the index entry goes."""
    run(commands.create(indexed, "a", TTL, Changes()))
    raw.delete(indexed.session("a"))
    assert run(commands.delete(indexed, "a")) is None
    assert contents() == {}


# Incrementing


@pytest.mark.parametrize(
    ("before", "by", "after"),
    [
        (None, 1, 1),
        (None, -5, -5),
        (None, 0, 0),
        (1, 0, 1),
        (41, 1, 42),
        (1, -2, -1),
        (2**53, 1, 2**53 + 1),
        (-(2**53), -1, -(2**53) - 1),
        (2**63 - 2, 1, 2**63 - 1),
        (-(2**63) + 1, -1, -(2**63)),
        (None, 2**63 - 1, 2**63 - 1),
        (2**63 - 1, -(2**63), -1),
    ],
)
def test_increment(keyspace, raw, before, by, after):
    """An entry is added to exactly, up to 64 bits; a missing one counts as 0."""
    written = {} if before is None else {b"counter": b"%d" % before}
    run(commands.create(keyspace, "a", TTL, Changes(written)))
    assert run(commands.increment(keyspace, "a", b"counter", by)) == after
    assert raw.hget(keyspace.session("a"), "counter") == b"%d" % after


def test_increment_keeps_the_lifetime(keyspace, raw, contents):
    """An increment leaves all but the entry and the time of the last write as it is."""
    run(commands.create(keyspace, "a", TTL, Changes({b"color": b"1"}, user="7")))
    raw.hset(keyspace.session("a"), mapping={"@created": "1", "@updated": "1"})
    before, fields = contents(), raw.hgetall(keyspace.session("a"))

    run(commands.increment(keyspace, "a", b"counter", 3))

    key = keyspace.session("a").encode()
    (_, expires), (_, expired) = before.pop(key), contents()[key]
    assert expires == expired
    assert {name: value for name, value in contents().items() if name != key} == before
    updated = raw.hget(key, "@updated")
    assert int(updated) > raw.time()[0] - 60
    assert raw.hgetall(key) == fields | {b"counter": b"3", b"@updated": updated}


def test_increment_in_a_session_that_is_gone(keyspace, contents, gone):
    """Without a date of creation under the name, nothing is added."""
    before = contents()
    assert run(commands.increment(keyspace, gone, b"counter", 1)) is None
    assert contents() == before


@pytest.mark.parametrize("value", [b'"1"', b"1.5", b"true", b"null", b"", b" 1", b"{", b"[1]"])
def test_increment_what_is_no_integer(keyspace, contents, value):
    """An entry that is no integer is not added to."""
    run(commands.create(keyspace, "a", TTL, Changes({b"counter": value})))
    before = contents()
    answer = run(commands.increment(keyspace, "a", b"counter", 1))
    assert isinstance(answer, commands.NotAnInteger)
    assert contents() == before


@pytest.mark.parametrize(
    ("value", "by"), [(2**63 - 1, 1), (-(2**63), -1), (2**62, 2**62), (-2, -(2**63))]
)
def test_increment_out_of_64_bits(keyspace, contents, value, by):
    """An entry that would leave 64 bits stays as it is."""
    run(commands.create(keyspace, "a", TTL, Changes({b"counter": b"%d" % value})))
    before = contents()
    answer = run(commands.increment(keyspace, "a", b"counter", by))
    assert isinstance(answer, commands.TooLarge)
    assert contents() == before


# Metadata


def test_note(keyspace, raw, contents):
    """Noted metadata is in the session, whose entries, lifetime and indexes stay as they are."""
    run(commands.create(keyspace, "a", TTL, Changes({b"color": b"1", b"@ip": b"::1"}, user="7")))
    before, fields = contents(), raw.hgetall(keyspace.session("a"))
    noted = {b"@ip": b"10.0.0.1", b"@agent": b"\xff"}
    before_seconds = raw.time()[0]
    now = run(commands.note(keyspace, "a", noted))
    assert before_seconds <= now // 1000 <= raw.time()[0]
    assert raw.hgetall(keyspace.session("a")) == fields | noted | {b"@seen": b"%d" % (now // 1000)}
    key = keyspace.session("a").encode()
    assert contents().pop(key)[1] == before.pop(key)[1]
    assert before.items() <= contents().items()


def test_note_in_a_session_that_is_gone(keyspace, contents, gone):
    """Without a date of creation under the name, nothing is noted."""
    before = contents()
    assert run(commands.note(keyspace, gone, {b"@ip": b"::1"})) == 0
    assert contents() == before


# Looking


def test_load(keyspace, raw):
    """Loading brings every field, metadata among them; nothing if there is no session."""
    assert run(commands.load(keyspace, "a")) is None
    run(commands.create(keyspace, "a", TTL, Changes({b"color": b'"red"', b"\xff": b"\0"})))
    assert run(commands.load(keyspace, "a")) == raw.hgetall(keyspace.session("a"))


def test_exists(keyspace):
    """Whether there is a session is a bool."""
    assert run(commands.exists(keyspace, "a")) is False
    run(commands.create(keyspace, "a", TTL, Changes()))
    assert run(commands.exists(keyspace, "a")) is True


def test_looking_for_a_session_that_is_gone(keyspace, raw, contents, gone):
    """Without a date of creation there is no session; that the name is no hash's is told."""
    before = contents()
    stored = run(commands.load(keyspace, gone))
    is_hash = raw.type(keyspace.session(gone)) in {b"hash", b"none"}
    assert stored is None if is_hash else isinstance(stored, WrongType)
    assert run(commands.exists(keyspace, gone)) is False
    assert run(commands.inspect(keyspace, gone)) is None
    assert contents() == before


def test_inspect(keyspace, raw):
    """A session is shown as it lies in Redis: name, seconds left, fields in order and in text."""
    fields = {b"size": b"1", b"color": b'"caf\xc3\xa9"', b"\xff": b"\x80x", b"@@at": b"\n"}
    run(commands.create(keyspace, "a", TTL, Changes(fields, user="7")))
    raw.hset(keyspace.session("a"), mapping={"@created": "1", "@updated": "2"})
    raw.hdel(keyspace.session("a"), "@listed")

    shown = run(commands.inspect(keyspace, "a"))

    assert isinstance(shown, StoredSession)
    assert shown.redis_key == keyspace.session("a")
    assert list(shown.fields.items()) == [
        ("@@at", "\n"),
        ("@created", "1"),
        ("@updated", "2"),
        ("@user", "7"),
        ("color", '"caf\xe9"'),
        ("size", "1"),
        ("\\xff", "\\x80x"),
    ]
    assert TTL - 60 < shown.ttl <= TTL
    assert raw.pttl(keyspace.session("a")) <= shown.ttl * 1000


# The indexes


@pytest.fixture
def memberships(raw, prefix):
    """The indexes that a session is in, by name, with its score in each."""

    def indexes(id):
        keys = [key for key in raw.scan_iter(f"{prefix}:*", count=1000) if raw.type(key) == b"zset"]
        scores = {key.decode().removeprefix(f"{prefix}:"): raw.zscore(key, id) for key in keys}
        return {name: score for name, score in scores.items() if score is not None}

    return indexes


@pytest.mark.parametrize("user", ["7", "", "a:b", "\xe9\n*"])
def test_a_session_is_in_its_indexes(indexed, raw, prefix, memberships, user):
    """A session is in the indexes and in its user's, until a margin after its expiry."""
    changes = Changes({b"color": b"1"}, replaces=True, user=user)
    steps = [
        ("a", commands.create(indexed, "a", 1234.567, Changes(user=user)), True),
        ("a", commands.save(indexed, "a", 12.345, Changes()), True),
        ("a", commands.save(indexed, "a", 12.345, Changes({b"color": b"2"})), False),
        ("a", commands.save(indexed, "a", TTL, changes), True),
        ("b", commands.cycle(indexed, "a", "b", 99.999, Changes()), True),
    ]
    listed = set()
    for id, step, lists_anew in steps:
        assert run(step) is True
        expect_listed(raw, prefix)
        former, listed = listed, {*memberships(id).values()}
        assert (listed != former) == lists_anew
    assert memberships("a") == {}


@pytest.mark.parametrize("cycles", [True, False])
def test_a_session_moves_between_users(indexed, memberships, cycles):
    """A session is in the indexes of the user whose it is now, and in no other."""
    ids = iter("abcdef")
    id = next(ids)
    run(commands.create(indexed, id, TTL, Changes(user="")))
    for user in ("7", "8", "", "9"):
        was = id
        if cycles:
            id = next(ids)
            run(commands.cycle(indexed, was, id, TTL, Changes(user=user)))
            assert memberships(was) == {}
        else:
            run(commands.save(indexed, id, TTL, Changes(user=user)))
        assert memberships(id).keys() == indexes_of(user)


def test_other_sessions_stay_in_the_indexes(indexed, memberships):
    """Of a user's sessions, only the one that is meant changes or goes."""
    for id in "abc":
        run(commands.create(indexed, id, TTL, Changes(user="7")))
    run(commands.delete(indexed, "a"))
    run(commands.cycle(indexed, "b", "d", TTL, Changes(user="")))
    assert memberships("a") == memberships("b") == {}
    assert memberships("c").keys() == indexes_of("7")
    assert memberships("d").keys() == indexes_of("")


@pytest.mark.parametrize("step", ["delete", "save", "expire", "cycle", "move"])
def test_an_index_lives_as_long_as_its_last_member(indexed, raw, prefix, step):
    """An index lives at least as long as its longest-lived member, and little longer than any."""
    for id, ttl in (("short", 100), ("long", 5000), ("middle", 1000)):
        run(commands.create(indexed, id, ttl, Changes(user="7")))
    expect_listed(raw, prefix)
    until = raw.pexpiretime(indexed.index)

    if step == "delete":
        run(commands.delete(indexed, "long"))
    elif step == "save":
        run(commands.save(indexed, "long", 10, Changes()))
    elif step == "expire":
        run(commands.save(indexed, "long", 0, Changes()))
    elif step == "cycle":
        run(commands.cycle(indexed, "long", "brief", 10, Changes()))
    else:
        run(commands.save(indexed, "long", 5000, Changes(user="")))
    now = raw.time()[0] * 1000
    for index in (indexed.index, indexed.signed_in, indexed.user("7")):
        assert now < raw.pexpiretime(index) <= max(until, now + 5000 * 1000 * 17 / 16 + 2000)
    hashes = [key for key in raw.scan_iter(f"{prefix}:*") if raw.type(key) == b"hash"]
    for key in [key for key in hashes if not raw.hexists(key, "@created")]:
        raw.delete(key)  # the marker that cycling left
    expect_listed(raw, prefix)


def test_an_index_goes_with_its_last_member(indexed, contents):
    """An index that has nothing in it is not kept."""
    run(commands.create(indexed, "a", TTL, Changes(user="7")))
    run(commands.create(indexed, "b", TTL, Changes(user="7")))
    run(commands.delete(indexed, "b"))
    run(commands.delete(indexed, "a"))
    assert contents() == {}


@pytest.mark.parametrize("user", ["7", ""])
def test_dead_members_are_dropped_by_some(indexed, raw, prefix, user):
    """One session in 16 drops up to 64 dead members of its indexes, and none that lives."""
    run(commands.create(indexed, "live", 5, Changes(user=user)))
    indexes = [f"{prefix}:{name}" for name in indexes_of(user)]
    now = raw.time()[0]
    for index in indexes:
        raw.zadd(index, {f"dead-{number}": now - number for number in range(100)})

    sizes = []
    for digit in "123456789abcdef0010":
        run(commands.create(indexed, f"{digit}{len(sizes)}", TTL, Changes(user=user)))
        sizes.append({raw.zcard(index) for index in indexes})
    assert sizes == [{102 + n} for n in range(15)] + [{53}, {18}, {19}, {20}]
    for index in indexes:
        assert raw.zscore(index, "live")


@pytest.mark.parametrize("indexed", [True, False])
def test_nothing_outside_the_prefix(prefix, raw, indexed):
    """Whether there is an index or not, no key is written but under the prefix."""
    keyspace = Keyspace(prefix, indexed)
    before = set(raw.scan_iter(count=1000))
    for user in ("7", "", "8"):
        run(commands.create(keyspace, f"of-{user}", TTL, Changes(user=user)))
        run(commands.save(keyspace, f"of-{user}", TTL, Changes({b"color": b"1"}, user="")))
        run(commands.cycle(keyspace, f"of-{user}", f"new-{user}", TTL, Changes(user=user)))
    written = set(raw.scan_iter(count=1000)) - before
    assert written
    assert all(key.startswith(prefix.encode() + b":") for key in written)


def test_no_index_is_kept(prefix, raw, contents):
    """Without an index there is the session's hash and nothing else; it knows its user still."""
    keyspace = Keyspace(prefix, indexed=False)
    run(commands.create(keyspace, "a", TTL, Changes(user="7")))
    run(commands.save(keyspace, "a", TTL, Changes(user="8")))
    run(commands.increment(keyspace, "a", b"counter", 1))
    assert contents().keys() == {keyspace.session("a").encode()}
    run(commands.cycle(keyspace, "a", "b", TTL, Changes()))
    marker = keyspace.session("a").encode()
    assert contents().keys() == {marker, keyspace.session("b").encode()}
    assert raw.hget(keyspace.session("b"), "@user") == b"8"


@pytest.mark.parametrize("user", ["7", ""])
def test_an_index_that_is_switched_on_later(prefix, memberships, user):
    """Sessions made without an index come into the indexes when they are next saved."""
    run(commands.create(Keyspace(prefix, indexed=False), "a", TTL, Changes(user=user)))
    run(commands.save(Keyspace(prefix), "a", TTL, Changes()))
    assert memberships("a").keys() == indexes_of(user)


def writes_to(keyspace):
    return {
        "create": commands.create(keyspace, "new", TTL, Changes({b"color": b"1"}, user="7")),
        "save": commands.save(keyspace, "a", 2 * TTL, Changes({b"color": b"2"}, (b"size",))),
        "save for another": commands.save(keyspace, "a", 2 * TTL, Changes(user="8")),
        "save for nobody": commands.save(keyspace, "a", 2 * TTL, Changes(replaces=True, user="")),
        "expire": commands.save(keyspace, "a", 0, Changes()),
        "cycle": commands.cycle(keyspace, "a", "new", 2 * TTL, Changes({b"color": b"2"})),
        "delete": commands.delete(keyspace, "a"),
    }


@pytest.mark.parametrize("name", writes_to(Keyspace("p")))
@pytest.mark.parametrize("index", sorted(indexes_of("7")))
def test_an_index_of_the_wrong_type(indexed, raw, prefix, name, index):
    """What else lies under an index's name is left alone, and sessions are written all the same."""

    def written():
        fields = {b"color": b"1", b"size": b"1"}
        run(commands.create(indexed, "a", TTL, Changes(fields, user="7")))
        answer = run(writes_to(indexed)[name])
        hashes = {id: raw.hgetall(indexed.session(id)) for id in ("a", "new")}
        for fields in hashes.values():
            for field in (b"@created", b"@updated", b"@listed"):
                fields.pop(field, None)
        for id in ("a", "new"):
            raw.delete(indexed.session(id))
        return answer, hashes

    expected = written()
    foreign = f"{prefix}:{index}"
    raw.set(foreign, "text", ex=60)
    until = raw.pexpiretime(foreign)

    assert written() == expected

    assert (raw.get(foreign), raw.pexpiretime(foreign)) == (b"text", until)
    assert all(raw.pttl(key) > 0 for key in raw.scan_iter(f"{prefix}:*", count=1000))


@pytest.mark.parametrize("index", sorted(indexes_of("7")))
def test_who_reads_an_index_of_the_wrong_type_is_told(indexed, raw, prefix, index):
    """Nobody takes what an index cannot say for "no sessions"."""
    run(commands.create(indexed, "a", TTL, Changes(user="7")))
    raw.set(f"{prefix}:{index}", "text", ex=60)
    with pytest.raises(SessionStoreUnavailable, match=f"TYPE.*{prefix}:"):
        run(listings.page(indexed, f"{prefix}:{index}", start=0, stop=1))


def test_a_command_of_ones_own():
    """A command is a value: words, and what makes an answer of the reply."""
    assert run(Command(("ECHO", "text"), bytes.upper)) == b"TEXT"
