"""Sessions whose entries are encrypted: what is in Redis, races for the salt, and damage."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.core.exceptions import ImproperlyConfigured

from sessions_redis import registry, sealing
from sessions_redis.encryption import MARK
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.json_serializer import made
from sessions_redis.serializers import EncryptedJSONSerializer
from sessions_redis.storage.changes import Changes, Known
from sessions_redis.storage.commands import session_id
from sessions_redis.storage.entries import SALT, StoredEntry, is_metadata
from sessions_redis.storage.rules import Refused
from tests.proxy import Proxy
from tests.test_round_trips import OPERATIONS

ENCRYPTED = "sessions_redis.serializers.EncryptedJSONSerializer"
TYPED = "sessions_redis.serializers.EncryptedTypedJSONSerializer"
PLAIN = "django.contrib.sessions.serializers.JSONSerializer"
OPENING = "sessions_redis.serializers.DecryptingJSONSerializer"

OLD, NEW = "0d" * 32, "e0" * 32
LATER = (datetime.now(UTC) + timedelta(days=300)).date().isoformat()

DAMAGED = "is damaged and reads as missing"


@pytest.fixture(autouse=True)
def encrypted(settings, session_redis):
    settings.SESSION_SERIALIZER = ENCRYPTED
    settings.SESSION_REDIS = {**session_redis, "ENCRYPTION_KEYS": [OLD]}


@pytest.fixture
def turn_on(settings):
    """Sessions that were begun before are read until later."""

    def on(**changed):
        settings.SESSION_SERIALIZER = ENCRYPTED
        later = {"ENCRYPTION_PLAINTEXT_UNTIL": LATER}
        settings.SESSION_REDIS = {**settings.SESSION_REDIS, **later, **changed}

    return on


@pytest.fixture
def plain(settings, turn_on):
    """Begins a session with entries that are not encrypted, and then turns encryption on."""

    def begin(**entries):
        settings.SESSION_SERIALIZER = PLAIN
        key = saved(**entries).session_key
        turn_on()
        return key

    return begin


@pytest.fixture
def fields(raw, prefix):
    return lambda key: raw.hgetall(f"{prefix}:{session_id(key)}")


@pytest.fixture
def put(raw, prefix):
    """Writes a field of a session, as somebody may who reaches Redis."""
    return lambda key, name, value: raw.hset(f"{prefix}:{session_id(key)}", name, value)


def saved(**entries):
    session = SessionStore()
    session.update(entries)
    session.save()
    return session


def loaded(key):
    session = SessionStore(key)
    dict(session.items())
    return session


def held(key):
    return dict(SessionStore(key).items())


def entries_in(stored):
    return {(name, value) for name, value in stored.items() if not is_metadata(name)}


def test_redis_holds_no_value(fields):
    """Redis holds no value in plain. Names, metadata and the user's primary key are as always."""
    session = saved(color="red", _auth_user_id="7")
    stored = fields(session.session_key)
    assert {b"color", b"_auth_user_id", b"@user", SALT} < stored.keys()
    assert stored[b"@user"] == b"7"
    values = [value for _, value in entries_in(stored)]
    assert all(value.startswith(MARK) for value in values)
    assert b"red" not in b"".join(values)
    assert held(session.session_key) == {"color": "red", "_auth_user_id": "7"}


def test_only_what_changed_is_written(fields):
    """An entry that was only read stays as it is in Redis, byte for byte."""
    key = saved(color="red", cart={"pears": 1}, size=7).session_key
    before = fields(key)
    session = loaded(key)
    session["cart"]["pears"] = 2
    session["color"] = "red"
    del session["size"]
    session.save()
    after = fields(key)
    assert after[b"color"] == before[b"color"]
    assert after[b"cart"] != before[b"cart"]
    assert after[SALT] == before[SALT]
    assert after[b"@listed"] == before[b"@listed"]  # as with other saves, no index was written
    assert held(key) == {"color": "red", "cart": {"pears": 2}}
    session["size"] = 8
    session.save()
    assert fields(key)[b"cart"] == after[b"cart"]
    assert held(key) == {"color": "red", "cart": {"pears": 2}, "size": 8}


def test_async():
    """The asynchronous methods do the same."""

    async def use():
        session = SessionStore()
        await session.aset("color", "red")
        await session.acreate()
        await session.aset("size", 7)
        await session.asave()
        await session.acycle_key()
        return dict(await SessionStore(session.session_key).aitems())

    assert asyncio.run(use()) == {"color": "red", "size": 7}


def test_the_salt_moves_along(fields):
    """A session keeps its salt when it is cycled, so what other requests wrote moves as well."""
    session = saved(color="red")
    salt, other = fields(session.session_key)[SALT], loaded(session.session_key)
    other["size"] = 7
    other.save()
    session["shape"] = "round"
    session.cycle_key()
    assert fields(session.session_key)[SALT] == salt
    assert held(session.session_key) == {"color": "red", "size": 7, "shape": "round"}
    session.flush()
    session["color"] = "blue"
    session.save()
    assert fields(session.session_key)[SALT] != salt


def test_a_second_session_beside(fields):
    """When two requests cycle one session, both new sessions can be read."""
    first = saved(_auth_user_id="7", color="red")
    second = loaded(first.session_key)
    first.cycle_key()
    second["size"] = 7
    second.cycle_key()
    assert held(first.session_key) == {"_auth_user_id": "7", "color": "red"}
    assert held(second.session_key) == {"_auth_user_id": "7", "color": "red", "size": 7}
    assert fields(first.session_key)[SALT] != fields(second.session_key)[SALT]


def test_entries_of_another_session(fields):
    """Entries that go on in another session are encrypted for it, even if nobody read them."""
    old = SessionStore(saved(color="red", size=7).session_key)
    entries, new = old.load(), SessionStore()
    assert entries["size"] == 7
    new._session_cache = entries
    new.create()
    assert held(new.session_key) == {"color": "red", "size": 7}
    assert fields(new.session_key)[SALT] != fields(old.session_key)[SALT]


def test_clearing():
    """After clear(), with the session loaded or not, the new entries replace the old ones."""
    key = saved(color="red").session_key
    for session in (loaded(key), SessionStore(key)):
        session.clear()
        session["size"] = 7
        session.save()
        assert held(key) == {"size": 7}
        session["shape"] = "round"
        session.save()
        assert held(key) == {"size": 7, "shape": "round"}
    session.clear()
    session.save()
    session["size"] = 8
    session.save()
    assert held(key) == {"size": 8}


def test_a_session_that_begins_empty():
    """A session gets its salt with its first entry."""
    session = SessionStore()
    session.create()
    other = loaded(session.session_key)
    session["color"] = "red"
    session.save()
    other["size"] = 7
    other.save()
    assert held(session.session_key) == {"color": "red", "size": 7}


# What is not as this request left it


@pytest.mark.parametrize("other_sets", [{"size": 7}, {"color": "blue"}])
def test_two_requests_give_a_session_its_salt(plain, fields, other_sets):
    """Two requests change a session without salt at once. Both changes can be read afterwards."""
    key = plain(color="red", shape="round")
    one, other = loaded(key), loaded(key)
    one["cart"] = ["pears"]
    one.save()
    other.update(other_sets)
    other.save()
    assert held(key) == {"color": "red", "shape": "round", "cart": ["pears"], **other_sets}
    assert fields(key)[b"shape"] == b'"round"'
    stored = {b"size": b"", **fields(key)}
    other["size"] = 8
    other.save()
    del stored[b"size"]
    assert entries_in(stored) <= entries_in(fields(key))


def test_two_requests_cycle_a_session_without_salt(plain):
    """A session without salt gets one while another request cycles it."""
    key = plain(color="red")
    one, other = loaded(key), loaded(key)
    one["size"] = 7
    one.save()
    other["shape"] = "round"
    other.cycle_key()
    assert held(other.session_key) == {"color": "red", "size": 7, "shape": "round"}


def test_a_session_with_another_salt_by_now(fields):
    """
    Another request replaces all entries, with a new salt. What this one only read stays as it is.
    """
    key = saved(color="red", size=7).session_key
    one, other = loaded(key), SessionStore(key)
    other.clear()
    other["color"] = "blue"
    other.save()
    one["shape"] = "round"
    one.save()
    assert held(key) == {"color": "blue", "shape": "round"}
    stored = fields(key)
    one["shape"] = "square"
    one.save()
    assert held(key) == {"color": "blue", "shape": "square"}
    assert fields(key)[b"color"] == stored[b"color"]


def test_a_session_that_lost_its_salt(raw, prefix):
    """A session whose salt was deleted is damaged, and gets a new one with the next entry."""
    session = loaded(saved(color="red").session_key)
    raw.hdel(f"{prefix}:{session_id(session.session_key)}", SALT)
    session["size"] = 7
    session.save()
    assert held(session.session_key) == {"size": 7}


def test_a_damaged_salt(put):
    """Values that were sealed with another salt are damaged. What is written next can be read."""
    session = loaded(saved(color="red").session_key)
    put(session.session_key, SALT, b"\xff")
    session["size"] = 7
    session.save()
    assert held(session.session_key) == {"size": 7}


def test_a_salt_that_does_not_stay_the_same():
    """If each attempt finds another salt, the write raises and has written nothing."""

    def refusing(changes):
        yield from ()
        return Refused("expects:@salt", (), next(salts))

    salts = iter([b"a", b"b", b"c", b"d", b"e"])
    serializer = made(EncryptedJSONSerializer)
    steps = sealing.written(Known("id", {}), Changes({b"size": b"7"}), serializer, refusing)
    with pytest.raises(SessionStoreUnavailable, match="@salt"):
        next(steps)
    assert next(salts, None) is None


def test_entries_that_several_requests_change(fields):
    """An encrypted entry can be updated and appended to, also from a value that is old by now."""
    key = saved(log=["first"], count=1).session_key
    one, other = loaded(key), loaded(key)
    other.append("log", "second")
    assert one.append("log", "third") == ["first", "second", "third"]
    assert one.update_entry("count", lambda count: count + 1) == 2
    assert other.update_entry("count", lambda count: count + 1) == 3
    assert held(key) == {"log": ["first", "second", "third"], "count": 3}
    assert all(value.startswith(MARK) for name, value in fields(key).items() if name == b"log")


def test_updates_of_a_session_that_gets_its_first_salt(plain):
    """Two requests that update entries which are not encrypted yet lose none of the updates."""
    key = plain(log=["first"])
    one, other = loaded(key), loaded(key)
    one.append("log", "second")
    assert other.append("log", "third") == ["first", "second", "third"]
    assert held(key) == {"log": ["first", "second", "third"]}


def test_a_locked_session():
    """The block sees what the former holder of the lock wrote, and its changes are encrypted."""
    key = saved(color="red").session_key
    session, other = loaded(key), loaded(key)
    other["color"] = "blue"
    other.save()
    with session.lock():
        assert session["color"] == "blue"
        session["color"] = "green"
    assert held(key) == {"color": "green"}


def test_round_trips(settings, server):
    """Encryption takes no round trip more."""
    with Proxy(server.port) as proxy:
        settings.SESSION_REDIS = {**settings.SESSION_REDIS, "LOCATION": proxy.url}
        counted = {}
        for _ in range(2):  # the first time, the server does not know the scripts
            for name, (operate, prepare, _) in OPERATIONS.items():
                if name != "increment":
                    session = prepare(saved(color="red", _auth_user_id="1"))
                    counted[name] = proxy.counted(operate, session)
    assert counted == {name: trips for name, (_, _, trips) in OPERATIONS.items() if name in counted}


# Damage


def changed(value):
    return value[:-1] + bytes([value[-1] ^ 1])


@pytest.mark.parametrize(
    "tamper",
    [
        lambda stored, _: changed(stored[b"color"]),
        lambda stored, _: stored[b"color"][:-1],
        lambda stored, _: stored[b"size"],
        lambda _, other: other[b"color"],
        lambda _, __: b'"red"',
        lambda _, __: b"",
        lambda _, __: MARK,
    ],
    ids=["flipped", "cut", "other entry", "other session", "plain", "empty", "mark"],
)
def test_tampering(fields, put, caplog, tamper):
    """A value that was tampered with reads as missing, alone, and the log says so."""
    key, other = saved(color="red", size=7).session_key, saved(color="red").session_key
    put(key, "color", tamper(fields(key), fields(other)))
    session = SessionStore(key)
    assert session.get("color") is None
    assert f"Session {session_id(key)}: the field b'color' {DAMAGED}" in caplog.text
    assert session["size"] == 7
    before = fields(key)[b"color"]
    session["size"] = 8
    session.save()
    assert fields(key)[b"color"] == before
    session["color"] = "red"
    session.save()
    assert held(key) == {"color": "red", "size": 8}


def test_plain_values_after_the_last_day(plain, settings, caplog):
    """Without ENCRYPTION_PLAINTEXT_UNTIL, a value that is not encrypted is damaged."""
    key = plain(color="red")
    assert held(key) == {"color": "red"}
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "ENCRYPTION_PLAINTEXT_UNTIL": None}
    assert held(key) == {}
    assert DAMAGED in caplog.text
    session = SessionStore(key)
    session["color"] = "red"  # the same as in plain
    session.save()
    assert held(key) == {"color": "red"}


def test_a_key_that_is_gone(settings, caplog):
    """A value whose key is not configured any more is damaged."""
    key = saved(color="red").session_key
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "ENCRYPTION_KEYS": [NEW]}
    assert held(key) == {}
    assert DAMAGED in caplog.text


# With what else there is


def test_turning_off(settings, fields):
    """The decrypting serializer reads both, and writes plain values without touching the others."""
    key = saved(color="red", size=7).session_key
    settings.SESSION_SERIALIZER = OPENING
    before, session = fields(key), loaded(key)
    session["size"] = 8
    session.save()
    after = fields(key)
    assert (after[b"color"], after[b"size"]) == (before[b"color"], b"8")
    assert held(key) == {"color": "red", "size": 8}
    new = saved(color="red").session_key
    assert SALT not in fields(new)
    assert fields(new)[b"color"] == b'"red"'


def test_typed_values(settings):
    """The typed variant stores decimals as well."""
    settings.SESSION_SERIALIZER = TYPED
    key = saved(price=Decimal("9.90")).session_key
    assert held(key) == {"price": Decimal("9.90")}


@pytest.mark.parametrize("serializer", [ENCRYPTED, TYPED, OPENING])
def test_increment(settings, serializer):
    """Redis cannot add to an encrypted number: increment() says so."""
    settings.SESSION_SERIALIZER = serializer
    session = saved(count=1)
    with pytest.raises(ImproperlyConfigured, match=r"integers as decimal text; .*JSONSerializer"):
        session.increment("count")


def test_keys_that_are_not_text():
    """A key that JSON turns into text names the entry that it is bound to."""
    session = SessionStore()
    session[1] = "one"
    session["@at"] = "two"
    session.save()
    assert held(session.session_key) == {"1": "one", "@at": "two"}


def test_what_people_see(fields, put):
    """The registry decrypts entries, for the admin. inspect() shows them as stored."""
    session = saved(color="red", size=7)
    key = session.session_key
    put(key, "size", b"7")
    size = len(fields(key)[b"color"])
    assert registry.find(session_id(key)).entries() == [
        StoredEntry("color", "red", size),
        StoredEntry("size", None, 1, damaged=True),
    ]
    shown = session.inspect().fields
    assert shown["color"].startswith("\\xe1")
    assert "red" not in shown["color"]


def test_an_error_of_the_serializer_comes_first(fields):
    """A value that cannot be written raises before anything is written."""
    session = saved(color="red")
    before = fields(session.session_key)
    session["price"] = Decimal("9.90")
    with pytest.raises(TypeError, match="Decimal"):
        session.save()
    assert fields(session.session_key) == before


def test_salts_are_random():
    """No two sessions have the same salt."""
    assert len({sealing.new_salt() for _ in range(100)}) == 100
