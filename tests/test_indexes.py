"""The indexes that the engine keeps: of all sessions, and of each user's."""

import random

import pytest

from sessions_redis import registry
from sessions_redis.commands import session_id
from sessions_redis.engine import SessionStore

USERS = ["1", "8f14e45f-ceea-467f-a0e6-1d5f0c5b7f1e", "a:b", "with spaces", "index", "é\n*"]


def members(raw, name):
    return {member.decode() for member in raw.zrange(name, 0, -1)}


def signed_in(user, **entries):
    session = SessionStore()
    session.update({"_auth_user_id": user, **entries})
    session.save()
    return session


def test_every_session_is_in_the_index(live, raw, prefix):
    """Signed in or not, a session is a member from its creation on."""
    other = signed_in("1")
    ids = {session_id(live.session_key), session_id(other.session_key)}
    assert members(raw, f"{prefix}:index") == ids


@pytest.mark.parametrize("user", USERS)
def test_a_users_sessions_are_in_the_users_index(raw, prefix, user):
    """Users of any primary key have an index of their own."""
    first, second = signed_in(user), signed_in(user)
    signed_in(user + "x")
    ids = {session_id(first.session_key), session_id(second.session_key)}
    assert members(raw, f"{prefix}:user:{user}") == ids
    assert first.inspect().fields["@user"].encode("utf-8", "backslashreplace")


def test_members_move_with_the_sessions_user(live, raw, prefix):
    """Signing in, as somebody else, and out moves the session between the users' indexes."""
    id = session_id(live.session_key)
    for user, other in (("1", "2"), ("2", "1")):
        live["_auth_user_id"] = user
        live.save()
        assert members(raw, f"{prefix}:user:{user}") == {id}
        assert raw.exists(f"{prefix}:user:{other}") == 0
    del live["_auth_user_id"]
    live.save()
    assert raw.keys(f"{prefix}:user:*") == []
    assert "@user" not in live.inspect().fields


def test_a_user_who_is_not_touched_stays(raw, prefix):
    """A request that does not touch the user keeps the session where it is, and renews it there."""
    session = SessionStore(signed_in("1").session_key)
    id = session_id(session.session_key)
    raw.zadd(f"{prefix}:user:1", {id: 1})
    session["color"] = "red"
    session.save()
    assert raw.zscore(f"{prefix}:user:1", id) == raw.zscore(f"{prefix}:index", id) > 1
    session.clear()
    session.save()
    assert raw.exists(f"{prefix}:user:1") == 0


def test_cycling_moves_the_members(raw, prefix):
    """The new id takes the old one's place in both indexes."""
    session = signed_in("1")
    session.cycle_key()
    ids = {session_id(session.session_key)}
    assert members(raw, f"{prefix}:index") == members(raw, f"{prefix}:user:1") == ids


@pytest.mark.parametrize("end", ["delete", "flush", "by another store"])
def test_ending_removes_the_members(raw, prefix, end):
    """Promise 11: data and index entries go in one step, also where the user is not known."""
    session = signed_in("1")
    if end == "by another store":
        SessionStore().delete(session.session_key)
    else:
        getattr(session, end)()
    assert list(raw.scan_iter(f"{prefix}:*")) == []


def test_expired_members_are_trimmed(live, raw, prefix):
    """Each write drops some members that have expired, and never one that has not."""
    dead = {f"dead-{number}": number + 1 for number in range(40)}
    raw.zadd(f"{prefix}:index", dead)
    sizes = []
    for _ in range(4):
        live.save()
        sizes.append(raw.zcard(f"{prefix}:index"))
    assert sizes == [25, 9, 1, 1]
    assert members(raw, f"{prefix}:index") == {session_id(live.session_key)}


@pytest.mark.parametrize("half", ["signed-in", "anonymous"])
def test_an_index_that_was_lost(raw, prefix, half):
    """Where Redis lost the index of all, what has expired leaves the other indexes all the same."""
    session = signed_in("1") if half == "signed-in" else SessionStore()
    session.save()
    raw.delete(f"{prefix}:index")
    raw.zadd(f"{prefix}:index:{half}", {f"dead-{number}": number + 1 for number in range(40)})
    for _ in range(3):
        session.save()
    id = session_id(session.session_key)
    assert members(raw, f"{prefix}:index:{half}") == members(raw, f"{prefix}:index") == {id}


def test_without_indexes(settings, session_redis, raw, prefix):
    """With INDEX off the session is all there is; switched on, saved sessions enter the indexes."""
    settings.SESSION_REDIS = {**session_redis, "INDEX": False}
    session = signed_in("1")
    assert list(raw.scan_iter(f"{prefix}:*")) == [session.inspect().redis_key.encode()]
    settings.SESSION_REDIS = session_redis
    SessionStore(session.session_key).save()
    ids = {session_id(session.session_key)}
    assert members(raw, f"{prefix}:index") == members(raw, f"{prefix}:user:1") == ids


STEPS = {
    "save": lambda session: session.save(),
    "shorten": lambda session: (session.set_expiry(60), session.save()),
    "lengthen": lambda session: (session.set_expiry(90_000), session.save()),
    "sign in": lambda session: (session.update({"_auth_user_id": "1"}), session.save()),
    "sign in as another": lambda session: (session.update({"_auth_user_id": "2"}), session.save()),
    "sign out": lambda session: (session.pop("_auth_user_id", None), session.save()),
    "clear": lambda session: (session.clear(), session.save()),
    "cycle": lambda session: session.cycle_key(),
    "cycle, shorter": lambda session: (session.set_expiry(30), session.cycle_key()),
    "flush": lambda session: (session.flush(), session.save()),
    "expire": lambda session: (session.set_expiry(-1), session.save(), session.flush()),
}


@pytest.mark.parametrize("seed", range(8))
def test_indexes_are_exact_whatever_happens(raw, prefix, seed):
    """After any steps each index holds its live sessions alone, and lives as long as the last."""
    choose = random.Random(seed)
    sessions = [SessionStore() for _ in range(4)]
    for _ in range(60):
        STEPS[choose.choice(list(STEPS))](choose.choice(sessions))
        assert held(raw, prefix) == expected(raw, prefix)
        for name in held(raw, prefix):
            ((_, expires),) = raw.zrange(name, -1, -1, withscores=True)
            assert raw.execute_command("PEXPIRETIME", name) == round(expires * 1000)


def held(raw, prefix):
    """What the indexes hold: ids and their expiry in ms, by the index's name."""
    names = [name.decode() for name in raw.keys(f"{prefix}:*") if raw.type(name) == b"zset"]
    return {
        name: {id.decode(): round(at * 1000) for id, at in raw.zrange(name, 0, -1, withscores=True)}
        for name in names
    }


def expected(raw, prefix):
    """What they should hold, by the sessions there are."""
    indexes = {}
    for key in raw.keys(f"{prefix}:*"):
        if raw.type(key) != b"hash" or not raw.hexists(key, "@created"):
            continue  # an index, or the marker that cycling left
        user = (raw.hget(key, "@user") or b"").decode()
        half = "signed-in" if user else "anonymous"
        for name in ["index", f"index:{half}", *([f"user:{user}"] if user else [])]:
            members = indexes.setdefault(f"{prefix}:{name}", {})
            members[key.decode().removeprefix(f"{prefix}:")] = raw.execute_command(
                "PEXPIRETIME", key
            )
    return indexes


def test_what_expired_leaves_the_halves_with_the_index(live, raw, prefix):
    """An id that is trimmed from the index of all is trimmed from that of its half, too."""
    for half in ("signed-in", "anonymous"):
        dead = {f"{half}-{number}": number + 1 for number in range(5)}
        raw.zadd(f"{prefix}:index", dead)
        raw.zadd(f"{prefix}:index:{half}", dead)
        raw.pexpire(f"{prefix}:index:{half}", 60_000)
    live.save()
    id = session_id(live.session_key)
    assert members(raw, f"{prefix}:index") == members(raw, f"{prefix}:index:anonymous") == {id}
    assert members(raw, f"{prefix}:index:signed-in") == set()


ENDINGS = {
    "delete": lambda key: SessionStore().delete(key),
    "end": lambda key: registry.end(session_id(key)),
    "end_many": lambda key: registry.end_many([session_id(key)]),
}


@pytest.mark.parametrize("end", ENDINGS)
@pytest.mark.parametrize("user", ["1", None])
def test_ending_what_vanished(raw, prefix, user, end):
    """A session that expired or was evicted leaves both halves when it is ended, whoever had it."""
    session = SessionStore()
    if user:
        session["_auth_user_id"] = user
    session.save()
    raw.delete(session.inspect().redis_key)
    ENDINGS[end](session.session_key)
    left = {name.decode() for name in raw.keys(f"{prefix}:*")}
    assert left == ({f"{prefix}:user:{user}"} if user else set())
    assert registry.of_user("1") == []
