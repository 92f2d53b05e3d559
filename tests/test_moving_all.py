"""All sessions of a former engine move in at once."""

import time
from itertools import count

import pytest
from django.conf import settings
from django.contrib.sessions.backends.cache import SessionStore as CachedSessions
from django.contrib.sessions.backends.db import SessionStore as FormerSessions
from django.contrib.sessions.models import Session
from django.db import transaction

from sessions_redis import conf, former, moving_in, registry
from sessions_redis.clients import run
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.json_serializer import made
from sessions_redis.keys import Key
from sessions_redis.moving_all import Move, checking, pace
from sessions_redis.moving_all.checking import compare
from sessions_redis.moving_all.pace import Pace
from sessions_redis.storage import adoption, moves
from sessions_redis.storage.adoption import Adoption
from sessions_redis.storage.commands import session_id
from tests.listed import expect_listed
from tests.servers import free_port
from tests.spread import spread  # noqa: F401 - fixture

pytestmark = pytest.mark.django_db(transaction=True)

FORMER = "django.contrib.sessions.backends.db"
CACHED = "django.contrib.sessions.backends.cache"


@pytest.fixture(autouse=True)
def moves_in(settings, session_redis):
    """Sessions move in from Django's database engine."""
    settings.SESSION_REDIS = {**session_redis, "FORMER_ENGINE": FORMER}
    settings.FORMER_KEYS = (f"{n:032d}" for n in count())
    moving_in.unknown_keys.clear()


@pytest.fixture
def shared(settings):
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "FORMER_ENGINE_SHARED": True}


def create(seconds=10_000, **entries):
    """Create a session of the former engine. Returns its key, the same in each run of a test."""
    key = next(settings.FORMER_KEYS)
    assert former.of(FORMER).create(Key(key), entries, seconds)
    return key


def moved(size=500, **options):
    """Move all. Returns the counts, by kind."""
    move = new_move(**options)
    for _ in move.batches(size, Pace()):
        pass
    return move.counts


def new_move(**options):
    serializer = made(SessionStore().serializer)
    store = former.of(conf.current().former_engine or FORMER)
    return Move(store, conf.current().keyspace, serializer, **options)


def numbers(counts):
    kinds = ("adopted", "there", "refused", "expired", "not decodable", "partial", "stayed")
    return {kind: counts.of(kind).number for kind in kinds if counts.of(kind).number}


def keys_there():
    return set(Session.objects.values_list("pk", flat=True))


def hash_of(raw, prefix, key):
    return raw.hgetall(f"{prefix}:{session_id(key)}")


@pytest.mark.parametrize("size", [1, 3, 500])
def test_all_move(raw, prefix, size):
    """Each session moves with its entries and lifetime, is listed, and leaves the former engine."""
    keys = [create(5000 + n, color="red", n=n, _auth_user_id=str(n % 2)) for n in range(7)]
    expire = dict(Session.objects.values_list("pk", "expire_date"))
    assert numbers(moved(size)) == {"adopted": 7}
    assert keys_there() == set()
    for n, key in enumerate(keys):
        expires = raw.pexpiretime(f"{prefix}:{session_id(key)}") / 1000
        assert abs(expires - expire[key].timestamp()) < 1
        assert dict(SessionStore(key).load()) == {
            "color": "red",
            "n": n,
            "_auth_user_id": str(n % 2),
        }
        assert b"@copied" not in hash_of(raw, prefix, key)
    assert len(registry.of_user("1")) == 3
    expect_listed(raw, prefix)
    assert numbers(moved()) == {}


def test_many_in_one_round_trip(monkeypatch):
    """Large batches go out in parts, by their number and by their size."""
    monkeypatch.setattr("sessions_redis.moving_all.MOST_SESSIONS", 3)
    monkeypatch.setattr("sessions_redis.moving_all.MOST_BYTES", 1000)
    for n in range(7):
        create(text="x" * 100 * n)
    assert numbers(moved()) == {"adopted": 7}
    assert registry.count() == 7


def test_a_session_that_is_here_stays_as_it_is(raw, prefix):
    """A session that has moved already keeps what was saved since. Its old copy is deleted."""
    key = create(color="red")
    session = SessionStore(key)
    session["color"] = "blue"
    session.save()
    FormerSessions(key).save(must_create=True)  # as if it could not be deleted
    assert numbers(moved()) == {"there": 1}
    assert keys_there() == set()
    assert SessionStore(key)["color"] == "blue"


def test_an_ended_session_stays_ended():
    """A session that was ended here does not come back, and its old copy is deleted."""
    key = create(color="red")
    SessionStore(key).delete()
    FormerSessions(key).save(must_create=True)
    assert numbers(moved()) == {"refused": 1}
    assert keys_there() == set()
    assert SessionStore(key).load() == {}


def test_signed_out_everywhere():
    """No session moves whose user has ended all sessions."""
    create(_auth_user_id="7")
    other = create(_auth_user_id="8")
    registry.end_all_of("7")
    assert numbers(moved()) == {"adopted": 1, "refused": 1}
    assert [one.id for one in registry.latest()] == [session_id(other)]


def test_expired_and_damaged():
    """Sessions that are useless stay where they are, and the damaged ones are named."""
    expired, damaged = create(-5), create()
    Session.objects.filter(pk=damaged).update(session_data="garbage")
    counts = moved()
    assert numbers(counts) == {"expired": 1, "not decodable": 1}
    assert counts.of("not decodable").ids == [session_id(damaged)]
    assert keys_there() == {expired, damaged}
    assert registry.count() == 0


def test_names_are_bounded():
    """However many sessions are damaged, the first IDs alone are kept."""
    counts = new_move().counts
    for n in range(50):
        counts.add("not decodable", str(n))
        counts.leave_out([f"'cart {n}' (Decimal)"], str(n), moves=True)
    assert (counts.of("not decodable").number, len(counts.of("not decodable").ids)) == (50, 20)
    assert len(counts.left_out) == 20


@pytest.fixture
def pickled(settings):
    """A session in a cache, with an entry that only pickle can write. Returns its key."""
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": settings.SESSION_REDIS["LOCATION"],
            "KEY_PREFIX": settings.SESSION_REDIS["KEY_PREFIX"],
        }
    }
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "FORMER_ENGINE": CACHED}
    session = CachedSessions()
    session.update({"color": "red", "fruits": {"pear"}})
    session.create()
    return session.session_key


def test_entries_that_cannot_be_written(pickled, raw, prefix):
    """Entries that the serializer cannot write are left out, named and counted."""
    counts = moved()
    assert numbers(counts) == {"adopted": 1, "partial": 1}
    assert counts.left_out == {"'fruits' (set)": 1}
    fields = hash_of(raw, prefix, pickled)
    assert (fields[b"color"], b"fruits" in fields) == (b'"red"', False)
    assert not CachedSessions().exists(pickled)


def test_sessions_that_cannot_be_written_whole(pickled, raw, prefix):
    """Such a session can also stay where it is."""
    counts = moved(moves_partly=False)
    assert numbers(counts) == {"stayed": 1}
    assert counts.of("stayed").ids == [session_id(pickled)]
    assert CachedSessions().exists(pickled)
    assert hash_of(raw, prefix, pickled) == {}


@pytest.mark.parametrize("shares", [False, True])
def test_a_dry_run(settings, contents, shares):
    """It says what would become of each session, and writes nothing."""
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "FORMER_ENGINE_SHARED": shares}
    here, ended, signed_out = create(), create(), create(_auth_user_id="7")
    create(_auth_user_id="8")
    create(-5)
    run_steps(adoption.adopt, here)
    run(adoption.tombstone(conf.current().keyspace, session_id(ended)))
    run(adoption.sign_out(conf.current().keyspace, "7"))
    before, there = contents(), keys_there()
    counts = moved(only_look=True)
    assert numbers(counts) == {"adopted": 1, "there": 1, "refused": 2, "expired": 1}
    assert (contents(), keys_there()) == (before, there)
    assert signed_out in there


def run_steps(adopt, key):
    from sessions_redis.clients import perform
    from sessions_redis.storage.changes import Changes

    became = perform(adopt(conf.current().keyspace, session_id(key), 1000, Changes(replaces=True)))
    assert became is Adoption.ADOPTED


def test_a_key_of_another_type(raw, prefix):
    """A session whose key in Redis is taken by something else does not move."""
    key = create(color="red")
    raw.set(f"{prefix}:{session_id(key)}", "foreign", ex=100)
    assert numbers(moved(only_look=True)) == {"adopted": 1}
    assert numbers(moved()) == {"refused": 1}


def test_shared(shared, raw, prefix):
    """While both engines serve the sessions, they are copied, and nothing is deleted there."""
    key = create(color="red", _auth_user_id="7")
    assert numbers(moved()) == {"adopted": 1}
    assert keys_there() == {key}
    assert hash_of(raw, prefix, key)[b"@copied"]
    assert numbers(moved()) == {"there": 1}
    assert SessionStore(key)["color"] == "red"


def test_after_sharing(settings, shared, contents):
    """When the engines share no more, what old workers wrote last moves, and log-outs hold."""
    written, ended, untouched = create(color="red"), create(), create(color="red")
    assert numbers(moved()) == {"adopted": 3}
    session = FormerSessions(written)
    session["color"] = "blue"
    session.save()
    FormerSessions(ended).delete()
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "FORMER_ENGINE_SHARED": False}
    before = contents()
    assert numbers(moved(only_look=True)) == {"adopted": 2}
    assert contents() == before
    assert numbers(moved()) == {"adopted": 2}
    assert keys_there() == set()
    assert SessionStore(written)["color"] == "blue"
    assert SessionStore(untouched)["color"] == "red"
    assert SessionStore(ended).load() == {}


def test_inside_a_transaction(raw, prefix):
    """A rollback leaves the sessions where they are. They are in Redis as well, and marked."""
    key = create(color="red")
    with transaction.atomic():
        assert numbers(moved()) == {"adopted": 1}
        transaction.set_rollback(True)
    assert keys_there() == {key}
    assert hash_of(raw, prefix, key)[b"@copied"]
    assert numbers(moved()) == {"there": 1}
    assert keys_there() == set()


def test_redis_goes_away(settings):
    """If Redis is away, nothing is deleted there, and the move can begin again."""
    keys = {create(), create()}
    available = settings.SESSION_REDIS
    settings.SESSION_REDIS = {**available, "LOCATION": f"redis://127.0.0.1:{free_port()}"}
    with pytest.raises(SessionStoreUnavailable):
        moved()
    assert keys_there() == keys
    settings.SESSION_REDIS = available
    assert numbers(moved()) == {"adopted": 2}


def test_redis_goes_away_in_between(settings, monkeypatch):
    """If Redis goes away after the sessions were created, nothing is lost either."""
    keys = [create(color="red"), create(color="red")]
    available = settings.SESSION_REDIS
    move = new_move()
    store = former.of(FORMER)
    delete = store.delete_many

    def away(gone):
        delete(gone)
        settings.SESSION_REDIS = {**available, "LOCATION": f"redis://127.0.0.1:{free_port()}"}

    monkeypatch.setattr(store, "delete_many", away)
    with pytest.raises(SessionStoreUnavailable):
        next(move.batches(2, Pace()))
    assert numbers(move.counts) == {"adopted": 2}
    monkeypatch.undo()
    settings.SESSION_REDIS = available
    assert keys_there() == set()
    assert [SessionStore(key)["color"] for key in keys] == ["red", "red"]


def test_a_session_that_expires_while_it_waits():
    """A session that expires between reading and writing is not created."""
    key = create(10_000)
    move = new_move()
    found = next(former.of(FORMER).batches(10))
    (ready,) = move._ready(found, time.time())
    late = type(ready)(ready.key, ready.changes, time.monotonic() - 1, ready.times)
    move._move([late])
    assert numbers(move.counts) == {"refused": 1}
    assert SessionStore(key).load() == {}


def test_across_slots(spread):  # noqa: F811
    """All move as well if a session's indexes are in other slots, as in a Cluster."""
    keyspace = spread.use(4)
    keys = [create(color="red", _auth_user_id=str(n % 3)) for n in range(20)]
    create(_auth_user_id="9")
    run(adoption.sign_out(keyspace, "9"))
    assert numbers(moved(only_look=True)) == {"adopted": 20, "refused": 1}
    assert numbers(moved(7)) == {"adopted": 20, "refused": 1}
    assert all(SessionStore(key)["color"] == "red" for key in keys)
    assert (registry.count(), len(registry.of_user("1"))) == (20, 7)
    assert compared() == {"same": 20}
    assert keys_there() == set()


# Afterwards


def compared():
    counts = compare(conf.current().keyspace)
    kinds = ("same", "changed", "gone", "different", "lifetime", "unlisted")
    return {kind: counts.of(kind).number for kind in kinds if counts.of(kind).number}


@pytest.fixture
def many():
    """Seven sessions that have moved. Returns their keys."""
    keys = [create(color="red", _auth_user_id=str(n)) for n in range(7)]
    moved()
    return keys


def later(raw, prefix, key):
    """As if the session had been saved some time after it moved."""
    raw.hset(f"{prefix}:{session_id(key)}", "@updated", int(time.time()) + 60)


def test_a_sample_is_compared(many, raw, prefix):
    """Sessions that were saved or ended since are told from those that are wrong."""
    assert compared() == {"same": 7}
    SessionStore(many[0]).delete()
    session = SessionStore(many[1])
    session["color"] = "blue"
    session.save()
    later(raw, prefix, many[1])
    later(raw, prefix, many[2])
    raw.hset(f"{prefix}:{session_id(many[3])}", "color", '"blue"')
    raw.hset(f"{prefix}:{session_id(many[4])}", "@user", "99")
    raw.pexpire(f"{prefix}:{session_id(many[5])}", 5000)
    raw.zrem(f"{prefix}:user:6", session_id(many[6]))
    found = {"same": 1, "changed": 1, "gone": 1, "different": 2, "lifetime": 1, "unlisted": 1}
    assert compared() == found


def test_another_user(settings, many, raw, prefix):
    """Without indexes, the user that is noted at a session is compared all the same."""
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "INDEX": False}
    raw.hset(f"{prefix}:{session_id(many[4])}", "@user", "99")
    assert compared() == {"same": 6, "different": 1}


def test_a_key_that_was_taken(many, raw, prefix):
    """A session counts as ended if something else has its key."""
    raw.delete(f"{prefix}:{session_id(many[0])}")
    raw.set(f"{prefix}:{session_id(many[0])}", "foreign", ex=100)
    assert compared() == {"same": 6, "gone": 1}


def test_the_sample_is_bounded(monkeypatch, raw, prefix):
    """The sample keeps at most so many sessions, and is read in parts."""
    monkeypatch.setattr(moves, "SAMPLE", 5)
    monkeypatch.setattr(checking, "AT_A_TIME", 2)
    for _ in range(20):
        create()
    moved(4)
    assert compared() == {"same": raw.hlen(f"{prefix}:moved-sample")}
    assert raw.hlen(f"{prefix}:moved-sample") <= 5
    assert 0 < raw.ttl(f"{prefix}:moved-sample") <= 7 * 86_400


def test_no_sample(raw, prefix):
    """Without a sample, nothing is compared. Damage to it is reported."""
    assert compared() == {}
    raw.set(f"{prefix}:moved-sample", "foreign", ex=100)
    assert compared() == {}
    raw.delete(f"{prefix}:moved-sample")
    raw.hset(f"{prefix}:moved-sample", "1", "damaged")
    raw.expire(f"{prefix}:moved-sample", 100)
    with pytest.raises(SessionStoreUnavailable):
        compared()


# The pace


def test_the_pace(monkeypatch):
    """It keeps the number per second, and catches up with one second at most."""
    now, waited = 1000.0, []
    monkeypatch.setattr(pace, "monotonic", lambda: now)
    monkeypatch.setattr(pace, "sleep", waited.append)
    slow = Pace(10)
    slow.wait(5)
    slow.wait(5)
    now += 100
    slow.wait(20)
    assert waited == pytest.approx([0.5, 1.0, 1.0])
    Pace().wait(10**9)
    assert len(waited) == 3
