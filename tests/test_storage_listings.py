"""The indexes that the engine keeps: of all sessions, and of each user's."""

import random

import pytest

from sessions_redis import registry
from sessions_redis.engine import SessionStore
from sessions_redis.storage.commands import session_id

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


# Each is a save, of a session of user 7 that was loaded.
SAVES = {
    "touch": lambda session: session.save(),
    "change": lambda session: (session.update({"color": "blue"}), session.save()),
    "remove": lambda session: (session.pop("color"), session.save()),
    "clear": lambda session: (session.clear(), session.save()),
    "shorten": lambda session: (session.set_expiry(60), session.save()),
    "lengthen": lambda session: (session.set_expiry(9_000_000), session.save()),
    "increment": lambda session: (session.increment("counter"), session.save()),
    "sign in": lambda session: (session.update({"_auth_user_id": "8"}), session.save()),
    "sign out": lambda session: (session.pop("_auth_user_id"), session.save()),
    "cycle": lambda session: session.cycle_key(),
}
LOST = [
    ["user:7"],
    ["index"],
    ["index:signed-in"],
    ["index", "index:signed-in"],
    ["index", "index:signed-in", "user:7"],
]


@pytest.mark.parametrize("lost", LOST, ids=" ".join)
@pytest.mark.parametrize("save", SAVES)
def test_a_save_lists_what_is_not_listed(raw, prefix, save, lost):
    """Whichever indexes were evicted or deleted: a session that is saved is in all of its own."""
    session = SessionStore(signed_in("7", color="red").session_key)
    session.get("color")
    raw.delete(*[f"{prefix}:{name}" for name in lost])
    SAVES[save](session)
    assert held(raw, prefix) == expected(raw, prefix)
    user = session.get("_auth_user_id")
    if user:
        assert registry.end_all_of(user) == 1
        assert not session.exists(session.session_key)


@pytest.mark.parametrize("save", SAVES)
def test_an_index_without_a_time_to_live(raw, prefix, save):
    """It lives as long as its longest-lived member again, not as long as what was saved."""
    signed_in("7").save()
    session = SessionStore(signed_in("7", color="red").session_key)
    session.set_expiry(100)
    session.save()
    for name in ("index", "index:signed-in", "user:7"):
        assert raw.persist(f"{prefix}:{name}")
    SAVES[save](session)
    assert held(raw, prefix) == expected(raw, prefix)
    for name in held(raw, prefix):
        ((_, expires),) = raw.zrange(name, -1, -1, withscores=True)
        assert raw.pexpiretime(name) == round(expires * 1000)


def test_an_index_whose_time_to_live_is_too_short(raw, prefix):
    """A save gives it a longer one: what was saved is listed for as long as it lives."""
    session = signed_in("7")
    for name in ("index", "index:signed-in", "user:7"):
        raw.pexpire(f"{prefix}:{name}", 5000)
    session.save()
    for name in ("index", "index:signed-in", "user:7"):
        assert raw.pexpiretime(f"{prefix}:{name}") == raw.pexpiretime(session.inspect().redis_key)


@pytest.mark.parametrize("score", ["inf", "1e300", "9e15"])
@pytest.mark.parametrize("end", ["delete", "flush", "shorten", "end_all_of", "end_many"])
def test_a_member_with_an_absurd_score(raw, prefix, score, end):
    """Damage in an index keeps no session from being shortened or ended."""
    session = signed_in("7")
    for name in ("index", "index:signed-in", "user:7"):
        raw.zadd(f"{prefix}:{name}", {"damaged": score})
    if end == "end_all_of":
        assert registry.end_all_of("7") == 1
    elif end == "end_many":
        assert registry.end_many([session_id(session.session_key)])
    else:
        {**SAVES, "delete": SessionStore.delete, "flush": SessionStore.flush}[end](session)
    assert session.exists(session.session_key or "none") is (end == "shorten")


def test_an_index_with_a_member_before_all_time(raw, prefix):
    """A score of minus infinity is that of something long expired."""
    session = signed_in("7")
    raw.zadd(f"{prefix}:user:7", {"damaged": "-inf"})
    session.delete()
    assert list(raw.scan_iter(f"{prefix}:*")) == []


def test_what_was_in_the_way_of_an_index(raw, prefix):
    """Once it is gone, a save lists the session."""
    raw.set(f"{prefix}:user:7", "text", ex=60)
    session = signed_in("7")
    raw.delete(f"{prefix}:user:7")
    session.save()
    assert held(raw, prefix) == expected(raw, prefix)


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
