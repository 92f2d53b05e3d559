"""The indexes that the engine keeps: of all sessions, and of each user's."""

import random
from datetime import timedelta

import pytest
from django.utils import timezone

from sessions_redis import conf, registry
from sessions_redis.clients import run
from sessions_redis.engine import SessionStore
from sessions_redis.registry import Selection
from sessions_redis.registry.rebuilding import Progress, rebuild
from sessions_redis.storage import commands, listings
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.commands import session_id
from tests.listed import expect_listed, indexes_of, scores
from tests.servers import is_marker

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
    """A request that does not touch the user keeps the session where it is."""
    session = SessionStore(signed_in("1").session_key)
    session["color"] = "red"
    session.save()
    expect_listed(raw, prefix)
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
    expect_listed(raw, prefix)
    user = session.get("_auth_user_id")
    if user:
        assert registry.end_all_of(user) == 1
        assert not session.exists(session.session_key)


@pytest.mark.parametrize("other", ["create", "lengthen", "sign in", "cycle"])
def test_an_index_without_a_time_to_live(raw, prefix, other):
    """The next session that is listed gives it one, as long as its longest-lived member's."""
    lasting = signed_in("7")
    lasting.set_expiry(9_500_000)
    lasting.save()
    session = SessionStore(signed_in("7" if other != "sign in" else "6", color="red").session_key)
    for name in ("index", "index:signed-in", "user:7"):
        assert raw.persist(f"{prefix}:{name}")
    if other == "create":
        signed_in("7")
    elif other == "sign in":
        session["_auth_user_id"] = "7"
        session.save()
    else:
        SAVES[other](session)
    without_markers(raw, prefix)
    expect_listed(raw, prefix)


def test_an_index_whose_time_to_live_is_too_short(raw, prefix):
    """The next session that is listed gives it a longer one, and so the others stay listed."""
    signed_in("7")
    for name in ("index", "index:signed-in", "user:7"):
        raw.pexpire(f"{prefix}:{name}", 5000)
    signed_in("7")
    expect_listed(raw, prefix)


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


def test_what_was_in_the_way_of_an_index(raw, prefix):
    """Once it is gone, a save lists the session."""
    raw.set(f"{prefix}:user:7", "text", ex=60)
    session = signed_in("7")
    raw.delete(f"{prefix}:user:7")
    session.save()
    expect_listed(raw, prefix)


def test_without_indexes(settings, session_redis, raw, prefix):
    """With INDEX off the session is all there is; switched on, saved sessions enter the indexes."""
    settings.SESSION_REDIS = {**session_redis, "INDEX": False}
    session = signed_in("1")
    assert list(raw.scan_iter(f"{prefix}:*")) == [session.inspect().redis_key.encode()]
    settings.SESSION_REDIS = session_redis
    SessionStore(session.session_key).save()
    ids = {session_id(session.session_key)}
    assert members(raw, f"{prefix}:index") == members(raw, f"{prefix}:user:1") == ids


# Steps of a session; what they do beside it, to its Redis.
STEPS = {
    "save": lambda session: session.save(),
    "change": lambda session: (session.update({"n": session.get("n", 0) + 1}), session.save()),
    "shorten": lambda session: (session.set_expiry(60), session.save()),
    "shorten a little": lambda session: (session.set_expiry(85_000), session.save()),
    "lengthen": lambda session: (session.set_expiry(90_000), session.save()),
    "usual": lambda session: (session.set_expiry(None), session.save()),
    "sign in": lambda session: (session.update({"_auth_user_id": "1"}), session.save()),
    "sign in as another": lambda session: (session.update({"_auth_user_id": "2"}), session.save()),
    "sign out": lambda session: (session.pop("_auth_user_id", None), session.save()),
    "clear": lambda session: (session.clear(), session.save()),
    "cycle": lambda session: session.cycle_key(),
    "cycle, shorter": lambda session: (session.set_expiry(30), session.cycle_key()),
    "flush": lambda session: (session.flush(), session.save()),
    "expire": lambda session: (session.set_expiry(-1), session.save(), session.flush()),
}
LOSSES = ["index", "index:signed-in", "index:anonymous", "user:1", "user:2"]
SAVING = [name for name in STEPS if name not in {"expire", "flush"}]


@pytest.mark.parametrize("seed", range(8))
def test_indexes_keep_their_promise_whatever_happens(raw, prefix, seed):
    """After any steps each index lists its live sessions alone, and no other index does."""
    choose = random.Random(seed)
    sessions = [SessionStore() for _ in range(4)]
    for _ in range(60):
        STEPS[choose.choice(list(STEPS))](choose.choice(sessions))
        without_markers(raw, prefix)
        expect_listed(raw, prefix)


@pytest.mark.parametrize("seed", range(8))
def test_listings_heal_whatever_happens(settings, session_redis, raw, prefix, seed):
    """
    Indexes are lost, or were off for a while: a session that is saved or noted is listed again.

    Sessions of users that changed without indexes may stay in the former user's index as well.
    """
    choose = random.Random(seed)
    sessions = [SessionStore() for _ in range(4)]
    for _ in range(60):
        settings.SESSION_REDIS = {**session_redis, "INDEX": choose.random() < 0.8}
        if choose.random() < 0.3:
            raw.delete(f"{prefix}:{choose.choice(LOSSES)}")
        session = choose.choice(sessions)
        STEPS[choose.choice(list(STEPS))](session)
        settings.SESSION_REDIS = session_redis
        session = choose.choice(sessions)
        if session.session_key and choose.random() < 0.5:
            note(session.session_key)
            expect_found(raw, prefix, session)
        else:
            STEPS[choose.choice(SAVING)](session)
            expect_found(raw, prefix, session)
        without_markers(raw, prefix)
    for session in sessions:
        session.save()
    users = [session.get("_auth_user_id") for session in sessions]
    for user in ("1", "2"):
        assert registry.end_all_of(user) == users.count(user)


def note(session_key):
    """As the middleware does for a session that was only read, a minute after the last note."""
    run(commands.note(conf.current().keyspace, session_id(session_key)))


def expect_found(raw, prefix, session):
    """The session is in each of its own indexes, for as long as it lives."""
    id, user = session_id(session.session_key), session.get("_auth_user_id")
    key, held = f"{prefix}:{id}", scores(raw, prefix)
    for name in indexes_of(user):
        listed = held[name][id]
        assert raw.pexpiretime(key) <= listed <= raw.pexpiretime(key) + 1_200_000
        assert raw.pexpiretime(f"{prefix}:{name}") >= listed


def without_markers(raw, prefix):
    for key in raw.scan_iter(f"{prefix}:*", count=1000):
        if is_marker(raw, key):
            raw.delete(key)


# How often a session's indexes are written to


@pytest.fixture
def writes(raw, live):
    """How often members are written to indexes while a function runs."""

    def count():
        return raw.info("commandstats").get("cmdstat_zadd", {"calls": 0})["calls"]

    def writes(function):
        before = count()
        function()
        return count() - before

    return writes


@pytest.mark.parametrize("user", [None, "7"])
def test_saves_leave_the_indexes_alone(writes, user):
    """A hundred requests in a row write the session a hundred times, and its indexes never."""
    session = SessionStore()
    if user:
        session["_auth_user_id"] = user
    session.save()
    loaded = SessionStore(session.session_key)

    def requests():
        for number in range(100):
            loaded["n"] = number
            loaded.save()

    assert writes(requests) == 0
    assert writes(lambda: SessionStore(session.session_key).save()) == 0


def test_a_session_that_slides(writes, raw, prefix):
    """Its indexes are written to once in each margin: a 32nd part of its lifetime."""
    session = SessionStore()
    session.set_expiry(3200)
    session.save()
    key = f"{prefix}:{session_id(session.session_key)}"

    def requests():
        for _ in range(40):  # one in each ten seconds, as the indexes see it
            for name in ("index", "index:anonymous"):
                raw.zincrby(f"{prefix}:{name}", -10, session_id(session.session_key))
            raw.hincrby(key, "@listed", -10_000)
            session.save()

    assert writes(requests) in {2 * 3, 2 * 4}
    assert registry.count() == 2


def test_a_session_that_does_not_slide(writes, raw, prefix):
    """If it ends at a fixed time, the indexes are written to when that is set, and then no more."""
    session = SessionStore()
    session.save()
    session.set_expiry(timezone.now() + timedelta(days=5))
    assert writes(session.save) == 2
    for _ in range(20):
        assert writes(session.save) == 0
    expect_listed(raw, prefix)


@pytest.mark.parametrize(
    ("before", "after"), [(5 * 86_400, 600), (600, 5 * 86_400), (86_400, 86_400 - 1300)]
)
def test_a_lifetime_that_changes_by_a_lot(raw, prefix, live, before, after):
    """The indexes follow: a session is not listed for hours after its end."""
    live.set_expiry(before)
    live.save()
    expect_listed(raw, prefix)
    live.set_expiry(after)
    live.save()
    expect_listed(raw, prefix)


def test_a_lifetime_that_changes_by_little(writes, raw, prefix, live):
    """A change of less than a margin is none to the indexes."""
    live.set_expiry(86_400)
    live.save()
    live.set_expiry(86_400 - 500)
    assert writes(live.save) == 0
    expect_listed(raw, prefix)


def test_a_session_from_before(raw, prefix, live):
    """A hash without the time until which it is listed is listed by its next save, or note."""
    key = f"{prefix}:{session_id(live.session_key)}"
    for renew in (live.save, lambda: note(live.session_key)):
        raw.hdel(key, "@listed")
        for name in ("index", "index:anonymous"):
            raw.zadd(
                f"{prefix}:{name}", {session_id(live.session_key): raw.pexpiretime(key) / 1000}
            )
        renew()
        expect_listed(raw, prefix)


@pytest.mark.parametrize("listed", ["", "x", "-1", "1e400", "nan", "99999999999999"])
def test_a_damaged_time_of_listing(raw, prefix, live, listed):
    """It is not trusted: the session is listed anew."""
    key = f"{prefix}:{session_id(live.session_key)}"
    for renew in (live.save, lambda: note(live.session_key)):
        raw.hset(key, "@listed", listed)
        renew()
        expect_listed(raw, prefix)


@pytest.mark.parametrize("lost", LOST, ids=" ".join)
def test_a_note_lists_what_is_not_listed(raw, prefix, lost):
    """So a session that is only read comes back to its indexes."""
    session = signed_in("7", color="red")
    before = raw.pexpiretime(f"{prefix}:{session_id(session.session_key)}")
    raw.delete(*[f"{prefix}:{name}" for name in lost])
    note(session.session_key)
    expect_listed(raw, prefix)
    assert raw.pexpiretime(f"{prefix}:{session_id(session.session_key)}") == before
    assert registry.end_all_of("7") == 1


def test_a_note_of_a_session_that_somebody_made_persistent(raw, prefix, live):
    """Nobody knows until when to list it; its next save gives it a time to live, and lists it."""
    key = f"{prefix}:{session_id(live.session_key)}"
    raw.persist(key)
    raw.delete(f"{prefix}:index")
    note(live.session_key)
    assert not raw.exists(f"{prefix}:index")
    live.save()
    expect_listed(raw, prefix)


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


def test_in_memory(settings, session_redis):
    """All this holds with ``memory://``, too."""
    settings.SESSION_REDIS = {**session_redis, "LOCATION": "memory://listings"}
    sessions = [signed_in("7") for _ in range(3)]
    for session in sessions:
        session.save()
        note(session.session_key)
        session.cycle_key()
    keyspace = conf.current().keyspace
    ids = {session_id(session.session_key) for session in sessions}
    dead = [listings.drop(keyspace, [keyspace.index], ids), commands.delete(keyspace, "0" * 32)]
    assert [run(command) for command in dead] == [0, None]
    assert {live.id for live in registry.latest()} == ids
    soon = registry.Selection(within=10)
    assert (registry.latest(selection=soon), registry.count(soon)) == ([], 0)
    assert {live.id for live in registry.latest(0, 9, registry.Selection(within=10**7))} == ids
    index, others = keyspace.index, [keyspace.signed_in]
    sweep = listings.sweep(keyspace, index, 10**9, others, start=0, latest_first=True)
    assert run(sweep) == (3, 0)
    assert rebuild() == Progress(1, 3, 0)
    assert registry.end_many(sorted(ids)[:1]) == sorted(ids)[:1]
    assert registry.end_all_of("7") == 2
    assert registry.count() == 0


@pytest.mark.parametrize("heal", ["save", "note", "rebuild"])
def test_a_score_that_is_too_early(raw, prefix, live, heal):
    """An index that lists a session for less than its lifetime lists it for long enough again."""
    live["_auth_user_id"] = "7"
    live.save()
    id = session_id(live.session_key)
    now = raw.time()[0]
    for name in indexes_of("7"):
        raw.zadd(f"{prefix}:{name}", {id: now + 2})
    if heal == "save":
        live.save()
    elif heal == "note":
        assert run(commands.note(conf.current().keyspace, id))
    else:
        assert rebuild() == Progress(1, 1, 1)
    expect_listed(raw, prefix)


@pytest.mark.parametrize(("before", "after"), [(None, "7"), ("7", None)])
@pytest.mark.parametrize("heal", ["save", "note", "rebuild"])
def test_a_user_who_changed_while_no_indexes_were_kept(
    settings, session_redis, raw, prefix, live, heal, before, after
):
    """The session leaves the index of all with a user, or of all without, once indexes are kept."""
    session_of(live, before)
    settings.SESSION_REDIS = {**session_redis, "INDEX": False}
    session_of(live, after)
    settings.SESSION_REDIS = session_redis
    id = session_id(live.session_key)
    wrong = Selection(signed_in=before is not None)
    assert registry.count(wrong) == 1
    assert registry.latest(selection=wrong) == []
    if heal == "save":
        live.save()
    elif heal == "note":
        assert run(commands.note(conf.current().keyspace, id))
    else:
        assert rebuild() == Progress(1, 1, 1)
    assert registry.count(wrong) == 0
    assert registry.count(Selection(signed_in=after is not None)) == 1
    registry.end(id)
    assert raw.keys(f"{prefix}:index*") == []


def session_of(session, user):
    session.pop("_auth_user_id", None)
    if user is not None:
        session["_auth_user_id"] = user
    session.save()


def test_rebuilding_drops_no_members(raw, prefix, live):
    """A batch lists its sessions and nothing else, so a call stays within its bounds."""
    id = "0" * 32
    keyspace = conf.current().keyspace
    assert run(commands.create(keyspace, id, 1000, Changes({b"color": b"1"})))
    raw.zrem(f"{prefix}:index", id)
    raw.zadd(f"{prefix}:index", {f"{number:032x}": 1 for number in range(1, 100)})
    assert run(listings.list_many(keyspace, [id])) == (1, 1)
    assert raw.zcard(f"{prefix}:index") == 1 + 1 + 99


@pytest.mark.parametrize(("interval", "writes"), [(6000, False), (10.5, True)])
def test_notes_of_the_same_moment(raw, prefix, live, interval, writes):
    """Of requests that read a session at the same time, the first one notes it."""
    id = session_id(live.session_key)
    seen = raw.time()[0] - 30
    raw.hset(f"{prefix}:{id}", "@seen", seen)
    for metadata in ({}, {b"@ip": b"::1"}):
        raw.hset(f"{prefix}:{id}", "@seen", seen)
        now = run(commands.note(conf.current().keyspace, id, metadata, interval))
        assert (now > 0) == writes
        assert raw.time()[0] - 60 <= abs(now) // 1000 <= raw.time()[0]
        assert (int(raw.hget(f"{prefix}:{id}", "@seen")) > seen) == writes
    assert raw.hget(f"{prefix}:{id}", "@ip") == (b"::1" if writes else None)
    # A moment in the future is damaged.
    raw.hset(f"{prefix}:{id}", "@seen", seen + 9000)
    assert run(commands.note(conf.current().keyspace, id, {}, interval)) > 0
    assert int(raw.hget(f"{prefix}:{id}", "@seen")) < seen + 9000
