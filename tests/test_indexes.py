"""The indexes that the engine keeps: of all sessions, and of each user's."""

import pytest

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


def test_without_indexes(settings, session_redis, raw, prefix):
    """With INDEX off the session is all there is; switched on, saved sessions enter the indexes."""
    settings.SESSION_REDIS = {**session_redis, "INDEX": False}
    session = signed_in("1")
    assert list(raw.scan_iter(f"{prefix}:*")) == [session.inspect().redis_key.encode()]
    settings.SESSION_REDIS = session_redis
    SessionStore(session.session_key).save()
    ids = {session_id(session.session_key)}
    assert members(raw, f"{prefix}:index") == members(raw, f"{prefix}:user:1") == ids
